#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/accel/common/parameters.hpp"
#include "enmesh/accel/sat/stce/stce.hpp"
#include "enmesh/accel/sat/wuve.hpp"

namespace enmesh::accel::sat {

/// SAT: systolic tensor computing engine (STCE), online N:M reduction engine (SORE), weight-update vector
/// engine (WUVE), buffers, DRAM. parameters() documents every field: unit, range, and whether its default was
/// published or is ours.
struct SatConfig {
    Stce stce;  ///< the array; the defaults of its own header

    Sore sore;
    Wuve wuve;

    int64_t input_buffer_bytes = int64_t{4} << 20;
    int64_t weight_buffer_bytes = int64_t{2} << 20;
    int64_t output_buffer_bytes = int64_t{8} << 20;

    double memory_peak_bytes_per_second = 76.8e9;
    double memory_efficiency = 0.8;

    bool double_buffering = true;
    bool interleaving = true;
    bool pregeneration = true;
    std::string dataflow = "auto";  ///< ws | os | auto

    std::string energy = "fpga";  ///< a name or path for energy_table()

    std::vector<VectorCost> vector = {vector_costs().begin(), vector_costs().end()};

    double bytes_per_cycle() const {
        return memory_peak_bytes_per_second * memory_efficiency / stce.clock_hz;
    }
    int64_t elements() const { return int64_t{stce.rows} * stce.cols; }
    /// The row of a vector operation; refuses an unknown name with the nearest.
    const VectorCost& cost(std::string_view kind) const;
};

std::vector<Parameter> parameters(SatConfig& config);

/// Defaults, then the file (if any), then the settings. Refusals of a setting begin with `where`.
SatConfig load_sat_config(const std::string& file, std::span<const std::string> settings,
                          std::string_view where = {});

}  // namespace enmesh::accel::sat

namespace enmesh::accel {
using sat::load_sat_config;
using sat::parameters;
using sat::SatConfig;
}  // namespace enmesh::accel
