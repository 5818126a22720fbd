#include "data/byte_reader.hpp"

#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"

namespace enmesh::data {
namespace {

// Deflate codes at most 258 bytes in 2 bits (zlib's technical notes: 1032:1).
constexpr size_t largest_expansion = 1032;

}  // namespace

struct ByteReader::Inflater {
    z_stream stream{};
    bool ended = false;

    Inflater() {
        if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) fail("zlib cannot be initialised");
    }
    ~Inflater() { inflateEnd(&stream); }
    Inflater(const Inflater&) = delete;
    Inflater& operator=(const Inflater&) = delete;
};

ByteReader::ByteReader(const std::filesystem::path& path) : ByteReader(path.string(), read_file(path)) {}

ByteReader::ByteReader(std::string name, std::string contents)
    : name_(std::move(name)), contents_(std::move(contents)) {
    if (!contents_.starts_with("\x1f\x8b")) return;
    inflater_ = std::make_unique<Inflater>();
    inflater_->stream.next_in = reinterpret_cast<Bytef*>(contents_.data());
}

ByteReader::~ByteReader() = default;

size_t ByteReader::read(std::span<uint8_t> dst) {
    if (!inflater_) {
        const size_t bytes = std::min(dst.size(), contents_.size() - position_);
        if (bytes > 0) std::memcpy(dst.data(), contents_.data() + position_, bytes);
        position_ += bytes;
        return bytes;
    }
    size_t done = 0;
    while (done < dst.size()) {
        const size_t got = inflate_some(dst.subspan(done));
        if (got == 0) break;
        done += got;
    }
    return done;
}

size_t ByteReader::inflate_some(std::span<uint8_t> dst) {
    z_stream& stream = inflater_->stream;
    const size_t wanted = std::min<size_t>(dst.size(), 1U << 30);
    stream.next_out = dst.data();
    stream.avail_out = static_cast<uInt>(wanted);
    while (!inflater_->ended && stream.avail_out == wanted) {
        const size_t left = contents_.size() - position_;
        stream.avail_in = static_cast<uInt>(std::min<size_t>(left, 1U << 30));
        const uInt offered = stream.avail_in;
        const int status = inflate(&stream, Z_NO_FLUSH);
        position_ += offered - stream.avail_in;
        if (status == Z_STREAM_END) {
            if (position_ != contents_.size()) {
                refuse("{}: {} bytes follow the end of the gzip data; remove them or fetch the file again",
                       name_, contents_.size() - position_);
            }
            inflater_->ended = true;
        } else if (status == Z_BUF_ERROR ||
                   (status == Z_OK && stream.avail_in == 0 && stream.avail_out == wanted)) {
            refuse("{}: the gzip data is truncated; fetch the file again", name_);
        } else if (status != Z_OK) {
            refuse("{}: the gzip data is damaged ({}); fetch the file again", name_,
                   stream.msg != nullptr ? stream.msg : "no reason given");
        }
    }
    return wanted - stream.avail_out;
}

size_t ByteReader::remaining_bound() const {
    const size_t left = contents_.size() - position_;
    return inflater_ ? (left + 64) * largest_expansion : left;
}

bool ByteReader::at_end() {
    if (!inflater_) return position_ == contents_.size();
    uint8_t byte = 0;
    return read({&byte, 1}) == 0;
}

}  // namespace enmesh::data
