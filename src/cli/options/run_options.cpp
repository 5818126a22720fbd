#include "cli/options/run_options.hpp"

#include <fmt/ranges.h>
#include <toml++/toml.h>
#include <CLI/CLI.hpp>
#include <charconv>
#include <stdexcept>

#include "cli/options/plan_option.hpp"
#include "cli/options/team.hpp"
#include "enmesh/backends/sat.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/log.hpp"
#include "enmesh/base/writable.hpp"
#include "enmesh/cpu/executor.hpp"

namespace enmesh::cli {
namespace {

std::vector<std::string> option_names(const CLI::App& command) {
    std::vector<std::string> names;
    for (const CLI::Option* const option : command.get_options()) {
        for (const std::string& name : option->get_lnames()) {
            if (name != "help" && name != "config") names.push_back(name);
        }
    }
    return names;
}

std::string scalar_text(const toml::node& node, std::string_view key, const std::filesystem::path& file) {
    if (const auto text = node.value_exact<std::string>()) return *text;
    if (const auto flag = node.value_exact<bool>()) return *flag ? "true" : "false";
    if (const auto integer = node.value_exact<int64_t>()) return fmt::format("{}", *integer);
    if (const auto real = node.value_exact<double>()) return fmt::format("{}", *real);
    refuse("{}: '{}' must be a string, a number, a truth value or a list of them", file.string(), key);
}

/// What a checkpoint of a network from an ONNX file calls its model.
constexpr const char* onnx_model = "onnx";

bool is_of_onnx(const ModelDescription& description) {
    const auto model = description.find("model");
    return model != description.end() && model->second == onnx_model;
}

std::filesystem::path beside(const std::filesystem::path& file) { return file.parent_path() / "model.onnx"; }

ModelRequest request_beside(const std::filesystem::path& file, const ModelDescription& description) {
    const std::filesystem::path model = beside(file);
    std::error_code ignored;
    if (!std::filesystem::exists(model, ignored)) {
        refuse(
            "{}: its network came from an ONNX file, and there is no model.onnx beside it: give --model "
            "FILE.onnx",
            file.string());
    }
    ModelRequest request;
    request.model = model.string();
    if (const auto image = description.find("image"); image != description.end())
        request.image = image->second;
    return request;
}

/// The whole text as a number; throws where anything is left over.
template <typename Number>
Number whole_number(const std::string& text) {
    Number number{};
    const char* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc() || rest != end) throw std::invalid_argument(text);
    return number;
}

}  // namespace

void add_run_options(CLI::App& command, RunRequest& request) {
    command
        .add_option("--data", request.data,
                    "digits, mnist:DIR, fashion-mnist:DIR, idx:DIR, cifar10:DIR, "
                    "cifar100:DIR or imagefolder:DIR")
        ->type_name("KIND[:PATH]")
        ->capture_default_str();
    command
        .add_option("--device", request.device,
                    "cpu, or sat: SAT's arithmetic (FP16 operands, FP32 sums) in software, with simulated "
                    "time and energy")
        ->capture_default_str();
    command
        .add_option("--dtype", request.dtype,
                    "Operands of products: f32, or bf16 with float32 sums (masters and all else stay f32)")
        ->capture_default_str();
    command.add_option("--threads", request.threads, "Threads; 0 is as many as this process may use")
        ->capture_default_str();
    add_plan_option(command, request.plan);
    command.add_option("--sat-config", request.sat_config, "TOML file of SAT's parameters (device sat)")
        ->type_name("FILE");
    command
        .add_option("--sat-set", request.sat_settings,
                    "key=value, over the file; may be repeated (device sat)")
        ->allow_extra_args(false)
        ->take_all();
}

DType product_dtype(const std::string& text) {
    const DType dtype = parse_dtype(text);
    if (dtype != DType::f32 && dtype != DType::bf16)
        refuse("--dtype {}: products are computed in f32 or bf16", text);
    return dtype;
}

Backend requested_backend(const RunRequest& request) {
    return requested_backend(request, requested_plan(request.plan));
}

Backend requested_backend(const RunRequest& request, const RequestedPlan& plan) {
    const std::vector<std::string> devices = {"cpu", "sat"};
    if (std::find(devices.begin(), devices.end(), request.device) == devices.end()) {
        refuse("--device {}: this build cannot{}", request.device, suggestion(request.device, devices));
    }
    const bool sat = request.device == "sat";
    if (!sat && !request.sat_config.empty()) refuse("--sat-config goes with --device sat");
    if (!sat && !request.sat_settings.empty()) refuse("--sat-set goes with --device sat");
    if (sat && request.dtype != "f32")
        refuse("--dtype {}: device sat has a number format of its own, FP16 operands and FP32 sums",
               request.dtype);
    const DType dtype = product_dtype(request.dtype);
    use_threads(request.threads, 1);  // a loader thread beside the team
    if (sat && plan.kept.has_value()) refuse("--plan {}: device sat has kernels of its own", request.plan);
    if (sat) {
        accel::SatConfig config = accel::load_sat_config(request.sat_config, {});
        const std::vector<accel::Parameter> parameters = accel::parameters(config);
        for (const std::string& setting : request.sat_settings)
            accel::apply_setting(parameters, setting, "--sat-set");
        return sat_backend(config);
    }
    if (plan.kept.has_value()) return cpu_backend(*plan.kept, plan.file, dtype);
    return cpu_backend(plan.choice, dtype);
}

data::Dataset requested_dataset(const RunRequest& request, const ModelRequest& model) {
    data::LoadOptions options;
    const data::DataSpec spec = data::parse_data_spec(request.data);
    if (!model.image.empty()) {
        const auto image = parse_image(model.image);
        for (const int64_t extent : image) {
            if (extent < 1 || extent > 1 << 15) refuse("--image {}: impossible", model.image);
        }
        if (spec.kind == "imagefolder") {
            options.image = data::ImageShape{static_cast<int>(image[0]), static_cast<int>(image[1]),
                                             static_cast<int>(image[2])};
        }
    }
    data::Dataset dataset = data::load(spec, options);
    for (const std::string& line : dataset.notes) note("{}", line);
    return dataset;
}

ModelOptions model_options_for(const ModelRequest& request, const data::Dataset& dataset) {
    ModelOptions options = model_options(request);
    if (!request.classes.has_value()) options.classes = dataset.classes();
    if (request.image.empty()) {
        options.image = {dataset.image.channels, dataset.image.height, dataset.image.width};
    }
    return options;
}

ModelDescription describe_model(const std::string& name, const ModelOptions& options) {
    return {{"model", name},
            {"classes", fmt::format("{}", options.classes)},
            {"image", fmt::format("{}x{}x{}", options.image[0], options.image[1], options.image[2])},
            {"width", fmt::format("{}", options.width)}};
}

RequestedModel requested_model(const ModelRequest& request, const ModelOptions& options, Notes& notes) {
    if (!names_onnx(request))
        return {requested_graph(request, options, notes), describe_model(request.model, options), {}};
    ModelRequest complete = request;
    const std::string image = fmt::format("{}x{}x{}", options.image[0], options.image[1], options.image[2]);
    complete.image = image;
    RequestedModel result{.onnx = requested_onnx(complete, notes)};
    result.graph = result.onnx->graph;
    result.description = {{"model", onnx_model},
                          {"structure", fmt::format("{:016x}", result.onnx->structure)},
                          {"image", image}};
    return result;
}

void check_description(const ModelDescription& there, const ModelDescription& here,
                       const std::filesystem::path& file) {
    for (const auto& [key, value] : there) {
        const auto mine = here.find(key);
        if (mine != here.end() && mine->second != value) {
            refuse("{}: weights of another model: {} is {} there and {} here", file.string(), key, value,
                   mine->second);
        }
    }
}

ModelRequest model_request(const ModelDescription& description, const std::filesystem::path& file) {
    if (is_of_onnx(description)) return request_beside(file, description);
    ModelRequest request;
    try {
        request.model = description.at("model");
        request.image = description.at("image");
        request.classes = whole_number<int64_t>(description.at("classes"));
        request.width = whole_number<double>(description.at("width"));
    } catch (const std::exception&) {
        refuse(
            "{}: does not say of which model it is; give --model, and --width and --image where they are not "
            "the default",
            file.string());
    }
    return request;
}

std::filesystem::path network_file(const std::filesystem::path& checkpoint) {
    if (checkpoint.empty() || onnx::is_onnx_path(checkpoint)) return {};
    std::error_code ignored;
    const std::filesystem::path model = beside(checkpoint);
    if (!std::filesystem::exists(model, ignored)) return {};
    return is_of_onnx(read_checkpoint_info(SafetensorsReader(checkpoint), checkpoint).model)
               ? model
               : std::filesystem::path();
}

void apply_config(CLI::App& command, const std::filesystem::path& file) {
    toml::table table;
    try {
        table = toml::parse(read_file(file, size_t{1} << 20), file.string());
    } catch (const toml::parse_error& error) {
        refuse("{}: line {}: {}", file.string(), error.source().begin.line, error.description());
    }
    const std::vector<std::string> names = option_names(command);
    for (const auto& [key, node] : table) {
        const std::string name(key.str());
        if (std::find(names.begin(), names.end(), name) == names.end()) {
            refuse("{}: unknown key '{}'{}", file.string(), name, suggestion(name, names));
        }
    }
    for (const auto& [key, node] : table) {
        CLI::Option* const option = command.get_option("--" + std::string(key.str()));
        if (option->count() > 0) continue;
        std::vector<std::string> values;
        const bool flag = option->get_expected_min() == 0;
        if (flag && !node.is_boolean()) refuse("{}: '{}' must be true or false", file.string(), key.str());
        if (const toml::array* const list = node.as_array()) {
            if (option->get_expected_max() == 1 && !option->get_trigger_on_parse())
                refuse("{}: '{}' takes one value", file.string(), key.str());
            for (const toml::node& item : *list) values.push_back(scalar_text(item, key.str(), file));
        } else {
            values.push_back(scalar_text(node, key.str(), file));
        }
        for (const std::string& value : values) {
            if (value.empty())
                refuse("{}:{}: '{}' is empty", file.string(), key.source().begin.line, key.str());
        }
        // A callback that takes one value at a time hears of each; any other gets the whole list at once.
        const bool one_at_a_time = option->get_trigger_on_parse();
        const size_t calls = one_at_a_time ? values.size() : std::min<size_t>(values.size(), 1);
        for (size_t call = 0; call < calls; ++call) {
            const std::vector<std::string> given =
                one_at_a_time ? std::vector<std::string>{values[call]} : values;
            option->clear();
            for (const std::string& value : given) option->add_result(value);
            try {
                option->run_callback();
            } catch (const CLI::ParseError&) {
                refuse("{}: '{}' cannot be {}", file.string(), key.str(), fmt::join(given, ", "));
            }
        }
    }
}

void require_writable_target(const std::string& file) {
    if (!file.empty() && file != "-") require_writable_file(file);
}

void write_result(const std::string& file, const std::string& text) {
    if (file.empty()) return;
    if (file != "-") return write_file(file, text);
    const bool written =
        std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
    if (!written) fail("standard output cannot be written");
}

void require_between(const char* option, double value, double low, double high) {
    if (!(value >= low && value <= high))
        refuse("{} {}: must be between {} and {}", option, value, low, high);
}

std::string left_dense_text(const TrainingStep& step, const std::vector<std::string>& except) {
    struct Line {
        std::string layer, stages, reason;
    };
    std::vector<Line> lines;
    for (const LayerDecision& decision : step.decisions) {
        if (decision.reason.empty()) continue;
        if (std::find(except.begin(), except.end(), decision.layer) != except.end()) continue;
        if (!lines.empty() && lines.back().layer == decision.layer &&
            lines.back().reason == decision.reason) {
            lines.back().stages += ", " + to_string(decision.stage);
        } else {
            lines.push_back({decision.layer, to_string(decision.stage), decision.reason});
        }
    }
    std::string text;
    for (const Line& line : lines) {
        text += fmt::format("left dense: {} ({}): {}\n", line.layer, line.stages, line.reason);
    }
    return text;
}

std::string with_commas(int64_t value) {
    std::string text = fmt::format("{}", value);
    for (auto at = static_cast<int64_t>(text.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3) {
        text.insert(static_cast<size_t>(at), ",");
    }
    return text;
}

std::string filled_in_text(const Executor& executor) {
    const auto* const cpu = dynamic_cast<const cpu::CpuExecutor*>(&executor);
    const std::vector<std::string> products =
        cpu != nullptr ? cpu::filled_in_products(*cpu) : std::vector<std::string>{};
    if (products.empty()) return "";
    return fmt::format("dense kernels serve, the zeros of their N:M operand filled in: {}\n",
                       fmt::join(products, ", "));
}

std::string arithmetic_text(const Executor& executor) {
    const auto* const cpu = dynamic_cast<const cpu::CpuExecutor*>(&executor);
    if (cpu == nullptr || cpu->arithmetic() == "float32") return "";
    return cpu->arithmetic() == "bfloat16" ? "products multiply bfloat16; their sums are float32\n"
                                           : "products round their operands to bfloat16 and multiply them as "
                                             "float32: no bfloat16 kernels serve "
                                             "this processor or method\n";
}

std::string method_text(const TrainingStep& step) {
    const Recipe& recipe = step.recipe;
    return recipe.dense() ? recipe.method : recipe.method + " " + patterns_text(recipe, step.decisions);
}

std::string products_text(const TrainingStep& step) {
    std::string text;
    int64_t dense = 0, executed = 0;
    for (const Stage stage : {Stage::FF, Stage::BP, Stage::WG}) {
        const StageCount count = count_products(step, stage);
        dense += count.multiply_adds;
        executed += count.sparse_multiply_adds;
        text += fmt::format("{}{} {:.0f} %", text.empty() ? "" : ", ", to_string(stage),
                            100.0 * static_cast<double>(count.sparse_multiply_adds) /
                                static_cast<double>(std::max<int64_t>(count.multiply_adds, 1)));
    }
    return fmt::format(
        "products: {} multiply-adds per step, {:.0f} % of dense ({})\n", with_commas(executed),
        100.0 * static_cast<double>(executed) / static_cast<double>(std::max<int64_t>(dense, 1)), text);
}

}  // namespace enmesh::cli
