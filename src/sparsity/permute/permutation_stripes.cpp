#include <algorithm>
#include <array>
#include <bit>
#include <functional>

#include "enmesh/base/parallel.hpp"
#include "sparsity/permute/permutation_search.hpp"

namespace enmesh::permutation {
namespace {

constexpr int most_members = 2 * most_stripe_columns;
/// Gains below are rounding: five times the smallest normal number of float16, as the published search has
/// it.
constexpr double least_gain = 5 * 0x1p-14;

using Members = std::array<int32_t, most_members>;

class StripeSearch {
  public:
    StripeSearch(const Columns& columns, int64_t rows, Pattern pattern, std::vector<int32_t>& order)
        : columns_(columns),
          rows_(rows),
          pattern_(pattern),
          order_(order),
          stripes_(static_cast<int64_t>(order.size()) / pattern.m),
          changed_(static_cast<size_t>(stripes_), 1) {
        for (unsigned mask = 0; mask < 1U << 2 * pattern.m; ++mask) {
            if (std::popcount(mask) == pattern.m) sets_.push_back(mask);
        }
        for (int32_t i = 0; i < stripes_; ++i) {
            for (int32_t j = i + 1; j < stripes_; ++j) pairs_.push_back({0, i, j, 0});
        }
    }

    void run(int escapes, const Deadline& deadline, Random& random) {
        std::vector<int32_t> best = order_;
        double kept = 0, most_kept = 0;
        while (!deadline.over()) {
            const std::vector<Pair> sorted = evaluate();
            std::ranges::fill(changed_, 0);
            bool any = false;
            for (const Pair& pair : sorted) {
                if (!(pair.gain > least_gain)) break;
                if (changed_[pair.i] != 0 || changed_[pair.j] != 0) continue;
                kept += pair.gain;
                apply(pair, arranged(pair));
                any = true;
            }
            if (kept > most_kept) {
                most_kept = kept;
                best = order_;
            }
            if (any) continue;
            if (escapes-- <= 0) break;
            kept += regress(sorted[random.below(sorted.size())], random);
        }
        order_ = std::move(best);
    }

  private:
    struct Pair {
        double gain = 0;
        int32_t i = 0, j = 0;
        unsigned first = 0;  ///< which of the two stripes' members form the first one
    };

    Members members(int32_t i, int32_t j) const {
        Members all{};
        for (int k = 0; k < pattern_.m; ++k) {
            all[k] = order_[i * pattern_.m + k];
            all[pattern_.m + k] = order_[j * pattern_.m + k];
        }
        return all;
    }

    double sum_of(const int32_t* stripe) const {
        std::array<const float*, most_stripe_columns> columns{};
        for (int k = 0; k < pattern_.m; ++k) columns[k] = columns_[stripe[k]];
        return kernels().group_sum(columns.data(), pattern_, rows_);
    }

    /// The best of all partitions of two stripes but the one that is there.
    void evaluate(Pair& pair) const {
        const Members all = members(pair.i, pair.j);
        const unsigned own = (1U << pattern_.m) - 1, everything = (1U << 2 * pattern_.m) - 1;
        std::array<double, 1U << most_members> sums{};
        for (const unsigned mask : sets_) {
            Members stripe{};
            int count = 0;
            for (int k = 0; k < 2 * pattern_.m; ++k) {
                if ((mask >> k & 1U) != 0) stripe[count++] = all[k];
            }
            sums[mask] = sum_of(stripe.data());
        }
        pair.gain = -1e30;
        for (const unsigned mask : sets_) {
            if ((mask & 1U) == 0 || mask == own) continue;
            const double gain = sums[mask] + sums[everything - mask] - sums[own] - sums[everything - own];
            if (gain > pair.gain) {
                pair.gain = gain;
                pair.first = mask;
            }
        }
    }

    /// Every pair by descending gain, those with a changed stripe looked at anew.
    std::vector<Pair> evaluate() {
        parallel_for(static_cast<int64_t>(pairs_.size()), 4, [&](int64_t begin, int64_t end) {
            for (int64_t at = begin; at < end; ++at) {
                if (changed_[pairs_[at].i] != 0 || changed_[pairs_[at].j] != 0) evaluate(pairs_[at]);
            }
        });
        std::vector<Pair> sorted = pairs_;
        std::ranges::stable_sort(sorted, std::greater<>(), &Pair::gain);
        return sorted;
    }

    Members arranged(const Pair& pair) const {
        const Members all = members(pair.i, pair.j);
        Members result{};
        int first = 0, second = pattern_.m;
        for (int k = 0; k < 2 * pattern_.m; ++k)
            result[(pair.first >> k & 1U) != 0 ? first++ : second++] = all[k];
        return result;
    }

    void apply(const Pair& pair, const Members& arranged) {
        for (int k = 0; k < pattern_.m; ++k) {
            order_[pair.i * pattern_.m + k] = arranged[k];
            order_[pair.j * pattern_.m + k] = arranged[pattern_.m + k];
        }
        changed_[pair.i] = changed_[pair.j] = 1;
    }

    /// A pair's best partition with two members swapped across: what it gains, most often less than nothing.
    double regress(const Pair& pair, Random& random) {
        const Members before = members(pair.i, pair.j);
        Members after = arranged(pair);
        const auto half = static_cast<uint64_t>(pattern_.m);
        std::swap(after[random.below(half)], after[half + random.below(half)]);
        apply(pair, after);
        return sum_of(after.data()) + sum_of(after.data() + half) - sum_of(before.data()) -
               sum_of(before.data() + half);
    }

    const Columns& columns_;
    int64_t rows_;
    Pattern pattern_;
    std::vector<int32_t>& order_;
    int64_t stripes_;
    std::vector<char> changed_;  ///< stripes whose pairs have to be looked at anew
    std::vector<Pair> pairs_;
    std::vector<unsigned> sets_;  ///< of m out of 2 m members
};

}  // namespace

void search_stripes(const Columns& columns, int64_t rows, Pattern pattern, int escapes,
                    const Deadline& deadline, Random& random, std::vector<int32_t>& order) {
    if (static_cast<int>(order.size()) >= 2 * pattern.m)
        StripeSearch(columns, rows, pattern, order).run(escapes, deadline, random);
}

}  // namespace enmesh::permutation
