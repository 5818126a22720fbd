#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <stdexcept>
#include <string>
#include <vector>

namespace enmesh::testing {

/// What a run of the program left behind. `code` is the exit code, or 128 + the signal that ended it.
struct ProgramResult {
    int code = -1;
    std::string out, err;
};

/// Runs the enmesh program with these arguments (no shell between) and waits for it. Standard input is empty;
/// `environment` holds "NAME=VALUE" additions.
inline ProgramResult run_program(const std::vector<std::string>& arguments,
                                 const std::vector<std::string>& environment = {},
                                 const std::string& directory = ".") {
    std::array<int, 2> out{}, err{};
    if (pipe(out.data()) != 0 || pipe(err.data()) != 0) throw std::runtime_error("pipe failed");
    std::vector<std::string> words{ENMESH_PROGRAM};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    std::vector<std::string> additions = environment;

    const pid_t child = fork();
    if (child < 0) throw std::runtime_error("fork failed");
    if (child == 0) {
        const int empty = open("/dev/null", O_RDONLY);
        dup2(empty, STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        for (const int descriptor : {out[0], out[1], err[0], err[1]}) close(descriptor);
        for (std::string& addition : additions) putenv(addition.data());
        if (chdir(directory.c_str()) != 0) _exit(126);
        execv(argv[0], argv.data());
        _exit(127);
    }
    close(out[1]);
    close(err[1]);

    ProgramResult result;
    std::array<pollfd, 2> sources{pollfd{out[0], POLLIN, 0}, pollfd{err[0], POLLIN, 0}};
    const std::array<std::string*, 2> texts{&result.out, &result.err};
    for (int open_sources = 2; open_sources > 0;) {
        if (poll(sources.data(), sources.size(), -1) < 0 && errno != EINTR) break;
        for (size_t i = 0; i < sources.size(); ++i) {
            if (sources[i].fd < 0 || sources[i].revents == 0) continue;
            std::array<char, 4096> buffer{};
            const ssize_t count = read(sources[i].fd, buffer.data(), buffer.size());
            if (count > 0) {
                texts[i]->append(buffer.data(), static_cast<size_t>(count));
            } else if (count == 0 || errno != EINTR) {
                close(sources[i].fd);
                sources[i].fd = -1;
                --open_sources;
            }
        }
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result;
}

/// Whether standard error is the one line "enmesh: error: …" that a refused request must give.
inline bool is_one_error_line(const std::string& text) {
    return text.starts_with("enmesh: error: ") && text.find('\n') == text.size() - 1;
}

}  // namespace enmesh::testing
