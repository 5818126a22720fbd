#include "cpu/convert.hpp"

#include <cstring>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"

namespace enmesh::cpu {
namespace {

struct Strides {
    int64_t block_n, n, block_c, c,
        pixel;  ///< of the image's block, the image in its block, likewise channels
    int64_t images_per_block, channels_per_block;
};

Strides strides_of(const Shape& shape, Layout layout) {
    const int64_t channels = shape[1], pixels = shape.elements() / (shape[0] * shape[1]), b = layout.block;
    if (layout.lanes == Layout::Lanes::images)
        return {channels * pixels * b, 1, 0, pixels * b, b, b, channels};
    return {0, channels * pixels, pixels * b, 1, b, shape[0], b};
}

template <typename T>
void convert_as(const T* from, const Strides& f, T* to, const Strides& t, const Shape& shape) {
    const int64_t channels = shape[1], pixels = shape.elements() / (shape[0] * shape[1]);
    const auto base = [](const Strides& s, int64_t n, int64_t c) {
        return n / s.images_per_block * s.block_n + n % s.images_per_block * s.n +
               c / s.channels_per_block * s.block_c + c % s.channels_per_block * s.c;
    };
    // The lane-contiguous side is written a block at a time: walk (n, c) in the target's memory order.
    parallel_for(shape[0] * channels, 64, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t n = i / channels, c = i % channels;
            const T* src = from + base(f, n, c);
            T* dst = to + base(t, n, c);
            for (int64_t p = 0; p < pixels; ++p) dst[p * t.pixel] = src[p * f.pixel];
        }
    });
}

}  // namespace

void convert(const void* from, Layout from_layout, void* to, Layout to_layout, const Shape& shape,
             size_t width) {
    const auto bytes = static_cast<size_t>(shape.elements()) * width;
    if (from_layout == to_layout || shape.rank() < 2) {
        std::memcpy(to, from, bytes);
        return;
    }
    const Strides f = strides_of(shape, from_layout), t = strides_of(shape, to_layout);
    switch (width) {
        case 4:
            return convert_as(static_cast<const float*>(from), f, static_cast<float*>(to), t, shape);
        case 2:
            return convert_as(static_cast<const uint16_t*>(from), f, static_cast<uint16_t*>(to), t, shape);
        case 1:
            return convert_as(static_cast<const uint8_t*>(from), f, static_cast<uint8_t*>(to), t, shape);
        default:
            ENMESH_ASSERT(width == 1 || width == 2 || width == 4);
    }
}

void unpack_value(const products::Packed& packed, const ValueType& type, std::span<float> dense) {
    const products::PackedShape& shape = packed.shape();
    const int64_t taps = type.shape.rank() == 4 ? type.shape[2] * type.shape[3] : 1;
    const int64_t inner = type.shape.rank() == 4 ? type.shape[1] : type.shape[-1];
    switch (type.nm()->axis) {
        case GroupAxis::input_channels:
            products::unpack(packed, {inner * taps, 1, taps}, dense.data());
            return;
        case GroupAxis::output_channels:
            products::unpack(packed, {taps, 1, inner * taps}, dense.data());
            return;
        case GroupAxis::gradient_channels:
        case GroupAxis::positions:
            break;
    }
    // A packed out-grad: rows are positions (along channels) or channels (along positions) of an NKHW map.
    const bool by_position = type.nm()->axis == GroupAxis::gradient_channels;
    std::vector<float> matrix(static_cast<size_t>(type.shape.elements()));
    const int64_t positions = type.shape.elements() / inner;
    products::unpack(packed, {shape.reduction, 0, 1}, matrix.data());
    const int64_t pixels = taps;
    for (int64_t position = 0; position < positions; ++position) {
        for (int64_t k = 0; k < inner; ++k) {
            const int64_t from = by_position ? position * inner + k : k * positions + position;
            dense[static_cast<size_t>((position / pixels * inner + k) * pixels + position % pixels)] =
                matrix[static_cast<size_t>(from)];
        }
    }
}

}  // namespace enmesh::cpu
