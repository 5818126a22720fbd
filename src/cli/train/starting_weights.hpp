#pragma once

#include <filesystem>
#include <string>

#include "cli/options/model_options.hpp"
#include "enmesh/sparsity/held_masks.hpp"

namespace enmesh::cli {

/// The weights that a run begins with: those of the file where it has them (under their masks where it has
/// masks; averages where it has them and `averages` asks for them), the graph's first values otherwise. An
/// empty `file` has none.
WeightSource starting_weights(const std::filesystem::path& file, bool averages);

/// The recipe where the first weights come from the file `from`, an ONNX file being the graph's own ("": they
/// are random): those that were pruned keep their masks, see keep_held_masks.
HeldMasks with_held_masks(const Graph& graph, const Recipe& recipe, const std::filesystem::path& from);
/// The recipe that --method asks for, with the masks of the ONNX file that --model may name.
Recipe recipe_for(const Graph& graph, const ModelRequest& request);

/// What was kept of the masks of `from`, and a line for every layer that therefore is not as it is by
/// default; "" if nothing was.
std::string held_text(const HeldMasks& held, const std::string& from);

/// The masks that the weights hold under their own held_pattern(): N:M products serve them without any change
/// of the function. A dense recipe if there are none.
HeldMasks held_masks(const Graph& graph, const WeightSource& source);

/// Which layers run N:M because their weights are, as a line; "" if none does.
std::string runs_held_text(const HeldMasks& held);

/// The layers that held_text() says are left dense.
std::vector<std::string> held_dense(const HeldMasks& held);

}  // namespace enmesh::cli
