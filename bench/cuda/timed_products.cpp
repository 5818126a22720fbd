#include "timed_products.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "enmesh/accel/stc/gpu.hpp"
#include "enmesh/base/error.hpp"
#include "tiles.hpp"

namespace enmesh::cuda {
namespace {

using accel::Operand;
using accel::Product;

double microseconds(const accel::GpuConfig& gpu, const TimedProduct& timed, bool sparse) {
    const Product plain{.layer = "as timed",
                        .m = timed.padded_cols,
                        .n = timed.padded_rows,
                        .k = timed.padded_depth,
                        .sparse = Operand::b,
                        .pattern = {2, 4},
                        .b_is_parameter = true};
    return accel::gpu_product(gpu, plain, sparse).cycles / gpu.clock_hz * 1e6;
}

/// Zeros that a stride inserts are not counted as work.
bool is_one_product(const nlohmann::json& json, Operand operand) {
    Product product{
        .layer = "", .m = json.at("m"), .n = json.at("n"), .k = json.at("k"), .batch = json.at("batch")};
    if (json.at("pattern") != "dense") {
        product.sparse = operand;
        product.pattern = parse_pattern(json.at("pattern").get<std::string>());
    }
    return accel::useful_multiply_adds(product) == json.at("multiply_adds").get<int64_t>();
}

TimedProduct timed_product(const accel::GpuConfig& gpu, const nlohmann::json& json, Operand operand) {
    TimedProduct timed{.rows = json.at("n"), .cols = json.at("m"), .depth = json.at("k")};
    if (operand == Operand::a) std::swap(timed.rows, timed.cols);
    timed.padded_rows = padded(timed.rows, tile);
    timed.padded_cols = padded(timed.cols, tile);
    timed.padded_depth = padded(timed.depth, tile_depth);
    timed.chosen = json.at("pattern") != "dense";
    timed.dense_microseconds = microseconds(gpu, timed, false);
    timed.sparse_microseconds = microseconds(gpu, timed, true);
    return timed;
}

bool same(const TimedProduct& one, const TimedProduct& other) {
    return one.rows == other.rows && one.cols == other.cols && one.depth == other.depth &&
           one.chosen == other.chosen;
}

void add(TimedProducts& all, const accel::GpuConfig& gpu, const nlohmann::json& json) {
    if (!json.contains("sparse_operand")) return;
    const std::string pattern = json.at(json.contains("asked_pattern") ? "asked_pattern" : "pattern");
    const int64_t batch = json.at("batch");
    std::string place = json.at("stage").get<std::string>() + " " + json.at("layer").get<std::string>() +
                        (batch > 1 ? fmt::format(" (one of {})", batch) : "");
    if (!accel::fits_two_in_four(parse_pattern(pattern))) {
        all.left_out.push_back(fmt::format("{}: {} does not run as 2:4", place, pattern));
        return;
    }
    const Operand operand = json.at("sparse_operand") == "a" ? Operand::a : Operand::b;
    if (!is_one_product(json, operand)) {
        all.left_out.push_back(fmt::format("{}: of a strided convolution, several smaller products", place));
        return;
    }
    TimedProduct timed = timed_product(gpu, json, operand);
    const auto at = std::find_if(all.products.begin(), all.products.end(),
                                 [&](const TimedProduct& other) { return same(timed, other); });
    if (at != all.products.end()) {
        at->places.push_back(std::move(place));
    } else {
        timed.places = {std::move(place)};
        all.products.push_back(std::move(timed));
    }
}

}  // namespace

TimedProducts timed_products(const std::string& report, std::span<const std::string> settings) {
    const nlohmann::json json = nlohmann::json::parse(report);
    TimedProducts all{.accelerator = json.at("accelerator")};
    const accel::GpuConfig gpu = accel::load_gpu_config(all.accelerator, "", settings);
    const double hertz = json.at("frequency_hz");
    if (!(std::abs(gpu.clock_hz - hertz) <= 1e-9 * hertz))
        refuse("the report is of a clock of {:.4g} Hz, here it is {:.4g}: give the --set of the simulation",
               hertz, gpu.clock_hz);
    for (const nlohmann::json& product : json.at("products")) add(all, gpu, product);
    if (all.products.empty()) refuse("the report holds no product that runs as 2:4");
    return all;
}

}  // namespace enmesh::cuda
