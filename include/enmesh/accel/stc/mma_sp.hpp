#pragma once

#include <cstdint>
#include <span>
#include <string>

/// The matrix instruction of a Sparse Tensor Core (PTX `mma.sp`), value by value.
namespace enmesh::accel {

/// Types of A and B. A step of the instruction covers k = 16 or 32 elements of A's dense form in FP16 and
/// BF16 (m16n8), 32 or 64 in INT8.
enum class MmaType : uint8_t { f16, bf16, i8 };
std::string to_string(MmaType type);

/// D[m × n] = A[m × k] · B[k × n] + C. A is 2:4 along k: of every four consecutive elements two are stored.
struct MmaShape {
    int m = 16, n = 8, k = 32;
    friend bool operator==(const MmaShape&, const MmaShape&) = default;
};

/// The operands as bits, row-major. `a` is [m][k / 2]; `metadata` has one nibble a quad, [m][k / 4], one to a
/// byte: the place of the quad's first stored element in bits 0-1, of its second in bits 2-3, first below
/// second (sparsity/codec.hpp packs the same nibbles). `b` is [k][n].
struct MmaOperands {
    std::span<const uint16_t> a, b;
    std::span<const uint8_t> metadata;
};

/// FP16 or BF16 operands: products are exact in binary64 and are added there in ascending k to C, the sum is
/// rounded once to binary32. (NVIDIA leaves order and intermediate rounding open; ours is stated so that it
/// can be reproduced.) `c` becomes D, [m][n]. Refuses a k that is no multiple of 16, wrong sizes and metadata
/// that no hardware accepts, naming row and quad.
void mma_sp(MmaType type, const MmaShape& shape, const MmaOperands& operands, std::span<float> c);
/// INT8 operands, sums in INT32 that wrap around.
void mma_sp(const MmaShape& shape, std::span<const int8_t> a, std::span<const uint8_t> metadata,
            std::span<const int8_t> b, std::span<int32_t> c);

}  // namespace enmesh::accel
