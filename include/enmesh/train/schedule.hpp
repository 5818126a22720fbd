#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace enmesh {

enum class ScheduleKind : uint8_t { constant, cosine, step, one_cycle };

/// The share of a run over which the rate rises where its schedule does not say. At the full rate from the
/// first update a network with batch norm and learning rate 0.1 ends its first epoch above the loss of its
/// first step.
inline constexpr double default_warmup = 0.2;

/// How the learning rate changes over a run, in epochs, so that it does not depend on the batch.
struct Schedule {
    ScheduleKind kind = ScheduleKind::cosine;
    /// Epochs (fractions too) over which the rate first rises linearly; nothing: `default_warmup` of the run.
    /// one_cycle has a rise of its own, three tenths of the run, whose length a number above 0 replaces.
    std::optional<double> warmup{};
    /// step: epochs at whose beginning the rate is multiplied by `factor`; empty: after a half and three
    /// quarters of the run.
    std::vector<double> milestones{};
    double factor = 0.1;

    friend bool operator==(const Schedule&, const Schedule&) = default;
};

/// "constant", "cosine", "one-cycle", "step", or "step:30,60,80" with its milestones. Refuses anything else
/// with the nearest name.
Schedule parse_schedule(std::string_view text);
std::string to_string(const Schedule& schedule);

/// The length of a run, in updates.
struct RunLength {
    int64_t epochs = 1;
    int64_t updates_per_epoch = 1;

    int64_t updates() const { return epochs * updates_per_epoch; }
};

/// The epochs over which the rate rises in a run of that length.
double warmup_epochs(const Schedule& schedule, const RunLength& length);

/// The learning rate of update `update` (0 .. updates - 1), a pure function. With W updates of warm-up and U
/// in all, u of them made:
/// - warm-up: base * (u + 1) / W;
/// - constant: base;
/// - cosine: base / 2 * (1 + cos(pi * (u - W) / (U - W))) (Loshchilov, Hutter 2017, one cycle down to 0);
/// - step: base * factor^(milestones passed);
/// - one_cycle: base / 25 rising along a half cosine to base at the end of the first phase, then falling
/// along
///   another to base / 250000 at the last update (Smith, Topin 2018, in the form PyTorch gives it).
double learning_rate(const Schedule& schedule, double base, int64_t update, const RunLength& length);

}  // namespace enmesh
