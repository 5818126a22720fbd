#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <string>

#include "enmesh/report/event_file.hpp"
#include "enmesh/report/metrics_file.hpp"
#include "enmesh/train/trainer.hpp"

namespace enmesh {

/// The files of a run.
class RunFiles {
  public:
    static constexpr std::array names{"last.safetensors", "best.safetensors", "metrics.jsonl", "summary.json",
                                      report::EventFile::name};

    explicit RunFiles(std::filesystem::path directory) : directory_(std::move(directory)) {}

    std::filesystem::path last() const { return directory_ / names[0]; }
    std::filesystem::path best() const { return directory_ / names[1]; }
    std::filesystem::path metrics() const { return directory_ / names[2]; }
    std::filesystem::path summary() const { return directory_ / names[3]; }

    /// Opens metrics and events and drops from them what was written after `progress`: everything, at the
    /// start of a run, and then the checkpoints of an earlier one too.
    /// Returns how many lines of metrics that is.
    int64_t open(const Progress& progress);
    void add(const StepReport& report);
    void add(const EpochReport& report);
    /// Returns when metrics and events are on the disk.
    void sync() {
        metrics_file_->sync();
        events_->sync();
    }
    /// Refuses, before anything is written, to go on without the metrics of a run that is complete.
    void require_metrics_of(int64_t epoch) const;
    /// From metrics.jsonl, so that it covers every call of fit() that had a part in the run. `plan` is the
    /// backend's text; the summary names it by its hash.
    void write_summary(const TrainingStep& step, const ModelDescription& model, const Progress& progress,
                       const std::string& plan, const std::optional<Simulated>& simulated) const;

  private:
    std::filesystem::path directory_;
    std::optional<report::MetricsFile> metrics_file_;
    std::optional<report::EventFile> events_;
};

}  // namespace enmesh
