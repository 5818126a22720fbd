#include <array>
#include <cmath>

#include "cpu/lowering.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/streaming.hpp"

namespace enmesh::cpu {
namespace {

using LaneFloats = std::array<float, lanes>;
using LaneDoubles = std::array<double, lanes>;

/// One value per lane of a group: the channel's own in the image layout, its block's in the channel layout.
template <typename Fill>
LaneFloats per_lane(const MapRuns& map, int64_t group, const Fill& fill) {
    LaneFloats values;
    for (int lane = 0; lane < lanes; ++lane) {
        values[static_cast<size_t>(lane)] =
            fill(group * map.channels_per_group + lane % map.channels_per_group);
    }
    return values;
}

/// The sums of the lanes that belong to channel `offset` of a group.
double lane_total(const LaneDoubles& sums, const MapRuns& map, int offset) {
    double total = 0;
    for (int lane = offset; lane < lanes; lane += map.channels_per_group)
        total += sums[static_cast<size_t>(lane)];
    return total;
}

struct Forward {
    int src, gamma, beta, running_mean, running_variance, residual, dst;
    int mean = -1, inverse_deviation = -1;
    BatchNorm op;
    bool relu;
    bool stream;  // the map is large: streaming stores
    MapRuns map;
};

void batch_statistics(Machine& m, const Forward& f, int64_t group) {
    const float* const src = m.f32(f.src) + group * f.map.group_stride;
    const MapRuns& map = f.map;
    // Sums are taken around the channel's first value, so that a large mean cancels nothing.
    LaneFloats shift;
    for (int lane = 0; lane < lanes; ++lane)
        shift[static_cast<size_t>(lane)] = src[lane % map.channels_per_group];
    LaneDoubles sum{}, squares{};
    for (int64_t r = 0; r < map.runs; ++r) {
        simd().norm_sums(src + r * map.run_stride, map.run, shift.data(), sum.data(), squares.data());
    }
    const double count = static_cast<double>(map.runs * map.run / map.channels_per_group);
    for (int offset = 0; offset < map.channels_per_group; ++offset) {
        const int64_t c = group * map.channels_per_group + offset;
        const double shifted = lane_total(sum, map, offset) / count;
        const double variance = std::max(0.0, lane_total(squares, map, offset) / count - shifted * shifted);
        const double mean = shifted + static_cast<double>(shift[static_cast<size_t>(offset)]);
        m.f32(f.mean)[c] = static_cast<float>(mean);
        m.f32(f.inverse_deviation)[c] = static_cast<float>(1.0 / std::sqrt(variance + f.op.epsilon));
        const auto follow = [&](float& running, double batch) {
            running = static_cast<float>((1 - f.op.momentum) * static_cast<double>(running) +
                                         f.op.momentum * batch);
        };
        follow(m.f32(f.running_mean)[c], mean);
        follow(m.f32(f.running_variance)[c], variance * count / (count - 1));
    }
}

void normalise(Machine& m, const Forward& f, int64_t group) {
    const MapRuns& map = f.map;
    const auto deviation = [&](int64_t c) {
        if (f.op.training) return m.f32(f.inverse_deviation)[c];
        return static_cast<float>(
            1.0 / std::sqrt(static_cast<double>(m.f32(f.running_variance)[c]) + f.op.epsilon));
    };
    const float* const means = f.op.training ? m.f32(f.mean) : m.f32(f.running_mean);
    const LaneFloats scale =
        per_lane(map, group, [&](int64_t c) { return m.f32(f.gamma)[c] * deviation(c); });
    const LaneFloats offset = per_lane(map, group, [&](int64_t c) {
        return m.f32(f.beta)[c] - means[c] * (m.f32(f.gamma)[c] * deviation(c));
    });
    for (int64_t r = 0; r < map.runs; ++r) {
        const int64_t at = group * map.group_stride + r * map.run_stride;
        const float* const residual = f.residual >= 0 ? m.f32(f.residual) + at : nullptr;
        simd().norm_apply(m.f32(f.src) + at, residual, m.f32(f.dst) + at, map.run, scale.data(),
                          offset.data(), f.relu, f.stream);
    }
}

struct Backward {
    int src, gamma, mean, inverse_deviation, g1, g2 = -1, z = -1, dy_out = -1, diff_src, diff_gamma,
                                                 diff_beta;
    bool stream;  // as in Forward
    MapRuns map;
};

NormGradient gradient_of(Machine& m, const Backward& b, int64_t at) {
    const auto place = [&](int slot) -> const float* { return slot >= 0 ? m.f32(slot) + at : nullptr; };
    return {place(b.g1), place(b.g2), place(b.z)};
}

void backward_group(Machine& m, const Backward& b, int64_t group) {
    const MapRuns& map = b.map;
    const LaneFloats mean = per_lane(map, group, [&](int64_t c) { return m.f32(b.mean)[c]; });
    LaneDoubles sum{}, product{};
    for (int64_t r = 0; r < map.runs; ++r) {
        const int64_t at = group * map.group_stride + r * map.run_stride;
        float* const dy = b.dy_out >= 0 ? m.f32(b.dy_out) + at : nullptr;
        simd().norm_backward_sums(gradient_of(m, b, at), m.f32(b.src) + at, dy, map.run, mean.data(),
                                  sum.data(), product.data(), b.stream);
    }
    const double count = static_cast<double>(map.runs * map.run / map.channels_per_group);
    std::array<LaneFloats, 3> coefficients{};  // diff_src = dy * a + src * b + c
    for (int lane = 0; lane < lanes; ++lane) {
        const int offset = lane % map.channels_per_group;
        const int64_t c = group * map.channels_per_group + offset;
        const double deviation = static_cast<double>(m.f32(b.inverse_deviation)[c]);
        const double diff_beta = lane_total(sum, map, offset);
        const double diff_gamma = lane_total(product, map, offset) * deviation;
        m.f32(b.diff_gamma)[c] = static_cast<float>(diff_gamma);
        m.f32(b.diff_beta)[c] = static_cast<float>(diff_beta);
        const double scale = static_cast<double>(m.f32(b.gamma)[c]) * deviation;
        const double slope = -scale * diff_gamma * deviation / count;
        const auto l = static_cast<size_t>(lane);
        coefficients[0][l] = static_cast<float>(scale);
        coefficients[1][l] = static_cast<float>(slope);
        coefficients[2][l] =
            static_cast<float>(-scale * diff_beta / count - slope * static_cast<double>(mean[l]));
    }
    for (int64_t r = 0; r < map.runs; ++r) {
        const int64_t at = group * map.group_stride + r * map.run_stride;
        const NormGradient gradient =
            b.dy_out >= 0 ? NormGradient{m.f32(b.dy_out) + at, nullptr, nullptr} : gradient_of(m, b, at);
        simd().norm_backward_apply(gradient, m.f32(b.src) + at, m.f32(b.diff_src) + at, map.run,
                                   coefficients[0].data(), coefficients[1].data(), coefficients[2].data(),
                                   b.stream);
    }
}

int64_t map_bytes(const Graph& graph, const Node& norm) {
    return graph.type(norm.inputs[0]).shape.elements() * static_cast<int64_t>(sizeof(float));
}

void add_forward(Machine& machine, const NormGroup& group) {
    const Graph& graph = machine.graph();
    const Node& norm = graph.node(group.norm);
    const Layout layout = machine.slot(machine.slot_of(norm.inputs[0])).layout;
    Forward f{};
    f.op = *norm.operation.as<BatchNorm>();
    f.relu = group.relu >= 0;
    f.src = machine.slot_of(norm.inputs[0]);
    f.gamma = machine.slot_of(norm.inputs[1]);
    f.beta = machine.slot_of(norm.inputs[2]);
    f.running_mean = machine.slot_of(norm.inputs[3]);
    f.running_variance = machine.slot_of(norm.inputs[4]);
    f.residual = group.add >= 0 ? machine.in(group.residual, layout) : -1;
    f.map = map_runs(graph.type(norm.inputs[0]).shape, layout);
    f.stream = streams(map_bytes(graph, norm));
    f.dst = machine.out(graph.node(group.last()).outputs[0], layout);
    std::vector<int> reads{f.src, f.gamma, f.beta, f.running_mean, f.running_variance}, writes{f.dst};
    if (f.residual >= 0) reads.push_back(f.residual);
    if (f.op.training) {
        f.mean = machine.out(norm.outputs[1]);
        f.inverse_deviation = machine.out(norm.outputs[2]);
        writes.insert(writes.end(), {f.mean, f.inverse_deviation});
    }
    const std::string kernel = std::string("norm") + (group.add >= 0 ? "+add" : "") + (f.relu ? "+relu" : "");
    machine.add(
        norm, Kind::norm, std::move(reads), std::move(writes),
        [&machine, f](const RunContext&) {
            parallel_for(f.map.groups, 1, [&](int64_t begin, int64_t end) {
                for (int64_t g = begin; g < end; ++g) {
                    if (f.op.training) batch_statistics(machine, f, g);
                    normalise(machine, f, g);
                }
                if (f.stream) finish_streaming();
            });
        },
        kernel);
}

}  // namespace

void lower(Machine& machine, const NormGroup& group) { add_forward(machine, group); }

void lower(Machine& machine, const NormBackwardGroup& group) {
    const Graph& graph = machine.graph();
    const Node& norm = graph.node(group.norm);
    const Layout layout = machine.slot(machine.slot_of(norm.inputs[0])).layout;
    Backward b{};
    b.src = machine.slot_of(norm.inputs[0]);
    b.gamma = machine.slot_of(norm.inputs[1]);
    b.mean = machine.slot_of(norm.inputs[2]);
    b.inverse_deviation = machine.slot_of(norm.inputs[3]);
    b.map = map_runs(graph.type(norm.inputs[0]).shape, layout);
    b.stream = streams(map_bytes(graph, norm));
    b.g2 = b.z = b.dy_out = -1;
    if (group.relu >= 0) {
        const Node& relu = graph.node(group.relu);
        b.z = machine.in(relu.inputs[0], layout);
        if (group.add >= 0) {
            b.g1 = machine.in(graph.node(group.add).inputs[0], layout);
            b.g2 = machine.in(graph.node(group.add).inputs[1], layout);
        } else {
            b.g1 = machine.in(relu.inputs[1], layout);
        }
        const bool needed_again = graph.consumers()[static_cast<size_t>(relu.outputs[0].index)].size() > 1;
        if (needed_again) b.dy_out = machine.out(relu.outputs[0], layout);
    } else {
        b.g1 = machine.in(norm.inputs[4], layout);
    }
    b.diff_src = machine.out(norm.outputs[0], layout);
    b.diff_gamma = machine.out(norm.outputs[1]);
    b.diff_beta = machine.out(norm.outputs[2]);
    std::vector<int> reads{b.src, b.gamma, b.mean, b.inverse_deviation, b.g1};
    std::vector<int> writes{b.diff_src, b.diff_gamma, b.diff_beta};
    for (const int slot : {b.g2, b.z}) {
        if (slot >= 0) reads.push_back(slot);
    }
    if (b.dy_out >= 0) writes.push_back(b.dy_out);
    const std::string kernel =
        std::string(group.add >= 0 ? "add+" : "") + (group.relu >= 0 ? "relu+" : "") + "norm backward";
    machine.add(
        norm, Kind::norm, std::move(reads), std::move(writes),
        [&machine, b](const RunContext&) {
            parallel_for(b.map.groups, 1, [&](int64_t begin, int64_t end) {
                for (int64_t g = begin; g < end; ++g) backward_group(machine, b, g);
                if (b.stream) finish_streaming();
            });
        },
        kernel);
}

template <>
void lower(Machine& machine, const Node& node, const BatchNorm&) {
    (void)machine;
    (void)node;
    ENMESH_ASSERT(false && "batch norms are lowered as groups");
}

template <>
void lower(Machine& machine, const Node& node, const BatchNormBackward&) {
    (void)machine;
    (void)node;
    ENMESH_ASSERT(false && "batch norms are lowered as groups");
}

}  // namespace enmesh::cpu
