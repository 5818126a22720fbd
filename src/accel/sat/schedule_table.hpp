#pragma once

#include <string>

#include "accel/common/schedule_file.hpp"
#include "enmesh/accel/sat/schedule.hpp"

/// A schedule in a table of a file, where a mixed machine keeps it.
namespace enmesh::accel::sat::detail {

/// `table`: the table's name, "" for the whole file.
std::string to_toml(const SatConfig& config, const Workload& workload, const Schedule& schedule,
                    const std::string& table);
Schedule parse_schedule(const ScheduleSource& source, const SatConfig& config, const Workload& workload);

}  // namespace enmesh::accel::sat::detail
