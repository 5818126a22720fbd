#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/bench/bench.hpp"
#include "cli/options/bench_options.hpp"
#include "cli/options/model_options.hpp"
#include "cli/options/named_files.hpp"
#include "cli/options/plan_option.hpp"
#include "cli/options/run_options.hpp"
#include "cli/train/starting_weights.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/bench/bench_time.hpp"
#include "enmesh/cpu/executor.hpp"

namespace enmesh::cli {
using namespace bench;
namespace {

struct Request {
    ModelRequest model;
    std::vector<std::string> compare;
    std::string layout = "auto", plan = "cached", dtype = "f32", plan_out;
    BenchOptions bench{.rounds = 10};
    bool on_request = false, layers = false;
};

constexpr std::array kinds = {cpu::Kind::FF,   cpu::Kind::BP,   cpu::Kind::WG,   cpu::Kind::update,
                              cpu::Kind::pack, cpu::Kind::norm, cpu::Kind::other};

cpu::MapLayout parse_layout(const std::string& text) {
    if (const auto layout = cpu::map_layout_named(text); layout.has_value()) return *layout;
    const std::vector<std::string> known{"auto", "channels", "images"};
    refuse("unknown layout '{}'{}", text, suggestion(text, known));
}

cpu::Options options_of(const Request& request) {
    cpu::Options options;
    options.layout = parse_layout(request.layout);
    options.dtype = product_dtype(request.dtype);
    return options;
}

/// One training step under measurement, fed with fixed random images.
class Candidate {
  public:
    Candidate(const ModelRequest& request, cpu::Options executor, const RequestedPlan& plan, Notes& notes)
        : request_(request) {
        const ModelOptions options = model_options(request);
        const Graph graph = requested_graph(request, options, notes);
        TrainingStep step = build_training_step(graph, recipe_for(graph, request), {});
        executor.choice = plan.choice;
        if (plan.kept.has_value()) executor.plan = cpu::plan_for(*plan.kept, step, executor.dtype, plan.file);
        executor_ = cpu::make_executor(std::move(step), executor);
        if (plan.kept.has_value()) cpu::require_used(executor.plan, executor_->plan(), plan.file);
        kept_ = {cpu::step_key(executor_->step(), executor.dtype), executor_->plan()};
        initialize(*executor_, 1);
        write_inputs();
        executor_->profile(true);
        dtype_ = to_string(executor.dtype);
    }

    double run() {
        const Timer timer;
        executor_->gradients({1, updates_, 0});
        executor_->update({1, updates_, 0});
        ++updates_;
        const double seconds = timer.seconds();
        const float loss = executor_->read(executor_->step().loss).f32()[0];
        if (!std::isfinite(loss)) fail("the loss of {} became {} at step {}", title(), loss, updates_);
        return seconds;
    }

    void record() {
        seconds_.push_back(run());
        std::map<cpu::Kind, double> sums;
        for (const cpu::CommandReport& command : executor_->commands()) sums[command.kind] += command.seconds;
        for (const cpu::Kind kind : kinds) by_kind_[kind].push_back(sums[kind]);
    }

    std::string title() const {
        return request_.pattern.empty() ? request_.method
                                        : fmt::format("{} {}", request_.method, request_.pattern);
    }
    double median_seconds() const { return median(seconds_); }
    double median_of(cpu::Kind kind) const { return median(by_kind_.at(kind)); }

    nlohmann::ordered_json json() const {
        nlohmann::ordered_json by_kind;
        for (const cpu::Kind kind : kinds) by_kind[to_string(kind)] = median_of(kind);
        const cpu::MemoryReport memory = executor_->memory();
        return {{"model", request_.model},
                {"method", request_.method},
                {"pattern", request_.pattern},
                {"dtype", dtype_},
                {"arithmetic", executor_->arithmetic()},
                {"batch", request_.batch},
                {"threads", threads()},
                {"median", median_seconds()},
                {"min", *std::min_element(seconds_.begin(), seconds_.end())},
                {"rounds", seconds_.size()},
                {"by_kind", by_kind},
                {"plan", cpu::plan_hash(kept_.plan)},
                {"filled_in", cpu::filled_in_products(*executor_)},
                {"memory",
                 {{"arena_bytes", memory.arena_bytes},
                  {"resident_bytes", memory.resident_bytes},
                  {"prepared_bytes", memory.prepared_bytes},
                  {"workspace_bytes", memory.workspace_bytes},
                  {"conversion_bytes", memory.conversion_bytes}}}};
    }

    const cpu::PlanFile::Step& plan() const { return kept_; }
    std::string arithmetic() const { return executor_->arithmetic(); }
    std::string filled_in() const { return filled_in_text(*executor_); }

    std::string slowest(size_t count) const {
        std::vector<cpu::CommandReport> commands = executor_->commands();
        std::sort(commands.begin(), commands.end(),
                  [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
        std::string text;
        for (size_t i = 0; i < std::min(count, commands.size()); ++i) {
            const cpu::CommandReport& c = commands[i];
            text += fmt::format("  {:9.3f} ms  {} {:<24} {:<26} {}\n", c.seconds * 1e3, to_string(c.stage),
                                c.layer, c.operation, c.kernel);
        }
        return text;
    }

  private:
    void write_inputs() {
        const TrainingStep& step = executor_->step();
        Random random(3);
        Tensor images(step.graph.type(step.images).shape);
        for (float& pixel : images.f32()) pixel = random.normal();
        const ValueType labels_type = step.graph.type(step.labels);
        Tensor labels(labels_type.shape, labels_type.dtype);
        const auto classes = static_cast<uint64_t>(step.graph.type(step.logits).shape[1]);
        for (int32_t& label : labels.as<int32_t>()) label = static_cast<int32_t>(random.below(classes));
        executor_->write(step.images, images);
        executor_->write(step.labels, labels);
        for (const auto& [value, number] :
             {std::pair{step.learning_rate, 0.01F}, std::pair{step.gradient_scale, 1.0F},
              std::pair{step.update_count, 1.0F}}) {
            Tensor scalar{Shape{}};
            scalar.f32()[0] = number;
            executor_->write(value, scalar);
        }
    }

    ModelRequest request_;
    std::string dtype_;
    cpu::PlanFile::Step kept_;
    std::unique_ptr<cpu::CpuExecutor> executor_;
    std::vector<double> seconds_;
    std::map<cpu::Kind, std::vector<double>> by_kind_;
    int64_t updates_ = 0;
};

void print_table(const std::vector<std::unique_ptr<Candidate>>& candidates, const Request& request) {
    std::string text =
        fmt::format("{}\n{} batch {}, {}, median of {} interleaved rounds\n\n{:<20}{:>10}{:>9}",
                    cpu_description(), request.model.model, request.model.batch, threads_text(),
                    request.bench.rounds, "method", "seconds", "vs 1st");
    for (const cpu::Kind kind : kinds) text += fmt::format("{:>9}", to_string(kind));
    text += "\n";
    for (const auto& one : candidates) {
        text += fmt::format("{:<20}{:>10.4f}{:>8.2f}x", one->title(), one->median_seconds(),
                            candidates.front()->median_seconds() / one->median_seconds());
        for (const cpu::Kind kind : kinds) text += fmt::format("{:>9.4f}", one->median_of(kind));
        text += "\n";
    }
    for (const auto& one : candidates) {
        text +=
            fmt::format("{}: {}", one->title(), plan_text(one->plan().plan, request.plan, request.plan_out));
        if (request.dtype != "f32")
            text += fmt::format("{}: products in {}\n", one->title(), one->arithmetic());
        if (const std::string filled_in = one->filled_in(); !filled_in.empty())
            text += fmt::format("{}: {}", one->title(), filled_in);
        if (request.layers)
            text += fmt::format("\nslowest commands of {}:\n{}", one->title(), one->slowest(25));
    }
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    text += fmt::format("\npeak memory of this process: {} MiB\n", usage.ru_maxrss / 1024);
    std::cout << text;
}

void run(const Request& request) {
    begin_bench(request.bench);
    require_writable_plan(request.plan_out);
    require_apart({{"--json", request.bench.json}, {"--plan-out", request.plan_out}},
                  {{"--model", onnx_file(request.model)}, {"--plan", plan_file(request.plan)}});
    if (request.layout != "auto" && !plan_file(request.plan).empty())
        refuse("--layout {}: the plan of {} says the layout", request.layout, request.plan);
    const RequestedPlan plan = requested_plan(request.plan);
    std::vector<ModelRequest> wanted;
    for (const std::string& text : request.compare) wanted.push_back(with_method(request.model, text));
    if (wanted.empty()) wanted.push_back(request.model);
    Notes notes;
    std::vector<std::unique_ptr<Candidate>> candidates;
    for (const ModelRequest& one : wanted)
        candidates.push_back(std::make_unique<Candidate>(one, options_of(request), plan, notes));
    notes.print();
    note_other_machine(plan);
    std::vector<cpu::PlanFile::Step> kept;
    for (const auto& one : candidates) kept.push_back(one->plan());
    write_plans(request.plan_out, std::move(kept));
    for (const auto& one : candidates) one->run();
    if (request.on_request) return answer_requests([&] { return candidates.front()->run(); });
    for (int round = 0; round < request.bench.rounds; ++round) {
        for (const auto& one : candidates) one->record();
    }
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const auto& one : candidates) rows.push_back(one->json());
    if (!request.bench.rows_only()) print_table(candidates, request);
    write_rows(request.bench, std::move(rows));
}

}  // namespace

void add_bench_step(CLI::App& bench) {
    CLI::App* const command =
        bench.add_subcommand("step", "Time whole training steps, by stage and kind of work");
    const auto request = std::make_shared<Request>();
    add_model_options(*command, request->model);
    command->add_option("--compare", request->compare, "METHOD or METHOD@N:M; repeat to interleave several")
        ->type_name("METHOD");
    command->add_option("--layout", request->layout,
                        "auto, channels (oneDNN) or images (ours) in the vector lanes");
    add_plan_option(*command, request->plan);
    add_plan_out_option(*command, request->plan_out);
    command->add_option("--dtype", request->dtype, "Operands of products: f32 or bf16, with float32 sums")
        ->capture_default_str();
    add_bench_options(*command, request->bench, "timed steps of each");
    command->add_flag("--layers", request->layers, "also list the slowest commands");
    command->add_flag("--on-request", request->on_request,
                      "run one step for every line on standard input and print its seconds");
    command->footer(
        "Examples:\n"
        "  enmesh bench step --model resnet18 --batch 128 --compare dense --compare bdwp@2:8 --compare "
        "bdwp@1:8\n"
        "  enmesh bench step --model resnet50 --image 3x224x224 --classes 1000 --batch 8 --method bdwp "
        "--pattern 2:8 --layers");
    command->callback([request, command] {
        for (const char* const option : {"--method", "--pattern"}) {
            if (!request->compare.empty() && command->count(option) > 0)
                refuse("{}: --compare METHOD@N:M says what is compared; give the one or the other", option);
        }
        run(*request);
    });
}

}  // namespace enmesh::cli
