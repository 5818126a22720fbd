#pragma once

#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"
#include "support/folder.hpp"

namespace enmesh::data {

namespace fs = std::filesystem;

using testing::save;
using testing::slurp;
using testing::TemporaryFolder;

inline std::string gzip(const std::string& bytes) {
    z_stream stream{};
    deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    std::string packed(deflateBound(&stream, bytes.size()), '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(bytes.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    deflate(&stream, Z_FINISH);
    packed.resize(stream.total_out);
    deflateEnd(&stream);
    return packed;
}

inline std::string big_endian(uint32_t value) {
    return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
            static_cast<char>(value)};
}

inline std::string noise(size_t bytes, uint64_t seed) {
    Random random(seed);
    std::string text(bytes, '\0');
    for (char& c : text) c = static_cast<char>(random.below(256));
    return text;
}

inline std::string idx_images(uint32_t count, uint32_t height, uint32_t width, uint64_t seed = 1) {
    return big_endian(0x803) + big_endian(count) + big_endian(height) + big_endian(width) +
           noise(size_t{count} * height * width, seed);
}

/// Labels 0, 1, …, classes - 1, 0, …
inline std::string idx_labels(uint32_t count, uint32_t classes) {
    std::string text = big_endian(0x801) + big_endian(count);
    for (uint32_t i = 0; i < count; ++i) text += static_cast<char>(i % classes);
    return text;
}

/// `count` records of the binary CIFAR versions.
inline std::string cifar_records(size_t count, int classes, size_t label_bytes, uint64_t seed = 1) {
    std::string text;
    for (size_t i = 0; i < count; ++i) {
        if (label_bytes == 2) text += static_cast<char>(i % 20);
        text += static_cast<char>(i % static_cast<size_t>(classes));
        text += noise(3072, seed + i);
    }
    return text;
}

/// The message of the Error that `body` throws, which must be of `kind` and one line.
template <typename Body>
std::string error_of(const Body& body, ErrorKind kind = ErrorKind::request) {
    try {
        body();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), kind) << error.what();
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
        return error.what();
    } catch (const std::exception& error) {
        ADD_FAILURE() << "another exception: " << error.what();
        return "";
    }
    ADD_FAILURE() << "no error";
    return "";
}

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

/// The folder of the larger data sets, or empty where there is none.
inline fs::path shared_data() {
    const char* given = std::getenv("ENMESH_SHARED_DIR");
    const fs::path folder =
        (given != nullptr ? fs::path(given) : fs::path(ENMESH_SOURCE_DIR) / ".." / "shared") / "data";
    std::error_code code;
    return fs::is_directory(folder, code) ? folder : fs::path();
}

}  // namespace enmesh::data
