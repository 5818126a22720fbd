#include "enmesh/report/line_meter.hpp"

#include <fmt/core.h>

namespace enmesh::report {

LineMeter::LineMeter(std::FILE* stream, bool terminal, double plain_seconds)
    : stream_(stream), terminal_(terminal), plain_seconds_(plain_seconds) {}

LineMeter::~LineMeter() { finish(); }

void LineMeter::finish() {
    if (drawn_) std::fputs("\r\033[K", stream_);
    drawn_ = false;
}

bool LineMeter::due() const {
    constexpr double redraw_seconds = 0.1;
    return since_.seconds() >= (terminal_ ? redraw_seconds : plain_seconds_);
}

void LineMeter::show(std::string_view text) {
    if (terminal_) {
        fmt::print(stream_, "\r\033[K{}", text);
        drawn_ = true;
    } else {
        if (!due()) return;
        fmt::print(stream_, "{}\n", text);
    }
    std::fflush(stream_);
    since_.restart();
}

}  // namespace enmesh::report
