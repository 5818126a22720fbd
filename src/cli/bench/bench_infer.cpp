#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/bench/bench.hpp"
#include "cli/options/bench_options.hpp"
#include "cli/options/model_options.hpp"
#include "cli/options/named_files.hpp"
#include "cli/options/run_options.hpp"
#include "cli/train/checkpoint_network.hpp"
#include "cli/train/starting_weights.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/bench/bench_time.hpp"
#include "enmesh/cpu/executor.hpp"
#include "enmesh/train/checkpoint.hpp"
#include "enmesh/train/evaluate.hpp"

namespace enmesh::cli {
using namespace bench;
namespace {

struct Request {
    ModelRequest model;
    std::vector<std::string> compare{"dense", "bdwp@2:4", "bdwp@2:8"};
    std::string init, plan = "measure";
    BenchOptions bench{.rounds = 15};
    bool on_request = false;
    bool own = false;  ///< the weights' own recipe takes part
};

/// One network ready to run: norms folded, weights packed.
class Contestant {
  public:
    Contestant(const Request& request, const ModelRequest& model, Notes& notes)
        : Contestant(request, model, requested_graph(model, model_options(model), notes),
                     requested_recipe(model)) {}
    Contestant(const Request& request, const ModelRequest& model, const Graph& graph, const Recipe& recipe)
        : model_(model) {
        const Backend backend = cpu_backend(cpu::parse_kernel_choice(request.plan));
        const auto loaded = backend.make(build_inference_step(graph, recipe), "");
        initialize(*loaded, 1);
        if (!request.init.empty()) load_weights(request.init, *loaded);
        executor_ = folded_inference(backend, graph, recipe, *loaded);
        Tensor images(executor_->step().graph.type(executor_->step().images).shape);
        Random random(3);
        for (float& pixel : images.f32()) pixel = random.normal();
        executor_->write(executor_->step().images, images);
    }

    double run() {
        const Timer timer;
        executor_->gradients({});
        const double seconds = timer.seconds();
        const Tensor logits = executor_->read(executor_->step().logits);
        for (const float logit : logits.f32()) {
            if (!std::isfinite(logit))
                fail("{}: a logit is {}; first not finite: {}", title(), logit,
                     executor_->first_non_finite({}));
        }
        return seconds;
    }
    void record() { seconds_.push_back(run()); }

    std::string title() const {
        return model_.pattern.empty() ? model_.method : fmt::format("{} {}", model_.method, model_.pattern);
    }
    std::string filled_in() const { return filled_in_text(*executor_); }
    double median_seconds() const { return median(seconds_); }
    nlohmann::ordered_json json() const {
        return {{"model", model_.model},
                {"method", model_.method},
                {"pattern", model_.pattern},
                {"dtype", "f32"},
                {"batch", model_.batch},
                {"threads", threads()},
                {"median", median_seconds()},
                {"min", *std::min_element(seconds_.begin(), seconds_.end())},
                {"images_per_second", static_cast<double>(model_.batch) / median_seconds()}};
    }

  private:
    ModelRequest model_;
    std::unique_ptr<Executor> executor_;
    std::vector<double> seconds_;
};

void print_table(const std::vector<std::unique_ptr<Contestant>>& contestants, const Request& request) {
    fmt::print(
        "{}\n{} inference, batch {}, {}, median of {} interleaved "
        "rounds\n\n{:<20}{:>12}{:>12}{:>9}\n",
        cpu_description(), request.model.model, request.model.batch, threads_text(), request.bench.rounds,
        "method", "ms", "images/s", "vs 1st");
    for (const auto& one : contestants) {
        fmt::print("{:<20}{:>12.3f}{:>12.1f}{:>8.2f}x\n", one->title(), one->median_seconds() * 1e3,
                   static_cast<double>(request.model.batch) / one->median_seconds(),
                   contestants.front()->median_seconds() / one->median_seconds());
    }
    for (const auto& one : contestants) {
        if (const std::string filled_in = one->filled_in(); !filled_in.empty())
            fmt::print("{}: {}", one->title(), filled_in);
    }
}

/// The model of the checkpoint, where --model names none.
void complete(Request& request, const CheckpointInfo& info) {
    if (!request.model.model.empty() || !info.is_checkpoint) return;
    const ModelRequest there = model_request(info.model, request.init);
    request.model.model = there.model;
    request.model.image = there.image;
    request.model.classes = there.classes;
    request.model.width = there.width;
}

/// The recipe under which the checkpoint was trained, or else the masks that the weights hold.
Recipe own_recipe(const Request& request, const CheckpointInfo& info, const Graph& graph) {
    if (info.is_checkpoint && !info.recipe.dense()) return info.recipe;
    if (request.init.empty() && !names_onnx(request.model)) return {};
    return held_masks(graph, starting_weights(request.init, true)).recipe;
}

/// The weights as they are beside the others.
std::unique_ptr<Contestant> own_contestant(const Request& request, const CheckpointInfo& info, Notes& notes) {
    const Graph graph = requested_graph(request.model, model_options(request.model), notes);
    const Recipe recipe = own_recipe(request, info, graph);
    if (recipe.dense()) return nullptr;
    ModelRequest model = request.model;
    model.method = recipe.method;
    model.pattern = patterns_text(recipe, decide_layers(graph, recipe));
    return std::make_unique<Contestant>(request, model, graph, recipe);
}

void run(Request request) {
    begin_bench(request.bench);
    require_no_network("--init", request.init);
    require_apart({{"--json", request.bench.json}},
                  network_inputs("--init", request.init, onnx_file(request.model)));
    CheckpointInfo info;
    if (!request.init.empty()) info = read_checkpoint_info(SafetensorsReader(request.init), request.init);
    complete(request, info);
    Notes notes;
    std::vector<std::unique_ptr<Contestant>> contestants;
    for (const std::string& text : request.compare)
        contestants.push_back(std::make_unique<Contestant>(request, with_method(request.model, text), notes));
    if (auto own = request.own ? own_contestant(request, info, notes) : nullptr) {
        std::erase_if(contestants, [&](const auto& one) { return one->title() == own->title(); });
        contestants.push_back(std::move(own));
    }
    notes.print();
    for (const auto& one : contestants) one->run();
    if (request.on_request) return answer_requests([&] { return contestants.front()->run(); });
    for (int round = 0; round < request.bench.rounds; ++round) {
        for (const auto& one : contestants) one->record();
    }
    auto rows = nlohmann::ordered_json::array();
    for (const auto& one : contestants) rows.push_back(one->json());
    if (!request.bench.rows_only()) print_table(contestants, request);
    write_rows(request.bench, std::move(rows));
}

}  // namespace

void add_bench_infer(CLI::App& bench) {
    CLI::App* const command = bench.add_subcommand(
        "infer", "Time inference: norms folded, weights packed once, N:M on the fast kernels");
    const auto request = std::make_shared<Request>();
    add_model_options(*command, request->model);
    command
        ->add_option("--compare", request->compare,
                     "METHOD or METHOD@N:M; repeat to interleave several; without it also the recipe of "
                     "the weights in --init or an ONNX file")
        ->type_name("METHOD")
        ->capture_default_str();
    command->add_option("--init", request->init, "weights (safetensors); random ones otherwise")
        ->type_name("FILE");
    command
        ->add_option("--plan", request->plan,
                     "default (untimed), cached, or measure: where kernel choices come from")
        ->capture_default_str();
    add_bench_options(*command, request->bench, "timed runs of each");
    command->add_flag("--on-request", request->on_request,
                      "run once for every line on standard input and print the seconds");
    command->footer(
        "Examples:\n"
        "  enmesh bench infer --model resnet50 --image 3x224x224 --classes 1000 --batch 32\n"
        "  enmesh bench infer --model resnet18 --batch 1 --compare dense --compare bdwp@1:4\n"
        "  enmesh bench infer --init runs/a/best.safetensors --batch 32");
    command->callback([command, request] {
        request->own = command->get_option("--compare")->count() == 0;
        run(*request);
    });
}

}  // namespace enmesh::cli
