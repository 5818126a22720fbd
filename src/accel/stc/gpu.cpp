#include "enmesh/accel/stc/gpu.hpp"

#include <fmt/ranges.h>
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "enmesh/accel/workload/vector_cost.hpp"
#include "enmesh/base/arithmetic.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::stc {
namespace {

struct Tile {
    int m, n;
};
constexpr std::array<Tile, 7> tile_shapes = {
    {{256, 128}, {128, 256}, {128, 128}, {128, 64}, {64, 128}, {64, 64}, {64, 32}}};
constexpr std::array<int, 6> splits = {1, 2, 4, 8, 16, 32};
/// The k-step of a main loop; a 2:4 step covers twice as much of the dense k.
constexpr int64_t k_step = 32;
constexpr double compact_share = 9.0 / 16;  // of a 16-bit operand: half its values and two bits for each

// Whitepapers of the A100 (2020) and H100 (2022), data sheet of the H200 (2024): SMs, boost clock, Tensor
// Core rate, HBM bandwidth and L2 size as published. The H100's clock is the one its published 989 TFLOP/s
// follow from.
const GpuConfig a100{.name = "stc-a100"};
const GpuConfig h100{.name = "stc-h100",
                     .sms = 132,
                     .clock_hz = 1.83e9,
                     .dense_multiply_adds_per_cycle = 2048,
                     .issue_efficiency = 0.75,
                     .dram_bytes_per_second = 3.35e12,
                     .l2_bytes = 50e6};
const GpuConfig h200{.name = "stc-h200",
                     .sms = 132,
                     .clock_hz = 1.83e9,
                     .dense_multiply_adds_per_cycle = 2048,
                     .issue_efficiency = 0.75,
                     .dram_bytes_per_second = 4.8e12,
                     .l2_bytes = 50e6};
const std::array<const GpuConfig*, 3> gpus = {&a100, &h100, &h200};

/// Bytes of the operands and the result as DRAM holds them (maps, not their im2col), for the whole batch.
struct Footprint {
    double a, b, out;
};

Footprint footprint(const Product& p, bool sparse) {
    Footprint elements{static_cast<double>(p.m * p.k), static_cast<double>(p.k * p.n),
                       static_cast<double>(p.m * p.n)};
    if (p.conv) {
        const ConvGeometry& c = *p.conv;
        const double in = static_cast<double>(c.images * c.in_channels * c.in_height * c.in_width);
        const double out = static_cast<double>(c.images * c.out_channels * c.out_height * c.out_width);
        const double weights =
            static_cast<double>(c.out_channels * c.in_channels * c.kernel_height * c.kernel_width);
        if (p.stage == Stage::FF) elements = {in, weights, out};
        if (p.stage == Stage::BP) elements = {out, weights, in};
        if (p.stage == Stage::WG) elements = {out, in, weights};
    }
    const double batch = static_cast<double>(p.batch);
    return {batch * elements.a * p.bytes_per_a * (sparse && p.sparse == Operand::a ? compact_share : 1),
            batch * elements.b * p.bytes_per_b * (sparse && p.sparse == Operand::b ? compact_share : 1),
            batch * elements.out * p.bytes_per_output};
}

/// The trace's tracks, in the order of Report::tracks.
enum Track : size_t { tensor_cores, vector_kernels, dram };
const std::vector<std::string> track_names = {"tensor cores", "vector kernels", "DRAM"};

std::vector<Figure> dram_figures(const Activity& a) {
    return {{"read", a.dram_read_bytes}, {"write", a.dram_write_bytes}};
}

/// What the products of one phase cost with one tile and split.
struct Attempt {
    GpuProduct result;

    Attempt(const GpuConfig& g, const Product& p, const Phase& phase, bool sparse, Tile tile, int split) {
        const int64_t step = sparse ? 2 * k_step : k_step, k = phase.k();
        const int64_t slice = ceil_div(ceil_div(k, split), step) * step;
        const int64_t tiles_m = ceil_div(phase.rows, tile.m), tiles_n = ceil_div(p.n, tile.n);
        const int64_t repeat = phase.count * p.batch;
        GpuProduct& r = result;
        r.tile_m = tile.m;
        r.tile_n = tile.n;
        r.split_k = split;
        r.tiles = tiles_m * tiles_n * split * repeat;
        r.waves = ceil_div(r.tiles, g.sms);
        const double rate =
            g.dense_multiply_adds_per_cycle * (sparse ? g.sparse_speedup : 1) * g.issue_efficiency;
        const double tile_cycles = static_cast<double>(int64_t{tile.m} * tile.n * slice) / rate;
        r.compute_cycles = static_cast<double>(r.waves) * tile_cycles;
        // Two small tiles share an SM: one's latency hides behind the other's main loop, but for the first
        // and last.
        const bool pairs = tile.m * tile.n <= 128 * 128;
        const double exposed = pairs ? std::min<double>(static_cast<double>(r.waves), 1) +
                                           std::max(0.0, static_cast<double>(r.waves) - 1) * 0.25
                                     : static_cast<double>(r.waves);
        r.latency_cycles = g.launch_seconds * g.clock_hz + exposed * g.tile_latency_cycles;

        const double a_byte = p.bytes_per_a * (sparse && p.sparse == Operand::a ? compact_share : 1);
        const double b_byte = p.bytes_per_b * (sparse && p.sparse == Operand::b ? compact_share : 1);
        const double partial = split > 1 ? 8.0 * static_cast<double>(phase.rows * p.n * repeat * split) : 0;
        const double out = static_cast<double>(phase.rows * p.n * repeat) * p.bytes_per_output;
        r.l2_bytes =
            static_cast<double>(r.tiles) * static_cast<double>(slice) * (tile.m * a_byte + tile.n * b_byte) +
            out + partial;
        const double share = static_cast<double>(phase.rows * phase.count) / static_cast<double>(p.m);
        const Footprint whole = footprint(p, sparse);
        const double a = whole.a * share, b = whole.b * share;
        r.dram_read_bytes = dram_reads(g, a, b, tiles_m, tiles_n);
        // Partial sums that the second pass reads come back from L2 as far as they fit.
        const double spilled = partial > g.l2_bytes ? partial : 0;
        r.dram_read_bytes += spilled / 2;
        r.dram_write_bytes = out + spilled / 2;
        const double l2_cycles = r.l2_bytes / g.l2_bytes_per_cycle;
        const double dram_cycles = (r.dram_read_bytes + r.dram_write_bytes) /
                                   (g.dram_bytes_per_second * g.dram_efficiency) * g.clock_hz;
        r.memory_cycles = std::max(l2_cycles, dram_cycles);
        r.cycles = std::max(r.compute_cycles, r.memory_cycles) + r.latency_cycles;
        r.bound = r.latency_cycles > std::max(r.compute_cycles, r.memory_cycles) ? "latency"
                  : r.compute_cycles >= r.memory_cycles                          ? "compute"
                  : l2_cycles >= dram_cycles                                     ? "l2"
                                                                                 : "dram";
    }

    /// Once each if L2 holds the smaller operand beside what streams by; otherwise a wave of about square
    /// shape reads its rows and columns anew.
    static double dram_reads(const GpuConfig& g, double a, double b, int64_t tiles_m, int64_t tiles_n) {
        if (std::min(a, b) <= g.l2_bytes / 2) return a + b;
        const double side = std::sqrt(static_cast<double>(g.sms));
        return a * std::max(1.0, static_cast<double>(tiles_n) / side) +
               b * std::max(1.0, static_cast<double>(tiles_m) / side);
    }
};

GpuProduct fastest(const GpuConfig& config, const Product& product, const Phase& phase, bool sparse) {
    std::optional<GpuProduct> best;
    for (const Tile tile : tile_shapes) {
        for (const int split : splits) {
            if (split > 1 && ceil_div(phase.k(), split) < 4 * k_step) continue;
            const GpuProduct result = Attempt(config, product, phase, sparse, tile, split).result;
            if (!best || result.cycles < best->cycles) best = result;
        }
    }
    return *best;
}

void add(GpuProduct& sum, const GpuProduct& one) {
    sum.tiles += one.tiles;
    sum.waves += one.waves;
    sum.cycles += one.cycles;
    sum.compute_cycles += one.compute_cycles;
    sum.latency_cycles += one.latency_cycles;
    sum.memory_cycles += one.memory_cycles;
    sum.l2_bytes += one.l2_bytes;
    sum.dram_read_bytes += one.dram_read_bytes;
    sum.dram_write_bytes += one.dram_write_bytes;
}

double dram_cycles(const GpuConfig& config, double bytes) {
    return bytes / (config.dram_bytes_per_second * config.dram_efficiency) * config.clock_hz;
}

/// Reading the dense operand and writing its compact form, where no weight update does that.
double packing_cycles(const GpuConfig& config, const Product& product) {
    if (product.sparse == Operand::b && product.b_is_parameter) return 0;
    const Footprint dense = footprint(product, false), compact = footprint(product, true);
    const double bytes = product.sparse == Operand::a ? dense.a + compact.a : dense.b + compact.b;
    return dram_cycles(config, bytes) + config.launch_seconds * config.clock_hz;
}

/// Products of which the same is to be said, in the step's order.
using Verdicts = std::vector<std::pair<std::string, std::vector<std::string>>>;

void say(Verdicts& verdicts, const Product& product, std::string verdict) {
    auto at =
        std::find_if(verdicts.begin(), verdicts.end(), [&](const auto& one) { return one.first == verdict; });
    if (at == verdicts.end()) at = verdicts.emplace(at, std::move(verdict), std::vector<std::string>());
    at->second.push_back(fmt::format("{} {}", to_string(product.stage), product.layer));
}

ProductResult result_of(const GpuConfig& config, const Product& product, Verdicts& verdicts) {
    GpuProduct run = gpu_product(config, product, false);
    double packing = 0;
    bool sparse = product.is_sparse() && fits_two_in_four(product.pattern);
    if (product.is_sparse() && !sparse)
        say(verdicts, product, fmt::format("{} is no 2:4 and runs dense", to_string(product.pattern)));
    if (sparse) {
        const GpuProduct two_in_four = gpu_product(config, product, true);
        packing = packing_cycles(config, product);
        const double gain = run.cycles / (two_in_four.cycles + packing);
        sparse = gain > 1;
        say(verdicts, product,
            fmt::format("{} {:.1f}x, bound by {}{}", gain < 1.05 ? "2:4 does not pay:" : "2:4 pays", gain,
                        two_in_four.bound,
                        sparse        ? ""
                        : packing > 0 ? " and packing; runs dense"
                                      : "; runs dense"));
        if (sparse) run = two_in_four;
    }
    if (!sparse) packing = 0;

    ProductResult result;
    result.product = product;
    if (product.is_sparse() && !sparse) {
        result.asked = product.pattern;
        result.asked_of = product.sparse;
        result.product.sparse = Operand::none;
    }
    result.dataflow = fmt::format("{}x{}{}", run.tile_m, run.tile_n,
                                  run.split_k > 1 ? fmt::format("/{}", run.split_k) : "");
    result.cycles = static_cast<int64_t>(std::ceil(run.cycles + packing));
    result.multiply_adds = useful_multiply_adds(result.product);
    const double elements = static_cast<double>(config.sms) * config.dense_multiply_adds_per_cycle;
    const double ideal = static_cast<double>(result.multiply_adds) / elements;
    result.utilization = ideal / static_cast<double>(result.cycles);
    const double bandwidth = std::max(0.0, run.cycles - run.latency_cycles - run.compute_cycles);
    const double tail =
        static_cast<double>(result.cycles) - ideal - (run.latency_cycles + bandwidth + packing);
    result.stalls = {{stall::fill_drain, run.latency_cycles},
                     {stall::tail, tail},
                     {stall::adder_latency, 0},
                     {stall::row_link, 0},
                     {stall::bandwidth, bandwidth},
                     {stall::packing, packing}};
    result.activity.multiply_adds = run.compute_cycles * elements;
    result.activity.buffer_read_bytes = run.l2_bytes;
    result.activity.dram_read_bytes = run.dram_read_bytes;
    result.activity.dram_write_bytes = run.dram_write_bytes;
    result.busy.push_back({tensor_cores,
                           static_cast<double>(result.cycles),
                           {{"bandwidth_stall_cycles", bandwidth}, {"packing_stall_cycles", packing}}});
    const double bytes = run.dram_read_bytes + run.dram_write_bytes;
    const double bytes_per_cycle = config.dram_bytes_per_second * config.dram_efficiency / config.clock_hz;
    if (bytes > 0) result.busy.push_back({dram, bytes / bytes_per_cycle, dram_figures(result.activity)});
    return result;
}

VectorResult vector_result(const GpuConfig& config, const std::string& kind, const std::string& layer,
                           Stage stage, int64_t elements, double extra_write_bytes) {
    const VectorCost& cost = vector_cost(kind);
    VectorResult result{.kind = kind, .layer = layer, .stage = stage, .elements = elements};
    result.activity.dram_read_bytes = static_cast<double>(elements) * cost.read_bytes;
    result.activity.dram_write_bytes = static_cast<double>(elements) * cost.write_bytes + extra_write_bytes;
    const double bytes = result.activity.dram_read_bytes + result.activity.dram_write_bytes;
    // What needs no bytes rides along with a product's epilogue.
    const double launches = bytes > 0 ? cost.passes : 0;
    result.memory_cycles = static_cast<int64_t>(std::ceil(dram_cycles(config, bytes)));
    result.cycles =
        result.memory_cycles + static_cast<int64_t>(launches * config.launch_seconds * config.clock_hz);
    result.busy.push_back(
        {vector_kernels, static_cast<double>(result.cycles), {{"lane_cycles", result.lane_cycles}}});
    if (result.memory_cycles > 0)
        result.busy.push_back(
            {dram, static_cast<double>(result.memory_cycles), dram_figures(result.activity)});
    return result;
}

}  // namespace

std::vector<Parameter> parameters(GpuConfig& c) {
    return {
        {"gpu.sms", "", "streaming multiprocessors", "published", &c.sms, 1, 4096, {}},
        {"gpu.clock_hz", "Hz", "clock under load", "published: boost clock", &c.clock_hz, 1e6, 1e11, {}},
        {"gpu.dense_multiply_adds_per_cycle",
         "",
         "of one SM, FP16 or BF16, dense",
         "published",
         &c.dense_multiply_adds_per_cycle,
         1,
         1 << 20,
         {}},
        {"gpu.sparse_speedup",
         "",
         "2:4 over dense, of the instruction",
         "published: 2",
         &c.sparse_speedup,
         1,
         16,
         {}},
        {"gpu.issue_efficiency",
         "",
         "share of the rate a main loop sustains",
         "ours",
         &c.issue_efficiency,
         0.01,
         1,
         {}},
        {"gpu.dram_bytes_per_second", "bytes/s", "HBM", "published", &c.dram_bytes_per_second, 1e9, 1e15, {}},
        {"gpu.dram_efficiency",
         "",
         "share of it that streams reach",
         "ours: 0.9",
         &c.dram_efficiency,
         0.01,
         1,
         {}},
        {"gpu.l2_bytes_per_cycle",
         "bytes/cycle",
         "L2 to all SMs",
         "published for the A100: 5,120; the others: the same, ours",
         &c.l2_bytes_per_cycle,
         1,
         1e6,
         {}},
        {"gpu.l2_bytes", "bytes", "size of L2", "published", &c.l2_bytes, 1e5, 1e10, {}},
        {"gpu.launch_seconds", "s", "from kernel to kernel", "ours: 3 us", &c.launch_seconds, 0, 1, {}},
        {"gpu.tile_latency_cycles",
         "cycles",
         "first loads and last stores of a tile",
         "ours: 1,400",
         &c.tile_latency_cycles,
         0,
         1e6,
         {}}};
}

std::vector<std::string> gpu_names() {
    std::vector<std::string> names;
    for (const GpuConfig* const gpu : gpus) names.push_back(gpu->name);
    return names;
}

GpuConfig load_gpu_config(std::string_view name, const std::string& file,
                          std::span<const std::string> settings, std::string_view where) {
    const auto found =
        std::find_if(gpus.begin(), gpus.end(), [&](const GpuConfig* gpu) { return gpu->name == name; });
    if (found == gpus.end()) {
        const std::vector<std::string> known = gpu_names();
        refuse("unknown GPU '{}'{}", name, suggestion(name, known));
    }
    GpuConfig config = **found;
    configure(parameters(config), file, settings, where);
    return config;
}

bool fits_two_in_four(Pattern pattern) {
    if (pattern == Pattern{1, 2}) return true;
    return pattern.m >= 4 && pattern.m % 4 == 0 && pattern.n <= 2;
}

GpuProduct gpu_product(const GpuConfig& config, const Product& product, bool sparse) {
    GpuProduct sum;
    double longest = 0;
    for (const Phase& phase : phases(product)) {
        const GpuProduct one = fastest(config, product, phase, sparse);
        add(sum, one);
        if (one.cycles <= longest) continue;
        longest = one.cycles;
        sum.tile_m = one.tile_m;
        sum.tile_n = one.tile_n;
        sum.split_k = one.split_k;
        sum.bound = one.bound;
    }
    return sum;
}

Report simulate_gpu(const GpuConfig& config, const Workload& workload) {
    check(workload);
    const int64_t elements = int64_t{config.sms} * config.dense_multiply_adds_per_cycle;
    Report report = report_of(workload, config.name, elements, config.clock_hz);
    report.tracks = track_names;
    Verdicts verdicts;
    for (const Product& product : workload.products)
        report.products.push_back(result_of(config, product, verdicts));
    for (const auto& [verdict, where] : verdicts)
        report.notes.push_back(fmt::format("{}: {}", verdict, fmt::join(where, ", ")));
    for (const VectorOp& op : workload.vector_ops)
        report.vector_work.push_back(vector_result(config, op.kind, op.layer, op.stage, op.elements, 0));
    for (const Update& update : workload.updates) {
        const int64_t count = update.rows * update.cols * update.repeats;
        const double packed = 2.0 * compact_share * static_cast<double>(count) * update.directions();
        report.vector_work.push_back(
            vector_result(config, update.kind, update.layer, Stage::WU, count, packed));
    }
    take_turns(report, workload);
    return report;
}

}  // namespace enmesh::accel::stc
