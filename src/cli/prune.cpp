#include <fnmatch.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/sparsity/codec.hpp"
#include "enmesh/sparsity/prune.hpp"
#include "enmesh/tensor/safetensors.hpp"

namespace enmesh::cli {
namespace {

using nlohmann::ordered_json;

struct PruneArguments {
    std::string input, pattern, out, json;
    std::vector<std::string> skip;
    bool permute = false, permute_only = false, dry_run = false, transposable = false;
    uint64_t seed = 1;
    int threads = 0;
    std::optional<double> time_limit;
};

struct LeftDense {
    std::string name, reason;
};

struct Plan {
    PruneOptions options;
    std::vector<PrunedLayer> layers;
    std::vector<LeftDense> left_dense;
};

PruneOptions options_of(const PruneArguments& arguments) {
    PruneOptions options;
    options.pattern = parse_pattern(arguments.pattern);
    options.permute = arguments.permute || arguments.permute_only;
    options.prune = !arguments.permute_only;
    options.transposable = arguments.transposable;
    options.seed = arguments.seed;
    if (arguments.time_limit && !(*arguments.time_limit > 0))
        refuse("--time-limit must be more than 0 seconds");
    if (arguments.permute_only && arguments.transposable) {
        refuse("--permute-only prunes nothing, so that --transposable has no meaning beside it");
    }
    if (arguments.out.empty() && !arguments.dry_run)
        refuse("--out FILE says where the weights go (or use --dry-run)");
    return options;
}

/// The first skip pattern that matches the name, or nullptr; marks it as used.
const std::string* skipped_by(const std::string& name, const std::vector<std::string>& patterns,
                              std::vector<char>& used) {
    const std::string* first = nullptr;
    for (size_t i = 0; i < patterns.size(); ++i) {
        if (::fnmatch(patterns[i].c_str(), name.c_str(), 0) != 0) continue;
        used[i] = 1;
        if (first == nullptr) first = &patterns[i];
    }
    return first;
}

/// Positions of the tensors to prune; the others go to `plan.left_dense` (those of one dimension without a
/// word).
std::vector<size_t> choose_layers(const SafetensorsReader& reader, const PruneArguments& arguments,
                                  Plan& plan) {
    std::vector<char> used(arguments.skip.size());
    std::vector<std::string> names;
    std::vector<size_t> chosen;
    for (size_t i = 0; i < reader.tensors().size(); ++i) {
        const TensorHeader& header = reader.tensors()[i];
        names.push_back(header.name);
        const std::string* const skip = skipped_by(header.name, arguments.skip, used);
        if (header.shape.rank() < 2) continue;
        std::string reason = skip != nullptr ? fmt::format("skipped by --skip '{}'", *skip)
                                             : why_left_dense(header, plan.options);
        if (reason.empty()) {
            chosen.push_back(i);
        } else {
            plan.left_dense.push_back({header.name, std::move(reason)});
        }
    }
    for (size_t i = 0; i < used.size(); ++i) {
        if (used[i] == 0) {
            refuse("--skip '{}' matches no tensor of {}{}", arguments.skip[i], arguments.input,
                   suggestion(arguments.skip[i], names));
        }
    }
    const auto by_name = [&](size_t a, size_t b) {
        return reader.tensors()[a].name < reader.tensors()[b].name;
    };
    std::sort(chosen.begin(), chosen.end(), by_name);
    std::sort(plan.left_dense.begin(), plan.left_dense.end(),
              [](const LeftDense& a, const LeftDense& b) { return a.name < b.name; });
    if (chosen.empty()) {
        refuse("{}: no tensor can hold {}{}", arguments.input, to_string(plan.options.pattern),
               plan.left_dense.empty()
                   ? std::string(" (none has two dimensions)")
                   : fmt::format(" ({}: {})", plan.left_dense[0].name, plan.left_dense[0].reason));
    }
    return chosen;
}

/// A line on a terminal that is rewritten for each layer.
class LayerMeter {
  public:
    void show(size_t index, size_t count, const std::string& name) {
        if (!terminal_) return;
        std::fprintf(stderr, "\r\033[K%zu of %zu  %s", index + 1, count, name.c_str());
        std::fflush(stderr);
    }
    ~LayerMeter() {
        if (terminal_) std::fputs("\r\033[K", stderr);
    }

  private:
    bool terminal_ = ::isatty(STDERR_FILENO) != 0;
};

/// What a layer's search is worth in time: each gets its share of what is left of the limit.
double search_cost(const TensorHeader& header) {
    const WeightExtents extents = WeightExtents::of(header.shape);
    const double columns = static_cast<double>(extents.channels);
    return columns * std::min(columns, 2048.0) * static_cast<double>(extents.rows()) + 1e8;
}

Plan make_plan(const SafetensorsReader& reader, const PruneArguments& arguments) {
    const Timer timer;
    Plan plan;
    plan.options = options_of(arguments);
    const std::vector<size_t> chosen = choose_layers(reader, arguments, plan);
    double cost_left = 0;
    for (const size_t index : chosen) cost_left += search_cost(reader.tensors()[index]);
    LayerMeter meter;
    for (size_t i = 0; i < chosen.size(); ++i) {
        const NamedTensor tensor = reader.read(chosen[i]);
        meter.show(i, chosen.size(), tensor.name);
        PruneOptions options = plan.options;
        const double cost = search_cost(tensor);
        if (arguments.time_limit) {
            options.time_limit_seconds =
                std::max(0.0, *arguments.time_limit - timer.seconds()) * cost / cost_left;
        }
        cost_left -= cost;
        const std::vector<float> weights = float_weights(tensor, tensor.data.as<std::byte>());
        plan.layers.push_back(plan_layer(tensor, weights, options));
    }
    return plan;
}

std::string permutation_name(const std::string& tensor) { return tensor + ".permutation"; }

void write_pruned(const SafetensorsReader& reader, const Plan& plan, const std::string& out) {
    std::map<std::string, const PrunedLayer*> layers;
    std::map<std::string, const PrunedLayer*> permutations;
    std::vector<TensorHeader> headers(reader.tensors().begin(), reader.tensors().end());
    for (const PrunedLayer& layer : plan.layers) {
        layers[layer.name] = &layer;
        if (layer.permutation.empty()) continue;
        permutations[permutation_name(layer.name)] = &layer;
        headers.push_back({permutation_name(layer.name), "I64", {layer.cols}});
    }
    SafetensorsWriter writer(out, std::move(headers), reader.metadata());
    for (const TensorHeader& header : writer.tensors()) {
        if (const auto found = permutations.find(header.name); found != permutations.end()) {
            writer.write(found->second->permutation.data());
            continue;
        }
        NamedTensor tensor = reader.read(*reader.find(header.name));
        if (const auto found = layers.find(header.name); found != layers.end()) {
            apply_plan(*found->second, plan.options, tensor);
        }
        writer.write(tensor.data.data());
    }
    writer.commit();
}

/// A permutation's name may be taken: by an earlier pruning of the same file, say.
void check_names(const SafetensorsReader& reader, const Plan& plan, const std::string& input) {
    for (const PrunedLayer& layer : plan.layers) {
        if (!layer.permutation.empty() && reader.find(permutation_name(layer.name))) {
            refuse("{}: holds '{}' already; it has been permuted before", input,
                   permutation_name(layer.name));
        }
    }
}

ordered_json to_json(const Plan& plan) {
    ordered_json layers = ordered_json::array(), left = ordered_json::array();
    for (const PrunedLayer& layer : plan.layers) {
        layers.push_back({{"name", layer.name},
                          {"rows", layer.rows},
                          {"cols", layer.cols},
                          {"magnitude", layer.magnitude},
                          {"kept_plain", layer.kept_plain},
                          {"kept", layer.kept},
                          {"seconds", layer.seconds},
                          {"exact", layer.exact}});
    }
    for (const LeftDense& tensor : plan.left_dense)
        left.push_back({{"name", tensor.name}, {"reason", tensor.reason}});
    return {{"pattern", to_string(plan.options.pattern)}, {"layers", layers}, {"left_dense", left}};
}

void print_table(const Plan& plan) {
    size_t width = 5;
    for (const PrunedLayer& layer : plan.layers) width = std::max(width, layer.name.size());
    fmt::print("{:<{}}  {:>9} {:>7}  {:>10} {:>10}  {:>7}\n", "layer", width, "rows", "cols", "lost plain",
               "lost", "seconds");
    const auto lost = [](const PrunedLayer& layer, double kept) {
        return fmt::format("{:.2f} %", layer.magnitude > 0 ? 100 * (1 - kept / layer.magnitude) : 0.0);
    };
    PrunedLayer total;
    for (const PrunedLayer& layer : plan.layers) {
        fmt::print("{:<{}}  {:>9} {:>7}  {:>10} {:>10}  {:>7.2f}\n", layer.name, width, layer.rows,
                   layer.cols, lost(layer, layer.kept_plain), lost(layer, layer.kept), layer.seconds);
        total.magnitude += layer.magnitude;
        total.kept_plain += layer.kept_plain;
        total.kept += layer.kept;
        total.seconds += layer.seconds;
    }
    fmt::print("{:<{}}  {:>9} {:>7}  {:>10} {:>10}  {:>7.2f}\n", "all", width, "", "",
               lost(total, total.kept_plain), lost(total, total.kept), total.seconds);
    for (const LeftDense& tensor : plan.left_dense)
        fmt::print("left dense: {}  ({})\n", tensor.name, tensor.reason);
}

void run_prune(const PruneArguments& arguments) {
    if (arguments.threads > 0) set_threads(arguments.threads);
    if (arguments.input.ends_with(".onnx")) refuse("{}: ONNX files cannot be pruned yet", arguments.input);
    options_of(arguments);
    const SafetensorsReader reader(arguments.input);
    if (reader.metadata().contains(std::string(packed_metadata_key))) {
        refuse("{}: is packed; enmesh unpack it first", arguments.input);
    }
    const Plan plan = make_plan(reader, arguments);
    check_names(reader, plan, arguments.input);
    if (!arguments.dry_run) write_pruned(reader, plan, arguments.out);
    if (arguments.json != "-") print_table(plan);
    if (arguments.json == "-") {
        fmt::print("{}\n", to_json(plan).dump(2));
    } else if (!arguments.json.empty()) {
        write_file(arguments.json, to_json(plan).dump(2) + "\n");
    }
    if (arguments.json != "-" && !arguments.dry_run) fmt::print("wrote {}\n", arguments.out);
}

}  // namespace

void add_prune(CLI::App& app) {
    CLI::App* command = app.add_subcommand(
        "prune", "Prune weights to N:M by magnitude, after a channel permutation if asked");
    const auto arguments = std::make_shared<PruneArguments>();
    command->add_option("IN", arguments->input, "A safetensors file")->required();
    command->add_option("--pattern", arguments->pattern, "N:M, such as 2:4")->required();
    command->add_flag("--permute", arguments->permute,
                      "Search a permutation of the input channels that keeps more");
    command->add_flag("--permute-only", arguments->permute_only, "Permute, but prune nothing");
    command->add_flag("--transposable", arguments->transposable,
                      "One mask that is N:M along inputs and outputs alike");
    command->add_option("--skip", arguments->skip,
                        "Leave tensors of this name dense (* and ? match; repeatable)");
    command->add_option("--seed", arguments->seed, "Of the search")->capture_default_str();
    command->add_option("--threads", arguments->threads, "Default: all cores")->check(CLI::PositiveNumber);
    command->add_option("--time-limit", arguments->time_limit,
                        "Seconds that the searches of the whole file may take");
    command->add_flag("--dry-run", arguments->dry_run, "Say what would be pruned and lost; write no weights");
    command->add_option("--out", arguments->out, "The pruned safetensors file");
    command->add_option("--json", arguments->json, "Write the result as JSON (- for standard output)");
    command->footer(
        "Every tensor of two or more dimensions is pruned by itself along its second, the input channels.\n"
        "A permutation is written beside its tensor as NAME.permutation: permuted[:, i] = weights[:, "
        "permutation[i]].\n"
        "Examples:\n"
        "  enmesh prune model.safetensors --pattern 2:4 --dry-run\n"
        "  enmesh prune model.safetensors --pattern 2:4 --permute --out model24.safetensors\n"
        "  enmesh prune model.safetensors --pattern 2:8 --skip 'classifier.*' --skip stem.weight --out "
        "out.safetensors");
    command->callback([arguments] { run_prune(*arguments); });
}

}  // namespace enmesh::cli
