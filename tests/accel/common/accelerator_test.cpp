#include "enmesh/accel/common/accelerator.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "accel/refusal.hpp"
#include "accel/small_network.hpp"
#include "enmesh/accel/sat/machine.hpp"
#include "enmesh/accel/sat/simulate.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

TEST(Accelerators, EveryMachineKeepsTheInterfacesPromises) {
    Workload step = small_network();
    make_sparse(step, {2, 8});
    for (const RegisteredAccelerator& entry : registered_accelerators()) {
        const std::unique_ptr<Accelerator> machine = entry.make();
        EXPECT_EQ(machine->name(), entry.name);
        EXPECT_FALSE(entry.about.empty());
        std::set<std::string> keys;
        for (const Parameter& parameter : machine->parameters()) {
            EXPECT_TRUE(keys.insert(parameter.key).second) << parameter.key << " is there twice";
            EXPECT_FALSE(parameter.about.empty()) << entry.name << " " << parameter.key;
        }
        const std::string text = config_text(*machine);
        apply_toml(machine->parameters(), text, "m.toml");
        EXPECT_EQ(config_text(*machine), text) << entry.name;

        const SchedulePtr schedule = machine->plan(step);
        const Report report = machine->cost(step, *schedule);
        EXPECT_EQ(report.accelerator, entry.name);
        EXPECT_EQ(report.elements, machine->elements());
        EXPECT_EQ(report.clock_hz, machine->clock_hz());
        EXPECT_EQ(report.products.size(), step.products.size());
        EXPECT_EQ(report.vector_work.empty(), !machine->abilities().vector_work) << entry.name;
        EXPECT_FALSE(report.tracks.empty());
        for (const ProductResult& result : report.products) {
            const double ideal =
                static_cast<double>(result.multiply_adds) / static_cast<double>(report.elements);
            EXPECT_TRUE(std::abs(ideal + result.stalls.total() - static_cast<double>(result.cycles)) <=
                        1e-6 * static_cast<double>(result.cycles))
                << entry.name;
            ASSERT_FALSE(result.busy.empty());
            for (const Busy& busy : result.busy) EXPECT_LT(busy.track, report.tracks.size());
        }
        EXPECT_EQ(simulate(*machine, step).total_cycles, report.total_cycles);
        if (machine->lacks(Facility::schedule).empty()) {
            const std::string file = machine->schedule_text(step, *schedule);
            EXPECT_EQ(machine->schedule_text(step, *parse_schedule(*machine, file, "s.toml", step)), file);
        } else {
            EXPECT_EQ(refusal([&] { parse_schedule(*machine, "version = 1", "s.toml", step); }),
                      entry.name + ": " + machine->lacks(Facility::schedule));
        }
        if (!machine->lacks(Facility::exact).empty()) {
            EXPECT_EQ(refusal([&] { machine->execute(step, *schedule, report, {}); }),
                      entry.name + ": " + machine->lacks(Facility::exact));
        }
        if (!machine->lacks(Facility::registers).empty()) {
            EXPECT_EQ(refusal([&] { machine->registers(step, *schedule, 1, {}, 0); }),
                      entry.name + ": " + machine->lacks(Facility::registers));
        }
    }
}

TEST(Accelerators, AreFoundByName) {
    EXPECT_EQ(make_accelerator("stc-h100")->name(), "stc-h100");
    EXPECT_EQ(refusal([] { make_accelerator("systolik"); }),
              "systolik: no such accelerator (did you mean 'systolic'?)");
    const auto make = [] { return std::make_unique<sat::Machine>(); };
    EXPECT_EQ(refusal([&] {
                  register_accelerator({"sat", "", make});
              }),
              "there is an accelerator 'sat' already");
    for (const std::string name : {"", "a+b", "a.b", "a b"})
        EXPECT_NE(refusal([&] { register_accelerator({name, "", make}); }), "(accepted)") << name;
}

TEST(Accelerators, ConfigurationsKeepStringsOfAnyCharacters) {
    const std::string odd = "a \"quoted\"\\name\twith\ncontrols\x7f";
    std::string field = odd;
    const std::vector<Parameter> list = {{"energy.table", "", "", "", &field, 0, 0, {"fpga"}, true}};
    const std::string text = to_toml(list);
    field.clear();
    apply_toml(list, text, "m.toml");
    EXPECT_EQ(field, odd) << text;
    EXPECT_EQ(to_toml(list), text);
}

TEST(Accelerators, AMachineByValueIsSimulated) {
    const Workload step = small_network();
    const SatConfig config{.stce = {.rows = 16, .cols = 8}};
    EXPECT_EQ(simulate(sat::Machine({.stce = {.rows = 16, .cols = 8}}), step).total_cycles,
              simulate(config, step, sat::find_schedule(config, step)).total_cycles);
}

TEST(Accelerators, SayWhatTheyRunDense) {
    Workload step = small_network();
    const auto note = [&](const char* name) { return make_accelerator(name)->note_on(step); };
    EXPECT_EQ(note("systolic"), "");
    make_sparse(step, {2, 8});
    EXPECT_EQ(note("systolic"), "the systolic array is dense; N:M columns are not used");
    EXPECT_EQ(note("sat"), "");
    EXPECT_EQ(note("sat+systolic"), "") << "its weight gradients are dense";
    EXPECT_EQ(note("systolic+sat"), "the systolic array is dense; N:M columns are not used");
    make_sparse(step, {3, 4});
    EXPECT_EQ(note("stc-a100+systolic"), "") << "the systolic array has the dense weight gradients alone";
    EXPECT_EQ(note("systolic+stc-a100"), "the systolic array is dense; N:M columns are not used");
    const Abilities gpu = make_accelerator("stc-a100")->abilities();
    EXPECT_TRUE(gpu.skips_zeros({.sparse = Operand::a, .pattern = {2, 4}}));
    EXPECT_FALSE(gpu.skips_zeros({.sparse = Operand::a, .pattern = {3, 4}}));
    EXPECT_FALSE(gpu.skips_zeros({.pattern = {2, 4}}));
    const Abilities mixed = make_accelerator("sat+systolic")->abilities();
    EXPECT_TRUE(mixed.skips_zeros({.stage = Stage::BP, .sparse = Operand::b, .pattern = {2, 4}}));
    EXPECT_FALSE(mixed.skips_zeros({.stage = Stage::WG, .sparse = Operand::a, .pattern = {2, 4}}));
}

}  // namespace
}  // namespace enmesh::accel
