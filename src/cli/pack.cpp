#include <CLI/CLI.hpp>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/sparsity/codec.hpp"
#include "enmesh/tensor/safetensors.hpp"

namespace enmesh::cli {
namespace {

using nlohmann::ordered_json;

struct PackArguments {
    std::string input, layout, pattern, out, json;
    bool flush_zeros = false;
};

struct Kept {
    std::string name, reason;
};

struct PackedFile {
    std::vector<PackedWeights> packed;
    std::vector<NamedTensor> dense;
    std::vector<Kept> left_dense;  ///< of `dense`, those of two or more dimensions
};

/// -0 becomes +0: masks applied by multiplication leave -0 behind, which would count as a value.
void flush_negative_zeros(NamedTensor& tensor) {
    const auto flush = [](auto values, auto negative_zero) {
        for (auto& value : values) value = value == negative_zero ? 0 : value;
    };
    if (tensor.dtype == "F32") flush(tensor.data.as<uint32_t>(), uint32_t{0x80000000});
    if (tensor.dtype == "F16" || tensor.dtype == "BF16") flush(tensor.data.as<uint16_t>(), uint16_t{0x8000});
}

/// The pattern to pack with, or the reason why not.
std::pair<std::optional<Pattern>, std::string> choose_pattern(const NamedTensor& tensor, PackedLayout layout,
                                                              const std::string& asked) {
    const auto data = tensor.data.as<std::byte>();
    std::optional<Pattern> pattern;
    if (!asked.empty()) {
        pattern = parse_pattern(asked);
    } else if (layout == PackedLayout::nm) {
        pattern = detect_pattern(tensor, data);
        if (!pattern) return {std::nullopt, "no N:M pattern makes it smaller"};
    } else {
        pattern = tensor_core_pattern(tensor.dtype);
    }
    std::string reason = why_not_packable(tensor, data, layout, *pattern);
    if (!reason.empty()) return {std::nullopt, std::move(reason)};
    return {pattern, ""};
}

PackedFile pack_all(const SafetensorsReader& reader, const PackArguments& arguments, PackedLayout layout) {
    PackedFile result;
    for (size_t i = 0; i < reader.tensors().size(); ++i) {
        NamedTensor tensor = reader.read(i);
        if (arguments.flush_zeros) flush_negative_zeros(tensor);
        const auto [pattern, reason] = choose_pattern(tensor, layout, arguments.pattern);
        if (pattern) {
            result.packed.push_back(pack_weights(tensor, tensor.data.as<std::byte>(), layout, *pattern));
            const NamedTensor again = unpack_weights(result.packed.back());
            ENMESH_ASSERT(std::memcmp(again.data.data(), tensor.data.data(), tensor.data.bytes()) == 0);
            continue;
        }
        if (tensor.shape.rank() >= 2) result.left_dense.push_back({tensor.name, reason});
        result.dense.push_back(std::move(tensor));
    }
    if (result.packed.empty()) {
        refuse("{}: no tensor can be packed{}", arguments.input,
               result.left_dense.empty()
                   ? std::string(" (none has two dimensions)")
                   : fmt::format(" ('{}': {})", result.left_dense[0].name, result.left_dense[0].reason));
    }
    return result;
}

void write_packed(const SafetensorsReader& reader, const PackedFile& file, const std::string& out) {
    std::vector<TensorView> views(file.dense.begin(), file.dense.end());
    for (const PackedWeights& weights : file.packed) {
        views.emplace_back(weights.values, weights.value_data.data());
        views.emplace_back(weights.indices, weights.index_data.data());
    }
    Metadata metadata = reader.metadata();
    metadata[std::string(packed_metadata_key)] = packed_metadata(file.packed);
    save_safetensors(out, views, metadata);
}

ordered_json to_json(const PackedFile& file) {
    ordered_json tensors = ordered_json::array(), left = ordered_json::array();
    for (const PackedWeights& weights : file.packed) {
        tensors.push_back({{"name", weights.dense.name},
                           {"layout", to_string(weights.layout)},
                           {"pattern", to_string(weights.pattern)},
                           {"dtype", weights.dense.dtype},
                           {"dense_bytes", weights.dense.bytes()},
                           {"packed_bytes", weights.bytes()}});
    }
    for (const Kept& tensor : file.left_dense)
        left.push_back({{"name", tensor.name}, {"reason", tensor.reason}});
    return {{"tensors", tensors}, {"left_dense", left}};
}

void print_table(const PackedFile& file, const std::string& out) {
    size_t dense = 0, packed = 0;
    for (const PackedWeights& weights : file.packed) {
        dense += weights.dense.bytes();
        packed += weights.bytes();
        fmt::print("{}  {} {}  {} -> {} bytes\n", weights.dense.name, weights.dense.dtype,
                   to_string(weights.pattern), weights.dense.bytes(), weights.bytes());
    }
    for (const Kept& tensor : file.left_dense)
        fmt::print("left dense: {}  ({})\n", tensor.name, tensor.reason);
    fmt::print("packed {} tensors, {} -> {} bytes ({:.4f} of dense); wrote {}\n", file.packed.size(), dense,
               packed, static_cast<double>(packed) / static_cast<double>(dense), out);
}

void run_pack(const PackArguments& arguments) {
    const PackedLayout layout = parse_packed_layout(arguments.layout);
    if (!arguments.pattern.empty()) parse_pattern(arguments.pattern);
    const SafetensorsReader reader(arguments.input);
    if (reader.metadata().contains(std::string(packed_metadata_key)))
        refuse("{}: is packed already", arguments.input);
    const PackedFile file = pack_all(reader, arguments, layout);
    write_packed(reader, file, arguments.out);
    if (arguments.json == "-") {
        fmt::print("{}\n", to_json(file).dump(2));
        return;
    }
    print_table(file, arguments.out);
    if (!arguments.json.empty()) write_file(arguments.json, to_json(file).dump(2) + "\n");
}

}  // namespace

void add_pack(CLI::App& app) {
    CLI::App* command = app.add_subcommand("pack", "Store N:M weights compactly, bit for bit");
    const auto arguments = std::make_shared<PackArguments>();
    command->add_option("IN", arguments->input, "A safetensors file, pruned")->required();
    command->add_option("--layout", arguments->layout, "nm, nv24 or cutlass24")->required();
    command->add_option("--pattern", arguments->pattern, "N:M; by default what saves most for each tensor");
    command->add_flag("--flush-zeros", arguments->flush_zeros, "Store -0 as +0 (not bit-exact then)");
    command->add_option("--out", arguments->out, "The packed safetensors file")->required();
    command->add_option("--json", arguments->json, "Write the result as JSON (- for standard output)");
    command->footer(
        "Examples:\n"
        "  enmesh pack model24.safetensors --layout nm --out packed.safetensors\n"
        "  enmesh pack model24.safetensors --layout cutlass24 --out packed.safetensors");
    command->callback([arguments] { run_pack(*arguments); });
}

}  // namespace enmesh::cli
