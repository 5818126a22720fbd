#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>

namespace enmesh::report {

/// Whether `stream` is a terminal that understands control sequences (TERM is set and not "dumb").
bool is_terminal(std::FILE* stream);

/// "4:05", "1:02:03", "2d 03:04:05".
std::string format_duration(double seconds);

struct ProgressOptions {
    int64_t epochs = 1;
    int64_t steps_per_epoch = 1;
    int64_t images_per_step = 1;
    int64_t first_step = 0;  ///< where a resumed run starts; counts neither as speed nor as time
    std::FILE* stream = stderr;
    bool terminal = is_terminal(stderr);
    int columns = 0;                ///< of the terminal; 0 asks it
    double redraw_seconds = 0.1;    ///< on a terminal
    double plain_seconds = 30;      ///< between lines elsewhere
    std::function<double()> clock;  ///< seconds, monotonic; the system's by default
};

/// A training run's progress: epoch, loss, images per second and the time left. On a terminal it is one line
/// that is rewritten; elsewhere now and then a plain line, without control characters.
class ProgressBar {
  public:
    explicit ProgressBar(ProgressOptions options);
    ~ProgressBar();
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;

    /// `step` steps are done, counted from the start of the run.
    /// `note` stands behind the loss.
    void update(int64_t step, double loss, std::string_view note = {});
    /// A line of its own, above the bar.
    void message(std::string_view text);
    /// Removes the bar.
    void finish();

  private:
    std::string status(int64_t step, double loss, std::string_view note, double now) const;
    void draw(const std::string& text);

    ProgressOptions options_;
    double start_ = 0;
    double last_shown_ = 0;
    bool drawn_ = false;
};

}  // namespace enmesh::report
