#include <algorithm>
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

std::vector<Run> distinct_runs(const SatConfig& config, const Workload& workload, const Schedule& schedule,
                               const ProductChoice& choice) {
    std::vector<Run> runs;
    std::vector<std::string> layers;
    std::set<std::string> seen;
    for (size_t i = 0; i < workload.products.size(); ++i) {
        const Product& product = workload.products[i];
        layers.push_back(product.layer);
        if (!choice.layer.empty() && product.layer != choice.layer) continue;
        if (choice.stage.has_value() && product.stage != *choice.stage) continue;
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
    if (!runs.empty()) return runs;
    if (std::find(layers.begin(), layers.end(), choice.layer) != layers.end())
        refuse("layer {} has no product of stage {}", choice.layer, to_string(*choice.stage));
    std::sort(layers.begin(), layers.end());
    layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
    if (choice.layer.empty()) refuse("there is no product of stage {}", to_string(*choice.stage));
    refuse("there is no layer '{}'{}", choice.layer, suggestion(choice.layer, layers));
}

std::vector<Half> draw(int64_t count, uint64_t seed, uint64_t stream) {
    const Random random(seed, stream);
    std::vector<Half> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) values[i] = to_half(2 * Random::unit(random.at(i)) - 1);
    return values;
}

struct Operands {
    std::vector<Half> streamed;
    IndexedOperand indexed;
};

/// The values of run `index`.
Operands operands_of(const Run& run, uint64_t seed, uint64_t index) {
    const auto [m, n, k, pattern] = run.product;
    const std::vector<Half> weights = draw(n * k, seed, 2 * index + 1);
    return {draw(m * k, seed, 2 * index), run.product.dense()
                                              ? dense_operand(weights, n, k, run.mapping.group)
                                              : packed_operand(weights, {}, n, k, pattern)};
}

void check_size(const Run& run, const char* option) {
    const double values =
        static_cast<double>(run.product.k) * static_cast<double>(run.product.m + run.product.n);
    if (!(values < 1e9))
        refuse("{}: {} has {:.3g} operand values, too many to hold; take a smaller --batch", option, run.name,
               values);
}

void run_one(const SatConfig& config, const Run& run, uint64_t seed, uint64_t index, ExactRun& sum) {
    const auto [streamed, indexed] = operands_of(run, seed, index);
    const EngineRun stepped = run_stepped(config.stce, run.product, run.mapping, streamed, indexed);
    std::vector<float> expected(static_cast<size_t>(run.product.m * run.product.n));
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
    sum.outputs += run.product.m * run.product.n;
}

}  // namespace

ExactRun run_exact(const SatConfig& config, const Workload& workload, const Schedule& schedule, uint64_t seed,
                   const ProductChoice& choice, double most_element_cycles) {
    const std::vector<Run> runs = distinct_runs(config, workload, schedule, choice);
    double total = 0;
    for (const Run& run : runs) {
        total += static_cast<double>(run.cycles) * static_cast<double>(config.elements());
        check_size(run, "--exact");
    }
    if (!(total <= most_element_cycles)) {
        refuse(
            "--exact would step {:.3g} element-cycles, more than {:.3g}; take a smaller --batch or network, "
            "or "
            "one --layer",
            total, most_element_cycles);
    }
    const Timer timer;
    ExactRun sum;
    for (size_t i = 0; i < runs.size(); ++i) run_one(config, runs[i], seed, i, sum);
    sum.host_seconds = timer.seconds();
    return sum;
}

std::string registers_at(const SatConfig& config, const Workload& workload, const Schedule& schedule,
                         uint64_t seed, const ProductChoice& choice, int64_t cycle) {
    constexpr double most = 2e9;
    const Run run = distinct_runs(config, workload, schedule, choice).front();
    check_size(run, "--state-at");
    if (cycle < 0 || cycle > run.cycles)
        refuse("--state-at {}: {} is over in cycle {}", cycle, run.name, run.cycles);
    if (!(static_cast<double>(cycle) * static_cast<double>(config.elements()) <= most)) {
        refuse(
            "--state-at {}: the naive machine would step more than {:g} element-cycles; take an earlier "
            "cycle or a smaller array",
            cycle, most);
    }
    const auto [streamed, indexed] = operands_of(run, seed, 0);
    const EngineProduct& p = run.product;
    const EngineMapping& m = run.mapping;
    std::string text =
        fmt::format("{}: m {} n {} k {} {}, {} interleave {}{} group {} tile_m {}, {} cycles\n", run.name,
                    p.m, p.n, p.k, p.dense() ? "dense" : to_string(p.pattern), to_string(m.dataflow),
                    m.interleave, m.interleave_pixels ? " pixels" : "", m.group, m.tile_m, run.cycles);
    return text + state_at(config.stce, p, m, streamed, indexed, cycle);
}

}  // namespace enmesh::accel
