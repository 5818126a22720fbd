#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "enmesh/products/product.hpp"
#include "products/micro/micro.hpp"

namespace enmesh::products {

/// One line of the dispatch list.
struct KernelEntry {
    std::string_view name;
    /// Why it cannot serve this problem; empty if it can.
    std::string (*decline)(const Problem&, const MicroKernels&);
    std::unique_ptr<Product> (*make)(const Problem&, const MicroKernels&);
    /// Its vectors hold images and nothing else: narrower ones serve a block that does not fill the widest.
    bool whole_vectors = false;
};

/// The ordered list for a product, reference last.
std::span<const KernelEntry> kernel_list(const Problem& problem);

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

/// Throws if the span is smaller than it must be: our callers' mistake, caught before it corrupts memory.
void require_bytes(std::span<const std::byte> span, size_t bytes, const char* what);

}  // namespace enmesh::products
