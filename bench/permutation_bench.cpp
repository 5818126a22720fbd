#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/sparsity/permutation.hpp"
#include "sparsity/permutation_kernels.hpp"

// What the permutation search recovers of the magnitude that plain 2:4 pruning loses, and in how much
// processor time of one core; beside it, up to --reference channels, the published search of pairs of stripes
// with 1,000 escapes, built from the same kernels.

namespace {

using namespace enmesh;

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// Gaussian weights; `spread` is the standard deviation of the logarithm of the channels' scales.
MagnitudeColumns matrix(int64_t rows, int64_t columns, float spread, uint64_t seed) {
    MagnitudeColumns magnitudes(rows, columns);
    Random random(seed);
    for (int64_t c = 0; c < columns; ++c) {
        const float scale = std::exp(spread * random.normal());
        for (float& value : magnitudes.column(c)) value = std::abs(random.normal() * scale);
    }
    return magnitudes;
}

class StripeGroups {
  public:
    explicit StripeGroups(const MagnitudeColumns& magnitudes)
        : magnitudes_(magnitudes), stripes_(magnitudes.columns() / 4) {
        order_.resize(static_cast<size_t>(magnitudes.columns()));
        std::iota(order_.begin(), order_.end(), int64_t{0});
        pairs_.resize(static_cast<size_t>(stripes_ * stripes_));
        for (int mask = 0; mask < 256; ++mask) {
            if (std::popcount(static_cast<unsigned>(mask)) == 4) sets_.push_back(mask);
        }
    }

    /// The best arrangement that it passes.
    double run(int escapes, uint64_t seed) {
        Random random(seed);
        std::vector<char> changed(static_cast<size_t>(stripes_), 1);
        double best = 0;
        while (true) {
            const std::vector<Pair> sorted = evaluate(changed);
            std::fill(changed.begin(), changed.end(), 0);
            bool any = false;
            for (const Pair& pair : sorted) {
                if (pair.gain < 3e-4) break;
                if (changed[pair.i] != 0 || changed[pair.j] != 0) continue;
                apply(pair, -1, -1);
                changed[pair.i] = changed[pair.j] = 1;
                any = true;
            }
            if (any) continue;
            best = std::max(best, kept_magnitude(magnitudes_, {2, 4}, order_));
            if (escapes-- <= 0) return best;
            const Pair& pair = sorted[random.below(sorted.size())];
            apply(pair, static_cast<int>(random.below(4)), static_cast<int>(random.below(4)));
            changed[pair.i] = changed[pair.j] = 1;
        }
    }

  private:
    struct Pair {
        double gain = 0;
        int64_t i = 0, j = 0;
        int mask = 15;  ///< which of the eight members form the first stripe
    };

    std::array<int64_t, 8> members(int64_t i, int64_t j) const {
        std::array<int64_t, 8> all{};
        for (int k = 0; k < 4; ++k) {
            all[k] = order_[4 * i + k];
            all[4 + k] = order_[4 * j + k];
        }
        return all;
    }
    Pair evaluate_pair(int64_t i, int64_t j) const {
        const std::array<int64_t, 8> all = members(i, j);
        std::array<double, 256> sums{};
        for (const int mask : sets_) {
            const float* columns[4];
            int count = 0;
            for (int k = 0; k < 8; ++k) {
                if ((mask >> k & 1) != 0) columns[count++] = magnitudes_.column(all[k]).data();
            }
            sums[mask] = permutation::kernels().group_sum(columns, {2, 4}, magnitudes_.padded_rows());
        }
        Pair best{-1e30, i, j, 15};
        for (const int mask : sets_) {
            if ((mask & 1) == 0 || mask == 15) continue;
            const double gain = sums[mask] + sums[255 - mask] - sums[15] - sums[240];
            if (gain > best.gain) best = {gain, i, j, mask};
        }
        return best;
    }
    std::vector<Pair> evaluate(const std::vector<char>& changed) {
        std::vector<Pair> sorted;
        for (int64_t i = 0; i < stripes_; ++i) {
            for (int64_t j = i + 1; j < stripes_; ++j) {
                if (changed[i] != 0 || changed[j] != 0) pairs_[i * stripes_ + j] = evaluate_pair(i, j);
                sorted.push_back(pairs_[i * stripes_ + j]);
            }
        }
        std::stable_sort(sorted.begin(), sorted.end(),
                         [](const Pair& a, const Pair& b) { return a.gain > b.gain; });
        return sorted;
    }
    /// Rearranges by the pair's best partition, and swaps two members across if asked.
    void apply(const Pair& pair, int from, int to) {
        const std::array<int64_t, 8> all = members(pair.i, pair.j);
        std::array<int64_t, 8> arranged{};
        int first = 0, second = 4;
        for (int k = 0; k < 8; ++k) arranged[(pair.mask >> k & 1) != 0 ? first++ : second++] = all[k];
        if (from >= 0) std::swap(arranged[from], arranged[4 + to]);
        for (int k = 0; k < 4; ++k) {
            order_[4 * pair.i + k] = arranged[k];
            order_[4 * pair.j + k] = arranged[4 + k];
        }
    }

    const MagnitudeColumns& magnitudes_;
    int64_t stripes_;
    std::vector<int64_t> order_;
    std::vector<Pair> pairs_;
    std::vector<int> sets_;
};

void run_case(int64_t columns, int64_t rows, float spread, int64_t most_reference) {
    const MagnitudeColumns magnitudes = matrix(rows, columns, spread, 1);
    const double free = unstructured_magnitude(magnitudes, columns / 2);
    double start = processor_seconds();
    const PermutationResult found = search_permutation(magnitudes, {2, 4});
    const double seconds = processor_seconds() - start;
    const auto share = [&](double kept) {
        return 100 * (kept - found.kept_plain) / (free - found.kept_plain);
    };
    const double lost = 100 * (1 - found.kept_plain / found.magnitude);
    fmt::print("| {} x {} | {} | {:.2f} % | {:.2f} % | {:.1f} % | {:.2f} |", rows, columns,
               spread == 0 ? std::string("Gaussian") : fmt::format("scaled, {:.1f}", spread), lost,
               100 * (1 - found.kept / found.magnitude), share(found.kept), seconds);
    if (columns <= most_reference) {
        start = processor_seconds();
        const double reference = StripeGroups(magnitudes).run(1000, 1);
        fmt::print(" {:.1f} % | {:.2f} |\n", share(reference), processor_seconds() - start);
    } else {
        fmt::print(" | |\n");
    }
    std::fflush(stdout);
}

}  // namespace

/// permutation_bench [MOST_CHANNELS [MOST_REFERENCE_CHANNELS]]
int main(int argc, char** argv) {
    const int64_t most = argc > 1 ? std::atoll(argv[1]) : 2048;
    const int64_t most_reference = argc > 2 ? std::atoll(argv[2]) : 256;
    set_threads(1);
    fmt::print("{}, one thread, processor seconds, 2:4, seed 1\n\n", cpu_description());
    fmt::print(
        "| matrix | weights | lost plain | lost | recovered | s | stripe groups, 1,000 escapes | s |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    const std::pair<int64_t, int64_t> sizes[] = {{64, 576},   {128, 1152}, {256, 1024}, {512, 4608},
                                                 {1024, 256}, {2048, 512}, {2048, 2048}};
    for (const auto& [columns, rows] : sizes) {
        if (columns > most) continue;
        for (const float spread : {0.0F, 0.5F}) run_case(columns, rows, spread, most_reference);
    }
    return 0;
}
