#pragma once

#include <string>

#include "cpu/lowering.hpp"

namespace enmesh::cpu {

/// How a step's maps lie and what its products read.
struct StepLayout {
    Layout maps;
    Layout::Element element = Layout::Element::f32;

    std::string name() const { return maps.lanes == Layout::Lanes::channels ? "channels" : "images"; }
};

/// What the options and their plan ask for; where they leave it open, what is faster as a rule. Refuses the
/// channel layout where a step cannot have it.
StepLayout choose_layout(const TrainingStep& step, const Options& options);

/// What a whole step takes in both layouts decides, where both are possible and the options leave it open: by
/// what was measured before or, if they say so, by measuring now. Otherwise what the options say.
MapLayout measured_layout(const TrainingStep& step, const Options& options);

}  // namespace enmesh::cpu
