#include "enmesh/accel/common/accelerator.hpp"

#include <algorithm>

#include "accel/common/schedule_file.hpp"
#include "accel/common/toml_reader.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"

namespace enmesh::accel {
namespace {

[[noreturn]] void refuse_facility(const Accelerator& machine, Facility facility) {
    refuse("{}: {}", machine.name(), machine.lacks(facility));
}

}  // namespace

bool Abilities::skips_zeros(const Product& product) const {
    if (!product.is_sparse()) return false;
    return std::any_of(nm.begin(), nm.end(), [&](const NmAbility& ability) {
        return (ability.operand == Operand::none || ability.operand == product.sparse) &&
               (!ability.stage.has_value() || *ability.stage == product.stage) &&
               ability.takes(product.pattern);
    });
}

SchedulePtr Accelerator::plan(const Workload& workload, PlanCache* /*cache*/) const {
    accel::check(workload);
    return std::make_shared<Schedule>();
}

std::string Accelerator::schedule_text(const Workload& /*workload*/, const Schedule& /*schedule*/,
                                       const std::string& /*table*/) const {
    refuse_facility(*this, Facility::schedule);
}

SchedulePtr Accelerator::read_schedule(const ScheduleSource& /*source*/, const Workload& /*workload*/) const {
    refuse_facility(*this, Facility::schedule);
}

ExactRun Accelerator::execute(const Workload& /*workload*/, const Schedule& /*schedule*/,
                              const Report& /*report*/, const ExactOptions& /*options*/) const {
    refuse_facility(*this, Facility::exact);
}

std::string Accelerator::registers(const Workload& /*workload*/, const Schedule& /*schedule*/,
                                   uint64_t /*seed*/, const ProductChoice& /*choice*/,
                                   int64_t /*cycle*/) const {
    refuse_facility(*this, Facility::registers);
}

std::string Accelerator::note_on(const Workload& workload) const {
    const Abilities able = abilities();
    const bool any_dense = std::any_of(
        workload.products.begin(), workload.products.end(),
        [&](const Product& product) { return product.is_sparse() && !able.skips_zeros(product); });
    return any_dense ? able.otherwise : "";
}

std::string config_text(const Accelerator& machine) { return to_toml(machine.clone()->parameters()); }

void configure(Accelerator& machine, const std::string& file, const std::vector<std::string>& settings,
               std::string_view where) {
    configure(machine.parameters(), file, settings, where);
    machine.check();
}

SchedulePtr parse_schedule(const Accelerator& machine, std::string_view text, const std::string& file,
                           const Workload& workload) {
    if (!machine.lacks(Facility::schedule).empty()) refuse_facility(machine, Facility::schedule);
    const toml::table root = parse_toml(text, file);
    return machine.read_schedule({root, file, file}, workload);
}

SchedulePtr read_schedule(const Accelerator& machine, const std::string& file, const Workload& workload) {
    return parse_schedule(machine, read_file(file, size_t{256} << 20), file, workload);
}

Report simulate(const Accelerator& machine, const Workload& workload) {
    return machine.cost(workload, *machine.plan(workload));
}

}  // namespace enmesh::accel
