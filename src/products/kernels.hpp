#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/products/kernel.hpp"
#include "products/micro/micro.hpp"

namespace enmesh::products {

/// A kernel that runs on MicroKernels: one line of the list in kernels.cpp.
struct KernelEntry {
    std::string_view name;
    /// For which products it is a candidate.
    bool (*concerns)(const Problem&);
    /// Why it cannot serve this problem; empty if it can.
    std::string (*decline)(const Problem&, const MicroKernels&);
    std::unique_ptr<Product> (*make)(const Problem&, const MicroKernels&);
    /// Whether it skips the zeros of this problem's sparse operand.
    bool (*skips_zeros)(const Problem&);
    /// Its vectors hold images and nothing else: narrower ones serve a block that does not fill the widest.
    bool whole_vectors = false;
    bool transforms = false;  ///< see Properties
};

/// The entries that a problem concerns, as registered.
std::vector<KernelEntry> kernel_list(const Problem& problem);

const MicroKernels& micro_kernels(Isa isa);
/// The widest up to `isa` whose vectors an image block fills; those of `isa` where there is none.
const MicroKernels& micro_kernels_filled_by(int block, Isa isa);

// The implementations, one file each.
std::unique_ptr<Product> make_reference(const Problem&, const MicroKernels&);
std::string decline_broadcast(const Problem&, const MicroKernels&);
std::unique_ptr<Product> make_broadcast(const Problem&, const MicroKernels&);
std::string decline_dense(const Problem&, const MicroKernels&);
std::unique_ptr<Product> make_dense(const Problem&, const MicroKernels&);

std::string decline_outer(const Problem&, const MicroKernels&);
std::unique_ptr<Product> make_outer(const Problem&, const MicroKernels&);
std::string decline_winograd(const Problem&, const MicroKernels&);
std::unique_ptr<Product> make_winograd(const Problem&, const MicroKernels&);

std::string decline_kept(const Problem&, const MicroKernels&);
std::unique_ptr<Product> make_kept(const Problem&, const MicroKernels&);
std::string decline_kept_rows(const Problem&, const MicroKernels&);
std::unique_ptr<Product> make_kept_rows(const Problem&, const MicroKernels&);

/// The one that runs on loops of its own (permuted/permuted.hpp).
Kernel permuted_kernel();

/// Throws if the span is smaller than it must be: our callers' mistake, caught before it corrupts memory.
void require_bytes(std::span<const std::byte> span, size_t bytes, const char* what);

}  // namespace enmesh::products
