#include "cpu/lowering.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include "cpu/convert.hpp"
#include "cpu/layout.hpp"
#include "cpu/ops/runs.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/cpu/kernels.hpp"
#include "enmesh/step/memory_plan.hpp"

namespace enmesh::cpu {
namespace {

products::PackedShape packed_shape(const ValueType& type) {
    const NmSparsity& sparse = *type.nm();
    const Shape& shape = type.shape;
    const int64_t taps = shape.rank() == 4 ? shape[2] * shape[3] : 1;
    const int64_t channels = shape.rank() == 4 ? shape[1] : shape[-1];
    const int64_t positions = shape.elements() / channels;
    switch (sparse.axis) {
        case GroupAxis::input_channels:
            return {sparse.pattern, shape[0], taps, shape[1]};
        case GroupAxis::output_channels:
            return {sparse.pattern, shape[1], taps, shape[0]};
        case GroupAxis::gradient_channels:
            return {sparse.pattern, positions, 1, channels};
        case GroupAxis::positions:
            return {sparse.pattern, channels, 1, positions};
    }
    return {};
}

}  // namespace

MapRuns map_runs(const Shape& shape, Layout layout) {
    MapRuns runs;
    runs.channels = shape[1];
    runs.pixels = shape.elements() / (shape[0] * shape[1]);
    runs.run = runs.pixels * layout.block;
    if (layout.lanes == Layout::Lanes::images) {
        runs.groups = shape[1];
        runs.runs = shape[0] / layout.block;
        runs.group_stride = runs.run;
        runs.run_stride = runs.run * shape[1];
    } else {
        runs.channels_per_group = layout.block;
        runs.groups = shape[1] / layout.block;
        runs.runs = shape[0];
        runs.group_stride = runs.run;
        runs.run_stride = runs.run * runs.groups;
    }
    return runs;
}

Machine::Machine(TrainingStep step, const Options& options) : step_(std::move(step)), options_(options) {
    const StepLayout layout = choose_layout(step_, options_);
    map_layout_ = layout.maps;
    element_ = layout.element;
    plan_.layout = layout.name();
    place_values();
    find_groups();
    lower_nodes();
    plan_arena();
    if (cache_.has_value()) cache_->save();
}

KernelCache& Machine::cache() {
    if (!cache_.has_value()) cache_.emplace();
    return *cache_;
}

void Machine::place_values() {
    const auto values = graph().values();
    slots_.resize(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
        Slot& place = slots_[i];
        place.type = values[i].type;
        place.resident = values[i].role != Role::result;
        if (place.type.nm() != nullptr) {
            place.packed = std::make_unique<products::Packed>(packed_shape(place.type));
        } else if (place.resident) {
            place.own = Buffer(static_cast<size_t>(place.type.bytes()));
            if (values[i].role == Role::constant) {
                const Tensor& given = *values[i].initializer.given;
                if (given.bytes() > 0) std::memcpy(place.own.data(), given.data(), given.bytes());
            }
        }
        if (place.resident) report_.resident_bytes += place.type.bytes();
    }
    for (const auto& [result, state] : step_.carried) {
        slots_[static_cast<size_t>(result.index)].alias = state.index;
        slots_[static_cast<size_t>(result.index)].packed.reset();
    }
}

const products::KernelList& Machine::kernels() const {
    return options_.kernels != nullptr ? *options_.kernels : product_kernels();
}

int Machine::root(int index) const {
    while (slot(index).alias >= 0) index = slot(index).alias;
    return index;
}

void* Machine::data(int index) {
    Slot& place = slot(root(index));
    if (place.resident) return place.own.data();
    return static_cast<std::byte*>(arena_.data()) + place.offset;
}

products::Packed& Machine::packed(int index) { return *slot(root(index)).packed; }

int Machine::in_layout(int index, Layout layout) {
    if (slot(index).layout == layout) return index;
    // What was rounded for one product is no source for another.
    while (slot(index).layout.element != Layout::Element::f32) index = slot(index).copy_of;
    if (slot(index).layout == layout) return index;
    const std::pair key{index, layout};
    if (const auto found = conversions_.find(key); found != conversions_.end()) return found->second;
    const int converted = layout.element == Layout::Element::f32
                              ? add_conversion(index, layout)
                              : add_rounding(in_layout(index, layout.of(Layout::Element::f32)), layout);
    conversions_.emplace(key, converted);
    return converted;
}

int Machine::add_copy(int from, Layout layout, DType dtype) {
    const int to = static_cast<int>(slots_.size());
    slots_.emplace_back();
    slot(to).type = slot(from).type;
    slot(to).type.dtype = dtype;
    slot(to).layout = layout;
    slot(to).copy_of = from;
    report_.conversion_bytes += slot(to).type.bytes();
    ++report_.conversions;
    return to;
}

int Machine::add_rounding(int from, Layout layout) {
    const bool narrow = layout.element == Layout::Element::bf16;
    const int to = add_copy(from, layout, narrow ? DType::bf16 : DType::f32);
    const int64_t elements = slot(from).type.shape.elements();
    add(
        graph().node(node_), Kind::other, {from}, {to},
        [this, from, to, elements, narrow](const RunContext&) {
            over_elements(elements, [&](int64_t at, int64_t count) {
                const float* const values = f32(from) + at;
                if (narrow)
                    simd().to_bf16(values, bf16(to) + at, count);
                else
                    simd().round_to_bf16(values, f32(to) + at, count);
            });
        },
        "rounding to bfloat16");
    commands_.back().operation = commands_.back().kernel;
    return to;
}

int Machine::add_conversion(int from, Layout layout) {
    const int to = add_copy(from, layout, slot(from).type.dtype);
    const Layout source = slot(from).layout;
    const Shape shape = slot(from).type.shape;
    const size_t width = size_of(slot(from).type.dtype);
    const Node& node = graph().node(node_);
    add(
        node, Kind::other, {from}, {to},
        [this, from, to, source, layout, shape, width](const RunContext&) {
            convert(data(from), source, data(to), layout, shape, width);
        },
        "layout conversion");
    commands_.back().operation = commands_.back().kernel;
    return to;
}

int Machine::out(ValueId value, Layout layout) {
    const int index = slot_of(value);
    slot(index).layout = layout;
    return index;
}

size_t Machine::book(size_t bytes) {
    const size_t offset = booked_;
    booked_ += (bytes + Buffer::alignment - 1) / Buffer::alignment * Buffer::alignment;
    workspace_bytes_ = std::max(workspace_bytes_, booked_);
    return offset;
}

std::span<std::byte> Machine::keep(size_t bytes) {
    kept_.emplace_back(bytes);
    report_.prepared_bytes += static_cast<int64_t>(bytes);
    return {static_cast<std::byte*>(kept_.back().data()), bytes};
}

void Machine::reserve_rounding(int64_t floats) {
    const size_t bytes = static_cast<size_t>(floats) * sizeof(float);
    if (bytes <= rounding_.bytes()) return;
    report_.prepared_bytes += static_cast<int64_t>(bytes - rounding_.bytes());
    rounding_ = Buffer(bytes);
}

std::span<const float> Machine::rounded(std::span<const float> weights) {
    if (element_ == Layout::Element::f32) return weights;
    const std::span<float> to = rounding_memory().first(weights.size());
    over_elements(static_cast<int64_t>(weights.size()), [&](int64_t at, int64_t count) {
        simd().round_to_bf16(weights.data() + at, to.data() + at, count);
    });
    return to;
}

products::PackedView Machine::rounded(const products::PackedView& weights) {
    if (element_ == Layout::Element::f32) return weights;
    products::PackedView view = weights;
    view.values = rounded(weights.values);
    const std::span<float> tail = rounding_memory().subspan(view.values.size(), weights.tail.size());
    simd().round_to_bf16(weights.tail.data(), tail.data(), static_cast<int64_t>(tail.size()));
    view.tail = tail;
    return view;
}

void Machine::add(const Node& node, Kind kind, std::vector<int> reads, std::vector<int> writes,
                  std::function<void(const RunContext&)> run, std::string kernel) {
    Command command;
    command.stage = node.stage;
    command.kind = kind;
    command.layer = node.layer;
    command.operation = std::string(name(node.operation));
    command.kernel = std::move(kernel);
    command.reads = std::move(reads);
    command.writes = std::move(writes);
    command.run = std::move(run);
    command.node = node_;
    commands_.push_back(std::move(command));
    booked_ = 0;
}

void Machine::find_groups() {
    const Graph& g = graph();
    const auto consumers = g.consumers();
    std::set<int> wanted_outside;
    for (const ValueId output : g.outputs) wanted_outside.insert(output.index);
    for (const StepParameter& parameter : step_.parameters) wanted_outside.insert(parameter.gradient.index);
    const std::function<int(ValueId)> only_consumer = [&](ValueId value) {
        const auto& users = consumers[static_cast<size_t>(value.index)];
        return users.size() == 1 && !wanted_outside.contains(value.index) ? users[0] : -1;
    };
    covered_.assign(g.nodes().size(), false);
    for (int i = 0; i < static_cast<int>(g.nodes().size()); ++i) {
        if (covered_[static_cast<size_t>(i)]) continue;
        const Operation& operation = g.node(i).operation;
        if (operation.is<BatchNorm>())
            find_norm(i, only_consumer);
        else if (operation.is<BatchNormBackward>())
            find_norm_backward(i, consumers, wanted_outside);
        else if (operation.is<Conv2d>() || operation.is<Add>())
            find_relu(i, only_consumer);
    }
}

void Machine::find_norm(int node_index, const std::function<int(ValueId)>& only_consumer) {
    const Graph& g = graph();
    const Node& node = g.node(node_index);
    NormGroup group{.norm = node_index, .residual = {}};
    int next = only_consumer(node.outputs[0]);
    ValueId result = node.outputs[0];
    if (next >= 0 && g.node(next).operation.is<Add>()) {
        const Node& sum = g.node(next);
        const ValueId other = sum.inputs[0] == result ? sum.inputs[1] : sum.inputs[0];
        const bool ready = g.value(other).producer < node_index && !(other == result);
        if (ready && g.type(other).shape == g.type(result).shape) {
            group.add = next;
            group.residual = other;
            result = sum.outputs[0];
            next = only_consumer(result);
        } else {
            next = -1;
        }
    }
    if (next >= 0 && g.node(next).operation.is<Relu>()) group.relu = next;
    for (const int member : {group.norm, group.add, group.relu}) {
        if (member >= 0 && member != group.last()) covered_[static_cast<size_t>(member)] = true;
    }
    norm_groups_.emplace(group.last(), group);
}

void Machine::find_norm_backward(int node_index, const std::vector<std::vector<int>>& consumers,
                                 const std::set<int>& wanted_outside) {
    const Graph& g = graph();
    const Node& node = g.node(node_index);
    NormBackwardGroup group{.norm = node_index};
    const int producer = g.value(node.inputs[4]).producer;
    if (producer >= 0 && g.node(producer).operation.is<ReluBackward>() &&
        !covered_[static_cast<size_t>(producer)] && !wanted_outside.contains(node.inputs[4].index) &&
        consumers[static_cast<size_t>(node.inputs[4].index)].front() == node_index) {
        group.relu = producer;
        const ValueId gradient = g.node(producer).inputs[1];
        const int sum = g.value(gradient).producer;
        const auto& users = consumers[static_cast<size_t>(gradient.index)];
        const bool summed = sum >= 0 && g.node(sum).operation.is<Add>() && g.node(sum).stage == Stage::BP &&
                            users.size() == 1 && users[0] == producer &&
                            !wanted_outside.contains(gradient.index) &&
                            g.type(g.node(sum).inputs[0]) == g.type(g.node(sum).inputs[1]);
        if (summed) group.add = sum;
    }
    for (const int member : {group.add, group.relu}) {
        if (member >= 0) covered_[static_cast<size_t>(member)] = true;
    }
    norm_backward_groups_.emplace(node_index, group);
}

void Machine::find_relu(int node_index, const std::function<int(ValueId)>& only_consumer) {
    const Graph& g = graph();
    const Node& node = g.node(node_index);
    const int relu = only_consumer(node.outputs[0]);
    if (relu < 0 || !g.node(relu).operation.is<Relu>()) return;
    if (node.operation.is<Add>()) {
        if (!(g.type(node.inputs[0]) == g.type(node.inputs[1]))) return;
        sum_relus_.emplace(relu, ReluGroup{node_index, relu});
        covered_[static_cast<size_t>(node_index)] = true;
        return;
    }
    // Only our products take a relu along.
    if (map_layout_.lanes != Layout::Lanes::images) return;
    product_relus_.emplace(node.outputs[0].index, relu);
    covered_[static_cast<size_t>(relu)] = true;
}

const Node* Machine::relu_after(const Node& node) const {
    const auto found = product_relus_.find(node.outputs[0].index);
    return found != product_relus_.end() ? &graph().node(found->second) : nullptr;
}

void Machine::lower_nodes() {
    for (int i = 0; i < static_cast<int>(graph().nodes().size()); ++i) {
        if (covered_[static_cast<size_t>(i)]) continue;
        node_ = i;
        if (const auto group = norm_groups_.find(i); group != norm_groups_.end()) {
            lower(*this, group->second);
        } else if (const auto backward = norm_backward_groups_.find(i);
                   backward != norm_backward_groups_.end()) {
            lower(*this, backward->second);
        } else if (const auto sum = sum_relus_.find(i); sum != sum_relus_.end()) {
            lower(*this, sum->second);
        } else {
            const Node& node = graph().node(i);
            std::visit([&](const auto& op) { lower(*this, node, op); }, node.operation.attributes);
        }
    }
}

void Machine::plan_arena() {
    std::set<int> kept;
    for (const ValueId output : graph().outputs) kept.insert(root(output.index));
    for (const StepParameter& parameter : step_.parameters) {
        if (parameter.gradient.valid()) kept.insert(root(parameter.gradient.index));
    }
    std::map<int, Lifetime> lives;
    const int last = static_cast<int>(commands_.size());
    for (int i = 0; i < last; ++i) {
        const Command& command = commands_[static_cast<size_t>(i)];
        for (const std::vector<int>* list : {&command.reads, &command.writes}) {
            for (const int index : *list) {
                const int place = root(index);
                if (slot(place).resident || slot(place).packed != nullptr) continue;
                Lifetime& life =
                    lives.try_emplace(place, Lifetime{slot(place).type.bytes(), i, i}).first->second;
                life.last = std::max(life.last, i);
                if (options_.keep_everything || kept.contains(place)) life.last = last;
            }
        }
    }
    std::vector<Lifetime> lifetimes;
    lifetimes.reserve(lives.size());
    for (const auto& [place, life] : lives) lifetimes.push_back(life);
    const MemoryPlan plan = plan_memory(lifetimes);
    size_t at = 0;
    for (const auto& [place, life] : lives) slot(place).offset = plan.offsets[at++];
    arena_ = Buffer(static_cast<size_t>(plan.bytes));
    workspace_ = Buffer(workspace_bytes_);
    report_.arena_bytes = plan.bytes;
    report_.workspace_bytes = static_cast<int64_t>(workspace_bytes_);
}

MemoryReport Machine::memory() const {
    MemoryReport report = report_;
    for (const Slot& place : slots_) {
        if (place.packed != nullptr && !place.resident) report.resident_bytes += place.type.bytes();
    }
    return report;
}

void Machine::write(ValueId value, const Tensor& tensor) {
    Slot& place = slot(value.index);
    const Value& described = graph().value(value);
    if (!place.resident || place.packed != nullptr) refuse("'{}' cannot be written", described.name);
    if (tensor.shape() != described.type.shape || tensor.dtype() != described.type.dtype) {
        refuse("'{}' is {}, not {} {}", described.name, to_string(described.type), to_string(tensor.dtype()),
               to_string(tensor.shape()));
    }
    if (tensor.bytes() > 0) std::memcpy(place.own.data(), tensor.data(), tensor.bytes());
}

bool Machine::readable(ValueId value) const {
    const Slot& place = slot(root(value.index));
    return place.resident || place.packed != nullptr || place.offset >= 0;
}

Tensor Machine::read(ValueId value) {
    const Slot& place = slot(value.index);
    const ValueType& type = graph().type(value);
    if (!readable(value)) refuse("'{}' is not kept", graph().value(value).name);
    Tensor tensor(type.shape, type.dtype);
    if (type.nm() != nullptr) {
        unpack_value(packed(value.index), type, tensor.f32());
    } else if (tensor.bytes() > 0) {
        convert(data(value.index), place.layout, tensor.data(), plain_layout, type.shape,
                size_of(type.dtype));
    }
    return tensor;
}

}  // namespace enmesh::cpu
