#pragma once

#include "products/kernels.hpp"

namespace enmesh::products {

/// The problem as a dense kernel sees it once the zeros are filled in.
Problem filled_in(const Problem& problem);
/// `dense`, planned for filled_in(problem), behind the interface of the N:M problem.
std::unique_ptr<Product> make_masked(const Problem& problem, std::unique_ptr<Product> dense);

/// A dense kernel's list entry for N:M problems.
template <auto decline, auto make>
constexpr KernelEntry masked(std::string_view name, bool whole_vectors = false) {
    return {
        name,
        [](const Problem& problem, const MicroKernels& micro) { return decline(filled_in(problem), micro); },
        [](const Problem& problem, const MicroKernels& micro) {
            return make_masked(problem, make(filled_in(problem), micro));
        },
        whole_vectors};
}

}  // namespace enmesh::products
