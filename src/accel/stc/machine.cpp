#include "enmesh/accel/stc/machine.hpp"

namespace enmesh::accel::stc {

Machine::Machine(const std::string& name) : config_(load_gpu_config(name, "", {})) {}

int64_t Machine::elements() const { return int64_t{config_.sms} * config_.dense_multiply_adds_per_cycle; }

Abilities Machine::abilities() const { return {.nm = {{.takes = fits_two_in_four}}}; }

std::string Machine::lacks(Facility facility) const {
    switch (facility) {
        case Facility::schedule:
        case Facility::dataflow:
            return "every product takes its fastest tile and split";
        case Facility::exact:
        case Facility::registers:
            return "the GPU is a model of time, without values and registers";
    }
    return {};
}

Report Machine::cost(const Workload& workload, const Schedule& /*schedule*/) const {
    return simulate_gpu(config_, workload);
}

}  // namespace enmesh::accel::stc
