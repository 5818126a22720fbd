#include "cpu/layout.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "cpu/onednn.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/cpu/plan_file.hpp"
#include "enmesh/products/kernel.hpp"

namespace enmesh::cpu {
namespace {

/// Whether every convolution's channels fill whole blocks, so that oneDNN's blocked layout needs no padding.
bool channels_fill_blocks(const Graph& graph, int block) {
    for (const Node& node : graph.nodes()) {
        const Conv2d* const conv = node.operation.as<Conv2d>();
        if (conv == nullptr) continue;
        if (graph.type(node.outputs[0]).shape[1] % block != 0) return false;
        const bool from_input = graph.value(node.inputs[0]).role == Role::input;
        if (!from_input && graph.type(node.inputs[0]).shape[1] % block != 0) return false;
        if (conv->groups > 1 && graph.type(node.inputs[1]).shape[1] != 1) return false;
    }
    return true;
}

/// Which sparse values the channel layout has kernels for: none, or N:M weights.
struct ServedInChannels {
    bool weights;
    bool operator()(std::monostate) const { return true; }
    bool operator()(const NmSparsity& nm) const {
        return weights && (nm.axis == GroupAxis::input_channels || nm.axis == GroupAxis::output_channels);
    }
};

/// Whether no product has a sparse operand, N:M weights apart if these are allowed.
bool all_products_dense(const Graph& graph, bool but_for_weights) {
    return std::ranges::all_of(graph.values(), [&](const Value& value) {
        return std::visit(ServedInChannels{but_for_weights}, value.type.sparsity);
    });
}

bool rounds(const Options& options) { return options.dtype == DType::bf16; }

/// bfloat16 proper is oneDNN's and the permuted kernels': both read blocks of 16 channels.
bool has_bf16_kernels(const Options& options) { return rounds(options) && isa() == Isa::avx512; }

StepLayout image_layout(const TrainingStep& step, const Options& options) {
    const int64_t batch = step.graph.type(step.images).shape[0];
    return {{Layout::Lanes::images, std::min(products::best_block(batch), std::max(8, vector_lanes(isa())))},
            rounds(options) ? Layout::Element::rounded : Layout::Element::f32};
}

int channel_block() { return vector_lanes(isa()) == 16 ? 16 : 8; }

std::optional<StepLayout> channel_layout(const TrainingStep& step, const Options& options) {
    const bool bf16 = has_bf16_kernels(options);
    if (!channels_fill_blocks(step.graph, channel_block()) || !all_products_dense(step.graph, bf16))
        return std::nullopt;
    const auto floats = rounds(options) ? Layout::Element::rounded : Layout::Element::f32;
    return StepLayout{{Layout::Lanes::channels, channel_block()}, bf16 ? Layout::Element::bf16 : floats};
}

void write_inputs(Executor& executor) {
    const TrainingStep& step = executor.step();
    Random random(3);
    Tensor images(step.graph.type(step.images).shape, step.graph.type(step.images).dtype);
    if (images.dtype() == DType::f32) {
        for (float& pixel : images.f32()) pixel = random.normal();
    }
    executor.write(step.images, images);
    if (step.labels.valid())
        executor.write(step.labels,
                       Tensor(step.graph.type(step.labels).shape, step.graph.type(step.labels).dtype));
    if (!step.trains()) return;
    for (const auto& [value, number] :
         {std::pair{step.learning_rate, 0.01F}, std::pair{step.gradient_scale, 1.0F},
          std::pair{step.update_count, 1.0F}}) {
        Tensor scalar{Shape{}};
        scalar.f32()[0] = number;
        executor.write(value, scalar);
    }
}

/// The least of three runs behind a first one. The executor goes before the next is made: two would need
/// twice the memory.
double seconds_in(MapLayout layout, const TrainingStep& step, Options options) {
    options.layout = layout;
    const auto executor = make_executor(step, options);
    initialize(*executor, 1);
    write_inputs(*executor);
    double least = 0;
    for (int run = 0; run < 4; ++run) {
        const Timer timer;
        executor->gradients({1, run, 0});
        if (step.trains()) executor->update({1, run, 0});
        least = run == 1 ? timer.seconds() : std::min(least, timer.seconds());
    }
    return least;
}

constexpr std::array layouts{std::pair{MapLayout::automatic, "auto"},
                             std::pair{MapLayout::channels, "channels"},
                             std::pair{MapLayout::images, "images"}};

}  // namespace

std::string to_string(MapLayout layout) {
    return std::ranges::find(layouts, layout, [](const auto& row) { return row.first; })->second;
}

std::optional<MapLayout> map_layout_named(std::string_view name) {
    for (const auto& [layout, text] : layouts) {
        if (name == text) return layout;
    }
    return std::nullopt;
}

StepLayout choose_layout(const TrainingStep& step, const Options& options) {
    if (options.products != nullptr) {
        if (rounds(options))
            refuse("{} has a number format of its own: dtype {} does not go with it",
                   options.products->name(), to_string(options.dtype));
        return {plain_layout};
    }
    const std::optional<StepLayout> channels = channel_layout(step, options);
    MapLayout wanted = options.layout;
    const MapLayout planned = map_layout_named(options.plan.layout).value_or(MapLayout::automatic);
    if (planned == MapLayout::images || (planned == MapLayout::channels && channels.has_value()))
        wanted = planned;
    if (planned == MapLayout::channels && !channels.has_value()) {
        fmt::print(stderr,
                   "enmesh: note: the kernel plan's layout 'channels' is not available on this processor; "
                   "results are not "
                   "the same bits as where the plan was made\n");
    }
    if (wanted == MapLayout::channels && !channels.has_value()) {
        refuse("the channel layout needs {} and channel counts that are multiples of {}",
               has_bf16_kernels(options) ? "dense gradients" : "dense products", channel_block());
    }
    // Without oneDNN's Winograd our products in the image layout are the faster dense ones
    // (docs/results/step_time.md).
    const bool preferred =
        rounds(options) ? has_bf16_kernels(options) && has_avx512_bf16() : onednn_has_winograd();
    if (channels.has_value() &&
        (wanted == MapLayout::channels || (wanted == MapLayout::automatic && preferred)))
        return *channels;
    return image_layout(step, options);
}

MapLayout measured_layout(const TrainingStep& step, const Options& options) {
    const bool open = options.products == nullptr && options.layout == MapLayout::automatic &&
                      options.plan.layout.empty() && options.choice != KernelChoice::defaults;
    if (!open || !channel_layout(step, options).has_value()) return options.layout;
    const std::string key = "layout of " + step_key(step, options.dtype);
    const auto known = map_layout_named(KernelCache().find(key));
    if (known.has_value() && known != MapLayout::automatic) return *known;
    if (options.choice == KernelChoice::cached) return options.layout;
    const double images = seconds_in(MapLayout::images, step, options);
    const double channels = seconds_in(MapLayout::channels, step, options);
    const MapLayout fastest = channels < images ? MapLayout::channels : MapLayout::images;
    products::say_dispatch(key, fmt::format("{} ({:.4f} s; the other {:.4f} s)", to_string(fastest),
                                            std::min(images, channels), std::max(images, channels)));
    KernelCache cache;
    cache.remember(key, to_string(fastest));
    cache.save();
    return fastest;
}

}  // namespace enmesh::cpu
