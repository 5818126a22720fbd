#include "data/tar.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include "data/byte_reader.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"

namespace enmesh::data {
namespace {

// POSIX.1-1988 ustar: headers and contents in blocks of 512 bytes.
constexpr size_t block_bytes = 512;
using Block = std::array<uint8_t, block_bytes>;

std::string_view field(const Block& block, size_t offset, size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(block.data()) + offset, size);
    return text.substr(0, text.find('\0'));
}

uint64_t octal(const ByteReader& reader, const Block& block, size_t offset, size_t size) {
    uint64_t value = 0;
    for (const char c : field(block, offset, size)) {
        if (c == ' ') continue;
        if (c < '0' || c > '7') refuse("{}: damaged archive (a number that is not octal)", reader.name());
        value = value * 8 + static_cast<uint64_t>(c - '0');
    }
    return value;
}

void check_header(const ByteReader& reader, const Block& block) {
    uint64_t sum = 0;
    for (size_t i = 0; i < block_bytes; ++i) sum += i >= 148 && i < 156 ? uint64_t{' '} : block[i];
    if (sum != octal(reader, block, 148, 8))
        refuse("{}: damaged archive (wrong header checksum)", reader.name());
}

/// Copies the member's contents to `file` (nullptr: skips them) and skips the padding of its last block.
void copy_member(ByteReader& reader, uint64_t bytes, AtomicFile* file) {
    std::vector<uint8_t> chunk(size_t{1} << 16);
    const uint64_t padded = (bytes + block_bytes - 1) / block_bytes * block_bytes;
    for (uint64_t done = 0; done < padded;) {
        const size_t wanted = static_cast<size_t>(std::min<uint64_t>(chunk.size(), padded - done));
        const size_t got = reader.read(std::span(chunk).first(wanted));
        if (got != wanted) refuse("{}: the archive is truncated", reader.name());
        if (file != nullptr && done < bytes)
            file->write(chunk.data(), static_cast<size_t>(std::min<uint64_t>(got, bytes - done)));
        done += got;
    }
}

}  // namespace

void unpack(const std::filesystem::path& archive, std::span<const std::string> names,
            const std::filesystem::path& directory) {
    ByteReader reader(archive);
    std::vector<std::unique_ptr<AtomicFile>> files;
    std::set<std::string> missing(names.begin(), names.end());
    Block block{};
    for (;;) {
        const size_t got = reader.read(block);
        const bool zeros = std::all_of(block.begin(), block.end(), [](uint8_t byte) { return byte == 0; });
        if (got == 0 || (got == block_bytes && zeros)) break;
        if (got != block_bytes) refuse("{}: the archive is truncated", reader.name());
        check_header(reader, block);
        const uint64_t bytes = octal(reader, block, 124, 12);
        if (bytes > uint64_t{1} << 40)
            refuse("{}: damaged archive (a file of {} bytes)", reader.name(), bytes);
        const std::string name = std::filesystem::path(field(block, 0, 100)).filename().string();
        const bool regular = block[156] == '0' || block[156] == 0;
        AtomicFile* file = nullptr;
        if (regular && missing.erase(name) == 1) {
            file = files.emplace_back(std::make_unique<AtomicFile>(directory / name)).get();
        }
        copy_member(reader, bytes, file);
    }
    if (!missing.empty()) refuse("{}: the archive has no {}", reader.name(), *missing.begin());
    for (const auto& file : files) file->commit();
}

}  // namespace enmesh::data
