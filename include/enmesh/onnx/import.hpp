#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "enmesh/graph/graph.hpp"

/// ONNX files in and out. What is read: one float32 image input (N × C × H × W), one output, operator sets 8
/// and newer of the standard domain; docs/onnx.md lists the operators.
namespace enmesh::onnx {

/// The file as it was read, with every field that we do not know.
struct ModelFile;

/// One step from an initialiser's elements to a value of the graph; export undoes it.
struct TensorStep {
    std::vector<int64_t>
        order;              ///< a transposition: axis i of the value is axis order[i] of what it came from
    Shape shape;            ///< a new shape, where `order` is empty
    bool mirrored = false;  ///< the last two axes back to front; nothing else then
    friend bool operator==(const TensorStep&, const TensorStep&) = default;
};

/// Which initialiser of the file a parameter or state of the graph is.
struct WeightLink {
    std::string value;        ///< name in the graph
    std::string initializer;  ///< name in the file, of an initialiser or a Constant node's result
    std::vector<TensorStep> steps;
    /// Where the initialiser serves another value too, which would change it differently: the node and input
    /// that read this one. -1 where it is the only one.
    int node = -1, input = -1;
};

/// A network from a file. The graph's input is "images" and its parameters carry their initialisers' names
/// and values; batch norms are in training form (inference_graph() puts them on running statistics).
struct Model {
    Graph graph;
    std::string input, output;   ///< their names in the file
    bool dynamic_batch = false;  ///< whether the file leaves the batch open
    int64_t opset = 0;
    std::string producer;
    std::vector<std::string> notes;  ///< what a user should know, one line each
    std::vector<WeightLink> weights;
    /// Why it cannot be trained, one line each. It runs all the same.
    std::vector<std::string> not_trainable;
    uint64_t structure = 0;  ///< hash of nodes, names and shapes, weights' values left out
    std::shared_ptr<const ModelFile> file;
};

struct ImportOptions {
    int64_t batch = 2;        ///< a file with a fixed batch is changed to it too, where its shapes allow
    bool keep_batch = false;  ///< a file with a fixed batch keeps it: `batch` is for those that leave it open
    /// C, H, W where the file leaves them open; what it fixes must agree.
    std::optional<std::array<int64_t, 3>> image;
};

/// Reads the file and its external data (beside it, or beside the file that it links to, never outside that
/// folder). Refuses in one line: a file
/// that is not ONNX or contradicts itself, unsupported operators (all of them at once, with their nodes),
/// weights that are not float32 or not finite. Memory is bounded by the file's size.
Model import(const std::filesystem::path& path, const ImportOptions& options = {});

/// The files beside the model that it names as its external data, as canonical paths; none where it is no
/// ONNX file, which import() refuses.
std::vector<std::filesystem::path> external_files(const std::filesystem::path& path);

/// Whether a path names an ONNX file (by its extension, in either case).
bool is_onnx_path(const std::filesystem::path& path);

}  // namespace enmesh::onnx
