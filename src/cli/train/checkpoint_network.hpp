#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cli/options/named_files.hpp"
#include "cli/options/run_options.hpp"
#include "enmesh/onnx/export.hpp"

namespace CLI {
class App;
}  // namespace CLI

namespace enmesh::cli {

/// A checkpoint with the network that it says it is of.
struct CheckpointNetwork {
    CheckpointInfo info;
    RequestedModel model;
    std::unique_ptr<Executor> executor;

    /// What the network computes with: weights as they are after packing, where a product takes them N:M.
    onnx::TensorSource weights() const;
};

/// `model`: the ONNX file that was trained, where it is not beside the checkpoint as model.onnx; ""
/// otherwise.
CheckpointNetwork load_network(const std::filesystem::path& checkpoint, const std::string& model,
                               bool averages, Notes& notes);

/// What a command reads that takes a checkpoint or other weights by that option, and an ONNX file as --model.
std::vector<NamedFile> network_inputs(const std::string& option, const std::filesystem::path& input,
                                      const std::string& model);

/// Refuses an ONNX file as weights: it is a network, which --model takes.
void require_no_network(const char* option, const std::filesystem::path& weights);

/// --model and --image of a command that takes a checkpoint or an ONNX file.
void add_network_file_options(CLI::App& command, std::string& model, std::string& image);

}  // namespace enmesh::cli
