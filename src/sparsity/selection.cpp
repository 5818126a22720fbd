#include "enmesh/sparsity/selection.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"

namespace enmesh {
namespace {

double magnitude(double value) {
    return std::isnan(value) ? std::numeric_limits<double>::infinity() : std::abs(value);
}

/// Probabilities min(1, |x| / tau) that sum to `n`; the group has more than n non-zeros.
void mvue_probabilities(std::span<const double> group, size_t n, std::span<double> probability) {
    std::array<double, Pattern::max_m> sorted{};
    double rest = 0;
    for (size_t i = 0; i < group.size(); ++i) {
        sorted[i] = std::abs(group[i]);
        rest += sorted[i];
    }
    std::sort(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(group.size()), std::greater<>());
    // The largest are certain as long as their share of what is left would be above one.
    size_t certain = 0;
    while (certain + 1 < n && sorted[certain] * static_cast<double>(n - certain) >= rest) {
        rest -= sorted[certain];
        ++certain;
    }
    double tail = 0;  // summed anew: subtraction may have cancelled
    for (size_t i = group.size(); i-- > certain;) tail += sorted[i];
    const double tau = tail / static_cast<double>(n - certain);
    for (size_t i = 0; i < group.size(); ++i) probability[i] = std::min(1.0, std::abs(group[i]) / tau);
}

/// The heaviest 0/1 matrix with exactly n ones in every row and column of an m x m tile.
class TileMatching {
  public:
    TileMatching(int n, int m) : n_(n), m_(m) {}

    int64_t& weight(int row, int col) { return weight_[static_cast<size_t>(row * m_ + col)]; }
    bool kept(int row, int col) const { return kept_[static_cast<size_t>(row * m_ + col)]; }

    void solve() {
        kept_.fill(false);
        row_count_.fill(0);
        col_count_.fill(0);
        for (int step = 0; step < n_ * m_; ++step) augment();
    }

  private:
    static constexpr int64_t unreached = std::numeric_limits<int64_t>::min() / 2;

    /// Adds one element along the path of largest gain: rows and columns alternate, kept elements leave.
    void augment() {
        std::array<int64_t, Pattern::max_m> row_gain{}, col_gain{};
        std::array<int, Pattern::max_m> row_from{}, col_from{};
        for (int i = 0; i < m_; ++i) {
            row_gain[at(i)] = row_count_[at(i)] < n_ ? 0 : unreached;
            row_from[at(i)] = -1;
            col_gain[at(i)] = unreached;
        }
        for (bool changed = true; changed;) {
            changed = false;
            for (int row = 0; row < m_; ++row) {
                for (int col = 0; col < m_; ++col) {
                    const int64_t w = weight(row, col);
                    if (!kept(row, col)) {
                        if (row_gain[at(row)] == unreached || row_gain[at(row)] + w <= col_gain[at(col)])
                            continue;
                        col_gain[at(col)] = row_gain[at(row)] + w;
                        col_from[at(col)] = row;
                    } else {
                        if (col_gain[at(col)] == unreached || col_gain[at(col)] - w <= row_gain[at(row)])
                            continue;
                        row_gain[at(row)] = col_gain[at(col)] - w;
                        row_from[at(row)] = col;
                    }
                    changed = true;
                }
            }
        }
        int best = -1;
        for (int col = 0; col < m_; ++col) {
            if (col_count_[at(col)] >= n_ || col_gain[at(col)] == unreached) continue;
            if (best < 0 || col_gain[at(col)] > col_gain[at(best)]) best = col;
        }
        ENMESH_ASSERT(best >= 0);
        ++col_count_[at(best)];
        for (int col = best;;) {
            const int row = col_from[at(col)];
            kept_[at(row * m_ + col)] = true;
            if (row_from[at(row)] < 0) {
                ++row_count_[at(row)];
                return;
            }
            col = row_from[at(row)];
            kept_[at(row * m_ + col)] = false;
        }
    }

    static size_t at(int index) { return static_cast<size_t>(index); }

    int n_, m_;
    std::array<int64_t, Pattern::max_m * Pattern::max_m> weight_{};
    std::array<bool, Pattern::max_m * Pattern::max_m> kept_{};
    std::array<int, Pattern::max_m> row_count_{}, col_count_{};
};

}  // namespace

void select_magnitude(std::span<const double> group, std::span<uint8_t> kept) {
    std::array<uint8_t, Pattern::max_m> order{};
    for (size_t i = 0; i < group.size(); ++i) order[i] = static_cast<uint8_t>(i);
    const auto end = order.begin() + static_cast<std::ptrdiff_t>(group.size());
    std::stable_sort(order.begin(), end,
                     [&](uint8_t a, uint8_t b) { return magnitude(group[a]) > magnitude(group[b]); });
    std::copy_n(order.begin(), kept.size(), kept.begin());
    std::sort(kept.begin(), kept.end());
}

void select_mvue(std::span<const double> group, double uniform, std::span<uint8_t> kept,
                 std::span<double> values) {
    const size_t n = kept.size();
    size_t non_zero = 0;
    bool finite = true;
    for (const double value : group) {
        non_zero += value != 0.0 ? 1 : 0;
        finite = finite && std::isfinite(value);
    }
    if (non_zero <= n || !finite) {
        select_magnitude(group, kept);
        for (size_t i = 0; i < n; ++i) values[i] = group[kept[i]];
        return;
    }
    std::array<double, Pattern::max_m> probability{};
    mvue_probabilities(group, n, probability);
    size_t found = 0;
    double cumulated = 0;
    for (size_t i = 0; i < group.size() && found < n; ++i) {
        cumulated += probability[i];
        // The last non-zeros are taken where rounding left the sum of all probabilities short of n.
        size_t left = 0;
        for (size_t j = i; j < group.size(); ++j) left += probability[j] > 0 ? 1 : 0;
        const bool needed = left <= n - found;
        if (probability[i] <= 0 || (!(cumulated > static_cast<double>(found) + uniform) && !needed)) continue;
        kept[found] = static_cast<uint8_t>(i);
        values[found] = group[i] / probability[i];
        ++found;
    }
    ENMESH_ASSERT(found == n);
}

void magnitude_mask(const Shape& shape, GroupAxis axis, Pattern pattern, std::span<const float> weights,
                    std::span<uint8_t> mask) {
    const GroupLines geometry = group_lines(shape, axis);
    const int64_t grouped = geometry.length / pattern.m * pattern.m;
    parallel_for(geometry.lines, 16, [&](int64_t first, int64_t last) {
        std::array<double, Pattern::max_m> group{};
        std::array<uint8_t, Pattern::max_m> kept{};
        const std::span chosen(kept.data(), static_cast<size_t>(pattern.n));
        for (int64_t line = first; line < last; ++line) {
            const auto at = [&](int64_t i) { return static_cast<size_t>(geometry.offset(line, i)); };
            for (int64_t begin = 0; begin < grouped; begin += pattern.m) {
                for (int i = 0; i < pattern.m; ++i) {
                    group[static_cast<size_t>(i)] = weights[at(begin + i)];
                    mask[at(begin + i)] = 0;
                }
                select_magnitude({group.data(), static_cast<size_t>(pattern.m)}, chosen);
                for (const uint8_t i : chosen) mask[at(begin + i)] = 1;
            }
            for (int64_t i = grouped; i < geometry.length; ++i) mask[at(i)] = 1;
        }
    });
}

void transposable_mask(const Shape& shape, Pattern pattern, std::span<const float> weights,
                       std::span<uint8_t> mask) {
    const int64_t outputs = shape[0], inputs = shape[1], m = pattern.m;
    if (outputs % m != 0 || inputs % m != 0) {
        refuse("{} has channels that are not multiples of {}: no transposable mask", to_string(shape), m);
    }
    const int64_t taps = shape.elements() / (outputs * inputs);
    TileMatching tile(pattern.n, pattern.m);
    for (int64_t k0 = 0; k0 < outputs; k0 += m) {
        for (int64_t c0 = 0; c0 < inputs; c0 += m) {
            for (int64_t tap = 0; tap < taps; ++tap) {
                const auto at = [&](int row, int col) {
                    return static_cast<size_t>(((k0 + row) * inputs + c0 + col) * taps + tap);
                };
                float largest = 0;
                for (int row = 0; row < m; ++row) {
                    for (int col = 0; col < m; ++col)
                        largest = std::max(largest, std::abs(weights[at(row, col)]));
                }
                const double scale = largest > 0 && std::isfinite(largest) ? 0x1p40 / largest : 0;
                for (int row = 0; row < m; ++row) {
                    for (int col = 0; col < m; ++col) {
                        const double scaled = std::abs(static_cast<double>(weights[at(row, col)])) * scale;
                        tile.weight(row, col) = scaled <= 0x1p40 ? std::llround(scaled) : 0;
                    }
                }
                tile.solve();
                for (int row = 0; row < m; ++row) {
                    for (int col = 0; col < m; ++col) mask[at(row, col)] = tile.kept(row, col) ? 1 : 0;
                }
            }
        }
    }
}

}  // namespace enmesh
