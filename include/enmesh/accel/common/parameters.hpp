#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// The table of a machine's parameters: TOML in and out, single settings and documentation follow from it.
namespace enmesh::accel {

/// One documented key of a configuration, bound to the field that it sets.
struct Parameter {
    std::string key;  ///< "section.name"; of a part of a mixed machine "machine.section.name"
    std::string unit;
    std::string about;
    std::string origin;  ///< "published: …" or "ours: …"
    std::variant<int*, int64_t*, double*, bool*, std::string*> field;
    double least = 0, most = 0;        ///< of numbers
    std::vector<std::string> choices;  ///< of strings; empty for any
    bool or_file = false;              ///< of strings: the path of a file as well as one of the choices
    std::string owner = {};  ///< the machine that a key of a mixed machine begins with; "" otherwise

    /// The key as the machine itself calls it: without its owner.
    std::string own_key() const { return owner.empty() ? key : key.substr(owner.size() + 1); }
    /// What stands behind the last dot.
    std::string short_name() const { return key.substr(key.rfind('.') + 1); }
    /// Whether its value is a file that the machine reads.
    bool names_file() const;
};

/// Applies a TOML text. Refuses unknown keys (naming the nearest), wrong types and values out of range,
/// naming file and line.
void apply_toml(std::span<const Parameter> parameters, std::string_view toml, const std::string& file);

/// Applies "key=value", where the key is "section.name" or, if that is unambiguous, "name". Of a mixed
/// machine the keys of an engine begin with its name; without it they are refused with those that they may
/// mean. The mixed machine's own keys, "mixed.wg", have no owner: "wg" is enough.
/// Refusals begin with `where` (an option of the command line, say).
void apply_setting(std::span<const Parameter> parameters, std::string_view setting,
                   std::string_view where = {});

/// The parameters that a full or short key means; more than one if it is ambiguous.
std::vector<const Parameter*> parameters_named(std::span<const Parameter> parameters, std::string_view key);

/// Refuses a key that means none of them, naming the nearest (or one of `more`), or whose machine is missing.
[[noreturn]] void refuse_unknown_key(std::span<const Parameter> parameters, const std::string& key,
                                     std::string_view where, std::vector<std::string> more = {});

/// The configuration as commented TOML that apply_toml reads back.
std::string to_toml(std::span<const Parameter> parameters);

/// The file (if any), then the settings, over what the fields hold.
void configure(std::span<const Parameter> parameters, const std::string& file,
               std::span<const std::string> settings, std::string_view where = {});

}  // namespace enmesh::accel
