#include "enmesh/report/metrics_file.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "enmesh/base/file.hpp"

namespace enmesh::report {
namespace {

/// The bytes of the leading lines whose step is at most `last_step`; a line that is cut short ends them.
/// `cut_lines`: how many come behind.
uint64_t bytes_up_to(const std::filesystem::path& path, std::optional<int64_t> last_step,
                     int64_t& cut_lines) {
    std::error_code code;
    if (!std::filesystem::exists(path, code)) return 0;
    const std::string text = read_file(path);
    const auto behind = [&](size_t kept) {
        cut_lines = std::count(text.begin() + static_cast<ptrdiff_t>(kept), text.end(), '\n');
        return kept;
    };
    if (!last_step) return behind(0);
    size_t kept = 0;
    for (size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', kept)) {
        const auto line = nlohmann::json::parse(text.begin() + static_cast<ptrdiff_t>(kept),
                                                text.begin() + static_cast<ptrdiff_t>(end), nullptr, false);
        if (!line.is_object() || !line.contains("step") || !line["step"].is_number_integer()) break;
        if (line["step"].get<int64_t>() > *last_step) break;
        kept = end + 1;
    }
    return behind(kept);
}

}  // namespace

MetricsFile::MetricsFile(const std::filesystem::path& path, std::optional<int64_t> resume_step)
    : file_(path, bytes_up_to(path, resume_step, cut_lines_)) {}

void MetricsFile::append(const EpochMetrics& metrics) {
    nlohmann::ordered_json line = {
        {"epoch", metrics.epoch},           {"step", metrics.step},
        {"train_loss", metrics.train_loss}, {"test_accuracy", metrics.test_accuracy},
        {"seconds", metrics.seconds},       {"images_per_second", metrics.images_per_second},
    };
    for (const auto& [key, value] : metrics.more) line[key] = value;
    file_.append(line.dump() + "\n");
}

}  // namespace enmesh::report
