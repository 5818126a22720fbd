#include <csignal>
#include <cstdio>
#include <exception>
#include <new>

#include <CLI/CLI.hpp>

#include "cli/commands.hpp"
#include "enmesh/base/error.hpp"

namespace {

int report(const char* message, int code) {
    std::fprintf(stderr, "enmesh: error: %s\n", message);
    return code;
}

}  // namespace

int main(int argc, char** argv) {
    // A file that may not grow further is an error like a full disk, not a signal.
    std::signal(SIGXFSZ, SIG_IGN);
    CLI::App app{"enmesh: N:M sparse training, from algorithm to silicon"};
    app.name("enmesh");
    app.require_subcommand(1);
    app.set_version_flag("--version", "enmesh 0.1.0");
    for (const enmesh::cli::Command& command : enmesh::cli::commands()) command.add(app);
    try {
        enmesh::cli::refuse_empty_arguments({argv, static_cast<size_t>(argc)});
        app.parse(argc, argv);
        return 0;
    } catch (const enmesh::cli::Exit& exit) {
        return exit.code;
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error);
        return report(enmesh::cli::explain(app, error).c_str(), 2);
    } catch (const enmesh::Error& error) {
        return report(error.what(), error.kind() == enmesh::ErrorKind::request ? 2 : 1);
    } catch (const std::bad_alloc&) {
        return report("out of memory", 1);
    } catch (const std::exception& error) {
        return report(error.what(), 1);
    }
}
