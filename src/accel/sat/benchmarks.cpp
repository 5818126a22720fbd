#include <algorithm>
#include <bit>
#include <memory>

#include "enmesh/accel/sat/machine.hpp"
#include "enmesh/accel/sat/stce/stce.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh::accel::sat {
namespace {

std::vector<Half> random_halves(int64_t count, uint64_t stream) {
    const Random random(1, stream);
    std::vector<Half> values(static_cast<size_t>(count));
    for (size_t i = 0; i < values.size(); ++i) values[i] = to_half(2 * Random::unit(random.at(i)) - 1);
    return values;
}

/// A tile that fills a 32 x 32 array, value by value.
struct SteppedTile {
    Stce stce;
    EngineProduct product;
    EngineMapping mapping;
    std::vector<Half> streamed;
    IndexedOperand indexed;

    SteppedTile(Dataflow dataflow, Pattern pattern) : product{4096, 256, 1152, pattern} {
        mapping.dataflow = dataflow;
        mapping.interleave = 8;
        mapping.group = 8;
        streamed = random_halves(product.m * product.k, 1);
        const std::vector<Half> weights = random_halves(product.n * product.k, 2);
        indexed = product.dense() ? dense_operand(weights, product.n, product.k, mapping.group)
                                  : packed_operand(weights, {}, product.n, product.k, pattern);
    }
    EngineRun run() const { return run_stepped(stce, product, mapping, streamed, indexed); }
    std::string name() const {
        return fmt::format("{} {}", to_string(mapping.dataflow),
                           product.dense() ? "dense" : enmesh::to_string(product.pattern));
    }

    /// Cycles as in the closed form, bits as in software.
    int64_t checked_element_cycles() const {
        const EngineRun stepped = run();
        std::vector<float> expected(static_cast<size_t>(product.m * product.n));
        software_product(streamed, indexed, expected);
        const auto same = [](float a, float b) {
            return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
        };
        if (!std::equal(expected.begin(), expected.end(), stepped.out.begin(), same))
            fail("stepped {}: its bits are not the software product's", name());
        if (stepped.cycles != closed_form(stce, product, mapping).cycles)
            fail("stepped {}: its {} cycles are not the closed form's", name(), stepped.cycles);
        return stepped.element_cycles;
    }
};

}  // namespace

std::vector<ModelBenchmark> Machine::benchmarks() const {
    std::vector<ModelBenchmark> list;
    for (const Dataflow flow : {Dataflow::ws, Dataflow::os})
        for (const Pattern pattern : {Pattern{}, Pattern{2, 8}}) {
            const auto tile = std::make_shared<const SteppedTile>(flow, pattern);
            list.push_back({.name = "stepped " + tile->name(),
                            .what = "cycle-stepped, value-exact, 32 x 32",
                            .unit = "element-cycles/s",
                            .amount = static_cast<double>(tile->checked_element_cycles()),
                            .target = 5e8,
                            .run = [tile] { tile->run(); }});
        }
    return list;
}

}  // namespace enmesh::accel::sat
