#pragma once

#include <csignal>

namespace enmesh::cli {

/// While it lives, the first SIGINT or SIGTERM only raises a flag; the second acts as if it did not live.
class InterruptGuard {
  public:
    InterruptGuard();
    ~InterruptGuard();
    InterruptGuard(const InterruptGuard&) = delete;
    InterruptGuard& operator=(const InterruptGuard&) = delete;

    /// The signal that came, or 0.
    static int signal();

  private:
    struct sigaction before_int_ {};
    struct sigaction before_term_ {};
};

}  // namespace enmesh::cli
