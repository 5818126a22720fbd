#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/products/select.hpp"
#include "enmesh/products/trial.hpp"

namespace enmesh::products {
namespace {

/// The operands with zeros where nothing was kept.
struct DenseOperands {
    explicit DenseOperands(const TrialOperands& o)
        : conv(o.problem.conv),
          lanes(o.problem.lanes),
          block(o.problem.lanes == Lanes::images || o.problem.lanes == Lanes::channels ? o.problem.block : 1),
          src(o.src.as<float>()),
          diff_dst(o.diff_dst.as<float>().begin(), o.diff_dst.as<float>().end()),
          weights(o.weights.as<float>().begin(), o.weights.as<float>().end()) {
        if (o.problem.sparse() == Operand::weights)
            unpack_weights(conv, o.problem.stage, o.packed.view(), weights);
        if (o.problem.sparse() == Operand::diff_dst)
            unpack_diff_dst(o.problem, o.packed.view(), diff_dst.data());
    }

    int64_t index(int64_t n, int64_t c, int64_t pixel, int64_t channels, int64_t area) const {
        if (lanes != Lanes::channels) return blocked_index(n, c, pixel, channels, area, block);
        return ((n * channels / block + c / block) * area + pixel) * block + c % block;
    }
    int64_t src_index(int64_t n, int64_t c, int64_t y, int64_t x) const {
        return index(n, c, y * conv.w + x, conv.c, conv.h * conv.w);
    }
    int64_t dst_index(int64_t n, int64_t k, int64_t y, int64_t x) const {
        return index(n, k, y * conv.out_w() + x, conv.k, conv.out_h() * conv.out_w());
    }
    int64_t weights_index(int64_t k, int64_t c, int64_t r, int64_t s) const {
        return ((k * (conv.c / conv.groups) + c) * conv.r + r) * conv.s + s;
    }
    /// The row or column of src under that of dst and of the window.
    int64_t src_y(int64_t y, int64_t r) const {
        return y * conv.stride_h - conv.pad_top + r * conv.dilation_h;
    }
    int64_t src_x(int64_t x, int64_t s) const {
        return x * conv.stride_w - conv.pad_left + s * conv.dilation_w;
    }
    bool inside(int64_t y, int64_t x) const { return y >= 0 && y < conv.h && x >= 0 && x < conv.w; }

    Conv conv;
    Lanes lanes;
    int block;
    std::span<const float> src;
    std::vector<float> diff_dst, weights;
};

double product(float a, float b) { return static_cast<double>(a) * static_cast<double>(b); }

double ff_at(const DenseOperands& o, int64_t n, int64_t k, int64_t y, int64_t x) {
    const int64_t channels = o.conv.c / o.conv.groups, first = k / (o.conv.k / o.conv.groups) * channels;
    double sum = 0;
    for (int64_t c = 0; c < channels; ++c) {
        for (int64_t r = 0; r < o.conv.r; ++r) {
            for (int64_t s = 0; s < o.conv.s; ++s) {
                const int64_t in_y = o.src_y(y, r), in_x = o.src_x(x, s);
                if (!o.inside(in_y, in_x)) continue;
                sum += product(o.src[static_cast<size_t>(o.src_index(n, first + c, in_y, in_x))],
                               o.weights[static_cast<size_t>(o.weights_index(k, c, r, s))]);
            }
        }
    }
    return sum;
}

double bp_at(const DenseOperands& o, int64_t n, int64_t c, int64_t y, int64_t x) {
    const int64_t channels = o.conv.c / o.conv.groups, outputs = o.conv.k / o.conv.groups;
    const int64_t first = c / channels * outputs;
    double sum = 0;
    for (int64_t out_y = 0; out_y < o.conv.out_h(); ++out_y) {
        const int64_t r = y + o.conv.pad_top - out_y * o.conv.stride_h;
        if (r < 0 || r % o.conv.dilation_h != 0 || r / o.conv.dilation_h >= o.conv.r) continue;
        for (int64_t out_x = 0; out_x < o.conv.out_w(); ++out_x) {
            const int64_t s = x + o.conv.pad_left - out_x * o.conv.stride_w;
            if (s < 0 || s % o.conv.dilation_w != 0 || s / o.conv.dilation_w >= o.conv.s) continue;
            for (int64_t k = first; k < first + outputs; ++k) {
                const int64_t weight =
                    o.weights_index(k, c % channels, r / o.conv.dilation_h, s / o.conv.dilation_w);
                sum += product(o.diff_dst[static_cast<size_t>(o.dst_index(n, k, out_y, out_x))],
                               o.weights[static_cast<size_t>(weight)]);
            }
        }
    }
    return sum;
}

double wg_at(const DenseOperands& o, int64_t k, int64_t c, int64_t r, int64_t s) {
    const int64_t channel = k / (o.conv.k / o.conv.groups) * (o.conv.c / o.conv.groups) + c;
    double sum = 0;
    for (int64_t n = 0; n < o.conv.n; ++n) {
        for (int64_t y = 0; y < o.conv.out_h(); ++y) {
            for (int64_t x = 0; x < o.conv.out_w(); ++x) {
                const int64_t in_y = o.src_y(y, r), in_x = o.src_x(x, s);
                if (!o.inside(in_y, in_x)) continue;
                sum += product(o.diff_dst[static_cast<size_t>(o.dst_index(n, k, y, x))],
                               o.src[static_cast<size_t>(o.src_index(n, channel, in_y, in_x))]);
            }
        }
    }
    return sum;
}

}  // namespace

Comparison spot_check(const TrialOperands& operands, std::span<const float> out, double tolerance,
                      int samples) {
    ENMESH_ASSERT(operands.problem.lanes != Lanes::any && !operands.problem.plain_src);
    const DenseOperands o(operands);
    const Conv& conv = o.conv;
    Random random(13);
    const auto below = [&](int64_t bound) {
        return static_cast<int64_t>(random.below(static_cast<uint64_t>(bound)));
    };
    std::vector<float> got, want;
    for (int i = 0; i < samples; ++i) {
        int64_t at = 0;
        double value = 0;
        if (operands.problem.stage == Stage::ff) {
            const int64_t n = below(conv.n), k = below(conv.k), y = below(conv.out_h()),
                          x = below(conv.out_w());
            at = o.dst_index(n, k, y, x);
            value = ff_at(o, n, k, y, x);
        } else if (operands.problem.stage == Stage::bp) {
            const int64_t n = below(conv.n), c = below(conv.c), y = below(conv.h), x = below(conv.w);
            at = o.src_index(n, c, y, x);
            value = bp_at(o, n, c, y, x);
        } else {
            const int64_t k = below(conv.k), c = below(conv.c / conv.groups), r = below(conv.r),
                          s = below(conv.s);
            at = o.weights_index(k, c, r, s);
            value = wg_at(o, k, c, r, s);
        }
        got.push_back(out[static_cast<size_t>(at)]);
        want.push_back(static_cast<float>(value));
    }
    return compare(got, want, tolerance);
}

}  // namespace enmesh::products
