#include "reference/run.hpp"

namespace enmesh::reference {

namespace {

/// Extents of a convolution and the index arithmetic that its three products share.
struct Geometry {
    Geometry(const Conv2d& attributes, const Shape& src, const Shape& weights, const Shape& dst)
        : conv(attributes),
          n(src[0]),
          c(src[1]),
          h(src[2]),
          w(src[3]),
          k(dst[1]),
          oh(dst[2]),
          ow(dst[3]),
          group_c(weights[1]),
          r(weights[2]),
          s(weights[3]) {}

    /// The input channel that channel `weight_c` of output channel `out_k`'s weights reads.
    int64_t source_channel(int64_t out_k, int64_t weight_c) const {
        return out_k / (k / conv.groups) * group_c + weight_c;
    }

    /// visit(offset in src, offset in dst) for every pair of pixels that weight element `at` connects.
    template <typename Visit>
    void for_each_pair(int64_t at, const Visit& visit) const {
        const int64_t y = at / s % r, x = at % s, weight_c = at / (r * s) % group_c;
        const int64_t out_k = at / (r * s * group_c), src_c = source_channel(out_k, weight_c);
        for (int64_t image = 0; image < n; ++image) {
            for (int64_t out_y = 0; out_y < oh; ++out_y) {
                const int64_t in_y = out_y * conv.stride[0] - conv.padding[0] + y * conv.dilation[0];
                if (in_y < 0 || in_y >= h) continue;
                for (int64_t out_x = 0; out_x < ow; ++out_x) {
                    const int64_t in_x = out_x * conv.stride[1] - conv.padding[1] + x * conv.dilation[1];
                    if (in_x < 0 || in_x >= w) continue;
                    visit(((image * c + src_c) * h + in_y) * w + in_x,
                          ((image * k + out_k) * oh + out_y) * ow + out_x);
                }
            }
        }
    }

    /// visit(offset in src, offset in weights) for everything that dst element `at` is a sum over.
    template <typename Visit>
    void for_each_term(int64_t at, const Visit& visit) const {
        const int64_t out_x = at % ow, out_y = at / ow % oh, out_k = at / (ow * oh) % k;
        const int64_t image = at / (ow * oh * k);
        for (int64_t weight_c = 0; weight_c < group_c; ++weight_c) {
            const int64_t src_c = source_channel(out_k, weight_c);
            for (int64_t y = 0; y < r; ++y) {
                const int64_t in_y = out_y * conv.stride[0] - conv.padding[0] + y * conv.dilation[0];
                if (in_y < 0 || in_y >= h) continue;
                for (int64_t x = 0; x < s; ++x) {
                    const int64_t in_x = out_x * conv.stride[1] - conv.padding[1] + x * conv.dilation[1];
                    if (in_x < 0 || in_x >= w) continue;
                    visit(((image * c + src_c) * h + in_y) * w + in_x,
                          ((out_k * group_c + weight_c) * r + y) * s + x);
                }
            }
        }
    }

    Conv2d conv;
    int64_t n, c, h, w, k, oh, ow, group_c, r, s;
};

}  // namespace

template <>
void run(const Conv2d& op, const Frame& frame) {
    const Array &src = frame.in(0), &weights = frame.in(1);
    Array& dst = frame.out();
    const Geometry geometry(op, src.type.shape, weights.type.shape, dst.type.shape);
    for_each_stored(weights, [&](int64_t at, double weight) {
        geometry.for_each_pair(at, [&](int64_t from, int64_t to) { dst[to] += weight * src[from]; });
    });
    if (frame.inputs.size() < 3) return;
    const int64_t area = geometry.oh * geometry.ow;
    for (int64_t i = 0; i < dst.elements(); ++i) dst[i] += frame.in(2)[i / area % geometry.k];
}

template <>
void run(const Conv2dBackwardData& op, const Frame& frame) {
    const Array &diff_dst = frame.in(0), &weights = frame.in(1);
    Array& diff_src = frame.out();
    const Geometry geometry(op.conv, op.src, weights.type.shape, diff_dst.type.shape);
    if (diff_dst.type.dense()) {
        for_each_stored(weights, [&](int64_t at, double weight) {
            geometry.for_each_pair(
                at, [&](int64_t to, int64_t from) { diff_src[to] += weight * diff_dst[from]; });
        });
        return;
    }
    const std::vector<double> dense = densified(weights);
    for_each_stored(diff_dst, [&](int64_t at, double diff) {
        geometry.for_each_term(at, [&](int64_t to, int64_t weight) {
            diff_src[to] += diff * dense[static_cast<size_t>(weight)];
        });
    });
}

template <>
void run(const Conv2dBackwardWeights& op, const Frame& frame) {
    const Array &src = frame.in(0), &diff_dst = frame.in(1);
    Array& diff_weights = frame.out();
    const Geometry geometry(op.conv, src.type.shape, op.weights, diff_dst.type.shape);
    for_each_stored(diff_dst, [&](int64_t at, double diff) {
        geometry.for_each_term(
            at, [&](int64_t from, int64_t weight) { diff_weights[weight] += diff * src[from]; });
    });
}

}  // namespace enmesh::reference
