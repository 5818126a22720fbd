#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "enmesh/report/append_file.hpp"

namespace enmesh::report {

/// What a training run says about an epoch; the keys of metrics.jsonl.
struct EpochMetrics {
    int64_t epoch = 0;
    int64_t step = 0;  ///< optimizer steps done since the start of the run
    double train_loss = 0;
    double test_accuracy = 0;  ///< fraction of 1
    double seconds = 0;
    double images_per_second = 0;
    std::vector<std::pair<std::string, double>> more;  ///< further keys, after these
};

/// metrics.jsonl: one JSON object a line, in the file once append() has returned. A value that is not finite
/// is null.
class MetricsFile {
  public:
    /// Starts the file anew; with `resume_step` keeps the lines up to that step instead and drops the rest.
    explicit MetricsFile(const std::filesystem::path& path, std::optional<int64_t> resume_step = {});

    /// Lines that the file had and lost when it was opened.
    int64_t cut_lines() const { return cut_lines_; }
    void append(const EpochMetrics& metrics);
    void sync() { file_.sync(); }

  private:
    int64_t cut_lines_ = 0;  // before the file, which sets it
    AppendFile file_;
};

}  // namespace enmesh::report
