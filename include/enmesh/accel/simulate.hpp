#pragma once

/// Simulating a step: machines by name (`make_accelerator("sat")`) or by value, their reports and printers.
#include "enmesh/accel/common/accelerator.hpp"
#include "enmesh/accel/report/report.hpp"
#include "enmesh/accel/workload/workload.hpp"
