#include "enmesh/onnx/import.hpp"

#include <strings.h>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/with_batch.hpp"
#include "onnx/import/converter.hpp"

namespace enmesh::onnx {

namespace {

/// Names come from the file: what could break the line, or a terminal, is not repeated.
std::string one_line(const std::filesystem::path& path, const std::string& message) {
    std::string text =
        message.starts_with(path.string()) ? message : fmt::format("{}: {}", path.string(), message);
    for (char& c : text) c = static_cast<unsigned char>(c) < ' ' || c == '\x7f' ? '?' : c;
    return text;
}

/// The graph at another batch than the file fixes.
Graph at_batch(const Graph& graph, int64_t batch) {
    const int64_t fixed = graph.type(graph.find("images")).shape[0];
    try {
        return with_batch(graph, batch);
    } catch (const Error& error) {
        throw Error(error.kind(),
                    fmt::format("{}; the file fixes the batch at {}: export it with a dynamic batch or use "
                                "--batch {}",
                                error.what(), fixed, fixed));
    }
}

}  // namespace

Model import(const std::filesystem::path& path, const ImportOptions& options) {
    try {
        auto file = std::make_shared<const ModelFile>(read_model(path));
        Model model = Converter(*file, options).run();
        if (const ValueId images = model.graph.find("images");
            !options.keep_batch && model.graph.type(images).shape[0] != options.batch)
            model.graph = at_batch(model.graph, options.batch);
        model.structure = structure_of(file->model, model.weights);
        model.file = std::move(file);
        return model;
    } catch (const Error& error) {
        throw Error(error.kind(), one_line(path, error.what()));
    }
}

bool is_onnx_path(const std::filesystem::path& path) {
    return ::strcasecmp(path.extension().c_str(), ".onnx") == 0;
}

}  // namespace enmesh::onnx
