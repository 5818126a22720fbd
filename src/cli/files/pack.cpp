#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
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
#include "enmesh/base/log.hpp"
#include "enmesh/sparsity/codec.hpp"
#include "enmesh/tensor/safetensors.hpp"

namespace enmesh::cli {
namespace {

using nlohmann::ordered_json;

struct PackArguments {
    PackInput in;
    std::string layout, pattern, dtype, out, json;
    bool flush_zeros = false;
};

/// F32 weights in fewer bits.
struct Narrowed {
    NamedTensor tensor;
    size_t underflow = 0;  ///< values that became zero
};

/// Every element by `round`, which must not leave the range upwards.
template <typename Narrow, typename Round>
Narrowed rounded(const NamedTensor& tensor, const std::string& dtype, const Round& round) {
    TensorHeader header = tensor;
    header.dtype = dtype;
    Narrowed result{{header, Buffer(header.bytes())}};
    const auto from = tensor.data.as<float>();
    const auto to = result.tensor.data.as<Narrow>();
    for (size_t i = 0; i < from.size(); ++i) {
        to[i] = round(from[i]);
        if (!std::isfinite(to_float(to[i])))
            refuse("--dtype: element {} of '{}' is {}, beyond the range of {}", i, tensor.name, from[i],
                   dtype);
        result.underflow += from[i] != 0 && to_float(to[i]) == 0 ? 1 : 0;
    }
    return result;
}

/// "F16", "BF16" or "": what F32 weights become.
std::string narrow_dtype(const std::string& asked) {
    if (asked.empty()) return "";
    if (asked == "f16") return "F16";
    if (asked == "bf16") return "BF16";
    refuse("--dtype {}: f16 or bf16 expected{}", asked,
           suggestion(asked, std::vector<std::string>{"f16", "bf16"}));
}

/// Weights of two or more dimensions; biases, norms and running statistics stay F32.
Narrowed narrowed(NamedTensor tensor, const std::string& dtype) {
    if (dtype.empty() || tensor.dtype != "F32" || tensor.shape.rank() < 2) return {std::move(tensor)};
    if (dtype == "F16") return rounded<Half>(tensor, dtype, [](float value) { return to_half(value); });
    return rounded<BFloat16>(tensor, dtype, [](float value) { return to_bfloat16(value); });
}

/// How near a tensor that stays dense came to being packed.
enum class Nearness : uint8_t {
    impossible,  ///< its dtype or its shape is none that is packed
    unfit,       ///< too few channels, or packed it would be larger
    other,       ///< its zeros hold another pattern, or none
    dtype,       ///< --dtype would do
};

struct Refusal {
    std::string reason;
    Nearness nearness = Nearness::unfit;
};

struct Kept {
    std::string name;
    Refusal why;
};

struct PackedFile {
    std::vector<PackedWeights> packed;
    std::vector<NamedTensor> dense;
    std::vector<Kept> left_dense;  ///< of `dense`, those of two or more dimensions
    std::vector<std::string> left_out;
    size_t converted = 0;                                   ///< from F32
    std::vector<std::pair<std::string, size_t>> underflow;  ///< values that rounding made zero, by tensor
};

/// -0 becomes +0: masks applied by multiplication leave -0 behind, which would count as a value.
void flush_negative_zeros(NamedTensor& tensor) {
    const auto flush = [](auto values, auto negative_zero) {
        for (auto& value : values) value = value == negative_zero ? 0 : value;
    };
    if (tensor.dtype == "F32") flush(tensor.data.as<uint32_t>(), uint32_t{0x80000000});
    if (tensor.dtype == "F16" || tensor.dtype == "BF16") flush(tensor.data.as<uint16_t>(), uint16_t{0x8000});
}

/// Whether 2:4 weights only lack a dtype that the layouts of tensor cores hold 2:4 in.
bool waits_for_dtype(const NamedTensor& tensor, PackedLayout layout) {
    return layout != PackedLayout::nm && tensor.dtype == "F32" &&
           why_not_packable(tensor, tensor.data.as<std::byte>(), PackedLayout::nm, {2, 4}).empty();
}

/// The pattern to pack with, or the reason why not.
std::pair<std::optional<Pattern>, Refusal> choose_pattern(const NamedTensor& tensor, PackedLayout layout,
                                                          const std::string& asked) {
    const auto data = tensor.data.as<std::byte>();
    if (std::string reason = why_never_packable(tensor); !reason.empty())
        return {std::nullopt, {std::move(reason), Nearness::impossible}};
    std::optional<Pattern> pattern;
    if (!asked.empty()) {
        pattern = parse_pattern(asked);
    } else if (layout == PackedLayout::nm) {
        pattern = detect_pattern(tensor, data);
        if (!pattern) return {std::nullopt, {"no N:M pattern makes it smaller", Nearness::other}};
    } else {
        pattern = tensor_core_pattern(tensor.dtype);
    }
    std::string reason = why_not_packable(tensor, data, layout, *pattern);
    if (!reason.empty() && waits_for_dtype(tensor, layout)) {
        return {std::nullopt,
                {fmt::format("{} holds 2:4 of F16, BF16 and I8: give --dtype f16", to_string(layout)),
                 Nearness::dtype}};
    }
    const bool too_few = tensor.shape[1] < pattern->m;
    if (!reason.empty()) return {std::nullopt, {reason, too_few ? Nearness::unfit : Nearness::other}};
    if (asked.empty() && too_few) {
        return {std::nullopt,
                {fmt::format("{} input channels are fewer than M = {}", tensor.shape[1], pattern->m)}};
    }
    return {pattern, {}};
}

/// Packs and unpacks again; nullopt, with the reason, where it would grow by its padding and must not.
std::pair<std::optional<PackedWeights>, Refusal> pack_tensor(const NamedTensor& tensor, PackedLayout layout,
                                                             const std::string& asked, bool may_grow) {
    const auto [pattern, why] = choose_pattern(tensor, layout, asked);
    if (!pattern) return {std::nullopt, why};
    PackedWeights packed = pack_weights(tensor, tensor.data.as<std::byte>(), layout, *pattern);
    if (!may_grow && packed.bytes() >= tensor.bytes()) {
        return {std::nullopt,
                Refusal{fmt::format("packed it takes {} bytes, dense {}", packed.bytes(), tensor.bytes())}};
    }
    const NamedTensor again = unpack_weights(packed);
    ENMESH_ASSERT(std::memcmp(again.data.data(), tensor.data.data(), tensor.data.bytes()) == 0);
    return {std::move(packed), Refusal{}};
}

/// Why nothing is packed, from the tensor that comes closest to it.
[[noreturn]] void refuse_empty(const PackedFile& file, const PackArguments& arguments) {
    if (file.left_dense.empty())
        refuse("{}: no tensor can be packed (none has two dimensions)", arguments.in.file);
    const auto nearest =
        std::max_element(file.left_dense.begin(), file.left_dense.end(),
                         [](const Kept& a, const Kept& b) { return a.why.nearness < b.why.nearness; });
    refuse("{}: no tensor can be packed ('{}': {})", arguments.in.file, nearest->name, nearest->why.reason);
}

PackedFile pack_all(const PackSource& source, const PackArguments& arguments, PackedLayout layout) {
    const std::string dtype = narrow_dtype(arguments.dtype);
    PackedFile result;
    result.left_out = source.left_out;
    for (size_t i = 0; i < source.headers.size(); ++i) {
        auto [tensor, underflow] = narrowed(source.read(i), dtype);
        if (tensor.dtype != source.headers[i].dtype) ++result.converted;
        if (underflow > 0) result.underflow.emplace_back(tensor.name, underflow);
        if (arguments.flush_zeros) flush_negative_zeros(tensor);
        auto [packed, why] =
            pack_tensor(tensor, layout, arguments.pattern, !source.network || !arguments.pattern.empty());
        if (packed) {
            result.packed.push_back(std::move(*packed));
            continue;
        }
        if (tensor.shape.rank() >= 2) result.left_dense.push_back({tensor.name, why});
        result.dense.push_back(std::move(tensor));
    }
    if (result.packed.empty()) refuse_empty(result, arguments);
    return result;
}

void write_packed(const PackSource& source, const PackedFile& file, const std::string& out) {
    std::vector<TensorView> views(file.dense.begin(), file.dense.end());
    for (const PackedWeights& weights : file.packed) {
        views.emplace_back(weights.values, weights.value_data.data());
        views.emplace_back(weights.indices, weights.index_data.data());
    }
    Metadata metadata = source.metadata;
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
        left.push_back({{"name", tensor.name}, {"reason", tensor.why.reason}});
    ordered_json underflow = ordered_json::object();
    for (const auto& [name, values] : file.underflow) underflow[name] = values;
    return {{"tensors", tensors},
            {"left_dense", left},
            {"left_out", file.left_out},
            {"converted", file.converted},
            {"underflow", underflow}};
}

/// Values that rounding made zero, of all tensors.
size_t underflow_of(const PackedFile& file) {
    size_t values = 0;
    for (const auto& [name, count] : file.underflow) values += count;
    return values;
}

void print_table(std::FILE* stream, const PackedFile& file, const std::string& out) {
    size_t dense = 0, packed = 0;
    for (const PackedWeights& weights : file.packed) {
        dense += weights.dense.bytes();
        packed += weights.bytes();
        fmt::print(stream, "{}  {} {}  {} -> {} bytes\n", weights.dense.name, weights.dense.dtype,
                   to_string(weights.pattern), weights.dense.bytes(), weights.bytes());
    }
    for (const Kept& tensor : file.left_dense)
        fmt::print(stream, "left dense: {}  ({})\n", tensor.name, tensor.why.reason);
    const size_t zeroed = underflow_of(file);
    if (file.converted > 0)
        fmt::print(stream, "rounded from F32: {} tensors{}\n", file.converted,
                   zeroed > 0 ? fmt::format(", {} values to zero", zeroed) : "");
    if (!file.left_out.empty())
        fmt::print(stream, "left out, of the training: {} tensors such as {}\n", file.left_out.size(),
                   file.left_out[0]);
    fmt::print(stream, "packed {} tensors, {} -> {} bytes ({:.4f} of dense); wrote {}\n", file.packed.size(),
               dense, packed, static_cast<double>(packed) / static_cast<double>(dense), out);
}

/// Where weights vanished that the file was to hold.
void print_underflow(const PackedFile& file, const PackArguments& arguments) {
    if (file.underflow.empty()) return;
    const std::string dtype = narrow_dtype(arguments.dtype);
    note("rounding to {} made {} values of {} tensors zero, the first of '{}'{}", dtype, underflow_of(file),
         file.underflow.size(), file.underflow[0].first,
         dtype == "F16" ? " (--dtype bf16 has the range of F32)" : "");
}

void run_pack(const PackArguments& arguments) {
    const PackedLayout layout = parse_packed_layout(arguments.layout);
    if (!arguments.pattern.empty()) parse_pattern(arguments.pattern);
    narrow_dtype(arguments.dtype);
    require_writable_target(arguments.out);
    require_writable_target(arguments.json);
    require_apart({{"--out", arguments.out}, {"--json", arguments.json}},
                  network_inputs("IN", arguments.in.file, arguments.in.model));
    require_safetensors_name(arguments.out);
    std::FILE* const words = words_beside(arguments.out, arguments.json);
    Notes notes;
    const PackSource source = pack_source(arguments.in, notes);
    const PackedFile file = pack_all(source, arguments, layout);
    write_packed(source, file, arguments.out);
    notes.print();
    print_underflow(file, arguments);
    if (arguments.json != "-") print_table(words, file, arguments.out);
    write_result(arguments.json, json_document(to_json(file), 2));
}

}  // namespace

void add_pack(CLI::App& app) {
    CLI::App* command = app.add_subcommand("pack", "Store N:M weights compactly, bit for bit");
    const auto arguments = std::make_shared<PackArguments>();
    command->add_option("IN", arguments->in.file, "A pruned checkpoint, ONNX model or safetensors file")
        ->required();
    command->add_option("--layout", arguments->layout, "nm, nv24 or cutlass24")->required();
    command->add_option("--pattern", arguments->pattern, "N:M; by default what saves most for each tensor");
    command
        ->add_option("--dtype", arguments->dtype, "f16 or bf16: round F32 weights to it, to the nearest even")
        ->type_name("DTYPE");
    command->add_flag("--raw", arguments->in.raw, "The weights themselves where the checkpoint has averages");
    add_network_file_options(*command, arguments->in.model, arguments->in.image);
    command->add_flag("--flush-zeros", arguments->flush_zeros, "Store -0 as +0 (not bit-exact then)");
    command->add_option("--out", arguments->out, "The packed safetensors file")->required();
    command->add_option("--json", arguments->json, "Write the result as JSON (- for standard output)");
    command->footer(
        "Examples:\n"
        "  enmesh pack model24.safetensors --layout nm --out packed.safetensors\n"
        "  enmesh pack runs/asp/best.safetensors --dtype f16 --layout cutlass24 --out packed.safetensors\n"
        "  enmesh pack model24.onnx --dtype bf16 --layout nv24 --out packed.safetensors");
    command->callback([arguments] { run_pack(*arguments); });
}

}  // namespace enmesh::cli
