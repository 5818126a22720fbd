#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.hpp"
#include "cli/files/prune_arguments.hpp"
#include "cli/files/prune_report.hpp"
#include "cli/options/named_files.hpp"
#include "cli/options/run_options.hpp"
#include "cli/options/team.hpp"
#include "cli/train/checkpoint_network.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/report/line_meter.hpp"
#include "enmesh/sparsity/codec.hpp"

namespace enmesh::cli {
namespace {

/// Positions of the tensors to prune; the others go to `plan.left_dense` (those of one dimension without a
/// word).
std::vector<size_t> choose_layers(const SafetensorsReader& reader, const PruneArguments& arguments,
                                  PruneReport& plan) {
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
    const bool skipped =
        std::all_of(plan.left_dense.begin(), plan.left_dense.end(),
                    [](const LeftDense& each) { return each.reason.starts_with("skipped by"); });
    if (chosen.empty() && skipped && !plan.left_dense.empty()) {
        refuse("{}: --skip leaves nothing to prune: all {} tensors are skipped", arguments.input,
               plan.left_dense.size());
    }
    if (chosen.empty()) {
        refuse("{}: no tensor can hold {}{}", arguments.input, to_string(plan.options.pattern),
               plan.left_dense.empty()
                   ? std::string(" (none has two dimensions)")
                   : fmt::format(" ({}: {})", plan.left_dense[0].name, plan.left_dense[0].reason));
    }
    return chosen;
}

/// What a layer's search is worth in time: each gets its share of what is left of the limit.
double search_cost(const TensorHeader& header) {
    const WeightExtents extents = WeightExtents::of(header.shape);
    const double columns = static_cast<double>(extents.channels);
    return columns * std::min(columns, 2048.0) * static_cast<double>(extents.rows()) + 1e8;
}

PruneReport make_plan(const SafetensorsReader& reader, const PruneArguments& arguments) {
    const Timer timer;
    PruneReport plan;
    plan.options = prune_options(arguments);
    const std::vector<size_t> chosen = choose_layers(reader, arguments, plan);
    double cost_left = 0;
    for (const size_t index : chosen) cost_left += search_cost(reader.tensors()[index]);
    report::LineMeter meter;
    for (size_t i = 0; i < chosen.size(); ++i) {
        const NamedTensor tensor = reader.read(chosen[i]);
        meter.show(fmt::format("{} of {}  {}", i + 1, chosen.size(), tensor.name));
        PruneOptions options = plan.options;
        const double cost = search_cost(tensor);
        if (arguments.time_limit) {
            options.time_limit_seconds =
                std::max(0.0, *arguments.time_limit - timer.seconds()) * cost / cost_left;
        }
        cost_left -= cost;
        const std::vector<float> weights =
            naming(arguments.input, [&] { return float_weights(tensor, tensor.data.as<std::byte>()); });
        plan.layers.push_back(plan_layer(tensor, weights, options));
    }
    return plan;
}

std::string permutation_name(const std::string& tensor) { return tensor + ".permutation"; }

void write_pruned(const SafetensorsReader& reader, const PruneReport& plan, const std::string& out) {
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
void check_names(const SafetensorsReader& reader, const PruneReport& plan, const std::string& input) {
    for (const PrunedLayer& layer : plan.layers) {
        if (!layer.permutation.empty() && reader.find(permutation_name(layer.name))) {
            refuse("{}: holds '{}' already; it has been permuted before", input,
                   permutation_name(layer.name));
        }
    }
}

/// A file without a graph: each tensor by itself.
PruneReport prune_tensors(const PruneArguments& arguments, const SafetensorsReader& reader) {
    const auto needs_graph = [&](bool given, const char* option) {
        if (given)
            refuse("{}: {} has no graph (an ONNX file or a checkpoint of ours has one)", option,
                   arguments.input);
    };
    needs_graph(!arguments.sparse.empty(), "--sparse");
    needs_graph(!arguments.model.empty(), "--model");
    needs_graph(!arguments.image.empty(), "--image");
    if (onnx::is_onnx_path(arguments.out))
        refuse("--out {}: {} has no graph to write as ONNX", arguments.out, arguments.input);
    PruneReport plan = make_plan(reader, arguments);
    check_names(reader, plan, arguments.input);
    if (!arguments.dry_run) write_pruned(reader, plan, arguments.out);
    return plan;
}

PruneReport pruned(const PruneArguments& arguments) {
    if (onnx::is_onnx_path(arguments.input)) return prune_onnx(arguments);
    const SafetensorsReader reader(arguments.input);
    require_unpacked(reader, arguments.input);
    if (read_checkpoint_info(reader, arguments.input).is_checkpoint) return prune_checkpoint(arguments);
    return prune_tensors(arguments, reader);
}

void run_prune(const PruneArguments& arguments) {
    use_threads(arguments.threads);
    prune_options(arguments);
    if (!arguments.dry_run) require_writable_target(arguments.out);
    require_writable_target(arguments.json);
    require_apart({{"--out", arguments.dry_run ? "" : arguments.out}, {"--json", arguments.json}},
                  network_inputs("IN", arguments.input, arguments.model));
    std::FILE* const words = words_beside(arguments.dry_run ? "" : arguments.out, arguments.json);
    const PruneReport report = pruned(arguments);
    if (arguments.json != "-") print_table(words, report);
    write_result(arguments.json, json_text(report) + "\n");
    if (arguments.json != "-" && !arguments.dry_run) fmt::print(words, "wrote {}\n", arguments.out);
}

}  // namespace

void add_prune(CLI::App& app) {
    CLI::App* command = app.add_subcommand(
        "prune", "Prune weights to N:M by magnitude, after a channel permutation if asked");
    const auto arguments = std::make_shared<PruneArguments>();
    command->add_option("IN", arguments->input, "An ONNX model, a checkpoint or any safetensors file")
        ->required();
    command->add_option("--pattern", arguments->pattern, "N:M, such as 2:4")->required();
    command->add_flag("--permute", arguments->permute,
                      "Search a permutation of the input channels that keeps more");
    command->add_flag("--permute-only", arguments->permute_only, "Permute, but prune nothing");
    command->add_flag("--transposable", arguments->transposable,
                      "One mask that is N:M along inputs and outputs alike");
    command->add_option("--skip", arguments->skip,
                        "Leave layers or tensors of this name dense (* and ? match; repeatable)");
    command
        ->add_option("--sparse", arguments->sparse,
                     "Prune layers that stay dense by default (first layer, classifier), or give layers a "
                     "pattern of their own (repeatable)")
        ->type_name("LAYERS[=N:M]");
    add_network_file_options(*command, arguments->model, arguments->image);
    command->add_option(
        "--search", arguments->search,
        "annealing (default), or stripes: the published stripe groups of window 8, 100 escapes");
    command->add_option("--seed", arguments->seed, "Of the search")->capture_default_str();
    command->add_option("--threads", arguments->threads, "Threads; 0 is all cores")->capture_default_str();
    command->add_option("--time-limit", arguments->time_limit,
                        "Seconds that the searches of the whole file may take");
    command->add_flag("--dry-run", arguments->dry_run, "Say what would be pruned and lost; write no weights");
    command->add_option("--out", arguments->out, "The pruned file: .onnx of a model, .safetensors otherwise");
    command->add_option("--json", arguments->json, "Write the result as JSON (- for standard output)");
    command->footer(
        "An ONNX model or a checkpoint is pruned as train --method asp would: first layer and classifier "
        "stay dense.\n"
        "Permutations go through the whole network, whose function stays the same.\n"
        "Of any other safetensors file every tensor of two or more dimensions is pruned by itself along its "
        "second, the\n"
        "input channels; a permutation is written beside it as NAME.permutation: permuted[:, i] = weights[:, "
        "permutation[i]].\n"
        "Examples:\n"
        "  enmesh prune model.onnx --pattern 2:4 --dry-run\n"
        "  enmesh prune model.onnx --pattern 2:4 --permute --out model24.onnx\n"
        "  enmesh prune runs/a/best.safetensors --pattern 2:4 --permute --out best24.safetensors\n"
        "  enmesh prune weights.safetensors --pattern 2:8 --skip 'classifier.*' --skip stem.weight --out "
        "out.safetensors");
    command->callback([arguments] { run_prune(*arguments); });
}

}  // namespace enmesh::cli
