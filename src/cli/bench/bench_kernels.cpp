#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/bench/bench.hpp"
#include "cli/options/bench_options.hpp"
#include "cli/options/model_options.hpp"
#include "cli/options/named_files.hpp"
#include "cli/options/run_options.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/bench/bench_time.hpp"
#include "enmesh/bench/fma_peak.hpp"
#include "enmesh/bench/kernel_contestants.hpp"
#include "enmesh/cpu/kernels.hpp"

namespace enmesh::cli {
using namespace bench;
namespace {

using products::Conv;
using products::Operand;
using products::Problem;
using products::Stage;

struct Request {
    ModelRequest model;
    std::vector<std::string> patterns{"2:8", "2:4", "1:8"}, stages{"FF", "BP"};
    std::string layer, dtype = "f32";
    BenchOptions bench{.rounds = 9};
};

/// All layers of a network that have the same shape.
struct Layer {
    std::string name;  ///< of the first
    Conv conv;
    bool linear = false;
    bool first = false;  ///< reads the images: no step computes its BP
    int count = 1;
};

std::vector<Layer> layers_of(const Graph& graph) {
    std::vector<Layer> layers;
    const auto shape = [&](const Node& node, size_t input) { return graph.type(node.inputs[input]).shape; };
    for (const Node& node : graph.nodes()) {
        Layer layer{.name = node.layer, .conv = {}};
        if (const Conv2d* const op = node.operation.as<Conv2d>()) {
            layer.conv = cpu::geometry(*op, shape(node, 0), shape(node, 1));
        } else if (node.operation.is<Linear>()) {
            const Shape weights = shape(node, 1);
            layer.conv = products::linear(shape(node, 0).elements() / weights[1], weights[1], weights[0]);
            layer.linear = true;
        } else {
            continue;
        }
        layer.first = graph.value(node.inputs[0]).role == Role::input;
        const auto same = std::find_if(layers.begin(), layers.end(), [&](const Layer& other) {
            return other.conv == layer.conv && other.linear == layer.linear && other.first == layer.first;
        });
        if (same == layers.end())
            layers.push_back(layer);
        else
            ++same->count;
    }
    return layers;
}

/// Processor time on one thread, otherwise wall time.
double seconds_of(const std::function<void()>& work) {
    const Timer timer;
    const double before = processor_seconds();
    work();
    return threads() == 1 ? processor_seconds() - before : timer.seconds();
}

void time(std::vector<Contestant>& contestants, int rounds) {
    for (int round = -1; round < rounds; ++round) {
        for (Contestant& contestant : contestants) {
            const double taken = seconds_of(contestant.run);
            if (round >= 0) contestant.seconds.push_back(taken);
        }
    }
    for (const Contestant& contestant : contestants) {
        double sum = 0;
        for (const float value : contestant.out()) sum += std::abs(static_cast<double>(value));
        if (!(sum > 0 && std::isfinite(sum))) fail("{}: the output is zero or not finite", contestant.name);
    }
}

/// One layer and stage with everything that was timed.
struct Row {
    Layer layer;
    Stage stage = Stage::ff;
    std::vector<Contestant> contestants;

    /// The smallest median among those that `pick` takes; empty if there are none.
    template <typename Pick>
    const Contestant* fastest(const Pick& pick) const {
        const Contestant* best = nullptr;
        for (const Contestant& one : contestants) {
            if (pick(one) && (best == nullptr || one.median() < best->median())) best = &one;
        }
        return best;
    }
    const Contestant* direct() const {
        return fastest([](const Contestant& one) { return !one.library.empty() && one.direct; });
    }
    const Contestant* onednn() const {
        return fastest([](const Contestant& one) { return !one.library.empty(); });
    }
    const Contestant* dense() const {
        return fastest([](const Contestant& one) { return !one.pattern.has_value(); });
    }
};

/// What a contestant's time is compared with, by name.
std::vector<std::pair<std::string, const Contestant*>> opponents(const Row& row) {
    return {{"vs_onednn_direct", row.direct()},
            {"vs_onednn_fastest", row.onednn()},
            {"vs_fastest_dense", row.dense()}};
}

/// Geometric means of the ratios of one pattern over every layer of a stage (a shape counts as often as it
/// occurs).
struct Means {
    std::string pattern, stage;
    std::vector<std::pair<std::string, double>> ratios;
    int layers = 0;
};

Means means_of(const std::vector<Row>& rows, const std::string& pattern, const std::string& stage) {
    Means means{pattern, stage, {}, 0};
    for (const auto& [name, unused] : opponents(Row{})) means.ratios.emplace_back(name, 0.0);
    for (const Row& row : rows) {
        if (!stage.empty() && to_string(row.stage) != stage) continue;
        // Of several N:M kernels the one that runs by default.
        const auto one = std::ranges::find_if(row.contestants, [&](const Contestant& contestant) {
            return contestant.pattern && to_string(*contestant.pattern) == pattern;
        });
        if (one == row.contestants.end()) continue;
        means.layers += row.layer.count;
        const auto against = opponents(row);
        for (size_t i = 0; i < against.size(); ++i)
            means.ratios[i].second += row.layer.count * std::log(against[i].second->median() / one->median());
    }
    for (auto& [name, sum] : means.ratios) sum = std::exp(sum / std::max(1, means.layers));
    return means;
}

std::vector<Means> all_means(const std::vector<Row>& rows, const Request& request) {
    std::vector<Means> all;
    for (const std::string& pattern : request.patterns) {
        for (const std::string& stage : request.stages) all.push_back(means_of(rows, pattern, stage));
        if (request.stages.size() > 1) all.push_back(means_of(rows, pattern, ""));
    }
    std::erase_if(all, [](const Means& one) { return one.layers == 0; });
    return all;
}

double peak_share(const Contestant& one, double peak_flops) {
    return 2 * one.multiply_adds / one.median() / peak_flops;
}

std::string row_text(const Row& row, double peak_flops) {
    std::string text = fmt::format("{} {}{}  {}\n", to_string(row.stage), row.layer.name,
                                   row.layer.count > 1 ? fmt::format(" (x{})", row.layer.count) : "",
                                   to_string(row.layer.conv));
    const auto against = opponents(row);
    for (const Contestant& one : row.contestants) {
        text += fmt::format("    {:<18}{:>10.3f} ms{:>8.1f} GFLOP/s", one.name, one.median() * 1e3,
                            2e-9 * one.multiply_adds / one.median());
        if (peak_flops > 0) text += fmt::format("{:>6.0f} % of peak", 100 * peak_share(one, peak_flops));
        if (one.library.empty()) {
            for (const auto& [name, opponent] : against)
                text += fmt::format("{:>7.2f}x", opponent->median() / one.median());
        }
        text += "\n";
    }
    return text;
}

nlohmann::ordered_json row_json(const Row& row, double peak_flops) {
    nlohmann::ordered_json implementations = nlohmann::ordered_json::object();
    const auto against = opponents(row);
    for (const Contestant& one : row.contestants) {
        nlohmann::ordered_json ratios;
        for (const auto& [name, opponent] : against) ratios[name] = opponent->median() / one.median();
        implementations[one.name] = {{"median", one.median()},
                                     {"min", one.least()},
                                     {"multiply_adds", one.multiply_adds},
                                     {"peak_share", nullptr},
                                     {"ratios", ratios}};
        if (peak_flops > 0) implementations[one.name]["peak_share"] = peak_share(one, peak_flops);
    }
    const Conv& c = row.layer.conv;
    return {{"layer", row.layer.name},
            {"count", row.layer.count},
            {"stage", to_string(row.stage)},
            {"n", c.n},
            {"c", c.c},
            {"h", c.h},
            {"w", c.w},
            {"k", c.k},
            {"r", c.r},
            {"s", c.s},
            {"stride", {c.stride_h, c.stride_w}},
            {"padding", {c.pad_top, c.pad_left, c.pad_bottom, c.pad_right}},
            {"groups", c.groups},
            {"threads", threads()},
            {"implementations", implementations}};
}

std::string means_text(const std::vector<Means>& all) {
    std::string text = fmt::format("\n{:<10}{:<8}{:>8}", "mean of", "stage", "layers");
    for (const auto& [name, unused] : opponents(Row{})) text += fmt::format("{:>20}", name);
    text += "\n";
    for (const Means& one : all) {
        text +=
            fmt::format("{:<10}{:<8}{:>8}", one.pattern, one.stage.empty() ? "all" : one.stage, one.layers);
        for (const auto& [name, ratio] : one.ratios) text += fmt::format("{:>19.2f}x", ratio);
        text += "\n";
    }
    return text;
}

Stage parse_stage(const std::string& text) {
    std::vector<std::string> known;
    for (const Stage stage : {Stage::ff, Stage::bp, Stage::wg}) {
        known.push_back(to_string(stage));
        if (known.back() == text) return stage;
    }
    refuse("unknown stage '{}'{}", text, suggestion(text, known));
}

void run(const Request& request) {
    begin_bench(request.bench);
    std::vector<Pattern> patterns;
    for (const std::string& pattern : request.patterns) patterns.push_back(parse_pattern(pattern));
    const DType dtype = product_dtype(request.dtype);
    if (dtype == DType::bf16 && isa() != Isa::avx512)
        refuse("--dtype bf16: oneDNN multiplies bfloat16 with AVX-512 alone");
    require_apart({{"--json", request.bench.json}}, {{"--model", onnx_file(request.model)}});
    Notes notes;
    const Graph graph = requested_graph(request.model, model_options(request.model), notes);
    // The peak of bfloat16 products is not measured.
    const double peak_flops = dtype == DType::f32 ? fma_peak_flops() : 0;
    const bool quiet = request.bench.rows_only();
    if (!quiet) {
        fmt::print("{}; {}, {} kernels; medians of {} interleaved rounds on {}\n", cpu_description(),
                   cpu::onednn_version(), to_string(isa()), request.bench.rounds, threads_text());
        if (peak_flops > 0)
            fmt::print("fused multiply-adds in registers: {:.1f} GFLOP/s on {}\n", peak_flops / 1e9,
                       threads_text());
        fmt::print(
            "ratios: against oneDNN's direct, its fastest, and the fastest dense product, ours included\n\n");
    }
    std::vector<Row> rows;
    auto json = nlohmann::ordered_json::array();
    for (const Layer& layer : layers_of(graph)) {
        if (!request.layer.empty() && layer.name != request.layer) continue;
        for (const std::string& stage : request.stages) {
            Row row{layer, parse_stage(stage), {}};
            if (layer.first && row.stage == Stage::bp) continue;
            row.contestants = contestants_of({layer.conv, layer.linear, row.stage, patterns}, dtype);
            time(row.contestants, request.bench.rounds);
            if (!quiet) fmt::print("{}", row_text(row, peak_flops));
            std::fflush(stdout);
            json.push_back(row_json(row, peak_flops));
            json.back()["dtype"] = request.dtype;
            // The buffers go, the times stay.
            for (Contestant& one : row.contestants) one.run = nullptr, one.out = nullptr;
            rows.push_back(std::move(row));
        }
    }
    if (rows.empty())
        refuse("{} has no product layer{}", request.model.model,
               request.layer.empty() ? "" : fmt::format(" '{}'", request.layer));
    notes.print();
    if (!quiet) fmt::print("{}", means_text(all_means(rows, request)));
    write_rows(request.bench, std::move(json));
}

}  // namespace

void add_bench_kernels(CLI::App& bench) {
    CLI::App* const command = bench.add_subcommand(
        "kernels", "Time the products of every layer of a model: oneDNN's dense ones, ours, and N:M");
    const auto request = std::make_shared<Request>();
    add_model_options(*command, request->model);
    command->add_option("--patterns", request->patterns, "N:M patterns")
        ->delimiter(',')
        ->capture_default_str();
    command
        ->add_option("--stages", request->stages,
                     "FF, BP, WG (there N:M is the gradient, selection not counted)")
        ->delimiter(',')
        ->capture_default_str();
    command->add_option("--layer", request->layer, "only this layer")->type_name("NAME");
    command
        ->add_option("--dtype", request->dtype,
                     "f32, or bf16 (AVX-512): oneDNN's dense products and the permuted N:M kernel")
        ->capture_default_str();
    add_bench_options(*command, request->bench, "timed runs of each");
    command->footer(
        "Every kernel is checked before it is timed: in full against the reference on a smaller product, at "
        "random places on the one that is timed. On one thread times are processor time.\n"
        "Examples:\n"
        "  enmesh bench kernels --model resnet18 --batch 128 --threads 1\n"
        "  enmesh bench kernels --model resnet50 --image 3x224x224 --classes 1000 --batch 8 --patterns "
        "2:8,2:4");
    command->callback([request] { run(*request); });
}

}  // namespace enmesh::cli
