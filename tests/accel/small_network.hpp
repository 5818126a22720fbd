#pragma once

#include <string>
#include <utility>

#include "enmesh/accel/workload/workload.hpp"

namespace enmesh::accel {

inline ConvGeometry conv(int64_t images, int64_t channels, int64_t size, int64_t filters, int64_t kernel,
                         int64_t stride, int64_t pad, int64_t dilation = 1) {
    ConvGeometry c;
    c.images = images;
    c.in_channels = channels;
    c.in_height = c.in_width = size;
    c.out_channels = filters;
    c.kernel_height = c.kernel_width = kernel;
    c.stride_height = c.stride_width = stride;
    c.pad_top = c.pad_left = pad;
    c.dilation_height = c.dilation_width = dilation;
    c.out_height = c.out_width = (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
    return c;
}
/// Padded so that stride 1 keeps the size.
inline ConvGeometry conv(int64_t images, int64_t channels, int64_t size, int64_t filters, int64_t kernel,
                         int64_t stride) {
    return conv(images, channels, size, filters, kernel, stride, kernel / 2);
}

inline Workload small_network() {
    Workload w;
    w.name = "small";
    w.images = 4;
    for (const auto& [name, geometry] : {std::pair{"conv1", conv(4, 3, 16, 16, 3, 1)},
                                         {"conv2", conv(4, 16, 16, 32, 3, 2)},
                                         {"conv3", conv(4, 32, 8, 32, 1, 1)}}) {
        for (Product& p : training_products(name, geometry, std::string(name) != "conv1"))
            w.products.push_back(p);
    }
    w.vector_ops.push_back({"batch_norm_forward", "bn1", Stage::FF, 4 * 16 * 16 * 16, 0});
    w.updates.push_back({"sgd_momentum_update", "conv2.weight", 32, 16, 9, {}, false, false, 100});
    return w;
}

inline void make_sparse(Workload& w, Pattern pattern) {
    for (Product& p : w.products) {
        if (p.layer == "conv1" || p.stage == Stage::WG) continue;
        p.sparse = Operand::b;
        p.pattern = pattern;
    }
    w.updates[0].pattern = pattern;
    w.updates[0].along_cols = w.updates[0].along_rows = true;
}

}  // namespace enmesh::accel
