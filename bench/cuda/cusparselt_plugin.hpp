#pragma once

#include <cstddef>
#include <cstdint>

/// cuSPARSELt stands in a shared library of its own, which the program opens if it is beside it: without
/// cuSPARSELt the rest runs. Only C types pass between the two.
namespace enmesh::cuda {

/// dst[cols][rows] = src[cols][depth] · weights[rows][depth]ᵀ, weights 2:4 along the depth with their zeros.
struct CusparseltProduct {
    const void *pruned, *src;
    void* dst;
    int64_t rows, cols, depth;
    bool bf16;
};

/// Functions return 0, or 1 after writing a message.
struct CusparseltApi {
    int version;  ///< of cuSPARSELt: 10000 major + 100 minor + patch
    /// Compresses the weights and searches the fastest algorithm; null after writing a message.
    void* (*create)(const CusparseltProduct* product, char* message, size_t size);
    int (*run)(void* product, char* message, size_t size);
    int (*compress)(void* product, char* message, size_t size);  ///< enqueues the compression again
    void (*destroy)(void* product);
};

constexpr const char* cusparselt_library = "libstc_cusparselt.so";
constexpr const char* cusparselt_symbol = "enmesh_cusparselt";
using CusparseltFunction = const CusparseltApi* (*)();

}  // namespace enmesh::cuda
