#include "enmesh/accel/sat/config.hpp"

#include <gtest/gtest.h>

#include "accel/refusal.hpp"
#include "enmesh/accel/report/energy.hpp"
#include "enmesh/accel/systolic/machine.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"

namespace enmesh::accel::sat {
namespace {

std::string toml_refusal(const std::string& text) {
    return refusal([&] {
        SatConfig config;
        const std::vector<Parameter> list = parameters(config);
        apply_toml(list, text, "sat.toml");
    });
}

std::string set_refusal(const std::string& setting) {
    return refusal([&] {
        const std::vector<std::string> settings = {setting};
        load_sat_config("", settings, "--set");
    });
}

TEST(Config, TomlRoundTrips) {
    SatConfig config;
    config.stce.rows = 17;
    config.memory_efficiency = 0.625;
    config.interleaving = false;
    config.dataflow = "os";
    config.vector[3].lane_ops = 42;
    const std::string text = to_toml(parameters(config));
    SatConfig back;
    const std::vector<Parameter> list = parameters(back);
    apply_toml(list, text, "sat.toml");
    EXPECT_EQ(to_toml(list), text);
    EXPECT_EQ(back.stce.rows, 17);
    EXPECT_EQ(back.vector[3].lane_ops, 42);
    EXPECT_FALSE(back.interleaving);
}

TEST(Config, ShippedFilesAreTheDefaults) {
    const std::string folder = std::string(ENMESH_SOURCE_DIR) + "/configs/";
    SatConfig config;
    EXPECT_EQ(read_file(folder + "sat.toml"), to_toml(parameters(config)));
    EXPECT_EQ(read_file(folder + "energy_fpga.toml"), built_in_energy("fpga"));
    EXPECT_EQ(read_file(folder + "energy_asic.toml"), built_in_energy("asic"));
}

TEST(Config, EveryMachineParameterIsDocumented) {
    SatConfig config;
    for (const Parameter& parameter : parameters(config)) {
        if (parameter.key.starts_with("vector.")) continue;
        EXPECT_FALSE(parameter.about.empty()) << parameter.key;
        if (!parameter.key.starts_with("features.") && !parameter.key.starts_with("energy.")) {
            EXPECT_FALSE(parameter.origin.empty()) << parameter.key;
        }
    }
}

TEST(Config, SettingsOverrideByFullOrShortName) {
    const std::vector<std::string> settings = {"rows=64", "array.cols=16", "frequency_hz=3e8",
                                               "pregeneration=off"};
    const SatConfig config = load_sat_config("", settings);
    EXPECT_EQ(config.stce.rows, 64);
    EXPECT_EQ(config.stce.cols, 16);
    EXPECT_EQ(config.stce.clock_hz, 3e8);
    EXPECT_FALSE(config.pregeneration);
}

TEST(Config, RefusesWithFileLineAndNearestName) {
    EXPECT_EQ(toml_refusal("[array]\nrow = 3\n"),
              "sat.toml:2: unknown key 'array.row' (did you mean 'array.rows'?)");
    EXPECT_EQ(toml_refusal("[array]\nrows = 0\n"), "sat.toml:2: array.rows = 0 is not between 1 and 1024");
    EXPECT_EQ(toml_refusal("[array]\nrows = 2.5\n"), "sat.toml:2: array.rows = 2.5 must be a whole number");
    EXPECT_EQ(toml_refusal("[array]\nrows = \"many\"\n"), "sat.toml:2: array.rows must be a number");
    EXPECT_EQ(toml_refusal("[memory]\n\nefficiency = nan\n"),
              "sat.toml:3: memory.efficiency must be a finite number");
    EXPECT_NE(toml_refusal("[array\n").find("sat.toml:1:"), std::string::npos);
    EXPECT_EQ(set_refusal("rosw=3"), "--set rosw: unknown key (did you mean 'rows'?)");
    EXPECT_EQ(toml_refusal("foo = 1").find("vector."), std::string::npos);
    EXPECT_NE(toml_refusal("[vector.add]\npases = 1").find("did you mean 'vector.add.passes'?"),
              std::string::npos);
    EXPECT_EQ(set_refusal("rows"), "--set rows: is not of the form key=value");
    EXPECT_EQ(set_refusal("rows=three"), "--set array.rows: 'three' is not a number");
    EXPECT_EQ(set_refusal("rows=-1"), "--set array.rows = -1 is not between 1 and 1024");
    EXPECT_EQ(
        set_refusal("peak_bytes_per_second=1e99"),
        "--set memory.peak_bytes_per_second = 1e+99 is not between 1000000 and 100000000000000 bytes/s");
    EXPECT_EQ(set_refusal("dataflow=wss"), "--set features.dataflow = 'wss' is unknown (did you mean 'ws'?)");
    EXPECT_NE(set_refusal("lane_ops=1").find("could be"), std::string::npos);
    EXPECT_NE(set_refusal("latency_cycles=4").find("could be"), std::string::npos);
}

TEST(Config, EveryParameterSaysWhatItIsAndWhereItsDefaultComesFrom) {
    SatConfig sat;
    systolic::SystolicConfig dense;
    for (const std::vector<Parameter>& list : {parameters(sat), parameters(dense)})
        for (const Parameter& parameter : list) {
            EXPECT_FALSE(parameter.about.empty()) << parameter.key;
            EXPECT_TRUE(parameter.origin.starts_with("ours") || parameter.origin.starts_with("published"))
                << parameter.key;
            if (parameter.key.ends_with("bytes") || parameter.key.ends_with("cycles")) {
                EXPECT_FALSE(parameter.unit.empty()) << parameter.key;
            }
        }
}

/// The configuration and the engine's own check must draw the same line.
void expect_one_range(const std::string& section, const auto& check_engine) {
    SatConfig config;
    int compared = 0;
    for (const Parameter& parameter : parameters(config)) {
        int* const* field = std::get_if<int*>(&parameter.field);
        if (!parameter.key.starts_with(section + ".") || field == nullptr) continue;
        const int kept = **field;
        for (const double limit : {parameter.least, parameter.most}) {
            const int outside = static_cast<int>(limit) + (limit == parameter.least ? -1 : 1);
            **field = static_cast<int>(limit);
            EXPECT_EQ(refusal([&] { check_engine(config); }), "(accepted)") << parameter.key;
            **field = outside;
            EXPECT_NE(refusal([&] { check_engine(config); }), "(accepted)") << parameter.key << outside;
            EXPECT_NE(refusal([&] {
                          apply_setting(parameters(config), fmt::format("{}={}", parameter.key, outside));
                      }),
                      "(accepted)");
            **field = kept;
        }
        ++compared;
    }
    EXPECT_GE(compared, 2) << section;
}

TEST(Config, RangesAreTheEngines) {
    expect_one_range("array", [](const SatConfig& c) { check(c.stce); });
    expect_one_range("sore", [](const SatConfig& c) { check(c.sore); });
    expect_one_range("wuve", [](const SatConfig& c) { check(c.wuve); });
    EXPECT_EQ(set_refusal("latches=128"), "(accepted)");
    EXPECT_EQ(set_refusal("frequency_hz=1e5"),
              "--set array.frequency_hz = 100000 is not between 1000000 and 10000000000 Hz");
    Stce slow;
    slow.clock_hz = 1e5;
    EXPECT_NE(refusal([&] { check(slow); }).find("stce.clock_hz"), std::string::npos);
}

TEST(Energy, TablesAreSourcedAndChecked) {
    for (const char* name : {"fpga", "asic"}) {
        const EnergyTable table = energy_table(name);
        EXPECT_EQ(table.name, name);
        EXPECT_EQ(table.sources.size(), 7U);
        EXPECT_GT(table.multiply_add_picojoules, 0);
    }
    EXPECT_NE(refusal([] { energy_table("tpu"); }).find("neither fpga, asic nor a file"), std::string::npos);
    std::string text(built_in_energy("asic"));
    const auto change = [&](const std::string& from, const std::string& to) {
        std::string changed = text;
        changed.replace(changed.find(from), from.size(), to);
        return refusal([&] { parse_energy_table(changed, "e.toml"); });
    };
    EXPECT_NE(change("[vector_op_picojoules]", "[vector_op_picojoule]")
                  .find("did you mean 'vector_op_picojoules'?"),
              std::string::npos);
    EXPECT_NE(change("value = 4.6", "value = -1").find("not negative"), std::string::npos);
    EXPECT_NE(change("value = 4.6", "amount = 4.6").find("unknown key"), std::string::npos);
}

TEST(Energy, AddsUpByCause) {
    const EnergyTable table = energy_table("asic");
    Activity activity;
    activity.multiply_adds = 1e12;
    activity.dram_read_bytes = 1e9;
    const Energy energy = energy_of(table, activity, 2);
    EXPECT_DOUBLE_EQ(energy.compute, 2.0);
    EXPECT_DOUBLE_EQ(energy.dram, 0.1625);
    EXPECT_DOUBLE_EQ(energy.fixed, 1.0);
    EXPECT_DOUBLE_EQ(energy.total(), 3.1625);
}

}  // namespace
}  // namespace enmesh::accel::sat
