#include <algorithm>
#include <limits>

#include "enmesh/base/error.hpp"
#include "step/net.hpp"

namespace enmesh::test {
namespace {

constexpr double learning_rate = 0.1F;

Graph small_graph(int64_t batch) {
    Net net({batch, 3});
    const ValueId hidden = net.add(Gelu{}, {net.linear("fc1", net.images, 5)});
    const ValueId weights = net.parameter("fc2.weight", {4, 5});
    const ValueId bias =
        net.graph.add_parameter("fc2.bias", {4}, {Initializer::Kind::normal, 0.1, {}}, false);
    return net.finish(net.add(Linear{}, {hidden, weights, bias}, "fc2"));
}

/// Runs `updates` updates and, for each parameter, a hand-written rule beside them:
/// rule(weights, gradient, decayed, update count).
template <typename Rule>
void check_updates(const StepOptions& options, const Rule& rule) {
    const auto executor = ready(build_training_step(small_graph(6), {}, options));
    const TrainingStep& step = executor->step();
    std::vector<std::vector<double>> want;
    for (const StepParameter& parameter : step.parameters)
        want.push_back(doubles(*executor, parameter.weights));
    for (int update = 0; update < 4; ++update) {
        executor->write(step.update_count, scalar(static_cast<float>(update + 1)));
        executor->gradients({.update = update});
        std::vector<std::vector<double>> gradients;
        for (const StepParameter& parameter : step.parameters)
            gradients.push_back(doubles(*executor, parameter.gradient));
        executor->update({.update = update});
        rule(want, gradients, update + 1);
        for (size_t p = 0; p < want.size(); ++p)
            expect_near(doubles(*executor, step.parameters[p].weights), want[p], 1e-12, "weights");
    }
}

using Tensors = std::vector<std::vector<double>>;

Tensors zeros_like(const Tensors& tensors) {
    Tensors result;
    for (const auto& one : tensors) result.emplace_back(one.size(), 0.0);
    return result;
}

/// fc2.bias, the last parameter, is exempt from weight decay.
bool decayed(const Tensors& tensors, size_t index) { return index + 1 < tensors.size(); }

void check_sgd(const Sgd& sgd, bool decay_all) {
    Tensors velocity;
    StepOptions options{.optimizer = sgd};
    options.decay_all = decay_all;
    check_updates(options, [&](Tensors& weights, const Tensors& gradients, int) {
        if (velocity.empty()) velocity = zeros_like(weights);
        for (size_t p = 0; p < weights.size(); ++p) {
            const double decay = decayed(weights, p) || decay_all ? sgd.weight_decay : 0.0;
            for (size_t i = 0; i < weights[p].size(); ++i) {
                const double g = gradients[p][i] + decay * weights[p][i];
                velocity[p][i] = sgd.momentum * velocity[p][i] + g;
                weights[p][i] -=
                    learning_rate * (sgd.nesterov ? g + sgd.momentum * velocity[p][i] : velocity[p][i]);
            }
        }
    });
}

TEST(Updates, Sgd) {
    check_sgd({.momentum = 0.9, .weight_decay = 0.01}, false);
    check_sgd({.momentum = 0.9, .weight_decay = 0.01, .nesterov = true}, false);
    check_sgd({.momentum = 0, .weight_decay = 0.1}, true);
}

TEST(Updates, AdamW) {
    const AdamW adam{.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 0.2};
    Tensors first, second;
    check_updates({.optimizer = adam}, [&](Tensors& weights, const Tensors& gradients, int count) {
        if (first.empty()) first = second = zeros_like(weights);
        for (size_t p = 0; p < weights.size(); ++p) {
            for (size_t i = 0; i < weights[p].size(); ++i) {
                const double g = gradients[p][i];
                first[p][i] = 0.8 * first[p][i] + 0.2 * g;
                second[p][i] = 0.95 * second[p][i] + 0.05 * g * g;
                const double m = first[p][i] / (1 - std::pow(0.8, count));
                const double v = second[p][i] / (1 - std::pow(0.95, count));
                const double decay = decayed(weights, p) ? 0.2 : 0.0;
                weights[p][i] =
                    weights[p][i] * (1 - learning_rate * decay) - learning_rate * m / (std::sqrt(v) + 1e-3);
            }
        }
    });
}

TEST(Updates, ClippingScalesAllGradientsToTheNorm) {
    for (const double limit : {0.05, 1e3}) {
        StepOptions options{.optimizer = Sgd{.momentum = 0, .weight_decay = 0}};
        options.clip_norm = limit;
        check_updates(options, [&](Tensors& weights, const Tensors& gradients, int) {
            double squares = 0;
            for (const auto& gradient : gradients) {
                for (const double g : gradient) squares += g * g;
            }
            EXPECT_EQ(std::sqrt(squares) > limit, limit < 1) << "the case does not test what it names";
            const double factor = std::min(1.0, limit / std::sqrt(squares));
            for (size_t p = 0; p < weights.size(); ++p) {
                for (size_t i = 0; i < weights[p].size(); ++i)
                    weights[p][i] -= learning_rate * factor * gradients[p][i];
            }
        });
    }
}

TEST(Updates, GradientNormIsAfterScaling) {
    StepOptions options;
    options.clip_norm = 1;
    const auto executor = ready(build_training_step(small_graph(6), {}, options));
    const TrainingStep& step = executor->step();
    executor->gradients({});
    executor->update({});
    const double whole = doubles(*executor, step.gradient_norm)[0];
    const auto again = ready(build_training_step(small_graph(6), {}, options));
    again->write(step.gradient_scale, scalar(0.25F));
    again->gradients({});
    again->update({});
    EXPECT_NEAR(doubles(*again, step.gradient_norm)[0], 0.25 * whole, 1e-12);
}

TEST(Updates, ExponentialAverageFollowsTheNewWeights) {
    StepOptions options;
    options.average_decay = 0.2;
    const auto executor = ready(build_training_step(small_graph(6), {}, options));
    const TrainingStep& step = executor->step();
    std::vector<double> want = doubles(*executor, step.parameters[0].weights);
    expect_near(doubles(*executor, step.parameters[0].average), want, 0, "the average's first value");
    for (int update = 0; update < 3; ++update) {
        executor->write(step.update_count, scalar(static_cast<float>(update + 1)));
        executor->gradients({.update = update});
        executor->update({.update = update});
        const std::vector<double> weights = doubles(*executor, step.parameters[0].weights);
        const double decay = update == 0 ? 2.0 / 11 : 0.2;  // the second update would have 3 / 12
        for (size_t i = 0; i < want.size(); ++i) want[i] = decay * want[i] + (1 - decay) * weights[i];
        expect_near(doubles(*executor, step.parameters[0].average), want, 1e-12, "average");
    }
}

/// Rows begin .. begin + rows of a tensor.
template <typename T>
Tensor rows_of(const Tensor& tensor, int64_t begin, int64_t rows) {
    std::vector<int64_t> dims = tensor.shape().dims();
    const int64_t width = tensor.elements() / dims[0];
    dims[0] = rows;
    Tensor part(Shape(dims), tensor.dtype());
    const auto from =
        tensor.as<T>().subspan(static_cast<size_t>(begin * width), static_cast<size_t>(rows * width));
    std::copy(from.begin(), from.end(), part.as<T>().begin());
    return part;
}

TEST(Updates, AccumulationIsABiggerBatch) {
    StepOptions options{.optimizer = Sgd{.momentum = 0.9, .weight_decay = 0.01}};
    options.clip_norm = 0.2;
    const auto whole = ready(build_training_step(small_graph(6), {}, options));
    options.accumulate = 3;
    const auto parts = ready(build_training_step(small_graph(2), {}, options));
    parts->write(parts->step().gradient_scale, scalar(1.0F / 3.0F));
    const Tensor images = random_tensor({6, 3}, 2), labels = labels_of(whole->step());
    for (int update = 0; update < 3; ++update) {
        whole->gradients({.update = update});
        whole->update({.update = update});
        for (int64_t part = 0; part < 3; ++part) {
            parts->write(parts->step().images, rows_of<float>(images, part * 2, 2));
            parts->write(parts->step().labels, rows_of<int32_t>(labels, part * 2, 2));
            parts->gradients({.update = update, .micro_batch = part});
        }
        parts->update({.update = update});
        for (const char* const name : {"fc1.weight", "fc2.weight", "fc2.bias"}) {
            // 1/3 is a float here.
            expect_near(doubles(*parts, name), doubles(*whole, name), 1e-7, name);
        }
    }
}

TEST(Updates, RunningStatisticsFollowTheBatch) {
    Net net({4, 2, 3, 1});
    const ValueId dst =
        net.add(BatchNorm{.momentum = 0.25}, {net.images, net.parameter("g", {2}), net.parameter("b", {2}),
                                              net.state("mean", {2}, 0.5), net.state("variance", {2}, 2)});
    const auto executor = ready(build_training_step(net.finish(dst), {}, {}));
    executor->gradients({});
    const std::vector<double> images = doubles(*executor, "images");
    for (size_t c = 0; c < 2; ++c) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < 24; ++i) sum += i / 3 % 2 == c ? images[i] : 0.0;
        for (size_t i = 0; i < 24; ++i) squares += i / 3 % 2 == c ? std::pow(images[i] - sum / 12, 2) : 0.0;
        EXPECT_NEAR(doubles(*executor, "mean")[c], 0.75 * 0.5 + 0.25 * sum / 12, 1e-12);
        EXPECT_NEAR(doubles(*executor, "variance")[c], 0.75 * 2 + 0.25 * squares / 11, 1e-12);
    }
}

TEST(Executor, SaysWhereTheFirstNonFiniteValueIs) {
    const auto executor = ready(build_training_step(small_graph(6), {}, {}), DType::f32);
    executor->gradients({});
    EXPECT_EQ(executor->first_non_finite({}), "");
    Tensor images = random_tensor({6, 3}, 2);
    for (float& x : images.f32()) x = 3e38F;
    executor->write(executor->step().images, images);
    executor->gradients({});
    EXPECT_EQ(executor->first_non_finite({}), "the output of layer 'fc1' (linear)");
    Tensor weights = executor->read(executor->step().graph.find("fc2.weight"));
    weights.f32()[3] = std::numeric_limits<float>::quiet_NaN();
    executor->write(executor->step().graph.find("fc2.weight"), weights);
    executor->gradients({});
    EXPECT_EQ(executor->first_non_finite({}), "parameter 'fc2.weight'");
}

template <typename Action>
std::string message_of(const Action& action) {
    try {
        action();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

TEST(Executor, RefusesLabelsAndIndicesOutOfRange) {
    const auto executor = ready(build_training_step(small_graph(6), {}, {}));
    Tensor labels(Shape{6}, DType::i32);
    labels.as<int32_t>()[4] = 4;
    executor->write(executor->step().labels, labels);
    EXPECT_EQ(message_of([&] { executor->gradients({}); }),
              "layer 'loss' (cross_entropy): label 4 of sample 4 is not in [0, 4)");
    Net net({2, 2}, DType::i32);
    const auto words = ready(build_training_step(
        net.finish(net.add(Embedding{}, {net.images, net.parameter("table", {3, 2})}, "words")), {}, {}));
    Tensor images(Shape{2, 2}, DType::i32);
    images.as<int32_t>()[1] = -1;
    words->write(words->step().images, images);
    EXPECT_EQ(message_of([&] { words->gradients({}); }),
              "layer 'words' (embedding): index -1 at position 1 is not in [0, 3)");
}

TEST(Executor, RefusesWhatDoesNotFit) {
    const auto executor = ready(build_training_step(small_graph(6), {}, {}), DType::f32);
    const TrainingStep& step = executor->step();
    EXPECT_EQ(message_of([&] {
                  executor->write(step.images, Tensor({6, 4}));
              }),
              "'images' is f32 6x3, f32 6x4 was given");
    EXPECT_EQ(message_of([&] {
                  executor->write(step.images, Tensor({6, 3}, DType::f64));
              }),
              "'images' is f32 6x3, f64 6x3 was given");
    EXPECT_NE(message_of([&] { executor->write(step.logits, Tensor({6, 4})); }), "");
}

TEST(TrainingSteps, RefuseWhatCannotBeTrained) {
    Net none({2, 3});
    EXPECT_NE(message_of([&] { build_training_step(none.finish(none.images), {}, {}); }).find("no parameter"),
              std::string::npos);
    Net packed({2, 4});
    const ValueId weights = packed.parameter("w", {3, 4});
    const ValueId dense = packed.add(UnpackNm{}, {packed.add(PackNm{{2, 4}}, {weights}, "p")}, "u");
    EXPECT_EQ(message_of([&] {
                  build_training_step(packed.finish(packed.add(Linear{}, {packed.images, dense})), {}, {});
              }),
              "layer 'u' (unpack_nm) has no gradient");
}

TEST(InferenceSteps, RunOnRunningStatistics) {
    Net net({3, 2});
    const ValueId normal = net.add(BatchNorm{}, {net.images, net.parameter("g", {2}), net.parameter("b", {2}),
                                                 net.state("mean", {2}, 0.5), net.state("variance", {2}, 4)});
    const auto executor = make_reference_executor(build_inference_step(net.finish(normal), {}), DType::f64);
    const TrainingStep& step = executor->step();
    EXPECT_FALSE(step.trains());
    initialize(*executor, 1);
    executor->write(step.images, random_tensor({3, 2}, 2));
    executor->write(step.labels, Tensor({3}, DType::i32));
    executor->gradients({});
    const auto images = doubles(*executor, "images"), g = doubles(*executor, "g"),
               b = doubles(*executor, "b");
    std::vector<double> want;
    for (size_t i = 0; i < 6; ++i)
        want.push_back(g[i % 2] * (images[i] - 0.5) / std::sqrt(4 + 1e-5) + b[i % 2]);
    expect_near(doubles(*executor, step.logits), want, 1e-12, "logits");
    EXPECT_EQ(doubles(*executor, "mean"), (std::vector<double>{0.5, 0.5}));
}

}  // namespace
}  // namespace enmesh::test
