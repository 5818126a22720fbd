#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "plan.hpp"

/// What was measured, as JSON and as a table beside what was predicted. No CUDA in here.
namespace enmesh::cuda {

/// One contestant on one product or layer: microseconds, or why there are none.
struct Measured {
    std::optional<double> median{};
    double min = 0, max = 0;
    std::string why_not{};  ///< "not built in", "wrong: …"
};

struct Clocks {
    std::optional<double> sm_megahertz{}, watts{};
};

struct ProductResult {
    size_t product = 0;  ///< of the plan
    std::string type;    ///< "f16" or "bf16"
    Measured dense, mma_sp, cusparselt;
    Measured cusparselt_packing;  ///< its own compression of the 2:4 operand
    Clocks clocks;                ///< just after
};

struct LayerResult {
    size_t layer = 0;
    std::string type;
    Measured selection;
    Clocks clocks;
};

struct Results {
    /// Facts in words, in the order of printing: {"device", "NVIDIA H200"}, …
    std::vector<std::pair<std::string, std::string>> facts;
    std::string predicted_gpu;          ///< "" if the plan has none for the GPU
    std::vector<std::string> checks;    ///< what was compared before anything was timed
    std::vector<std::string> failures;  ///< what was wrong; empty if all is well
    std::vector<std::string> left_out;  ///< what there was no time for
    std::vector<ProductResult> products;
    std::vector<LayerResult> layers;
};

/// A training step's products: dense FF + BP + WG against 2:4 FF + BP, the selection of the weights in both
/// directions, and dense WG. Microseconds; absent where a product of the network was not measured.
struct Step {
    std::optional<double> dense;
    std::optional<double> mma_sp;      ///< FF and BP by mma.sp, our selection
    std::optional<double> cusparselt;  ///< by cuSPARSELt, our selection and its packing
    std::optional<double> best;        ///< of each product the fastest of the three; our selection, packing
                                       ///< of what cuSPARSELt computes
    std::optional<double> predicted_dense, predicted_sparse;
    std::optional<double> not_timed;  ///< predicted, the same for both steps
};
Step step_of(const Plan& plan, const PlannedNetwork& network, const Results& results,
             const std::string& type);

std::string to_json(const Plan& plan, const Results& results);
std::string to_markdown(const Plan& plan, const Results& results);

}  // namespace enmesh::cuda
