#include <algorithm>
#include <array>

#include "accel/sat/arithmetic/sat_products.hpp"
#include "accel/sat/stce/stce_kernels.hpp"
#include "enmesh/base/arithmetic.hpp"
#include "enmesh/base/parallel.hpp"

namespace enmesh::accel::sat {
namespace {

using detail::aligned;
using detail::canonical_sum;
using products::Conv;
using products::Operand;
using products::PackedView;
using products::Problem;

/// WG: windows of the feature map stream position by position, the out-grad is the indexed operand.
class WeightGradient final : public products::Product {
  public:
    explicit WeightGradient(const Problem& problem)
        : Product(problem), kernels_(stce_kernels()), threads_(threads()) {
        const Conv& c = problem.conv;
        channels_ = c.c / c.groups;
        columns_ = c.k / c.groups;
        positions_ = c.n * c.out_h() * c.out_w();
        const bool sparse = problem.sparse() != Operand::none;
        chunk_ = sparse ? product_panel / problem.pattern().m * problem.pattern().m : product_panel;
        blocks_ = ceil_div(channels_ * c.taps(), product_rows);
        parts_ = std::min<int64_t>(columns_, ceil_div(threads_, blocks_ * c.groups));
    }

    std::string_view kernel() const override { return "sat"; }
    size_t prepared_bytes() const override { return 0; }
    size_t workspace_bytes() const override {
        return static_cast<size_t>(gradient_at() + gradient_bytes() + threads_ * scratch_bytes());
    }

    void run(const products::Arguments& arguments) const override {
        const Conv& c = problem().conv;
        narrow_source(arguments.src, reinterpret_cast<Half*>(arguments.workspace.data()));
        if (arguments.packed_diff_dst == nullptr)
            narrow_gradient(arguments.diff_dst,
                            reinterpret_cast<Half*>(arguments.workspace.data() + gradient_at()));
        const int64_t units = blocks_ * c.groups * parts_;
        parallel_team([&](int thread, int team) {
            team = std::min(team, threads_);
            if (thread >= team) return;
            const auto [begin, end] = share(units, thread, team);
            for (int64_t unit = begin; unit < end; ++unit) run_unit(arguments, unit, thread);
        });
    }

  private:
    int64_t gradient_at() const { return aligned(problem().conv.src_size() * 2); }
    int64_t gradient_bytes() const {
        return problem().sparse() == Operand::none ? aligned(problem().conv.dst_size() * 2) : 0;
    }
    int64_t part_columns() const { return ceil_div(columns_, parts_); }
    int64_t scratch_bytes() const {
        return aligned(chunk_ * product_rows * 4) + aligned(part_columns() * chunk_ * 4) +
               aligned(part_columns() * chunk_ * 4) + aligned(part_columns() * product_rows * 4);
    }

    /// [image][pixel][channel].
    void narrow_source(const float* from, Half* to) const {
        const Conv& c = problem().conv;
        const int64_t area = c.h * c.w, block = problem().block, step = area * block;
        parallel_for(c.n * area, 256, [&](int64_t begin, int64_t end) {
            std::array<float, 256> line;
            for (int64_t at = begin; at < end; ++at) {
                const int64_t n = at / area;
                const float* const first = from + n / block * c.c * step + at % area * block + n % block;
                for (int64_t ch = 0; ch < c.c; ch += 256) {
                    const int64_t count = std::min<int64_t>(256, c.c - ch);
                    for (int64_t i = 0; i < count; ++i) line[static_cast<size_t>(i)] = first[(ch + i) * step];
                    kernels_.narrow(line.data(), to + at * c.c + ch, count);
                }
            }
        });
    }

    /// [channel][image][position]: a channel's positions lie side by side.
    void narrow_gradient(const float* from, Half* to) const {
        const Conv& c = problem().conv;
        const int64_t area = c.out_h() * c.out_w(), block = problem().block;
        parallel_for(c.k * c.n, 16, [&](int64_t begin, int64_t end) {
            for (int64_t item = begin; item < end; ++item) {
                const int64_t k = item / c.n, n = item % c.n;
                const float* const first = from + products::blocked_index(n, k, 0, c.k, area, block);
                Half* const line = to + (k * c.n + n) * area;
                if (block == 1) {
                    kernels_.narrow(first, line, area);
                } else {
                    for (int64_t p = 0; p < area; ++p) line[p] = to_half(first[p * block]);
                }
            }
        });
    }

    /// panel[position][32]: windows' entries [first, first + 32) in (r, s, c) order.
    void fill_panel(const Half* source, int64_t group, int64_t first, int64_t begin, int64_t end,
                    float* panel) const {
        const Conv& c = problem().conv;
        const int64_t last = std::min(first + product_rows, channels_ * c.taps());
        const int64_t ow = c.out_w(), area = c.out_h() * ow;
        for (int64_t position = begin; position < end; ++position, panel += product_rows) {
            const int64_t n = position / area, y = position % area / ow, x = position % ow;
            for (int64_t i = first; i < last;) {
                const int64_t tap = i / channels_, channel = i % channels_;
                const int64_t count = std::min(last - i, channels_ - channel);
                const int64_t iy = y * c.stride_h + tap / c.s * c.dilation_h - c.pad_top;
                const int64_t ix = x * c.stride_w + tap % c.s * c.dilation_w - c.pad_left;
                if (iy < 0 || iy >= c.h || ix < 0 || ix >= c.w) {
                    std::fill_n(panel + (i - first), count, 0.0F);
                } else {
                    const int64_t at = ((n * c.h + iy) * c.w + ix) * c.c + group * channels_ + channel;
                    kernels_.widen(source + at, panel + (i - first), count);
                }
                i += count;
            }
            std::fill_n(panel + (last - first), product_rows - (last - first), 0.0F);
        }
    }

    void run_unit(const products::Arguments& arguments, int64_t unit, int thread) const {
        const Conv& c = problem().conv;
        const int64_t part = unit % parts_, group = unit / parts_ % c.groups;
        const int64_t first = unit / parts_ / c.groups * product_rows;
        const auto [column, column_end] = share(columns_, static_cast<int>(part), static_cast<int>(parts_));
        std::byte* memory =
            arguments.workspace.data() + gradient_at() + gradient_bytes() + thread * scratch_bytes();
        ProductBlock block;
        block.columns = column_end - column;
        block.panel = reinterpret_cast<float*>(memory);
        memory += aligned(chunk_ * product_rows * 4);
        auto* const values = reinterpret_cast<float*>(memory);
        memory += aligned(part_columns() * chunk_ * 4);
        auto* const places = reinterpret_cast<int32_t*>(memory);
        block.sums = reinterpret_cast<float*>(memory + aligned(part_columns() * chunk_ * 4));
        block.values = values;
        block.positions = places;
        block.dense = arguments.packed_diff_dst == nullptr;
        for (int64_t begin = 0; begin < positions_; begin += chunk_) {
            const int64_t end = std::min(begin + chunk_, positions_);
            fill_panel(reinterpret_cast<const Half*>(arguments.workspace.data()), group, first, begin, end,
                       block.panel);
            block.entries =
                block.dense
                    ? dense_values(arguments, group * columns_ + column, begin, end, block, values)
                    : packed_values(arguments, group * columns_ + column, begin, end, block, values, places);
            kernels_.product_panel_block(block);
            block.resume = true;
        }
        const int64_t last = std::min(first + product_rows, channels_ * c.taps());
        for (int64_t k = 0; k < block.columns; ++k) {
            float* const to = arguments.out + (group * columns_ + column + k) * channels_ * c.taps();
            for (int64_t i = first; i < last; ++i)
                to[i % channels_ * c.taps() + i / channels_] =
                    canonical_sum(block.sums[k * product_rows + (i - first)]);
        }
    }

    int64_t dense_values(const products::Arguments& arguments, int64_t first, int64_t begin, int64_t end,
                         const ProductBlock& block, float* values) const {
        const auto* const gradient =
            reinterpret_cast<const Half*>(arguments.workspace.data() + gradient_at());
        for (int64_t k = 0; k < block.columns; ++k)
            kernels_.widen(gradient + (first + k) * positions_ + begin, values + k * (end - begin),
                           end - begin);
        return end - begin;
    }

    /// The kept out-grads of positions [begin, end): whole groups, then at the very end the dense tail.
    int64_t packed_values(const products::Arguments& arguments, int64_t first, int64_t begin, int64_t end,
                          const ProductBlock& block, float* values, int32_t* places) const {
        const PackedView& gradient = *arguments.packed_diff_dst;
        const Pattern pattern = problem().pattern();
        const int64_t groups = positions_ / pattern.m, tail = positions_ % pattern.m;
        const int64_t from = begin / pattern.m, to = std::min(ceil_div(end, pattern.m), groups);
        const bool with_tail = end == positions_ && tail > 0;
        const int64_t entries = (to - from) * pattern.n + (with_tail ? tail : 0);
        for (int64_t k = 0; k < block.columns; ++k) {
            int64_t at = k * entries;
            for (int64_t e = from * pattern.n; e < to * pattern.n; ++e, ++at) {
                const auto source = static_cast<size_t>((first + k) * groups * pattern.n + e);
                values[at] = to_float(to_half(gradient.values[source]));
                places[at] =
                    static_cast<int32_t>(e / pattern.n * pattern.m + gradient.indices[source] - begin);
            }
            for (int64_t i = 0; with_tail && i < tail; ++i, ++at) {
                values[at] = to_float(to_half(gradient.tail[static_cast<size_t>((first + k) * tail + i)]));
                places[at] = static_cast<int32_t>(groups * pattern.m + i - begin);
            }
        }
        return entries;
    }

    const StceKernels& kernels_;
    int threads_;
    int64_t channels_ = 0;   ///< of the source, per group
    int64_t columns_ = 0;    ///< of the out-grad, per group
    int64_t positions_ = 0;  ///< the reduction
    int64_t chunk_ = 0, blocks_ = 0, parts_ = 1;
};

}  // namespace

std::unique_ptr<products::Product> detail::sat_weight_gradient(const Problem& problem) {
    return std::make_unique<WeightGradient>(problem);
}

}  // namespace enmesh::accel::sat
