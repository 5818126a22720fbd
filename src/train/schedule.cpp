#include "enmesh/train/schedule.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numbers>

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

constexpr std::array kind_names = {"constant", "cosine", "step", "one-cycle"};
constexpr double one_cycle_rise = 0.3;  // of the run

double parse_epoch(std::string_view text, std::string_view whole) {
    double value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc{} || end != text.data() + text.size() || !(value > 0) || !std::isfinite(value)) {
        refuse("schedule '{}': '{}' is not an epoch above 0; an example is step:30,60,80", whole, text);
    }
    return value;
}

/// From `from` at share 0 to `to` at share 1 along a half cosine.
double half_cosine(double from, double to, double share) {
    return to + (from - to) / 2 * (1 + std::cos(std::numbers::pi * share));
}

double one_cycle(const Schedule& schedule, double base, int64_t update, const RunLength& length) {
    const double rise = schedule.warmup.value_or(0) > 0
                            ? *schedule.warmup * static_cast<double>(length.updates_per_epoch)
                            : one_cycle_rise * static_cast<double>(length.updates());
    const double peak = std::max(rise - 1, 0.0), last = static_cast<double>(length.updates() - 1);
    const double initial = base / 25, now = static_cast<double>(update);
    if (now < peak) return half_cosine(initial, base, now / peak);
    return half_cosine(base, initial * 1e-4, last > peak ? (now - peak) / (last - peak) : 1.0);
}

double stepped(const Schedule& schedule, double base, int64_t update, const RunLength& length) {
    const double run = static_cast<double>(length.epochs);
    const std::vector<double> milestones =
        schedule.milestones.empty() ? std::vector<double>{run / 2, run * 3 / 4} : schedule.milestones;
    double rate = base;
    for (const double milestone : milestones) {
        const double first = std::round(milestone * static_cast<double>(length.updates_per_epoch));
        if (static_cast<double>(update) >= first) rate *= schedule.factor;
    }
    return rate;
}

}  // namespace

Schedule parse_schedule(std::string_view text) {
    const size_t colon = text.find(':');
    const std::string_view name = text.substr(0, colon);
    const auto found = std::find(kind_names.begin(), kind_names.end(), name);
    if (found == kind_names.end()) {
        const std::vector<std::string> known(kind_names.begin(), kind_names.end());
        refuse("unknown schedule '{}'{}", name, suggestion(name, known));
    }
    Schedule schedule{.kind = static_cast<ScheduleKind>(found - kind_names.begin()), .milestones = {}};
    if (colon == std::string_view::npos) return schedule;
    if (schedule.kind != ScheduleKind::step) refuse("schedule '{}': only step takes epochs", text);
    for (std::string_view rest = text.substr(colon + 1);;) {
        const size_t comma = rest.find(',');
        schedule.milestones.push_back(parse_epoch(rest.substr(0, comma), text));
        if (comma == std::string_view::npos) break;
        rest.remove_prefix(comma + 1);
    }
    if (!std::is_sorted(schedule.milestones.begin(), schedule.milestones.end())) {
        refuse("schedule '{}': the epochs must rise", text);
    }
    return schedule;
}

std::string to_string(const Schedule& schedule) {
    std::string text = kind_names[static_cast<size_t>(schedule.kind)];
    for (size_t i = 0; i < schedule.milestones.size(); ++i) {
        text += fmt::format("{}{}", i == 0 ? ":" : ",", schedule.milestones[i]);
    }
    return text;
}

double warmup_epochs(const Schedule& schedule, const RunLength& length) {
    const double run = static_cast<double>(length.epochs);
    if (schedule.kind == ScheduleKind::one_cycle && schedule.warmup.value_or(0) <= 0)
        return one_cycle_rise * run;
    return schedule.warmup.value_or(default_warmup * run);
}

double learning_rate(const Schedule& schedule, double base, int64_t update, const RunLength& length) {
    if (schedule.kind == ScheduleKind::one_cycle) return one_cycle(schedule, base, update, length);
    const auto warmup = static_cast<int64_t>(
        std::round(warmup_epochs(schedule, length) * static_cast<double>(length.updates_per_epoch)));
    if (update < warmup) return base * static_cast<double>(update + 1) / static_cast<double>(warmup);
    switch (schedule.kind) {
        case ScheduleKind::cosine: {
            const int64_t falling = length.updates() - warmup;
            if (falling <= 0) return base;
            return half_cosine(base, 0, static_cast<double>(update - warmup) / static_cast<double>(falling));
        }
        case ScheduleKind::step:
            return stepped(schedule, base, update, length);
        default:
            return base;
    }
}

}  // namespace enmesh
