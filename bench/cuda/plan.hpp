#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

/// What is measured, and what enmesh's model predicts of exactly that. Made where enmesh runs
/// (make_plan.cpp), read where the GPU is: no CUDA and nothing of enmesh in here.
namespace enmesh::cuda {

/// By GPU of the model, "stc-h200". Microseconds.
struct PredictedProduct {
    double dense = 0, sparse = 0;
};

/// dst[cols][rows] = src[cols][depth] · weights[rows][depth]ᵀ, sizes multiples of 16.
struct PlannedProduct {
    std::string stage;  ///< "FF", "BP" or "WG"
    int64_t rows = 0, cols = 0, depth = 0;
    bool two_in_four = false;           ///< whether weights are 2:4 along the depth in the sparse step
    bool depth_major = false;           ///< both operands lie with the depth outermost, as WG finds them
    std::vector<std::string> places{};  ///< "resnet50/256 FF layer1.0.conv2", …
    std::map<std::string, PredictedProduct> predicted{};
};

/// Selection and packing of a layer's weights in both directions.
struct PlannedLayer {
    int64_t outputs = 0, positions = 0, inputs = 0;
    std::vector<std::string> places{};
    std::map<std::string, double> predicted{};
};

struct PlannedNetwork {
    std::string name;                                ///< "resnet50/256"
    std::string what;                                ///< in words, with what is not in it
    std::map<size_t, int64_t> products{}, layers{};  ///< how often each is in a step
    /// Attention's own products and all vector work of a dense step, by GPU: never measured here. Empty: not
    /// known.
    std::map<std::string, double> not_timed{};
};

struct Plan {
    std::vector<PlannedProduct> products{};
    std::vector<PlannedLayer> layers{};
    std::vector<PlannedNetwork> networks{};  ///< the most important first
    std::vector<std::string> left_out{};     ///< with the reason
};

std::string to_json(const Plan& plan);
/// Throws a std::exception whose message says what is wrong.
Plan parse_plan(const std::string& text);

/// The model's GPU for a device's name: "NVIDIA H200" -> "stc-h200"; "" if the plan predicts none.
std::string predicted_gpu(const Plan& plan, const std::string& device);

}  // namespace enmesh::cuda
