#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/sparsity/permutation.hpp"

// What the permutation search recovers of the magnitude that plain 2:4 pruning loses, and in how much
// processor time of one core; beside it, up to --reference channels, the published search of pairs of stripes
// with 1,000 escapes.

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
        const PermutationResult stripes =
            search_permutation(magnitudes, {2, 4}, {.search = PermutationSearch::stripes, .escapes = 1000});
        fmt::print(" {:.1f} % | {:.2f} |\n", share(stripes.kept), processor_seconds() - start);
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
