#include "cli/train/starting_weights.hpp"

#include <algorithm>
#include <limits>

#include "enmesh/base/error.hpp"
#include "enmesh/train/state_dict.hpp"

namespace enmesh::cli {
namespace {

/// The tensor of that name if it can be a value of that type; loading the weights says what is wrong with
/// others.
std::optional<Tensor> read_as(const StateDict& dict, const std::string& name, const Shape& shape,
                              DType dtype) {
    const SafetensorsReader& file = dict.file();
    const auto index = dict.find(name);
    if (!index.has_value()) return std::nullopt;
    if (file.tensors()[*index].shape != shape) return std::nullopt;
    Tensor tensor = file.read(*index).as_float32();
    if (tensor.dtype() != dtype) return std::nullopt;
    return tensor;
}

/// Zero where the mask prunes, and elsewhere not zero: what the mask keeps is kept whatever it is.
void apply_mask(const Tensor& mask, Tensor& weights) {
    const auto kept = mask.as<uint8_t>();
    const auto values = weights.f32();
    for (size_t i = 0; i < values.size(); ++i) {
        if (kept[i] == 0) {
            values[i] = 0;
        } else if (values[i] == 0.0F) {
            values[i] = std::numeric_limits<float>::min();
        }
    }
}

/// "8 of 14 layers hold 2:8, 3 hold 2:4", the recipe's pattern first.
std::string counts_text(const HeldMasks& held) {
    std::vector<std::pair<Pattern, int>> counts{{held.recipe.pattern, 0}};
    for (const KeptLayer& kept : held.kept) {
        auto found = std::find_if(counts.begin(), counts.end(),
                                  [&](const auto& count) { return count.first == kept.pattern; });
        if (found == counts.end()) found = counts.insert(found, {kept.pattern, 0});
        ++found->second;
    }
    std::string text;
    for (const auto& [pattern, count] : counts) {
        if (count == 0) continue;
        text += text.empty() ? fmt::format("{} of {} layers hold {}", count, held.layers, to_string(pattern))
                             : fmt::format(", {} hold {}", count, to_string(pattern));
    }
    return text;
}

}  // namespace

WeightSource starting_weights(const std::filesystem::path& file, bool averages) {
    if (file.empty()) return [](const Value& value) { return initial_value(value, 0); };
    return [reader = StateDict(file), averages](const Value& value) {
        const Shape& shape = value.type.shape;
        std::optional<Tensor> weights;
        if (averages) weights = read_as(reader, value.name + ".average", shape, DType::f32);
        if (!weights.has_value()) weights = read_as(reader, value.name, shape, DType::f32);
        if (!weights.has_value()) return initial_value(value, 0);
        const auto mask = read_as(reader, value.name + ".mask", shape, DType::u8);
        if (mask.has_value()) apply_mask(*mask, *weights);
        return std::move(*weights);
    };
}

HeldMasks with_held_masks(const Graph& graph, const Recipe& recipe, const std::filesystem::path& from) {
    if (from.empty()) return {.recipe = recipe, .kept = {}, .differences = {}};
    return keep_held_masks(graph, recipe, starting_weights(onnx::is_onnx_path(from) ? "" : from, true));
}

Recipe recipe_for(const Graph& graph, const ModelRequest& request) {
    return with_held_masks(graph, requested_recipe(request), onnx_file(request)).recipe;
}

std::string held_text(const HeldMasks& held, const std::string& from) {
    if (held.kept.empty()) return "";
    std::string text = fmt::format("masks of {} are kept: {}{}\n", from, counts_text(held),
                                   held.recipe.bp_weight == WeightRule::frozen ? ", for BP as well" : "");
    const auto as_asked = [&](const KeptLayer& kept) { return kept.pattern == held.recipe.pattern; };
    if (std::none_of(held.kept.begin(), held.kept.end(), as_asked))
        text += fmt::format("none of them is {0}: --sparse LAYERS={0} would prune to it\n",
                            to_string(held.recipe.pattern));
    for (const HeldDifference& difference : held.differences) {
        const auto& [layer, sparse, reason, pattern] = difference;
        text += sparse ? fmt::format("kept {}: {} ({}; --dense {} would free it)\n", to_string(pattern),
                                     layer, reason, layer)
                       : fmt::format("left dense: {}: not N:M in {} (--sparse {} would prune it {})\n", layer,
                                     from, layer, to_string(pattern));
    }
    return text;
}

HeldMasks held_masks(const Graph& graph, const WeightSource& source) {
    const std::optional<Pattern> pattern = held_pattern(graph, source);
    if (pattern.has_value()) {
        HeldMasks held = keep_held_masks(graph, make_recipe("asp", *pattern), source, HeldPattern::sparsest);
        if (!held.kept.empty()) return held;
    }
    return {.recipe = {}, .kept = {}, .differences = {}};
}

std::string runs_held_text(const HeldMasks& held) {
    if (held.kept.empty()) return "";
    return fmt::format("{} along input channels and run N:M as they are\n", counts_text(held));
}

std::vector<std::string> held_dense(const HeldMasks& held) {
    std::vector<std::string> layers;
    for (const HeldDifference& difference : held.differences) {
        if (!difference.sparse) layers.push_back(difference.layer);
    }
    return layers;
}

}  // namespace enmesh::cli
