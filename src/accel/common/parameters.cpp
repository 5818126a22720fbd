#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "accel/common/toml_reader.hpp"
#include "enmesh/accel/sat/config.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

std::string last_part(const std::string& key) { return key.substr(key.rfind('.') + 1); }

/// The keys that may have been meant by an unknown one; the hundreds of the vector table only where it is.
std::vector<std::string> keys_near(std::span<const Parameter> parameters, const std::string& unknown) {
    std::vector<std::string> keys;
    for (const Parameter& parameter : parameters)
        if (unknown.starts_with("vector.") || !parameter.key.starts_with("vector."))
            keys.push_back(parameter.key);
    return keys;
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
    if (!parameter.choices.empty()) {
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
        if (found == nullptr)
            refuse("{}unknown key '{}'{}", where, key, suggestion(key, keys_near(parameters, key)));
        assign_node(*found, node, where);
    }
}

const Parameter& find_setting(std::span<const Parameter> parameters, const std::string& key,
                              std::string_view option) {
    const Parameter* found = nullptr;
    for (const Parameter& parameter : parameters) {
        if (parameter.key == key) return parameter;
        if (key.find('.') != std::string::npos || last_part(parameter.key) != key) continue;
        if (found != nullptr) refuse("{} {}: could be {} or {}", option, key, found->key, parameter.key);
        found = &parameter;
    }
    if (found != nullptr) return *found;
    std::vector<std::string> names = keys_near(parameters, key);
    if (key.find('.') == std::string::npos) {
        std::vector<std::string> short_names;
        for (const std::string& name : names) {
            short_names.push_back(last_part(name));
        }
        std::sort(short_names.begin(), short_names.end());
        short_names.erase(std::unique(short_names.begin(), short_names.end()), short_names.end());
        names = std::move(short_names);
    }
    refuse("{} {}: unknown key{}", option, key, suggestion(key, names));
}

std::string value_text(const Parameter& parameter) {
    if (int* const* small = std::get_if<int*>(&parameter.field)) return fmt::format("{}", **small);
    if (int64_t* const* whole = std::get_if<int64_t*>(&parameter.field)) return fmt::format("{}", **whole);
    if (double* const* real = std::get_if<double*>(&parameter.field)) return fmt::format("{:.10g}", **real);
    if (bool* const* flag = std::get_if<bool*>(&parameter.field)) return **flag ? "true" : "false";
    return fmt::format("\"{}\"", *std::get<std::string*>(parameter.field));
}

}  // namespace

void apply_toml(std::span<const Parameter> parameters, std::string_view text, const std::string& file) {
    assign_table(parameters, parse_toml(text, file), "", file);
}

void apply_setting(std::span<const Parameter> parameters, std::string_view setting, std::string_view option) {
    const size_t equals = setting.find('=');
    if (equals == std::string_view::npos || equals == 0)
        refuse("{} {}: is not of the form key=value", option, setting);
    const std::string key(setting.substr(0, equals)), value(setting.substr(equals + 1));
    const Parameter& parameter = find_setting(parameters, key, option);
    if (is_number(parameter)) {
        double number = 0;
        const auto [rest, error] = std::from_chars(value.data(), value.data() + value.size(), number);
        if (error != std::errc{} || rest != value.data() + value.size())
            refuse("{} {}: '{}' is not a number", option, parameter.key, value);
        assign_number(parameter, number, fmt::format("{} ", option));
    } else if (bool* const* flag = std::get_if<bool*>(&parameter.field)) {
        const bool on = value == "true" || value == "on" || value == "1";
        if (!on && value != "false" && value != "off" && value != "0")
            refuse("{} {}: '{}' is not true or false", option, parameter.key, value);
        **flag = on;
    } else {
        assign_text(parameter, value, fmt::format("{} ", option));
    }
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
