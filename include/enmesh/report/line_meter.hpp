#pragma once

#include <cstdio>
#include <string_view>

#include "enmesh/base/timer.hpp"
#include "enmesh/report/progress_bar.hpp"

namespace enmesh::report {

/// One line about work under way: rewritten on a terminal and removed at the end, elsewhere now and then a
/// plain line.
class LineMeter {
  public:
    explicit LineMeter(std::FILE* stream = stderr, bool terminal = is_terminal(stderr),
                       double plain_seconds = 30);
    ~LineMeter();
    LineMeter(const LineMeter&) = delete;
    LineMeter& operator=(const LineMeter&) = delete;

    /// Whether it is time for a new line; saves the caller from writing texts that nobody would see.
    bool due() const;
    /// A terminal shows every text; elsewhere one that is not due is left out.
    void show(std::string_view text);
    /// Removes the line.
    void finish();

  private:
    std::FILE* stream_;
    bool terminal_, drawn_ = false;
    double plain_seconds_;
    Timer since_;
};

}  // namespace enmesh::report
