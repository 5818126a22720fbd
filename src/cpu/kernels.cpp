#include "enmesh/cpu/kernels.hpp"

#include "cpu/onednn_kernels.hpp"

namespace enmesh::cpu {

const products::KernelList& product_kernels() {
    static const products::KernelList list = [] {
        products::KernelList made{onednn_winograd(), onednn_direct(), onednn_gemm()};
        const products::KernelList& ours = products::product_kernels();
        made.insert(made.end(), ours.begin(), ours.end());
        return made;
    }();
    return list;
}

products::Conv geometry(const Conv2d& op, const Shape& src, const Shape& weights) {
    return {.n = src[0],
            .c = src[1],
            .h = src[2],
            .w = src[3],
            .k = weights[0],
            .r = weights[2],
            .s = weights[3],
            .stride_h = op.stride[0],
            .stride_w = op.stride[1],
            .pad_top = op.padding[0],
            .pad_left = op.padding[1],
            .pad_bottom = op.padding[2],
            .pad_right = op.padding[3],
            .dilation_h = op.dilation[0],
            .dilation_w = op.dilation[1],
            .groups = op.groups};
}

}  // namespace enmesh::cpu
