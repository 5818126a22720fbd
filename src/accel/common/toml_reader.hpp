#pragma once

#include <toml++/toml.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// What the readers and writers of TOML files have in common; for .cpp files only.
namespace enmesh::accel {

/// Refuses a text that is not TOML, naming file, line and column.
toml::table parse_toml(std::string_view text, const std::string& file);

/// A basic string with its quotes, which reads back as `text`.
std::string toml_string(std::string_view text);

/// A table that must hold certain keys and no others; refusals begin with `where`.
class TomlReader {
  public:
    TomlReader(const toml::table& table, std::string where, const std::vector<std::string>& keys,
               const std::vector<std::string>& optional_keys = {});

    int64_t whole(const char* key) const;
    int small(const char* key) const;
    double not_negative(const char* key, double most) const;
    bool flag(const char* key) const;
    std::string text(const char* key) const;
    /// The place of the value among `names`.
    size_t choice(const char* key, const std::vector<std::string>& names) const;
    const toml::array& array(const char* key) const;
    const toml::table& table(const std::string& key) const;
    const std::string& where() const { return where_; }

  private:
    /// ":3" where `where_` is the file alone, else the line is in it already.
    std::string line_of(const toml::key& key) const;

    const toml::table& table_;
    std::string where_;
};

}  // namespace enmesh::accel
