#include "enmesh/accel/report/energy.hpp"

#include "accel/common/toml_reader.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"

namespace enmesh::accel {
namespace {

struct Entry {
    const char* key;
    double EnergyTable::*field;
    double most;
};

/// A millijoule an operation or byte and a megawatt at rest: far beyond any machine, and no sum overflows.
constexpr double most_picojoules = 1e9, most_watts = 1e6;

constexpr Entry entries[] = {
    {"multiply_add_picojoules", &EnergyTable::multiply_add_picojoules, most_picojoules},
    {"vector_op_picojoules", &EnergyTable::vector_op_picojoules, most_picojoules},
    {"pack_value_picojoules", &EnergyTable::pack_value_picojoules, most_picojoules},
    {"link_byte_picojoules", &EnergyTable::link_byte_picojoules, most_picojoules},
    {"buffer_byte_picojoules", &EnergyTable::buffer_byte_picojoules, most_picojoules},
    {"dram_byte_picojoules", &EnergyTable::dram_byte_picojoules, most_picojoules},
    {"static_watts", &EnergyTable::static_watts, most_watts},
};

constexpr const char* asic = R"toml(# Energies of an ASIC in 45 nm at 0.9 V.
name = "asic"

[multiply_add_picojoules]
value = 2.0
source = "Horowitz, ISSCC 2014, 45 nm: FP16 multiply 1.1 pJ + FP32 add 0.9 pJ"

[vector_op_picojoules]
value = 4.6
source = "Horowitz, ISSCC 2014, 45 nm: FP32 multiply 3.7 pJ + FP32 add 0.9 pJ"

[pack_value_picojoules]
value = 0.5
source = "ours: up to M - 1 magnitude comparisons a value at 0.03 to 0.05 pJ (Horowitz: 8-bit add 0.03 pJ, 16-bit about 0.05 pJ)"

[link_byte_picojoules]
value = 0.1
source = "ours: one register written and read a byte, short wires"

[buffer_byte_picojoules]
value = 12.5
source = "Horowitz, ISSCC 2014, 45 nm: 64 bits from a 1 MB SRAM take 100 pJ"

[dram_byte_picojoules]
value = 162.5
source = "Horowitz, ISSCC 2014: 64 bits from DRAM take 1.3 to 2.6 nJ; the lower end, for long bursts"

[static_watts]
value = 0.5
source = "ours: leakage and clock tree of about 1,000 elements and 14 MiB of SRAM"
)toml";

constexpr const char* fpga = R"toml(# Energies of a large 16 nm FPGA card such as the VCU1525.
name = "fpga"

[multiply_add_picojoules]
value = 28.0
source = "ours: 14 times the ASIC figure (dynamic power of FPGA logic against standard cells: Kuon and Rose, TCAD 26(2), 2007); the gains of hard multipliers and of a newer process are not credited"

[vector_op_picojoules]
value = 64.4
source = "ours: 14 times the ASIC figure (Kuon and Rose 2007)"

[pack_value_picojoules]
value = 7.0
source = "ours: 14 times the ASIC figure (Kuon and Rose 2007)"

[link_byte_picojoules]
value = 1.4
source = "ours: 14 times the ASIC figure (Kuon and Rose 2007)"

[buffer_byte_picojoules]
value = 12.5
source = "ours: as the ASIC's 1 MB SRAM; RAM blocks are hard macros"

[dram_byte_picojoules]
value = 162.5
source = "Horowitz, ISSCC 2014: 64 bits from DRAM take 1.3 to 2.6 nJ; the lower end, for long bursts"

[static_watts]
value = 10.0
source = "ours: static power of a large 16 nm device with its four DIMMs idle"
)toml";

}  // namespace

std::string_view built_in_energy(std::string_view name) {
    if (name == "fpga") return fpga;
    if (name == "asic") return asic;
    return {};
}

EnergyTable parse_energy_table(std::string_view text, const std::string& file) {
    const toml::table root = parse_toml(text, file);
    std::vector<std::string> keys;
    for (const Entry& entry : entries) keys.emplace_back(entry.key);
    const TomlReader reader(root, file, keys, {"name"});
    EnergyTable table;
    table.name = root["name"].value_or(file);
    for (const Entry& entry : entries) {
        const toml::table& row = reader.table(entry.key);
        const TomlReader values(row, fmt::format("{}:{}: {}", file, row.source().begin.line, entry.key),
                                {"value", "source"});
        table.*entry.field = values.not_negative("value", entry.most);
        table.sources.emplace_back(entry.key, values.text("source"));
        if (table.sources.back().second.empty())
            refuse("{}: source must say where the value comes from", values.where());
    }
    return table;
}

EnergyTable energy_table(const std::string& name_or_path) {
    if (const std::string_view text = built_in_energy(name_or_path); !text.empty())
        return parse_energy_table(text, name_or_path);
    if (name_or_path.find('.') == std::string::npos && name_or_path.find('/') == std::string::npos) {
        refuse("energy table '{}' is neither fpga, asic nor a file", name_or_path);
    }
    return parse_energy_table(read_file(name_or_path, size_t{1} << 20), name_or_path);
}

Energy energy_of(const EnergyTable& table, const Activity& activity, double seconds) {
    constexpr double pico = 1e-12;
    Energy energy;
    energy.compute = activity.multiply_adds * table.multiply_add_picojoules * pico;
    energy.vector = activity.lane_ops * table.vector_op_picojoules * pico;
    energy.packing = activity.packed_values * table.pack_value_picojoules * pico;
    energy.links = activity.link_bytes * table.link_byte_picojoules * pico;
    energy.buffers =
        (activity.buffer_read_bytes + activity.buffer_write_bytes) * table.buffer_byte_picojoules * pico;
    energy.dram = (activity.dram_read_bytes + activity.dram_write_bytes) * table.dram_byte_picojoules * pico;
    energy.fixed = table.static_watts * seconds;
    return energy;
}

}  // namespace enmesh::accel
