#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/base/isa.hpp"
#include "enmesh/products/product.hpp"

namespace enmesh::products {

struct PlanOptions {
    Isa isa = enmesh::isa();  ///< at most what the processor has
    bool bias = false;        ///< whether FF will be run with a bias; libraries plan for it
};

/// What a kernel is for a problem that it accepts.
struct Properties {
    bool skips_zeros = false;       ///< does not multiply the zeros of an N:M operand
    bool baseline_vectors = false;  ///< runs on the baseline's vectors where the processor has wider ones
    bool oracle = false;            ///< the reference: correct, slow, chosen where nothing else serves
    bool bits_depend_on_threads = false;  ///< results may differ in the last bits with the number of threads
    bool transforms = false;              ///< sums in a transformed domain (Winograd), which costs digits
};

/// One entry of the list of product kernels. `concerns` says for which kinds of products it is a candidate at
/// all (stage, sparsity, lanes, numbers), `declines` why it cannot serve one of those: a shape, a switched-off
/// feature, a missing instruction.
struct Kernel {
    std::string name;
    std::string library = {};  ///< whose it is: "oneDNN"; empty: ours
    std::function<bool(const Problem&)> concerns;
    /// Empty if it can serve the problem.
    std::function<std::string(const Problem&, const PlanOptions&)> declines;
    /// For a problem that it does not decline.
    std::function<std::unique_ptr<Product>(const Problem&, const PlanOptions&)> plan;
    std::function<Properties(const Problem&, const PlanOptions&)> properties =
        [](const Problem&, const PlanOptions&) { return Properties{}; };
    /// Its name in kernel plans for this problem, where that is not `name`.
    std::function<std::string(const Problem&, const PlanOptions&)> planned_as = {};
};

/// Kernels in the order in which they are registered. default_order() makes it the order of preference.
using KernelList = std::vector<Kernel>;

/// The kernels of this library alone: no oneDNN. enmesh::cpu adds that (cpu/kernels.hpp).
const KernelList& product_kernels();

/// The kernels that a problem concerns, the preferred first, accepting or not: what skips zeros before what
/// fills them in, among equals as registered; what runs on the baseline's vectors where there are wider ones
/// behind all that does not; the reference last.
std::vector<const Kernel*> default_order(const KernelList& list, const Problem& problem,
                                         const PlanOptions& options = {});
/// Those of them that do not decline.
std::vector<const Kernel*> accepting(const KernelList& list, const Problem& problem,
                                     const PlanOptions& options = {});
/// The kernel's name in kernel plans.
std::string planned_name(const Kernel& kernel, const Problem& problem, const PlanOptions& options = {});
/// The kernel of `kernels` that a plan means by `name`, or null. "permuted bf16 avx512" is also found where
/// this processor would call it "permuted bf16 avx512_bf16": the first word is the kernel's name.
const Kernel* find_planned(const std::vector<const Kernel*>& kernels, std::string_view name,
                           const Problem& problem, const PlanOptions& options = {});

/// A kernel that can serve the problem, or the reason why it cannot.
struct Candidate {
    std::string name;      ///< as plans name it
    std::string declined;  ///< empty if it accepts
};

/// default_order() with reasons.
std::vector<Candidate> candidates(const KernelList& list, const Problem& problem,
                                  const PlanOptions& options = {});
std::vector<Candidate> candidates(const Problem& problem, const PlanOptions& options = {});

/// Plans with the named kernel (as a plan names it), or with the first that accepts if the name is empty.
/// Refuses an unknown name and one that declines. ENMESH_VERBOSE=dispatch prints one line per decline and one
/// for the choice to standard error.
std::unique_ptr<Product> plan(const KernelList& list, const Problem& problem, std::string_view kernel = {},
                              const PlanOptions& options = {});
std::unique_ptr<Product> plan(const Problem& problem, std::string_view kernel = {},
                              const PlanOptions& options = {});

/// False where ENMESH_WINOGRAD=0 rules Winograd out: ours and oneDNN's alike.
bool winograd_allowed();

/// Whether ENMESH_VERBOSE asks for "dispatch".
bool verbose_dispatch();
/// Then one message to the log (base/log.hpp) about what serves `product`, or why something does not.
void say_dispatch(const std::string& product, const std::string& what);

}  // namespace enmesh::products
