#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/base/buffer.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/tensor/shape.hpp"
#include "enmesh/tensor/tensor.hpp"

namespace enmesh {

// The safetensors format: eight bytes of header length (little endian), a JSON header, the tensors' bytes
// without gaps. Files that we write depend on their content alone: tensors are stored by element size, widest
// first, then by name; the header names `__metadata__` first, then the tensors as they are stored; it is
// padded with spaces so that the bytes begin at a multiple of 64. No times, no paths.

/// What a header says of one tensor.
struct TensorHeader {
    std::string name;
    std::string dtype;  ///< the format's own name: "F32", "BF16", "F8_E4M3", …
    Shape shape;

    /// elements × bits / 8.
    size_t bytes() const;
};

/// A tensor of a file, in memory of its own.
struct NamedTensor : TensorHeader {
    Buffer data;

    /// A copy as a Tensor. Refuses a dtype that Tensor has no name for (say "F8_E4M3").
    Tensor tensor() const;
    /// Likewise, F16, BF16 and F64 as float32, to the nearest. Refuses an F64 that float32 has no number
    /// near.
    Tensor as_float32() const;
};

/// A tensor to be written; the memory stays the caller's.
struct TensorView : TensorHeader {
    const void* data = nullptr;

    TensorView() = default;
    TensorView(TensorHeader header, const void* bytes) : TensorHeader(std::move(header)), data(bytes) {}
    TensorView(std::string tensor_name, const Tensor& tensor);
    TensorView(const NamedTensor& tensor) : TensorHeader(tensor), data(tensor.data.data()) {}
};

using Metadata = std::map<std::string, std::string>;

struct SafetensorsFile {
    Metadata metadata;
    std::vector<NamedTensor> tensors;  ///< as they lie in the file

    /// The tensor of that name, or nullptr.
    const NamedTensor* find(std::string_view name) const;
};

/// The whole file. Every fault of the file is refused in one line naming the file and the tensor.
SafetensorsFile load_safetensors(const std::filesystem::path& path);
/// Writes the file whole or not at all (AtomicFile). Refuses duplicate and reserved names and unknown dtypes.
void save_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors,
                      const Metadata& metadata = {});
void save_safetensors(const std::filesystem::path& path, const SafetensorsFile& file);

/// Reads the header at once and each tensor when asked, so that a file need not fit in memory. The path may
/// also be an index of parts (`*.safetensors.index.json`, as Hugging Face writes it) or a folder with one
/// model: the parts then read as one file.
class SafetensorsReader {
  public:
    explicit SafetensorsReader(const std::filesystem::path& path);

    const Metadata& metadata() const { return metadata_; }
    /// As they lie in the file.
    std::span<const TensorHeader> tensors() const { return headers_; }
    /// The position of that name in tensors().
    std::optional<size_t> find(std::string_view name) const;

    /// `dst` must be tensors()[index].bytes() long.
    void read(size_t index, std::span<std::byte> dst) const;
    NamedTensor read(size_t index) const;

  private:
    struct File;
    struct Place {
        size_t file = 0;
        uint64_t offset = 0;  ///< of the tensor's first byte in that file
    };
    void add(const std::filesystem::path& path);

    std::vector<std::shared_ptr<const File>> files_;
    Metadata metadata_;
    std::vector<TensorHeader> headers_;
    std::vector<Place> places_;
};

/// Writes the header at once and the tensors one after the other, so that they need not be in memory
/// together.
class SafetensorsWriter {
  public:
    SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorHeader> tensors,
                      const Metadata& metadata);

    /// In the order in which write() expects them.
    std::span<const TensorHeader> tensors() const { return headers_; }
    /// The whole next tensor.
    void write(const void* data);
    /// Every tensor must have been written.
    void commit();

  private:
    AtomicFile file_;
    std::vector<TensorHeader> headers_;
    size_t next_ = 0;
};

/// Bits of one element of a dtype that the format knows; nullopt for others.
std::optional<int> safetensors_bits(std::string_view dtype);
/// "F32" for f32, …
std::string safetensors_dtype(DType dtype);
/// f32 for "F32", …; nullopt where Tensor has no such dtype.
std::optional<DType> tensor_dtype(std::string_view safetensors_dtype);

}  // namespace enmesh
