#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace enmesh::data {

/// The bytes of a file in order; gzip (recognised by its first two bytes) is expanded. Damage is refused by
/// name.
class ByteReader {
  public:
    explicit ByteReader(const std::filesystem::path& path);
    ByteReader(std::string name, std::string contents);
    ~ByteReader();
    ByteReader(const ByteReader&) = delete;
    ByteReader& operator=(const ByteReader&) = delete;

    /// Fills `dst` as far as the contents reach; returns the bytes written.
    size_t read(std::span<uint8_t> dst);
    /// No more bytes than this can still come: what a size in a header is checked against before memory is
    /// taken.
    size_t remaining_bound() const;
    bool at_end();
    const std::string& name() const { return name_; }

  private:
    struct Inflater;
    size_t inflate_some(std::span<uint8_t> dst);

    std::string name_;
    std::string contents_;
    size_t position_ = 0;  ///< of the plain contents
    std::unique_ptr<Inflater> inflater_;
};

}  // namespace enmesh::data
