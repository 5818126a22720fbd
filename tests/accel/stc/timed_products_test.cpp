#include "timed_products.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "enmesh/accel/stc/gpu.hpp"
#include "enmesh/accel/workload/workload_of.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/sparsity/recipe.hpp"
#include "enmesh/step/step.hpp"
#include "tiles.hpp"

namespace enmesh::cuda {
namespace {

const std::vector<std::string> no_settings;

accel::Report report_of(const std::string& method, const std::string& accelerator, int64_t batch,
                        Pattern pattern = {2, 4}) {
    const ModelOptions options{.classes = 10, .image = {3, 32, 32}, .batch = batch};
    const Graph graph = build_model("resnet18", options);
    return accel::simulate_gpu(
        accel::load_gpu_config(accelerator, "", {}),
        accel::workload_of(build_training_step(graph, make_recipe(method, pattern), {})));
}

TEST(TimedProducts, HoldWhatTheModelRunsDenseAsWell) {
    // Weights are packed at their update and pay nearly always; packing gradients does not at batch 1.
    bool chosen = false, refused = false;
    for (const auto& [method, batch] : {std::pair{"asp", 512}, {"sdgp", 1}}) {
        const accel::Report report = report_of(method, "stc-a100", batch);
        std::set<std::string> expected, found;
        for (const accel::ProductResult& result : report.products) {
            if (result.product.is_sparse() || result.asked.has_value())
                expected.insert(to_string(result.product.stage) + " " + result.product.layer);
        }
        const TimedProducts timed = timed_products(to_json(report), no_settings);
        EXPECT_EQ(timed.accelerator, "stc-a100");
        for (const TimedProduct& product : timed.products) {
            found.insert(product.places.begin(), product.places.end());
            (product.chosen ? chosen : refused) = true;
        }
        for (const std::string& line : timed.left_out) {
            EXPECT_NE(line.find("of a strided convolution"), std::string::npos) << line;
            found.insert(line.substr(0, line.find(':')));
        }
        EXPECT_EQ(found, expected) << method;
        EXPECT_GT(found.size(), 8U) << method;
    }
    EXPECT_TRUE(chosen);
    EXPECT_TRUE(refused);
}

TEST(TimedProducts, ArePredictedAsThePaddedMatrixProductsThatAreTimed) {
    for (const std::string& name : accel::gpu_names()) {
        const accel::GpuConfig gpu = accel::load_gpu_config(name, "", {});
        const accel::Report report = report_of("asp", name, 256);
        const TimedProducts timed = timed_products(to_json(report), no_settings);
        bool found = false;
        for (const TimedProduct& product : timed.products) {
            EXPECT_EQ(product.padded_rows % tile, 0);
            EXPECT_EQ(product.padded_cols % tile, 0);
            EXPECT_EQ(product.padded_depth % tile_depth, 0);
            EXPECT_LT(product.padded_rows - product.rows, tile);
            const auto rows = static_cast<double>(product.padded_rows),
                       cols = static_cast<double>(product.padded_cols),
                       depth = static_cast<double>(product.padded_depth);
            // No product is faster than its matrices pass through DRAM once, or than its multiply-adds.
            const double bandwidth = gpu.dram_bytes_per_second * gpu.dram_efficiency;
            const double rate = gpu.sms * gpu.clock_hz * gpu.dense_multiply_adds_per_cycle;
            const double dense = 2 * (rows * depth + cols * depth + rows * cols) / bandwidth;
            const double sparse = 2 * (rows * depth * 9 / 16 + cols * depth + rows * cols) / bandwidth;
            EXPECT_GE(product.dense_microseconds, 1e6 * std::max(dense, rows * cols * depth / rate));
            EXPECT_GE(product.sparse_microseconds, 1e6 * std::max(sparse, rows * cols * depth / rate / 2));

            // A 3x3 convolution of 64 channels: n is padded to 128, k stays; its im2col has nine times the
            // map's bytes, so that the step's own figure is of another problem.
            if (product.places.front() != "FF layer1.0.conv1") continue;
            found = true;
            EXPECT_EQ(product.rows, 64);
            EXPECT_EQ(product.padded_rows, 128);
            EXPECT_EQ(product.cols, 256 * 32 * 32);
            EXPECT_EQ(product.depth, 576);
            for (const accel::ProductResult& result : report.products) {
                if (result.product.layer != "layer1.0.conv1" || result.product.stage != Stage::FF) continue;
                EXPECT_GT(std::min(product.dense_microseconds, product.sparse_microseconds),
                          1.3e6 * static_cast<double>(result.cycles) / gpu.clock_hz)
                    << name;
            }
        }
        EXPECT_TRUE(found);
    }
}

TEST(TimedProducts, KnowTheSparseOperand) {
    // SDGP prunes the gradient, operand a: its rows are the report's m.
    const accel::Report report = report_of("sdgp", "stc-a100", 64);
    const nlohmann::json json = nlohmann::json::parse(to_json(report));
    const TimedProducts timed = timed_products(to_json(report), no_settings);
    int compared = 0;
    for (const nlohmann::json& product : json["products"]) {
        if (!product.contains("sparse_operand")) continue;
        EXPECT_EQ(product["sparse_operand"], "a");
        for (const TimedProduct& one : timed.products) {
            if (one.places.front() !=
                product["stage"].get<std::string>() + " " + product["layer"].get<std::string>())
                continue;
            EXPECT_EQ(one.rows, product["m"].get<int64_t>());
            EXPECT_EQ(one.cols, product["n"].get<int64_t>());
            ++compared;
        }
    }
    EXPECT_GE(compared, 3);
}

TEST(TimedProducts, EqualProductsAreTimedOnce) {
    const accel::Product grouped{.layer = "grouped",
                                 .m = 1000,
                                 .n = 48,
                                 .k = 200,
                                 .batch = 32,
                                 .sparse = accel::Operand::b,
                                 .pattern = {2, 8},
                                 .b_is_parameter = true};
    accel::Product again = grouped, other = grouped;
    again.layer = "again";
    again.batch = 1;
    other.layer = "other";
    other.pattern = {3, 4};
    again.position = 1;
    other.position = 2;
    accel::Workload workload;
    workload.name = "net";
    workload.products = {grouped, again, other};
    const accel::GpuConfig gpu = accel::load_gpu_config("stc-h100", "", {});
    const TimedProducts timed = timed_products(to_json(accel::simulate_gpu(gpu, workload)), no_settings);
    std::set<std::string> places;
    for (const TimedProduct& product : timed.products) {
        places.insert(product.places.begin(), product.places.end());
        EXPECT_EQ(product.padded_rows, 128);
        EXPECT_EQ(product.padded_cols, 1024);
        EXPECT_EQ(product.padded_depth, 256);
    }
    EXPECT_EQ(places, (std::set<std::string>{"FF grouped (one of 32)", "FF again"}));
    EXPECT_EQ(timed.left_out, std::vector<std::string>{"FF other (one of 32): 3:4 does not run as 2:4"});
}

TEST(TimedProducts, RefuseReportsThatTheyCannotPredict) {
    const auto message = [](const std::string& report, const std::vector<std::string>& settings = {}) {
        try {
            timed_products(report, settings);
        } catch (const std::exception& error) {
            return std::string(error.what());
        }
        return std::string("taken");
    };
    const std::string report = to_json(report_of("asp", "stc-a100", 1));
    EXPECT_EQ(message(report), "taken");
    EXPECT_NE(message(report, {"gpu.clock_hz=1e9"}).find("give the --set of the simulation"),
              std::string::npos);
    EXPECT_NE(message(report, {"gpu.smss=1"}).find("smss"), std::string::npos);
    EXPECT_NE(message("{}"), "taken");
    EXPECT_NE(message("no JSON"), "taken");
    EXPECT_NE(message(to_json(report_of("asp", "stc-a100", 1, {3, 4}))).find("no product that runs as 2:4"),
              std::string::npos);
    // What is slower on the GPU is slower in the table.
    const TimedProducts all = timed_products(report, no_settings);
    const std::vector<std::string> fewer = {"gpu.sms=10"};
    EXPECT_GT(timed_products(report, fewer).products[0].dense_microseconds,
              all.products[0].dense_microseconds);
}

}  // namespace
}  // namespace enmesh::cuda
