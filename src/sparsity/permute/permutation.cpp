#include "enmesh/sparsity/permutation.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "sparsity/permute/permutation_search.hpp"

namespace enmesh {
namespace {

using permutation::Columns;
using permutation::Deadline;

constexpr int64_t most_exact_columns = 16;
/// Wider matrices are searched block by block: the search keeps a table of columns x columns.
constexpr int64_t most_block_columns = 2048;

// Annealing phases: as many as this many table entries times rows allow (about three seconds of one core),
// within bounds.
constexpr double annealing_work = 40e9;
constexpr int least_phases = 12, most_phases = 400;
constexpr int64_t proposals_per_column = 12;

std::vector<double> sums_of_groups(const MagnitudeColumns& magnitudes, Pattern pattern,
                                   std::span<const int64_t> permutation) {
    const int64_t groups = magnitudes.columns() / pattern.m;
    std::vector<double> sums(static_cast<size_t>(groups));
    parallel_for(groups, 1 + (int64_t{1} << 18) / std::max<int64_t>(1, magnitudes.rows()),
                 [&](int64_t begin, int64_t end) {
                     for (int64_t group = begin; group < end; ++group) {
                         double sum = 0;
                         for (int64_t row = 0; row < magnitudes.rows(); ++row) {
                             float top[Pattern::max_m] = {};
                             for (int i = 0; i < pattern.m; ++i) {
                                 float value = magnitudes.column(permutation[group * pattern.m + i])[row];
                                 for (int place = 0; place < pattern.n; ++place) {
                                     if (value > top[place]) std::swap(value, top[place]);
                                 }
                             }
                             for (int place = 0; place < pattern.n; ++place)
                                 sum += static_cast<double>(top[place]);
                         }
                         sums[group] = sum;
                     }
                 });
    return sums;
}

/// The same groups in a form that does not tell how they were found: ascending inside, ordered by their first
/// channel.
void canonicalise(std::vector<int64_t>& permutation, int m) {
    std::vector<std::vector<int64_t>> groups;
    for (auto from = permutation.begin(); from != permutation.end(); from += m) {
        std::sort(from, from + m);
        groups.emplace_back(from, from + m);
    }
    std::sort(groups.begin(), groups.end());
    permutation.clear();
    for (const auto& group : groups) permutation.insert(permutation.end(), group.begin(), group.end());
}

Columns gather(const MagnitudeColumns& magnitudes, std::span<const int64_t> channels) {
    Columns columns;
    for (const int64_t channel : channels) columns.push_back(magnitudes.column(channel).data());
    return columns;
}

std::vector<int64_t> taken(const std::vector<int64_t>& channels, const std::vector<int32_t>& order) {
    std::vector<int64_t> arranged;
    for (const int32_t column : order) arranged.push_back(channels[column]);
    return arranged;
}

/// Searches among these channels alone and rearranges them.
void search_block(const MagnitudeColumns& magnitudes, Pattern pattern, const PermutationOptions& options,
                  const Deadline& deadline, Random& random, std::vector<int64_t>& channels) {
    const int64_t rows = magnitudes.padded_rows();
    if (options.search == PermutationSearch::stripes) {
        std::vector<int32_t> order(channels.size());
        std::iota(order.begin(), order.end(), 0);
        permutation::search_stripes(gather(magnitudes, channels), rows, pattern, options.escapes, deadline,
                                    random, order);
        channels = taken(channels, order);
        return;
    }
    permutation::SwapSearch search(gather(magnitudes, channels), rows, pattern, deadline);
    const auto count = static_cast<double>(channels.size());
    const double phases = annealing_work / (count * count * static_cast<double>(rows));
    search.descend();
    search.anneal(static_cast<int>(std::clamp<double>(phases, least_phases, most_phases)),
                  proposals_per_column * static_cast<int64_t>(channels.size()), random);
    search.descend();
    channels = taken(channels, search.order());
}

/// Blocks of whole groups that take turns; in the second round of blocks that lie side by side, so that
/// channels of different first blocks meet.
void search_blocks(const MagnitudeColumns& magnitudes, Pattern pattern, const PermutationOptions& options,
                   const Deadline& deadline, Random& random, std::vector<int64_t>& permutation) {
    const auto groups = static_cast<int64_t>(permutation.size()) / pattern.m;
    const int64_t most_groups = most_block_columns / pattern.m;
    const int64_t blocks = (groups + most_groups - 1) / most_groups;
    for (int round = 0; round < (blocks > 1 ? 2 : 1); ++round) {
        for (int64_t block = 0; block < blocks && !deadline.over(); ++block) {
            std::vector<int64_t> slots;
            for (int64_t group = 0; group < groups; ++group) {
                if ((round == 0 ? group % blocks : group * blocks / groups) != block) continue;
                for (int i = 0; i < pattern.m; ++i) slots.push_back(group * pattern.m + i);
            }
            if (static_cast<int64_t>(slots.size()) < 2 * pattern.m) continue;
            std::vector<int64_t> channels;
            for (const int64_t slot : slots) channels.push_back(permutation[slot]);
            search_block(magnitudes, pattern, options, deadline, random, channels);
            for (size_t i = 0; i < slots.size(); ++i) permutation[slots[i]] = channels[i];
        }
    }
}

}  // namespace

MagnitudeColumns::MagnitudeColumns(int64_t rows, int64_t columns)
    : rows_(rows),
      columns_(columns),
      padded_rows_((rows + permutation::row_block - 1) / permutation::row_block * permutation::row_block),
      data_(static_cast<size_t>(columns) * static_cast<size_t>(padded_rows_) * sizeof(float)) {}

std::span<float> MagnitudeColumns::column(int64_t index) {
    return data_.as<float>().subspan(static_cast<size_t>(index * padded_rows_), static_cast<size_t>(rows_));
}

std::span<const float> MagnitudeColumns::column(int64_t index) const {
    return data_.as<float>().subspan(static_cast<size_t>(index * padded_rows_), static_cast<size_t>(rows_));
}

void add_magnitudes(MagnitudeColumns& into, int64_t first_row, std::span<const float> weights,
                    int64_t outputs, int64_t channels, int64_t positions) {
    ENMESH_ASSERT(channels == into.columns() && first_row + outputs * positions <= into.rows() &&
                  static_cast<int64_t>(weights.size()) == outputs * channels * positions);
    parallel_for(channels, 1 + (int64_t{1} << 18) / std::max<int64_t>(1, outputs * positions),
                 [&](int64_t begin, int64_t end) {
                     for (int64_t output = 0; output < outputs; ++output) {
                         for (int64_t channel = begin; channel < end; ++channel) {
                             const float* const from =
                                 weights.data() + (output * channels + channel) * positions;
                             float* const to = into.column(channel).data() + first_row + output * positions;
                             for (int64_t position = 0; position < positions; ++position)
                                 to[position] = std::abs(from[position]);
                         }
                     }
                 });
}

double kept_magnitude(const MagnitudeColumns& magnitudes, Pattern pattern,
                      std::span<const int64_t> permutation) {
    ENMESH_ASSERT(static_cast<int64_t>(permutation.size()) == magnitudes.columns() &&
                  magnitudes.columns() % pattern.m == 0);
    const std::vector<double> sums = sums_of_groups(magnitudes, pattern, permutation);
    return std::accumulate(sums.begin(), sums.end(), 0.0);
}

double unstructured_magnitude(const MagnitudeColumns& magnitudes, int64_t keep) {
    double sum = 0;
    std::vector<float> row(static_cast<size_t>(magnitudes.columns()));
    for (int64_t r = 0; r < magnitudes.rows(); ++r) {
        for (int64_t c = 0; c < magnitudes.columns(); ++c) row[c] = magnitudes.column(c)[r];
        std::nth_element(row.begin(), row.begin() + (keep - 1), row.end(), std::greater<>());
        sum += std::accumulate(row.begin(), row.begin() + keep, 0.0);
    }
    return sum;
}

PermutationResult search_permutation(const MagnitudeColumns& magnitudes, Pattern pattern,
                                     const PermutationOptions& options) {
    check_pattern(pattern);
    if (magnitudes.columns() % pattern.m != 0 || magnitudes.columns() == 0) {
        refuse("{} channels cannot be grouped by {}: not a multiple of M", magnitudes.columns(),
               to_string(pattern));
    }
    if (options.search == PermutationSearch::stripes && pattern.m > permutation::most_stripe_columns) {
        refuse("the stripe-group search takes groups of at most {}, {} has more",
               permutation::most_stripe_columns, to_string(pattern));
    }
    const Deadline deadline(options.time_limit_seconds);
    PermutationResult result;
    std::vector<int64_t> identity(static_cast<size_t>(magnitudes.columns()));
    std::iota(identity.begin(), identity.end(), int64_t{0});
    for (int64_t channel = 0; channel < magnitudes.columns(); ++channel) {
        const auto column = magnitudes.column(channel);
        result.magnitude += std::accumulate(column.begin(), column.end(), 0.0);
    }
    result.kept_plain = kept_magnitude(magnitudes, pattern, identity);

    std::vector<int64_t> permutation = identity;
    if (magnitudes.columns() <= most_exact_columns) {
        std::vector<int32_t> order(identity.begin(), identity.end());
        result.exact = permutation::best_arrangement(gather(magnitudes, identity), magnitudes.padded_rows(),
                                                     pattern, deadline, order);
        permutation.assign(order.begin(), order.end());
    } else {
        Random random(options.seed);
        search_blocks(magnitudes, pattern, options, deadline, random, permutation);
    }
    canonicalise(permutation, pattern.m);
    result.kept = kept_magnitude(magnitudes, pattern, permutation);
    if (!(result.kept > result.kept_plain)) {
        permutation = identity;
        result.kept = result.kept_plain;
    }
    result.permutation = std::move(permutation);
    result.timed_out = deadline.over();
    result.seconds = deadline.elapsed();
    return result;
}

}  // namespace enmesh
