#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "enmesh/graph/graph.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/onnx/import.hpp"
#include "enmesh/sparsity/recipe.hpp"

namespace CLI {
class App;
}

namespace enmesh::cli {

/// The options that say which training step is meant: shared by inspect, simulate, bench and train. What was
/// not given stays empty, so that train can take it from the data.
struct ModelRequest {
    std::string model;
    std::optional<int64_t> classes;
    std::string image;  ///< "CxHxW"
    double width = 1;
    int64_t batch = 128;
    bool keep_batch = false;  ///< an ONNX file that fixes its batch keeps it
    std::string method = "dense";
    std::string pattern;
    std::vector<RecipeOverride> overrides;  ///< --dense and --sparse in the order given
    bool on_demand = false;
};

/// --model --classes --image --width --batch --method --pattern --dense --sparse --on-demand. `request` must
/// outlive the parsing.
void add_model_options(CLI::App& command, ModelRequest& request);

/// What a user should know of ONNX files: said once the request has turned out right, so that a refusal stays
/// one line.
class Notes {
  public:
    void add(const std::string& file, const onnx::Model& model);
    void add(const std::vector<std::string>& lines) {
        lines_.insert(lines_.end(), lines.begin(), lines.end());
    }
    /// To standard error, each once.
    void print();

  private:
    std::vector<std::string> lines_;
};

/// Reads "LAYERS" or "LAYERS=N:M" of --sparse.
RecipeOverride sparse_override(const std::string& text);
/// Reads "3x32x32".
std::array<int64_t, 3> parse_image(const std::string& text);
/// What was asked for; 10 classes and 3x32x32 where nothing was.
ModelOptions model_options(const ModelRequest& request);
/// The graph that --model names: one of the zoo, or of an ONNX file, whose weights are its initial values.
Graph requested_graph(const ModelRequest& request, const ModelOptions& options, Notes& notes);
/// Whether --model names an ONNX file.
bool names_onnx(const ModelRequest& request);
/// That file; "" where --model names a model of the zoo.
std::string onnx_file(const ModelRequest& request);
/// The ONNX file that --model names, at the batch asked for. --image, where it is given, must be what the
/// file takes.
onnx::Model requested_onnx(const ModelRequest& request, Notes& notes);
Recipe requested_recipe(const ModelRequest& request);
/// The request with the method and pattern of "bdwp@2:8".
ModelRequest with_method(ModelRequest request, const std::string& text);

}  // namespace enmesh::cli
