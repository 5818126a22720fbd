#include "enmesh/step/executor.hpp"

#include <algorithm>
#include <vector>

#include "enmesh/base/error.hpp"

namespace enmesh {

ValueId Executor::value_named(std::string_view name) const {
    const Graph& graph = step().graph;
    const ValueId found = graph.find(std::string(name));
    if (found.valid()) return found;
    std::vector<std::string> names;
    for (const Value& value : graph.values())
        if (!value.name.empty()) names.push_back(value.name);
    const std::string near = nearest_name(name, names);
    refuse("the step has no value '{}'{}", name,
           near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near));
}

Tensor predict(Executor& inference, const Tensor& images) {
    const TrainingStep& step = inference.step();
    if (step.trains()) refuse("predict() takes an executor of an inference step, not one that trains");
    const Shape& taken = step.graph.type(step.images).shape;
    const Shape& given = images.shape();
    bool fits = images.dtype() == DType::f32 && given.rank() == taken.rank();
    for (int axis = 1; fits && axis < taken.rank(); ++axis) fits = given[axis] == taken[axis];
    if (!fits)
        refuse("images of {} {}, and the network takes {} of f32, any number of them", to_string(given),
               to_string(images.dtype()), to_string(taken));
    const int64_t count = given[0], batch = taken[0];
    const int64_t pixels = taken.elements() / batch;
    const int64_t classes = step.graph.type(step.logits).shape.elements() / batch;
    Tensor outputs(Shape{count, classes}), part(taken);
    for (int64_t first = 0; first < count; first += batch) {
        const int64_t some = std::min(batch, count - first);
        std::fill(part.f32().begin(), part.f32().end(), 0.0F);
        std::copy_n(images.f32().begin() + first * pixels, some * pixels, part.f32().begin());
        inference.write(step.images, part);
        inference.gradients({});
        const Tensor logits = inference.read(step.logits);
        std::copy_n(logits.f32().begin(), some * classes, outputs.f32().begin() + first * classes);
    }
    return outputs;
}

}  // namespace enmesh
