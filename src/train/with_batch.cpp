#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>

#include "enmesh/base/error.hpp"
#include "enmesh/train/trainer.hpp"

namespace enmesh {
namespace {

/// A constant with one and the same slice per image (what makes a class token broadcast) follows the batch;
/// any other one stays.
std::shared_ptr<const Tensor> constant_for(const std::shared_ptr<const Tensor>& constant, int64_t before,
                                           int64_t batch) {
    Shape shape = constant->shape();
    if (shape.rank() == 0 || shape[0] != before) return constant;
    const size_t slice = constant->bytes() / static_cast<size_t>(before);
    const auto* const from = static_cast<const std::byte*>(constant->data());
    for (int64_t i = 1; i < before; ++i) {
        if (std::memcmp(from, from + static_cast<size_t>(i) * slice, slice) != 0) return constant;
    }
    shape[0] = batch;
    auto result = std::make_shared<Tensor>(std::move(shape), constant->dtype());
    for (int64_t i = 0; i < batch; ++i) {
        std::memcpy(static_cast<std::byte*>(result->data()) + static_cast<size_t>(i) * slice, from, slice);
    }
    return result;
}

}  // namespace

Graph with_batch(const Graph& graph, int64_t batch) {
    if (batch < 1) refuse("the batch must be at least 1, not {}", batch);
    const ValueId images = graph.find("images");
    if (!images.valid()) refuse("the graph has no input called 'images'");
    const int64_t before = graph.type(images).shape[0];
    Graph result;
    std::vector<ValueId> mapped(graph.values().size());
    for (size_t i = 0; i < graph.values().size(); ++i) {
        const Value& value = graph.values()[i];
        ValueType type = value.type;
        switch (value.role) {
            case Role::input:
                if (type.shape.rank() > 0 && type.shape[0] == before) type.shape[0] = batch;
                mapped[i] = result.add_input(value.name, std::move(type));
                break;
            case Role::parameter:
                mapped[i] = result.add_parameter(value.name, type.shape, value.initializer, value.decayed);
                break;
            case Role::state:
                mapped[i] = result.add_state(value.name, std::move(type), value.initializer);
                break;
            case Role::constant:
                mapped[i] =
                    result.add_constant(value.name, constant_for(value.initializer.given, before, batch));
                break;
            case Role::result:
                break;
        }
    }
    const auto map = [&](ValueId id) { return mapped[static_cast<size_t>(id.index)]; };
    for (const Node& node : graph.nodes()) {
        Operation operation = node.operation;
        if (Reshape* const reshape = std::get_if<Reshape>(&operation.attributes)) {
            int64_t& outermost = reshape->shape[0];
            if (outermost * batch % before != 0) {
                refuse("layer '{}' does not keep the images apart: the batch cannot change from {} to {}",
                       node.layer, before, batch);
            }
            outermost = outermost * batch / before;
        }
        std::vector<ValueId> inputs;
        for (const ValueId input : node.inputs) inputs.push_back(map(input));
        const auto outputs = result.add(std::move(operation), std::move(inputs), node.layer, node.stage);
        for (size_t i = 0; i < outputs.size(); ++i) {
            mapped[static_cast<size_t>(node.outputs[i].index)] = outputs[i];
        }
    }
    for (const ValueId output : graph.outputs) result.outputs.push_back(map(output));
    return result;
}

}  // namespace enmesh
