#include "enmesh/accel/stc/gpu.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "enmesh/accel/workload/workload_of.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/sparsity/recipe.hpp"
#include "enmesh/step/step.hpp"

namespace enmesh::accel {
namespace {

Product gemm(int64_t m, int64_t n, int64_t k) {
    return {.layer = "gemm",
            .m = m,
            .n = n,
            .k = k,
            .sparse = Operand::b,
            .pattern = {2, 4},
            .b_is_parameter = true};
}

double gain(const GpuConfig& gpu, const Product& product) {
    return gpu_product(gpu, product, false).cycles / gpu_product(gpu, product, true).cycles;
}

GpuConfig a100() { return load_gpu_config("stc-a100", "", {}); }

TEST(Gpu, LargeProductsGainAndSmallOnesDoNot) {
    for (const std::string& name : gpu_names()) {
        const GpuConfig gpu = load_gpu_config(name, "", {});
        EXPECT_GT(gain(gpu, gemm(8192, 8192, 8192)), 1.5) << name;
        EXPECT_LE(gain(gpu, gemm(8192, 8192, 8192)), 2.0) << name;
        EXPECT_LT(gain(gpu, gemm(256, 256, 64)), 1.15) << name;
        // Streams its activations once for few multiply-adds each.
        const Product streaming = gemm(1 << 20, 64, 64);
        EXPECT_LT(gain(gpu, streaming), 1.1) << name;
        EXPECT_EQ(gpu_product(gpu, streaming, true).bound, "dram") << name;
    }
}

TEST(Gpu, MoreOfAnythingIsNeverSlower) {
    Random random(2);
    for (int round = 0; round < 200; ++round) {
        const auto size = [&] { return 16 + static_cast<int64_t>(random.below(4000)); };
        const Product product = gemm(size(), size(), size());
        const GpuConfig gpu = a100();
        for (const bool sparse : {false, true}) {
            const double before = gpu_product(gpu, product, sparse).cycles;
            GpuConfig better = gpu;
            better.sms = 132;
            EXPECT_LE(gpu_product(better, product, sparse).cycles, before * (1 + 1e-12));
            better = gpu;
            better.dram_bytes_per_second *= 2;
            EXPECT_LE(gpu_product(better, product, sparse).cycles, before * (1 + 1e-12));
            better = gpu;
            better.l2_bytes_per_cycle *= 2;
            EXPECT_LE(gpu_product(better, product, sparse).cycles, before * (1 + 1e-12));
            // Never below the work itself.
            const double rate = gpu.sms * 1024.0 * (sparse ? 2 : 1);
            EXPECT_GE(before, static_cast<double>(product.m * product.n * product.k) / rate);
        }
    }
}

TEST(Gpu, CyclesAreIdealPlusStalls) {
    const ModelOptions options{.classes = 10, .image = {3, 32, 32}, .batch = 64};
    for (const char* method : {"dense", "asp", "bdwp", "sdgp", "bdwp+mvue"}) {
        const Recipe recipe = std::string(method) == "dense" ? Recipe{} : make_recipe(method, Pattern{2, 4});
        const Workload workload =
            workload_of(build_training_step(build_model("resnet18", options), recipe, {}));
        const Report report = simulate_gpu(a100(), workload);
        int64_t sum = 0;
        for (const ProductResult& r : report.products) {
            const double ideal = static_cast<double>(r.multiply_adds) / static_cast<double>(report.elements);
            EXPECT_NEAR(ideal + r.stalls.total(), static_cast<double>(r.cycles),
                        1e-6 * static_cast<double>(r.cycles));
            EXPECT_LE(r.utilization, 1.0);
            EXPECT_GE(r.stalls.of("tail"), -1e-6) << r.product.layer << to_string(r.product.stage);
            sum += r.cycles;
        }
        for (const VectorResult& r : report.vector_work) sum += r.cycles;
        EXPECT_EQ(sum, report.total_cycles) << method;
        EXPECT_EQ(report.notes.empty(), std::string(method) == "dense");
    }
}

TEST(Gpu, SparseStepsAreNeverSlowerThanDense) {
    const ModelOptions options{.classes = 1000, .image = {3, 224, 224}, .batch = 64};
    const Graph graph = build_model("resnet50", options);
    const Report dense = simulate_gpu(a100(), workload_of(build_training_step(graph, {}, {})));
    const Report sparse =
        simulate_gpu(a100(), workload_of(build_training_step(graph, make_recipe("bdwp", Pattern{2, 4}), {})));
    int64_t dense_products = 0, sparse_products = 0;
    for (const ProductResult& r : dense.products) dense_products += r.cycles;
    for (const ProductResult& r : sparse.products) sparse_products += r.cycles;
    EXPECT_LT(sparse_products, dense_products);
}

TEST(Gpu, KnowsWhichPatternsTheInstructionTakes) {
    for (const Pattern pattern :
         {Pattern{2, 4}, Pattern{1, 4}, Pattern{1, 2}, Pattern{2, 8}, Pattern{1, 8}, Pattern{2, 16}})
        EXPECT_TRUE(fits_two_in_four(pattern)) << to_string(pattern);
    for (const Pattern pattern :
         {Pattern{3, 4}, Pattern{4, 8}, Pattern{2, 6}, Pattern{1, 3}, Pattern{2, 3}, Pattern{3, 8}})
        EXPECT_FALSE(fits_two_in_four(pattern)) << to_string(pattern);
}

TEST(Gpu, RefusesUnknownNamesAndSettings) {
    EXPECT_THROW(load_gpu_config("stc-a10", "", {}), Error);
    EXPECT_THROW(load_gpu_config("stc-a100", "", std::vector<std::string>{"gpu.sms=0"}), Error);
    EXPECT_THROW(load_gpu_config("stc-a100", "", std::vector<std::string>{"smss=4"}), Error);
    EXPECT_EQ(load_gpu_config("stc-a100", "", std::vector<std::string>{"sms=54"}).sms, 54);
}

/// The BP of a strided convolution, one product for each phase of its positions.
Product strided_bp() {
    ConvGeometry conv;
    conv.images = 64;
    conv.in_channels = 128, conv.out_channels = 512;
    conv.in_height = conv.in_width = 56;
    conv.out_height = conv.out_width = 28;
    conv.kernel_height = conv.kernel_width = 3;
    conv.stride_height = conv.stride_width = 2;
    conv.pad_top = conv.pad_left = 1;
    return training_products("conv", conv)[1];
}

TEST(Gpu, ShowsTheTileOfTheLongestPhase) {
    const Product product = strided_bp();
    const std::vector<Phase> all = phases(product);
    ASSERT_EQ(all.size(), 4U);
    // Launches take long: no phase lasts as long as the ones before it together. DRAM, whose traffic phases
    // share, takes next to no time.
    GpuConfig gpu = a100();
    gpu.launch_seconds = 1e-4;
    gpu.dram_bytes_per_second = 1e15;
    std::vector<GpuProduct> alone;
    double sum = 0;
    for (const Phase& phase : all) {
        // The phase on its own: a convolution without a stride that has the same taps and positions.
        ConvGeometry conv;
        conv.images = 64;
        conv.in_channels = 128, conv.out_channels = 512;
        conv.in_height = conv.out_height = phase.out_rows;
        conv.in_width = conv.out_width = phase.out_cols;
        conv.kernel_height = phase.taps_height, conv.kernel_width = phase.taps_width;
        alone.push_back(gpu_product(gpu, training_products("phase", conv)[1], false));
        sum += alone.back().cycles;
    }
    const auto longest = std::max_element(alone.begin(), alone.end(),
                                          [](const auto& a, const auto& b) { return a.cycles < b.cycles; });
    // The others' sum is longer, and is not what a phase is to be compared with.
    EXPECT_LT(longest->cycles, sum - longest->cycles);
    EXPECT_NE(longest->split_k, alone.front().split_k);
    EXPECT_NE(longest->split_k, alone[1].split_k);
    const GpuProduct whole = gpu_product(gpu, product, false);
    EXPECT_NEAR(whole.cycles, sum, 1e-6 * sum);
    EXPECT_EQ(whole.bound, longest->bound);
    EXPECT_EQ(whole.tile_m, longest->tile_m);
    EXPECT_EQ(whole.tile_n, longest->tile_n);
    EXPECT_EQ(whole.split_k, longest->split_k);
}

}  // namespace
}  // namespace enmesh::accel
