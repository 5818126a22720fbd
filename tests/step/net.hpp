#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "enmesh/base/random.hpp"
#include "enmesh/graph/ops/unary.hpp"
#include "enmesh/reference/executor.hpp"

namespace enmesh::test {

/// Every unary kind that takes any number, with parameters whose kinks random values miss.
inline std::vector<Unary> unary_of_any_sign() {
    return {
        {UnaryKind::clip, -0.6, 0.9},
        {UnaryKind::sigmoid},
        {UnaryKind::hard_sigmoid, 0.4, 0.45},
        {UnaryKind::hard_swish},
        {UnaryKind::silu},
        {UnaryKind::tanh},
        {UnaryKind::leaky_relu, 0.1},
        {UnaryKind::gelu_tanh},
        {UnaryKind::erf},
        {UnaryKind::exp},
    };
}
/// Those that take positive numbers.
inline std::vector<Unary> unary_of_positive_values() {
    return {{UnaryKind::log},       {UnaryKind::sqrt},     {UnaryKind::power, -0.5},
            {UnaryKind::power, -1}, {UnaryKind::power, 2}, {UnaryKind::power, 3}};
}

/// A forward graph under construction: short names for what tests need, layers named after their operation.
class Net {
  public:
    explicit Net(Shape shape, DType dtype = DType::f32)
        : images(graph.add_input("images", {std::move(shape), dtype, {}})) {}

    ValueId parameter(const std::string& name, Shape shape, double scale = 0.5) {
        return graph.add_parameter(name, std::move(shape), {Initializer::Kind::normal, scale, {}}, true);
    }
    ValueId state(const std::string& name, Shape shape, double value) {
        return graph.add_state(name, {std::move(shape), DType::f32, {}},
                               {Initializer::Kind::constant, value, {}});
    }
    ValueId add(Operation operation, std::vector<ValueId> inputs, std::string layer = "") {
        if (layer.empty()) layer = std::string(name(operation)) + std::to_string(graph.nodes().size());
        return graph.add_one(std::move(operation), std::move(inputs), std::move(layer));
    }
    ValueId conv(const std::string& layer, ValueId src, int64_t k, int64_t kernel, Conv2d attributes = {}) {
        const int64_t c = graph.type(src).shape[1] / attributes.groups;
        return add(attributes, {src, parameter(layer + ".weight", {k, c, kernel, kernel})}, layer);
    }
    ValueId linear(const std::string& layer, ValueId src, int64_t outputs) {
        const int64_t inputs = graph.type(src).shape[-1];
        return add(Linear{}, {src, parameter(layer + ".weight", {outputs, inputs})}, layer);
    }
    ValueId flatten(ValueId value) {
        const Shape& shape = graph.type(value).shape;
        return add(Reshape{{shape[0], shape.elements() / shape[0]}}, {value});
    }
    /// Every element of a sample is a logit.
    Graph finish(ValueId value) {
        graph.outputs = {flatten(value)};
        return graph;
    }

    Graph graph;
    ValueId images;
};

inline Tensor random_tensor(const Shape& shape, uint64_t seed, DType dtype = DType::f32) {
    Tensor tensor(shape, dtype);
    Random random(seed);
    for (int64_t i = 0; i < shape.elements(); ++i) {
        const float value = random.normal();
        if (dtype == DType::f64) {
            tensor.as<double>()[static_cast<size_t>(i)] = value;
        } else {
            tensor.f32()[static_cast<size_t>(i)] = value;
        }
    }
    return tensor;
}

inline Tensor scalar(float value) {
    Tensor tensor(Shape{});
    tensor.f32()[0] = value;
    return tensor;
}

inline Tensor labels_of(const TrainingStep& step, uint64_t seed = 3) {
    const int64_t classes = step.graph.type(step.logits).shape[1];
    Tensor labels(step.graph.type(step.labels).shape, DType::i32);
    Random random(seed);
    for (int32_t& label : labels.as<int32_t>())
        label = static_cast<int32_t>(random.below(static_cast<uint64_t>(classes)));
    return labels;
}

/// An initialized executor with random images and labels and the scalars of WU.
inline std::unique_ptr<Executor> ready(TrainingStep built, DType storage = DType::f64, uint64_t seed = 1) {
    auto executor = make_reference_executor(std::move(built), storage);
    const TrainingStep& step = executor->step();
    initialize(*executor, seed);
    const ValueType& images = step.graph.type(step.images);
    if (images.dtype == DType::f32) executor->write(step.images, random_tensor(images.shape, 2));
    executor->write(step.labels, labels_of(step));
    executor->write(step.learning_rate, scalar(0.1F));
    executor->write(step.gradient_scale, scalar(1.0F));
    executor->write(step.update_count, scalar(1.0F));
    return executor;
}

inline std::vector<double> doubles(const Executor& executor, ValueId id) {
    const Tensor tensor = executor.read(id);
    if (tensor.dtype() == DType::f64) return {tensor.as<double>().begin(), tensor.as<double>().end()};
    if (tensor.dtype() == DType::u8) return {tensor.as<uint8_t>().begin(), tensor.as<uint8_t>().end()};
    return {tensor.f32().begin(), tensor.f32().end()};
}

inline std::vector<double> doubles(const Executor& executor, const std::string& name) {
    const ValueId id = executor.step().graph.find(name);
    EXPECT_TRUE(id.valid()) << name;
    return doubles(executor, id);
}

inline void write_doubles(Executor& executor, ValueId id, const std::vector<double>& values) {
    Tensor tensor(executor.step().graph.type(id).shape, DType::f64);
    std::copy(values.begin(), values.end(), tensor.as<double>().begin());
    executor.write(id, tensor);
}

inline double largest(const std::vector<double>& values) {
    double result = 0;
    for (const double value : values) result = std::max(result, std::abs(value));
    return result;
}

/// |got - want| <= tolerance * max|want|, elementwise.
inline void expect_near(const std::vector<double>& got, const std::vector<double>& want, double tolerance,
                        const std::string& what) {
    ASSERT_EQ(got.size(), want.size()) << what;
    const double bound = tolerance * largest(want) + 1e-300;
    for (size_t i = 0; i < want.size(); ++i) {
        if (!(std::abs(got[i] - want[i]) <= bound)) {
            ADD_FAILURE() << what << " [" << i << "]: got " << got[i] << ", want " << want[i] << ", bound "
                          << bound;
            return;
        }
    }
}

}  // namespace enmesh::test
