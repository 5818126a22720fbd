#include <cmath>
#include <utility>

#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/folder_lock.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/data/loader.hpp"
#include "train/batch.hpp"
#include "train/loss_scale.hpp"
#include "train/run_files.hpp"
#include "train/trainer_state.hpp"

namespace enmesh {
namespace {

/// One call of Trainer::fit.
class Fit {
  public:
    Fit(TrainerState& state, const data::Dataset& dataset, const FitOptions& options)
        : state_(state),
          dataset_(dataset),
          options_(options),
          loader_(data::Loader::training(dataset, {.batch = state.batch(),
                                                   .seed = state.options.seed,
                                                   .threads = options.loader_threads,
                                                   .augmentation = options.augmentation})),
          length_{options.epochs, loader_.batches_per_epoch() / accumulate()},
          writer_(state.step) {
        if (options.epochs < 1) refuse("at least one epoch is needed, not {}", options.epochs);
        if (length_.updates_per_epoch < 1) {
            refuse("an epoch has {} batches of {}, fewer than the {} that one update accumulates",
                   loader_.batches_per_epoch(), state.batch(), accumulate());
        }
    }

    FitReport run() {
        describe_run();
        state_.simulated_cost();  // a step that the machine cannot run is refused before anything is written
        start();
        if (scales_loss() && progress().loss_scale == 0) progress().loss_scale = loss_scale::first;
        open_files();
        while (progress().epoch < options_.epochs && !report_.interrupted) run_epoch();
        if (progress().epoch >= options_.epochs && files_.has_value()) {
            files_->write_summary(step(), state_.options.model, progress(), state_.plan_text(), simulated());
        }
        report_.progress = progress();
        return std::move(report_);
    }

  private:
    Progress& progress() const { return state_.progress; }
    const TrainingStep& step() const { return state_.step; }
    bool scales_loss() const { return state_.options.backend.half_operands; }
    int accumulate() const { return step().options.accumulate; }
    int64_t batches_per_epoch() const { return length_.updates_per_epoch * accumulate(); }
    double rate(int64_t update) const {
        return learning_rate(options_.schedule, base_learning_rate(step().options.optimizer), update,
                             length_);
    }

    void describe_run() {
        state_.training = describe(step().options);
        state_.training["batch"] = state_.batch();
        state_.training["seed"] = state_.options.seed;
        state_.training["schedule"] = describe(options_.schedule);
        state_.training["epochs"] = options_.epochs;
        state_.training["augmentation"] = to_string(options_.augmentation);
        state_.training["data"] = describe(dataset_);
        if (const DType dtype = state_.options.backend.dtype; dtype != DType::f32)
            state_.training["dtype"] = to_string(dtype);
        if (scales_loss()) state_.training["device"] = state_.options.backend.name;
    }

    /// Everything that decides the bits must be as it was; only the run may become longer.
    void check_same_run(const SafetensorsReader& file) const {
        const auto read = [&](const char* key) {
            return Json::parse(file.metadata().at(key), nullptr, false);
        };
        Json there = read("enmesh.training"), here = state_.training;
        there["model"] = read("enmesh.model");
        here["model"] = Json(state_.options.model);
        there["recipe"] = read("enmesh.recipe");
        here["recipe"] = describe(state_.recipe);
        if (const int64_t epochs = there.value("epochs", int64_t{0}); epochs > options_.epochs) {
            refuse("{}: a run of {} epochs cannot become one of {}", files_->last().string(), epochs,
                   options_.epochs);
        }
        there.erase("epochs");
        here.erase("epochs");
        if (const auto found = differences(there, here); !found.empty()) {
            refuse("{}: a checkpoint of another run: {}", files_->last().string(), listed(found));
        }
    }

    /// The weights: of the checkpoint that is resumed, or of the start.
    void start() {
        if (!options_.out.empty()) files_.emplace(options_.out);
        // Before its checkpoint is read: whoever writes there may be about to replace it.
        std::error_code ignored;
        if (files_.has_value() && std::filesystem::is_directory(options_.out, ignored))
            lock_.emplace(options_.out);
        if (!options_.resume || !files_.has_value() || !std::filesystem::exists(files_->last())) {
            state_.executor();
            return;
        }
        const SafetensorsReader file(files_->last());
        const CheckpointInfo info = read_checkpoint_info(file, files_->last());
        if (!info.is_checkpoint) refuse("{}: not a checkpoint of enmesh", files_->last().string());
        check_same_run(file);
        if (info.progress.batches >= batches_per_epoch()) {
            refuse("{}: stands at batch {} of an epoch of {}", files_->last().string(), info.progress.batches,
                   batches_per_epoch());
        }
        if (info.progress.epoch >= options_.epochs) files_->require_metrics_of(info.progress.epoch);
        state_.resume_from(files_->last(), info);
    }

    void open_files() {
        if (files_.has_value()) {
            make_writable_directory(options_.out);
            if (!lock_.has_value()) lock_.emplace(options_.out);
        }
        if (options_.on_start) options_.on_start(progress());
        if (options_.on_note)
            for (const std::string& note : state_.notes) options_.on_note(note);
        if (!files_.has_value()) return;
        const int64_t cut = files_->open(progress());
        if (cut > 0 && progress().update > 0 && options_.on_note) {
            options_.on_note(fmt::format(
                "metrics.jsonl: the lines after step {} are cut off ({}): the checkpoint stands there",
                progress().update, cut));
        }
    }

    void run_epoch() {
        const Timer timer;
        loader_.seek(progress().epoch, progress().batches);
        int64_t images = 0;
        while (progress().batches < batches_per_epoch()) {
            const double loss = run_update();
            images += state_.batch() * accumulate();
            const bool rose =
                progress().loss_watch.add(loss, state_.batch() * accumulate(), progress().update);
            report_step(loss, images, timer.seconds(), rose);
            report_.interrupted = options_.stop && options_.stop();
            if (progress().batches == batches_per_epoch()) break;
            const bool due =
                options_.checkpoint_every > 0 && progress().update % options_.checkpoint_every == 0;
            if ((due || report_.interrupted) && files_.has_value()) {
                require_finite_state();
                save(files_->last());
            }
            if (report_.interrupted) return;
        }
        finish_epoch(timer, images);
    }

    /// The mean loss of its micro-batches.
    double run_update() {
        Executor& executor = *state_.running;
        const double scale = scales_loss() ? progress().loss_scale : 1;
        if (scales_loss()) write_scalar(step().graph.find("loss_scale"), scale);
        double sum = 0;
        for (int index = 0; index < accumulate(); ++index) {
            const RunContext context{state_.options.seed, progress().update, index};
            writer_.write(*loader_.next(), executor);
            executor.gradients(context);
            const double loss = executor.read(step().loss).f32()[0];
            if (!std::isfinite(loss)) {
                diverged(std::string("the loss is ") + (std::isnan(loss) ? "NaN" : "infinite"),
                         executor.first_non_finite(context), progress().update + 1);
            }
            progress().loss_sum += loss;
            sum += loss;
        }
        write_scalar(step().learning_rate, rate(progress().update));
        write_scalar(step().gradient_scale, 1.0 / (accumulate() * scale));
        write_scalar(step().update_count,
                     static_cast<double>(progress().update + 1 - progress().skipped_updates));
        const bool overflowed = scales_loss() && !gradients_finite(executor);
        if (!overflowed) executor.update({state_.options.seed, progress().update, accumulate() - 1});
        if (scales_loss() && !loss_scale::adjust(progress(), overflowed))
            diverged("gradients overflow however small the loss is scaled", "a gradient",
                     progress().update + 1);
        progress().batches += accumulate();
        ++progress().update;
        return sum / accumulate();
    }

    bool gradients_finite(const Executor& executor) const {
        for (const StepParameter& parameter : step().parameters) {
            const Tensor gradient = executor.read(parameter.gradient);
            for (const float value : gradient.f32()) {
                if (!std::isfinite(value)) return false;
            }
        }
        return true;
    }

    std::optional<Simulated> simulated() const {
        if (!state_.cost.has_value()) return {};
        const SimulatedCost& cost = *state_.cost;
        const auto batches = static_cast<double>(progress().update * accumulate());
        const auto updates = static_cast<double>(progress().update - progress().skipped_updates);
        return Simulated{.seconds = batches * cost.seconds_per_batch + updates * cost.seconds_per_update,
                         .joules = batches * cost.joules_per_batch + updates * cost.joules_per_update,
                         .loss_scale = progress().loss_scale,
                         .skipped_updates = progress().skipped_updates};
    }

    void write_scalar(ValueId id, double value) {
        scalar_.f32()[0] = static_cast<float>(value);
        state_.running->write(id, scalar_);
    }

    void finish_epoch(const Timer& timer, int64_t images) {
        const double training_seconds = timer.seconds();
        require_finite_state();
        const Evaluation test = state_.evaluate(dataset_, dataset_.test, options_.loader_threads);
        if (!std::isfinite(test.loss))
            diverged("the test loss is not finite", "an output on the test images", progress().update);
        EpochReport report{.epoch = progress().epoch + 1,
                           .step = progress().update,
                           .train_loss = progress().loss_sum / static_cast<double>(progress().batches),
                           .test_loss = test.loss,
                           .test_accuracy = test.accuracy,
                           .learning_rate = rate(progress().update - 1)};
        report.images_per_second = static_cast<double>(images) / training_seconds;
        report.seconds = timer.seconds();
        report.simulated = simulated();
        report.loss_rose_at = progress().loss_watch.rose_at;
        progress().epoch += 1;
        progress().batches = 0;
        progress().loss_sum = 0;
        const bool best = test.accuracy > progress().best_accuracy;
        if (best) {
            progress().best_accuracy = test.accuracy;
            progress().best_epoch = progress().epoch;
        }
        if (files_.has_value()) {
            // The checkpoint comes last: whatever a killed run had written beyond it is cut back.
            files_->add(report);
            if (best) save(files_->best());
            save(files_->last());
        }
        report_.epochs.push_back(report);
        if (options_.on_epoch) options_.on_epoch(report);
    }

    /// An update may overflow after a loss that was finite: what is saved must be good to go on from.
    void require_finite_state() const {
        const std::string bad = first_non_finite_value(*state_.running);
        if (!bad.empty()) diverged("the update overflowed", fmt::format("'{}'", bad), progress().update);
    }

    [[noreturn]] void diverged(const std::string& what, const std::string& where, int64_t step) const {
        std::string advice = "no checkpoint was written";
        if (files_.has_value() && std::filesystem::exists(files_->last())) {
            advice = "last good checkpoint: " + files_->last().string();
        }
        fail("{} at step {} (epoch {}): {} is the first that is not finite; {}", what, step,
             progress().epoch + 1, where, advice);
    }

    void save(const std::filesystem::path& path) {
        // The checkpoint must not be ahead of the logs that it cuts back to.
        files_->sync();
        state_.save(path);
    }

    void report_step(double loss, int64_t images, double seconds, bool rose) {
        StepReport report{.epoch = progress().epoch + 1,
                          .epochs = options_.epochs,
                          .update = progress().update,
                          .update_in_epoch = progress().batches / accumulate(),
                          .updates_per_epoch = length_.updates_per_epoch,
                          .loss = progress().loss_sum / static_cast<double>(progress().batches),
                          .last_loss = loss,
                          .learning_rate = rate(progress().update - 1),
                          .images_per_second = static_cast<double>(images) / seconds,
                          .simulated = simulated()};
        if (rose) report.loss_rose = progress().loss_watch;
        if (files_.has_value()) files_->add(report);
        if (options_.on_step) options_.on_step(report);
    }

    TrainerState& state_;
    const data::Dataset& dataset_;
    const FitOptions& options_;
    data::Loader loader_;
    RunLength length_;
    std::optional<RunFiles> files_;
    std::optional<FolderLock> lock_;
    BatchWriter writer_;
    Tensor scalar_{Shape{}};
    FitReport report_;
};

}  // namespace

FitReport fit(TrainerState& state, const data::Dataset& dataset, const FitOptions& options) {
    if (options.batch != 0) state.rebatch(options.batch);
    check_dataset(state.step, dataset);
    return Fit(state, dataset, options).run();
}

}  // namespace enmesh
