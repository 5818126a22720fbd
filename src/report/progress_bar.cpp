#include "enmesh/report/progress_bar.hpp"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace enmesh::report {
namespace {

double monotonic_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int columns_of(std::FILE* stream) {
    winsize size{};
    return ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/// "[=====>    ]" of `width` characters between the brackets.
std::string bar(double fraction, int width) {
    const int filled = std::clamp(static_cast<int>(fraction * width), 0, width);
    std::string text(static_cast<size_t>(width), ' ');
    std::fill_n(text.begin(), filled, '=');
    if (filled < width) text[static_cast<size_t>(filled)] = '>';
    return "[" + text + "]";
}

}  // namespace

bool is_terminal(std::FILE* stream) {
    const char* kind = std::getenv("TERM");
    return isatty(fileno(stream)) == 1 && kind != nullptr && std::strcmp(kind, "dumb") != 0;
}

std::string format_duration(double seconds) {
    if (!(seconds >= 0 && seconds < 1e9)) return "?";
    const auto all = static_cast<int64_t>(std::llround(seconds));
    const int64_t days = all / 86400, hours = all / 3600 % 24, minutes = all / 60 % 60, rest = all % 60;
    if (days > 0) return fmt::format("{}d {:02}:{:02}:{:02}", days, hours, minutes, rest);
    if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, rest);
    return fmt::format("{}:{:02}", minutes, rest);
}

ProgressBar::ProgressBar(ProgressOptions options) : options_(std::move(options)) {
    if (!options_.clock) options_.clock = monotonic_seconds;
    start_ = options_.clock();
    last_shown_ = options_.terminal ? start_ - options_.redraw_seconds : start_;
}

ProgressBar::~ProgressBar() { finish(); }

std::string ProgressBar::status(int64_t step, double loss, std::string_view note, double now) const {
    const int64_t steps = options_.epochs * options_.steps_per_epoch;
    // The last step of an epoch still belongs to it.
    const int64_t epoch = std::max<int64_t>(0, step - 1) / options_.steps_per_epoch;
    const int64_t in_epoch = step - epoch * options_.steps_per_epoch;
    std::string text = fmt::format("epoch {}/{}", epoch + 1, options_.epochs);
    if (options_.terminal) {
        text += " " + bar(static_cast<double>(in_epoch) / static_cast<double>(options_.steps_per_epoch), 20);
    }
    text += fmt::format(" {}/{}  loss {:.4f}", in_epoch, options_.steps_per_epoch, loss);
    if (!note.empty()) text += fmt::format("  {}", note);
    const double elapsed = now - start_;
    const auto done = static_cast<double>(step - options_.first_step);
    if (!(elapsed > 0) || !(done > 0)) return text;
    const double steps_per_second = done / elapsed;
    return text + fmt::format("  {:.0f} images/s  ETA {}",
                              steps_per_second * static_cast<double>(options_.images_per_step),
                              format_duration(static_cast<double>(steps - step) / steps_per_second));
}

void ProgressBar::draw(const std::string& text) {
    const int columns = options_.columns > 0 ? options_.columns : columns_of(options_.stream);
    // One column stays free: a full line would wrap on some terminals.
    const std::string shown = text.substr(0, static_cast<size_t>(std::max(1, columns - 1)));
    std::fputs(("\r" + shown + "\x1b[K").c_str(), options_.stream);
    std::fflush(options_.stream);
    drawn_ = true;
}

void ProgressBar::update(int64_t step, double loss, std::string_view note) {
    const double now = options_.clock();
    if (now - last_shown_ < (options_.terminal ? options_.redraw_seconds : options_.plain_seconds)) return;
    last_shown_ = now;
    const std::string text = status(step, loss, note, now);
    if (options_.terminal) return draw(text);
    std::fputs((text + "\n").c_str(), options_.stream);
    std::fflush(options_.stream);
}

void ProgressBar::message(std::string_view text) {
    finish();
    std::fputs((std::string(text) + "\n").c_str(), options_.stream);
    std::fflush(options_.stream);
}

void ProgressBar::finish() {
    if (!drawn_) return;
    std::fputs("\r\x1b[K", options_.stream);
    std::fflush(options_.stream);
    drawn_ = false;
}

}  // namespace enmesh::report
