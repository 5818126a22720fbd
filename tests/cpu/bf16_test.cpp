#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>

#include "cpu/against_reference.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/models/models.hpp"

namespace {

std::atomic<int64_t> aligned_bytes{0};  ///< that are allocated now; every Buffer asks for aligned memory

void free_aligned(void* data) noexcept {
    if (data == nullptr) return;
    aligned_bytes -= static_cast<int64_t>(malloc_usable_size(data));
    std::free(data);
}

}  // namespace

void* operator new(std::size_t bytes, std::align_val_t alignment) {
    void* data = nullptr;
    if (posix_memalign(&data, static_cast<std::size_t>(alignment), bytes) != 0) throw std::bad_alloc();
    aligned_bytes += static_cast<int64_t>(malloc_usable_size(data));
    return data;
}
void operator delete(void* data, std::align_val_t) noexcept { free_aligned(data); }
void operator delete(void* data, std::size_t, std::align_val_t) noexcept { free_aligned(data); }

namespace enmesh {
namespace {

float rounded(float value) { return to_float(to_bfloat16(value)); }

std::vector<float> rounded(std::span<const float> values) {
    std::vector<float> result(values.size());
    std::transform(values.begin(), values.end(), result.begin(), [](float v) { return rounded(v); });
    return result;
}

/// A compact operand with rounded values; owns what view() shows.
struct RoundedOperand {
    explicit RoundedOperand(const products::PackedView& from)
        : shape(from.shape), indices(from.indices), values(rounded(from.values)), tail(rounded(from.tail)) {}
    products::PackedView view() const { return {shape, values, indices, tail}; }

    products::PackedShape shape;
    std::span<const uint8_t> indices;
    std::vector<float> values, tail;
};

/// The reference product of operands that were rounded to bfloat16.
class RoundedProduct final : public products::Product {
  public:
    explicit RoundedProduct(const products::Problem& problem)
        : Product(problem), reference_(products::plan(problem, "reference")) {}
    std::string_view kernel() const override { return "rounded reference"; }
    size_t workspace_bytes() const override { return reference_->workspace_bytes(); }
    size_t prepared_bytes() const override { return reference_->prepared_bytes(); }
    void prepare(const products::PackedView& weights, std::span<std::byte> prepared) const override {
        reference_->prepare(RoundedOperand(weights).view(), prepared);
    }
    void prepare(std::span<const float> weights, std::span<std::byte> prepared) const override {
        reference_->prepare(rounded(weights), prepared);
    }
    void run(const products::Arguments& given) const override {
        products::Arguments arguments = given;
        const auto read = [](const float*& operand, int64_t size) {
            std::vector<float> copy;
            if (operand != nullptr) copy = rounded({operand, static_cast<size_t>(size)});
            if (operand != nullptr) operand = copy.data();
            return copy;
        };
        const std::vector<float> src = read(arguments.src, problem().conv.src_size());
        const std::vector<float> diff_dst = read(arguments.diff_dst, problem().conv.dst_size());
        std::optional<RoundedOperand> packed;
        products::PackedView view;
        if (given.packed_diff_dst != nullptr) {
            packed.emplace(*given.packed_diff_dst);
            view = packed->view();
            arguments.packed_diff_dst = &view;
        }
        reference_->run(arguments);
    }

  private:
    std::unique_ptr<products::Product> reference_;
};

class RoundedProducts final : public ProductProvider {
  public:
    std::string name() const override { return "rounded reference"; }
    std::unique_ptr<products::Product> plan(const products::Problem& problem) const override {
        return std::make_unique<RoundedProduct>(problem);
    }
    void multiply(const MatrixArguments& a) const override {
        for (int64_t i = 0; i < a.m; ++i) {
            for (int64_t j = 0; j < a.n; ++j) {
                double sum = 0;
                for (int64_t p = 0; p < a.k; ++p) {
                    const float x = a.transpose_a ? a.a[p * a.m + i] : a.a[i * a.k + p];
                    const float y = a.transpose_b ? a.b[j * a.k + p] : a.b[p * a.n + j];
                    sum += static_cast<double>(rounded(x)) * static_cast<double>(rounded(y));
                }
                a.out[i * a.n + j] = static_cast<float>(sum);
            }
        }
    }
    /// Selection sees values as they are: operands are rounded behind it.
    void round(std::span<const float> from, std::span<float> to) const override {
        std::copy(from.begin(), from.end(), to.begin());
    }
};

std::unique_ptr<cpu::CpuExecutor> after_a_step(const Graph& graph, const Recipe& recipe,
                                               const cpu::Options& options) {
    auto executor = cpu::make_executor(build_training_step(graph, recipe, {}), options);
    test::fill_inputs(*executor);
    executor->gradients({5, 0, 0});
    executor->update({5, 0, 0});
    return executor;
}

/// |got - want| / |want| by root mean square: a difference in the last bit of a sum can round an operand of
/// the next product to the other side, so that single elements may differ by 1/256.
double distance(const Executor& got, const Executor& want, ValueId value) {
    const Tensor a = got.read(value), b = want.read(value);
    double difference = 0, size = 1e-30;
    for (size_t i = 0; i < b.f32().size(); ++i) {
        const double x = static_cast<double>(a.f32()[i]), y = static_cast<double>(b.f32()[i]);
        difference += (x - y) * (x - y);
        size += y * y;
    }
    return std::sqrt(difference / size);
}

/// A step whose products read bfloat16 does what the reference does with rounded operands, and not what
/// float32 does. `tolerance` is for the logits; gradients may differ by four times as much.
void expect_rounded_step(const Graph& graph, const Recipe& recipe, cpu::MapLayout layout,
                         double tolerance = 1e-3) {
    SCOPED_TRACE(recipe.method);
    cpu::Options reference, options;
    reference.products = std::make_shared<RoundedProducts>();
    options.dtype = DType::bf16;
    options.layout = layout;
    const auto want = after_a_step(graph, recipe, reference);
    const auto got = after_a_step(graph, recipe, options);
    const auto floats = after_a_step(graph, recipe, {});
    EXPECT_NE(got->arithmetic(), floats->arithmetic());
    const TrainingStep& step = got->step();
    const double error = distance(*got, *want, step.logits),
                 unrounded = distance(*floats, *want, step.logits);
    EXPECT_TRUE(error <= tolerance) << error;
    EXPECT_TRUE(unrounded > tolerance) << unrounded;
    for (const StepParameter& parameter : step.parameters) {
        const double wrong = distance(*got, *want, parameter.gradient);
        EXPECT_TRUE(wrong <= 4 * tolerance) << step.graph.value(parameter.weights).name << ": " << wrong;
    }
}

/// A convolution of the images, a strided and a 1x1 one, a linear layer. No norm: it
/// would blow small differences up.
Graph convolutions() {
    test::Net net({8, 16, 9, 9});
    ValueId x = net.add(Relu{}, {net.conv("a", net.images, 32, 3, {.padding = {1, 1, 1, 1}})});
    x = net.add(Relu{}, {net.conv("b", x, 32, 3, {.stride = {2, 2}, .padding = {1, 1, 1, 1}})});
    x = net.conv("c", x, 16, 1);
    return net.finish(net.linear("d", net.flatten(x), 16));
}

TEST(Bfloat16, StepsOfEveryMethodMatchTheRoundedReference) {
    for (const std::string& method : method_names())
        expect_rounded_step(convolutions(), make_recipe(method, Pattern{2, 8}), cpu::MapLayout::automatic);
}

TEST(Bfloat16, SampledGradients) {
    expect_rounded_step(convolutions(), make_recipe("bdwp+mvue", Pattern{2, 4}), cpu::MapLayout::automatic);
}

TEST(Bfloat16, ChannelLayout) {
    expect_rounded_step(convolutions(), make_recipe("dense", Pattern{2, 8}), cpu::MapLayout::channels);
    if (isa() != Isa::avx512) GTEST_SKIP() << "N:M weights in the channel layout need AVX-512";
    for (const Pattern pattern : {Pattern{2, 4}, Pattern{2, 8}, Pattern{1, 16}})
        expect_rounded_step(convolutions(), make_recipe("bdwp", pattern), cpu::MapLayout::channels);
}

/// Convolutions for which oneDNN has its reference alone in bfloat16, so that they fall back: padding wider
/// than the window, dilated depthwise.
Graph wide_borders(int kernel, int64_t padding, int64_t dilation, int64_t groups) {
    test::Net net({1, 16, 3, 3});
    const ValueId x = net.add(Relu{}, {net.conv("a", net.images, 16, 1)});
    return net.finish(net.conv("b", x, 16, kernel,
                               {.padding = {padding, padding, padding, padding},
                                .dilation = {dilation, dilation},
                                .groups = groups}));
}

TEST(Bfloat16, WideBordersInTheChannelLayout) {
    for (const Graph& graph : {wide_borders(3, 2, 1, 1), wide_borders(1, 1, 1, 1), wide_borders(3, 1, 1, 16),
                               wide_borders(3, 2, 2, 16), wide_borders(3, 3, 1, 16)})
        expect_rounded_step(graph, make_recipe("dense", Pattern{2, 4}), cpu::MapLayout::channels);
}

TEST(Bfloat16, WeightsThatTheStepMakes) {
    Recipe on_demand = make_recipe("bdwp", Pattern{2, 4});
    on_demand.pre_generate = false;
    expect_rounded_step(convolutions(), on_demand, cpu::MapLayout::automatic);
    test::Net net({3, 4, 4, 4});
    const ValueId transposed = net.add(Transpose{{1, 0}}, {net.parameter("w", {64, 32})});
    const ValueId x = net.add(Relu{}, {net.add(Linear{}, {net.flatten(net.images), transposed}, "t")});
    expect_rounded_step(net.finish(net.linear("d", x, 16)), make_recipe("bdwp", Pattern{2, 4}),
                        cpu::MapLayout::automatic);
}

/// Where no kernel multiplies bfloat16, rounded copies of the weights take memory; where kernels do, their
/// weights take two bytes instead of four.
TEST(Bfloat16, RoundingMemoryIsReported) {
    const auto executor = [](DType dtype) {
        cpu::Options options;
        options.dtype = dtype;
        return after_a_step(convolutions(), make_recipe("bdwp", Pattern{2, 8}), options);
    };
    const auto floats = executor(DType::f32), bf16 = executor(DType::bf16);
    const int64_t with_floats = floats->memory().prepared_bytes, with_bf16 = bf16->memory().prepared_bytes;
    constexpr int64_t largest_weights = 32 * 32 * 3 * 3;  // of layer b
    if (bf16->arithmetic() == "bfloat16")
        EXPECT_LT(with_bf16, with_floats);
    else
        EXPECT_GE(with_bf16, with_floats + largest_weights * static_cast<int64_t>(sizeof(float)));
}

TEST(Bfloat16, ReportedMemoryIsWhatIsAllocated) {
    // Large weights beside small maps: leaving out any of the report's parts would show.
    test::Net net({8, 16, 6, 6});
    ValueId x = net.add(Relu{}, {net.conv("a", net.images, 32, 3, {.padding = {1, 1, 1, 1}})});
    x = net.add(Relu{}, {net.linear("b", net.flatten(x), 512)});
    const Graph graph = net.finish(net.linear("c", x, 16));
    for (const DType dtype : {DType::f32, DType::bf16}) {
        for (const cpu::MapLayout layout : {cpu::MapLayout::images, cpu::MapLayout::channels}) {
            cpu::Options options;
            options.dtype = dtype;
            options.layout = layout;
            TrainingStep step = build_training_step(graph, make_recipe("dense", std::nullopt), {});
            const int64_t before = aligned_bytes;
            const auto executor = cpu::make_executor(std::move(step), options);
            const int64_t allocated = aligned_bytes - before;
            const cpu::MemoryReport memory = executor->memory();
            const int64_t reported =
                memory.arena_bytes + memory.resident_bytes + memory.prepared_bytes + memory.workspace_bytes;
            EXPECT_GE(allocated, reported) << to_string(dtype);
            // What an allocation is rounded up to, and scalars.
            EXPECT_LE(allocated, reported + 16384) << to_string(dtype);
        }
    }
}

TEST(Bfloat16, Attention) {
    const ModelOptions options{.classes = 10, .image = {3, 32, 32}, .width = 0.125, .batch = 2};
    const Graph graph = build_model("vit_small", options);
    // Over twelve blocks the differences grow.
    expect_rounded_step(graph, make_recipe("dense", Pattern{2, 8}), cpu::MapLayout::automatic, 3e-3);
    expect_rounded_step(graph, make_recipe("bdwp", Pattern{2, 4}), cpu::MapLayout::automatic, 3e-3);
}

TEST(Bfloat16, BitsDoNotDependOnTheRun) {
    cpu::Options options;
    options.dtype = DType::bf16;
    const auto one = after_a_step(convolutions(), make_recipe("bdwp", Pattern{2, 8}), options);
    const auto two = after_a_step(convolutions(), make_recipe("bdwp", Pattern{2, 8}), options);
    for (const StepParameter& parameter : one->step().parameters) {
        EXPECT_TRUE(
            std::ranges::equal(one->read(parameter.weights).f32(), two->read(parameter.weights).f32()));
    }
}

TEST(Bfloat16, DoesNotGoWithProductsOfAnotherMachine) {
    cpu::Options options;
    options.dtype = DType::bf16;
    options.products = std::make_shared<RoundedProducts>();
    EXPECT_THROW(after_a_step(convolutions(), make_recipe("dense", Pattern{2, 8}), options), Error);
}

}  // namespace
}  // namespace enmesh
