#include <algorithm>

#include "enmesh/accel/common/accelerator.hpp"
#include "enmesh/accel/mixed/mixed.hpp"
#include "enmesh/accel/sat/machine.hpp"
#include "enmesh/accel/stc/machine.hpp"
#include "enmesh/accel/systolic/machine.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

/// Every machine in one line: its name, what it is, and how it is made.
std::vector<RegisteredAccelerator>& machines() {
    static std::vector<RegisteredAccelerator> list = {
        {"sat", "N:M training accelerator", [] { return std::make_unique<sat::Machine>(); }},
        {"systolic", "dense array, SCALE-Sim convention",
         [] { return std::make_unique<systolic::Machine>(); }},
        {"stc-a100", "GPU with Sparse Tensor Cores",
         [] { return std::make_unique<stc::Machine>("stc-a100"); }},
        {"stc-h100", "GPU with Sparse Tensor Cores",
         [] { return std::make_unique<stc::Machine>("stc-h100"); }},
        {"stc-h200", "GPU with Sparse Tensor Cores",
         [] { return std::make_unique<stc::Machine>("stc-h200"); }},
    };
    return list;
}

const RegisteredAccelerator* find(std::string_view name) {
    const auto found =
        std::find_if(machines().begin(), machines().end(),
                     [&](const RegisteredAccelerator& machine) { return machine.name == name; });
    return found == machines().end() ? nullptr : &*found;
}

std::unique_ptr<Accelerator> make_one(std::string_view name) {
    if (const RegisteredAccelerator* const machine = find(name)) return machine->make();
    std::vector<std::string> known;
    for (const RegisteredAccelerator& machine : machines()) known.push_back(machine.name);
    std::sort(known.begin(), known.end());
    refuse("{}: no such accelerator{}", name.empty() ? "''" : name, suggestion(name, known));
}

}  // namespace

std::vector<RegisteredAccelerator> registered_accelerators() { return machines(); }

void register_accelerator(RegisteredAccelerator machine) {
    // It begins keys of a mixed machine, which are TOML's bare keys.
    constexpr std::string_view letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    if (machine.name.empty() || machine.name.find_first_not_of(letters) != std::string::npos)
        refuse("'{}' is no name for an accelerator: letters, digits, _ and - alone make one", machine.name);
    if (find(machine.name) != nullptr) refuse("there is an accelerator '{}' already", machine.name);
    machines().push_back(std::move(machine));
}

std::unique_ptr<Accelerator> make_accelerator(std::string_view name) {
    const size_t plus = name.find('+');
    if (plus == std::string_view::npos) return make_one(name);
    if (name.find('+', plus + 1) != std::string_view::npos)
        refuse("{}: a mixed machine is made of two engines, A+B", name);
    if (plus == 0 || plus + 1 == name.size())
        refuse("{}: the name of an engine is missing: a mixed machine is made of two engines, A+B", name);
    return mixed::machine(make_one(name.substr(0, plus)), make_one(name.substr(plus + 1)));
}

}  // namespace enmesh::accel
