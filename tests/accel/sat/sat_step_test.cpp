#include <gtest/gtest.h>

#include <algorithm>
#include <bit>

#include "enmesh/accel/sat/arithmetic/sat_products.hpp"
#include "enmesh/accel/sat/stce/stce.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/cpu/executor.hpp"
#include "step/net.hpp"

namespace enmesh::accel::sat {
namespace {

/// One matrix product of a step as the engine takes it: dense [m][k] and [n][k], and where outputs go.
struct Gemm {
    int64_t m = 0, n = 0, k = 0;
    std::vector<float> streamed, indexed;
    std::vector<int64_t> out;  ///< place of output [i][j] in the result tensor

    void shape(int64_t rows, int64_t cols, int64_t depth) {
        m = rows, n = cols, k = depth;
        streamed.assign(static_cast<size_t>(m * k), 0);
        indexed.assign(static_cast<size_t>(n * k), 0);
        out.assign(static_cast<size_t>(m * n), -1);
    }
    float& a(int64_t i, int64_t p) { return streamed[static_cast<size_t>(i * k + p)]; }
    float& b(int64_t j, int64_t p) { return indexed[static_cast<size_t>(j * k + p)]; }
    int64_t& at(int64_t i, int64_t j) { return out[static_cast<size_t>(i * n + j)]; }
};

/// A convolution seen by its three products, one obvious loop each. src [n][c][h][w], weights [k][c][r][s].
struct Layer {
    Conv2d conv;
    Shape src, weights, dst;

    int64_t source(int64_t n, int64_t c, int64_t y, int64_t x) const {
        if (y < 0 || x < 0 || y >= src[2] || x >= src[3]) return -1;
        return ((n * src[1] + c) * src[2] + y) * src[3] + x;
    }
    int64_t result(int64_t n, int64_t k, int64_t y, int64_t x) const {
        return ((n * dst[1] + k) * dst[2] + y) * dst[3] + x;
    }
    int64_t weight(int64_t k, int64_t c, int64_t r, int64_t s) const {
        return ((k * weights[1] + c) * weights[2] + r) * weights[3] + s;
    }
    int64_t in_y(int64_t y, int64_t r) const {
        return y * conv.stride[0] + r * conv.dilation[0] - conv.padding[0];
    }
    int64_t in_x(int64_t x, int64_t s) const {
        return x * conv.stride[1] + s * conv.dilation[1] - conv.padding[1];
    }

    Gemm forward(std::span<const float> x, std::span<const float> w) const {
        Gemm g;
        g.shape(dst[0] * dst[2] * dst[3], dst[1], weights[1] * weights[2] * weights[3]);
        for (int64_t row = 0; row < g.m; ++row) {
            const int64_t n = row / (dst[2] * dst[3]), oy = row / dst[3] % dst[2], ox = row % dst[3];
            for (int64_t p = 0; p < g.k; ++p) {
                const int64_t c = p % weights[1], s = p / weights[1] % weights[3],
                              r = p / weights[1] / weights[3];
                const int64_t from = source(n, c, in_y(oy, r), in_x(ox, s));
                if (from >= 0) g.a(row, p) = x[static_cast<size_t>(from)];
                for (int64_t k = 0; row == 0 && k < g.n; ++k)
                    g.b(k, p) = w[static_cast<size_t>(weight(k, c, r, s))];
            }
            for (int64_t k = 0; k < g.n; ++k) g.at(row, k) = result(n, k, oy, ox);
        }
        return g;
    }

    /// One product for each residue of the input position. The out-grad streams, or is indexed.
    std::vector<Gemm> backward(std::span<const float> d, std::span<const float> w,
                               bool gradient_indexed) const {
        std::vector<Gemm> phases;
        for (int64_t a = 0; a < conv.stride[0]; ++a) {
            for (int64_t b = 0; b < conv.stride[1]; ++b) {
                std::vector<std::pair<int64_t, int64_t>> taps;
                for (int64_t r = 0; r < weights[2]; ++r)
                    for (int64_t s = 0; s < weights[3]; ++s) {
                        const bool meets =
                            (a - in_y(0, r)) % conv.stride[0] == 0 && (b - in_x(0, s)) % conv.stride[1] == 0;
                        if (meets) taps.emplace_back(r, s);
                    }
                std::vector<std::array<int64_t, 3>> pixels;
                for (int64_t n = 0; n < src[0]; ++n)
                    for (int64_t y = a; y < src[2]; y += conv.stride[0])
                        for (int64_t x = b; x < src[3]; x += conv.stride[1]) pixels.push_back({n, y, x});
                if (taps.empty() || pixels.empty()) continue;
                const auto count = static_cast<int64_t>(pixels.size());
                const int64_t depth = static_cast<int64_t>(taps.size()) * weights[0];
                Gemm g;
                gradient_indexed ? g.shape(weights[1], count, depth) : g.shape(count, weights[1], depth);
                for (int64_t p = 0; p < depth; ++p) {
                    const auto [r, s] = taps[static_cast<size_t>(p / weights[0])];
                    const int64_t k = p % weights[0];
                    for (int64_t i = 0; i < count; ++i) {
                        const auto [n, y, x] = pixels[static_cast<size_t>(i)];
                        const int64_t oy = (y - in_y(0, r)) / conv.stride[0],
                                      ox = (x - in_x(0, s)) / conv.stride[1];
                        const bool inside = y >= in_y(0, r) && x >= in_x(0, s) && oy < dst[2] && ox < dst[3];
                        const float value = inside ? d[static_cast<size_t>(result(n, k, oy, ox))] : 0;
                        (gradient_indexed ? g.b(i, p) : g.a(i, p)) = value;
                    }
                    for (int64_t c = 0; c < weights[1]; ++c) {
                        const float value = w[static_cast<size_t>(weight(k, c, r, s))];
                        (gradient_indexed ? g.a(c, p) : g.b(c, p)) = value;
                    }
                }
                for (int64_t i = 0; i < count; ++i)
                    for (int64_t c = 0; c < weights[1]; ++c) {
                        const auto [n, y, x] = pixels[static_cast<size_t>(i)];
                        (gradient_indexed ? g.at(c, i) : g.at(i, c)) = source(n, c, y, x);
                    }
                phases.push_back(std::move(g));
            }
        }
        return phases;
    }

    Gemm weight_gradient(std::span<const float> x, std::span<const float> d) const {
        Gemm g;
        g.shape(weights[1] * weights[2] * weights[3], weights[0], dst[0] * dst[2] * dst[3]);
        for (int64_t p = 0; p < g.k; ++p) {
            const int64_t n = p / (dst[2] * dst[3]), oy = p / dst[3] % dst[2], ox = p % dst[3];
            for (int64_t i = 0; i < g.m; ++i) {
                const int64_t c = i % weights[1], s = i / weights[1] % weights[3],
                              r = i / weights[1] / weights[3];
                const int64_t from = source(n, c, in_y(oy, r), in_x(ox, s));
                if (from >= 0) g.a(i, p) = x[static_cast<size_t>(from)];
                for (int64_t k = 0; p == 0 && k < g.n; ++k) g.at(i, k) = weight(k, c, r, s);
            }
            for (int64_t k = 0; k < g.n; ++k) g.b(k, p) = d[static_cast<size_t>(result(n, k, oy, ox))];
        }
        return g;
    }
};

/// Steps the product on a small array, in either dataflow, and compares what the step computed.
void expect_stepped(const Gemm& g, Pattern pattern, std::span<const float> got, bool relu,
                    const std::string& what) {
    const auto halves = [](const std::vector<float>& values) {
        std::vector<Half> result;
        for (const float value : values) result.push_back(to_half(value));
        return result;
    };
    Stce stce;
    stce.rows = 5;
    stce.cols = 3;
    const EngineProduct product{g.m, g.n, g.k, pattern};
    const std::vector<Half> indexed = halves(g.indexed);
    const IndexedOperand operand = product.dense() ? dense_operand(indexed, g.n, g.k, 16)
                                                   : packed_operand(indexed, {}, g.n, g.k, pattern);
    for (const Dataflow flow : {Dataflow::ws, Dataflow::os}) {
        EngineMapping mapping;
        mapping.dataflow = flow;
        const EngineRun run = run_stepped(stce, product, mapping, halves(g.streamed), operand);
        int64_t wrong = 0;
        for (size_t i = 0; i < g.out.size(); ++i) {
            const float value = got[static_cast<size_t>(g.out[i])];
            const float want = relu ? std::max(run.out[i], 0.0F) : run.out[i];
            wrong += std::bit_cast<uint32_t>(value) != std::bit_cast<uint32_t>(want);
        }
        EXPECT_EQ(wrong, 0) << what << " " << to_string(flow) << ": of " << g.out.size() << " outputs";
    }
}

TrainingStep small_step(const std::string& method, Pattern pattern) {
    test::Net net(Shape{4, 3, 9, 9});
    ValueId x = net.add(Relu{}, {net.conv("stem", net.images, 16, 3, {.padding = {1, 1, 1, 1}})});
    x = net.add(Relu{}, {net.conv("strided", x, 32, 3, {.stride = {2, 2}, .padding = {1, 1, 1, 1}})});
    x = net.add(Relu{}, {net.conv("point", x, 16, 1)});
    x = net.add(Relu{}, {net.conv("sparse_taps", x, 16, 2, {.stride = {3, 3}, .dilation = {2, 2}})});
    x = net.add(Relu{}, {net.linear("hidden", net.flatten(x), 24)});
    Graph graph = net.finish(net.linear("logits", x, 5));
    graph.add_input("loss_scale", {Shape{}, DType::f32, {}});
    return build_training_step(graph, make_recipe(method, pattern), {});
}

/// N:M of an operand, if the product reduces along its groups.
Pattern pattern_of(const ValueType& type, GroupAxis axis) {
    const NmSparsity* const nm = type.nm();
    return nm != nullptr && nm->axis == axis ? nm->pattern : Pattern{};
}

/// The ReLU that alone reads a product's result, and may run along with it.
const Node* relu_of(const Graph& graph, const Node& product) {
    for (const Node& node : graph.nodes())
        if (node.operation.is<Relu>() && node.inputs[0] == product.outputs[0]) return &node;
    return nullptr;
}

/// Every product of one step against the cycle-stepped machine; returns how many were N:M.
int compare_step(const std::string& method, Pattern pattern) {
    const auto executor = cpu::make_executor(small_step(method, pattern),
                                             {.products = sat_products(), .keep_everything = true});
    initialize(*executor, 7);
    const TrainingStep& step = executor->step();
    executor->write(step.images, test::random_tensor(step.graph.type(step.images).shape, 2));
    executor->write(step.labels, test::labels_of(step));
    executor->write(step.graph.find("loss_scale"), test::scalar(1024));
    executor->gradients({1, 0, 0});
    int products = 0, sparse = 0;
    for (const Node& node : step.graph.nodes()) {
        if (!is_product(node.operation)) continue;
        ++products;
        const std::string what = method + " " + node.layer + " " + to_string(node.stage);
        const Tensor first = executor->read(node.inputs[0]), second = executor->read(node.inputs[1]);
        const Node* const relu = relu_of(step.graph, node);
        const Tensor out = executor->read(relu != nullptr ? relu->outputs[0] : node.outputs[0]);
        const auto type = [&](size_t i) { return step.graph.type(node.inputs[i]); };
        const auto as_map = [](const Shape& shape) {
            return shape.rank() == 4 ? shape : Shape{shape[0], shape[1], 1, 1};
        };
        const Operation& op = node.operation;
        Pattern used{};
        std::vector<Gemm> gemms;
        if (op.is<Conv2d>() || op.is<Linear>()) {
            const Layer layer{op.is<Conv2d>() ? *op.as<Conv2d>() : Conv2d{}, as_map(first.shape()),
                              as_map(second.shape()), as_map(out.shape())};
            used = pattern_of(type(1), GroupAxis::input_channels);
            gemms = {layer.forward(first.f32(), second.f32())};
        } else if (op.is<Conv2dBackwardData>() || op.is<LinearBackwardData>()) {
            const auto* const conv = op.as<Conv2dBackwardData>();
            const Layer layer{conv != nullptr ? conv->conv : Conv2d{}, as_map(out.shape()),
                              as_map(second.shape()), as_map(first.shape())};
            const Pattern gradient = pattern_of(type(0), GroupAxis::gradient_channels);
            used = gradient.m != 0 ? gradient : pattern_of(type(1), GroupAxis::output_channels);
            gemms = layer.backward(first.f32(), second.f32(), gradient.m != 0);
        } else {
            const auto* const conv = op.as<Conv2dBackwardWeights>();
            const Layer layer{conv != nullptr ? conv->conv : Conv2d{}, as_map(first.shape()),
                              as_map(out.shape()), as_map(second.shape())};
            used = pattern_of(type(1), GroupAxis::positions);
            gemms = {layer.weight_gradient(first.f32(), second.f32())};
        }
        std::vector<bool> covered(out.f32().size(), false);
        for (const Gemm& gemm : gemms) {
            expect_stepped(gemm, used, out.f32(), relu != nullptr, what);
            for (const int64_t place : gemm.out) covered[static_cast<size_t>(place)] = true;
        }
        for (size_t i = 0; i < covered.size(); ++i)
            EXPECT_TRUE(covered[i] || out.f32()[i] == 0) << what << " " << i;
        sparse += used.m != 0;
    }
    EXPECT_EQ(products, 3 * 6 - 1) << method;
    return sparse;
}

TEST(SatStep, ProductsAreTheSteppedMachinesBits) {
    EXPECT_EQ(compare_step("dense", {2, 8}), 0);
    EXPECT_GE(compare_step("bdwp", {2, 8}), 6);
    EXPECT_GE(compare_step("sr-ste", {2, 8}), 3);
    EXPECT_GE(compare_step("sdgp", {1, 4}), 3);
    EXPECT_GE(compare_step("mvue", {2, 4}), 3);
}

/// Packed on the way to a product, weights are chosen by what the machine reads there, FP16; packed by the
/// update, by its masters. Two weights that differ in FP32 alone tell them apart.
TEST(SatStep, OnDemandSelectionSeesBinary16) {
    for (const bool on_demand : {false, true}) {
        for (const bool sat : {false, true}) {
            test::Net net(Shape{1, 4});
            Recipe recipe = make_recipe("sr-ste", Pattern{1, 2});
            recipe.pre_generate = !on_demand;
            recipe.sr_decay = 1;
            const ValueId a = net.linear("a", net.images, 2), b = net.linear("b", a, 2);
            Graph graph = net.finish(net.linear("c", b, 2));
            StepOptions options{.optimizer = Sgd{.lr = 1, .momentum = 0, .weight_decay = 0}};
            const auto executor = cpu::make_executor(build_training_step(graph, recipe, options),
                                                     {.products = sat ? sat_products() : nullptr});
            initialize(*executor, 7);
            const TrainingStep& step = executor->step();
            Tensor weights(Shape{2, 2});
            const float more = 1 + 0x1p-20F;  // 1 in binary16
            std::ranges::copy(std::vector<float>{1, more, -more, 1}, weights.f32().begin());
            executor->write(step.graph.find("b.weight"), weights);
            executor->write(step.images, test::random_tensor(step.graph.type(step.images).shape, 2));
            executor->write(step.labels, test::labels_of(step));
            for (const auto& [id, value] :
                 {std::pair{step.learning_rate, 1.0F}, std::pair{step.gradient_scale, 0.0F},
                  std::pair{step.update_count, 1.0F}})
                executor->write(id, test::scalar(value));
            // Without a gradient the decay alone shows what was kept: the rest becomes 0.
            executor->refresh();
            executor->gradients({1, 0, 0});
            executor->update({1, 0, 0});
            const Tensor left = executor->read(step.graph.find("b.weight"));
            const bool by_half = on_demand && sat;
            const std::vector<float> want =
                by_half ? std::vector<float>{1, 0, -more, 0} : std::vector<float>{0, more, -more, 0};
            EXPECT_TRUE(std::ranges::equal(left.f32(), want)) << on_demand << sat;
        }
    }
}

TEST(SatStep, BitsDoNotDependOnThreads) {
    std::vector<std::vector<float>> losses;
    const int before = threads();
    for (const int count : {1, 3}) {
        set_threads(count);
        const auto executor = cpu::make_executor(small_step("bdwp", {2, 8}), {.products = sat_products()});
        initialize(*executor, 7);
        const TrainingStep& step = executor->step();
        executor->write(step.images, test::random_tensor(step.graph.type(step.images).shape, 2));
        executor->write(step.labels, test::labels_of(step));
        executor->write(step.graph.find("loss_scale"), test::scalar(256));
        executor->gradients({1, 0, 0});
        std::vector<float> all;
        for (const StepParameter& parameter : step.parameters) {
            const Tensor gradient = executor->read(parameter.gradient);
            all.insert(all.end(), gradient.f32().begin(), gradient.f32().end());
        }
        losses.push_back(all);
    }
    set_threads(before);
    EXPECT_EQ(losses[0], losses[1]);
}

TEST(SatStep, ScalingTheLossScalesTheGradients) {
    const auto executor = cpu::make_executor(small_step("bdwp", {2, 8}), {.products = sat_products()});
    initialize(*executor, 7);
    const TrainingStep& step = executor->step();
    executor->write(step.images, test::random_tensor(step.graph.type(step.images).shape, 2));
    executor->write(step.labels, test::labels_of(step));
    std::vector<Tensor> gradients;
    for (const float scale : {512.0F, 1024.0F, 1e30F}) {
        executor->write(step.graph.find("loss_scale"), test::scalar(scale));
        executor->gradients({1, 0, 0});
        gradients.push_back(executor->read(step.parameters.front().gradient));
    }
    double largest = 0, error = 0;
    for (size_t i = 0; i < gradients[0].f32().size(); ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(gradients[1].f32()[i])));
        error = std::max(error, std::abs(2.0 * static_cast<double>(gradients[0].f32()[i]) -
                                         static_cast<double>(gradients[1].f32()[i])));
    }
    EXPECT_GT(largest, 0);
    EXPECT_TRUE(error <= 1e-3 * largest) << error << " of " << largest;
    bool overflowed = false;
    for (const float value : gradients[2].f32()) overflowed = overflowed || !std::isfinite(value);
    EXPECT_TRUE(overflowed) << "out-grads beyond binary16 must be seen";
}

}  // namespace
}  // namespace enmesh::accel::sat
