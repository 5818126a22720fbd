#include "enmesh/products/select.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/random.hpp"
#include "products/kernels.hpp"

namespace enmesh::products {
namespace {

constexpr int max_lanes = 16;

// Inclusion probabilities of one group. Certain elements (pi = 1) are known as such, so that the others'
// cumulative sum meets its integers exactly.
struct Inclusion {
    std::array<bool, Pattern::max_m> certain{};
    double tau = 0;   // value of a chosen uncertain element
    int chances = 0;  // how many of the uncertain are chosen
    std::array<double, Pattern::max_m>
        cumulative{};  // over the uncertain, in index order; the last is `chances`
    int last = -1;     // last uncertain element with pi > 0
};

Inclusion inclusion_of(std::span<const float> group, int n) {
    const int m = static_cast<int>(group.size());
    std::array<int, Pattern::max_m> order{};
    for (int i = 0; i < m; ++i) order[i] = i;
    std::stable_sort(order.begin(), order.begin() + m,
                     [&](int a, int b) { return std::abs(group[a]) > std::abs(group[b]); });
    double rest = 0;
    for (int i = 0; i < m; ++i) rest += std::abs(static_cast<double>(group[i]));
    Inclusion result;
    int taken = 0;
    // The largest is certain while it would be included with probability one or more.
    while (taken < n) {
        const double largest = std::abs(static_cast<double>(group[order[taken]]));
        if (largest == 0 || largest * (n - taken) < rest) break;
        result.certain[order[taken]] = true;
        ++taken;
        rest = 0;
        for (int i = taken; i < m; ++i) rest += std::abs(static_cast<double>(group[order[i]]));
    }
    if (taken == n || rest == 0) return result;
    result.chances = n - taken;
    result.tau = rest / result.chances;
    double sum = 0;
    for (int i = 0; i < m; ++i) {
        if (!result.certain[i] && group[i] != 0.0F) {
            sum += std::abs(static_cast<double>(group[i])) / result.tau;
            result.last = i;
        }
        result.cumulative[i] = sum;
    }
    for (int i = result.last; i < m; ++i) result.cumulative[i] = result.chances;
    return result;
}

bool finite(std::span<const float> group) {
    return std::all_of(group.begin(), group.end(), [](float value) { return std::isfinite(value); });
}

void select_magnitude(std::span<const float> group, int n, std::span<float> values,
                      std::span<uint8_t> indices) {
    const int m = static_cast<int>(group.size());
    std::array<float, Pattern::max_m * max_lanes> in{}, kept{};
    std::array<int32_t, Pattern::max_m * max_lanes> at{};
    for (int i = 0; i < m; ++i) in[i * micro_portable.lanes] = group[i];
    micro_portable.select(in.data(), m, n, kept.data(), at.data());
    for (int slot = 0; slot < n; ++slot) {
        values[slot] = kept[slot * micro_portable.lanes];
        indices[slot] = static_cast<uint8_t>(at[slot * micro_portable.lanes]);
    }
}

void take(const Inclusion& inclusion, std::span<const float> group, int n, double uniform,
          std::span<float> values, std::span<uint8_t> indices) {
    const int m = static_cast<int>(group.size());
    std::array<bool, Pattern::max_m> kept{};
    int count = 0, next = 0;  // `next` of the points uniform, uniform + 1, ... have been passed
    for (int i = 0; i < m; ++i) {
        kept[i] = inclusion.certain[i];
        if (!kept[i] && group[i] != 0.0F && next < inclusion.chances &&
            inclusion.cumulative[i] > uniform + next) {
            kept[i] = true;
            ++next;
        }
        count += kept[i] ? 1 : 0;
    }
    int slot = 0;
    for (int i = 0; i < m && slot < n; ++i) {
        if (kept[i]) {
            values[slot] =
                inclusion.certain[i] ? group[i] : std::copysign(static_cast<float>(inclusion.tau), group[i]);
        } else if (count < n) {
            values[slot] = 0.0F;
            ++count;
        } else {
            continue;
        }
        indices[slot++] = static_cast<uint8_t>(i);
    }
}

// Addresses of a batch-blocked diff_dst as rows x reduction.
struct GradientAxes {
    const float* data;
    int64_t channels, area, block;
    bool along_channels;

    float at(int64_t row, int64_t i) const {
        const int64_t position = along_channels ? row : i, channel = along_channels ? i : row;
        return data[blocked_index(position / area, channel, position % area, channels, area, block)];
    }
};

void pack_magnitude(const GradientAxes& axes, PackedSpan out, int64_t begin, int64_t end) {
    const auto [n, m] = out.shape.pattern;
    const MicroKernels& micro = micro_kernels(isa());
    const int64_t groups = out.shape.groups();
    alignas(64) std::array<float, Pattern::max_m * max_lanes> in{}, values{};
    alignas(64) std::array<int32_t, Pattern::max_m * max_lanes> indices{};
    for (int64_t first = begin * groups; first < end * groups; first += micro.lanes) {
        const int64_t used = std::min<int64_t>(micro.lanes, end * groups - first);
        for (int64_t lane = 0; lane < used; ++lane) {
            const int64_t row = (first + lane) / groups, group = (first + lane) % groups;
            for (int i = 0; i < m; ++i) in[i * micro.lanes + lane] = axes.at(row, group * m + i);
        }
        micro.select(in.data(), m, n, values.data(), indices.data());
        for (int64_t lane = 0; lane < used; ++lane) {
            for (int slot = 0; slot < n; ++slot) {
                out.values[(first + lane) * n + slot] = values[slot * micro.lanes + lane];
                out.indices[(first + lane) * n + slot] =
                    static_cast<uint8_t>(indices[slot * micro.lanes + lane]);
            }
        }
    }
}

void pack_mvue(const GradientAxes& axes, const Random& random, PackedSpan out, int64_t begin, int64_t end) {
    const auto [n, m] = out.shape.pattern;
    const int64_t groups = out.shape.groups();
    std::array<float, Pattern::max_m> group{};
    for (int64_t item = begin * groups; item < end * groups; ++item) {
        for (int i = 0; i < m; ++i) group[i] = axes.at(item / groups, item % groups * m + i);
        const double uniform = static_cast<double>(random.at(static_cast<uint64_t>(item)) >> 11) * 0x1p-53;
        select_mvue({group.data(), static_cast<size_t>(m)}, n, uniform, out.values.subspan(item * n, n),
                    out.indices.subspan(item * n, n));
    }
}

// The 90 masks of a 4 x 4 block with two in each row and column, as four row patterns of six.
constexpr std::array<std::array<uint8_t, 2>, 6> pairs_of_four = {
    {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}}};

std::vector<std::array<uint8_t, 4>> masks_of_two_in_four() {
    std::vector<std::array<uint8_t, 4>> masks;
    for (int code = 0; code < 6 * 6 * 6 * 6; ++code) {
        const std::array<uint8_t, 4> rows = {
            static_cast<uint8_t>(code / 216), static_cast<uint8_t>(code / 36 % 6),
            static_cast<uint8_t>(code / 6 % 6), static_cast<uint8_t>(code % 6)};
        std::array<int, 4> columns{};
        for (const uint8_t row : rows) {
            for (const uint8_t column : pairs_of_four[row]) ++columns[column];
        }
        if (columns == std::array<int, 4>{2, 2, 2, 2}) masks.push_back(rows);
    }
    return masks;
}

void two_in_four(std::span<const float> magnitudes, std::span<uint8_t> mask) {
    static const std::vector<std::array<uint8_t, 4>> masks = masks_of_two_in_four();
    std::array<std::array<double, 6>, 4> sums{};
    for (int row = 0; row < 4; ++row) {
        for (int pair = 0; pair < 6; ++pair) {
            const auto [a, b] = pairs_of_four[pair];
            sums[row][pair] = static_cast<double>(magnitudes[row * 4 + a]) + magnitudes[row * 4 + b];
        }
    }
    double best = -1;
    const std::array<uint8_t, 4>* choice = nullptr;
    for (const auto& rows : masks) {
        const double sum = (sums[0][rows[0]] + sums[1][rows[1]]) + (sums[2][rows[2]] + sums[3][rows[3]]);
        if (sum > best) best = sum, choice = &rows;
    }
    std::fill(mask.begin(), mask.end(), uint8_t{0});
    for (int row = 0; row < 4; ++row) {
        for (const uint8_t column : pairs_of_four[(*choice)[row]]) mask[row * 4 + column] = 1;
    }
}

// Exact maximum of a 0/1 transportation problem: rows get their N columns one by one, each along the best
// augmenting path (successive shortest paths; Bellman-Ford, because removing a kept element has negative
// cost).
class Transport {
  public:
    Transport(Pattern pattern, std::span<const float> gains, std::span<uint8_t> mask)
        : m_(pattern.m), gains_(gains), mask_(mask) {
        std::fill(mask_.begin(), mask_.end(), uint8_t{0});
        std::fill_n(free_.begin(), m_, pattern.n);
        for (int row = 0; row < m_; ++row) {
            for (int i = 0; i < pattern.n; ++i) augment(row);
        }
    }

  private:
    void augment(int source) {
        constexpr double unreached = -1e300;
        std::array<double, Pattern::max_m> row_gain, column_gain;
        std::array<int, Pattern::max_m> column_from{}, row_from{};
        row_gain.fill(unreached);
        column_gain.fill(unreached);
        row_gain[source] = 0;
        bool changed = true;
        for (int round = 0; changed && round <= 2 * m_; ++round) {
            changed = false;
            for (int row = 0; row < m_; ++row) {
                if (row_gain[row] == unreached) continue;
                for (int column = 0; column < m_; ++column) {
                    const double gain = row_gain[row] + gain_of(row, column);
                    if (kept(row, column) || !(gain > column_gain[column])) continue;
                    column_gain[column] = gain;
                    column_from[column] = row;
                    changed = true;
                }
            }
            for (int column = 0; column < m_; ++column) {
                if (column_gain[column] == unreached) continue;
                for (int row = 0; row < m_; ++row) {
                    const double gain = column_gain[column] - gain_of(row, column);
                    if (!kept(row, column) || row == source || !(gain > row_gain[row])) continue;
                    row_gain[row] = gain;
                    row_from[row] = column;
                    changed = true;
                }
            }
        }
        int column = -1;
        for (int candidate = 0; candidate < m_; ++candidate) {
            if (free_[candidate] > 0 && column_gain[candidate] != unreached &&
                (column < 0 || column_gain[candidate] > column_gain[column])) {
                column = candidate;
            }
        }
        ENMESH_ASSERT(column >= 0);
        --free_[column];
        for (int step = 0; step <= 2 * m_; ++step) {
            const int row = column_from[column];
            mask_[row * m_ + column] = 1;
            if (row == source) return;
            column = row_from[row];
            mask_[row * m_ + column] = 0;
        }
        ENMESH_ASSERT(false);
    }

    double gain_of(int row, int column) const { return gains_[row * m_ + column]; }
    bool kept(int row, int column) const { return mask_[row * m_ + column] != 0; }

    int m_;
    std::span<const float> gains_;
    std::span<uint8_t> mask_;
    std::array<int, Pattern::max_m> free_{};
};

// Rows past the last whole block keep N of M along the other direction; what is past both stays whole.
void mask_remainder(const Conv& conv, Pattern pattern, std::span<const float> weights,
                    std::span<uint8_t> mask, Stage stage) {
    Packed packed(weights_shape(conv, stage, pattern));
    pack_weights(conv, stage, weights, packed.span());
    const PackedView view = packed.view();
    const int64_t taps = conv.taps(), c = conv.c / conv.groups, k = conv.k / conv.groups;
    const int64_t rows = stage == Stage::ff ? k : c, whole = rows / pattern.m * pattern.m;
    const int64_t groups = view.shape.groups();
    for (int64_t row = 0; row < view.shape.rows; ++row) {
        if (row % rows < whole) continue;
        for (int64_t item = 0; item < taps * groups; ++item) {
            const auto element = [&](int64_t i) -> uint8_t& {
                const int64_t tap = item / groups, at = item % groups * pattern.m + i;
                const int64_t filter = stage == Stage::ff ? row * c + at : (row / c * k + at) * c + row % c;
                return mask[filter * taps + tap];
            };
            for (int i = 0; i < pattern.m; ++i) element(i) = 0;
            for (int slot = 0; slot < pattern.n; ++slot) {
                element(view.indices[(row * taps * groups + item) * pattern.n + slot]) = 1;
            }
        }
    }
}

}  // namespace

void select_mvue(std::span<const float> group, int n, double uniform, std::span<float> values,
                 std::span<uint8_t> indices) {
    if (!finite(group)) return select_magnitude(group, n, values, indices);
    take(inclusion_of(group, n), group, n, uniform, values, indices);
}

std::vector<MvueOutcome> mvue_outcomes(std::span<const float> group, int n) {
    const Inclusion inclusion = inclusion_of(group, n);
    std::vector<double> cuts = {0.0, 1.0};
    for (size_t i = 0; i < group.size(); ++i)
        cuts.push_back(inclusion.cumulative[i] - std::floor(inclusion.cumulative[i]));
    std::sort(cuts.begin(), cuts.end());
    std::vector<MvueOutcome> outcomes;
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
        if (cuts[i + 1] == cuts[i]) continue;
        MvueOutcome outcome{cuts[i + 1] - cuts[i], std::vector<float>(n), std::vector<uint8_t>(n)};
        take(inclusion, group, n, (cuts[i] + cuts[i + 1]) / 2, outcome.values, outcome.indices);
        outcomes.push_back(std::move(outcome));
    }
    return outcomes;
}

PackedShape diff_dst_shape(const Problem& problem) {
    const Conv& conv = problem.conv;
    const int64_t positions = conv.n * conv.out_h() * conv.out_w();
    if (problem.stage == Stage::bp) return {problem.pattern, positions, 1, conv.k};
    return {problem.pattern, conv.k, 1, positions};
}

void pack_diff_dst(const Problem& problem, const SelectOptions& options, const float* diff_dst,
                   PackedSpan out) {
    check(problem);
    if (problem.sparse != Operand::diff_dst || out.shape != diff_dst_shape(problem)) {
        fail("{}: the compact diff_dst does not fit", to_string(problem));
    }
    const Conv& conv = problem.conv;
    const GradientAxes axes{diff_dst, conv.k, conv.out_h() * conv.out_w(), problem.block,
                            problem.stage == Stage::bp};
    const Random random(options.seed, options.stream);
    const int64_t tail = out.shape.tail(), first_tail = out.shape.groups() * out.shape.pattern.m;
    parallel_for(out.shape.rows, 1, [&](int64_t begin, int64_t end) {
        if (options.how == Selection::magnitude) {
            pack_magnitude(axes, out, begin, end);
        } else {
            pack_mvue(axes, random, out, begin, end);
        }
        for (int64_t row = begin; row < end; ++row) {
            for (int64_t i = 0; i < tail; ++i) out.tail[row * tail + i] = axes.at(row, first_tail + i);
        }
    });
}

Packed pack_diff_dst(const Problem& problem, const SelectOptions& options, const float* diff_dst) {
    Packed packed(diff_dst_shape(problem));
    pack_diff_dst(problem, options, diff_dst, packed.span());
    return packed;
}

void transposable_block(Pattern pattern, std::span<const float> magnitudes, std::span<uint8_t> mask) {
    if (pattern == Pattern{2, 4}) return two_in_four(magnitudes, mask);
    Transport(pattern, magnitudes, mask);
}

void transposable_mask(const Conv& conv, Pattern pattern, std::span<const float> weights,
                       std::span<uint8_t> mask) {
    check_pattern(pattern);
    const int64_t taps = conv.taps(), c = conv.c / conv.groups, k = conv.k / conv.groups, m = pattern.m;
    if (weights.size() != static_cast<size_t>(conv.weights_size()) || mask.size() != weights.size()) {
        fail("{}: {} weights and a mask of {}", to_string(conv), weights.size(), mask.size());
    }
    if (!finite(weights)) fail("{}: non-finite weights have no transposable mask", to_string(conv));
    std::fill(mask.begin(), mask.end(), uint8_t{1});
    if (k % m != 0) mask_remainder(conv, pattern, weights, mask, Stage::ff);
    if (c % m != 0) mask_remainder(conv, pattern, weights, mask, Stage::bp);
    const int64_t blocks_k = k / m, blocks_c = c / m;
    parallel_for(conv.groups * blocks_k * blocks_c * taps, 16, [&](int64_t begin, int64_t end) {
        std::array<float, Pattern::max_m * Pattern::max_m> magnitudes{};
        std::array<uint8_t, Pattern::max_m * Pattern::max_m> kept{};
        const size_t size = static_cast<size_t>(m * m);
        for (int64_t item = begin; item < end; ++item) {
            const int64_t tap = item % taps, block_c = item / taps % blocks_c, rest = item / taps / blocks_c;
            const int64_t row = rest / blocks_k * k + rest % blocks_k * m;
            const auto at = [&](int64_t i) { return ((row + i / m) * c + block_c * m + i % m) * taps + tap; };
            for (int64_t i = 0; i < m * m; ++i) magnitudes[i] = std::abs(weights[at(i)]);
            transposable_block(pattern, {magnitudes.data(), size}, {kept.data(), size});
            for (int64_t i = 0; i < m * m; ++i) mask[at(i)] = kept[i];
        }
    });
}

}  // namespace enmesh::products
