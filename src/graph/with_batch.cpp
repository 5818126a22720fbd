#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/rewriter.hpp"
#include "enmesh/graph/with_batch.hpp"

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

int64_t elements_inside(const Shape& shape, int axis) {
    int64_t count = 1;
    for (int i = axis + 1; i < shape.rank(); ++i) count *= shape[i];
    return count;
}

/// Where the images are in a value: on `axis` (-1: nowhere), of which each takes `inner` neighbouring
/// places ("T × N·heads × width" has inner = heads).
struct ImageAxis {
    int axis = -1;
    int64_t inner = 1;
};

/// The images keep their places in row-major order, so one axis of the target must hold all of them.
ImageAxis reshaped(const ImageAxis& images, const Shape& src, const Shape& target, int64_t batch) {
    if (images.axis < 0) return {};
    const int64_t run = images.inner * elements_inside(src, images.axis);
    for (int axis = 0; axis < target.rank(); ++axis) {
        const int64_t step = elements_inside(target, axis);
        if (run % step == 0 && step * target[axis] % (run * batch) == 0) return {axis, run / step};
    }
    refuse("{} to {} does not keep the images apart", to_string(src), to_string(target));
}

/// Gives a graph's operations another batch, node by node.
class Rebatcher {
  public:
    Rebatcher(const Graph& graph, const Graph& result, int64_t before, int64_t after)
        : graph_(graph), result_(result), before_(before), after_(after), images_(graph.values().size()) {}

    /// The images stand on the value's first axis.
    void enter(ValueId input) { images_[at(input)].axis = 0; }

    void add(const Node& node, GraphRewriter& rewriter) {
        Operation operation = node.operation;
        ImageAxis images;
        for (const ValueId input : node.inputs) {
            if (images.axis < 0) images = images_[at(input)];
        }
        if (Reshape* const reshape = std::get_if<Reshape>(&operation.attributes)) {
            try {
                images = reshaped(images, graph_.type(node.inputs[0]).shape, reshape->shape, before_);
            } catch (const Error& error) {
                refuse("layer '{}': the batch cannot change from {} to {}: {}", node.layer, before_, after_,
                       error.what());
            }
            if (images.axis >= 0)
                reshape->shape[images.axis] = reshape->shape[images.axis] / before_ * after_;
        } else if (Expand* const expand = std::get_if<Expand>(&operation.attributes);
                   expand != nullptr && expand->per_image) {
            expand->shape[0] = after_;
        }
        rewriter.copy(node, std::move(operation), rewriter.mapped_inputs(node));
        for (const ValueId output : node.outputs)
            images_[at(output)] = {changed_axis(output, rewriter.mapped(output)), images.inner};
    }

  private:
    static size_t at(ValueId value) { return static_cast<size_t>(value.index); }

    int changed_axis(ValueId old, ValueId now) const {
        const Shape &from = graph_.type(old).shape, &to = result_.type(now).shape;
        for (int axis = 0; axis < from.rank(); ++axis) {
            if (from[axis] != to[axis]) return axis;
        }
        return -1;
    }

    const Graph& graph_;
    const Graph& result_;
    int64_t before_, after_;
    std::vector<ImageAxis> images_;
};

}  // namespace

Graph with_batch(const Graph& graph, int64_t batch) {
    if (batch < 1) refuse("the batch must be at least 1, not {}", batch);
    const ValueId images = graph.find("images");
    if (!images.valid()) refuse("the graph has no input called 'images'");
    const int64_t before = graph.type(images).shape[0];
    if (batch == before) return graph;
    Graph result;
    GraphRewriter rewriter(graph, result);
    Rebatcher rebatcher(graph, result, before, batch);
    const auto on_value = [&](ValueId id) {
        Value value = graph.value(id);
        Shape& shape = value.type.shape;
        if (value.role == Role::input && shape.rank() > 0 && shape[0] == before) shape[0] = batch;
        if (value.role == Role::constant)
            value.initializer.given = constant_for(value.initializer.given, before, batch);
        rewriter.copy(id, value);
        if (result.type(rewriter.mapped(id)).shape != graph.type(id).shape) rebatcher.enter(id);
    };
    rewriter.run(on_value, [&](const Node& node) { rebatcher.add(node, rewriter); });
    return result;
}

}  // namespace enmesh
