#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/report/append_file.hpp"

namespace enmesh::report {

/// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78) of the bytes.
uint32_t crc32c(std::string_view bytes);

/// The form in which TFRecord files store it: rotated right by 15 and offset by 0xa282ead8.
uint32_t masked_crc32c(std::string_view bytes);

/// One point of one curve.
struct Scalar {
    std::string tag;
    int64_t step = 0;
    float value = 0;
    double wall_time = 0;  ///< seconds since 1970
};

/// A TensorBoard event file: TFRecord frames around Event messages (tensorflow/core/util/event.proto),
/// scalars as Summary values. Each point is in the file once scalar() has returned.
class EventFile {
  public:
    /// The name inside a run's folder; TensorBoard takes any file with "tfevents" in its name.
    static constexpr const char* name = "events.out.tfevents.enmesh";

    /// Starts `directory`/name anew; with `resume_step` keeps the points up to that step instead and goes on
    /// after them.
    explicit EventFile(const std::filesystem::path& directory, std::optional<int64_t> resume_step = {});

    void scalar(std::string_view tag, int64_t step, float value, double wall_time);
    /// The same, now.
    void scalar(std::string_view tag, int64_t step, float value);
    void sync() { file_.sync(); }

  private:
    AppendFile file_;
};

/// The points of an event file in order. Refuses a file that is not one or is damaged; a last record that was
/// cut short (a killed run) is left out.
std::vector<Scalar> read_event_file(const std::filesystem::path& path);

}  // namespace enmesh::report
