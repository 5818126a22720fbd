#include "train/describe.hpp"

#include <array>
#include <cstring>
#include <span>

#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh {
namespace {

constexpr std::array weight_rules = {WeightRule::dense, WeightRule::magnitude, WeightRule::frozen,
                                     WeightRule::transposable, WeightRule::ff_mask};
constexpr std::array gradient_rules = {GradientRule::dense, GradientRule::magnitude, GradientRule::mvue};

template <typename Rules>
auto rule_from(const Rules& rules, const std::string& name) {
    for (const auto rule : rules) {
        if (to_string(rule) == name) return rule;
    }
    refuse("the recipe has an unknown rule '{}'", name);
}

/// Eight bytes at a time; the tail is padded with zeros.
uint64_t checksum(uint64_t hash, std::span<const std::byte> bytes) {
    for (size_t at = 0; at < bytes.size(); at += sizeof(uint64_t)) {
        uint64_t word = 0;
        std::memcpy(&word, bytes.data() + at, std::min(sizeof word, bytes.size() - at));
        hash = Random::mix(hash ^ word) + bytes.size();
    }
    return hash;
}

uint64_t checksum(uint64_t hash, const data::Images& images) {
    hash = checksum(hash, std::as_bytes(std::span(images.pixels)));
    return checksum(hash, std::as_bytes(std::span(images.labels)));
}

std::string text_of(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

}  // namespace

Json describe(const Recipe& recipe) {
    Json overrides = Json::array();
    for (const RecipeOverride& item : recipe.overrides) {
        overrides.push_back({{"layers", item.layers}, {"sparse", item.sparse}});
        if (item.pattern.m != 0) overrides.back()["pattern"] = to_string(item.pattern);
    }
    return {{"method", recipe.method},
            {"pattern", recipe.dense() ? "" : to_string(recipe.pattern)},
            {"ff_weight", to_string(recipe.ff_weight)},
            {"bp_weight", to_string(recipe.bp_weight)},
            {"bp_gradient", to_string(recipe.bp_gradient)},
            {"wg_gradient", to_string(recipe.wg_gradient)},
            {"wg_masked", recipe.wg_masked},
            {"sr_decay", recipe.sr_decay},
            {"mask_period", recipe.mask_period},
            {"pre_generate", recipe.pre_generate},
            {"overrides", std::move(overrides)}};
}

Recipe recipe_from(const Json& json) {
    Recipe recipe;
    recipe.method = json.at("method").get<std::string>();
    if (const auto pattern = json.at("pattern").get<std::string>(); !pattern.empty()) {
        recipe.pattern = parse_pattern(pattern);
    }
    recipe.ff_weight = rule_from(weight_rules, json.at("ff_weight").get<std::string>());
    recipe.bp_weight = rule_from(weight_rules, json.at("bp_weight").get<std::string>());
    recipe.bp_gradient = rule_from(gradient_rules, json.at("bp_gradient").get<std::string>());
    recipe.wg_gradient = rule_from(gradient_rules, json.at("wg_gradient").get<std::string>());
    recipe.wg_masked = json.at("wg_masked").get<bool>();
    recipe.sr_decay = json.at("sr_decay").get<double>();
    recipe.mask_period = json.at("mask_period").get<int64_t>();
    recipe.pre_generate = json.at("pre_generate").get<bool>();
    for (const Json& item : json.at("overrides")) {
        recipe.overrides.push_back({item.at("layers").get<std::string>(), item.at("sparse").get<bool>()});
        if (item.contains("pattern"))
            recipe.overrides.back().pattern = parse_pattern(item.at("pattern").get<std::string>());
    }
    return recipe;
}

Json describe(const StepOptions& options) {
    Json optimizer;
    if (const Sgd* const sgd = std::get_if<Sgd>(&options.optimizer)) {
        optimizer = {{"name", "sgd"},
                     {"lr", sgd->lr},
                     {"momentum", sgd->momentum},
                     {"weight_decay", sgd->weight_decay},
                     {"nesterov", sgd->nesterov}};
    } else {
        const AdamW& adam = std::get<AdamW>(options.optimizer);
        optimizer = {{"name", "adamw"},     {"lr", adam.lr},           {"beta1", adam.beta1},
                     {"beta2", adam.beta2}, {"epsilon", adam.epsilon}, {"weight_decay", adam.weight_decay}};
    }
    return {{"optimizer", std::move(optimizer)},      {"label_smoothing", options.label_smoothing},
            {"clip_norm", options.clip_norm},         {"accumulate", options.accumulate},
            {"average_decay", options.average_decay}, {"decay_all", options.decay_all}};
}

Json describe(const Schedule& schedule) {
    Json warmup = schedule.warmup.value_or(0.0);  // 0 leaves one-cycle its own rise
    if (!schedule.warmup.has_value() && schedule.kind != ScheduleKind::one_cycle)
        warmup = fmt::format("{} of the run", default_warmup);
    return {{"kind", to_string(schedule)}, {"warmup", std::move(warmup)}, {"factor", schedule.factor}};
}

Json describe(const data::Dataset& dataset) {
    const uint64_t hash = checksum(checksum(0, dataset.train), dataset.test);
    return {{"kind", dataset.name},         {"image", to_string(dataset.image)},
            {"classes", dataset.classes()}, {"train", dataset.train.count()},
            {"test", dataset.test.count()}, {"checksum", fmt::format("{:016x}", hash)}};
}

Json describe(const Progress& progress) {
    Json json = {{"epoch", progress.epoch},           {"batches", progress.batches},
                 {"update", progress.update},         {"loss_sum", progress.loss_sum},
                 {"best_epoch", progress.best_epoch}, {"best_accuracy", progress.best_accuracy}};
    if (progress.loss_scale > 0) {
        json["loss_scale"] = progress.loss_scale;
        json["good_updates"] = progress.good_updates;
        json["skipped_updates"] = progress.skipped_updates;
    }
    if (const LossWatch& watch = progress.loss_watch; watch.updates > 0) {
        json["loss_watch"] = {{"updates", watch.updates},
                              {"first", watch.first},
                              {"smooth", watch.smooth},
                              {"rose_at", watch.rose_at}};
    }
    return json;
}

namespace {

/// Checkpoints of before the watch have none: a run that goes on from one is not watched.
LossWatch loss_watch_from(const Json& progress) {
    const auto found = progress.find("loss_watch");
    if (found == progress.end()) return {};
    return {.updates = found->at("updates").get<int64_t>(),
            .first = found->at("first").get<double>(),
            .smooth = found->at("smooth").get<double>(),
            .rose_at = found->at("rose_at").get<int64_t>()};
}

}  // namespace

Progress progress_from(const Json& json) {
    return {.epoch = json.at("epoch").get<int64_t>(),
            .batches = json.at("batches").get<int64_t>(),
            .update = json.at("update").get<int64_t>(),
            .loss_sum = json.at("loss_sum").get<double>(),
            .best_accuracy = json.at("best_accuracy").get<double>(),
            .best_epoch = json.at("best_epoch").get<int64_t>(),
            .loss_scale = json.value("loss_scale", 0.0),
            .good_updates = json.value("good_updates", int64_t{0}),
            .skipped_updates = json.value("skipped_updates", int64_t{0}),
            .loss_watch = loss_watch_from(json)};
}

std::vector<std::string> differences(const Json& there, const Json& here) {
    const Json left = there.flatten(), right = here.flatten();
    std::vector<std::string> found;
    const auto name_of = [](std::string key) {
        key.erase(0, 1);
        for (char& c : key) c = c == '/' ? '.' : c;
        return key;
    };
    for (const auto& [key, value] : left.items()) {
        const auto other = right.find(key);
        const std::string mine = other == right.end() ? "absent" : text_of(*other);
        if (other == right.end() || *other != value) {
            found.push_back(fmt::format("{} is {} there and {} here", name_of(key), text_of(value), mine));
        }
    }
    for (const auto& [key, value] : right.items()) {
        if (!left.contains(key)) {
            found.push_back(fmt::format("{} is absent there and {} here", name_of(key), text_of(value)));
        }
    }
    return found;
}

std::string listed(const std::vector<std::string>& items) {
    constexpr size_t most = 3;
    std::string text;
    for (size_t i = 0; i < items.size() && i < most; ++i) text += (i == 0 ? "" : "; ") + items[i];
    if (items.size() > most) text += fmt::format("; and {} more", items.size() - most);
    return text;
}

}  // namespace enmesh
