#include <algorithm>
#include <array>

#include "accel/sat/arithmetic/sat_products.hpp"
#include "accel/sat/stce/stce_kernels.hpp"
#include "enmesh/base/arithmetic.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/strided_phases.hpp"

namespace enmesh::accel::sat {
namespace {

using detail::aligned;
using detail::canonical_sum;
using products::Conv;
using products::Operand;
using products::PackedView;
using products::Problem;
using PStage = products::Stage;

/// A phase of FF or BP: out pixels (rows × cols of every image), a reduction over taps × channels.
struct Phase {
    const AxisPhase* down = nullptr;
    const AxisPhase* across = nullptr;
    int64_t first_tap = 0;  ///< place of its weights among all phases', in taps

    int64_t taps() const { return static_cast<int64_t>(down->taps.size() * across->taps.size()); }
    int64_t pixels() const { return down->count * across->count; }
};

/// What the FF and BP products of a layer have in common: a map with `channels` channels per group is read
/// through windows, `rows` outputs per group are made for each pixel.
class WindowProduct : public products::Product {
  public:
    explicit WindowProduct(const Problem& problem) : Product(problem), kernels_(stce_kernels()) {
        const Conv& c = problem.conv;
        const bool ff = problem.stage == PStage::ff;
        groups_ = c.groups;
        channels_ = (ff ? c.c : c.k) / groups_;
        rows_ = (ff ? c.k : c.c) / groups_;
        in_height_ = ff ? c.h : c.out_h();
        in_width_ = ff ? c.w : c.out_w();
        out_height_ = ff ? c.out_h() : c.h;
        out_width_ = ff ? c.out_w() : c.w;
        down_ = phases_of(c.down(), ff);
        across_ = phases_of(c.across(), ff);
        int64_t tap = 0;
        for (const AxisPhase& down : down_) {
            for (const AxisPhase& across : across_) {
                phases_.push_back({&down, &across, tap});
                tap += phases_.back().taps();
            }
        }
        if (problem.sparse() != Operand::none && channels_ % problem.pattern().m != 0)
            refuse("device sat: {}: its {} channels are no whole groups of {}", to_string(problem), channels_,
                   problem.pattern().m);
        tap_entries_ = problem.sparse() == Operand::none
                           ? channels_
                           : channels_ / problem.pattern().m * problem.pattern().n;
        threads_ = threads();
    }

    std::string_view kernel() const override { return "sat"; }
    size_t workspace_bytes() const override {
        return static_cast<size_t>(aligned(map_values() * 2) + threads_ * scratch_bytes());
    }

  protected:
    int64_t images() const { return problem().conv.n; }
    int64_t taps() const { return problem().conv.taps(); }
    int64_t map_values() const { return images() * in_height_ * in_width_ * channels_ * groups_; }
    int64_t longest() const {
        int64_t most = 1;
        for (const Phase& phase : phases_) most = std::max(most, phase.taps());
        return most;
    }
    virtual int64_t scratch_bytes() const = 0;
    std::byte* scratch(const products::Arguments& arguments, int thread) const {
        return arguments.workspace.data() + aligned(map_values() * 2) + thread * scratch_bytes();
    }

    /// Entry of the weights in KCRS for output row `row` of a group, tap (r, s), channel `c` of the group.
    int64_t weight_index(int64_t group, int64_t row, int64_t tap, int64_t c) const {
        const Conv& conv = problem().conv;
        const bool ff = problem().stage == PStage::ff;
        const int64_t k = ff ? group * rows_ + row : group * channels_ + c;
        const int64_t in = ff ? c : row;
        return (k * (conv.c / groups_) + in) * taps() + tap;
    }
    int64_t tap_of(const Phase& phase, int64_t t) const {
        const auto width = static_cast<int64_t>(phase.across->taps.size());
        return phase.down->taps[static_cast<size_t>(t / width)].index * problem().conv.s +
               phase.across->taps[static_cast<size_t>(t % width)].index;
    }

    /// A dense map as Half, [image][pixel][channel].
    void narrow_map(const float* from, Half* to) const {
        const int64_t area = in_height_ * in_width_, all = channels_ * groups_, block = problem().block;
        parallel_for(images() * area, 256, [&](int64_t begin, int64_t end) {
            std::array<float, 256> line;
            for (int64_t at = begin; at < end; ++at) {
                const int64_t n = at / area, pixel = at % area;
                const int64_t step = area * block;
                const float* const first = from + n / block * all * step + pixel * block + n % block;
                for (int64_t c = 0; c < all; c += 256) {
                    const int64_t count = std::min<int64_t>(256, all - c);
                    for (int64_t i = 0; i < count; ++i) line[static_cast<size_t>(i)] = first[(c + i) * step];
                    kernels_.narrow(line.data(), to + at * all + c, count);
                }
            }
        });
    }

    /// Calls body(t, input position) for every tap of a pixel's window; -1 stands for the padding.
    void each_tap(const Phase& phase, int64_t pixel, const auto& body) const {
        const int64_t area = phase.pixels(), n = pixel / area;
        const int64_t i = pixel % area / phase.across->count, j = pixel % area % phase.across->count;
        int64_t t = 0;
        for (const AxisPhase::Tap& down : phase.down->taps) {
            const int64_t y = phase.down->reads(i, down);
            for (const AxisPhase::Tap& across : phase.across->taps) {
                const int64_t x = phase.across->reads(j, across);
                const bool inside = y >= 0 && y < in_height_ && x >= 0 && x < in_width_;
                body(t++, inside ? (n * in_height_ + y) * in_width_ + x : -1);
            }
        }
    }

    /// Where output row 0 of a group stands for a pixel, and how far apart rows are.
    int64_t out_index(const Phase& phase, int64_t pixel) const {
        const int64_t area = phase.pixels(), n = pixel / area;
        const int64_t y = phase.down->first + pixel % area / phase.across->count * phase.down->step;
        const int64_t x = phase.across->first + pixel % area % phase.across->count * phase.across->step;
        return products::blocked_index(n, 0, y * out_width_ + x, rows_ * groups_, out_height_ * out_width_,
                                       problem().block);
    }
    int64_t out_row_stride() const { return out_height_ * out_width_ * problem().block; }

    /// Pixels that no tap reaches (a stride larger than the window) receive nothing.
    void clear_unreached(float* out) const {
        const bool reached =
            std::all_of(phases_.begin(), phases_.end(), [](const Phase& phase) { return phase.taps() > 0; });
        if (!reached) std::fill_n(out, images() * rows_ * groups_ * out_height_ * out_width_, 0.0F);
    }

    const StceKernels& kernels_;
    int64_t groups_ = 1, channels_ = 0, rows_ = 0;
    int64_t in_height_ = 0, in_width_ = 0, out_height_ = 0, out_width_ = 0;
    int64_t tap_entries_ = 0;  ///< of the indexed operand
    int threads_ = 1;
    std::vector<AxisPhase> down_, across_;
    std::vector<Phase> phases_;
};

/// FF and BP with the weights as the indexed operand: im2col rows stream.
class StreamedMap final : public WindowProduct {
  public:
    using WindowProduct::WindowProduct;

    size_t prepared_bytes() const override {
        return static_cast<size_t>(groups_ * rows_ * taps() * tap_entries_) *
               (sizeof(float) + sizeof(int32_t));
    }

    void prepare(const PackedView& weights, std::span<std::byte> prepared) const override {
        if (problem().sparse() != Operand::weights) return Product::prepare(weights, prepared);
        const Pattern pattern = problem().pattern();
        fill(prepared, [&](int64_t group, int64_t row, int64_t tap, int64_t e) {
            const int64_t at = ((group * rows_ + row) * taps() + tap) * tap_entries_ + e;
            return std::pair{weights.values[static_cast<size_t>(at)],
                             e / pattern.n * pattern.m + weights.indices[static_cast<size_t>(at)]};
        });
    }
    void prepare(std::span<const float> weights, std::span<std::byte> prepared) const override {
        if (problem().sparse() != Operand::none) return Product::prepare(weights, prepared);
        fill(prepared, [&](int64_t group, int64_t row, int64_t tap, int64_t e) {
            return std::pair{weights[static_cast<size_t>(weight_index(group, row, tap, e))], e};
        });
    }

    void run(const products::Arguments& arguments) const override {
        const bool ff = problem().stage == PStage::ff;
        const auto map = reinterpret_cast<Half*>(arguments.workspace.data());
        narrow_map(ff ? arguments.src : arguments.diff_dst, map);
        clear_unreached(arguments.out);
        for (const Phase& phase : phases_) {
            if (phase.taps() == 0) continue;
            const int64_t blocks = ceil_div(images() * phase.pixels(), product_rows);
            parallel_team([&](int thread, int team) {
                team = std::min(team, threads_);
                if (thread >= team) return;
                const auto [begin, end] = share(blocks * groups_, thread, team);
                for (int64_t b = begin; b < end; ++b)
                    run_block(arguments, phase, b / groups_, b % groups_, map, scratch(arguments, thread));
            });
        }
    }

  private:
    int64_t scratch_bytes() const override {
        return aligned(product_rows * longest() * channels_ * 2) +
               aligned(int64_t{product_panel} * product_rows * 4) + aligned(rows_ * product_rows * 4);
    }

    /// values[], then positions[]: phase by phase, group by group, row by row in (r, s, c) order.
    void fill(std::span<std::byte> prepared, const auto& entry) const {
        auto* const values = reinterpret_cast<float*>(prepared.data());
        auto* const positions = reinterpret_cast<int32_t*>(values + groups_ * rows_ * taps() * tap_entries_);
        for (const Phase& phase : phases_) {
            parallel_for(groups_ * rows_, 16, [&](int64_t begin, int64_t end) {
                for (int64_t item = begin; item < end; ++item) {
                    int64_t at = offset(phase, item / rows_) + item % rows_ * phase.taps() * tap_entries_;
                    for (int64_t t = 0; t < phase.taps(); ++t) {
                        const int64_t tap = tap_of(phase, t);
                        for (int64_t e = 0; e < tap_entries_; ++e, ++at) {
                            const auto [value, position] = entry(item / rows_, item % rows_, tap, e);
                            values[at] = to_float(to_half(value));
                            positions[at] = static_cast<int32_t>(t * channels_ + position);
                        }
                    }
                }
            });
        }
    }
    int64_t offset(const Phase& phase, int64_t group) const {
        return (phase.first_tap * groups_ + group * phase.taps()) * rows_ * tap_entries_;
    }

    void run_block(const products::Arguments& arguments, const Phase& phase, int64_t index, int64_t group,
                   const Half* map, std::byte* memory) const {
        const int64_t k = phase.taps() * channels_, first = index * product_rows;
        auto* const rows = reinterpret_cast<Half*>(memory);
        memory += aligned(product_rows * longest() * channels_ * 2);
        auto* const panel = reinterpret_cast<float*>(memory);
        auto* const sums =
            reinterpret_cast<float*>(memory + aligned(int64_t{product_panel} * product_rows * 4));
        const auto count =
            static_cast<int>(std::min<int64_t>(product_rows, images() * phase.pixels() - first));
        for (int r = 0; r < count; ++r) {
            each_tap(phase, first + r, [&](int64_t t, int64_t from) {
                Half* const to = rows + r * k + t * channels_;
                if (from < 0)
                    std::fill_n(to, channels_, Half{});
                else
                    std::copy_n(map + (from * groups_ + group) * channels_, channels_, to);
            });
        }
        const auto* const values = reinterpret_cast<const float*>(arguments.prepared.data());
        const bool dense = problem().sparse() == Operand::none;
        ProductBlock block;
        block.streamed = rows;
        block.rows = count;
        block.k = k;
        block.group = dense ? 1 : problem().pattern().m;
        block.group_entries = dense ? 1 : problem().pattern().n;
        block.groups = block.whole_groups = k / block.group;
        block.columns = rows_;
        block.entries = phase.taps() * tap_entries_;
        block.values = values + offset(phase, group);
        block.positions = reinterpret_cast<const int32_t*>(values + groups_ * rows_ * taps() * tap_entries_) +
                          offset(phase, group);
        block.dense = dense;
        block.panel = panel;
        block.sums = sums;
        kernels_.product_block(block);
        std::array<int64_t, product_rows> places;
        for (int r = 0; r < count; ++r)
            places[static_cast<size_t>(r)] = out_index(phase, first + r) + group * rows_ * out_row_stride();
        for (int64_t row = 0; row < rows_; ++row) {
            const float bias =
                arguments.epilogue.bias != nullptr ? arguments.epilogue.bias[group * rows_ + row] : 0.0F;
            float* const out = arguments.out + row * out_row_stride();
            for (int r = 0; r < count; ++r) {
                float value = canonical_sum(sums[row * product_rows + r]);
                if (arguments.epilogue.bias != nullptr) value += bias;
                if (arguments.epilogue.relu) value = std::max(value, 0.0F);
                out[places[static_cast<size_t>(r)]] = value;
            }
        }
    }
};

/// BP with an N:M out-grad as the indexed operand: the weights stream, pixels are columns.
class StreamedWeights final : public WindowProduct {
  public:
    explicit StreamedWeights(const Problem& problem) : WindowProduct(problem) {
        if (groups_ != 1)
            refuse("device sat: {}: an N:M out-grad of a grouped convolution", to_string(problem));
    }

    size_t prepared_bytes() const override {
        return static_cast<size_t>(rows_ * taps() * channels_) * sizeof(Half);
    }
    void prepare(std::span<const float> weights, std::span<std::byte> prepared) const override {
        auto* const to = reinterpret_cast<Half*>(prepared.data());
        for (const Phase& phase : phases_) {
            const int64_t k = phase.taps() * channels_;
            parallel_for(rows_, 16, [&](int64_t begin, int64_t end) {
                for (int64_t row = begin; row < end; ++row)
                    for (int64_t i = 0; i < k; ++i)
                        to[phase.first_tap * channels_ * rows_ + row * k + i] =
                            to_half(weights[static_cast<size_t>(
                                weight_index(0, row, tap_of(phase, i / channels_), i % channels_))]);
            });
        }
    }

    void run(const products::Arguments& arguments) const override {
        clear_unreached(arguments.out);
        for (const Phase& phase : phases_) {
            if (phase.taps() == 0) continue;
            const int64_t chunks = ceil_div(images() * phase.pixels(), columns);
            parallel_team([&](int thread, int team) {
                team = std::min(team, threads_);
                if (thread >= team) return;
                const auto [begin, end] = share(chunks, thread, team);
                for (int64_t chunk = begin; chunk < end; ++chunk)
                    run_chunk(arguments, phase, chunk * columns, scratch(arguments, thread));
            });
        }
    }

  private:
    static constexpr int64_t columns = 96;

    int64_t scratch_bytes() const override {
        return 2 * aligned(columns * longest() * tap_entries_ * 4) +
               aligned(int64_t{product_panel} * product_rows * 4) + aligned(columns * product_rows * 4);
    }

    void run_chunk(const products::Arguments& arguments, const Phase& phase, int64_t first,
                   std::byte* memory) const {
        const PackedView& gradient = *arguments.packed_diff_dst;
        const Pattern pattern = problem().pattern();
        const int64_t entries = phase.taps() * tap_entries_;
        const int64_t count = std::min(columns, images() * phase.pixels() - first);
        auto* const values = reinterpret_cast<float*>(memory);
        memory += aligned(columns * longest() * tap_entries_ * 4);
        auto* const positions = reinterpret_cast<int32_t*>(memory);
        memory += aligned(columns * longest() * tap_entries_ * 4);
        for (int64_t column = 0; column < count; ++column) {
            each_tap(phase, first + column, [&](int64_t t, int64_t from) {
                int64_t at = column * entries + t * tap_entries_;
                for (int64_t e = 0; e < tap_entries_; ++e, ++at) {
                    const auto source = static_cast<size_t>(from * tap_entries_ + e);
                    const int64_t index = from < 0 ? e % pattern.n : gradient.indices[source];
                    values[at] = from < 0 ? 0.0F : to_float(to_half(gradient.values[source]));
                    positions[at] = static_cast<int32_t>(t * channels_ + e / pattern.n * pattern.m + index);
                }
            });
        }
        ProductBlock block;
        block.k = phase.taps() * channels_;
        block.group = pattern.m;
        block.group_entries = pattern.n;
        block.groups = block.whole_groups = block.k / pattern.m;
        block.columns = count;
        block.entries = entries;
        block.values = values;
        block.positions = positions;
        block.panel = reinterpret_cast<float*>(memory);
        block.sums = reinterpret_cast<float*>(memory + aligned(int64_t{product_panel} * product_rows * 4));
        const auto* const weights =
            reinterpret_cast<const Half*>(arguments.prepared.data()) + phase.first_tap * channels_ * rows_;
        for (int64_t row = 0; row < rows_; row += product_rows) {
            block.streamed = weights + row * block.k;
            block.rows = static_cast<int>(std::min<int64_t>(product_rows, rows_ - row));
            kernels_.product_block(block);
            for (int64_t column = 0; column < count; ++column) {
                float* const to = arguments.out + out_index(phase, first + column) + row * out_row_stride();
                for (int r = 0; r < block.rows; ++r)
                    to[r * out_row_stride()] = canonical_sum(block.sums[column * product_rows + r]);
            }
        }
    }
};

}  // namespace

std::unique_ptr<products::Product> detail::sat_window_product(const Problem& problem) {
    if (problem.sparse() == Operand::diff_dst) return std::make_unique<StreamedWeights>(problem);
    return std::make_unique<StreamedMap>(problem);
}

}  // namespace enmesh::accel::sat
