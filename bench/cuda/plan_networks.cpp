#include "plan_networks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "enmesh/accel/stc/gpu.hpp"
#include "enmesh/accel/workload/workload_of.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/sparsity/recipe.hpp"
#include "layout.hpp"

namespace enmesh::cuda {
namespace {

using accel::GpuConfig;
using accel::Operand;
using accel::Product;

/// The matrix product as it is timed: its 2:4 operand is b.
Product plain(const PlannedProduct& product) {
    return {.layer = "as timed",
            .m = product.cols,
            .n = product.rows,
            .k = product.depth,
            .sparse = Operand::b,
            .pattern = {2, 4},
            .b_is_parameter = true};
}

class Maker {
  public:
    Maker() {
        for (const std::string& name : accel::gpu_names())
            gpus_.push_back(accel::load_gpu_config(name, "", {}));
    }

    void begin(const std::string& name, const std::string& what) { plan_.networks.push_back({name, what}); }

    void add_product(PlannedProduct product, const std::string& place, int64_t count) {
        product.rows = round_up(product.rows, 16);
        product.cols = round_up(product.cols, 16);
        product.depth = round_up(product.depth, 16);
        auto at =
            std::find_if(plan_.products.begin(), plan_.products.end(), [&](const PlannedProduct& other) {
                return other.rows == product.rows && other.cols == product.cols &&
                       other.depth == product.depth && other.two_in_four == product.two_in_four &&
                       other.depth_major == product.depth_major;
            });
        if (at == plan_.products.end()) {
            for (const GpuConfig& gpu : gpus_) product.predicted[gpu.name] = predict(gpu, product);
            at = plan_.products.insert(plan_.products.end(), std::move(product));
        }
        note(at->places, place);
        plan_.networks.back().products[static_cast<size_t>(at - plan_.products.begin())] += count;
    }

    void add_layer(const Layer& layer, const std::string& place, int64_t count) {
        auto at = std::find_if(plan_.layers.begin(), plan_.layers.end(), [&](const PlannedLayer& other) {
            return other.outputs == layer.outputs && other.positions == layer.positions &&
                   other.inputs == layer.inputs;
        });
        if (at == plan_.layers.end()) {
            PlannedLayer planned{layer.outputs, layer.positions, layer.inputs};
            for (const GpuConfig& gpu : gpus_) planned.predicted[gpu.name] = predict(gpu, layer);
            at = plan_.layers.insert(plan_.layers.end(), std::move(planned));
        }
        note(at->places, place);
        plan_.networks.back().layers[static_cast<size_t>(at - plan_.layers.begin())] += count;
    }

    void add_not_timed(const Product& product) {
        for (const GpuConfig& gpu : gpus_)
            plan_.networks.back().not_timed[gpu.name] +=
                accel::gpu_product(gpu, product, false).cycles / gpu.clock_hz * 1e6;
    }
    void add_vector_work(const accel::Workload& dense) {
        for (const GpuConfig& gpu : gpus_) {
            double cycles = 0;
            for (const accel::VectorResult& work : accel::simulate_gpu(gpu, dense).vector_work)
                cycles += static_cast<double>(work.cycles);
            plan_.networks.back().not_timed[gpu.name] += cycles / gpu.clock_hz * 1e6;
        }
    }

    Plan take() { return std::move(plan_); }
    const std::string& network() const { return plan_.networks.back().name; }

  private:
    static PredictedProduct predict(const GpuConfig& gpu, const PlannedProduct& product) {
        const double to_microseconds = 1e6 / gpu.clock_hz;
        return {accel::gpu_product(gpu, plain(product), false).cycles * to_microseconds,
                accel::gpu_product(gpu, plain(product), product.two_in_four).cycles * to_microseconds};
    }

    /// A kernel that DRAM bounds: masters are read once, both packed forms written.
    static double predict(const GpuConfig& gpu, const Layer& layer) {
        const double elements = static_cast<double>(layer.outputs * layer.positions * layer.inputs);
        const double packed = 2 * 9.0 / 16;  // bytes an element: half the values and two bits for each
        const double bytes = elements * (4 + 2 * packed);
        return (bytes / (gpu.dram_bytes_per_second * gpu.dram_efficiency) + gpu.launch_seconds) * 1e6;
    }

    static void note(std::vector<std::string>& places, const std::string& place) {
        if (std::find(places.begin(), places.end(), place) == places.end()) places.push_back(place);
    }

    Plan plan_;
    std::vector<GpuConfig> gpus_;
};

void add(Maker& maker, const Product& product) {
    // Attention's products, one for each head and image: activations times activations, no weights.
    if (product.batch > 1) return maker.add_not_timed(product);
    const std::string place =
        fmt::format("{} {} {}", maker.network(), to_string(product.stage), product.layer);
    if (product.stage == accel::Stage::WG) {
        PlannedProduct planned{
            .stage = "WG", .rows = product.n, .cols = product.m, .depth = product.k, .depth_major = true};
        return maker.add_product(std::move(planned), place, 1);
    }
    for (const accel::Phase& phase : accel::phases(product)) {
        PlannedProduct planned{.stage = to_string(product.stage),
                               .rows = product.n,
                               .cols = phase.rows,
                               .depth = phase.k(),
                               .two_in_four = product.sparse == Operand::b};
        maker.add_product(std::move(planned), place, phase.count);
    }
}

/// FF's product tells the layer's shape: rows outputs, the depth positions times inputs.
void add_selection(Maker& maker, const Product& product) {
    if (product.stage != accel::Stage::FF || product.sparse != Operand::b) return;
    const int64_t positions = product.conv ? product.conv->kernel_height * product.conv->kernel_width : 1;
    maker.add_layer({product.n, positions, product.k / positions},
                    fmt::format("{} {}", maker.network(), product.layer), 1);
}

void add_network(Maker& maker, const std::string& name, const std::string& model, double width, int64_t batch,
                 const std::string& what) {
    maker.begin(fmt::format("{}/{}", name, batch), what);
    const Graph graph =
        build_model(model, {.classes = 1000, .image = {3, 224, 224}, .width = width, .batch = batch});
    const accel::Workload workload =
        accel::workload_of(build_training_step(graph, make_recipe("bdwp", Pattern{2, 4}), {}));
    for (const Product& product : workload.products) {
        add(maker, product);
        add_selection(maker, product);
    }
    maker.add_vector_work(
        accel::workload_of(build_training_step(graph, make_recipe("dense", std::nullopt), {})));
}

/// The four linear layers of each block of a transformer.
void add_transformer(Maker& maker, const std::string& name, int64_t blocks, int64_t width, int64_t tokens) {
    maker.begin(
        fmt::format("{}/{}", name, tokens),
        fmt::format("the linear layers of its {} blocks of width {}, {} tokens; attention's own products, "
                    "embeddings, the output projection and vector work are not in it",
                    blocks, width, tokens));
    struct Linear {
        const char* name;
        int64_t in, out;
    };
    for (const Linear& linear : {Linear{"attn.qkv", width, 3 * width}, Linear{"attn.proj", width, width},
                                 Linear{"mlp.fc1", width, 4 * width}, Linear{"mlp.fc2", 4 * width, width}}) {
        const auto place = [&](const char* stage) {
            return fmt::format("{} {} {}", maker.network(), stage, linear.name);
        };
        maker.add_product(
            {.stage = "FF", .rows = linear.out, .cols = tokens, .depth = linear.in, .two_in_four = true},
            place("FF"), blocks);
        maker.add_product(
            {.stage = "BP", .rows = linear.in, .cols = tokens, .depth = linear.out, .two_in_four = true},
            place("BP"), blocks);
        maker.add_product(
            {.stage = "WG", .rows = linear.in, .cols = linear.out, .depth = tokens, .depth_major = true},
            place("WG"), blocks);
        maker.add_layer({linear.out, 1, linear.in}, fmt::format("{} {}", maker.network(), linear.name),
                        blocks);
    }
}

}  // namespace

Plan network_plan() {
    Maker maker;
    const std::string convolutions =
        "224 x 224; convolutions as matrix products with their im2col in memory; vector work is not measured";
    const std::string linears =
        "224 x 224; linear layers and the patch embedding; attention's own products and vector work are not "
        "measured";
    add_network(maker, "resnet50", "resnet50", 1, 256, convolutions);
    add_network(maker, "vit_b", "vit_small", 2, 64,
                linears + " (by the model six heads of 128 where ViT-B has twelve of 64)");
    add_transformer(maker, "gpt2", 12, 768, 8192);
    add_network(maker, "vit_s", "vit_small", 1, 64, linears);
    add_network(maker, "resnet50", "resnet50", 1, 64, convolutions);
    add_transformer(maker, "gpt2-xl", 48, 1600, 8192);
    return maker.take();
}

Plan report_plan(const std::string& report, std::span<const std::string> settings) {
    const TimedProducts timed = timed_products(report, settings);
    Plan plan{.left_out = timed.left_out};
    for (const TimedProduct& product : timed.products) {
        plan.products.push_back(
            {.stage = product.places.front().substr(0, 2),
             .rows = product.padded_rows,
             .cols = product.padded_cols,
             .depth = product.padded_depth,
             .two_in_four = true,
             .places = product.places,
             .predicted = {{timed.accelerator, {product.dense_microseconds, product.sparse_microseconds}}}});
    }
    return plan;
}

}  // namespace enmesh::cuda
