#include "enmesh/products/select.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/random.hpp"
#include "products/kernels.hpp"
#include "products/micro/lane_groups.hpp"
#include "products/select/runs.hpp"

namespace enmesh::products {
namespace {

constexpr int max_lanes = 16;
constexpr int64_t matrix_rows =
    32;  // whose groups are read together: whole cache lines where they lie side by side

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

// A batch-blocked diff_dst as rows x reduction.
struct Gradient {
    const float* data;
    int64_t channels, area, block;
    bool along_channels;

    float at(int64_t row, int64_t i) const {
        const int64_t position = along_channels ? row : i, channel = along_channels ? i : row;
        return data[blocked_index(position / area, channel, position % area, channels, area, block)];
    }
};

struct Selector {
    const SelectOptions& options;
    PackedSpan out;

    float uniform(int64_t item) const { return Random::unit(options.random.at(static_cast<uint64_t>(item))); }
    void one(std::span<const float> group, int64_t item) const {
        const int n = out.shape.pattern.n;
        const auto values = out.values.subspan(item * n, n);
        const auto indices = out.indices.subspan(item * n, n);
        if (options.how == Selection::magnitude) return select_magnitude(group, n, values, indices);
        select_mvue(group, n, uniform(item), values, indices);
    }
};

// Up to `lanes` groups at once, one in each lane: element i of a lane's group lies at from + i * stride +
// lane * lane_stride. They are numbered first, first + step, ...
struct LaneGroups {
    const float* from;
    int64_t stride, lane_stride;
    int64_t first, step;
    int64_t used;  // of the lanes
};

void select_lanes(const Selector& selector, const MicroKernels& micro, const LaneGroups& groups) {
    const auto [n, m] = selector.out.shape.pattern;
    alignas(64) std::array<float, Pattern::max_m * max_lanes> in, values;
    alignas(64) std::array<int32_t, Pattern::max_m * max_lanes> indices;
    alignas(64) std::array<float, max_lanes> uniforms{};
    for (int i = 0; i < m; ++i) {
        const float* const from = groups.from + i * groups.stride;
        float* const to = in.data() + i * micro.lanes;
        if (groups.lane_stride == 1) {
            copy_lanes(from, groups.used, to);
        } else {
            for (int64_t lane = 0; lane < groups.used; ++lane) to[lane] = from[lane * groups.lane_stride];
        }
        std::fill(to + groups.used, to + micro.lanes, 0.0F);
    }
    bool done = true;
    if (selector.options.how == Selection::magnitude) {
        micro.select(in.data(), m, n, values.data(), indices.data());
    } else {
        const Random random = selector.options.random;
        for (int64_t lane = 0; lane < groups.used; ++lane) {
            const auto item = static_cast<uint64_t>(groups.first + lane * groups.step);
            uniforms[static_cast<size_t>(lane)] = Random::unit(random.at(item));
        }
        done = micro.mvue(in.data(), m, n, uniforms.data(), values.data(), indices.data());
    }
    if (done) {
        return store_groups({.values = values.data(),
                             .indices = indices.data(),
                             .lanes = micro.lanes,
                             .used = groups.used,
                             .to_values = selector.out.values.data() + groups.first * n,
                             .to_indices = selector.out.indices.data() + groups.first * n,
                             .step = groups.step},
                            n);
    }
    for (int64_t lane = 0; lane < groups.used; ++lane) {
        std::array<float, Pattern::max_m> group{};
        for (int i = 0; i < m; ++i) group[i] = in[i * micro.lanes + lane];
        selector.one({group.data(), static_cast<size_t>(m)}, groups.first + lane * groups.step);
    }
}

// Groups of one position's channels (`along_channels`) or of one channel's neighbouring positions, an image a
// lane.
void pack_planes(const Gradient& gradient, const Selector& selector, const MicroKernels& micro,
                 const LanePlan& lanes, int64_t images) {
    const int64_t m = selector.out.shape.pattern.m, groups = selector.out.shape.groups(), b = gradient.block;
    const int64_t area = gradient.area, planes = lanes.planes(images);
    const auto image_of = [&](int64_t plane) {
        return plane / lanes.parts * b + plane % lanes.parts * lanes.pixel_floats;
    };
    const int64_t count = gradient.along_channels ? planes * area : planes * gradient.channels;
    parallel_for(count, 1, [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
            const int64_t plane = gradient.along_channels ? task / area : task / gradient.channels;
            const float* const map = gradient.data + lanes.plane_start(plane, gradient.channels, area);
            const int64_t image = image_of(plane);
            if (gradient.along_channels) {
                const int64_t pixel = task % area;
                for (int64_t group = 0; group < groups; ++group) {
                    select_lanes(selector, micro,
                                 {.from = map + (group * m * area + pixel) * b,
                                  .stride = area * b,
                                  .lane_stride = 1,
                                  .first = (image * area + pixel) * groups + group,
                                  .step = area * groups,
                                  .used = micro.lanes});
                }
            } else {
                const int64_t channel = task % gradient.channels;
                for (int64_t group = 0; group < area / m; ++group) {
                    select_lanes(selector, micro,
                                 {.from = map + (channel * area + group * m) * b,
                                  .stride = b,
                                  .lane_stride = 1,
                                  .first = channel * groups + image * area / m + group,
                                  .step = area / m,
                                  .used = micro.lanes});
                }
            }
        }
    });
}

// Groups of a row-major matrix: lanes are neighbouring rows of the compact operand, whatever their number.
void pack_matrix(const Gradient& gradient, const Selector& selector, const MicroKernels& micro) {
    const int64_t m = selector.out.shape.pattern.m, groups = selector.out.shape.groups();
    const int64_t rows = selector.out.shape.rows, k = gradient.channels;
    const int64_t stride = gradient.along_channels ? 1 : k, lane_stride = gradient.along_channels ? k : 1;
    parallel_for(ceil_div(rows, matrix_rows), 1, [&](int64_t begin, int64_t end) {
        for (int64_t first = begin * matrix_rows; first < std::min(end * matrix_rows, rows);
             first += matrix_rows) {
            for (int64_t group = 0; group < groups; ++group) {
                for (int64_t i = 0; i < m && lane_stride == 1 && group + 2 < groups; ++i) {
                    const float* const ahead = gradient.data + ((group + 2) * m + i) * stride + first;
                    for (int64_t row = 0; row < std::min(matrix_rows, rows - first); row += 16)
                        __builtin_prefetch(ahead + row);
                }
                for (int64_t row = first; row < std::min(first + matrix_rows, rows); row += micro.lanes) {
                    select_lanes(selector, micro,
                                 {.from = gradient.data + row * lane_stride + group * m * stride,
                                  .stride = stride,
                                  .lane_stride = lane_stride,
                                  .first = row * groups + group,
                                  .step = groups,
                                  .used = std::min<int64_t>(micro.lanes, rows - row)});
                }
            }
        }
    });
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
    if (problem.stage == Stage::bp) return {problem.pattern(), positions, 1, conv.k};
    return {problem.pattern(), conv.k, 1, positions};
}

void pack_diff_dst(const Problem& problem, const SelectOptions& options, const float* diff_dst,
                   PackedSpan out) {
    check(problem);
    if (problem.sparse() != Operand::diff_dst || out.shape != diff_dst_shape(problem)) {
        fail("{}: the compact diff_dst does not fit", to_string(problem));
    }
    const Conv& conv = problem.conv;
    const int64_t area = conv.out_h() * conv.out_w(), tail = out.shape.tail(), groups = out.shape.groups();
    const Gradient gradient{diff_dst, conv.k, area, problem.block, problem.stage == Stage::bp};
    const Selector selector{options, out};
    const MicroKernels& micro = micro_kernels_filled_by(problem.block, isa());
    const LanePlan lanes(problem.block, micro.lanes);
    const int m = out.shape.pattern.m;
    const bool by_planes = lanes.pixel_floats == micro.lanes && (problem.stage == Stage::bp || area % m == 0);
    const bool matrix = problem.block == 1 && area == 1;
    if (by_planes) pack_planes(gradient, selector, micro, lanes, conv.n);
    if (matrix) pack_matrix(gradient, selector, micro);
    parallel_for(out.shape.rows, 1, [&](int64_t begin, int64_t end) {
        std::array<float, Pattern::max_m> group{};
        for (int64_t row = begin; row < end; ++row) {
            for (int64_t at = 0; at < groups && !by_planes && !matrix; ++at) {
                for (int i = 0; i < m; ++i) group[i] = gradient.at(row, at * m + i);
                selector.one({group.data(), static_cast<size_t>(m)}, row * groups + at);
            }
            for (int64_t i = 0; i < tail; ++i) out.tail[row * tail + i] = gradient.at(row, groups * m + i);
        }
    });
}

Packed pack_diff_dst(const Problem& problem, const SelectOptions& options, const float* diff_dst) {
    Packed packed(diff_dst_shape(problem));
    pack_diff_dst(problem, options, diff_dst, packed.span());
    return packed;
}

namespace {

// Groups of positions of a row-major matrix: some channels together, so that whole cache lines are written.
void unpack_matrix(const PackedView& packed, int64_t channels, float* matrix) {
    const int64_t groups = packed.shape.groups(), tail = packed.shape.tail();
    const int64_t n = packed.shape.pattern.n, m = packed.shape.pattern.m;
    parallel_for(ceil_div(channels, matrix_rows), 1, [&](int64_t begin, int64_t end) {
        const int64_t stop = std::min(end * matrix_rows, channels);
        for (int64_t first = begin * matrix_rows; first < stop; first += matrix_rows) {
            const int64_t count = std::min(matrix_rows, stop - first);
            for (int64_t group = 0; group < groups; ++group) {
                float* const to = matrix + group * m * channels + first;
                for (int64_t i = 0; i < m; ++i) std::fill_n(to + i * channels, count, 0.0F);
                for (int64_t row = 0; row < count; ++row) {
                    const int64_t from = ((first + row) * groups + group) * n;
                    for (int64_t at = from; at < from + n; ++at)
                        to[packed.indices[at] * channels + row] = packed.values[at];
                }
            }
            for (int64_t i = 0; i < tail; ++i) {
                for (int64_t row = 0; row < count; ++row)
                    matrix[(groups * m + i) * channels + first + row] = packed.tail[(first + row) * tail + i];
            }
        }
    });
}

}  // namespace

void unpack_diff_dst(const Problem& problem, const PackedView& packed, float* diff_dst) {
    check(problem);
    if (problem.sparse() != Operand::diff_dst || packed.shape != diff_dst_shape(problem)) {
        fail("{}: the compact diff_dst does not fit", to_string(problem));
    }
    const Conv& conv = problem.conv;
    const int64_t area = conv.out_h() * conv.out_w(), groups = packed.shape.groups(),
                  tail = packed.shape.tail();
    const int64_t n = packed.shape.pattern.n, m = packed.shape.pattern.m;
    const bool along_channels = problem.stage == Stage::bp;
    if (problem.block == 1 && area == 1 && !along_channels) return unpack_matrix(packed, conv.k, diff_dst);
    parallel_for(packed.shape.rows, 1, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            const auto element = [&](int64_t i) -> float& {
                const int64_t position = along_channels ? row : i, channel = along_channels ? i : row;
                return diff_dst[blocked_index(position / area, channel, position % area, conv.k, area,
                                              problem.block)];
            };
            for (int64_t i = 0; i < groups * m; ++i) element(i) = 0.0F;
            for (int64_t at = row * groups * n; at < (row + 1) * groups * n; ++at)
                element((at / n - row * groups) * m + packed.indices[at]) = packed.values[at];
            for (int64_t i = 0; i < tail; ++i) element(groups * m + i) = packed.tail[row * tail + i];
        }
    });
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
