// Plain loops with double accumulation: what every other kernel is checked against, and what serves when all
// decline.

#include <algorithm>
#include <cstring>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "products/kernels.hpp"

namespace enmesh::products {
namespace {

// The weights of a product as rows x taps x reduction, compact or dense, without copying.
struct Rows {
    PackedView packed;
    const float* dense = nullptr;
    int64_t row_stride = 0, band_rows = 0, band_stride = 0, reduction_stride = 0, reduction = 0;

    template <typename Use>  // use(reduction index, value)
    void each(int64_t row, int64_t tap, const Use& use) const {
        if (dense != nullptr) {
            const float* const from =
                dense + row / band_rows * band_stride + row % band_rows * row_stride + tap;
            for (int64_t i = 0; i < reduction; ++i) use(i, from[i * reduction_stride]);
            return;
        }
        const PackedShape& shape = packed.shape;
        const auto [n, m] = shape.pattern;
        const int64_t vector = row * shape.taps + tap;
        for (int64_t at = vector * shape.groups() * n, i = 0; i < shape.groups() * n; ++i) {
            use(i / n * m + packed.indices[at + i], packed.values[at + i]);
        }
        for (int64_t i = 0; i < shape.tail(); ++i) {
            use(shape.groups() * m + i, packed.tail[vector * shape.tail() + i]);
        }
    }
};

class Reference final : public Product {
  public:
    explicit Reference(const Problem& problem) : Product(problem), threads_(threads()) {
        if (problem.stage != Stage::wg && problem.sparse() == Operand::weights) {
            shape_ = weights_shape(problem.conv, problem.stage, problem.pattern());
        }
    }

    std::string_view kernel() const override { return "reference"; }

    size_t workspace_bytes() const override {
        if (problem().stage != Stage::bp || problem().sparse() != Operand::diff_dst) return 0;
        return static_cast<size_t>(threads_ * problem().conv.c * problem().conv.h * problem().conv.w) *
               sizeof(double);
    }

    size_t prepared_bytes() const override {
        if (problem().stage == Stage::wg) return 0;
        if (problem().sparse() != Operand::weights)
            return static_cast<size_t>(problem().conv.weights_size()) * 4;
        return static_cast<size_t>(shape_.kept()) * 5 + static_cast<size_t>(shape_.tail_size()) * 4;
    }

    void prepare(const PackedView& weights, std::span<std::byte> prepared) const override {
        if (problem().sparse() != Operand::weights) return Product::prepare(weights, prepared);
        if (weights.shape != shape_) fail("{}: compact weights of another shape", to_string(problem()));
        require_bytes(prepared, prepared_bytes(), "the prepared weights");
        std::byte* to = prepared.data();
        to = std::copy_n(std::as_bytes(weights.values).data(), weights.values.size_bytes(), to);
        to = std::copy_n(std::as_bytes(weights.tail).data(), weights.tail.size_bytes(), to);
        std::copy_n(std::as_bytes(weights.indices).data(), weights.indices.size_bytes(), to);
    }

    void prepare(std::span<const float> weights, std::span<std::byte> prepared) const override {
        if (problem().sparse() == Operand::weights || problem().stage == Stage::wg) {
            return Product::prepare(weights, prepared);
        }
        require_bytes(prepared, prepared_bytes(), "the prepared weights");
        require_bytes(std::as_bytes(weights), prepared_bytes(), "the dense weights");
        std::copy_n(std::as_bytes(weights).data(), prepared_bytes(), prepared.data());
    }

    void run(const Arguments& arguments) const override {
        require_bytes(arguments.prepared, prepared_bytes(), "the prepared weights");
        require_bytes(arguments.workspace, workspace_bytes(), "the workspace");
        if (problem().stage == Stage::ff) return forward(arguments);
        if (problem().stage == Stage::wg) return weight_gradient(arguments);
        if (problem().sparse() == Operand::diff_dst) return backward_sparse_gradient(arguments);
        backward(arguments);
    }

  private:
    Rows rows(std::span<const std::byte> prepared) const {
        const Conv& conv = problem().conv;
        Rows result;
        result.reduction = problem().reduction();
        const auto* const floats = reinterpret_cast<const float*>(prepared.data());
        if (problem().sparse() == Operand::weights) {
            const size_t kept = static_cast<size_t>(shape_.kept()),
                         tail = static_cast<size_t>(shape_.tail_size());
            const auto* const indices = reinterpret_cast<const uint8_t*>(floats + kept + tail);
            result.packed = {shape_, {floats, kept}, {indices, kept}, {floats + kept, tail}};
            return result;
        }
        const int64_t taps = conv.taps(), c = conv.c / conv.groups, k = conv.k / conv.groups;
        const bool ff = problem().stage == Stage::ff;
        result.dense = floats;
        result.row_stride = ff ? c * taps : taps;
        result.reduction_stride = ff ? taps : c * taps;
        result.band_rows = ff ? k : c;
        result.band_stride = k * c * taps;
        return result;
    }

    void forward(const Arguments& arguments) const {
        const Conv& conv = problem().conv;
        const Rows weights = rows(arguments.prepared);
        const int64_t b = problem().block, oh = conv.out_h(), ow = conv.out_w(), area = conv.h * conv.w;
        const int64_t c = conv.c / conv.groups, k = conv.k / conv.groups;
        parallel_for(conv.n * conv.k, 1, [&](int64_t begin, int64_t end) {
            for (int64_t item = begin; item < end; ++item) {
                const int64_t n = item / conv.k, row = item % conv.k, channel0 = row / k * c;
                for (int64_t y = 0; y < oh; ++y) {
                    for (int64_t x = 0; x < ow; ++x) {
                        double sum = 0;
                        for (int64_t tap = 0; tap < conv.taps(); ++tap) {
                            const int64_t iy =
                                y * conv.stride_h + tap / conv.s * conv.dilation_h - conv.pad_top;
                            const int64_t ix =
                                x * conv.stride_w + tap % conv.s * conv.dilation_w - conv.pad_left;
                            if (iy < 0 || iy >= conv.h || ix < 0 || ix >= conv.w) continue;
                            const float* const at =
                                arguments.src + blocked_index(n, channel0, iy * conv.w + ix, conv.c, area, b);
                            weights.each(row, tap, [&](int64_t i, float value) {
                                sum += static_cast<double>(value) * at[i * area * b];
                            });
                        }
                        if (arguments.epilogue.bias != nullptr) sum += arguments.epilogue.bias[row];
                        if (arguments.epilogue.relu && sum < 0) sum = 0;
                        arguments.out[blocked_index(n, row, y * ow + x, conv.k, oh * ow, b)] =
                            static_cast<float>(sum);
                    }
                }
            }
        });
    }

    void backward(const Arguments& arguments) const {
        const Conv& conv = problem().conv;
        const Rows weights = rows(arguments.prepared);
        const int64_t b = problem().block, oh = conv.out_h(), ow = conv.out_w(), area = oh * ow;
        const int64_t c = conv.c / conv.groups, k = conv.k / conv.groups;
        parallel_for(conv.n * conv.c, 1, [&](int64_t begin, int64_t end) {
            for (int64_t item = begin; item < end; ++item) {
                const int64_t n = item / conv.c, row = item % conv.c, channel0 = row / c * k;
                for (int64_t pixel = 0; pixel < conv.h * conv.w; ++pixel) {
                    double sum = 0;
                    for (int64_t tap = 0; tap < conv.taps(); ++tap) {
                        const int64_t y = pixel / conv.w + conv.pad_top - tap / conv.s * conv.dilation_h;
                        const int64_t x = pixel % conv.w + conv.pad_left - tap % conv.s * conv.dilation_w;
                        if (y < 0 || x < 0 || y % conv.stride_h != 0 || x % conv.stride_w != 0) continue;
                        if (y / conv.stride_h >= oh || x / conv.stride_w >= ow) continue;
                        const float* const at =
                            arguments.diff_dst + blocked_index(n, channel0,
                                                               y / conv.stride_h * ow + x / conv.stride_w,
                                                               conv.k, area, b);
                        weights.each(row, tap, [&](int64_t i, float value) {
                            sum += static_cast<double>(value) * at[i * area * b];
                        });
                    }
                    arguments.out[blocked_index(n, row, pixel, conv.c, conv.h * conv.w, b)] =
                        static_cast<float>(sum);
                }
            }
        });
    }

    // SDGP: only the kept gradients of each position are scattered through the window.
    void backward_sparse_gradient(const Arguments& arguments) const {
        const Conv& conv = problem().conv;
        const int64_t oh = conv.out_h(), ow = conv.out_w(), c = conv.c / conv.groups,
                      k = conv.k / conv.groups;
        const int64_t image = conv.c * conv.h * conv.w;
        const auto* const weights = reinterpret_cast<const float*>(arguments.prepared.data());
        const Rows gradient{
            .packed = packed_gradient(arguments, {problem().pattern(), conv.n * oh * ow, 1, conv.k})};
        parallel_team([&](int thread, int team) {
            team = std::min(team, threads_);
            if (thread >= team) return;
            double* const sums = reinterpret_cast<double*>(arguments.workspace.data()) + thread * image;
            const auto [begin, end] = share(conv.n, thread, team);
            for (int64_t n = begin; n < end; ++n) {
                std::fill_n(sums, image, 0.0);
                for (int64_t position = 0; position < oh * ow; ++position) {
                    gradient.each(n * oh * ow + position, 0, [&](int64_t row, float value) {
                        for (int64_t i = 0; i < c * conv.taps(); ++i) {
                            const int64_t pixel = window_pixel(position, i % conv.taps());
                            if (pixel < 0) continue;
                            sums[(row / k * c + i / conv.taps()) * conv.h * conv.w + pixel] +=
                                static_cast<double>(value) * weights[row * c * conv.taps() + i];
                        }
                    });
                }
                for (int64_t i = 0; i < image; ++i) {
                    arguments.out[blocked_index(n, i / (conv.h * conv.w), i % (conv.h * conv.w), conv.c,
                                                conv.h * conv.w, problem().block)] =
                        static_cast<float>(sums[i]);
                }
            }
        });
    }

    void weight_gradient(const Arguments& arguments) const {
        const Conv& conv = problem().conv;
        const int64_t b = problem().block, area = conv.out_h() * conv.out_w();
        const int64_t c = conv.c / conv.groups, k = conv.k / conv.groups;
        const bool sparse = problem().sparse() == Operand::diff_dst;
        Rows gradient;
        if (sparse)
            gradient.packed = packed_gradient(arguments, {problem().pattern(), conv.k, 1, conv.n * area});
        parallel_for(conv.k * c, 1, [&](int64_t begin, int64_t end) {
            for (int64_t item = begin; item < end; ++item) {
                const int64_t row = item / c, channel = row / k * c + item % c;
                for (int64_t tap = 0; tap < conv.taps(); ++tap) {
                    double sum = 0;
                    const auto add = [&](int64_t position, float value) {
                        const int64_t pixel = window_pixel(position % area, tap);
                        if (pixel < 0) return;
                        sum += static_cast<double>(value) *
                               arguments.src[blocked_index(position / area, channel, pixel, conv.c,
                                                           conv.h * conv.w, b)];
                    };
                    if (sparse) {
                        gradient.each(row, 0, add);
                    } else {
                        for (int64_t position = 0; position < conv.n * area; ++position) {
                            add(position, arguments.diff_dst[blocked_index(
                                              position / area, row, position % area, conv.k, area, b)]);
                        }
                    }
                    arguments.out[item * conv.taps() + tap] = static_cast<float>(sum);
                }
            }
        });
    }

    PackedView packed_gradient(const Arguments& arguments, const PackedShape& shape) const {
        if (arguments.packed_diff_dst == nullptr || arguments.packed_diff_dst->shape != shape) {
            fail("{}: no compact diff_dst of {} rows, reduction {}", to_string(problem()), shape.rows,
                 shape.reduction);
        }
        return *arguments.packed_diff_dst;
    }

    // The input pixel that a tap of the window at an output position reads, or -1 in the padding.
    int64_t window_pixel(int64_t position, int64_t tap) const {
        const Conv& conv = problem().conv;
        const int64_t ow = conv.out_w();
        const int64_t y = position / ow * conv.stride_h + tap / conv.s * conv.dilation_h - conv.pad_top;
        const int64_t x = position % ow * conv.stride_w + tap % conv.s * conv.dilation_w - conv.pad_left;
        return y < 0 || y >= conv.h || x < 0 || x >= conv.w ? -1 : y * conv.w + x;
    }

    int threads_;
    PackedShape shape_;
};

}  // namespace

std::unique_ptr<Product> make_reference(const Problem& problem, const MicroKernels&) {
    return std::make_unique<Reference>(problem);
}

}  // namespace enmesh::products
