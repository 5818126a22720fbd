#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "enmesh/accel/sat/stce/stce.hpp"
#include "enmesh/accel/sat/wuve.hpp"

namespace enmesh::accel {

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

    std::vector<VectorCost> vector;  ///< starts as vector_costs()

    SatConfig();
    double bytes_per_cycle() const {
        return memory_peak_bytes_per_second * memory_efficiency / stce.clock_hz;
    }
    int64_t elements() const { return int64_t{stce.rows} * stce.cols; }
    /// The row of a vector operation; refuses an unknown name with the nearest.
    const VectorCost& cost(std::string_view kind) const;
};

/// One documented key of a configuration, bound to the field that it sets.
struct Parameter {
    std::string key;  ///< "section.name"
    std::string unit;
    std::string about;
    std::string origin;  ///< "published: …" or "ours: …"
    std::variant<int*, int64_t*, double*, bool*, std::string*> field;
    double least = 0, most = 0;        ///< of numbers
    std::vector<std::string> choices;  ///< of strings; empty for any
};

std::vector<Parameter> parameters(SatConfig& config);

/// Applies a TOML text. Refuses unknown keys (naming the nearest), wrong types and values out of range,
/// naming file and line.
void apply_toml(std::span<const Parameter> parameters, std::string_view toml, const std::string& file);

/// Applies "key=value", where the key is "section.name" or, if that is unambiguous, "name". Refusals name
/// `option`.
void apply_setting(std::span<const Parameter> parameters, std::string_view setting,
                   std::string_view option = "--set");

/// The configuration as commented TOML that apply_toml reads back.
std::string to_toml(std::span<const Parameter> parameters);

/// Defaults, then the file (if any), then the settings.
SatConfig load_sat_config(const std::string& file, std::span<const std::string> settings);

/// The dense array of `--accel systolic`.
struct SystolicConfig {
    int64_t rows = 32, cols = 32;
    double clock_hz = 1e9;
    bool charge_os_drain = false;
};

std::vector<Parameter> parameters(SystolicConfig& config);
SystolicConfig load_systolic_config(const std::string& file, std::span<const std::string> settings);

}  // namespace enmesh::accel
