#include "plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

namespace enmesh::cuda {
namespace {

using Json = nlohmann::ordered_json;
constexpr int format = 1;

/// Enough digits for a time that is compared with a measured one.
double rounded(double microseconds) { return std::round(microseconds * 1e3) / 1e3; }

Json to_json(const PlannedProduct& product) {
    Json predicted = Json::object();
    for (const auto& [gpu, times] : product.predicted)
        predicted[gpu] = {{"dense", rounded(times.dense)}, {"sparse", rounded(times.sparse)}};
    return {{"stage", product.stage},
            {"rows", product.rows},
            {"cols", product.cols},
            {"depth", product.depth},
            {"two_in_four", product.two_in_four},
            {"depth_major", product.depth_major},
            {"places", product.places},
            {"predicted", predicted}};
}

Json to_json(const std::map<std::string, double>& times) {
    Json json = Json::object();
    for (const auto& [gpu, time] : times) json[gpu] = rounded(time);
    return json;
}

Json to_json(const PlannedLayer& layer) {
    return {{"outputs", layer.outputs},
            {"positions", layer.positions},
            {"inputs", layer.inputs},
            {"places", layer.places},
            {"predicted", to_json(layer.predicted)}};
}

Json to_json(const PlannedNetwork& network) {
    Json products = Json::array(), layers = Json::array();
    for (const auto& [index, count] : network.products) products.push_back({index, count});
    for (const auto& [index, count] : network.layers) layers.push_back({index, count});
    return {{"name", network.name},
            {"what", network.what},
            {"products", products},
            {"layers", layers},
            {"not_timed", to_json(network.not_timed)}};
}

int64_t size_of(const Json& json, const char* name, int64_t unit) {
    const auto size = json.at(name).get<int64_t>();
    if (size < 1 || size % unit != 0 || size > int64_t{1} << 32)
        throw std::runtime_error(
            fmt::format("the plan's '{}' is {}: a multiple of {} is expected", name, size, unit));
    return size;
}

PlannedProduct product_from(const Json& json) {
    PlannedProduct product{.stage = json.at("stage"),
                           .rows = size_of(json, "rows", 16),
                           .cols = size_of(json, "cols", 16),
                           .depth = size_of(json, "depth", 16),
                           .two_in_four = json.at("two_in_four"),
                           .depth_major = json.at("depth_major"),
                           .places = json.at("places")};
    if (product.two_in_four && product.depth_major)
        throw std::runtime_error("the plan has a 2:4 product whose depth is outermost");
    for (const auto& [gpu, times] : json.at("predicted").items())
        product.predicted[gpu] = {times.at("dense"), times.at("sparse")};
    return product;
}

PlannedLayer layer_from(const Json& json) {
    return {.outputs = size_of(json, "outputs", 16),
            .positions = size_of(json, "positions", 1),
            .inputs = size_of(json, "inputs", 16),
            .places = json.at("places"),
            .predicted = json.at("predicted")};
}

std::map<size_t, int64_t> counts_from(const Json& json, size_t size) {
    std::map<size_t, int64_t> counts;
    for (const Json& pair : json) {
        const auto index = pair.at(0).get<size_t>();
        const auto count = pair.at(1).get<int64_t>();
        if (index >= size || count < 1)
            throw std::runtime_error("the plan's networks count what it does not hold");
        counts[index] = count;
    }
    return counts;
}

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
    return text;
}

/// Whether a word of `text` begins with `word`: "NVIDIA H200 NVL" has "h200", "NVIDIA GH200 480GB" has not.
bool has_word(const std::string& text, const std::string& word) {
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1))
        if (at == 0 || std::isalnum(static_cast<unsigned char>(text[at - 1])) == 0) return true;
    return false;
}

/// One object a line, so that a change of the model shows as changed lines.
std::string lines(const char* name, const std::vector<Json>& objects) {
    std::string text = fmt::format("\"{}\": [", name);
    for (size_t i = 0; i < objects.size(); ++i) text += (i == 0 ? "\n" : ",\n") + objects[i].dump();
    return text + "\n]";
}

template <typename T>
std::vector<Json> all(const std::vector<T>& values) {
    std::vector<Json> objects;
    for (const T& value : values) objects.push_back(to_json(value));
    return objects;
}

}  // namespace

std::string to_json(const Plan& plan) {
    return fmt::format("{{\"format\": {},\n{},\n{},\n{},\n\"left_out\": {}}}\n", format,
                       lines("products", all(plan.products)), lines("layers", all(plan.layers)),
                       lines("networks", all(plan.networks)), Json(plan.left_out).dump());
}

Plan parse_plan(const std::string& text) {
    const Json json = Json::parse(text);
    if (json.at("format") != format)
        throw std::runtime_error(
            fmt::format("the plan is of format {}, {} is expected", json.at("format").dump(), format));
    Plan plan{.left_out = json.at("left_out")};
    for (const Json& product : json.at("products")) plan.products.push_back(product_from(product));
    for (const Json& layer : json.at("layers")) plan.layers.push_back(layer_from(layer));
    for (const Json& network : json.at("networks")) {
        plan.networks.push_back({.name = network.at("name"),
                                 .what = network.at("what"),
                                 .products = counts_from(network.at("products"), plan.products.size()),
                                 .layers = counts_from(network.at("layers"), plan.layers.size()),
                                 .not_timed = network.at("not_timed")});
    }
    if (plan.products.empty()) throw std::runtime_error("the plan holds no product");
    return plan;
}

std::string predicted_gpu(const Plan& plan, const std::string& device) {
    std::set<std::string> names;
    for (const PlannedProduct& product : plan.products)
        for (const auto& [gpu, times] : product.predicted) names.insert(gpu);
    for (const std::string& name : names) {
        // "stc-h200" is asked for as "h200".
        if (name.size() > 4 && has_word(lower(device), name.substr(4))) return name;
    }
    return "";
}

}  // namespace enmesh::cuda
