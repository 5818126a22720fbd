#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "enmesh/base/buffer.hpp"
#include "enmesh/base/pattern.hpp"
#include "enmesh/tensor/safetensors.hpp"
#include "enmesh/tensor/shape.hpp"

namespace enmesh {

// Compact forms of N:M weights for files and for sparse tensor cores (docs/pack.md). Weights are
// [K][C][positions...]: groups run along C at a fixed output and position. Packing and unpacking move bits,
// so that what is unpacked equals what was packed to the last bit; an element is zero when its bits are, so
// that -0 counts as a value.

enum class PackedLayout {
    nm,         ///< any N:M: the N values of each group and ceil(log2 M) bits of index for each
    nv24,       ///< 2:4 (F32: 1:2), one nibble of metadata for four columns (F32: two), row by row
    cutlass24,  ///< the same values, metadata words in the order that CUTLASS's sm80 sparse instructions load
                ///< them
};
std::string to_string(PackedLayout layout);
PackedLayout parse_packed_layout(std::string_view name);

/// `dense` says what the tensor was. Values keep its dtype.
struct PackedWeights {
    TensorHeader dense;
    PackedLayout layout = PackedLayout::nm;
    Pattern pattern{};
    TensorHeader values;  ///< named NAME.values
    Buffer value_data;
    TensorHeader indices;  ///< NAME.indices (nm, U8) or NAME.metadata (I16, for I8 weights I32)
    Buffer index_data;

    size_t bytes() const { return value_data.bytes() + index_data.bytes(); }
};

/// "" or why no layout takes the tensor, whatever it holds: its dtype, its shape.
std::string why_never_packable(const TensorHeader& dense);
/// "" if the tensor can be packed so; otherwise the reason in a few words ("a group of 4 holds 3 values,
/// first at …").
std::string why_not_packable(const TensorHeader& dense, std::span<const std::byte> data, PackedLayout layout,
                             Pattern pattern);
/// The pattern that stores the tensor in the fewest bytes in layout nm; nullopt if none is smaller than
/// dense.
std::optional<Pattern> detect_pattern(const TensorHeader& dense, std::span<const std::byte> data);
/// The pattern that nv24 and cutlass24 hold: 1:2 for F32, 2:4 for the others.
Pattern tensor_core_pattern(std::string_view dtype);

/// Refuses, naming the tensor, what why_not_packable() objects to.
PackedWeights pack_weights(const TensorHeader& dense, std::span<const std::byte> data, PackedLayout layout,
                           Pattern pattern);
/// The dense tensor. Refuses sizes, indices and padding that pack_weights() would not have written.
NamedTensor unpack_weights(const PackedWeights& packed);

/// Metadata of a quad whose non-zeros are `mask` (bit i = column i): the low two bits are the first kept
/// column, the high two the second. Quads of fewer than two non-zeros keep zeros beside them; of more than
/// two, two are chosen and the others lost, which is why pack_weights() refuses them.
uint8_t quad_nibble(unsigned mask);
/// Where word (row, column) of a metadata matrix of `rows` rows lies in the order of cutlass24. `word_bytes`
/// is 2 or 4.
int64_t cutlass_offset(int64_t row, int64_t column, int64_t rows, int word_bytes);

/// Files: what enmesh pack writes and enmesh unpack reads. The metadata key `enmesh.packed` is a JSON object
/// that names each packed tensor with its layout, pattern, dtype and shape; other tensors are kept as they
/// are.
constexpr std::string_view packed_metadata_key = "enmesh.packed";
/// Refuses a packed file, where dense weights are wanted.
void require_unpacked(const SafetensorsReader& file, const std::filesystem::path& path);
std::string packed_metadata(std::span<const PackedWeights> packed);
/// Every packed tensor unpacked, the others as they are; refuses a file that was not packed or is
/// inconsistent.
SafetensorsFile unpack_file(const std::string& path);

}  // namespace enmesh
