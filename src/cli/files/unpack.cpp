#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "cli/commands.hpp"
#include "cli/files/pack_source.hpp"
#include "cli/options/json_text.hpp"
#include "cli/options/named_files.hpp"
#include "cli/options/run_options.hpp"
#include "cli/train/checkpoint_network.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/sparsity/codec.hpp"
#include "enmesh/tensor/safetensors.hpp"

namespace enmesh::cli {
namespace {

struct UnpackArguments {
    std::string input, out, json;
    bool check = false;
    PackInput against;
};

bool is_half(const TensorHeader& tensor) { return tensor.dtype == "F16" || tensor.dtype == "BF16"; }

/// Where bits are not those expected; zeros are equal whatever their sign.
template <typename Bits, typename Expected>
std::optional<size_t> first_difference(std::span<const Bits> bits, Bits sign, const Expected& expected) {
    for (size_t i = 0; i < bits.size(); ++i) {
        const Bits want = expected(i);
        const bool zeros = static_cast<Bits>((bits[i] | want) & static_cast<Bits>(~sign)) == 0;
        if (bits[i] != want && !zeros) return i;
    }
    return std::nullopt;
}

template <typename Bits>
std::optional<size_t> first_difference(const NamedTensor& stored, const NamedTensor& dense, Bits sign) {
    const std::span<const Bits> want = dense.data.as<Bits>();
    return first_difference(stored.data.as<Bits>(), sign, [&](size_t i) { return want[i]; });
}

/// The first element of `stored` that is not what the dense one is, rounded where `stored` is.
std::optional<size_t> first_difference(const NamedTensor& stored, const NamedTensor& dense) {
    constexpr uint16_t half_sign = 0x8000;
    if (stored.dtype != dense.dtype) {
        const std::span<const float> values = dense.data.as<float>();
        const std::span<const uint16_t> bits = stored.data.as<uint16_t>();
        if (stored.dtype == "F16")
            return first_difference(bits, half_sign, [&](size_t i) { return to_half(values[i]).bits; });
        return first_difference(bits, half_sign, [&](size_t i) { return to_bfloat16(values[i]).bits; });
    }
    if (stored.dtype == "F32") return first_difference(stored, dense, uint32_t{0x80000000});
    if (is_half(stored)) return first_difference(stored, dense, half_sign);
    const std::optional<size_t> byte = first_difference(stored, dense, uint8_t{0});
    if (!byte.has_value()) return byte;
    return *byte * 8 / static_cast<size_t>(safetensors_bits(stored.dtype).value_or(8));
}

std::string element_text(const NamedTensor& tensor, size_t i) {
    if (tensor.dtype == "F32") return fmt::format("{}", tensor.data.as<float>()[i]);
    if (tensor.dtype == "F16") return fmt::format("{}", to_float(tensor.data.as<Half>()[i]));
    if (tensor.dtype == "BF16") return fmt::format("{}", to_float(tensor.data.as<BFloat16>()[i]));
    if (tensor.dtype == "I8") return fmt::format("{}", tensor.data.as<int8_t>()[i]);
    return tensor.dtype;
}

/// Fails at the first element that is another. Whether the dense tensor had to be rounded.
bool require_equal(const NamedTensor& stored, const NamedTensor& dense, const UnpackArguments& arguments) {
    const std::string &file = arguments.input, &other = arguments.against.file;
    const bool rounded = is_half(stored) && dense.dtype == "F32";
    if (stored.shape != dense.shape || (stored.dtype != dense.dtype && !rounded))
        fail("{}: tensor '{}' is {} {}, in {} it is {} {}", file, stored.name, stored.dtype,
             to_string(stored.shape), other, dense.dtype, to_string(dense.shape));
    const std::optional<size_t> at = first_difference(stored, dense);
    if (at.has_value())
        fail("{}: tensor '{}': element {} is {}, in {} it is {}{}", file, stored.name, *at,
             element_text(stored, *at), other, element_text(dense, *at),
             rounded ? ", rounded to " + stored.dtype : "");
    return rounded;
}

/// How many values and tensors of a file there are.
struct Counts {
    size_t packed = 0, dense = 0;
    int64_t values = 0;
    size_t rounded = 0;  ///< tensors whose dense values had to be rounded to be compared
};

Counts counts_of(const SafetensorsFile& file, const std::string& input) {
    Counts counts;
    // Of a packed tensor the file holds two: values and indices.
    counts.packed = SafetensorsReader(input).tensors().size() - file.tensors.size();
    counts.dense = file.tensors.size() - counts.packed;
    for (const NamedTensor& tensor : file.tensors) counts.values += tensor.shape.elements();
    return counts;
}

/// The file against what it was packed from. How many tensors had to be rounded.
size_t compare(const SafetensorsFile& file, const UnpackArguments& arguments) {
    const std::string& other = arguments.against.file;
    Notes notes;
    const PackSource source = pack_source(arguments.against, notes);
    std::set<std::string> names;
    for (const TensorHeader& header : source.headers) names.insert(header.name);
    for (const NamedTensor& tensor : file.tensors) {
        if (!names.contains(tensor.name))
            fail("{}: tensor '{}' is not in {}", arguments.input, tensor.name, other);
    }
    size_t rounded = 0;
    for (size_t i = 0; i < source.headers.size(); ++i) {
        const std::string& name = source.headers[i].name;
        const NamedTensor* const stored = file.find(name);
        if (stored == nullptr) fail("{}: tensor '{}' of {} is missing", arguments.input, name, other);
        rounded += require_equal(*stored, source.read(i), arguments) ? 1 : 0;
    }
    return rounded;
}

std::string sentence(const UnpackArguments& arguments, const Counts& counts) {
    if (!arguments.check) {
        return fmt::format("wrote {}: {} tensors unpacked and {} as they were, {} values", arguments.out,
                           counts.packed, counts.dense, with_commas(counts.values));
    }
    std::string text = fmt::format("{}: sound, {} tensors packed and {} dense", arguments.input,
                                   counts.packed, counts.dense);
    if (arguments.against.file.empty()) return text;
    text +=
        fmt::format("; all {} values are those of {}", with_commas(counts.values), arguments.against.file);
    return counts.rounded == 0 ? text : text + fmt::format(" ({} tensors rounded)", counts.rounded);
}

nlohmann::ordered_json to_json(const UnpackArguments& arguments, const Counts& counts) {
    nlohmann::ordered_json json = {{"file", arguments.input},
                                   {"packed", counts.packed},
                                   {"dense", counts.dense},
                                   {"values", counts.values}};
    if (!arguments.check) json["out"] = arguments.out;
    if (arguments.against.file.empty()) return json;
    json["against"] = arguments.against.file;
    json["rounded"] = counts.rounded;
    return json;
}

void check_options(const UnpackArguments& arguments) {
    const PackInput& against = arguments.against;
    if (arguments.check && !arguments.out.empty()) refuse("--check writes nothing: leave out --out");
    if (!arguments.check && arguments.out.empty())
        refuse("--out FILE says where the weights go (or use --check)");
    if (!arguments.check && !against.file.empty()) refuse("--against goes with --check");
    if (against.file.empty() && (!against.model.empty() || !against.image.empty() || against.raw))
        refuse("--model, --image and --raw go with --against");
}

void run_unpack(const UnpackArguments& arguments) {
    check_options(arguments);
    require_safetensors_name(arguments.out);
    if (onnx::is_onnx_path(arguments.input))
        refuse("{}: is an ONNX file; unpack takes what pack wrote (--check --against takes ONNX files)",
               arguments.input);
    require_writable_target(arguments.out);
    require_writable_target(arguments.json);
    std::vector<NamedFile> inputs =
        network_inputs("--against", arguments.against.file, arguments.against.model);
    inputs.push_back({"IN", arguments.input});
    require_apart({{"--out", arguments.out}, {"--json", arguments.json}}, inputs);
    std::FILE* const words = words_beside(arguments.out, arguments.json);
    const SafetensorsFile file = naming(arguments.input, [&] { return unpack_file(arguments.input); });
    Counts counts = counts_of(file, arguments.input);
    if (!arguments.check) save_safetensors(arguments.out, file);
    if (!arguments.against.file.empty()) counts.rounded = compare(file, arguments);
    if (arguments.json != "-") fmt::print(words, "{}\n", sentence(arguments, counts));
    write_result(arguments.json, json_document(to_json(arguments, counts), 2));
}

}  // namespace

void add_unpack(CLI::App& app) {
    CLI::App* command = app.add_subcommand("unpack", "Restore or check what enmesh pack stored, bit for bit");
    const auto arguments = std::make_shared<UnpackArguments>();
    command->add_option("IN", arguments->input, "A packed safetensors file")->required();
    command->add_option("--out", arguments->out, "The dense safetensors file");
    command->add_flag("--check", arguments->check,
                      "Write nothing: check sizes, indices and padding, and say in one line what there is");
    command
        ->add_option("--against", arguments->against.file,
                     "With --check: compare every value with what was packed, rounded to the packed dtype")
        ->type_name("FILE");
    command->add_flag("--raw", arguments->against.raw,
                      "With --against: the weights themselves where the checkpoint has averages");
    command->add_option("--json", arguments->json, "Write the result as JSON (- for standard output)");
    add_network_file_options(*command, arguments->against.model, arguments->against.image);
    command->footer(
        "Examples:\n"
        "  enmesh unpack packed.safetensors --out model24.safetensors\n"
        "  enmesh unpack packed.safetensors --check\n"
        "  enmesh unpack packed.safetensors --check --against model24.safetensors\n"
        "A damaged file ends with exit code 2, a value that differs with 1; the tensor and its element are "
        "named.");
    command->callback([arguments] { run_unpack(*arguments); });
}

}  // namespace enmesh::cli
