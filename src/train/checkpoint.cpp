#include "enmesh/train/checkpoint.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <set>

#include "enmesh/base/error.hpp"
#include "enmesh/sparsity/codec.hpp"
#include "enmesh/sparsity/held_masks.hpp"
#include "enmesh/train/state_dict.hpp"
#include "train/describe.hpp"

namespace enmesh {
namespace {

namespace fs = std::filesystem;

bool finite(const Tensor& tensor) {
    if (tensor.dtype() != DType::f32) return true;
    const std::span<const float> values = tensor.f32();
    return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

bool renewed_by_itself(const Operation& operation) {
    return operation.is<PackNm>() || operation.is<UnpackNm>() || operation.is<Accumulate>();
}

std::string describe(const TensorHeader& header) {
    return fmt::format("{} {}", header.dtype, to_string(header.shape));
}

/// Whether the file's values are taken as they are, or those of another floating type as float32 too.
enum class OtherFloats { refused, converted };

/// Why the file's tensor cannot be this value; nothing if it can.
std::optional<std::string> mismatch(const SafetensorsReader& file, std::optional<size_t> index,
                                    std::string_view name, const Value& value, OtherFloats others) {
    if (!index.has_value()) return fmt::format("'{}' is not in it", name);
    const TensorHeader& header = file.tensors()[*index];
    const bool converts = others == OtherFloats::converted && value.type.dtype == DType::f32 &&
                          (header.dtype == "F16" || header.dtype == "BF16" || header.dtype == "F64");
    if (header.shape == value.type.shape && (converts || header.dtype == safetensors_dtype(value.type.dtype)))
        return std::nullopt;
    return fmt::format("'{}' is {} there and {} {} here", name, describe(header),
                       safetensors_dtype(value.type.dtype), to_string(value.type.shape));
}

/// What a training step adds to the names of its parameters.
bool belongs_to_training(std::string_view name) {
    constexpr std::array suffixes = {".velocity", ".first", ".second", ".average", ".mask"};
    return std::any_of(suffixes.begin(), suffixes.end(),
                       [&](std::string_view suffix) { return name.ends_with(suffix); });
}

/// The layers whose weights do not come from the file.
class FreshLayers {
  public:
    FreshLayers(const std::vector<std::string>& patterns, const TrainingStep& step) : patterns_(patterns) {
        std::set<std::string> known;
        for (const StepParameter& parameter : step.parameters)
            known.insert(layer_of(step.graph.value(parameter.weights).name));
        for (const std::string& layer : known)
            if (matches(layer)) layers_.push_back(layer);
        for (const std::string& pattern : patterns) {
            const auto of_it = [&](const std::string& layer) { return matches_name_pattern(pattern, layer); };
            if (std::any_of(known.begin(), known.end(), of_it)) continue;
            const std::vector<std::string> names(known.begin(), known.end());
            refuse("no layer with weights is called '{}'{}", pattern, suggestion(pattern, names));
        }
    }
    bool has(const std::string& name) const {
        // States of a parameter lie below it: "fc.weight.velocity".
        for (std::string layer = layer_of(name); !layer.empty(); layer = layer_of(layer))
            if (matches(layer)) return true;
        return false;
    }
    std::string text() const {
        std::string list;
        for (const std::string& layer : layers_) list += (list.empty() ? "" : ", ") + layer;
        return list.empty() ? "" : "the weights of these layers are not taken, they start afresh: " + list;
    }

  private:
    static std::string layer_of(const std::string& name) {
        const size_t dot = name.rfind('.');
        return dot == std::string::npos ? "" : name.substr(0, dot);
    }
    bool matches(const std::string& layer) const {
        return std::any_of(patterns_.begin(), patterns_.end(),
                           [&](const std::string& pattern) { return matches_name_pattern(pattern, layer); });
    }

    const std::vector<std::string>& patterns_;
    std::vector<std::string> layers_;
};

/// A mask from a file counts if the pattern allows it; what it prunes is zeroed, as some methods keep it.
bool keep_given_mask(Executor& executor, const FrozenMask& frozen) {
    const Tensor mask = executor.read(frozen.mask);
    const std::span<const uint8_t> kept = mask.as<uint8_t>();
    const std::vector<float> values(kept.begin(), kept.end());
    if (!holds_pattern(mask.shape(), frozen.axis, frozen.pattern, values)) return false;
    Tensor weights = executor.read(frozen.weights);
    const auto zero_unmarked = [&](auto elements) {
        for (size_t i = 0; i < elements.size(); ++i) {
            if (kept[i] == 0) elements[i] = 0;
        }
    };
    if (weights.dtype() == DType::f32) {
        zero_unmarked(weights.f32());
    } else {
        zero_unmarked(weights.as<double>());
    }
    executor.write(frozen.weights, weights);
    return true;
}

/// A frozen mask follows from the weights; any other one is chosen by refresh() where it is empty.
void choose_missing_masks(Executor& executor, const std::set<std::string>& given) {
    const TrainingStep& step = executor.step();
    for (const ValueId id : checkpoint_values(step)) {
        const Value& value = step.graph.value(id);
        if (!value.name.ends_with(".mask") || value.role != Role::state || given.contains(value.name))
            continue;
        executor.write(id, Tensor(value.type.shape, value.type.dtype));
    }
    for (const FrozenMask& frozen : step.frozen_masks) {
        const bool is_given = given.contains(step.graph.value(frozen.mask).name);
        if (!is_given || !keep_given_mask(executor, frozen)) choose_frozen_mask(executor, frozen);
    }
}

}  // namespace

std::vector<ValueId> checkpoint_values(const TrainingStep& step) {
    const std::span<const Value> values = step.graph.values();
    std::vector<bool> skipped(values.size(), false);
    for (const auto& [result, state] : step.carried) {
        const int producer = step.graph.value(result).producer;
        if (producer >= 0 && renewed_by_itself(step.graph.node(producer).operation)) {
            skipped[static_cast<size_t>(state.index)] = true;
        }
    }
    std::vector<ValueId> kept;
    for (size_t i = 0; i < values.size(); ++i) {
        const bool stored = values[i].role == Role::parameter || values[i].role == Role::state;
        if (stored && values[i].type.dense() && !skipped[i]) kept.push_back({static_cast<int>(i)});
    }
    return kept;
}

CheckpointInfo read_checkpoint_info(const SafetensorsReader& file, const fs::path& path) {
    const Metadata& metadata = file.metadata();
    CheckpointInfo info;
    const auto format = metadata.find("enmesh.format");
    if (format == metadata.end()) return info;
    if (format->second != "1") {
        refuse("{}: a checkpoint of format {}, this version knows format 1", path.string(), format->second);
    }
    try {
        info.model = Json::parse(metadata.at("enmesh.model")).get<ModelDescription>();
        info.recipe = recipe_from(Json::parse(metadata.at("enmesh.recipe")));
        info.progress = progress_from(Json::parse(metadata.at("enmesh.progress")));
        info.plan = metadata.at("enmesh.plan");
        const Json training = Json::parse(metadata.at("enmesh.training"));
        if (!training.is_object()) refuse("enmesh.training is no object");
        if (info.progress.epoch < 0 || info.progress.batches < 0 || info.progress.update < 0)
            refuse("its progress is negative");
    } catch (const Error& error) {
        refuse("{}: the checkpoint's metadata cannot be read ({})", path.string(), error.what());
    } catch (const std::exception&) {
        refuse(
            "{}: the checkpoint's metadata cannot be read: an entry is missing or has another form; it was "
            "not written by this program, or is damaged",
            path.string());
    }
    info.is_checkpoint = true;
    return info;
}

Metadata first_metadata(const ModelDescription& model, const Recipe& recipe) {
    return {{"enmesh.format", "1"},
            {"enmesh.model", Json(model).dump()},
            {"enmesh.recipe", describe(recipe).dump()},
            {"enmesh.training", Json::object().dump()},
            {"enmesh.progress", describe(Progress{}).dump()},
            {"enmesh.plan", ""}};
}

std::string first_non_finite_value(const Executor& executor) {
    for (const ValueId id : checkpoint_values(executor.step())) {
        if (!finite(executor.read(id))) return executor.step().graph.value(id).name;
    }
    return "";
}

void save_checkpoint(const fs::path& path, const Executor& executor, const Metadata& metadata) {
    const TrainingStep& step = executor.step();
    std::vector<TensorHeader> headers;
    for (const ValueId id : checkpoint_values(step)) {
        const Value& value = step.graph.value(id);
        headers.push_back({value.name, safetensors_dtype(value.type.dtype), value.type.shape});
    }
    SafetensorsWriter writer(path, std::move(headers), metadata);
    for (const TensorHeader& header : writer.tensors()) {
        const Tensor tensor = executor.read(step.graph.find(header.name));
        if (!finite(tensor)) fail("'{}' is not finite and is not saved", header.name);
        writer.write(tensor.data());
    }
    writer.commit();
}

void save_weights(const fs::path& path, const Graph& graph,
                  const std::function<Tensor(const Value&)>& weights, const Metadata& metadata) {
    std::vector<TensorHeader> headers;
    for (const Value& value : graph.values()) {
        if (value.role == Role::parameter || value.role == Role::state)
            headers.push_back({value.name, safetensors_dtype(value.type.dtype), value.type.shape});
    }
    SafetensorsWriter writer(path, std::move(headers), metadata);
    for (const TensorHeader& header : writer.tensors()) {
        const Tensor tensor = weights(graph.value(graph.find(header.name)));
        if (!finite(tensor)) fail("'{}' is not finite and is not saved", header.name);
        writer.write(tensor.data());
    }
    writer.commit();
}

void load_checkpoint(const fs::path& path, Executor& executor) {
    const SafetensorsReader file(path);
    const TrainingStep& step = executor.step();
    const std::vector<ValueId> values = checkpoint_values(step);
    std::vector<std::string> wrong;
    std::set<std::string_view> known;
    for (const ValueId id : values) {
        const Value& value = step.graph.value(id);
        known.insert(value.name);
        if (const auto why = mismatch(file, file.find(value.name), value.name, value, OtherFloats::refused))
            wrong.push_back(*why);
    }
    for (const TensorHeader& header : file.tensors()) {
        if (!known.contains(header.name)) wrong.push_back(fmt::format("'{}' is unknown here", header.name));
    }
    if (!wrong.empty()) refuse("{}: a checkpoint of another run: {}", path.string(), listed(wrong));
    for (const ValueId id : values) {
        executor.write(id, file.read(*file.find(step.graph.value(id).name)).tensor());
    }
    executor.refresh();
}

std::vector<std::string> load_weights(const fs::path& path, Executor& executor, const LoadOptions& options) {
    const StateDict dict(path);
    const SafetensorsReader& file = dict.file();
    require_unpacked(file, path);
    const TrainingStep& step = executor.step();
    FreshLayers fresh(options.fresh, step);
    std::vector<std::string> wrong;
    std::vector<std::pair<ValueId, size_t>> writes;
    std::set<std::string> given;
    for (const ValueId id : checkpoint_values(step)) {
        const Value& value = step.graph.value(id);
        std::string name = value.name;
        if (fresh.has(name)) continue;
        if (options.averages && value.role == Role::parameter && dict.find(name + ".average"))
            name += ".average";
        if (value.role == Role::state && (belongs_to_training(name) && !name.ends_with(".mask"))) continue;
        const auto index = dict.find(name);
        if (value.role == Role::state && !index) continue;
        if (const auto why = mismatch(file, index, name, value, OtherFloats::converted)) {
            wrong.push_back(*why);
        } else {
            writes.emplace_back(id, *index);
            given.insert(value.name);
        }
    }
    for (size_t i = 0; i < file.tensors().size(); ++i) {
        const std::string name = dict.name_of(i);
        const bool known = step.graph.find(name).valid() || step.graph.find(file.tensors()[i].name).valid();
        if (!known && dict.needed(i) && !belongs_to_training(name) && !fresh.has(name))
            wrong.push_back(fmt::format("'{}' is unknown here", file.tensors()[i].name));
    }
    if (!wrong.empty()) {
        throw WeightsDiffer(ErrorKind::request,
                            fmt::format("{}: weights of another model: {}", path.string(), listed(wrong)));
    }
    for (const auto& [id, index] : writes) executor.write(id, file.read(index).as_float32());
    choose_missing_masks(executor, given);
    for (const StepParameter& parameter : step.parameters) {
        if (parameter.average.valid()) executor.write(parameter.average, executor.read(parameter.weights));
    }
    executor.refresh();
    std::vector<std::string> notes = dict.notes();
    if (const std::string text = fresh.text(); !text.empty()) notes.push_back(text);
    for (std::string& note : notes) note = path.string() + ": " + note;
    return notes;
}

void copy_weights(const Executor& from, Executor& to) {
    const TrainingStep& source = from.step();
    const Graph& graph = to.step().graph;
    for (const ValueId id : checkpoint_values(source)) {
        const ValueId target = graph.find(source.graph.value(id).name);
        if (target.valid()) to.write(target, from.read(id));
    }
    for (const StepParameter& parameter : source.parameters) {
        const ValueId target = graph.find(source.graph.value(parameter.weights).name);
        if (parameter.average.valid() && target.valid()) to.write(target, from.read(parameter.average));
    }
    to.refresh();
}

}  // namespace enmesh
