#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/bench.hpp"
#include "cli/bench_options.hpp"
#include "cli/bench_time.hpp"
#include "cli/fma_peak.hpp"
#include "cli/model_options.hpp"
#include "cli/named_files.hpp"
#include "cpu/measure.hpp"
#include "cpu/onednn.hpp"
#include "cpu/product.hpp"
#include "cpu/spot_check.hpp"
#include "enmesh/base/compare.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/timer.hpp"

namespace enmesh::cli {
namespace {

using products::Conv;
using products::Operand;
using products::Problem;
using products::Stage;

struct Request {
    ModelRequest model;
    std::vector<std::string> patterns{"2:8", "2:4", "1:8"}, stages{"FF", "BP"};
    std::string layer;
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

/// What is timed, with what it holds kept alive by its closure.
struct Contestant {
    enum class Kind { onednn, dense, sparse };
    std::string name;
    Kind kind = Kind::onednn;
    std::optional<Pattern> pattern;
    double multiply_adds = 0;  ///< useful ones
    std::function<void()> run;
    std::function<std::span<const float>()> out;
    std::vector<double> seconds;

    double median() const { return cli::median(seconds); }
    double least() const { return *std::min_element(seconds.begin(), seconds.end()); }
};

/// Winograd's transforms cost digits, and so do sums over a batch's pixels.
double tolerance_of(const Problem& problem, const std::string& kernel) {
    return kernel == "winograd" || problem.stage == Stage::wg ? 1e-4 : 1e-5;
}

/// The kernel against the reference on the same kind of shape, cut down to what the reference does quickly.
void check_small(Problem problem, const std::string& kernel) {
    Conv& conv = problem.conv;
    conv.n = std::min<int64_t>(conv.n, problem.block == 1 ? 12 : problem.block);
    conv.h = std::min<int64_t>(conv.h, 16);
    conv.w = std::min<int64_t>(conv.w, 16);
    if (conv.groups == 1) {
        conv.c = std::min<int64_t>(conv.c, 64);
        conv.k = std::min<int64_t>(conv.k, 64);
    }
    const cpu::TrialOperands operands(problem);
    cpu::KernelTrial fast(operands, kernel), reference(operands, "reference");
    fast.run();
    reference.run();
    const Comparison same = compare(fast.out(), reference.out(), tolerance_of(problem, kernel));
    if (!same.ok()) fail("{} is wrong: {}: {}", kernel, to_string(problem), same.describe());
}

/// One of our kernels that accepts the problem, checked: all of a small product, places of the one that is
/// timed.
Contestant our_contestant(const Problem& problem, const std::string& kernel) {
    check_small(problem, kernel);
    const auto operands = std::make_shared<cpu::TrialOperands>(problem);
    const auto trial = std::make_shared<cpu::KernelTrial>(*operands, kernel);
    trial->run();
    const Comparison same = cpu::spot_check(*operands, trial->out(), tolerance_of(problem, kernel));
    if (!same.ok()) fail("{} is wrong: {}: {}", kernel, to_string(problem), same.describe());
    Contestant contestant;
    const bool sparse = problem.sparse != Operand::none;
    contestant.name = fmt::format("{} {}", sparse ? to_string(problem.pattern) : "dense", kernel);
    contestant.kind = sparse ? Contestant::Kind::sparse : Contestant::Kind::dense;
    if (sparse) contestant.pattern = problem.pattern;
    contestant.multiply_adds = problem.multiply_adds();
    contestant.run = [operands, trial] { trial->run(); };
    contestant.out = [trial] { return trial->out(); };
    return contestant;
}

Contestant onednn_contestant(const std::string& name, const Conv& conv, std::function<void()> run,
                             const std::shared_ptr<Buffer>& out) {
    Contestant contestant;
    contestant.name = name;
    contestant.multiply_adds = conv.multiply_adds();
    contestant.run = std::move(run);
    contestant.out = [out] { return std::as_const(*out).as<const float>(); };
    return contestant;
}

std::shared_ptr<Buffer> shared_floats(size_t bytes) {
    return std::make_shared<Buffer>(cpu::random_floats(static_cast<int64_t>(bytes / sizeof(float))));
}

void add_onednn_convolutions(const Conv& conv, Stage stage, std::vector<Contestant>& contestants) {
    for (const auto& [name, algorithm] : {std::pair{"oneDNN direct", cpu::DnnlAlgorithm::direct},
                                          std::pair{"oneDNN winograd", cpu::DnnlAlgorithm::winograd}}) {
        const std::shared_ptr<cpu::DnnlConvolution> plan = cpu::plan_contestant(stage, conv, algorithm);
        if (!plan) continue;
        const auto src = shared_floats(plan->src_bytes()), dst = shared_floats(plan->dst_bytes());
        const auto weights = shared_floats(static_cast<size_t>(conv.weights_size()) * sizeof(float));
        const auto prepared = std::make_shared<Buffer>(plan->prepared_bytes());
        const auto workspace = std::make_shared<Buffer>(plan->workspace_bytes());
        if (stage != Stage::wg) plan->prepare(weights->as<float>().data(), prepared->as<std::byte>().data());
        const auto out = stage == Stage::ff ? dst : stage == Stage::bp ? src : weights;
        contestants.push_back(onednn_contestant(
            name, conv,
            [=] {
                plan->run({src->as<float>().data(), dst->as<float>().data(), nullptr,
                           prepared->as<std::byte>().data(), out->as<float>().data(),
                           workspace->as<std::byte>().data()});
            },
            out));
    }
}

void add_onednn_gemm(const Conv& conv, Stage stage, std::vector<Contestant>& contestants) {
    const auto src = shared_floats(static_cast<size_t>(conv.src_size()) * sizeof(float));
    const auto dst = shared_floats(static_cast<size_t>(conv.dst_size()) * sizeof(float));
    const auto weights = shared_floats(static_cast<size_t>(conv.weights_size()) * sizeof(float));
    const int64_t n = conv.n, c = conv.c, k = conv.k;
    const auto out = stage == Stage::ff ? dst : stage == Stage::bp ? src : weights;
    contestants.push_back(onednn_contestant(
        "oneDNN gemm", conv,
        [=] {
            float* const x = src->as<float>().data();
            float* const y = dst->as<float>().data();
            float* const w = weights->as<float>().data();
            if (stage == Stage::ff) cpu::gemm(false, true, n, k, c, x, c, w, c, 0, y, k);
            if (stage == Stage::bp) cpu::gemm(false, false, n, c, k, y, k, w, c, 0, x, c);
            if (stage == Stage::wg) cpu::gemm(true, false, k, c, n, y, k, x, c, 0, w, c);
        },
        out));
}

std::vector<Contestant> contestants_of(const Layer& layer, Stage stage, const Request& request) {
    std::vector<Contestant> contestants;
    const Conv& conv = layer.conv;
    if (layer.linear)
        add_onednn_gemm(conv, stage, contestants);
    else
        add_onednn_convolutions(conv, stage, contestants);
    const int block = layer.linear ? 1 : products::best_block(conv.n);
    const Problem dense{conv, stage, Operand::none, {}, block};
    for (const products::Candidate& candidate : products::candidates(dense)) {
        if (candidate.declined.empty() && candidate.name != "reference")
            contestants.push_back(our_contestant(dense, candidate.name));
    }
    for (const std::string& text : request.patterns) {
        Problem sparse = dense;
        sparse.pattern = parse_pattern(text);
        sparse.sparse = stage == Stage::wg ? Operand::diff_dst : Operand::weights;
        if (stage != Stage::wg && sparse.reduction() % sparse.pattern.m != 0) continue;
        // The list also has dense kernels to fall back to: those stand above already.
        const std::unique_ptr<products::Product> first = products::plan(sparse);
        if (!first->filled_in() && first->kernel() != "reference")
            contestants.push_back(our_contestant(sparse, std::string(first->kernel())));
    }
    return contestants;
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
        return fastest(
            [](const Contestant& one) { return one.name == "oneDNN direct" || one.name == "oneDNN gemm"; });
    }
    const Contestant* onednn() const {
        return fastest([](const Contestant& one) { return one.kind == Contestant::Kind::onednn; });
    }
    const Contestant* dense() const {
        return fastest([](const Contestant& one) { return one.kind != Contestant::Kind::sparse; });
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
        for (const Contestant& one : row.contestants) {
            if (!one.pattern || to_string(*one.pattern) != pattern) continue;
            means.layers += row.layer.count;
            const auto against = opponents(row);
            for (size_t i = 0; i < against.size(); ++i)
                means.ratios[i].second +=
                    row.layer.count * std::log(against[i].second->median() / one.median());
        }
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
        if (one.kind != Contestant::Kind::onednn) {
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
    for (const std::string& pattern : request.patterns) parse_pattern(pattern);
    require_apart({{"--json", request.bench.json}}, {{"--model", onnx_file(request.model)}});
    Notes notes;
    const Graph graph = requested_graph(request.model, model_options(request.model), notes);
    const double peak_flops = fma_peak_flops();
    const bool quiet = request.bench.rows_only();
    if (!quiet) {
        fmt::print("{}; {}, {} kernels; medians of {} interleaved rounds on {} threads\n", cpu_description(),
                   cpu::onednn_version(), to_string(isa()), request.bench.rounds, threads());
        if (peak_flops > 0)
            fmt::print("fused multiply-adds in registers: {:.1f} GFLOP/s on {} threads\n", peak_flops / 1e9,
                       threads());
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
            row.contestants = contestants_of(layer, row.stage, request);
            time(row.contestants, request.bench.rounds);
            if (!quiet) fmt::print("{}", row_text(row, peak_flops));
            std::fflush(stdout);
            json.push_back(row_json(row, peak_flops));
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
