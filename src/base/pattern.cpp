#include "enmesh/base/pattern.hpp"

#include <bit>
#include <charconv>

#include "enmesh/base/error.hpp"

namespace enmesh {

int Pattern::index_bits() const { return m <= 1 ? 0 : std::bit_width(static_cast<unsigned>(m - 1)); }

std::string to_string(Pattern pattern) { return fmt::format("{}:{}", pattern.n, pattern.m); }

void check_pattern(Pattern pattern) {
    if (pattern.m > Pattern::max_m)
        refuse("pattern {}: M may be at most {}", to_string(pattern), Pattern::max_m);
    if (pattern.n < 1) refuse("pattern {}: N must be at least 1", to_string(pattern));
    if (pattern.n >= pattern.m) refuse("pattern {}: N must be smaller than M", to_string(pattern));
}

Pattern parse_pattern(std::string_view text) {
    Pattern pattern;
    const char* const end = text.data() + text.size();
    const auto [colon, first_error] = std::from_chars(text.data(), end, pattern.n);
    const bool has_colon = first_error == std::errc{} && colon != end && *colon == ':';
    if (!has_colon) refuse("pattern '{}' is not of the form N:M, such as 2:8", text);
    const auto [rest, second_error] = std::from_chars(colon + 1, end, pattern.m);
    if (second_error != std::errc{} || rest != end)
        refuse("pattern '{}' is not of the form N:M, such as 2:8", text);
    check_pattern(pattern);
    return pattern;
}

}  // namespace enmesh
