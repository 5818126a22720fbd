#include "cli/starting_weights.hpp"

#include <limits>

#include "enmesh/base/error.hpp"
#include "enmesh/tensor/safetensors.hpp"

namespace enmesh::cli {
namespace {

/// The tensor of that name if it can be the value; loading the weights says what is wrong with others.
std::optional<Tensor> read_as(const SafetensorsReader& file, const std::string& name, const Shape& shape,
                              const char* dtype) {
    const auto index = file.find(name);
    if (!index.has_value()) return std::nullopt;
    const TensorHeader& header = file.tensors()[*index];
    if (header.shape != shape || header.dtype != dtype) return std::nullopt;
    return file.read(*index).tensor();
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

}  // namespace

WeightSource starting_weights(const std::filesystem::path& file, bool averages) {
    if (file.empty()) return [](const Value& value) { return initial_value(value, 0); };
    return [reader = SafetensorsReader(file), averages](const Value& value) {
        const Shape& shape = value.type.shape;
        std::optional<Tensor> weights;
        if (averages) weights = read_as(reader, value.name + ".average", shape, "F32");
        if (!weights.has_value()) weights = read_as(reader, value.name, shape, "F32");
        if (!weights.has_value()) return initial_value(value, 0);
        const auto mask = read_as(reader, value.name + ".mask", shape, "U8");
        if (mask.has_value()) apply_mask(*mask, *weights);
        return std::move(*weights);
    };
}

std::string held_text(const HeldMasks& held, const std::string& from) {
    if (held.kept.empty()) return "";
    const std::string pattern = to_string(held.recipe.pattern);
    std::string text =
        fmt::format("masks of {} are kept: {} of {} layers hold {}{}\n", from, held.kept.size(), held.layers,
                    pattern, held.recipe.bp_weight == WeightRule::frozen ? ", for BP as well" : "");
    for (const HeldDifference& difference : held.differences) {
        text += difference.sparse ? fmt::format("kept {}: {} ({}; --dense {} would free it)\n", pattern,
                                                difference.layer, difference.reason, difference.layer)
                                  : fmt::format("left dense: {}: not {} in {} (--sparse {} would prune it)\n",
                                                difference.layer, pattern, from, difference.layer);
    }
    return text;
}

HeldMasks held_masks(const Graph& graph, const WeightSource& source) {
    const std::optional<Pattern> pattern = held_pattern(graph, source);
    if (pattern.has_value()) {
        HeldMasks held = keep_held_masks(graph, make_recipe("asp", *pattern), source);
        if (!held.kept.empty()) return held;
    }
    return {.recipe = {}, .kept = {}, .differences = {}};
}

std::string runs_held_text(const HeldMasks& held) {
    if (held.kept.empty()) return "";
    return fmt::format("{} of {} layers hold {} along input channels and run N:M as they are\n",
                       held.kept.size(), held.layers, to_string(held.recipe.pattern));
}

std::vector<std::string> held_dense(const HeldMasks& held) {
    std::vector<std::string> layers;
    for (const HeldDifference& difference : held.differences) {
        if (!difference.sparse) layers.push_back(difference.layer);
    }
    return layers;
}

}  // namespace enmesh::cli
