#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>

#include <CLI/CLI.hpp>

#include "cli/commands.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/log.hpp"
#include "enmesh/version.hpp"

namespace {

int report(const char* message, int code) {
    std::fprintf(stderr, "enmesh: error: %s\n", message);
    return code;
}

void print_log(enmesh::LogLevel level, std::string_view message) {
    fmt::print(stderr, "enmesh: {}: {}\n", level == enmesh::LogLevel::note ? "note" : "dispatch", message);
}

/// A file that is opened takes the lowest descriptor that is free: with standard output closed (>&-) it would
/// get what is printed.
void hold_standard_descriptors() {
    for (int descriptor = 0; descriptor <= 2; ++descriptor) {
        if (::fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) ::open("/dev/null", O_RDWR);
    }
}

/// How long a waiting thread spins before it sleeps. OpenMP's default is milliseconds, in which a busy
/// machine's other programs do not run and the thread that all wait for does not either. This many turns are
/// tens of microseconds: as fast where cores are free. OpenMP reads its environment when it is loaded, so
/// that the program has to start once more.
void wait_briefly(char** argv) {
    if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
    if (::setenv("GOMP_SPINCOUNT", "20000", 1) == 0) ::execv("/proc/self/exe", argv);
}

/// What was printed may not have arrived: a full disk shows when the rest is written.
int printed(int code) {
    std::cout.flush();
    errno = 0;
    const bool arrived = std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout.good();
    if (arrived || code != 0) return code;
    return report(errno != 0
                      ? fmt::format("standard output cannot be written ({})", std::strerror(errno)).c_str()
                      : "standard output could not be written in whole",
                  1);
}

}  // namespace

int main(int argc, char** argv) {
    hold_standard_descriptors();
    wait_briefly(argv);
    enmesh::set_log_callback(print_log);
    // A file that may not grow further is an error like a full disk, not a signal.
    std::signal(SIGXFSZ, SIG_IGN);
    CLI::App app{"enmesh: N:M sparse training, from algorithm to silicon"};
    app.name("enmesh");
    app.require_subcommand(1);
    app.set_version_flag("--version", std::string("enmesh ") + enmesh::version);
    for (const enmesh::cli::Command& command : enmesh::cli::commands()) command.add(app);
    try {
        enmesh::cli::refuse_empty_arguments({argv, static_cast<size_t>(argc)});
        app.parse(argc, argv);
        return printed(0);
    } catch (const enmesh::cli::Exit& exit) {
        return printed(exit.code);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return printed(app.exit(error));
        return report(enmesh::cli::explain(app, error).c_str(), 2);
    } catch (const enmesh::Error& error) {
        return report(error.what(), error.kind() == enmesh::ErrorKind::request ? 2 : 1);
    } catch (const std::bad_alloc&) {
        return report("out of memory", 1);
    } catch (const std::filesystem::filesystem_error& error) {
        return report(fmt::format("{}: {}", error.path1().string(), error.code().message()).c_str(), 1);
    } catch (const std::exception& error) {
        return report(fmt::format("internal error: {}", error.what()).c_str(), 1);
    }
}
