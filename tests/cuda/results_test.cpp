#include "results.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace enmesh::cuda {
namespace {

Measured time(double median) { return {.median = median, .min = median, .max = median}; }

/// A network of one layer used twice: FF and BP of one size, WG of another.
Plan plan() {
    Plan plan;
    plan.products.push_back({.stage = "FF",
                             .rows = 64,
                             .cols = 128,
                             .depth = 64,
                             .two_in_four = true,
                             .places = {"net FF a", "net BP a"},
                             .predicted = {{"stc-h200", {10, 6}}}});
    plan.products.push_back({.stage = "WG",
                             .rows = 64,
                             .cols = 64,
                             .depth = 128,
                             .depth_major = true,
                             .places = {"net WG a"},
                             .predicted = {{"stc-h200", {20, 20}}}});
    plan.layers.push_back({64, 1, 64, {"net a"}, {{"stc-h200", 3}}});
    plan.networks.push_back({"net", "one layer", {{0, 4}, {1, 2}}, {{0, 2}}, {{"stc-h200", 40}}});
    plan.left_out = {"BP b: of a strided convolution, several smaller products"};
    return plan;
}

Results results() {
    Results results;
    results.facts = {{"device", "NVIDIA H200"}};
    results.predicted_gpu = "stc-h200";
    results.products.push_back({.product = 0,
                                .type = "f16",
                                .dense = time(12),
                                .mma_sp = time(8),
                                .cusparselt = time(6),
                                .cusparselt_packing = time(1),
                                .clocks = {.sm_megahertz = 1980, .watts = 612}});
    results.products.push_back({.product = 1, .type = "f16", .dense = time(25)});
    results.layers.push_back({.layer = 0, .type = "f16", .selection = time(4)});
    return results;
}

TEST(StcResults, AStepIsItsProductsAndTheSelection) {
    const Plan p = plan();
    const Step step = step_of(p, p.networks[0], results(), "f16");
    EXPECT_DOUBLE_EQ(step.dense.value(), 4 * 12 + 2 * 25);
    EXPECT_DOUBLE_EQ(step.mma_sp.value(), 4 * 8 + 2 * 25 + 2 * 4);
    EXPECT_DOUBLE_EQ(step.cusparselt.value(), 4 * (6 + 1) + 2 * 25 + 2 * 4);
    EXPECT_DOUBLE_EQ(step.best.value(), 4 * 7 + 2 * 25 + 2 * 4);
    EXPECT_DOUBLE_EQ(step.predicted_dense.value(), 4 * 10 + 2 * 20);
    EXPECT_DOUBLE_EQ(step.predicted_sparse.value(), 4 * 6 + 2 * 20 + 2 * 3);
    EXPECT_DOUBLE_EQ(step.not_timed.value(), 40);
}

TEST(StcResults, TheBestOfAProductMayBeDense) {
    const Plan p = plan();
    Results r = results();
    r.products[0].mma_sp = time(13);
    r.products[0].cusparselt = time(11.5);  // 12.5 with its packing
    EXPECT_DOUBLE_EQ(step_of(p, p.networks[0], r, "f16").best.value(), 4 * 12 + 2 * 25 + 2 * 4);
    Plan slow = p;
    slow.products[0].predicted["stc-h200"] = {10, 11};
    EXPECT_DOUBLE_EQ(step_of(slow, slow.networks[0], r, "f16").predicted_sparse.value(),
                     4 * 10 + 2 * 20 + 2 * 3);
}

TEST(StcResults, WhatIsMissingMakesNoStep) {
    const Plan p = plan();
    EXPECT_FALSE(step_of(p, p.networks[0], results(), "bf16").dense.has_value());
    EXPECT_FALSE(step_of(p, p.networks[0], results(), "bf16").best.has_value());
    Results r = results();
    r.products[0].cusparselt = {.why_not = "not built in"};
    EXPECT_FALSE(step_of(p, p.networks[0], r, "f16").cusparselt.has_value());
    EXPECT_DOUBLE_EQ(step_of(p, p.networks[0], r, "f16").best.value(), 4 * 8 + 2 * 25 + 2 * 4);
    r.layers.clear();
    EXPECT_TRUE(step_of(p, p.networks[0], r, "f16").dense.has_value());
    EXPECT_FALSE(step_of(p, p.networks[0], r, "f16").mma_sp.has_value());
    r.predicted_gpu = "";
    EXPECT_FALSE(step_of(p, p.networks[0], r, "f16").predicted_dense.has_value());
}

TEST(StcResults, TheTableHasMeasuredBesidePredicted) {
    Results r = results();
    r.failures = {"mma.sp on something: wrong"};
    r.left_out = {"net, bf16: 3 products and layers; the 400 seconds were over"};
    const std::string text = to_markdown(plan(), r);
    // Predicted 10 and 6, measured 12, 8 and 6: errors of -17 % and 0 %.
    EXPECT_NE(
        text.find("| net FF a and 1 more | f16 | 128 x 64 x 64 | 10.0 | 6.0 (1.67x) | 12.0 | 8.0 (1.50x) | "
                  "6.0 (2.00x) | -17 % | +0 % | 1980 | 612 |\n"),
        std::string::npos)
        << text;
    EXPECT_NE(text.find("| net WG a | f16 | 64 x 64 x 128 | 20.0 | | 25.0 | | | -20 % |  | | |\n"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("| net a | f16 | 64 x 1 x 64 | 3.0 | 4.0 | -25 % |\n"), std::string::npos) << text;
    // 98 dense, 90 by mma.sp, 86 by cuSPARSELt; with 40 that nobody measured 138 against 126.
    EXPECT_NE(
        text.find("| net | f16 | 80 | 70 (1.14x) | 98 | 90 (1.09x) | 86 (1.14x) | 86 (1.14x) | 110 (1.09x) | "
                  "126 (1.10x) |\n"),
        std::string::npos)
        << text;
    EXPECT_NE(text.find("| net | bf16 | 80 | 70 (1.14x) |  |  |  |  | 110 (1.09x) |  |\n"), std::string::npos)
        << text;
    for (const char* const line :
         {"the 400 seconds were over", "mma.sp on something: wrong", "strided convolution"})
        EXPECT_NE(text.find(line), std::string::npos) << line;
}

TEST(StcResults, AContestantThatIsWrongHasNoTime) {
    Results r = results();
    r.products[0].mma_sp = {.why_not = "wrong: 3 of 8192 results"};
    const std::string text = to_markdown(plan(), r);
    EXPECT_NE(text.find("| wrong: 3 of 8192 results |"), std::string::npos) << text;
    const nlohmann::json json = nlohmann::json::parse(to_json(plan(), r));
    EXPECT_EQ(json["products"][0]["mma_sp"]["why_not"], "wrong: 3 of 8192 results");
    EXPECT_FALSE(json["products"][0]["mma_sp"].contains("median"));
}

TEST(StcResults, JsonHoldsEverything) {
    const nlohmann::json json = nlohmann::json::parse(to_json(plan(), results()));
    EXPECT_EQ(json["facts"]["device"], "NVIDIA H200");
    EXPECT_EQ(json["products"][0]["predicted_sparse"], 6);
    EXPECT_EQ(json["products"][0]["cusparselt"]["median"], 6);
    EXPECT_EQ(json["products"][0]["clocks"]["sm_megahertz"], 1980);
    EXPECT_TRUE(json["products"][1]["clocks"]["watts"].is_null());
    EXPECT_EQ(json["layers"][0]["selection"]["median"], 4);
    ASSERT_EQ(json["steps"].size(), 2U);
    EXPECT_EQ(json["steps"][0]["best"], 86);
    EXPECT_TRUE(json["steps"][1]["best"].is_null());
}

}  // namespace
}  // namespace enmesh::cuda
