#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace enmesh {

/// N:M sparsity: of every `m` consecutive elements along the reduction axis, `n` are kept. 1 <= n < m <= 16.
struct Pattern {
    static constexpr int max_m = 16;

    int n = 0;
    int m = 0;

    friend auto operator<=>(const Pattern&, const Pattern&) = default;

    double density() const { return static_cast<double>(n) / m; }
    /// Bits that name one position in a group: ceil(log2 m).
    int index_bits() const;
};

/// Reads "2:8". Refuses n < 1, n >= m and m > 16, saying which.
Pattern parse_pattern(std::string_view text);
/// Refuses an impossible pattern with the same words as parse_pattern.
void check_pattern(Pattern pattern);
std::string to_string(Pattern pattern);

}  // namespace enmesh
