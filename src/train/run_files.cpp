#include "train/run_files.hpp"

#include <nlohmann/json.hpp>

#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/fnv.hpp"

namespace enmesh {
namespace {

using OrderedJson = nlohmann::ordered_json;

int64_t parameter_count(const TrainingStep& step) {
    int64_t count = 0;
    for (const StepParameter& parameter : step.parameters) {
        count += step.graph.type(parameter.weights).shape.elements();
    }
    return count;
}

OrderedJson products_of(const TrainingStep& step) {
    OrderedJson products = {{"multiply_adds", OrderedJson::object()},
                            {"sparse_multiply_adds", OrderedJson::object()}};
    for (const Stage stage : {Stage::FF, Stage::BP, Stage::WG}) {
        const StageCount count = count_products(step, stage);
        products["multiply_adds"][to_string(stage)] = count.multiply_adds;
        products["sparse_multiply_adds"][to_string(stage)] = count.sparse_multiply_adds;
    }
    return products;
}

OrderedJson left_dense(const TrainingStep& step) {
    OrderedJson list = OrderedJson::array();
    for (const LayerDecision& decision : step.decisions) {
        if (decision.reason.empty()) continue;
        list.push_back(
            {{"name", decision.layer}, {"stage", to_string(decision.stage)}, {"reason", decision.reason}});
    }
    return list;
}

/// What metrics.jsonl knows of a whole run.
struct Metrics {
    nlohmann::json last_epoch = nlohmann::json::object();  ///< empty if somebody took the file away
    double seconds = 0;
};

Metrics read_metrics(const std::filesystem::path& file) {
    Metrics metrics;
    std::error_code ignored;
    const std::string text = std::filesystem::exists(file, ignored) ? read_file(file) : "";
    for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        const auto line = nlohmann::json::parse(text.substr(at, end - at), nullptr, false);
        if (!line.is_object()) break;
        metrics.last_epoch = line;
        metrics.seconds += line.value("seconds", 0.0);
        at = end + 1;
    }
    return metrics;
}

/// What a killed run was about to rename.
void remove_temporaries(const std::filesystem::path& directory) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        const std::string name = entry.path().filename().string();
        for (const std::string_view whole : RunFiles::names) {
            if (name.starts_with(std::string(whole) + ".tmp")) std::filesystem::remove(entry.path(), ignored);
        }
    }
}

}  // namespace

std::vector<std::filesystem::path> run_files(const std::filesystem::path& out) {
    std::vector<std::filesystem::path> files;
    for (const char* const name : RunFiles::names) files.push_back(out / name);
    return files;
}

int64_t RunFiles::open(const Progress& progress) {
    remove_temporaries(directory_);
    std::error_code ignored;
    std::filesystem::remove(summary(), ignored);
    std::optional<int64_t> resume_step;
    if (progress.update > 0) {
        resume_step = progress.update;
    } else {
        std::filesystem::remove(best(), ignored);
        std::filesystem::remove(last(), ignored);
    }
    metrics_file_.emplace(metrics(), resume_step);
    events_.emplace(directory_, resume_step);
    return metrics_file_->cut_lines();
}

void RunFiles::add(const StepReport& report) {
    events_->scalar("train/loss", report.update, static_cast<float>(report.last_loss));
    events_->scalar("train/learning_rate", report.update, static_cast<float>(report.learning_rate));
    if (report.simulated.has_value()) {
        events_->scalar("train/loss_scale", report.update, static_cast<float>(report.simulated->loss_scale));
    }
}

void RunFiles::add(const EpochReport& report) {
    report::EpochMetrics metrics{
        .epoch = report.epoch,
        .step = report.step,
        .train_loss = report.train_loss,
        .test_accuracy = report.test_accuracy,
        .seconds = report.seconds,
        .images_per_second = report.images_per_second,
        .more = {{"test_loss", report.test_loss}, {"learning_rate", report.learning_rate}}};
    if (report.simulated.has_value()) {
        metrics.more.emplace_back("simulated_seconds", report.simulated->seconds);
        metrics.more.emplace_back("simulated_joules", report.simulated->joules);
        metrics.more.emplace_back("loss_scale", report.simulated->loss_scale);
        metrics.more.emplace_back("skipped_updates", static_cast<double>(report.simulated->skipped_updates));
    }
    if (report.loss_rose_at > 0)
        metrics.more.emplace_back("loss_rose_at_step", static_cast<double>(report.loss_rose_at));
    metrics_file_->append(metrics);
    events_->scalar("train/epoch_loss", report.step, static_cast<float>(report.train_loss));
    events_->scalar("train/images_per_second", report.step, static_cast<float>(report.images_per_second));
    events_->scalar("test/loss", report.step, static_cast<float>(report.test_loss));
    events_->scalar("test/accuracy", report.step, static_cast<float>(report.test_accuracy));
}

void RunFiles::require_metrics_of(int64_t epoch) const {
    const nlohmann::json last = read_metrics(metrics()).last_epoch.value("epoch", nlohmann::json());
    if (last.is_number_integer() && last.get<int64_t>() >= epoch) return;
    refuse(
        "{}: has no line of epoch {}, which summary.json needs: put the file back, or start anew with "
        "--overwrite",
        metrics().string(), epoch);
}

void RunFiles::write_summary(const TrainingStep& step, const ModelDescription& model,
                             const Progress& progress, const std::string& plan,
                             const std::optional<Simulated>& simulated) const {
    const Metrics known = read_metrics(metrics());
    const auto field = [&](const char* key) { return known.last_epoch.value(key, nlohmann::json()); };
    const Recipe& recipe = step.recipe;
    OrderedJson json = {
        {"model", model},
        {"method", recipe.method},
        {"pattern", recipe.dense() ? OrderedJson() : OrderedJson(patterns_text(recipe, step.decisions))},
        {"parameters", parameter_count(step)},
        {"batch", step.graph.type(step.images).shape[0]},
        {"epochs", progress.epoch},
        {"steps", progress.update},
        {"train_loss", field("train_loss")},
        {"test_loss", field("test_loss")},
        {"test_accuracy", field("test_accuracy")},
        {"best_accuracy", progress.best_accuracy},
        {"best_epoch", progress.best_epoch},
        {"seconds", known.seconds},
        {"images_per_second", field("images_per_second")},
        {"plan", fmt::format("{:016x}", fnv1a(plan))}};
    const int64_t rose_at = progress.loss_watch.rose_at;
    json["loss_rose_at_step"] = rose_at > 0 ? OrderedJson(rose_at) : OrderedJson();
    if (simulated.has_value()) {
        json["simulated_seconds"] = simulated->seconds;
        json["simulated_joules"] = simulated->joules;
        json["loss_scale"] = simulated->loss_scale;
        json["skipped_updates"] = simulated->skipped_updates;
    }
    json.update(products_of(step));
    json["left_dense"] = left_dense(step);
    write_file(summary(), json.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

}  // namespace enmesh
