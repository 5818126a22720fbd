#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/base/isa.hpp"
#include "enmesh/products/packed.hpp"
#include "enmesh/products/problem.hpp"

namespace enmesh::products {

/// What is done to FF's sums before they are stored: + bias[k], then max(0, x).
struct Epilogue {
    const float* bias = nullptr;
    bool relu = false;
};

/// The operands of one run, in the caller's memory. Maps are in the problem's block.
struct Arguments {
    const float* src = nullptr;                   ///< FF, WG
    const float* diff_dst = nullptr;              ///< BP, WG, unless it is the sparse operand
    const PackedView* packed_diff_dst = nullptr;  ///< BP, WG, when it is (pack_diff_dst in select.hpp)
    std::span<const std::byte> prepared;          ///< FF, BP: what prepare() wrote
    float* out = nullptr;                         ///< dst, diff_src, or diff_weights (KCRS); overwritten
    Epilogue epilogue;                            ///< FF only
    std::span<std::byte> workspace;  ///< workspace_bytes(), 64-byte aligned; contents need not survive
};

/// One product planned for one shape by one kernel. Planning allocates; prepare() and run() do not. A Product
/// is immutable: several may share a workspace, and one may run for many prepared weights. The bits of a
/// result depend neither on the number of threads nor on the run.
class Product {
  public:
    explicit Product(const Problem& problem) : problem_(problem) {}
    virtual ~Product() = default;
    Product(const Product&) = delete;
    Product& operator=(const Product&) = delete;

    const Problem& problem() const { return problem_; }
    /// The name under which kernels() lists it.
    virtual std::string_view kernel() const = 0;
    /// Whether N:M weights are multiplied with their zeros filled in: nothing is skipped.
    virtual bool filled_in() const { return false; }

    /// Booked for the thread count at planning time; running with more threads uses that many only.
    virtual size_t workspace_bytes() const = 0;
    /// Size of the kernel's own form of the weights; 0 for WG.
    virtual size_t prepared_bytes() const = 0;
    /// Writes the kernel's form of compact weights (sparse == Operand::weights); once per weight update.
    virtual void prepare(const PackedView& weights, std::span<std::byte> prepared) const;
    /// The same from dense KCRS weights (sparse != Operand::weights).
    virtual void prepare(std::span<const float> weights, std::span<std::byte> prepared) const;
    virtual void run(const Arguments& arguments) const = 0;

  private:
    Problem problem_;
};

struct PlanOptions {
    Isa isa = enmesh::isa();  ///< at most what the processor has
};

/// A kernel that can serve the problem, or the reason why it cannot.
struct Candidate {
    std::string name;
    std::string declined;  ///< empty if it accepts
};

/// False where ENMESH_WINOGRAD=0 rules Winograd out: ours and oneDNN's alike.
bool winograd_allowed();

/// Every kernel of the problem's product in default order, the reference last (it never declines).
std::vector<Candidate> candidates(const Problem& problem, const PlanOptions& options = {});

/// Plans with the named kernel, or with the first that accepts if the name is empty. Refuses an unknown name
/// and one that declines. ENMESH_VERBOSE=dispatch prints one line per decline and one for the choice to
/// standard error.
std::unique_ptr<Product> plan(const Problem& problem, std::string_view kernel = {},
                              const PlanOptions& options = {});

}  // namespace enmesh::products
