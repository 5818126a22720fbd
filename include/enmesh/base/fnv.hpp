#pragma once

#include <cstdint>
#include <string_view>

namespace enmesh {

/// FNV-1a of the bytes, 64 bits: equal on every machine and with every standard library, unlike std::hash.
/// `before` goes on from the hash of what came before. It finds changes; it withstands no forger.
constexpr uint64_t fnv1a(std::string_view bytes, uint64_t before = 0xcbf29ce484222325ULL) {
    for (const char byte : bytes) before = (before ^ static_cast<unsigned char>(byte)) * 0x100000001b3ULL;
    return before;
}

}  // namespace enmesh
