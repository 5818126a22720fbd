#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "enmesh/products/packed.hpp"
#include "enmesh/products/problem.hpp"

namespace enmesh::products {

/// What is done to FF's sums before they are stored: + bias[k], then max(0, x).
struct Epilogue {
    const float* bias = nullptr;
    bool relu = false;
};

/// The operands of one run, in the caller's memory. Maps lie as the problem says; a map that it has in
/// bfloat16 is handed over by its 16 bits, as src_bf16 or diff_dst_bf16.
struct Arguments {
    const float* src = nullptr;                   ///< FF, WG
    const float* diff_dst = nullptr;              ///< BP, WG, unless it is the sparse operand
    const PackedView* packed_diff_dst = nullptr;  ///< BP, WG, when it is (pack_diff_dst in select.hpp)
    std::span<const std::byte> prepared;          ///< FF, BP: what prepare() wrote
    /// FF, BP of a product that reads dense weights where they lie: KCRS, instead of `prepared`.
    const float* weights = nullptr;
    float* out = nullptr;            ///< dst, diff_src, or diff_weights (KCRS); overwritten
    Epilogue epilogue;               ///< FF only
    std::span<std::byte> workspace;  ///< workspace_bytes(), 64-byte aligned; contents need not survive
    const uint16_t* src_bf16 = nullptr;
    const uint16_t* diff_dst_bf16 = nullptr;
};

/// One product planned for one shape by one kernel. Planning allocates; prepare() and run() of our own kernels
/// do not. Several products may share a workspace, and one may run for many prepared weights, one run at a
/// time. The bits of a result depend neither on the run nor, unless Properties::bits_depend_on_threads says
/// so, on the number of threads.
class Product {
  public:
    explicit Product(const Problem& problem) : problem_(problem) {}
    virtual ~Product() = default;
    Product(const Product&) = delete;
    Product& operator=(const Product&) = delete;

    const Problem& problem() const { return problem_; }
    /// Its name in kernel plans.
    virtual std::string_view kernel() const = 0;
    /// What serves it, for reports: kernel(), or the implementation that a library picked.
    virtual std::string description() const { return std::string(kernel()); }
    /// Whether N:M weights are multiplied with their zeros filled in: nothing is skipped.
    virtual bool filled_in() const { return false; }

    /// Booked for the thread count at planning time; running with more threads uses that many only.
    virtual size_t workspace_bytes() const = 0;
    /// Size of the kernel's own form of the weights; 0 for WG and where weights_in_place().
    virtual size_t prepared_bytes() const = 0;
    /// Whether it reads dense weights where they lie (Arguments::weights): nothing is prepared.
    virtual bool weights_in_place() const { return false; }
    /// Whether prepare() takes N:M weights in dense form, zeros filled in by the caller (unpack_weights).
    virtual bool prepares_dense() const { return false; }
    /// Bytes of the maps on either side.
    virtual size_t src_bytes() const;
    virtual size_t dst_bytes() const;
    /// Writes the kernel's form of compact weights (sparse() == Operand::weights); once per weight update.
    virtual void prepare(const PackedView& weights, std::span<std::byte> prepared) const;
    /// The same from dense KCRS weights (sparse() != Operand::weights, or prepares_dense()).
    virtual void prepare(std::span<const float> weights, std::span<std::byte> prepared) const;
    virtual void run(const Arguments& arguments) const = 0;

  private:
    Problem problem_;
};

}  // namespace enmesh::products
