#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "enmesh/base/buffer.hpp"
#include "enmesh/base/pattern.hpp"

namespace enmesh {

// Channel permutation before pruning (Pool and Yu, "Channel permutations for N:M sparsity", NeurIPS 2021):
// which input channels share a group of M is free as long as the producing layer permutes its output channels
// alike, so they are arranged such that N:M pruning by magnitude keeps as much of sum |w| as can be found.

/// Magnitudes of a (rows x channels) matrix, column by column: a column is everything that meets one input
/// channel, which is (K, R, S) of a convolution [K][C][R][S], K of a linear layer [K][C], and of several
/// layers, one after the other, where they read the same channels. Finite and not negative.
class MagnitudeColumns {
  public:
    MagnitudeColumns(int64_t rows, int64_t columns);

    int64_t rows() const { return rows_; }
    int64_t columns() const { return columns_; }
    std::span<float> column(int64_t index);
    std::span<const float> column(int64_t index) const;
    /// rows() rounded up to a multiple of 16: the rest of every column is zero.
    int64_t padded_rows() const { return padded_rows_; }

  private:
    int64_t rows_, columns_, padded_rows_;
    Buffer data_;
};

/// |w| of weights [outputs][channels][positions] written to rows [first_row, first_row + outputs * positions)
/// of `into`.
void add_magnitudes(MagnitudeColumns& into, int64_t first_row, std::span<const float> weights,
                    int64_t outputs, int64_t channels, int64_t positions);

/// How more than 16 channels are searched.
enum class PermutationSearch : uint8_t {
    annealing,  ///< swaps of two channels: greedy, then annealed
    stripes,    ///< the published stripe groups of window 2 m with bounded regressions; m up to 4
};

struct PermutationOptions {
    uint64_t seed = 1;
    PermutationSearch search = PermutationSearch::annealing;
    int escapes = 100;  ///< bounded regressions of the stripe-group search
    /// Once this is over the best found so far is returned, which then depends on the machine's speed.
    double time_limit_seconds = std::numeric_limits<double>::infinity();
};

struct PermutationResult {
    /// permutation[i] is the channel that comes to stand at position i: permuted[:, i] = weights[:,
    /// permutation[i]].
    std::vector<int64_t> permutation;
    double magnitude = 0;   ///< sum of |w|
    double kept_plain = 0;  ///< of it, what N:M pruning keeps without a permutation
    double kept = 0;        ///< … and with this one; never less than kept_plain
    double seconds = 0;
    bool exact = false;      ///< no permutation keeps more
    bool timed_out = false;  ///< the time limit cut the search short
};

/// The same bits for the same seed, whatever the number of threads, unless the time limit strikes. Up to 16
/// channels the result is exact. Refuses a channel count that is not a multiple of m, and stripes where m is
/// above 4 (the partitions of two stripes of 8 are 6,435).
PermutationResult search_permutation(const MagnitudeColumns& magnitudes, Pattern pattern,
                                     const PermutationOptions& options = {});

/// What N:M keeps of the magnitudes under a permutation, in double precision.
double kept_magnitude(const MagnitudeColumns& magnitudes, Pattern pattern,
                      std::span<const int64_t> permutation);

/// Sum over rows of the `keep` largest magnitudes of each row: what unstructured pruning of every row would
/// keep, and so a bound on what any permutation can reach with keep = columns * n / m.
double unstructured_magnitude(const MagnitudeColumns& magnitudes, int64_t keep);

}  // namespace enmesh
