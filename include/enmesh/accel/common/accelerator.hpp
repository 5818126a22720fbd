#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/accel/common/parameters.hpp"
#include "enmesh/accel/common/product_choice.hpp"
#include "enmesh/accel/report/report.hpp"
#include "enmesh/accel/workload/workload.hpp"

/// The interface of a machine that runs training steps, and the list of the machines that there are
/// (docs/architecture.md, "To add an accelerator").
namespace enmesh::accel {

/// What plan() decided, in the machine's own terms. A machine that decides nothing has an empty one.
class Schedule {
  public:
    Schedule() = default;
    Schedule(const Schedule&) = delete;
    Schedule& operator=(const Schedule&) = delete;
    virtual ~Schedule() = default;
};
using SchedulePtr = std::shared_ptr<const Schedule>;

/// The TOML table of a schedule file that read_schedule() reads; src/accel/common/schedule_file.hpp.
struct ScheduleSource;

/// What plan() may keep from one setting of a machine to the next. Threads may share it.
class PlanCache {
  public:
    PlanCache() = default;
    PlanCache(const PlanCache&) = delete;
    PlanCache& operator=(const PlanCache&) = delete;
    virtual ~PlanCache() = default;
};

/// An N:M operand that a machine runs without its zeros.
struct NmAbility {
    Operand operand = Operand::none;     ///< none: either
    std::optional<Stage> stage = {};     ///< nothing: in every stage
    std::function<bool(Pattern)> takes;  ///< which patterns
};

/// What a machine can do with a step, as data: notes and refusals follow from it.
struct Abilities {
    std::vector<NmAbility> nm;  ///< empty: every product runs dense
    /// What to tell the user of N:M products that run dense; "" if the report's notes do.
    std::string otherwise = {};
    bool vector_work = true;  ///< it models the work between products and the updates

    /// Whether the zeros of the product's N:M operand cost nothing; false for a dense product.
    bool skips_zeros(const Product& product) const;
};

/// What not every machine has.
enum class Facility {
    schedule,   ///< plan() decides something that can be written, read and replayed
    dataflow,   ///< a parameter "dataflow" chooses among ways to run a product
    exact,      ///< execute()
    registers,  ///< registers()
};

/// How execute() runs.
struct ExactOptions {
    uint64_t seed = 1;  ///< of the values
    ProductChoice choice = {};
    std::function<void(double done, double all)> progress = {};  ///< in element-cycles
    double most_element_cycles = 2e11;
};

/// A piece of the machine's model that `enmesh bench simulate` times.
struct ModelBenchmark {
    std::string name, what, unit;
    double amount = 1;          ///< of `unit` in a run
    double target = 0;          ///< amount a second
    std::function<void()> run;  ///< one run; the first one has been checked when this is made
};

/// A machine with its configuration. Copies are made by clone(). Several threads may use a machine that no
/// thread changes.
class Accelerator {
  public:
    virtual ~Accelerator() = default;

    /// As the registry lists it.
    virtual std::string name() const = 0;
    virtual std::unique_ptr<Accelerator> clone() const = 0;

    /// One row a parameter, bound to this machine's fields.
    virtual std::vector<Parameter> parameters() = 0;
    /// Refuses what the ranges of single parameters do not show.
    virtual void check() const {}
    /// Multiply-adds a cycle: the size that explorations compare.
    virtual int64_t elements() const = 0;
    virtual double clock_hz() const = 0;
    virtual Abilities abilities() const = 0;
    /// Why it lacks a facility, in a line; "" if it has it.
    virtual std::string lacks(Facility facility) const = 0;
    /// Changes when the same step may cost otherwise than before: results that are kept name it.
    virtual int cost_model_version() const { return 1; }

    /// How the step runs best. Refuses a step that the machine cannot run.
    virtual SchedulePtr plan(const Workload& workload, PlanCache* cache = nullptr) const;
    virtual std::unique_ptr<PlanCache> plan_cache() const { return nullptr; }
    /// A schedule as TOML text; equal inputs give equal texts. `table`: the table that holds it, "" for the
    /// whole file.
    virtual std::string schedule_text(const Workload& workload, const Schedule& schedule,
                                      const std::string& table = {}) const;
    /// Reads it back. Refuses what does not fit the step or the machine, naming file and line.
    virtual SchedulePtr read_schedule(const ScheduleSource& source, const Workload& workload) const;

    /// What the step costs under a schedule of this machine.
    virtual Report cost(const Workload& workload, const Schedule& schedule) const = 0;

    /// Runs the chosen products value by value and compares what they take with `report`, which cost() made of
    /// this schedule.
    virtual ExactRun execute(const Workload& workload, const Schedule& schedule, const Report& report,
                             const ExactOptions& options) const;
    /// Every register at the start of `cycle` of the first chosen product, as text.
    virtual std::string registers(const Workload& workload, const Schedule& schedule, uint64_t seed,
                                  const ProductChoice& choice, int64_t cycle) const;

    /// What a user should know before the figures: N:M products that run dense. "" if nothing.
    virtual std::string note_on(const Workload& workload) const;

    /// For `enmesh bench simulate`: parts of the model to time, and sweeps that explore it.
    virtual std::vector<ModelBenchmark> benchmarks() const { return {}; }
    virtual std::vector<std::string> sample_sweeps() const { return {}; }
};

/// The parameters' values as commented TOML.
std::string config_text(const Accelerator& machine);
/// The file (if any), then the settings, then check(). Refusals of a setting begin with `where`.
void configure(Accelerator& machine, const std::string& file, const std::vector<std::string>& settings,
               std::string_view where = {});

/// Reads a schedule file.
SchedulePtr read_schedule(const Accelerator& machine, const std::string& file, const Workload& workload);
SchedulePtr parse_schedule(const Accelerator& machine, std::string_view text, const std::string& file,
                           const Workload& workload);

/// The step under the schedule that the machine finds.
Report simulate(const Accelerator& machine, const Workload& workload);

/// A line of the list of machines.
struct RegisteredAccelerator {
    std::string name, about;
    std::function<std::unique_ptr<Accelerator>()> make;
};
std::vector<RegisteredAccelerator> registered_accelerators();
/// Adds a machine to the list, for programs that bring their own. Refuses a name that is taken or has a '+'.
/// Not for several threads.
void register_accelerator(RegisteredAccelerator machine);
/// The machine of a name with its defaults; "A+B" is the mixed machine of two. Refuses an unknown name with
/// the nearest.
std::unique_ptr<Accelerator> make_accelerator(std::string_view name);

}  // namespace enmesh::accel
