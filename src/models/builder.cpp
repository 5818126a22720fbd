#include "enmesh/models/builder.hpp"

#include <cmath>

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

int64_t product_from(const Shape& shape, int axis) {
    int64_t count = 1;
    for (int i = axis; i < shape.rank(); ++i) count *= shape[i];
    return count;
}

Initializer uniform_within(int64_t fan_in) {
    return {Initializer::Kind::uniform, 1.0 / std::sqrt(static_cast<double>(fan_in)), nullptr};
}

Initializer initializer(const Shape& shape, WeightInit init, double deviation) {
    switch (init) {
        case WeightInit::he_fan_out: {
            const int64_t fan_out = shape[0] * product_from(shape, 2);
            return {Initializer::Kind::normal, std::sqrt(2.0 / static_cast<double>(fan_out)), nullptr};
        }
        case WeightInit::fan_in:
            return uniform_within(product_from(shape, 1));
        case WeightInit::normal:
            break;
    }
    return {Initializer::Kind::normal, deviation, nullptr};
}

}  // namespace

ConvOptions square_conv(int64_t kernel, int64_t stride) {
    const int64_t pad = (kernel - 1) / 2;
    ConvOptions options;
    options.kernel = {kernel, kernel};
    options.stride = {stride, stride};
    options.padding = {pad, pad, pad, pad};
    return options;
}

ValueId GraphBuilder::weights(const std::string& layer, Shape shape, WeightInit init, double deviation) {
    const Initializer first = initializer(shape, init, deviation);
    return graph_.add_parameter(layer + ".weight", std::move(shape), first, true);
}

ValueId GraphBuilder::bias(const std::string& layer, int64_t features, int64_t fan_in, WeightInit init) {
    const Initializer first = init == WeightInit::fan_in ? uniform_within(fan_in) : Initializer{};
    return graph_.add_parameter(layer + ".bias", Shape{features}, first, false);
}

std::array<ValueId, 2> GraphBuilder::norm_parameters(const std::string& layer, int64_t features) {
    const Initializer one{Initializer::Kind::constant, 1.0, nullptr};
    return {graph_.add_parameter(layer + ".weight", Shape{features}, one, false),
            graph_.add_parameter(layer + ".bias", Shape{features}, {}, false)};
}

ValueId GraphBuilder::conv(ValueId src, const std::string& layer, int64_t channels,
                           const ConvOptions& options) {
    const int64_t inputs = shape(src)[1] / options.groups;
    const Shape kernel{channels, inputs, options.kernel[0], options.kernel[1]};
    std::vector<ValueId> operands{src, weights(layer, kernel, options.init, 0)};
    if (options.bias) operands.push_back(bias(layer, channels, product_from(kernel, 1), options.init));
    return graph_.add_one(Conv2d{options.stride, options.padding, options.dilation, options.groups},
                          std::move(operands), layer);
}

ValueId GraphBuilder::batch_norm(ValueId src, const std::string& layer) {
    const int64_t channels = shape(src)[1];
    const auto [gamma, beta] = norm_parameters(layer, channels);
    const ValueType statistic{Shape{channels}, DType::f32, {}};
    const ValueId mean = graph_.add_state(layer + ".running_mean", statistic);
    const ValueId variance =
        graph_.add_state(layer + ".running_var", statistic, {Initializer::Kind::constant, 1.0, nullptr});
    return graph_.add_one(BatchNorm{}, {src, gamma, beta, mean, variance}, layer);
}

ValueId GraphBuilder::layer_norm(ValueId src, const std::string& layer) {
    const auto [gamma, beta] = norm_parameters(layer, shape(src)[-1]);
    return graph_.add_one(LayerNorm{}, {src, gamma, beta}, layer);
}

ValueId GraphBuilder::linear(ValueId src, const std::string& layer, int64_t features,
                             const LinearOptions& options) {
    const int64_t inputs = shape(src)[-1];
    std::vector<ValueId> operands{src,
                                  weights(layer, Shape{features, inputs}, options.init, options.deviation)};
    if (options.bias) operands.push_back(bias(layer, features, inputs, options.init));
    return graph_.add_one(Linear{}, std::move(operands), layer);
}

ValueId GraphBuilder::conv_bn(ValueId src, const std::string& conv_layer, const std::string& norm_layer,
                              int64_t channels, const ConvOptions& options) {
    return batch_norm(conv(src, conv_layer, channels, options), norm_layer);
}

ValueId GraphBuilder::conv_bn_relu(ValueId src, const std::string& conv_layer, const std::string& norm_layer,
                                   const std::string& relu_layer, int64_t channels,
                                   const ConvOptions& options) {
    return relu(conv_bn(src, conv_layer, norm_layer, channels, options), relu_layer);
}

ValueId GraphBuilder::relu(ValueId src, const std::string& layer) {
    return graph_.add_one(Relu{}, {src}, layer);
}

ValueId GraphBuilder::gelu(ValueId src, const std::string& layer) {
    return graph_.add_one(Gelu{}, {src}, layer);
}

ValueId GraphBuilder::add(ValueId a, ValueId b, const std::string& layer) {
    return graph_.add_one(Add{}, {a, b}, layer);
}

ValueId GraphBuilder::dropout(ValueId src, const std::string& layer, double probability) {
    return graph_.add_one(Dropout{probability, dropouts_++}, {src}, layer);
}

ValueId GraphBuilder::max_pool(ValueId src, const std::string& layer, int64_t kernel, int64_t stride,
                               int64_t padding) {
    PoolWindow window;
    window.kernel = {kernel, kernel};
    window.stride = {stride, stride};
    window.padding = {padding, padding, padding, padding};
    return graph_.add(MaxPool2d{window}, {src}, layer).front();
}

ValueId GraphBuilder::global_average_pool(ValueId src, const std::string& layer) {
    return flatten(graph_.add_one(GlobalAveragePool{}, {src}, layer), layer);
}

ValueId GraphBuilder::global_max_pool(ValueId src, const std::string& layer) {
    const Shape& map = shape(src);
    PoolWindow window;
    window.kernel = {map[2], map[3]};
    window.stride = window.kernel;
    return flatten(graph_.add(MaxPool2d{window}, {src}, layer).front(), layer);
}

ValueId GraphBuilder::flatten(ValueId src, const std::string& layer) {
    const int64_t batch = shape(src)[0];
    return reshape(src, layer, Shape{batch, product_from(shape(src), 1)});
}

ValueId GraphBuilder::reshape(ValueId src, const std::string& layer, Shape shape) {
    return graph_.add_one(Reshape{std::move(shape)}, {src}, layer);
}

Graph GraphBuilder::finish(ValueId output) && {
    graph_.outputs = {output};
    return std::move(graph_);
}

}  // namespace enmesh
