#include "enmesh/cpu/executor.hpp"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "cpu/layout.hpp"
#include "cpu/lowering.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/timer.hpp"

namespace enmesh::cpu {
namespace {

/// Puts back, at the end of its life, what running FF, BP and WG once more moves: running statistics and sums
/// of gradients.
class KeptStates {
  public:
    explicit KeptStates(Machine& machine) : machine_(machine) {
        std::set<int> slots;
        for (const Command& command : machine.commands()) {
            if (command.stage == Stage::WU) continue;
            // Norms read and move their running statistics in one.
            for (const int index : command.reads) slots.insert(machine.root(index));
            for (const int index : command.writes) slots.insert(machine.root(index));
        }
        const std::span<const Value> values = machine.graph().values();
        for (const int index : slots) {
            const bool state = index < static_cast<int>(values.size()) &&
                               values[static_cast<size_t>(index)].role == Role::state;
            if (state && machine.slot(index).packed == nullptr) values_.emplace_back(index, bytes_of(index));
        }
    }
    ~KeptStates() {
        for (const auto& [index, bytes] : values_)
            std::copy(bytes.begin(), bytes.end(), static_cast<std::byte*>(machine_.data(index)));
    }
    KeptStates(const KeptStates&) = delete;
    KeptStates& operator=(const KeptStates&) = delete;

  private:
    std::vector<std::byte> bytes_of(int index) {
        const auto* const from = static_cast<const std::byte*>(machine_.data(index));
        return {from, from + machine_.slot(index).own.bytes()};
    }

    Machine& machine_;
    std::vector<std::pair<int, std::vector<std::byte>>> values_;
};

class Executor final : public CpuExecutor {
  public:
    Executor(TrainingStep step, const Options& options) : machine_(std::move(step), options) {}

    const TrainingStep& step() const override { return machine_.step(); }
    void write(ValueId value, const Tensor& tensor) override { machine_.write(value, tensor); }
    Tensor read(ValueId value) const override { return machine_.read(value); }

    void gradients(const RunContext& context) override {
        require_planned_team();
        for (Command& command : machine_.commands()) {
            if (command.stage != Stage::WU) run(command, context);
        }
    }

    void update(const RunContext& context) override {
        require_planned_team();
        for (Command& command : machine_.commands()) {
            if (command.stage == Stage::WU) run(command, context);
        }
        prepare();
    }

    void refresh() override {
        require_planned_team();
        // A mask that is there stays, whatever its period: only an update renews it.
        const RunContext between_updates{.update = 1};
        for (Command& command : machine_.commands()) {
            if (command.stage == Stage::WU && command.kind == Kind::pack) run(command, between_updates);
        }
        prepare();
    }

    std::string first_non_finite(const RunContext& context) override {
        require_planned_team();
        for (const StepParameter& parameter : step().parameters) {
            if (!finite(parameter.weights))
                return fmt::format("parameter '{}'", step().graph.value(parameter.weights).name);
        }
        if (!finite(step().images)) return "the input images";
        const KeptStates kept(machine_);
        for (Command& command : machine_.commands()) {
            if (command.stage == Stage::WU) break;
            run(command, context);
            for (const int slot : command.writes) {
                const Slot& written = machine_.slot(slot);
                if (written.type.dtype != DType::f32 || written.type.nm() != nullptr) continue;
                if (!simd().all_finite(machine_.f32(slot), written.type.shape.elements())) {
                    return fmt::format("{} of layer '{}' ({})",
                                       command.stage == Stage::FF ? "the output" : "the gradient",
                                       command.layer, command.operation);
                }
            }
        }
        return "";
    }

    void profile(bool on) override { profiling_ = on; }

    std::vector<CommandReport> commands() const override {
        std::vector<CommandReport> reports;
        for (const Command& command : const_cast<Machine&>(machine_).commands()) {
            reports.push_back({command.layer, command.operation, command.kernel, command.stage, command.kind,
                               command.seconds, command.filled_in});
            if (command.prepare) {
                reports.push_back({command.layer, "prepare", command.kernel, Stage::WU, Kind::pack,
                                   command.prepare_seconds});
            }
        }
        return reports;
    }

    MemoryReport memory() const override { return machine_.memory(); }
    std::string arithmetic() const override {
        switch (machine_.element()) {
            case Layout::Element::f32:
                return "float32";
            case Layout::Element::rounded:
                return "bfloat16 operands multiplied as float32";
            case Layout::Element::bf16:
                return "bfloat16";
        }
        return "";
    }
    KernelPlan plan() const override { return machine_.plan(); }

  private:
    /// Kernels divide their work, and their memory, among a team of fixed size, and some wait for all of it.
    void require_planned_team() const {
        if (threads() != threads_)
            refuse("the executor was made for {} threads, and set_threads() says {} now", threads_,
                   threads());
        if (threads_ > 1 && omp_in_parallel() != 0)
            refuse(
                "the executor was made for {} threads and runs inside of a parallel region, which has one to "
                "give",
                threads_);
    }

    bool finite(ValueId value) {
        const Tensor tensor = machine_.read(value);
        return simd().all_finite(tensor.f32().data(), tensor.elements());
    }

    void run(Command& command, const RunContext& context) {
        if (command.prepare_each_run) timed(command.prepare_seconds, command.prepare);
        timed(command.seconds, [&] { command.run(context); });
    }

    void prepare() {
        for (Command& command : machine_.commands()) {
            if (command.prepare && !command.prepare_each_run) timed(command.prepare_seconds, command.prepare);
        }
    }

    template <typename Work>
    void timed(double& seconds, const Work& work) {
        if (!profiling_) {
            work();
            return;
        }
        const Timer timer;
        work();
        seconds = timer.seconds();
    }

    mutable Machine machine_;
    int threads_ = threads();
    bool profiling_ = false;
};

}  // namespace

std::string to_string(Kind kind) {
    constexpr std::array names = {"FF", "BP", "WG", "update", "pack", "norm", "other"};
    return names[static_cast<size_t>(kind)];
}

std::vector<std::string> filled_in_products(const CpuExecutor& executor) {
    std::vector<std::string> products;
    for (const CommandReport& command : executor.commands()) {
        if (command.filled_in)
            products.push_back(fmt::format("{} {}", to_string(command.stage), command.layer));
    }
    return products;
}

std::unique_ptr<CpuExecutor> make_executor(TrainingStep step, const Options& options) {
    Options chosen = options;
    chosen.layout = measured_layout(step, options);
    return std::make_unique<Executor>(std::move(step), chosen);
}

}  // namespace enmesh::cpu
