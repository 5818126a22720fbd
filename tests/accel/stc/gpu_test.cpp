#include "enmesh/accel/stc/gpu.hpp"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace enmesh::accel
