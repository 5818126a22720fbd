#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "enmesh/accel/common/figures.hpp"

namespace enmesh::accel {

/// Energies of single operations and accesses, in picojoules, and the power that is always drawn. `sources`
/// cites each of them.
struct EnergyTable {
    std::string name;
    double multiply_add_picojoules = 0;  ///< FP16 × FP16 product added in FP32
    double vector_op_picojoules = 0;     ///< one FP32 multiply-add of a vector lane
    double pack_value_picojoules = 0;    ///< one value into the N:M reduction engine
    double link_byte_picojoules = 0;     ///< one byte moved from an element to its neighbour
    double buffer_byte_picojoules = 0;   ///< one byte read from or written to an on-chip buffer
    double dram_byte_picojoules = 0;  ///< one byte read from or written to DRAM, controller and pins included
    double static_watts = 0;
    std::vector<std::pair<std::string, std::string>> sources;  ///< key, citation
};

/// The table "fpga" or "asic", or a TOML file of the same form (configs/energy_*.toml). Refuses missing,
/// unknown, negative and unsourced entries, naming file and line.
EnergyTable energy_table(const std::string& name_or_path);
EnergyTable parse_energy_table(std::string_view toml, const std::string& file);
/// The TOML text of a built-in table; "" for another name.
std::string_view built_in_energy(std::string_view name);

/// What a machine did, counted.
struct Activity {
    double multiply_adds = 0;  ///< issued, padding included
    double lane_ops = 0;
    double packed_values = 0;
    double link_bytes = 0;
    double buffer_read_bytes = 0, buffer_write_bytes = 0;
    double dram_read_bytes = 0, dram_write_bytes = 0;

    static constexpr auto fields() {
        return std::array{std::pair{"multiply_adds", &Activity::multiply_adds},
                          std::pair{"lane_ops", &Activity::lane_ops},
                          std::pair{"packed_values", &Activity::packed_values},
                          std::pair{"link_bytes", &Activity::link_bytes},
                          std::pair{"buffer_read_bytes", &Activity::buffer_read_bytes},
                          std::pair{"buffer_write_bytes", &Activity::buffer_write_bytes},
                          std::pair{"dram_read_bytes", &Activity::dram_read_bytes},
                          std::pair{"dram_write_bytes", &Activity::dram_write_bytes}};
    }
    Activity& operator+=(const Activity& other) { return add_figures(*this, other); }
};

/// Joules by cause.
struct Energy {
    double compute = 0, vector = 0, packing = 0, links = 0, buffers = 0, dram = 0, fixed = 0;

    static constexpr auto fields() {
        return std::array{std::pair{"compute", &Energy::compute}, std::pair{"vector", &Energy::vector},
                          std::pair{"packing", &Energy::packing}, std::pair{"links", &Energy::links},
                          std::pair{"buffers", &Energy::buffers}, std::pair{"dram", &Energy::dram},
                          std::pair{"static", &Energy::fixed}};
    }
    double total() const { return total_figures(*this); }
    Energy& operator+=(const Energy& other) { return add_figures(*this, other); }
};

/// The energy of an activity that took `seconds`.
Energy energy_of(const EnergyTable& table, const Activity& activity, double seconds);

}  // namespace enmesh::accel
