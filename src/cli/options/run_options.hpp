#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli/options/model_options.hpp"
#include "cli/options/plan_option.hpp"
#include "enmesh/data/dataset.hpp"
#include "enmesh/train/backend.hpp"
#include "enmesh/train/checkpoint.hpp"

namespace CLI {
class App;
}

namespace enmesh::cli {

/// What train and eval share: the data and where to compute.
struct RunRequest {
    std::string data = "digits";
    std::string device = "cpu";
    std::string dtype = "f32";
    int threads = 0;  ///< 0: all cores
    std::string plan = "cached";
    std::string sat_config;  ///< the machine of device sat
    std::vector<std::string> sat_settings;
};

/// --data --device --dtype --threads --plan --sat-config --sat-set.
void add_run_options(CLI::App& command, RunRequest& request);
/// --dtype: f32 or bf16; refuses others.
DType product_dtype(const std::string& text);
/// Sets the number of threads and says where steps run. Refuses what this build cannot do.
Backend requested_backend(const RunRequest& request);
/// The same with --plan read already: a pipe can be read once.
Backend requested_backend(const RunRequest& request, const RequestedPlan& plan);
/// Reads the data set; images of a folder are brought to --image.
data::Dataset requested_dataset(const RunRequest& request, const ModelRequest& model);
/// Classes and image shape are the data's where they were not asked for.
ModelOptions model_options_for(const ModelRequest& request, const data::Dataset& dataset);
/// The words by which checkpoints remember a model of the zoo, and back.
ModelDescription describe_model(const std::string& name, const ModelOptions& options);
ModelRequest model_request(const ModelDescription& description, const std::filesystem::path& file);

/// A network and how checkpoints remember it. Of an ONNX file they keep the structure; `train` puts the file
/// itself beside them, as model.onnx.
struct RequestedModel {
    Graph graph;
    ModelDescription description;
    std::optional<onnx::Model> onnx;
};
RequestedModel requested_model(const ModelRequest& request, const ModelOptions& options, Notes& notes);
/// The ONNX file of a checkpoint's network, beside it as model.onnx; "" where it has none.
std::filesystem::path network_file(const std::filesystem::path& checkpoint);
/// Refuses weights whose file says that they belong to another model.
void check_description(const ModelDescription& there, const ModelDescription& here,
                       const std::filesystem::path& file);

/// Takes from a TOML file what the command line did not give: keys are the names of options without the
/// dashes. Refuses unknown keys with the nearest name.
void apply_config(CLI::App& command, const std::filesystem::path& file);

/// Refuses, before the work, for a result file that could not be written: "" and "-" are fine.
void require_writable_target(const std::string& file);
/// Writes a result: "-" is standard output, "" nowhere.
void write_result(const std::string& file, const std::string& text);
/// Refuses a value outside [low, high].
void require_between(const char* option, double value, double low, double high);

/// "conv1 FF, BP: first layer" for every layer that the recipe leaves dense, but `except` of these.
std::string left_dense_text(const TrainingStep& step, const std::vector<std::string>& except = {});
/// "bdwp 2:8": the method and the patterns in force.
std::string method_text(const TrainingStep& step);
/// A table of the products' multiply-adds per step, dense and as executed.
std::string products_text(const TrainingStep& step);
/// Which products with N:M weights a dense kernel serves, as a line; empty if none does.
std::string filled_in_text(const Executor& executor);
/// What products multiply, one line; "" for float32.
std::string arithmetic_text(const Executor& executor);
/// "12,345,678".
std::string with_commas(int64_t value);

}  // namespace enmesh::cli
