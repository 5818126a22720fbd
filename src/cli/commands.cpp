#include "cli/commands.hpp"

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

#include "enmesh/base/error.hpp"

namespace enmesh::cli {

std::span<const Command> commands() {
    static const std::vector<Command> list = {
        {add_train}, {add_eval},   {add_demo},     {add_bench},    {add_inspect}, {add_export}, {add_prune},
        {add_pack},  {add_unpack}, {add_simulate}, {add_schedule}, {add_explore}, {add_data},   {add_report},
    };
    return list;
}

void refuse_empty_arguments(std::span<char* const> arguments) {
    for (size_t i = 1; i < arguments.size(); ++i) {
        const std::string_view word = arguments[i], before = arguments[i - 1];
        if (word.empty() && i > 1 && before.starts_with("--"))
            refuse("{}: its value is empty; leave the option out or name one", before);
        if (word.empty()) refuse("argument {} is empty", i);
        const size_t equals = word.find('=');
        if (word.starts_with("--") && equals + 1 == word.size())
            refuse("{}: its value is empty; leave the option out or name one", word.substr(0, equals));
    }
}

namespace {

/// The subcommand that was being parsed when the error arose.
const CLI::App& active(const CLI::App& app) {
    const CLI::App* current = &app;
    while (!current->get_subcommands().empty()) current = current->get_subcommands().front();
    return *current;
}

std::vector<std::string> known_names(const CLI::App& app) {
    std::vector<std::string> names;
    for (const CLI::Option* option : app.get_options()) {
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
    for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
        names.push_back(sub->get_name());
    return names;
}

}  // namespace

std::string explain(const CLI::App& app, const CLI::Error& error) {
    const CLI::App& where = active(app);
    std::string help = app.get_name();
    if (&where != &app) help += " " + where.get_name();
    for (const std::string& word : where.remaining()) {
        const bool names_option = word.starts_with("-");
        return fmt::format("unknown {} '{}'{}; see {} --help", names_option ? "option" : "argument", word,
                           suggestion(word, known_names(where)), help);
    }
    std::string message = error.what();
    for (char& c : message) c = c == '\n' ? ' ' : c;
    return fmt::format("{}; see {} --help", message, help);
}

}  // namespace enmesh::cli
