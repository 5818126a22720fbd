#include "plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>

#include "enmesh/accel/stc/gpu.hpp"
#include "enmesh/accel/workload/workload_of.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/sparsity/recipe.hpp"
#include "layout.hpp"
#include "plan_networks.hpp"
#include "support/folder.hpp"

namespace enmesh::cuda {
namespace {

const Plan& made() {
    static const Plan plan = network_plan();
    return plan;
}

bool close(double one, double other) { return std::abs(one - other) <= 1e-3 + 1e-6 * std::abs(one); }

const PlannedNetwork& network(const std::string& name) {
    for (const PlannedNetwork& one : made().networks)
        if (one.name == name) return one;
    throw std::runtime_error("no network " + name);
}

/// How often a product of this size is in a step.
int64_t count_of(const std::string& name, bool two_in_four, int64_t rows, int64_t cols, int64_t depth) {
    int64_t count = 0;
    for (const auto& [index, times] : network(name).products) {
        const PlannedProduct& p = made().products[index];
        if (p.two_in_four == two_in_four && p.rows == rows && p.cols == cols && p.depth == depth)
            count += times;
    }
    return count;
}

TEST(StcPlan, TheCommittedOneIsWhatTheModelSays) {
    const Plan committed = parse_plan(testing::slurp(ENMESH_SOURCE_DIR "/bench/cuda/stc_plan.json"));
    const char* const how = "make it anew: build/bin/stc_plan > bench/cuda/stc_plan.json";
    ASSERT_EQ(committed.products.size(), made().products.size()) << how;
    for (size_t i = 0; i < committed.products.size(); ++i) {
        const PlannedProduct &one = committed.products[i], &other = made().products[i];
        ASSERT_EQ(
            std::tie(one.stage, one.rows, one.cols, one.depth, one.two_in_four, one.depth_major, one.places),
            std::tie(other.stage, other.rows, other.cols, other.depth, other.two_in_four, other.depth_major,
                     other.places))
            << how;
        ASSERT_EQ(one.predicted.size(), other.predicted.size()) << how;
        for (const auto& [gpu, times] : other.predicted) {
            ASSERT_TRUE(one.predicted.contains(gpu)) << how;
            EXPECT_TRUE(close(times.dense, one.predicted.at(gpu).dense)) << how;
            EXPECT_TRUE(close(times.sparse, one.predicted.at(gpu).sparse)) << how;
        }
    }
    ASSERT_EQ(committed.layers.size(), made().layers.size()) << how;
    for (size_t i = 0; i < committed.layers.size(); ++i) {
        const PlannedLayer &one = committed.layers[i], &other = made().layers[i];
        ASSERT_EQ(std::tie(one.outputs, one.positions, one.inputs, one.places),
                  std::tie(other.outputs, other.positions, other.inputs, other.places))
            << how;
        for (const auto& [gpu, time] : other.predicted)
            EXPECT_TRUE(close(time, one.predicted.at(gpu))) << how;
    }
    ASSERT_EQ(committed.networks.size(), made().networks.size()) << how;
    for (size_t i = 0; i < committed.networks.size(); ++i) {
        const PlannedNetwork &one = committed.networks[i], &other = made().networks[i];
        EXPECT_EQ(std::tie(one.name, one.what, one.products, one.layers),
                  std::tie(other.name, other.what, other.products, other.layers))
            << how;
        ASSERT_EQ(one.not_timed.size(), other.not_timed.size()) << how;
        for (const auto& [gpu, time] : other.not_timed)
            EXPECT_TRUE(close(time, one.not_timed.at(gpu))) << how;
    }
}

TEST(StcPlan, HoldsTheLayersOfTheNetworks) {
    std::set<std::string> names;
    for (const PlannedNetwork& one : made().networks) names.insert(one.name);
    EXPECT_EQ(names, (std::set<std::string>{"resnet50/256", "resnet50/64", "vit_s/64", "vit_b/64",
                                            "gpt2/8192", "gpt2-xl/8192"}));
    // The 3 x 3 convolutions of stage 1, three of them: FF and BP alike, WG with the sizes turned.
    EXPECT_EQ(count_of("resnet50/256", true, 64, 256 * 56 * 56, 576), 6);
    EXPECT_EQ(count_of("resnet50/256", false, 576, 64, 256 * 56 * 56), 3);
    EXPECT_EQ(count_of("resnet50/64", true, 64, 64 * 56 * 56, 576), 6);
    // The first layer stays dense and has no BP; its depth of 147 is rounded up.
    EXPECT_EQ(count_of("resnet50/256", false, 64, 256 * 112 * 112, 160), 1);
    // BP of the strided 3 x 3 convolution of layer2.0: phases of 1, 2, 2 and 4 taps.
    EXPECT_GE(count_of("resnet50/256", true, 128, 256 * 28 * 28, 128), 1);
    EXPECT_GE(count_of("resnet50/256", true, 128, 256 * 28 * 28, 256), 2);
    EXPECT_GE(count_of("resnet50/256", true, 128, 256 * 28 * 28, 512), 1);
    EXPECT_EQ(count_of("vit_s/64", true, 1536, 64 * 197, 384), 24);  // fc1 forward, fc2 backward
    EXPECT_EQ(count_of("vit_b/64", true, 3072, 64 * 197, 768), 24);
    EXPECT_EQ(count_of("gpt2/8192", true, 2304, 8192, 768), 12);
    EXPECT_EQ(count_of("gpt2/8192", false, 768, 2304, 8192), 12);
    EXPECT_EQ(count_of("gpt2-xl/8192", true, 4800, 8192, 1600), 48);
}

TEST(StcPlan, CountsTheMultiplyAddsOfTheStep) {
    // Of the recipe's workload, attention's products apart; rounding up to 16 adds little.
    const Graph graph = build_model("resnet50", {.classes = 1000, .image = {3, 224, 224}, .batch = 256});
    const accel::Workload workload =
        accel::workload_of(build_training_step(graph, make_recipe("bdwp", Pattern{2, 4}), {}));
    double planned = 0, wanted = 0;
    for (const auto& [index, count] : network("resnet50/256").products) {
        const PlannedProduct& p = made().products[index];
        planned += static_cast<double>(p.rows * p.cols) * static_cast<double>(p.depth * count);
    }
    for (const accel::Product& product : workload.products)
        wanted += static_cast<double>(accel::dense_multiply_adds(product));
    EXPECT_GE(planned, wanted);
    EXPECT_LE(planned, wanted * 1.01);
}

TEST(StcPlan, EverySparseLayerIsSelectedOnce) {
    // ResNet-50's 53 convolutions but the first; four linear layers a block.
    for (const auto& [name, layers] : {std::pair<std::string, int64_t>{"resnet50/256", 52},
                                       {"resnet50/64", 52},
                                       {"vit_b/64", 48},
                                       {"vit_s/64", 48},
                                       {"gpt2/8192", 48},
                                       {"gpt2-xl/8192", 192}}) {
        const PlannedNetwork& one = network(name);
        int64_t selected = 0;
        for (const auto& [index, count] : one.layers) {
            selected += count;
            // FF of such a layer is planned, 2:4.
            const PlannedLayer& layer = made().layers[index];
            const bool found =
                std::any_of(one.products.begin(), one.products.end(), [&](const auto& product) {
                    const PlannedProduct& p = made().products[product.first];
                    return p.two_in_four && p.rows == layer.outputs &&
                           p.depth == layer.positions * layer.inputs;
                });
            EXPECT_TRUE(found) << name << ": " << layer.places.front();
        }
        EXPECT_EQ(selected, layers) << name;
        int64_t sparse = 0;
        for (const auto& [index, count] : one.products) {
            const PlannedProduct& p = made().products[index];
            EXPECT_EQ(p.depth_major, p.stage == "WG");
            EXPECT_FALSE(p.two_in_four && p.depth_major);
            if (p.two_in_four) sparse += count;
        }
        // FF and BP; of the three strided 3 x 3 convolutions BP has four phases.
        EXPECT_EQ(sparse, 2 * layers + (name.starts_with("resnet50") ? 3 * 3 : 0)) << name;
    }
}

TEST(StcPlan, EveryLaunchIsWithinCudasLimits) {
    const int64_t x_limit = std::numeric_limits<int32_t>::max(), yz_limit = 65535;
    std::set<std::tuple<int64_t, int64_t, int64_t, bool, bool>> sizes;
    for (const PlannedProduct& p : made().products) {
        EXPECT_TRUE(sizes.insert({p.rows, p.cols, p.depth, p.two_in_four, p.depth_major}).second);
        EXPECT_EQ(p.rows % 16 + p.cols % 16 + p.depth % 16, 0);
        for (const Grid& grid : {grid_of<WideBlock>(p.rows, p.cols), grid_of<NarrowBlock>(p.rows, p.cols)}) {
            EXPECT_LE(grid.x, x_limit);
            EXPECT_LE(grid.y, yz_limit);
        }
        // The kernels that fill and check take 256 elements a block.
        for (const int64_t elements : {p.rows * p.depth, p.cols * p.depth, p.rows * p.cols})
            EXPECT_LE(elements / 256 + 1, x_limit);
        // Operands, result, packed forms and masters beside the flushing memory fit a GPU of 40 GB.
        const double bytes =
            2.0 * static_cast<double>(p.rows * p.depth * 2 + p.cols * p.depth + p.rows * p.cols) +
            8.0 * static_cast<double>(p.rows * p.depth);
        EXPECT_LE(bytes, 30e9) << p.places.front();
    }
    for (const PlannedLayer& layer : made().layers) {
        EXPECT_EQ(layer.outputs % 16 + layer.inputs % 16, 0);
        EXPECT_LE(layer.outputs / select_tile + 1, yz_limit);
        EXPECT_LE(layer.positions, yz_limit);
    }
    // A block's shared memory is at most what sm_80 and sm_90 give one.
    EXPECT_LE(WideBlock::shared_bytes, 163 * 1024);
    EXPECT_LE(NarrowBlock::shared_bytes, 163 * 1024);
}

TEST(StcPlan, PredictionsAreTheModelsOfWhatIsTimed) {
    for (const PlannedProduct& p : made().products) {
        EXPECT_EQ(p.predicted.size(), accel::gpu_names().size());
        for (const auto& [name, times] : p.predicted) {
            const accel::GpuConfig gpu = accel::load_gpu_config(name, "", {});
            const double bandwidth = gpu.dram_bytes_per_second * gpu.dram_efficiency;
            const double bytes =
                2 * (static_cast<double>(p.rows * p.depth) + static_cast<double>(p.cols * p.depth) +
                     static_cast<double>(p.rows * p.cols));
            EXPECT_GE(times.dense, 1e6 * bytes / bandwidth);
            EXPECT_GE(times.dense, 1e6 * gpu.launch_seconds);
            EXPECT_TRUE(p.two_in_four || times.sparse == times.dense);
        }
    }
}

TEST(StcPlan, IsReadAsItWasWritten) {
    const std::string text = to_json(made());
    EXPECT_EQ(to_json(parse_plan(text)), text);
    EXPECT_EQ(predicted_gpu(made(), "NVIDIA H200"), "stc-h200");
    EXPECT_EQ(predicted_gpu(made(), "NVIDIA A100-SXM4-40GB"), "stc-a100");
    EXPECT_EQ(predicted_gpu(made(), "NVIDIA H100 80GB HBM3"), "stc-h100");
    EXPECT_EQ(predicted_gpu(made(), "NVIDIA L4"), "");
    EXPECT_EQ(predicted_gpu(made(), "NVIDIA GH200 480GB"), "");
}

TEST(StcPlan, RefusesWhatIsNoPlan) {
    const auto message = [](std::string text, const std::string& from, const std::string& to) {
        const size_t at = text.find(from);
        if (at == std::string::npos) return std::string("'" + from + "' is not in it");
        try {
            parse_plan(text.replace(at, from.size(), to));
        } catch (const std::exception& error) {
            return std::string(error.what());
        }
        return std::string("taken");
    };
    Plan small;
    small.products.push_back(
        {.stage = "FF", .rows = 64, .cols = 32, .depth = 16, .two_in_four = true, .places = {"a"}});
    small.layers.push_back({64, 1, 16, {"a"}});
    small.networks.push_back({"net", "", {{0, 1}}, {{0, 1}}});
    const std::string text = to_json(small);
    EXPECT_EQ(message(text, "\"net\"", "\"network\""), "taken");
    EXPECT_NE(message(text, "\"format\": 1", "\"format\": 2").find("format 2"), std::string::npos);
    EXPECT_NE(message(text, "\"rows\":64", "\"rows\":63").find("multiple of 16"), std::string::npos);
    EXPECT_NE(message(text, "\"rows\":64", "\"rows\":-16").find("multiple of 16"), std::string::npos);
    EXPECT_NE(message(text, "\"outputs\":64", "\"outputs\":8").find("multiple of 16"), std::string::npos);
    EXPECT_NE(message(text, "[[0,1]]", "[[1,1]]").find("does not hold"), std::string::npos);
    EXPECT_NE(message(text, "[[0,1]]", "[[0,0]]").find("does not hold"), std::string::npos);
    EXPECT_NE(message(text, "\"depth_major\":false", "\"depth_major\":true").find("outermost"),
              std::string::npos);
    EXPECT_NE(message(text, "\"products\"", "\"product\""), "taken");
    EXPECT_NE(message(text, "{", ""), "taken");
}

TEST(StcPlan, AReportsProductsArePlannedAsTheyAreTimed) {
    const Graph graph = build_model("resnet18", {.classes = 10, .image = {3, 32, 32}, .batch = 64});
    const accel::Report report = accel::simulate_gpu(
        accel::load_gpu_config("stc-h200", "", {}),
        accel::workload_of(build_training_step(graph, make_recipe("asp", Pattern{2, 4}), {})));
    const Plan plan = parse_plan(to_json(report_plan(to_json(report), {})));
    const TimedProducts timed = timed_products(to_json(report), {});
    ASSERT_EQ(plan.products.size(), timed.products.size());
    for (size_t i = 0; i < plan.products.size(); ++i) {
        EXPECT_EQ(plan.products[i].rows, timed.products[i].padded_rows);
        EXPECT_EQ(plan.products[i].cols, timed.products[i].padded_cols);
        EXPECT_TRUE(
            close(plan.products[i].predicted.at("stc-h200").sparse, timed.products[i].sparse_microseconds));
    }
    EXPECT_EQ(plan.left_out, timed.left_out);
}

}  // namespace
}  // namespace enmesh::cuda
