#pragma once

#include <fmt/core.h>

#include <cstdlib>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace enmesh {

/// Whose fault it was; the command line turns it into its exit code (docs/contract: 2 and 1).
enum class ErrorKind {
    request,  ///< the request was wrong: bad option, bad file, impossible shape (exit code 2)
    failure,  ///< the work failed: diverged, I/O error (exit code 1)
};

/// Every error that a user can cause. The message is one line: what was wrong, where, and what to do.
class Error : public std::runtime_error {
  public:
    Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
    ErrorKind kind() const { return kind_; }

  private:
    ErrorKind kind_;
};

/// Throws Error{request}.
template <typename... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
    throw Error(ErrorKind::request, fmt::format(format, std::forward<Args>(args)...));
}

/// Throws Error{failure}.
template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
    throw Error(ErrorKind::failure, fmt::format(format, std::forward<Args>(args)...));
}

/// The candidate with the smallest edit distance to `name`, or "" if none is near.
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

/// " (did you mean 'x'?)" or " (known: a, b, c)": the tail of an unknown-name message.
std::string suggestion(std::string_view name, std::span<const std::string> candidates);

[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace enmesh

/// Our own mistakes, as opposed to the user's: stays on in release builds, never used in inner loops.
#define ENMESH_ASSERT(condition) \
    ((condition) ? static_cast<void>(0) : ::enmesh::assertion_failed(#condition, __FILE__, __LINE__))
