#include "enmesh/accel/report/report.hpp"

#include <algorithm>

#include "enmesh/base/error.hpp"

namespace enmesh::accel {

double Stalls::of(std::string_view name) const {
    for (const auto& [cause, cycles] : entries_)
        if (cause.name == name) return cycles;
    return 0;
}

double Stalls::total() const {
    double total = 0;
    for (const Entry& entry : entries_) total += entry.cycles;
    return total;
}

void Stalls::add(StallCause cause, double cycles) {
    for (Entry& entry : entries_) {
        if (entry.cause.name != cause.name) continue;
        entry.cycles += cycles;
        return;
    }
    entries_.push_back({cause, cycles});
}

Stalls& Stalls::operator+=(const Stalls& other) {
    for (const auto& [cause, cycles] : other.entries_) add(cause, cycles);
    return *this;
}

Stalls& Stalls::operator*=(double factor) {
    for (Entry& entry : entries_) entry.cycles *= factor;
    return *this;
}

int64_t ProductResult::whole(std::string_view figure) const {
    for (const Figure& one : figures) {
        const int64_t* const value = std::get_if<int64_t>(&one.value);
        if (one.name == figure && value != nullptr) return *value;
    }
    refuse("the report has no whole-numbered figure '{}'", figure);
}

int64_t Report::multiply_adds() const {
    int64_t total = 0;
    for (const ProductResult& result : products) total += result.multiply_adds;
    return total;
}

double Report::gflops() const {
    return seconds > 0 ? 2e-9 * static_cast<double>(multiply_adds()) / seconds : 0;
}

double Report::gflops_per_watt() const {
    const double joules = energy.total();
    return joules > 0 ? 2e-9 * static_cast<double>(multiply_adds()) / joules : 0;
}

Report report_of(const Workload& workload, std::string accelerator, int64_t elements, double clock_hz) {
    Report report;
    report.network = workload.name;
    report.method = workload.method;
    report.accelerator = std::move(accelerator);
    report.images = workload.images;
    report.elements = elements;
    report.clock_hz = clock_hz;
    return report;
}

int64_t counted_sum(int64_t total, int64_t repeat, int64_t cycles) {
    int64_t more = 0;
    if (__builtin_mul_overflow(repeat, cycles, &more) || __builtin_add_overflow(total, more, &total))
        refuse("the step takes more cycles than can be counted");
    return total;
}

void take_turns(Report& report, const Workload& workload) {
    struct Slot {
        int64_t position;
        int64_t cycles;
        int64_t* start;
    };
    std::vector<Slot> slots;
    for (size_t i = 0; i < report.products.size(); ++i) {
        slots.push_back(
            {workload.products[i].position, report.products[i].cycles, &report.products[i].start_cycle});
    }
    for (size_t i = 0; i < report.vector_work.size(); ++i) {
        const size_t ops = workload.vector_ops.size();
        const int64_t position =
            i < ops ? workload.vector_ops[i].position : workload.updates[i - ops].position;
        slots.push_back({position, report.vector_work[i].cycles, &report.vector_work[i].start_cycle});
    }
    std::stable_sort(slots.begin(), slots.end(),
                     [](const Slot& a, const Slot& b) { return a.position < b.position; });
    for (const Slot& slot : slots) {
        *slot.start = report.total_cycles;
        report.total_cycles = counted_sum(report.total_cycles, 1, slot.cycles);
    }
    report.seconds = static_cast<double>(report.total_cycles) / report.clock_hz;
}

void add_energy(Report& report, const EnergyTable& table) {
    Activity all;
    for (const ProductResult& result : report.products) all += result.activity;
    for (const VectorResult& result : report.vector_work) all += result.activity;
    report.energy_table = table.name;
    report.static_watts = table.static_watts;
    report.energy = energy_of(table, all, report.seconds);
}

}  // namespace enmesh::accel
