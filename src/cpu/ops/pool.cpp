#include <algorithm>

#include "cpu/ops/runs.hpp"

namespace enmesh::cpu {
namespace {

/// Both layouts are planes of H x W pixels of `block` lanes each; pools work plane by plane.
struct Planes {
    int64_t count = 0, h = 0, w = 0, oh = 0, ow = 0;
    int block = 1;

    Planes(const Shape& src, const Shape& dst, Layout layout)
        : count(src[0] * src[1] / layout.block),
          h(src[2]),
          w(src[3]),
          oh(dst[2]),
          ow(dst[3]),
          block(layout.block) {}
    int64_t src_plane() const { return h * w * block; }
    int64_t dst_plane() const { return oh * ow * block; }
};

/// The part of a window that lies inside the image.
struct Window {
    int64_t top, left, r_begin, r_end, s_begin, s_end;

    Window(const PoolWindow& p, const Planes& planes, int64_t y, int64_t x)
        : top(y * p.stride[0] - p.padding[0]),
          left(x * p.stride[1] - p.padding[1]),
          r_begin(std::max<int64_t>(0, -top)),
          r_end(std::min(p.kernel[0], planes.h - top)),
          s_begin(std::max<int64_t>(0, -left)),
          s_end(std::min(p.kernel[1], planes.w - left)) {}
};

template <typename Body>
void over_windows(const PoolWindow& pool, const Planes& planes, const Body& body) {
    parallel_for(planes.count, 1, [&](int64_t begin, int64_t end) {
        for (int64_t plane = begin; plane < end; ++plane) {
            for (int64_t y = 0; y < planes.oh; ++y) {
                for (int64_t x = 0; x < planes.ow; ++x)
                    body(plane, y * planes.ow + x, Window(pool, planes, y, x));
            }
        }
    });
}

/// Elements an average divides by.
float divisor(const PoolWindow& pool, const Planes& planes, const Window& w, bool count_padding) {
    if (!count_padding) return static_cast<float>((w.r_end - w.r_begin) * (w.s_end - w.s_begin));
    // A window hanging over the padded edge (ceil) counts only what lies within the padding.
    const int64_t rows = std::min(pool.kernel[0], planes.h + pool.padding[2] - w.top);
    const int64_t cols = std::min(pool.kernel[1], planes.w + pool.padding[3] - w.left);
    return static_cast<float>(rows * cols);
}

PoolPlane plane_of(const PoolWindow& pool, const Planes& p) {
    return {p.h,
            p.w,
            p.oh,
            p.ow,
            pool.kernel[0],
            pool.kernel[1],
            pool.stride[0],
            pool.stride[1],
            pool.padding[0],
            pool.padding[1],
            p.block};
}

}  // namespace

template <>
void lower(Machine& machine, const Node& node, const MaxPool2d& op) {
    const int src = machine.slot_of(node.inputs[0]);
    const Layout layout = machine.slot(src).layout;
    const int dst = machine.out(node.outputs[0], layout), places = machine.out(node.outputs[1], layout);
    const Planes planes(machine.slot(src).type.shape, machine.slot(dst).type.shape, layout);
    const PoolWindow pool = op.window;
    const PoolPlane plane = plane_of(pool, planes);
    machine.add(node, Kind::other, {src}, {dst, places},
                [&machine, src, dst, places, planes, plane](const RunContext&) {
                    parallel_for(planes.count, 1, [&](int64_t begin, int64_t end) {
                        for (int64_t i = begin; i < end; ++i) {
                            simd().max_pool(
                                plane, machine.f32(src) + i * planes.src_plane(),
                                machine.f32(dst) + i * planes.dst_plane(),
                                static_cast<uint8_t*>(machine.data(places)) + i * planes.dst_plane());
                        }
                    });
                });
}

template <>
void lower(Machine& machine, const Node& node, const MaxPool2dBackward& op) {
    const int places = machine.slot_of(node.inputs[1]);
    const Layout layout = machine.slot(places).layout;
    const int diff_dst = machine.in(node.inputs[0], layout);
    const int diff_src = machine.out(node.outputs[0], layout);
    const Planes planes(op.src, machine.slot(diff_dst).type.shape, layout);
    const PoolPlane plane = plane_of(op.window, planes);
    machine.add(node, Kind::other, {diff_dst, places}, {diff_src},
                [&machine, diff_dst, places, diff_src, planes, plane](const RunContext&) {
                    parallel_for(planes.count, 1, [&](int64_t begin, int64_t end) {
                        for (int64_t i = begin; i < end; ++i) {
                            simd().max_pool_backward(
                                plane, machine.f32(diff_dst) + i * planes.dst_plane(),
                                static_cast<const uint8_t*>(machine.data(places)) + i * planes.dst_plane(),
                                machine.f32(diff_src) + i * planes.src_plane());
                        }
                    });
                });
}

template <>
void lower(Machine& machine, const Node& node, const AveragePool2d& op) {
    const int src = machine.slot_of(node.inputs[0]);
    const Layout layout = machine.slot(src).layout;
    const int dst = machine.out(node.outputs[0], layout);
    const Planes planes(machine.slot(src).type.shape, machine.slot(dst).type.shape, layout);
    const PoolWindow pool = op.window;
    const bool count_padding = op.count_padding;
    machine.add(
        node, Kind::other, {src}, {dst},
        [&machine, src, dst, planes, pool, count_padding](const RunContext&) {
            over_windows(pool, planes, [&](int64_t plane, int64_t pixel, const Window& w) {
                const float* const from = machine.f32(src) + plane * planes.src_plane();
                float* const mean = machine.f32(dst) + plane * planes.dst_plane() + pixel * planes.block;
                for (int l = 0; l < planes.block; ++l) mean[l] = 0;
                for (int64_t r = w.r_begin; r < w.r_end; ++r) {
                    for (int64_t s = w.s_begin; s < w.s_end; ++s) {
                        const float* const x = from + ((w.top + r) * planes.w + w.left + s) * planes.block;
                        for (int l = 0; l < planes.block; ++l) mean[l] += x[l];
                    }
                }
                const float inverse = 1.0F / divisor(pool, planes, w, count_padding);
                for (int l = 0; l < planes.block; ++l) mean[l] *= inverse;
            });
        });
}

template <>
void lower(Machine& machine, const Node& node, const AveragePool2dBackward& op) {
    const Layout layout = machine.slot(machine.slot_of(node.inputs[0])).layout;
    const int diff_dst = machine.slot_of(node.inputs[0]);
    const int diff_src = machine.out(node.outputs[0], layout);
    const Planes planes(op.src, machine.slot(diff_dst).type.shape, layout);
    const PoolWindow pool = op.window;
    const bool count_padding = op.count_padding;
    machine.add(node, Kind::other, {diff_dst}, {diff_src},
                [&machine, diff_dst, diff_src, planes, pool, count_padding](const RunContext&) {
                    parallel_for(planes.count, 1, [&](int64_t begin, int64_t end) {
                        float* const dx = machine.f32(diff_src);
                        std::fill(dx + begin * planes.src_plane(), dx + end * planes.src_plane(), 0.0F);
                    });
                    over_windows(pool, planes, [&](int64_t plane, int64_t pixel, const Window& w) {
                        float* const to = machine.f32(diff_src) + plane * planes.src_plane();
                        const float* const dy =
                            machine.f32(diff_dst) + plane * planes.dst_plane() + pixel * planes.block;
                        const float inverse = 1.0F / divisor(pool, planes, w, count_padding);
                        for (int64_t r = w.r_begin; r < w.r_end; ++r) {
                            for (int64_t s = w.s_begin; s < w.s_end; ++s) {
                                float* const x = to + ((w.top + r) * planes.w + w.left + s) * planes.block;
                                for (int l = 0; l < planes.block; ++l) x[l] += dy[l] * inverse;
                            }
                        }
                    });
                });
}

template <>
void lower(Machine& machine, const Node& node, const GlobalAveragePool&) {
    const int src = machine.slot_of(node.inputs[0]);
    const Layout layout = machine.slot(src).layout;
    const int dst = machine.out(node.outputs[0]);
    const MapRuns map = map_runs(machine.slot(src).type.shape, layout);
    machine.add(node, Kind::other, {src}, {dst}, [&machine, src, dst, map, layout](const RunContext&) {
        const int block = layout.block;
        parallel_for(map.groups * map.runs, 16, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
                const int64_t g = i % map.groups, r = i / map.groups;
                const float* const x = machine.f32(src) + g * map.group_stride + r * map.run_stride;
                double sum[lanes] = {};
                for (int64_t p = 0; p < map.pixels; ++p) {
                    for (int l = 0; l < block; ++l) sum[l] += static_cast<double>(x[p * block + l]);
                }
                for (int l = 0; l < block; ++l) {
                    const bool images = layout.lanes == Layout::Lanes::images;
                    const int64_t n = images ? r * block + l : r, c = images ? g : g * block + l;
                    machine.f32(dst)[n * map.channels + c] =
                        static_cast<float>(sum[l] / static_cast<double>(map.pixels));
                }
            }
        });
    });
}

template <>
void lower(Machine& machine, const Node& node, const GlobalAveragePoolBackward& op) {
    const int diff_dst = machine.in_plain(node.inputs[0]);
    const Layout layout = machine.map_layout();
    const int diff_src = machine.out(node.outputs[0], layout);
    const MapRuns map = map_runs(op.src, layout);
    machine.add(node, Kind::other, {diff_dst}, {diff_src},
                [&machine, diff_dst, diff_src, map, layout](const RunContext&) {
                    const int block = layout.block;
                    const float inverse = 1.0F / static_cast<float>(map.pixels);
                    parallel_for(map.groups * map.runs, 16, [&](int64_t begin, int64_t end) {
                        for (int64_t i = begin; i < end; ++i) {
                            const int64_t g = i % map.groups, r = i / map.groups;
                            float* const x =
                                machine.f32(diff_src) + g * map.group_stride + r * map.run_stride;
                            float value[lanes];
                            for (int l = 0; l < block; ++l) {
                                const bool images = layout.lanes == Layout::Lanes::images;
                                const int64_t n = images ? r * block + l : r, c = images ? g : g * block + l;
                                value[l] = machine.f32(diff_dst)[n * map.channels + c] * inverse;
                            }
                            for (int64_t p = 0; p < map.pixels; ++p) {
                                for (int l = 0; l < block; ++l) x[p * block + l] = value[l];
                            }
                        }
                    });
                });
}

}  // namespace enmesh::cpu
