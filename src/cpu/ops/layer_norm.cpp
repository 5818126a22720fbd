#include <algorithm>
#include <cmath>

#include "cpu/ops/runs.hpp"

namespace enmesh::cpu {

template <>
void lower(Machine& machine, const Node& node, const LayerNorm& op) {
    const int src = machine.in_plain(node.inputs[0]);
    const int gamma = machine.slot_of(node.inputs[1]), beta = machine.slot_of(node.inputs[2]);
    const int dst = machine.out(node.outputs[0]), mean = machine.out(node.outputs[1]),
              deviation = machine.out(node.outputs[2]);
    const Shape shape = machine.slot(src).type.shape;
    const int64_t rows = row_count(shape), length = shape[-1];
    const double epsilon = op.epsilon;
    machine.add(node, Kind::norm, {src, gamma, beta}, {dst, mean, deviation},
                [&machine, src, gamma, beta, dst, mean, deviation, rows, length, epsilon](const RunContext&) {
                    const float *const g = machine.f32(gamma), *const b = machine.f32(beta);
                    parallel_for(rows, 16, [&](int64_t begin, int64_t end) {
                        for (int64_t row = begin; row < end; ++row) {
                            const float* const x = machine.f32(src) + row * length;
                            float* const y = machine.f32(dst) + row * length;
                            const double centre = simd().sum(x, length) / static_cast<double>(length);
                            const float centre_f = static_cast<float>(centre);
                            for (int64_t i = 0; i < length; ++i) y[i] = x[i] - centre_f;
                            const double variance =
                                simd().sum_squares(y, length) / static_cast<double>(length);
                            const float inverse = static_cast<float>(1.0 / std::sqrt(variance + epsilon));
                            for (int64_t i = 0; i < length; ++i) y[i] = y[i] * inverse * g[i] + b[i];
                            machine.f32(mean)[row] = centre_f;
                            machine.f32(deviation)[row] = inverse;
                        }
                    });
                });
}

template <>
void lower(Machine& machine, const Node& node, const LayerNormBackward&) {
    const int src = machine.in_plain(node.inputs[0]), gamma = machine.slot_of(node.inputs[1]);
    const int mean = machine.slot_of(node.inputs[2]), deviation = machine.slot_of(node.inputs[3]);
    const int diff_dst = machine.in_plain(node.inputs[4]);
    const int diff_src = machine.out(node.outputs[0]), diff_gamma = machine.out(node.outputs[1]);
    const int diff_beta = machine.out(node.outputs[2]);
    const Shape shape = machine.slot(src).type.shape;
    const int64_t rows = row_count(shape), length = shape[-1];
    // Partial sums of a fixed number of row shares, added in order: the same bits for any number of threads.
    constexpr int parts = 16;
    const size_t partial = machine.book(static_cast<size_t>(2 * parts * length) * sizeof(float));
    machine.add(node, Kind::norm, {src, gamma, mean, deviation, diff_dst}, {diff_src, diff_gamma, diff_beta},
                [&machine, src, gamma, mean, deviation, diff_dst, diff_src, diff_gamma, diff_beta, rows,
                 length, partial](const RunContext&) {
                    float* const sums = reinterpret_cast<float*>(machine.workspace(partial));
                    const float* const g = machine.f32(gamma);
                    parallel_for(parts, 1, [&](int64_t first_part, int64_t last_part) {
                        for (int64_t part = first_part; part < last_part; ++part) {
                            float *const dg = sums + 2 * part * length, *const db = dg + length;
                            std::fill(dg, dg + 2 * length, 0.0F);
                            const auto [begin, end] = share(rows, static_cast<int>(part), parts);
                            for (int64_t row = begin; row < end; ++row) {
                                const float* const x = machine.f32(src) + row * length;
                                const float* const dy = machine.f32(diff_dst) + row * length;
                                float* const dx = machine.f32(diff_src) + row * length;
                                const float centre = machine.f32(mean)[row],
                                            inverse = machine.f32(deviation)[row];
                                double sum = 0, product = 0;
                                for (int64_t i = 0; i < length; ++i) {
                                    const float normal = (x[i] - centre) * inverse, scaled = dy[i] * g[i];
                                    dg[i] += dy[i] * normal;
                                    db[i] += dy[i];
                                    sum += static_cast<double>(scaled);
                                    product += static_cast<double>(scaled * normal);
                                }
                                const float a = static_cast<float>(sum / static_cast<double>(length));
                                const float b = static_cast<float>(product / static_cast<double>(length));
                                for (int64_t i = 0; i < length; ++i) {
                                    dx[i] = inverse * (dy[i] * g[i] - a - (x[i] - centre) * inverse * b);
                                }
                            }
                        }
                    });
                    float *const dg = machine.f32(diff_gamma), *const db = machine.f32(diff_beta);
                    std::fill(dg, dg + length, 0.0F);
                    std::fill(db, db + length, 0.0F);
                    for (int part = 0; part < parts; ++part) {
                        simd().accumulate(sums + 2 * part * length, dg, length);
                        simd().accumulate(sums + (2 * part + 1) * length, db, length);
                    }
                });
}

}  // namespace enmesh::cpu
