#pragma once

#include <functional>
#include <string_view>
#include <utility>

#include <fmt/core.h>

namespace enmesh {

enum class LogLevel {
    note,      ///< a user should know it: a file's column is not used, a cache is not saved
    dispatch,  ///< which kernel serves which product; only with ENMESH_VERBOSE=dispatch in the environment
};

/// Gets each message as one line without a newline.
using LogCallback = std::function<void(LogLevel, std::string_view)>;

/// Who gets the library's messages from now on; an empty one: nobody, which is the default. The library
/// itself writes nothing to standard output or standard error, except where an assertion of its own fails.
/// Any thread may log: calls come one after the other, and the callback must neither log nor set a callback.
void set_log_callback(LogCallback callback);
void log_message(LogLevel level, std::string_view message);

template <typename... T>
void note(fmt::format_string<T...> format, T&&... values) {
    log_message(LogLevel::note, fmt::format(format, std::forward<T>(values)...));
}

}  // namespace enmesh
