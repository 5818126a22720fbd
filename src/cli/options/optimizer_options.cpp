#include "cli/options/optimizer_options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "cli/options/run_options.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/tensor/safetensors.hpp"

namespace enmesh::cli {
namespace {

const std::vector<std::string> optimizers = {"sgd", "adamw"};

/// The value at `path` ("optimizer/lr") where it is of that type and nothing was given.
template <typename T>
void take(std::optional<T>& given, const nlohmann::json& training, const char* path) {
    const nlohmann::json::json_pointer at(path);
    if (given.has_value() || !training.contains(at)) return;
    const nlohmann::json& value = training.at(at);
    const bool fits = std::is_same_v<T, bool>     ? value.is_boolean()
                      : std::is_same_v<T, double> ? value.is_number()
                                                  : value.is_string();
    if (fits) given = value.get<T>();
}

Sgd requested_sgd(const OptimizerRequest& request, Sgd sgd) {
    sgd.lr = request.lr.value_or(sgd.lr);
    sgd.momentum = request.momentum.value_or(sgd.momentum);
    sgd.weight_decay = request.weight_decay.value_or(sgd.weight_decay);
    // Nesterov's form is one of momentum: without any there is none.
    sgd.nesterov = request.nesterov.value_or(sgd.nesterov && sgd.momentum > 0);
    return sgd;
}

AdamW requested_adamw(const OptimizerRequest& request, AdamW adamw) {
    adamw.lr = request.lr.value_or(adamw.lr);
    adamw.weight_decay = request.weight_decay.value_or(adamw.weight_decay);
    return adamw;
}

void check_adamw(const OptimizerRequest& request) {
    // Where the network's defaults chose it, nobody has read the word yet.
    const char* const hint =
        request.optimizer.has_value() ? "" : ", which is this network's default: give --optimizer sgd too";
    if (request.nesterov.value_or(false)) refuse("--nesterov belongs to sgd, not to adamw{}", hint);
    if (request.momentum.has_value()) refuse("--momentum belongs to sgd, not to adamw{}", hint);
}

std::string optimizer_text(const Optimizer& optimizer) {
    if (const Sgd* const sgd = std::get_if<Sgd>(&optimizer)) {
        return fmt::format("sgd, learning rate {}, {} {}, weight decay {}", sgd->lr,
                           sgd->nesterov ? "Nesterov's momentum" : "momentum", sgd->momentum,
                           sgd->weight_decay);
    }
    const AdamW& adamw = std::get<AdamW>(optimizer);
    return fmt::format("adamw, learning rate {}, weight decay {}", adamw.lr, adamw.weight_decay);
}

std::string clip_text(double clip_norm) {
    return clip_norm > 0 ? fmt::format(", gradients clipped to norm {}", clip_norm) : "";
}

}  // namespace

void add_optimizer_options(CLI::App& command, OptimizerRequest& request) {
    const auto group = [](CLI::Option* option) { return option->group("Optimization"); };
    group(command.add_option("--optimizer", request.optimizer, "sgd or adamw (by the network, see below)"));
    group(command.add_option("--lr", request.lr, "Learning rate (by the network)"));
    group(command.add_option("--momentum", request.momentum, "Of sgd (0.9)"));
    group(command.add_flag_function(
              "--nesterov", [&request](int64_t count) { request.nesterov = count > 0; },
              "Nesterov's momentum (with sgd); --nesterov=false is plain momentum"))
        ->check(CLI::IsMember({"true", "false"}));
    group(command.add_option("--weight-decay", request.weight_decay,
                             "Not of norms and biases (sgd 0.0005, adamw 0.05)"));
    group(
        command.add_option("--schedule", request.schedule, "constant, cosine, one-cycle or step[:EPOCH,...]")
            ->capture_default_str());
    group(command.add_option(
        "--warmup", request.warmup,
        fmt::format("Epochs of rising learning rate ({} of --epochs; one-cycle: 0.3)", default_warmup)));
    group(command.add_option("--clip", request.clip,
                             "Largest norm of the gradient; 0 is no limit (by the network)"));
}

std::string defaults_text() {
    std::string text = "What is not given, by the network:\n";
    for (const TrainingDefaults& row : training_defaults()) {
        text += fmt::format("  {}: {}{}\n", row.networks, optimizer_text(row.optimizer()),
                            clip_text(row.clip_norm));
    }
    return text;
}

void check_request(const OptimizerRequest& request, int64_t epochs) {
    const double most = 1e30, below_one = std::nextafter(1.0, 0.0);
    require_between("--lr", request.lr.value_or(0), 0, most);
    require_between("--weight-decay", request.weight_decay.value_or(0), 0, most);
    require_between("--momentum", request.momentum.value_or(0), 0, below_one);
    require_between("--clip", request.clip.value_or(0), 0, most);
    require_between("--warmup", request.warmup.value_or(0), 0, static_cast<double>(epochs));
    parse_schedule(request.schedule);
    const std::string& optimizer = request.optimizer.value_or("sgd");
    if (std::find(optimizers.begin(), optimizers.end(), optimizer) == optimizers.end())
        refuse("unknown optimizer '{}'{}", optimizer, suggestion(optimizer, optimizers));
    if (request.nesterov.value_or(false) && request.momentum == 0.0)
        refuse("--nesterov needs --momentum above 0");
    if (optimizer == "adamw") check_adamw(request);
}

void take_from_checkpoint(OptimizerRequest& request, const std::filesystem::path& last) {
    std::error_code ignored;
    if (!std::filesystem::exists(last, ignored)) return;
    const Metadata metadata = SafetensorsReader(last).metadata();
    const auto found = metadata.find("enmesh.training");
    if (found == metadata.end()) return;
    // Metadata that cannot be read are refused where the run goes on.
    const nlohmann::json training = nlohmann::json::parse(found->second, nullptr, false);
    if (!training.is_object()) return;
    take(request.optimizer, training, "/optimizer/name");
    take(request.clip, training, "/clip_norm");
    take(request.warmup, training, "/schedule/warmup");
    const nlohmann::json::json_pointer name("/optimizer/name");
    if (!training.contains(name) || training.at(name) != request.optimizer) return;
    take(request.lr, training, "/optimizer/lr");
    take(request.momentum, training, "/optimizer/momentum");
    take(request.nesterov, training, "/optimizer/nesterov");
    take(request.weight_decay, training, "/optimizer/weight_decay");
}

StepOptions requested_step(const OptimizerRequest& request, const Graph& graph) {
    const TrainingDefaults& row = training_defaults(graph);
    StepOptions options{.clip_norm = request.clip.value_or(row.clip_norm)};
    if (request.optimizer.has_value() ? request.optimizer == "adamw" : row.uses_adamw) {
        check_adamw(request);
        options.optimizer = requested_adamw(request, row.adamw);
    } else {
        options.optimizer = requested_sgd(request, row.sgd);
    }
    return options;
}

Schedule requested_schedule(const OptimizerRequest& request) {
    Schedule schedule = parse_schedule(request.schedule);
    schedule.warmup = request.warmup;
    return schedule;
}

std::string training_text(const StepOptions& options, const Schedule& schedule, int64_t epochs) {
    const double rise = warmup_epochs(schedule, {.epochs = epochs});
    return fmt::format("training: {}{}; {} over {} epochs{}", optimizer_text(options.optimizer),
                       clip_text(options.clip_norm), to_string(schedule), epochs,
                       rise > 0 ? fmt::format(", rising for the first {:.4g}", rise) : "");
}

}  // namespace enmesh::cli
