#include <bit>
#include <set>

#include "enmesh/accel/simulate.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/base/timer.hpp"

namespace enmesh::accel {
namespace {

/// One phase as the array runs it.
struct Run {
    std::string name;
    EngineProduct product;
    EngineMapping mapping;
    int64_t cycles = 0;  ///< of the closed form
};

std::vector<Run> distinct_runs(const SatConfig& config, const Workload& workload, const Schedule& schedule) {
    std::vector<Run> runs;
    std::set<std::string> seen;
    for (size_t i = 0; i < workload.products.size(); ++i) {
        const Product& product = workload.products[i];
        for (size_t phase = 0; phase < schedule.products[i].mappings.size(); ++phase) {
            const Mapping& mapping = schedule.products[i].mappings[phase];
            Run run;
            run.name = fmt::format("layer {} {}", product.layer, to_string(product.stage));
            run.product = pieces(product, mapping.indexed)[phase].engine;
            run.mapping = mapping.engine;
            if (run.mapping.dataflow == Dataflow::ws) run.mapping.tile_m = mapping.tile_m;
            const EngineMapping& e = run.mapping;
            const std::string key =
                fmt::format("{} {} {} {} {} {} {} {} {} {}", run.product.m, run.product.n, run.product.k,
                            run.product.pattern.n, run.product.pattern.m, static_cast<int>(e.dataflow),
                            e.interleave, e.interleave_pixels, e.group, e.tile_m);
            if (!seen.insert(key).second) continue;
            run.cycles = closed_form(config.stce, run.product, run.mapping).cycles;
            runs.push_back(std::move(run));
        }
    }
    return runs;
}

std::vector<Half> draw(int64_t count, uint64_t seed, uint64_t stream) {
    const Random random(seed, stream);
    std::vector<Half> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) values[i] = to_half(2 * Random::unit(random.at(i)) - 1);
    return values;
}

void run_one(const SatConfig& config, const Run& run, uint64_t seed, uint64_t index, ExactRun& sum) {
    const auto [m, n, k, pattern] = run.product;
    const std::vector<Half> streamed = draw(m * k, seed, 2 * index),
                            weights = draw(n * k, seed, 2 * index + 1);
    const IndexedOperand indexed = run.product.dense() ? dense_operand(weights, n, k, run.mapping.group)
                                                       : packed_operand(weights, {}, n, k, pattern);
    const EngineRun stepped = run_stepped(config.stce, run.product, run.mapping, streamed, indexed);
    std::vector<float> expected(static_cast<size_t>(m * n));
    software_product(streamed, indexed, expected);
    if (stepped.cycles != run.cycles) {
        fail("{}: the stepped model takes {} cycles, the closed form {}", run.name, stepped.cycles,
             run.cycles);
    }
    for (size_t i = 0; i < expected.size(); ++i) {
        if (std::bit_cast<uint32_t>(stepped.out[i]) == std::bit_cast<uint32_t>(expected[i])) continue;
        fail("{}: output {} is {} in the stepped model and {} in software", run.name, i, stepped.out[i],
             expected[i]);
    }
    ++sum.products;
    sum.element_cycles += stepped.element_cycles;
    sum.outputs += m * n;
}

}  // namespace

ExactRun run_exact(const SatConfig& config, const Workload& workload, const Schedule& schedule, uint64_t seed,
                   double most_element_cycles) {
    const std::vector<Run> runs = distinct_runs(config, workload, schedule);
    double total = 0;
    for (const Run& run : runs) {
        total += static_cast<double>(run.cycles) * static_cast<double>(config.elements());
        const double values =
            static_cast<double>(run.product.k) * static_cast<double>(run.product.m + run.product.n);
        if (!(values < 1e9))
            refuse("--exact: {} has {:.3g} operand values, too many to hold; take a smaller --batch",
                   run.name, values);
    }
    if (!(total <= most_element_cycles)) {
        refuse(
            "--exact would step {:.3g} element-cycles, more than {:.3g}; take a smaller --batch or network",
            total, most_element_cycles);
    }
    const Timer timer;
    ExactRun sum;
    for (size_t i = 0; i < runs.size(); ++i) run_one(config, runs[i], seed, i, sum);
    sum.host_seconds = timer.seconds();
    return sum;
}

}  // namespace enmesh::accel
