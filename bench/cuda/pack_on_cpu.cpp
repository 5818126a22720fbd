#include "pack_on_cpu.hpp"

#include "enmesh/base/half.hpp"

namespace enmesh::cuda {

uint16_t to_f16(float value) { return to_half(value).bits; }
uint16_t to_bf16(float value) { return to_bfloat16(value).bits; }

PackedOnCpu pack_forward(const Layer& layer, Rounding round, const std::vector<float>& master) {
    return pack_on_cpu(layer.outputs, layer.positions * layer.inputs, round, [&](int64_t row, int64_t depth) {
        return master[static_cast<size_t>(layer.master(row, depth / layer.inputs, depth % layer.inputs))];
    });
}

PackedOnCpu pack_backward(const Layer& layer, Rounding round, const std::vector<float>& master) {
    return pack_on_cpu(layer.inputs, layer.positions * layer.outputs, round, [&](int64_t row, int64_t depth) {
        return master[static_cast<size_t>(layer.master(depth % layer.outputs, depth / layer.outputs, row))];
    });
}

std::vector<uint16_t> expand_on_cpu(const PackedOnCpu& packed, int64_t rows, int64_t depth) {
    std::vector<uint16_t> dense(static_cast<size_t>(rows * depth), 0);
    for (int64_t row = 0; row < rows; ++row) {
        for (int64_t quad = 0; quad < depth / 4; ++quad) {
            const uint32_t nibble =
                packed.metadata[static_cast<size_t>(metadata_word(row, quad, packed.size.depth))] >>
                    metadata_shift(row, quad) &
                15U;
            for (unsigned i = 0; i < 2; ++i) {
                dense[static_cast<size_t>(row * depth + quad * 4 + (nibble >> (2 * i) & 3U))] =
                    packed.values[static_cast<size_t>(value_index(row, quad, packed.size.depth) + i)];
            }
        }
    }
    return dense;
}

}  // namespace enmesh::cuda
