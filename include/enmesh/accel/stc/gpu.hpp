#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/accel/common/parameters.hpp"
#include "enmesh/accel/report/report.hpp"
#include "enmesh/accel/workload/workload.hpp"

/// A GPU with (Sparse) Tensor Cores as a model of time: what a training step costs there, and what 2:4 brings
/// or does not.
namespace enmesh::accel::stc {

/// parameters() documents every field. The rates are those of FP16 and BF16 operands.
struct GpuConfig {
    std::string name;
    int sms = 108;
    double clock_hz = 1.41e9;
    int dense_multiply_adds_per_cycle = 1024;  ///< of one SM
    double sparse_speedup = 2;                 ///< of a 2:4 instruction over the dense one
    double issue_efficiency = 0.88;            ///< share of that rate that a main loop sustains
    double dram_bytes_per_second = 1555e9;
    double dram_efficiency = 0.9;
    double l2_bytes_per_cycle = 5120;
    double l2_bytes = 40e6;
    double launch_seconds = 3e-6;       ///< start of a kernel to the start of the next one, beyond its work
    double tile_latency_cycles = 1400;  ///< first loads and last stores of a tile that nothing overlaps
};

std::vector<Parameter> parameters(GpuConfig& config);
/// "stc-a100", "stc-h100", "stc-h200".
std::vector<std::string> gpu_names();
/// The named GPU, then the file (if any), then the settings. Refusals of a setting begin with `where`.
GpuConfig load_gpu_config(std::string_view name, const std::string& file,
                          std::span<const std::string> settings, std::string_view where = {});

/// Whether every aligned four elements of an N:M operand hold at most two: what the 2:4 instruction takes.
/// 1:2, 1:4, 2:4, 2:8, 1:8, 2:16 … do; other patterns run dense.
bool fits_two_in_four(Pattern pattern);

/// How one product runs.
struct GpuProduct {
    int tile_m = 0, tile_n = 0, split_k = 1;
    int64_t tiles = 0, waves = 0;
    double cycles = 0;          ///< all of it
    double compute_cycles = 0;  ///< waves of tiles, issue efficiency and padding included
    double latency_cycles = 0;  ///< launch and what of the tiles' latency is exposed
    double memory_cycles = 0;   ///< the slower of L2 and DRAM
    double l2_bytes = 0, dram_read_bytes = 0, dram_write_bytes = 0;
    std::string bound;  ///< "compute", "l2", "dram" or "latency": what takes longest
};

/// The fastest tile and split of a product (every phase of a strided BP is a product of its own), with the
/// 2:4 operand used or not. Implicit GEMM: DRAM holds maps, not their im2col.
GpuProduct gpu_product(const GpuConfig& config, const Product& product, bool sparse);

/// The step, one kernel after another. Sparse operands that no weight update can prepare (SDGP's, MVUE's) pay
/// a packing pass. Products whose 2:4 form is slower run dense. Report::notes say where 2:4 pays and where
/// not.
Report simulate_gpu(const GpuConfig& config, const Workload& workload);

}  // namespace enmesh::accel::stc

namespace enmesh::accel {
using stc::fits_two_in_four;
using stc::gpu_names;
using stc::gpu_product;
using stc::GpuConfig;
using stc::GpuProduct;
using stc::load_gpu_config;
using stc::parameters;
using stc::simulate_gpu;
}  // namespace enmesh::accel
