#pragma once

#include <array>
#include <csignal>

namespace enmesh::cli {

/// While it lives, the first signal that asks a program to end only raises a flag; the second acts as if it
/// did not live. These signals are SIGINT, SIGTERM, SIGHUP (the terminal is closed; not where it is ignored,
/// as under nohup) and SIGUSR1 (batch systems send it some time before they end a job).
class InterruptGuard {
  public:
    InterruptGuard();
    ~InterruptGuard();
    InterruptGuard(const InterruptGuard&) = delete;
    InterruptGuard& operator=(const InterruptGuard&) = delete;

    /// The signal that came, or 0.
    static int signal();

  private:
    static constexpr std::array signals{SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    std::array<struct sigaction, signals.size()> before_{};
};

}  // namespace enmesh::cli
