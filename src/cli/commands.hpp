#pragma once

#include <span>
#include <string>

namespace CLI {
class App;
class Error;
}  // namespace CLI

namespace enmesh::cli {

/// Thrown by a command that has said what there is to say and ends with this exit code.
struct Exit {
    int code = 0;
};

/// A subcommand: its file under src/cli/ adds it to the program and installs the callback that runs it.
struct Command {
    void (*add)(CLI::App& app);
};

// One line per subcommand, defined in the file of its name; commands.cpp lists them.
void add_bench(CLI::App& app);
void add_data(CLI::App& app);
void add_demo(CLI::App& app);
void add_eval(CLI::App& app);
void add_explore(CLI::App& app);
void add_export(CLI::App& app);
void add_inspect(CLI::App& app);
void add_pack(CLI::App& app);
void add_prune(CLI::App& app);
void add_report(CLI::App& app);
void add_schedule(CLI::App& app);
void add_simulate(CLI::App& app);
void add_train(CLI::App& app);
void add_unpack(CLI::App& app);

std::span<const Command> commands();

/// Refuses an argument without a word in it: an unset shell variable must not pass for an option left out.
void refuse_empty_arguments(std::span<char* const> arguments);

/// A parse error in one line: an unknown option is answered with the nearest known one.
std::string explain(const CLI::App& app, const CLI::Error& error);

}  // namespace enmesh::cli
