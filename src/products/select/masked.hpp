#pragma once

#include "products/kernels.hpp"

namespace enmesh::products {

/// `dense`, planned for filled_in(problem), behind the interface of the N:M problem.
std::unique_ptr<Product> make_masked(const Problem& problem, std::unique_ptr<Product> dense);

/// A dense kernel's decline and make functions for dense and N:M problems: of these it fills the zeros in.
template <auto decline>
std::string decline_filled_in(const Problem& problem, const MicroKernels& micro) {
    return decline(filled_in(problem), micro);
}
template <auto make>
std::unique_ptr<Product> make_filled_in(const Problem& problem, const MicroKernels& micro) {
    if (problem.dense()) return make(problem, micro);
    return make_masked(problem, make(filled_in(problem), micro));
}

}  // namespace enmesh::products
