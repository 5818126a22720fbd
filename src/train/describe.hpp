#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/data/augment.hpp"
#include "enmesh/data/dataset.hpp"
#include "enmesh/step/step.hpp"
#include "enmesh/train/checkpoint.hpp"
#include "enmesh/train/schedule.hpp"

namespace enmesh {

using Json = nlohmann::json;  // keys in byte order: equal runs give equal text

Json describe(const Recipe& recipe);
Recipe recipe_from(const Json& json);
Json describe(const StepOptions& options);
Json describe(const Schedule& schedule);
/// Kind, shapes, counts and a checksum of the contents; no path.
Json describe(const data::Dataset& dataset);
/// Floating-point numbers keep their bits.
Json describe(const Progress& progress);
Progress progress_from(const Json& json);

/// "optimizer.lr is 0.1 there and 0.05 here" for every leaf that differs.
std::vector<std::string> differences(const Json& there, const Json& here);
/// The first few, in one line.
std::string listed(const std::vector<std::string>& items);

}  // namespace enmesh
