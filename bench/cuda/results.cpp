#include "results.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

namespace enmesh::cuda {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const Measured& measured) {
    if (!measured.median) return {{"why_not", measured.why_not}};
    return {{"median", *measured.median}, {"min", measured.min}, {"max", measured.max}};
}

Json json_of(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

Json json_of(const Clocks& clocks) {
    return {{"sm_megahertz", json_of(clocks.sm_megahertz)}, {"watts", json_of(clocks.watts)}};
}

/// Of the GPU that the results are beside; nothing if the model does not know it.
template <typename T>
std::optional<T> prediction(const std::map<std::string, T>& predicted, const std::string& gpu) {
    const auto at = predicted.find(gpu);
    return at == predicted.end() ? std::nullopt : std::optional<T>(at->second);
}

std::string text_of(const Measured& measured, const std::optional<double>& dense) {
    if (!measured.median) return measured.why_not;
    if (!dense) return fmt::format("{:.1f}", *measured.median);
    return fmt::format("{:.1f} ({:.2f}x)", *measured.median, *dense / *measured.median);
}

/// Predicted over measured, as a signed percentage.
std::string error_of(const std::optional<double>& predicted, const std::optional<double>& measured) {
    return predicted && measured ? fmt::format("{:+.0f} %", (*predicted / *measured - 1) * 100) : "";
}

/// The faster of the two 2:4 contestants.
std::optional<double> fastest_sparse(const ProductResult& result) {
    if (!result.mma_sp.median || !result.cusparselt.median)
        return result.mma_sp.median ? result.mma_sp.median : result.cusparselt.median;
    return std::min(*result.mma_sp.median, *result.cusparselt.median);
}

std::string place_of(const std::vector<std::string>& places) {
    const std::string more = places.size() > 1 ? fmt::format(" and {} more", places.size() - 1) : "";
    return places.empty() ? "" : places.front() + more;
}

std::string product_row(const Plan& plan, const Results& results, const ProductResult& result) {
    const PlannedProduct& product = plan.products[result.product];
    const auto predicted = prediction(product.predicted, results.predicted_gpu);
    const auto dense = predicted ? std::optional(predicted->dense) : std::nullopt;
    const auto sparse = predicted && product.two_in_four ? std::optional(predicted->sparse) : std::nullopt;
    std::string row = fmt::format("| {} | {} | {} x {} x {} |", place_of(product.places), result.type,
                                  product.cols, product.rows, product.depth);
    row += dense ? fmt::format(" {:.1f} |", *dense) : " |";
    row += sparse ? fmt::format(" {:.1f} ({:.2f}x) |", *sparse, *dense / *sparse) : " |";
    row += " " + text_of(result.dense, std::nullopt) + " |";
    if (product.two_in_four) {
        row += fmt::format(" {} | {} |", text_of(result.mma_sp, result.dense.median),
                           text_of(result.cusparselt, result.dense.median));
    } else {
        row += " | |";
    }
    row += fmt::format(" {} | {} |", error_of(dense, result.dense.median),
                       product.two_in_four ? error_of(sparse, fastest_sparse(result)) : "");
    row += result.clocks.sm_megahertz ? fmt::format(" {:.0f} |", *result.clocks.sm_megahertz) : " |";
    return row + (result.clocks.watts ? fmt::format(" {:.0f} |\n", *result.clocks.watts) : " |\n");
}

std::string products_table(const Plan& plan, const Results& results) {
    std::string text =
        "## Products\n\nMicroseconds, ratios to dense in brackets. Sizes: positions x rows of the 2:4 "
        "operand "
        "x depth. The model's error: predicted over measured, of 2:4 against the faster of the two.\n\n"
        "| product | type | size | predicted dense | predicted 2:4 | cuBLASLt dense | mma.sp | cuSPARSELt | "
        "error, dense | error, 2:4 | SM MHz | W |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for (const ProductResult& result : results.products) text += product_row(plan, results, result);
    return text;
}

std::string layers_table(const Plan& plan, const Results& results) {
    std::string text =
        "\n## Selection and packing\n\nOf a layer's float32 masters, FF's and BP's packed forms in one "
        "kernel, microseconds.\n\n| layer | type | outputs x positions x inputs | predicted | measured | "
        "error |\n|---|---|---|---|---|---|\n";
    for (const LayerResult& result : results.layers) {
        const PlannedLayer& layer = plan.layers[result.layer];
        const auto predicted = prediction(layer.predicted, results.predicted_gpu);
        text += fmt::format(
            "| {} | {} | {} x {} x {} | {} | {} | {} |\n", place_of(layer.places), result.type, layer.outputs,
            layer.positions, layer.inputs, predicted ? fmt::format("{:.1f}", *predicted) : "",
            text_of(result.selection, std::nullopt), error_of(predicted, result.selection.median));
    }
    return text;
}

std::string step_text(const std::optional<double>& step, const std::optional<double>& dense) {
    if (!step || !dense) return "";
    return fmt::format("{:.0f} ({:.2f}x)", *step, *dense / *step);
}

std::optional<double> with(const std::optional<double>& step, const std::optional<double>& rest) {
    return step && rest ? std::optional(*step + *rest) : std::nullopt;
}

std::string steps_table(const Plan& plan, const Results& results) {
    std::string text =
        "\n## Training steps\n\nMicroseconds of a step's products: dense FF + BP + WG, against 2:4 FF + BP, "
        "the selection of the weights in both directions, and dense WG. cuSPARSELt's steps also pay its own "
        "packing of both forms. `best` takes the fastest contestant for each product, dense ones among them. "
        "`whole step` adds to the predicted ones, and to dense and `best`, the model's time of what is not "
        "measured here. Empty: not all of the network's products were measured.\n\n"
        "| network | type | predicted dense | predicted 2:4 | dense | mma.sp | cuSPARSELt | best | whole "
        "step, "
        "predicted | whole step, best |\n|---|---|---|---|---|---|---|---|---|---|\n";
    std::string notes;
    for (const PlannedNetwork& network : plan.networks) {
        for (const std::string type : {"f16", "bf16"}) {
            const Step step = step_of(plan, network, results, type);
            text += fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n", network.name, type,
                                step.predicted_dense ? fmt::format("{:.0f}", *step.predicted_dense) : "",
                                step_text(step.predicted_sparse, step.predicted_dense),
                                step.dense ? fmt::format("{:.0f}", *step.dense) : "",
                                step_text(step.mma_sp, step.dense), step_text(step.cusparselt, step.dense),
                                step_text(step.best, step.dense),
                                step_text(with(step.predicted_sparse, step.not_timed),
                                          with(step.predicted_dense, step.not_timed)),
                                step_text(with(step.best, step.not_timed), with(step.dense, step.not_timed)));
        }
        notes += fmt::format("- {}: {}\n", network.name, network.what);
    }
    return text + "\n" + notes;
}

std::string list(const char* title, const std::vector<std::string>& lines) {
    std::string text;
    for (const std::string& line : lines) text += fmt::format("- {}\n", line);
    return text.empty() ? "" : fmt::format("\n## {}\n\n{}", title, text);
}

/// Sums over a network's products; a missing term makes the sum missing.
struct Sum {
    std::optional<double> value = 0;

    void add(const std::optional<double>& term, int64_t count) {
        value = value && term ? std::optional(*value + *term * static_cast<double>(count)) : std::nullopt;
    }
};

const ProductResult* find(const Results& results, size_t product, const std::string& type) {
    for (const ProductResult& result : results.products)
        if (result.product == product && result.type == type) return &result;
    return nullptr;
}

/// The fastest of the three, cuSPARSELt with its packing.
std::optional<double> best_of(const ProductResult& result) {
    std::optional<double> best = result.dense.median;
    const auto take = [&](const std::optional<double>& time) {
        if (time && (!best || *time < *best)) best = time;
    };
    take(result.mma_sp.median);
    take(with(result.cusparselt.median, result.cusparselt_packing.median));
    return best;
}

}  // namespace

Step step_of(const Plan& plan, const PlannedNetwork& network, const Results& results,
             const std::string& type) {
    Sum dense, mma_sp, cusparselt, best, predicted_dense, predicted_sparse;
    for (const auto& [index, count] : network.products) {
        const PlannedProduct& product = plan.products[index];
        const auto predicted = prediction(product.predicted, results.predicted_gpu);
        predicted_dense.add(predicted ? std::optional(predicted->dense) : std::nullopt, count);
        // Where 2:4 is slower the step runs the product dense, as the model's does.
        predicted_sparse.add(
            predicted ? std::optional(product.two_in_four ? std::min(predicted->dense, predicted->sparse)
                                                          : predicted->dense)
                      : std::nullopt,
            count);
        const ProductResult* const result = find(results, index, type);
        if (result == nullptr) {
            for (Sum* const sum : {&dense, &mma_sp, &cusparselt, &best}) sum->add(std::nullopt, count);
            continue;
        }
        dense.add(result->dense.median, count);
        if (product.two_in_four) {
            mma_sp.add(result->mma_sp.median, count);
            cusparselt.add(with(result->cusparselt.median, result->cusparselt_packing.median), count);
            best.add(best_of(*result), count);
        } else {
            for (Sum* const sum : {&mma_sp, &cusparselt, &best}) sum->add(result->dense.median, count);
        }
    }
    for (const auto& [index, count] : network.layers) {
        predicted_sparse.add(prediction(plan.layers[index].predicted, results.predicted_gpu), count);
        std::optional<double> selection;
        for (const LayerResult& result : results.layers)
            if (result.layer == index && result.type == type) selection = result.selection.median;
        for (Sum* const sum : {&mma_sp, &cusparselt, &best}) sum->add(selection, count);
    }
    return {.dense = dense.value,
            .mma_sp = mma_sp.value,
            .cusparselt = cusparselt.value,
            .best = best.value,
            .predicted_dense = predicted_dense.value,
            .predicted_sparse = predicted_sparse.value,
            .not_timed = prediction(network.not_timed, results.predicted_gpu)};
}

std::string to_json(const Plan& plan, const Results& results) {
    Json json;
    for (const auto& [name, text] : results.facts) json["facts"][name] = text;
    json["predicted_gpu"] = results.predicted_gpu;
    json["checks"] = results.checks;
    json["failures"] = results.failures;
    json["left_out"] = results.left_out;
    json["products"] = Json::array();
    for (const ProductResult& result : results.products) {
        const PlannedProduct& product = plan.products[result.product];
        Json row = {{"places", product.places},      {"stage", product.stage}, {"type", result.type},
                    {"rows", product.rows},          {"cols", product.cols},   {"depth", product.depth},
                    {"dense", json_of(result.dense)}};
        if (product.two_in_four) {
            row["mma_sp"] = json_of(result.mma_sp);
            row["cusparselt"] = json_of(result.cusparselt);
            row["cusparselt_packing"] = json_of(result.cusparselt_packing);
        }
        if (const auto predicted = prediction(product.predicted, results.predicted_gpu)) {
            row["predicted_dense"] = predicted->dense;
            if (product.two_in_four) row["predicted_sparse"] = predicted->sparse;
        }
        row["clocks"] = json_of(result.clocks);
        json["products"].push_back(std::move(row));
    }
    json["layers"] = Json::array();
    for (const LayerResult& result : results.layers) {
        const PlannedLayer& layer = plan.layers[result.layer];
        Json row = {{"places", layer.places},          {"type", result.type},
                    {"outputs", layer.outputs},        {"positions", layer.positions},
                    {"inputs", layer.inputs},          {"selection", json_of(result.selection)},
                    {"clocks", json_of(result.clocks)}};
        if (const auto predicted = prediction(layer.predicted, results.predicted_gpu))
            row["predicted"] = *predicted;
        json["layers"].push_back(std::move(row));
    }
    json["steps"] = Json::array();
    for (const PlannedNetwork& network : plan.networks) {
        for (const std::string type : {"f16", "bf16"}) {
            const Step step = step_of(plan, network, results, type);
            json["steps"].push_back({{"network", network.name},
                                     {"type", type},
                                     {"dense", json_of(step.dense)},
                                     {"mma_sp", json_of(step.mma_sp)},
                                     {"cusparselt", json_of(step.cusparselt)},
                                     {"best", json_of(step.best)},
                                     {"predicted_dense", json_of(step.predicted_dense)},
                                     {"predicted_sparse", json_of(step.predicted_sparse)},
                                     {"not_timed", json_of(step.not_timed)}});
        }
    }
    return json.dump(1) + "\n";
}

std::string to_markdown(const Plan& plan, const Results& results) {
    std::string text = "# Sparse Tensor Cores: measured beside predicted\n\n";
    for (const auto& [name, value] : results.facts) text += fmt::format("- {}: {}\n", name, value);
    text += results.predicted_gpu.empty()
                ? "- predictions: the plan has none for this GPU\n"
                : fmt::format("- predictions: those of {}\n", results.predicted_gpu);
    text += list("Wrong", results.failures) + list("Compared before timing", results.checks) + "\n";
    text += products_table(plan, results);
    if (!plan.layers.empty()) text += layers_table(plan, results);
    if (!plan.networks.empty()) text += steps_table(plan, results);
    std::vector<std::string> left_out = results.left_out;
    left_out.insert(left_out.end(), plan.left_out.begin(), plan.left_out.end());
    return text + list("Left out", left_out);
}

}  // namespace enmesh::cuda
