#pragma once

#include <cstdint>
#include <string>

#include "enmesh/base/pattern.hpp"

namespace enmesh::products {

/// The three products of a layer: FF (forward), BP (data gradient), WG (weight gradient).
enum class Stage { ff, bp, wg };
std::string to_string(Stage stage);

/// Geometry of a convolution in NCHW letters. `k` output channels, an r x s window; weights are KCRS, that is
/// [k][c / groups][r][s]. A linear layer is linear(rows, c, k).
struct Conv {
    int64_t n = 1, c = 1, h = 1, w = 1, k = 1, r = 1, s = 1;
    int64_t stride_h = 1, stride_w = 1;
    int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
    int64_t dilation_h = 1, dilation_w = 1;
    int64_t groups = 1;

    friend bool operator==(const Conv&, const Conv&) = default;

    int64_t out_h() const { return (h + pad_top + pad_bottom - (r - 1) * dilation_h - 1) / stride_h + 1; }
    int64_t out_w() const { return (w + pad_left + pad_right - (s - 1) * dilation_w - 1) / stride_w + 1; }
    int64_t taps() const { return r * s; }
    int64_t src_size() const { return n * c * h * w; }
    int64_t dst_size() const { return n * k * out_h() * out_w(); }
    int64_t weights_size() const { return k * (c / groups) * r * s; }
    /// Multiply-adds of the dense product, padding included (the same for FF, BP and WG).
    double multiply_adds() const {
        const int64_t of_one_output = c / groups * r * s;
        return static_cast<double>(dst_size()) * static_cast<double>(of_one_output);
    }
};

/// A linear layer on row-major matrices: src[rows][c] -> dst[rows][k], as a 1x1 convolution on 1x1 maps in
/// block 1.
Conv linear(int64_t rows, int64_t c, int64_t k);
/// Refuses sizes below one, groups that do not divide the channels, and windows larger than the padded image.
void check(const Conv& conv);
/// "n128 c64 h32 w32 k64 r3 s3 p1": what is at its default is left out.
std::string to_string(const Conv& conv);

/// Which operand of the product is N:M. It must be grouped along that product's reduction.
enum class Operand {
    none,      ///< a dense product
    weights,   ///< FF: groups of input channels; BP: groups of output channels
    diff_dst,  ///< BP: groups of output channels at one position (SDGP); WG: groups of positions (MVUE)
};

/// What is asked of a product.
///
/// Feature maps and their gradients are *batch-blocked*: element (n, c, h, w) of a map lies at
/// `((n / b * C + c) * H * W + h * W + w) * b + n % b`, b = block, which divides N. b = 1 is NCHW.
struct Problem {
    Conv conv;
    Stage stage = Stage::ff;
    Operand sparse = Operand::none;
    Pattern pattern{};  ///< of the sparse operand; ignored when it is none
    int block = 1;

    friend bool operator==(const Problem&, const Problem&) = default;

    /// Output channels of this product's row operand: K for FF, C for BP.
    int64_t rows() const { return stage == Stage::bp ? conv.c : conv.k; }
    /// Channels that one output sums over: C / groups for FF, K / groups for BP.
    int64_t reduction() const { return (stage == Stage::bp ? conv.k : conv.c) / conv.groups; }
    /// Multiply-adds really done: N/M of the groups plus the dense tail of the reduction.
    double multiply_adds() const;
};

/// Refuses an impossible Conv, a block that does not divide n, a bad pattern, and FF with a sparse diff_dst.
void check(const Problem& problem);
std::string to_string(const Problem& problem);

/// Where element (n, c, pixel) lies in a batch-blocked map with C channels of `area` = H * W pixels.
inline int64_t blocked_index(int64_t n, int64_t c, int64_t pixel, int64_t channels, int64_t area,
                             int64_t block) {
    return ((n / block * channels + c) * area + pixel) * block + n % block;
}

/// The block that our kernels like best for n images: as many as a vector has lanes (8 or 16; a larger block
/// would use half of each cache line at a time), or the largest half of that which divides n.
int best_block(int64_t n);

/// Rewrites a map of n images, `channels` channels and `area` pixels from one block to another (1 = NCHW).
void reblock(const float* from, int from_block, float* to, int to_block, int64_t n, int64_t channels,
             int64_t area);

}  // namespace enmesh::products
