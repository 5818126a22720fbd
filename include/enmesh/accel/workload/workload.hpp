#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/base/pattern.hpp"
#include "enmesh/graph/operation.hpp"

/// What an accelerator model sees of a training step: its matrix products and its vector work, as plain
/// values.
namespace enmesh::accel {

using enmesh::Stage;

/// An operand of C[m × n] = A[m × k] · B[k × n].
enum class Operand : uint8_t { none, a, b };

/// The convolution behind a product, as the forward pass sees it (one group; `images` is the batch). The GEMM
/// view:
///   FF: A = im2col(src), B = weights:          m = images·out_height·out_width, n = out_channels,
///                                              k = in_channels·R·S
///   BP: A = im2col(diff_dst), B = weights:     m = images·in_height·in_width, n = in_channels,
///                                              k = out_channels·R·S
///   WG: A = diff_dst transposed, B = im2col(src): m = out_channels, n = in_channels·R·S,
///                                              k = images·out_height·out_width
struct ConvGeometry {
    int64_t images = 1;
    int64_t in_channels = 1, in_height = 1, in_width = 1;
    int64_t out_channels = 1, out_height = 1, out_width = 1;
    int64_t kernel_height = 1, kernel_width = 1;
    int64_t stride_height = 1, stride_width = 1;
    int64_t pad_top = 0, pad_left = 0;
    int64_t dilation_height = 1, dilation_width = 1;

    friend bool operator==(const ConvGeometry&, const ConvGeometry&) = default;
};

/// `batch` equal products C[m × n] = A[m × k] · B[k × n] of one layer and stage. Convolutions reduce in (r,
/// s, c) order.
struct Product {
    std::string layer;
    Stage stage = Stage::FF;
    int64_t m = 0, n = 0, k = 0;
    int64_t batch = 1;                      ///< equal products: groups, heads × images
    std::optional<ConvGeometry> conv = {};  ///< absent for a plain matrix product
    Operand sparse = Operand::none;         ///< which operand is N:M along k
    Pattern pattern = {};                   ///< meaningful unless sparse == none
    bool b_is_parameter =
        false;  ///< B holds trained weights, so that its packed form can be made at the weight update
    int bytes_per_a = 2, bytes_per_b = 2, bytes_per_output = 2;
    int64_t position = 0;  ///< place in the step's order, shared by products, vector operations and updates

    bool is_sparse() const { return sparse != Operand::none; }
};

/// One dense piece of a product: for the BP of a strided convolution one phase of the input grid, otherwise
/// the whole. Zeros that a stride inserts belong to no phase: they are neither multiplied nor counted.
struct Phase {
    int64_t rows = 0;         ///< rows of A and C in this phase (the product's m if there is one phase)
    int64_t taps_height = 1;  ///< kernel rows that meet this phase
    int64_t taps_width = 1;   ///< kernel columns that meet this phase
    int64_t channels = 0;     ///< reduction length per tap
    int64_t out_rows = 0;     ///< output rows per image (1 for a plain product)
    int64_t out_cols = 0;     ///< output columns per image
    int64_t count = 1;        ///< how many phases of this very shape

    int64_t taps() const { return taps_height * taps_width; }
    int64_t k() const { return taps() * channels; }
    friend bool operator==(const Phase&, const Phase&) = default;
};

/// The phases of a product; those without work are left out. Σ count·rows covers every output that receives a
/// product.
std::vector<Phase> phases(const Product& product);

/// Multiply-adds that contribute to the result, over the whole batch: no inserted zeros, no padding to the
/// array's size, and of an N:M operand only the kept elements (a tail of fewer than M elements is dense).
int64_t useful_multiply_adds(const Product& product);

/// The same with every element of the sparse operand counted.
int64_t dense_multiply_adds(const Product& product);

/// Refuses non-positive sizes, an impossible pattern, or m, n, k that contradict the geometry, naming layer
/// and stage.
void check(const Product& product);

/// Element-wise work between products; what an element costs is the row `kind` of the vector engine's table
/// (wuve.hpp).
struct VectorOp {
    std::string kind;
    std::string layer;
    Stage stage = Stage::FF;
    int64_t elements = 0;
    int64_t position = 0;
    int64_t rounds = 1;  ///< how often the lanes go over every element
};

/// The weight update of one parameter, a rows × cols matrix (output × input channels) at each of `repeats`
/// kernel positions.
struct Update {
    std::string kind;  ///< the optimizer's row of the vector engine's table
    std::string layer;
    int64_t rows = 0, cols = 0, repeats = 1;
    Pattern pattern;          ///< of the packed forms; {0, 0} if none
    bool along_cols = false;  ///< FF wants the weights packed along the input channels
    bool along_rows = false;  ///< BP along the output channels
    int64_t position = 0;

    int directions() const { return (along_cols ? 1 : 0) + (along_rows ? 1 : 0); }
};

/// A training step as an accelerator sees it, in the order of execution within each list.
struct Workload {
    std::string name;    ///< the network
    std::string method;  ///< the recipe ("dense", "bdwp", …); "" if unknown
    int64_t images = 1;  ///< batch size of the step
    std::vector<Product> products;
    std::vector<VectorOp> vector_ops;
    std::vector<Update> updates;
    /// Of a position in the step's order, the positions whose results it reads (reshapes and packing passed
    /// through). Empty if unknown: then everything waits for what stands before it.
    std::map<int64_t, std::vector<int64_t>> needs = {};
};

/// Refuses a workload without any work and checks every product.
void check(const Workload& workload);

/// The FF, BP and WG products of a convolution (without `bp` for a first layer).
std::vector<Product> training_products(const std::string& layer, const ConvGeometry& conv,
                                       bool with_bp = true);

}  // namespace enmesh::accel
