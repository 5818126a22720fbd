#include "enmesh/base/log.hpp"

#include <mutex>

namespace enmesh {
namespace {

struct Log {
    std::mutex mutex;
    LogCallback callback;
};

Log& the_log() {
    static Log log;
    return log;
}

}  // namespace

void set_log_callback(LogCallback callback) {
    Log& log = the_log();
    const std::lock_guard lock(log.mutex);
    log.callback = std::move(callback);
}

void log_message(LogLevel level, std::string_view message) {
    Log& log = the_log();
    const std::lock_guard lock(log.mutex);
    if (log.callback) log.callback(level, message);
}

}  // namespace enmesh
