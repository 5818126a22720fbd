#include "accel/common/toml_reader.hpp"

#include <algorithm>
#include <cmath>

#include "enmesh/base/error.hpp"

namespace enmesh::accel {

toml::table parse_toml(std::string_view text, const std::string& file) {
    try {
        return toml::parse(text, file);
    } catch (const toml::parse_error& error) {
        refuse("{}:{}:{}: {}", file, error.source().begin.line, error.source().begin.column,
               error.description());
    }
}

std::string toml_string(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        const auto code = static_cast<unsigned char>(c);
        if (code < 0x20 || code == 0x7f) {
            quoted += fmt::format("\\u{:04x}", code);
            continue;
        }
        if (c == '"' || c == '\\') quoted += '\\';
        quoted += c;
    }
    return quoted + '"';
}

TomlReader::TomlReader(const toml::table& table, std::string where, const std::vector<std::string>& keys,
                       const std::vector<std::string>& optional_keys)
    : table_(table), where_(std::move(where)) {
    std::vector<std::string> known = keys;
    known.insert(known.end(), optional_keys.begin(), optional_keys.end());
    for (const auto& [name, node] : table) {
        const std::string key(name.str());
        if (std::find(known.begin(), known.end(), key) == known.end())
            refuse("{}{}: unknown key '{}'{}", where_, line_of(name), key, suggestion(key, known));
    }
    for (const std::string& key : keys) {
        if (!table.contains(key)) refuse("{}: key '{}' is missing", where_, key);
    }
}

std::string TomlReader::line_of(const toml::key& key) const {
    const bool whole_file = table_.source().path != nullptr && where_ == *table_.source().path;
    return whole_file ? fmt::format(":{}", key.source().begin.line) : "";
}

int64_t TomlReader::whole(const char* key) const {
    const auto value = table_[key].value_exact<int64_t>();
    if (!value) refuse("{}: {} must be a whole number", where_, key);
    return *value;
}

int TomlReader::small(const char* key) const {
    const int64_t value = whole(key);
    if (value < 0 || value > 1000000) refuse("{}: {} = {} is absurd", where_, key, value);
    return static_cast<int>(value);
}

double TomlReader::not_negative(const char* key, double most) const {
    const auto value = table_[key].value<double>();
    if (!value || !std::isfinite(*value) || *value < 0)
        refuse("{}: {} must be a number that is not negative", where_, key);
    if (*value > most) refuse("{}: {} = {:g} is absurd: more than {:g}", where_, key, *value, most);
    return *value;
}

bool TomlReader::flag(const char* key) const {
    const auto value = table_[key].value_exact<bool>();
    if (!value) refuse("{}: {} must be true or false", where_, key);
    return *value;
}

std::string TomlReader::text(const char* key) const {
    const auto value = table_[key].value_exact<std::string>();
    if (!value) refuse("{}: {} must be a string", where_, key);
    return *value;
}

size_t TomlReader::choice(const char* key, const std::vector<std::string>& names) const {
    const std::string value = text(key);
    const auto found = std::find(names.begin(), names.end(), value);
    if (found == names.end())
        refuse("{}: {} = '{}' is unknown{}", where_, key, value, suggestion(value, names));
    return static_cast<size_t>(found - names.begin());
}

const toml::array& TomlReader::array(const char* key) const {
    const toml::array* const list = table_[key].as_array();
    if (list == nullptr) refuse("{}: {} must be an array", where_, key);
    return *list;
}

const toml::table& TomlReader::table(const std::string& key) const {
    const toml::table* const inner = table_[key].as_table();
    if (inner == nullptr) refuse("{}: [{}] must be a table", where_, key);
    return *inner;
}

}  // namespace enmesh::accel
