#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/options/model_options.hpp"
#include "enmesh/tensor/safetensors.hpp"

namespace enmesh::cli {

/// A checkpoint, an ONNX model or any safetensors file, and how to read it.
struct PackInput {
    std::string file, model, image;
    bool raw = false;  ///< the weights themselves where a checkpoint has averages
};

/// What is packed, a tensor at a time.
struct PackSource {
    std::vector<TensorHeader> headers;
    std::function<NamedTensor(size_t)> read;
    Metadata metadata;
    std::vector<std::string> left_out;  ///< tensors of the file that are no weights
    bool network = true;                ///< or a plain safetensors file, whose every N:M tensor is packed
};

PackSource pack_source(const PackInput& input, Notes& notes);

}  // namespace enmesh::cli
