#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace enmesh::testing {

/// A program that runs while the test goes on. Its standard error goes to a file.
class RunningProgram {
  public:
    /// `file_limit`: bytes that any file of the program may have; 0 is no limit.
    RunningProgram(std::vector<std::string> arguments, std::filesystem::path errors, rlim_t file_limit = 0)
        : errors_(std::move(errors)) {
        arguments.insert(arguments.begin(), ENMESH_PROGRAM);
        std::vector<char*> argv;
        for (std::string& argument : arguments) argv.push_back(argument.data());
        argv.push_back(nullptr);
        child_ = fork();
        if (child_ < 0) throw std::runtime_error("fork failed");
        if (child_ != 0) return;
        const int empty = open("/dev/null", O_RDWR);
        const int text = open(errors_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(empty, STDIN_FILENO);
        dup2(empty, STDOUT_FILENO);
        dup2(text, STDERR_FILENO);
        const rlimit limit{file_limit, file_limit};
        if (file_limit > 0 && setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(126);
        execv(argv[0], argv.data());
        _exit(127);
    }
    ~RunningProgram() {
        if (child_ <= 0) return;
        ::kill(child_, SIGKILL);
        wait();
    }
    RunningProgram(const RunningProgram&) = delete;
    RunningProgram& operator=(const RunningProgram&) = delete;

    void signal(int number) const { ::kill(child_, number); }
    /// Whether it has ended, without waiting.
    bool ended() {
        siginfo_t info{};
        return waitid(P_PID, static_cast<id_t>(child_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
               info.si_pid != 0;
    }
    /// The exit code, or 128 + the signal that ended it.
    int wait() {
        int status = 0;
        while (waitpid(child_, &status, 0) < 0 && errno == EINTR) {
        }
        child_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    std::string errors() const {
        std::ifstream stream(errors_, std::ios::binary);
        return {std::istreambuf_iterator<char>(stream), {}};
    }

  private:
    std::filesystem::path errors_;
    pid_t child_ = -1;
};

}  // namespace enmesh::testing
