#include <fmt/ranges.h>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "accel/common/toml_reader.hpp"
#include "enmesh/accel/common/parameters.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"

namespace enmesh::accel {
namespace {

std::string last_part(const std::string& key) { return key.substr(key.rfind('.') + 1); }

/// The machine that a key of a mixed machine begins with, and what follows it.
std::pair<std::string, std::string> without_owner(std::span<const Parameter> parameters,
                                                  const std::string& key) {
    for (const Parameter& parameter : parameters)
        if (!parameter.owner.empty() && key.starts_with(parameter.owner + "."))
            return {parameter.owner, key.substr(parameter.owner.size() + 1)};
    return {"", key};
}

/// Whether a parameter is called so, in full or in short, by the machine that owns it.
bool is_called(const Parameter& parameter, const std::string& own_key) {
    if (parameter.own_key() == own_key) return true;
    return own_key.find('.') == std::string::npos && parameter.short_name() == own_key;
}

/// Where a value came from: "file.toml:3: " or "--set ".
void check_range(const Parameter& parameter, double value, const std::string& where) {
    if (value >= parameter.least && value <= parameter.most) return;
    refuse("{}{} = {} is not between {} and {}{}{}", where, parameter.key, value, parameter.least,
           parameter.most, parameter.unit.empty() ? "" : " ", parameter.unit);
}

void assign_number(const Parameter& parameter, double value, const std::string& where) {
    if (!std::isfinite(value)) refuse("{}{} must be a finite number", where, parameter.key);
    check_range(parameter, value, where);
    if (double* const* real = std::get_if<double*>(&parameter.field)) {
        **real = value;
        return;
    }
    if (value != std::floor(value)) refuse("{}{} = {} must be a whole number", where, parameter.key, value);
    if (int* const* small = std::get_if<int*>(&parameter.field))
        **small = static_cast<int>(value);
    else
        *std::get<int64_t*>(parameter.field) = static_cast<int64_t>(value);
}

void assign_text(const Parameter& parameter, const std::string& value, const std::string& where) {
    if (!parameter.choices.empty() && !parameter.or_file) {
        bool known = false;
        for (const std::string& choice : parameter.choices) known = known || choice == value;
        if (!known)
            refuse("{}{} = '{}' is unknown{}", where, parameter.key, value,
                   suggestion(value, parameter.choices));
    }
    *std::get<std::string*>(parameter.field) = value;
}

bool is_number(const Parameter& parameter) {
    return std::holds_alternative<int*>(parameter.field) ||
           std::holds_alternative<int64_t*>(parameter.field) ||
           std::holds_alternative<double*>(parameter.field);
}

void assign_node(const Parameter& parameter, const toml::node& node, const std::string& where) {
    if (is_number(parameter)) {
        if (!node.is_number()) refuse("{}{} must be a number", where, parameter.key);
        assign_number(parameter, *node.value<double>(), where);
    } else if (bool* const* flag = std::get_if<bool*>(&parameter.field)) {
        if (!node.is_boolean()) refuse("{}{} must be true or false", where, parameter.key);
        **flag = *node.value<bool>();
    } else {
        if (!node.is_string()) refuse("{}{} must be a string", where, parameter.key);
        assign_text(parameter, *node.value<std::string>(), where);
    }
}

/// "a.rows or b.rows": what a key that lacks its machine may mean; "" if nothing.
std::string with_owners(std::span<const Parameter> parameters, const std::string& key, bool in_full) {
    std::vector<std::string> meant;
    for (const Parameter& parameter : parameters) {
        if (parameter.owner.empty() || !is_called(parameter, key)) continue;
        const std::string full = in_full ? parameter.key : parameter.owner + "." + key;
        if (std::find(meant.begin(), meant.end(), full) == meant.end()) meant.push_back(full);
    }
    return fmt::format("{}", fmt::join(meant, " or "));
}

/// The keys that may have been meant by an unknown one; the hundreds of the vector table only where it is.
std::vector<std::string> keys_near(std::span<const Parameter> parameters, const std::string& unknown) {
    const auto [owner, own_key] = without_owner(parameters, unknown);
    std::vector<std::string> keys;
    for (const Parameter& parameter : parameters) {
        const bool belongs = owner.empty() || parameter.owner == owner;
        if (belongs && (own_key.starts_with("vector.") || !parameter.own_key().starts_with("vector.")))
            keys.push_back(parameter.key);
    }
    return keys;
}

[[noreturn]] void refuse_unknown_file_key(std::span<const Parameter> parameters, const std::string& key,
                                          const std::string& where) {
    if (const std::string meant = with_owners(parameters, key, true); !meant.empty())
        refuse("{}key '{}' names no machine: write {}", where, key, meant);
    refuse("{}unknown key '{}'{}", where, key, suggestion(key, keys_near(parameters, key)));
}

void assign_table(std::span<const Parameter> parameters, const toml::table& table, const std::string& prefix,
                  const std::string& file) {
    for (const auto& [name, node] : table) {
        const std::string key =
            prefix.empty() ? std::string(name.str()) : fmt::format("{}.{}", prefix, name.str());
        if (const toml::table* inner = node.as_table()) {
            assign_table(parameters, *inner, key, file);
            continue;
        }
        const std::string where = fmt::format("{}:{}: ", file, name.source().begin.line);
        const Parameter* found = nullptr;
        for (const Parameter& parameter : parameters) {
            if (parameter.key == key) found = &parameter;
        }
        if (found == nullptr) refuse_unknown_file_key(parameters, key, where);
        assign_node(*found, node, where);
    }
}

std::string value_text(const Parameter& parameter) {
    if (int* const* small = std::get_if<int*>(&parameter.field)) return fmt::format("{}", **small);
    if (int64_t* const* whole = std::get_if<int64_t*>(&parameter.field)) return fmt::format("{}", **whole);
    if (double* const* real = std::get_if<double*>(&parameter.field)) return fmt::format("{:.10g}", **real);
    if (bool* const* flag = std::get_if<bool*>(&parameter.field)) return **flag ? "true" : "false";
    return toml_string(*std::get<std::string*>(parameter.field));
}

}  // namespace

void apply_toml(std::span<const Parameter> parameters, std::string_view text, const std::string& file) {
    assign_table(parameters, parse_toml(text, file), "", file);
}

bool Parameter::names_file() const {
    if (!or_file) return false;
    const std::string& value = *std::get<std::string*>(field);
    return std::find(choices.begin(), choices.end(), value) == choices.end();
}

std::vector<const Parameter*> parameters_named(std::span<const Parameter> parameters, std::string_view key) {
    const auto [owner, own_key] = without_owner(parameters, std::string(key));
    std::vector<const Parameter*> named;
    for (const Parameter& parameter : parameters) {
        if (parameter.owner != owner) continue;
        if (parameter.own_key() == own_key) return {&parameter};
        if (is_called(parameter, own_key)) named.push_back(&parameter);
    }
    return named;
}

void refuse_unknown_key(std::span<const Parameter> parameters, const std::string& key, std::string_view where,
                        std::vector<std::string> more) {
    const std::string begin = where.empty() ? "" : fmt::format("{} ", where);
    if (const std::string meant = with_owners(parameters, key, false); !meant.empty())
        refuse("{}{}: names no machine: write {}", begin, key, meant);
    std::vector<std::string> names = std::move(more);
    const bool in_full = without_owner(parameters, key).second.find('.') != std::string::npos;
    for (const std::string& name : keys_near(parameters, key)) {
        const std::string owner = without_owner(parameters, name).first;
        const std::string shorter = (owner.empty() ? "" : owner + ".") + last_part(name);
        // A short key is near short keys: those that mean one parameter.
        if (in_full)
            names.push_back(name);
        else if (parameters_named(parameters, shorter).size() == 1)
            names.push_back(shorter);
    }
    refuse("{}{}: unknown key{}", begin, key, suggestion(key, names));
}

namespace {

const Parameter& find_setting(std::span<const Parameter> parameters, const std::string& key,
                              std::string_view where) {
    const std::vector<const Parameter*> named = parameters_named(parameters, key);
    if (named.size() == 1) return *named.front();
    if (named.empty()) refuse_unknown_key(parameters, key, where);
    refuse("{}{}{}: could be {} or {}", where, where.empty() ? "" : " ", key, named[0]->key, named[1]->key);
}

}  // namespace

void apply_setting(std::span<const Parameter> parameters, std::string_view setting, std::string_view where) {
    const std::string begin = where.empty() ? "" : fmt::format("{} ", where);
    const size_t equals = setting.find('=');
    if (equals == std::string_view::npos || equals == 0)
        refuse("{}{}: is not of the form key=value", begin, setting);
    const std::string key(setting.substr(0, equals)), value(setting.substr(equals + 1));
    const Parameter& parameter = find_setting(parameters, key, where);
    if (is_number(parameter)) {
        double number = 0;
        const auto [rest, error] = std::from_chars(value.data(), value.data() + value.size(), number);
        if (error != std::errc{} || rest != value.data() + value.size())
            refuse("{}{}: '{}' is not a number", begin, parameter.key, value);
        assign_number(parameter, number, begin);
    } else if (bool* const* flag = std::get_if<bool*>(&parameter.field)) {
        const bool on = value == "true" || value == "on" || value == "1";
        if (!on && value != "false" && value != "off" && value != "0")
            refuse("{}{}: '{}' is not true or false", begin, parameter.key, value);
        **flag = on;
    } else {
        assign_text(parameter, value, begin);
    }
}

void configure(std::span<const Parameter> parameters, const std::string& file,
               std::span<const std::string> settings, std::string_view where) {
    if (!file.empty()) apply_toml(parameters, read_file(file, size_t{1} << 20), file);
    for (const std::string& setting : settings) apply_setting(parameters, setting, where);
}

std::string to_toml(std::span<const Parameter> parameters) {
    std::string text, section;
    std::set<std::string> said;  // a comment that was there for the same key elsewhere is not repeated
    for (const Parameter& parameter : parameters) {
        const size_t dot = parameter.key.rfind('.');
        if (const std::string here = parameter.key.substr(0, dot); here != section) {
            text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", here);
            section = here;
        }
        const std::string comment = fmt::format(
            "# {}{}{}\n", parameter.about, parameter.unit.empty() ? "" : fmt::format(" [{}]", parameter.unit),
            parameter.origin.empty() ? "" : "; " + parameter.origin);
        if (!parameter.about.empty() && said.insert(last_part(parameter.key) + comment).second)
            text += comment;
        text += fmt::format("{} = {}\n", last_part(parameter.key), value_text(parameter));
    }
    return text;
}

}  // namespace enmesh::accel
