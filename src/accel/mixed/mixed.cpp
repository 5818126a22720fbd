#include "enmesh/accel/mixed/mixed.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "accel/common/schedule_file.hpp"
#include "accel/common/toml_reader.hpp"
#include "accel/mixed/list_schedule.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::mixed {
namespace {

const std::string in_turn = "in turn", side_by_side = "side by side";
constexpr std::array stages = {Stage::FF, Stage::BP, Stage::WG};

/// An engine's part of a step.
struct Share {
    Workload workload;
    std::vector<size_t> products;  ///< their places in the step
    bool has_work() const {
        return !(workload.products.empty() && workload.vector_ops.empty() && workload.updates.empty());
    }
    bool has_one_of(std::span<const size_t> chosen) const {
        return std::any_of(chosen.begin(), chosen.end(),
                           [&](size_t i) { return std::binary_search(products.begin(), products.end(), i); });
    }
};

struct MixedSchedule : Schedule {
    std::array<SchedulePtr, 2> parts;  ///< none for an engine without work
};

struct MixedCache : PlanCache {
    std::array<std::unique_ptr<PlanCache>, 2> parts;
};

const MixedSchedule& of_two(const Schedule& schedule) {
    const auto* const ours = dynamic_cast<const MixedSchedule*>(&schedule);
    if (ours == nullptr) refuse("the schedule is another machine's");
    return *ours;
}

/// Cycles of an engine's clock in those of the first engine's.
class Conversion {
  public:
    Conversion(double clock_hz, double report_hz)
        : factor_(clock_hz == report_hz ? 1 : report_hz / clock_hz) {}

    double operator()(double cycles) const { return cycles * factor_; }
    int64_t operator()(int64_t cycles) const {
        if (factor_ == 1) return cycles;
        const double converted = std::ceil(static_cast<double>(cycles) * factor_);
        if (!(converted < static_cast<double>(std::numeric_limits<int64_t>::max())))
            refuse("the step takes more cycles than can be counted");
        return static_cast<int64_t>(converted);
    }
    void convert(std::vector<Busy>& list, size_t first_track) const {
        for (Busy& busy : list) {
            busy.track += first_track;
            busy.cycles = (*this)(busy.cycles);
            convert(busy.figures);
        }
    }
    void convert(std::vector<Figure>& figures) const {
        for (Figure& figure : figures) {
            if (!figure.cycles) continue;
            if (int64_t* const whole = std::get_if<int64_t>(&figure.value)) *whole = (*this)(*whole);
            if (double* const real = std::get_if<double>(&figure.value)) *real = (*this)(*real);
        }
    }
    double factor() const { return factor_; }

  private:
    double factor_;
};

class Mixed : public Accelerator {
  public:
    Mixed(std::unique_ptr<Accelerator> first, std::unique_ptr<Accelerator> second)
        : parts_{std::move(first), std::move(second)} {
        const std::string &a = parts_[0]->name(), &b = parts_[1]->name();
        const bool second_alone = !parts_[0]->abilities().vector_work && parts_[1]->abilities().vector_work;
        engine_ = {a, a, b};
        vector_ = second_alone ? b : a;
    }

    std::string name() const override { return parts_[0]->name() + "+" + parts_[1]->name(); }
    std::unique_ptr<Accelerator> clone() const override {
        auto copy = std::make_unique<Mixed>(parts_[0]->clone(), parts_[1]->clone());
        copy->engine_ = engine_;
        copy->vector_ = vector_;
        copy->turns_ = turns_;
        return copy;
    }
    void check() const override {
        for (const auto& part : parts_) part->check();
    }
    int64_t elements() const override { return parts_[0]->elements() + parts_[1]->elements(); }
    double clock_hz() const override { return parts_[0]->clock_hz(); }
    int cost_model_version() const override {
        return 1000 * parts_[0]->cost_model_version() + parts_[1]->cost_model_version();
    }
    std::vector<Parameter> parameters() override;
    Abilities abilities() const override;
    std::string lacks(Facility facility) const override;
    std::string note_on(const Workload& workload) const override;

    SchedulePtr plan(const Workload& workload, PlanCache* cache) const override;
    std::unique_ptr<PlanCache> plan_cache() const override;
    std::string schedule_text(const Workload& workload, const Schedule& schedule,
                              const std::string& table) const override;
    SchedulePtr read_schedule(const ScheduleSource& source, const Workload& workload) const override;
    Report cost(const Workload& workload, const Schedule& schedule) const override;
    ExactRun execute(const Workload& workload, const Schedule& schedule, const Report& report,
                     const ExactOptions& options) const override;
    std::string registers(const Workload& workload, const Schedule& schedule, uint64_t seed,
                          const ProductChoice& choice, int64_t cycle) const override;
    std::vector<ModelBenchmark> benchmarks() const override;
    std::vector<std::string> sample_sweeps() const override;

  private:
    size_t index_of(const std::string& engine) const { return engine == parts_[0]->name() ? 0 : 1; }
    size_t index_of(Stage stage) const { return index_of(engine_[static_cast<size_t>(stage)]); }
    bool schedules(size_t i) const { return parts_[i]->lacks(Facility::schedule).empty(); }
    std::array<Share, 2> shares_of(const Workload& workload) const;
    static void add_part(Report& report, const std::string& engine, const Share& share, Report part);
    void add_notes(Report& report, const Workload& workload, const std::array<Share, 2>& shares) const;
    void place(Report& report, const Workload& workload) const;

    std::array<std::unique_ptr<Accelerator>, 2> parts_;
    std::array<std::string, 3> engine_;  ///< of FF, BP and WG
    std::string vector_;                 ///< the engine of what stands between the products
    std::string turns_ = in_turn;
};

std::vector<Parameter> Mixed::parameters() {
    const std::vector<std::string> names = {parts_[0]->name(), parts_[1]->name()};
    std::vector<Parameter> list;
    const auto add = [&](const char* key, const char* about, const char* origin, std::string* field,
                         const std::vector<std::string>& choices) {
        list.push_back({key, "", about, origin, field, 0, 0, choices});
    };
    add("mixed.ff", "engine of the forward products", "ours: the first", &engine_[0], names);
    add("mixed.bp", "engine of the data gradients", "ours: the first", &engine_[1], names);
    add("mixed.wg", "engine of the weight gradients", "ours: the second", &engine_[2], names);
    add("mixed.vector", "engine of vector work and updates", "ours: the first that models them", &vector_,
        names);
    add("mixed.turns", "in turn, or side by side as far as the step's dependences allow", "ours: in turn",
        &turns_, {in_turn, side_by_side});
    for (const auto& part : parts_)
        for (Parameter parameter : part->parameters()) {
            parameter.owner = part->name();
            parameter.key = parameter.owner + "." + parameter.key;
            list.push_back(std::move(parameter));
        }
    return list;
}

Abilities Mixed::abilities() const {
    Abilities all{.vector_work = parts_[index_of(vector_)]->abilities().vector_work};
    for (const Stage stage : stages) {
        const Abilities part = parts_[index_of(stage)]->abilities();
        for (NmAbility ability : part.nm) {
            if (ability.stage.has_value() && *ability.stage != stage) continue;
            ability.stage = stage;
            all.nm.push_back(std::move(ability));
        }
    }
    return all;
}

std::string Mixed::lacks(Facility facility) const {
    const std::string first = parts_[0]->lacks(facility), second = parts_[1]->lacks(facility);
    if (first.empty() || second.empty()) return {};
    return fmt::format("{}: {}; {}: {}", parts_[0]->name(), first, parts_[1]->name(), second);
}

std::array<Share, 2> Mixed::shares_of(const Workload& workload) const {
    std::array<Share, 2> shares;
    for (Share& share : shares) {
        share.workload.name = workload.name;
        share.workload.method = workload.method;
        share.workload.images = workload.images;
    }
    for (size_t i = 0; i < workload.products.size(); ++i) {
        Share& share = shares[index_of(workload.products[i].stage)];
        share.workload.products.push_back(workload.products[i]);
        share.products.push_back(i);
    }
    Workload& between = shares[index_of(vector_)].workload;
    between.vector_ops = workload.vector_ops;
    between.updates = workload.updates;
    return shares;
}

std::string Mixed::note_on(const Workload& workload) const {
    const std::array<Share, 2> shares = shares_of(workload);
    const std::string first = parts_[0]->note_on(shares[0].workload),
                      second = parts_[1]->note_on(shares[1].workload);
    if (first == second) return first;
    return first + (first.empty() || second.empty() ? "" : "; ") + second;
}

SchedulePtr Mixed::plan(const Workload& workload, PlanCache* cache) const {
    accel::check(workload);
    const auto* const caches = dynamic_cast<MixedCache*>(cache);
    const std::array<Share, 2> shares = shares_of(workload);
    const auto schedule = std::make_shared<MixedSchedule>();
    for (size_t i = 0; i < 2; ++i)
        if (shares[i].has_work())
            schedule->parts[i] =
                parts_[i]->plan(shares[i].workload, caches != nullptr ? caches->parts[i].get() : nullptr);
    return schedule;
}

std::unique_ptr<PlanCache> Mixed::plan_cache() const {
    auto caches = std::make_unique<MixedCache>();
    for (size_t i = 0; i < 2; ++i) caches->parts[i] = parts_[i]->plan_cache();
    return caches;
}

std::string Mixed::schedule_text(const Workload& workload, const Schedule& schedule,
                                 const std::string& table) const {
    ENMESH_ASSERT(table.empty());
    const std::array<Share, 2> shares = shares_of(workload);
    std::string text = fmt::format(
        "# Schedule of the mixed machine {}: each engine's part in the table of its name\nversion = 1\n",
        name());
    for (size_t i = 0; i < 2; ++i)
        if (shares[i].has_work() && schedules(i))
            text += "\n" + parts_[i]->schedule_text(shares[i].workload, *of_two(schedule).parts[i],
                                                    parts_[i]->name());
    return text;
}

SchedulePtr Mixed::read_schedule(const ScheduleSource& source, const Workload& workload) const {
    const std::array<Share, 2> shares = shares_of(workload);
    std::vector<std::string> keys = {"version"};
    for (size_t i = 0; i < 2; ++i)
        if (shares[i].has_work() && schedules(i)) keys.push_back(parts_[i]->name());
    const TomlReader reader(source.table, source.where, keys);
    if (reader.whole("version") != 1)
        refuse("{}: version {} is unknown; this program reads version 1", source.where,
               reader.whole("version"));
    const auto schedule = std::make_shared<MixedSchedule>();
    for (size_t i = 0; i < 2; ++i) {
        if (!shares[i].has_work()) continue;
        if (!schedules(i)) {
            schedule->parts[i] = parts_[i]->plan(shares[i].workload);
            continue;
        }
        const std::string& engine = parts_[i]->name();
        const toml::table& table = reader.table(engine);
        const std::string where = fmt::format("{}:{}: [{}]", source.file, table.source().begin.line, engine);
        schedule->parts[i] = parts_[i]->read_schedule({table, source.file, where, "another step or machine"},
                                                      shares[i].workload);
    }
    return schedule;
}

/// The results of one engine, in the clock and among the tracks of the whole; vector work comes as it is.
void Mixed::add_part(Report& report, const std::string& engine, const Share& share, Report part) {
    const Conversion convert(part.clock_hz, report.clock_hz);
    EngineShare sum{engine, part.elements, part.clock_hz, 0};
    const size_t first_track = report.tracks.size();
    for (const std::string& track : part.tracks) report.tracks.push_back(engine + ": " + track);
    for (size_t p = 0; p < part.products.size(); ++p) {
        ProductResult& result = part.products[p];
        result.cycles = convert(result.cycles);
        result.elements = static_cast<double>(part.elements) / convert.factor();
        result.stalls *= convert.factor();
        convert.convert(result.figures);
        convert.convert(result.busy, first_track);
        result.figures.insert(result.figures.begin(), {.name = "engine", .value = engine, .column = true});
        sum.busy_cycles += result.cycles;
        report.products[share.products[p]] = std::move(result);
    }
    for (VectorResult& result : part.vector_work) {
        result.cycles = convert(result.cycles);
        result.lane_cycles = convert(result.lane_cycles);
        result.memory_cycles = convert(result.memory_cycles);
        convert.convert(result.busy, first_track);
        sum.busy_cycles += result.cycles;
        report.vector_work.push_back(std::move(result));
    }
    for (const std::string& note : part.notes) report.notes.push_back(fmt::format("{}: {}", engine, note));
    report.engines.push_back(sum);
}

void Mixed::add_notes(Report& report, const Workload& workload, const std::array<Share, 2>& shares) const {
    const Accelerator &first = *parts_[0], &second = *parts_[1];
    if (first.clock_hz() != second.clock_hz())
        report.notes.push_back(fmt::format("cycles are those of {}'s clock, {:g} MHz; {} runs at {:g} MHz",
                                           first.name(), first.clock_hz() * 1e-6, second.name(),
                                           second.clock_hz() * 1e-6));
    for (size_t i = 0; i < 2; ++i)
        if (!shares[i].has_work())
            report.notes.push_back(fmt::format(
                "{} has nothing to do in this step; what it draws is not counted", parts_[i]->name()));
    if (report.vector_work.empty() && !(workload.vector_ops.empty() && workload.updates.empty()))
        report.notes.push_back(
            fmt::format("vector work and updates are left out: {} does not model them", vector_));
}

void Mixed::place(Report& report, const Workload& workload) const {
    report.side_by_side = turns_ == side_by_side;
    if (!report.side_by_side) return take_turns(report, workload);
    std::vector<Task> tasks;
    for (size_t i = 0; i < report.products.size(); ++i) {
        const Product& product = workload.products[i];
        tasks.push_back({product.position, index_of(product.stage), report.products[i].cycles, false});
    }
    const size_t ops = workload.vector_ops.size(), engine = index_of(vector_);
    for (size_t i = 0; i < report.vector_work.size(); ++i) {
        const VectorResult& result = report.vector_work[i];
        const int64_t position =
            i < ops ? workload.vector_ops[i].position : workload.updates[i - ops].position;
        tasks.push_back({position, engine, result.cycles, result.stage == Stage::WU});
    }
    const Placement placement = list_schedule(tasks, workload.needs);
    for (size_t i = 0; i < tasks.size(); ++i) {
        const size_t products = report.products.size();
        (i < products ? report.products[i].start_cycle : report.vector_work[i - products].start_cycle) =
            placement.starts[i];
    }
    report.total_cycles = placement.cycles;
    report.seconds = static_cast<double>(report.total_cycles) / report.clock_hz;
}

Report Mixed::cost(const Workload& workload, const Schedule& schedule) const {
    accel::check(workload);
    const std::array<Share, 2> shares = shares_of(workload);
    Report report = report_of(workload, name(), elements(), clock_hz());
    report.products.resize(workload.products.size());
    std::string without_energy;
    for (size_t i = 0; i < 2; ++i) {
        if (!shares[i].has_work()) {
            report.engines.push_back({parts_[i]->name(), parts_[i]->elements(), parts_[i]->clock_hz(), 0});
            continue;
        }
        Report part = parts_[i]->cost(shares[i].workload, *of_two(schedule).parts[i]);
        const bool modelled = !part.energy_table.empty();
        if (!modelled) without_energy = parts_[i]->name();
        if (modelled && part.energy_table != report.energy_table)
            report.energy_table += (report.energy_table.empty() ? "" : "+") + part.energy_table;
        report.energy += part.energy;
        report.static_watts += part.static_watts;
        add_part(report, parts_[i]->name(), shares[i], std::move(part));
    }
    place(report, workload);
    add_notes(report, workload, shares);
    // Both engines draw static power during the whole step.
    report.energy.fixed = report.static_watts * report.seconds;
    if (!without_energy.empty() && !report.energy_table.empty())
        report.notes.push_back(
            fmt::format("the step's energy is unknown: {} does not model its own", without_energy));
    if (!without_energy.empty()) {
        report.energy = {};
        report.static_watts = 0;
        report.energy_table.clear();
    }
    return report;
}

ExactRun Mixed::execute(const Workload& workload, const Schedule& schedule, const Report& /*report*/,
                        const ExactOptions& options) const {
    const std::vector<size_t> chosen = chosen_products(workload, options.choice);
    const std::array<Share, 2> shares = shares_of(workload);
    for (size_t i = 0; i < 2; ++i)
        if (shares[i].has_one_of(chosen))
            if (const std::string why = parts_[i]->lacks(Facility::exact); !why.empty())
                refuse("{}: {}", parts_[i]->name(), why);
    ExactRun sum{.whole = true};
    for (size_t i = 0; i < 2; ++i) {
        if (!shares[i].has_one_of(chosen)) continue;
        // The engine's own report: its cycles are of its own clock.
        const Schedule& own = *of_two(schedule).parts[i];
        const Report part = parts_[i]->cost(shares[i].workload, own);
        const ExactRun run = parts_[i]->execute(shares[i].workload, own, part, options);
        sum.products += run.products;
        sum.tiles += run.tiles;
        sum.whole = sum.whole && run.whole;
        sum.element_cycles += run.element_cycles;
        sum.outputs += run.outputs;
        sum.host_seconds += run.host_seconds;
    }
    return sum;
}

std::string Mixed::registers(const Workload& workload, const Schedule& schedule, uint64_t seed,
                             const ProductChoice& choice, int64_t cycle) const {
    const Product& first = workload.products[chosen_products(workload, choice).front()];
    const size_t i = index_of(first.stage);
    if (const std::string why = parts_[i]->lacks(Facility::registers); !why.empty())
        refuse("{}: {}", parts_[i]->name(), why);
    const std::array<Share, 2> shares = shares_of(workload);
    return parts_[i]->registers(shares[i].workload, *of_two(schedule).parts[i], seed,
                                {first.layer, first.stage}, cycle);
}

std::vector<ModelBenchmark> Mixed::benchmarks() const {
    std::vector<ModelBenchmark> list;
    for (const auto& part : parts_)
        for (ModelBenchmark& one : part->benchmarks()) list.push_back(std::move(one));
    return list;
}

std::vector<std::string> Mixed::sample_sweeps() const {
    std::vector<std::string> list;
    for (const auto& part : parts_)
        for (const std::string& sweep : part->sample_sweeps()) list.push_back(part->name() + "." + sweep);
    return list;
}

}  // namespace

std::unique_ptr<Accelerator> machine(std::unique_ptr<Accelerator> first,
                                     std::unique_ptr<Accelerator> second) {
    for (const auto* const part : {&first, &second})
        if ((*part)->name().find('+') != std::string::npos)
            refuse("{}: a mixed machine is made of two engines, not of another mixed one", (*part)->name());
    if (first->name() == second->name())
        refuse("{0}+{0}: a mixed machine is made of two different engines", first->name());
    return std::make_unique<Mixed>(std::move(first), std::move(second));
}

}  // namespace enmesh::accel::mixed
