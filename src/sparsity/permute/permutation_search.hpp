#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "enmesh/base/buffer.hpp"
#include "enmesh/base/pattern.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/base/timer.hpp"
#include "sparsity/permute/permutation_kernels.hpp"

namespace enmesh::permutation {

/// The moment at which a search has to come to its end.
class Deadline {
  public:
    explicit Deadline(double seconds) : seconds_(seconds) {}
    bool over() const { return timer_.seconds() > seconds_; }
    double elapsed() const { return timer_.seconds(); }

  private:
    Timer timer_;
    double seconds_;
};

using Columns = std::vector<const float*>;

/// The arrangement that keeps most, by dynamic programming over sets of columns; at most 16 columns. Leaves
/// the order as it was, and returns false, if the deadline passes.
bool best_arrangement(const Columns& columns, int64_t rows, Pattern pattern, const Deadline& deadline,
                      std::vector<int32_t>& order);

constexpr int most_stripe_columns = 4;
/// The published search (Pool and Yu 2021): of all pairs of stripes (groups of m) the best partition into two
/// new ones, those that gain most first, disjoint ones at a time; once nothing gains, a random pair's best
/// partition with one more random swap, `escapes` times. Unlike there, the best arrangement passed is kept.
void search_stripes(const Columns& columns, int64_t rows, Pattern pattern, int escapes,
                    const Deadline& deadline, Random& random, std::vector<int32_t>& order);

/// Local search by swaps of two columns of different groups. A "slot" is a place; slot / m is its group.
class SwapSearch {
  public:
    SwapSearch(Columns columns, int64_t rows, Pattern pattern, const Deadline& deadline);

    /// Swaps the pairs that gain most, disjoint groups at a time, until none gains.
    void descend();
    /// Simulated annealing from where it stands. Random proposals would nearly all be refused, so that each
    /// phase draws its `proposals` from the pairs that cost least when it began; the temperature falls from
    /// phase to phase. Leaves the best arrangement that it came by.
    void anneal(int phases, int64_t proposals, Random& random);

    const std::vector<int32_t>& order() const { return order_; }  ///< slot -> column
    double kept() const;

  private:
    struct Swap {
        float gain = 0;
        int32_t a = -1, b = -1;
    };
    using Groups = std::vector<int32_t>;

    int32_t group_of(int32_t slot) const { return slot / pattern_.m; }
    Groups all_groups() const;
    void refresh_thresholds(int32_t group);
    bool refresh_worth(const Groups& groups);
    bool refresh(const Groups& groups);
    void offer(int32_t a, int32_t group, Swap& best) const;
    Swap best_between(int32_t group, int32_t other) const;
    Swap best_of(int32_t group) const;
    void refresh_best(const Groups& changed);
    Groups apply_disjoint();
    template <typename Visit>
    void for_each_pair(int64_t step, const Visit& visit) const;
    std::vector<Swap> cheapest_pairs() const;
    double propose(const Swap& pair, double temperature, Random& random);

    Columns columns_;
    int64_t rows_;
    Pattern pattern_;
    const Deadline& deadline_;
    const Kernels& kernels_;
    int32_t slots_, groups_;
    std::vector<int32_t> order_;
    Buffer threshold_data_;
    std::vector<float*> thresholds_;  ///< of each slot
    std::vector<float> worth_;        ///< [slot][column]: sum over rows of max(threshold, column)
    std::vector<float> worth_to_;     ///< [column][slot]: the same transposed
    std::vector<float> own_;          ///< worth of each slot to the column in it
    std::vector<Swap> best_;          ///< of each group with any other
};

}  // namespace enmesh::permutation
