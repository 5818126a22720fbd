#include "enmesh/graph/attributes.hpp"

#include <fmt/core.h>

namespace enmesh {

std::string attribute_text(bool value) { return value ? "true" : "false"; }
std::string attribute_text(int64_t value) { return fmt::format("{}", value); }
std::string attribute_text(uint64_t value) { return fmt::format("{}", value); }
std::string attribute_text(double value) { return fmt::format("{}", value); }
std::string attribute_text(const std::string& value) { return value; }
std::string attribute_text(const Shape& value) { return to_string(value); }
std::string attribute_text(Pattern value) { return to_string(value); }

std::string attribute_text(GroupAxis value) {
    std::string text = to_string(value);
    for (char& c : text) c = c == ' ' ? '_' : c;
    return text;
}

std::string attribute_text(const std::vector<int64_t>& value) {
    std::string text;
    for (const int64_t item : value) text += (text.empty() ? "" : ",") + std::to_string(item);
    return text;
}

}  // namespace enmesh
