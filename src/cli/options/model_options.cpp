#include "cli/options/model_options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <utility>

#include "enmesh/base/error.hpp"
#include "enmesh/base/log.hpp"

namespace enmesh::cli {
RecipeOverride sparse_override(const std::string& text) {
    const size_t at = text.rfind('=');
    if (at == std::string::npos) return {text, true};
    return {text.substr(0, at), true, parse_pattern(text.substr(at + 1))};
}

void add_model_options(CLI::App& command, ModelRequest& request) {
    const auto group = [](CLI::Option* option) { return option->group("Model"); };
    group(command.add_option("--model", request.model,
                             "A model's name, see docs/models.md, or an ONNX file, see docs/onnx.md"))
        ->type_name("NAME|FILE.onnx");
    group(command.add_option("--classes", request.classes, "Number of classes (10)"));
    group(command.add_option("--image", request.image, "Channels, height and width of an image (3x32x32)"))
        ->type_name("CxHxW");
    group(command.add_option("--width", request.width, "Multiplies every channel count")
              ->capture_default_str());
    group(command.add_option("--batch", request.batch, "Images per step")->capture_default_str());
    group(command.add_option("--method", request.method,
                             "Sparsity method, see enmesh inspect --methods (dense)"))
        ->type_name("NAME");
    group(command.add_option("--pattern", request.pattern, "N of every M are kept"))->type_name("N:M");
    const auto override_option = [&](const char* name, bool sparse, const char* text) {
        const auto append = [&request, sparse](const std::string& layers) {
            request.overrides.push_back(sparse ? sparse_override(layers) : RecipeOverride{layers, false});
        };
        group(command.add_option_function<std::string>(name, append, text))
            ->type_name(sparse ? "LAYERS[=N:M]" : "LAYERS")
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
            ->trigger_on_parse();
    };
    override_option("--dense", false,
                    "Leave layers dense whose name matches (* and ?); repeatable, the last match wins");
    override_option("--sparse", true,
                    "Make layers sparse that are left dense by default (first layer, classifier), or give "
                    "them a pattern of their own; repeatable");
    group(command.add_flag("--on-demand", request.on_demand,
                           "Pack sparse weights when a product needs them, not right after the update"));
}

std::array<int64_t, 3> parse_image(const std::string& text) {
    std::array<int64_t, 3> image{};
    const char *at = text.data(), *const end = at + text.size();
    for (size_t i = 0; i < image.size(); ++i) {
        if (i > 0 && (at == end || *at++ != 'x')) refuse("--image {}: CxHxW expected, such as 3x32x32", text);
        const auto [next, error] = std::from_chars(at, end, image[i]);
        if (error != std::errc()) refuse("--image {}: CxHxW expected, such as 3x32x32", text);
        at = next;
    }
    if (at != end) refuse("--image {}: CxHxW expected, such as 3x32x32", text);
    return image;
}

ModelOptions model_options(const ModelRequest& request) {
    ModelOptions options;
    if (request.classes.has_value()) options.classes = *request.classes;
    if (!request.image.empty()) options.image = parse_image(request.image);
    options.width = request.width;
    options.batch = request.batch;
    return options;
}

void Notes::add(const std::string& file, const onnx::Model& model) {
    std::vector<std::string> notes;
    for (const std::string& note : model.notes) notes.push_back(file + ": " + note);
    add(notes);
}

void Notes::add(const std::vector<std::string>& notes) {
    for (const std::string& line : notes)
        if (std::find(lines_.begin(), lines_.end(), line) == lines_.end()) lines_.push_back(line);
}

void Notes::print() {
    for (const std::string& line : std::exchange(lines_, {})) note("{}", line);
}

Graph requested_graph(const ModelRequest& request, const ModelOptions& options, Notes& notes) {
    if (request.model.empty()) refuse("--model NAME is missing");
    if (names_onnx(request)) return requested_onnx(request, notes).graph;
    return build_model(request.model, options);
}

bool names_onnx(const ModelRequest& request) { return onnx::is_onnx_path(request.model); }

std::string onnx_file(const ModelRequest& request) { return names_onnx(request) ? request.model : ""; }

onnx::Model requested_onnx(const ModelRequest& request, Notes& notes) {
    if (request.width != 1) refuse("--width: {} has the width it has", request.model);
    onnx::ImportOptions options{.batch = request.batch, .keep_batch = request.keep_batch};
    if (!request.image.empty()) options.image = parse_image(request.image);
    onnx::Model model = onnx::import(request.model, options);
    const Shape& scores = model.graph.type(model.graph.outputs[0]).shape;
    if (request.classes.has_value() && (scores.rank() != 2 || scores[1] != *request.classes))
        refuse("--classes {}: the output of {} is {}", *request.classes, request.model, to_string(scores));
    notes.add(request.model, model);
    return model;
}

Recipe requested_recipe(const ModelRequest& request) {
    std::optional<Pattern> pattern;
    if (request.method != "dense" && !request.pattern.empty()) pattern = parse_pattern(request.pattern);
    Recipe recipe = make_recipe(request.method, pattern);
    recipe.overrides = request.overrides;
    recipe.pre_generate = !request.on_demand;
    return recipe;
}

ModelRequest with_method(ModelRequest request, const std::string& text) {
    const size_t at = text.find('@');
    request.method = text.substr(0, at);
    request.pattern = at == std::string::npos ? "" : text.substr(at + 1);
    return request;
}

}  // namespace enmesh::cli
