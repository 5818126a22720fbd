#include "reference/run.hpp"

#include <algorithm>
#include <limits>

namespace enmesh::reference {

namespace {

/// One window of one image and channel: its pixels inside the image.
struct Window {
    int64_t top, left;                               // may be negative: padding
    int64_t row_begin, row_end, col_begin, col_end;  // inside the image
    int64_t padded_area;                             // pixels inside the padded image
};

/// visit(dst offset, offset of the src plane, window) for every output element.
template <typename Visit>
void for_each_window(const PoolWindow& pool, const Shape& src, const Shape& dst, const Visit& visit) {
    for (int64_t at = 0; at < dst.elements(); ++at) {
        const int64_t x = at % dst[3], y = at / dst[3] % dst[2], plane = at / (dst[3] * dst[2]);
        Window window{};
        window.top = y * pool.stride[0] - pool.padding[0];
        window.left = x * pool.stride[1] - pool.padding[1];
        const int64_t bottom = std::min(window.top + pool.kernel[0], src[2] + pool.padding[2]);
        const int64_t right = std::min(window.left + pool.kernel[1], src[3] + pool.padding[3]);
        window.padded_area = (bottom - window.top) * (right - window.left);
        window.row_begin = std::max<int64_t>(window.top, 0);
        window.col_begin = std::max<int64_t>(window.left, 0);
        window.row_end = std::min(bottom, src[2]);
        window.col_end = std::min(right, src[3]);
        visit(at, plane * src[2] * src[3], window);
    }
}

double window_share(const Window& window, bool count_padding) {
    const int64_t inside = (window.row_end - window.row_begin) * (window.col_end - window.col_begin);
    return 1.0 / static_cast<double>(count_padding ? window.padded_area : inside);
}

}  // namespace

template <>
void run(const MaxPool2d& op, const Frame& frame) {
    const Array& src = frame.in(0);
    const Shape& shape = frame.shape(0);
    for_each_window(op.window, shape, frame.out().type.shape,
                    [&](int64_t at, int64_t plane, const Window& window) {
                        double largest = -std::numeric_limits<double>::infinity();
                        int64_t place = -1;
                        for (int64_t y = window.row_begin; y < window.row_end; ++y) {
                            for (int64_t x = window.col_begin; x < window.col_end; ++x) {
                                const double value = src[plane + y * shape[3] + x];
                                if (place >= 0 && value <= largest)
                                    continue;  // NaN wins, so that it stays visible
                                largest = value;
                                place = (y - window.top) * op.window.kernel[1] + x - window.left;
                            }
                        }
                        frame.out(0)[at] = largest;
                        frame.out(1)[at] = static_cast<double>(place);
                    });
}

template <>
void run(const MaxPool2dBackward& op, const Frame& frame) {
    const Array &diff_dst = frame.in(0), &places = frame.in(1);
    for_each_window(op.window, op.src, diff_dst.type.shape,
                    [&](int64_t at, int64_t plane, const Window& window) {
                        const auto place = static_cast<int64_t>(places[at]);
                        const int64_t y = window.top + place / op.window.kernel[1];
                        const int64_t x = window.left + place % op.window.kernel[1];
                        frame.out()[plane + y * op.src[3] + x] += diff_dst[at];
                    });
}

template <>
void run(const AveragePool2d& op, const Frame& frame) {
    const Array& src = frame.in(0);
    const Shape& shape = frame.shape(0);
    for_each_window(op.window, shape, frame.out().type.shape,
                    [&](int64_t at, int64_t plane, const Window& window) {
                        double sum = 0;
                        for (int64_t y = window.row_begin; y < window.row_end; ++y) {
                            for (int64_t x = window.col_begin; x < window.col_end; ++x)
                                sum += src[plane + y * shape[3] + x];
                        }
                        frame.out()[at] = sum * window_share(window, op.count_padding);
                    });
}

template <>
void run(const AveragePool2dBackward& op, const Frame& frame) {
    const Array& diff_dst = frame.in(0);
    for_each_window(op.window, op.src, diff_dst.type.shape,
                    [&](int64_t at, int64_t plane, const Window& window) {
                        const double share = diff_dst[at] * window_share(window, op.count_padding);
                        for (int64_t y = window.row_begin; y < window.row_end; ++y) {
                            for (int64_t x = window.col_begin; x < window.col_end; ++x)
                                frame.out()[plane + y * op.src[3] + x] += share;
                        }
                    });
}

template <>
void run(const GlobalAveragePool&, const Frame& frame) {
    const int64_t area = frame.shape(0)[2] * frame.shape(0)[3];
    for (int64_t i = 0; i < frame.in(0).elements(); ++i) frame.out()[i / area] += frame.in(0)[i];
    for (int64_t i = 0; i < frame.out().elements(); ++i) frame.out()[i] /= static_cast<double>(area);
}

template <>
void run(const GlobalAveragePoolBackward& op, const Frame& frame) {
    const int64_t area = op.src[2] * op.src[3];
    for (int64_t i = 0; i < frame.out().elements(); ++i)
        frame.out()[i] = frame.in(0)[i / area] / static_cast<double>(area);
}

}  // namespace enmesh::reference
