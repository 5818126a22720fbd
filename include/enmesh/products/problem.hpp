#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "enmesh/base/pattern.hpp"
#include "enmesh/base/strided_phases.hpp"

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
    /// The two axes: rows of the maps and columns.
    WindowAxis down() const { return {h, out_h(), r, stride_h, pad_top, dilation_h}; }
    WindowAxis across() const { return {w, out_w(), s, stride_w, pad_left, dilation_w}; }
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

/// Which operand of the product is sparse. It must be grouped along that product's reduction.
enum class Operand {
    none,      ///< a dense product
    weights,   ///< FF: groups of input channels; BP: groups of output channels
    diff_dst,  ///< BP: groups of output channels at one position (SDGP); WG: groups of positions (MVUE)
};

/// One operand is N:M, in the compact form of packed.hpp.
struct NmOperand {
    Operand operand = Operand::weights;
    Pattern pattern{};
    friend bool operator==(const NmOperand&, const NmOperand&) = default;
};
/// What is sparse in a product. A new kind is a new alternative: the compiler then names each place that
/// must know it.
using Sparsity = std::variant<std::monostate, NmOperand>;

/// Where the elements of feature maps and of their gradients lie. `block` is Problem::block.
enum class Lanes : uint8_t {
    images,    ///< `block` images in the vector lanes: element (n, c, h, w) at
               ///< `((n / b * C + c) * H * W + h * W + w) * b + n % b`; b divides N, and b = 1 is NCHW
    channels,  ///< `block` channels in the lanes: element (n, c, h, w) at
               ///< `((n * C / b + c / b) * H * W + h * W + w) * b + c % b` (oneDNN's nChw8c, nChw16c)
    rows,      ///< the row-major matrices of a linear layer: its dense weights are read where they lie
    plain,     ///< NCHW, for a library's kernels; ours read it as images with block 1
    any,       ///< as the kernel likes it best: Product::src_bytes() and dst_bytes() say how large
};

/// How numbers are stored.
enum class Number : uint8_t { f32, bf16 };

/// What the product reads and writes. `a` is the first map it reads (src; diff_dst of BP), `b` the weights or,
/// in WG, diff_dst. Dense weights and compact operands are handed over in float32 in any case: with b = bf16
/// prepare() rounds them to nearest, ties to even.
struct Numbers {
    Number a = Number::f32, b = Number::f32, out = Number::f32;
    friend bool operator==(const Numbers&, const Numbers&) = default;
};
constexpr Numbers bf16_numbers{Number::bf16, Number::bf16, Number::f32};

/// What is asked of a product.
struct Problem {
    Conv conv;
    Stage stage = Stage::ff;
    Sparsity sparsity{};
    int block = 1;
    Lanes lanes = Lanes::images;
    bool plain_src = false;  ///< src is NCHW although the other map has channels in the lanes
    Numbers numbers{};

    friend bool operator==(const Problem&, const Problem&) = default;

    bool dense() const { return std::holds_alternative<std::monostate>(sparsity); }
    const NmOperand* nm() const { return std::get_if<NmOperand>(&sparsity); }
    /// The sparse operand.
    Operand sparse() const { return dense() ? Operand::none : nm()->operand; }
    /// Its pattern; {} of a dense product.
    Pattern pattern() const { return dense() ? Pattern{} : nm()->pattern; }
    /// Whether its maps have one pixel and its window one tap: matrices of rows.
    bool linear() const;
    /// Output channels of this product's row operand: K for FF, C for BP.
    int64_t rows() const { return stage == Stage::bp ? conv.c : conv.k; }
    /// Channels that one output sums over: C / groups for FF, K / groups for BP.
    int64_t reduction() const { return (stage == Stage::bp ? conv.k : conv.c) / conv.groups; }
    /// Multiply-adds really done: N/M of the groups plus the dense tail of the reduction.
    double multiply_adds() const;
};

/// Refuses an impossible Conv, a block that does not divide n, a bad pattern, and FF with a sparse diff_dst.
void check(const Problem& problem);
/// "FF n128 c64 h32 w32 k64 r3 s3 weights 2:8 b8"; after the block what differs from images in the lanes and
/// float32: "channels", "rows", "plain", "any", "plain src", "bf16".
std::string to_string(const Problem& problem);
/// The problem's name in kernel plans and caches: to_string() of a product with images in the lanes, otherwise
/// "oneDNN FF n128 c64 … dense b1" or "bf16 FF n128 c64 … weights 2:8 b1", as every plan so far has it.
std::string plan_key(const Problem& problem);
/// The same product with its sparse operand's zeros filled in.
Problem filled_in(const Problem& problem);

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
