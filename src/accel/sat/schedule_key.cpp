#include <fmt/ranges.h>
#include <tuple>

#include "accel/sat/cost.hpp"

// The bindings name every field of a struct: a field more or less does not compile. A product's cost does not
// know what is bound and not used.
namespace enmesh::accel::sat::detail {
namespace {

std::string joined(const auto&... values) { return fmt::format("{}", fmt::join(std::tie(values...), " ")); }

/// The clock is known by the DRAM bytes of a cycle alone.
std::string key_of(const Stce& stce) {
    const auto& [rows, cols, adder_latency, max_group, max_interleave, packed_values, packed_sets, latches,
                 row_link_values, column_link_values, accumulator_sets, clock_hz] = stce;
    return joined(rows, cols, adder_latency, max_group, max_interleave, packed_values, packed_sets, latches,
                  row_link_values, column_link_values, accumulator_sets);
}

std::string key_of(const Sore& sore) {
    const auto& [groups_per_cycle, latency_cycles] = sore;
    return joined(groups_per_cycle, latency_cycles);
}

std::string key_of(const ConvGeometry& conv) {
    const auto& [images, in_channels, in_height, in_width, out_channels, out_height, out_width, kernel_height,
                 kernel_width, stride_height, stride_width, pad_top, pad_left, dilation_height,
                 dilation_width] = conv;
    return joined(images, in_channels, in_height, in_width, out_channels, out_height, out_width,
                  kernel_height, kernel_width, stride_height, stride_width, pad_top, pad_left,
                  dilation_height, dilation_width);
}

/// Neither the name nor the place in the step matters.
std::string key_of(const Product& product) {
    const auto& [layer, stage, m, n, k, batch, conv, sparse, pattern, b_is_parameter, bytes_per_a,
                 bytes_per_b, bytes_per_output, position] = product;
    const auto& [kept, of] = pattern;
    const int stage_number = static_cast<int>(stage), operand = static_cast<int>(sparse);
    return joined(stage_number, m, n, k, batch, operand, kept, of, b_is_parameter, bytes_per_a, bytes_per_b,
                  bytes_per_output) +
           (conv ? " c " + key_of(*conv) : "");
}

}  // namespace

/// A dense product's cost does not depend on SORE; no product's depends on the vector engine or the energy
/// table.
std::string key_of(const SatConfig& config, const Product& product) {
    const auto& [stce, sore, wuve, input, weight, output, peak, efficiency, double_buffering, interleaving,
                 pregeneration, dataflow, energy, vector] = config;
    const double bytes_per_cycle = config.bytes_per_cycle();
    std::string key =
        key_of(stce) + " | " +
        joined(input, weight, output, bytes_per_cycle, double_buffering, interleaving, dataflow);
    if (product.is_sparse()) key += " s " + key_of(sore) + " " + joined(pregeneration);
    return key + " | " + key_of(product);
}

}  // namespace enmesh::accel::sat::detail
