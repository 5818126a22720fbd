#include <nlohmann/json.hpp>
#include <set>

#include "enmesh/base/error.hpp"
#include "enmesh/sparsity/codec.hpp"

namespace enmesh {
namespace {

using nlohmann::json;

/// What the metadata says of one packed tensor; refuses anything that does not look like it.
PackedWeights described(const std::string& path, const std::string& name, const json& entry) {
    const auto text = [&](const char* key) {
        if (!entry.is_object() || !entry.contains(key) || !entry.at(key).is_string()) {
            refuse("{}: packed tensor '{}' lacks its {} in {}", path, name, key, packed_metadata_key);
        }
        return entry.at(key).get<std::string>();
    };
    PackedWeights packed;
    packed.layout = parse_packed_layout(text("layout"));
    packed.pattern = parse_pattern(text("pattern"));
    packed.dense.name = name;
    packed.dense.dtype = text("dtype");
    if (!safetensors_bits(packed.dense.dtype))
        refuse("{}: packed tensor '{}' is of an unknown dtype", path, name);
    if (!entry.contains("shape") || !entry.at("shape").is_array()) {
        refuse("{}: packed tensor '{}' lacks its shape in {}", path, name, packed_metadata_key);
    }
    std::vector<int64_t> dims;
    double elements = 1;
    for (const json& dim : entry.at("shape")) {
        if (!dim.is_number_unsigned() || dim.get<uint64_t>() > (uint64_t{1} << 40)) {
            refuse("{}: packed tensor '{}' has a shape of other than sizes", path, name);
        }
        dims.push_back(dim.get<int64_t>());
        elements *= static_cast<double>(dims.back());
    }
    if (elements > 0x1p40)
        refuse("{}: packed tensor '{}' unpacks to {} elements, too many", path, name, elements);
    packed.dense.shape = Shape(std::move(dims));
    return packed;
}

json parse_packed_metadata(const std::string& path, const Metadata& metadata) {
    const auto found = metadata.find(std::string(packed_metadata_key));
    if (found == metadata.end()) refuse("{}: holds no packed weights (enmesh pack writes them)", path);
    const json entries = json::parse(found->second, nullptr, false);
    if (!entries.is_object()) refuse("{}: its {} is not a JSON object", path, packed_metadata_key);
    return entries;
}

}  // namespace

std::string packed_metadata(std::span<const PackedWeights> packed) {
    json entries = json::object();
    for (const PackedWeights& weights : packed) {
        entries[weights.dense.name] = {{"layout", to_string(weights.layout)},
                                       {"pattern", to_string(weights.pattern)},
                                       {"dtype", weights.dense.dtype},
                                       {"shape", weights.dense.shape.dims()}};
    }
    return entries.dump();
}

SafetensorsFile unpack_file(const std::string& path) {
    const SafetensorsReader reader(path);
    const json entries = parse_packed_metadata(path, reader.metadata());
    std::set<std::string> parts;
    SafetensorsFile file;
    file.metadata = reader.metadata();
    file.metadata.erase(std::string(packed_metadata_key));
    for (const auto& [name, entry] : entries.items()) {
        PackedWeights packed = described(path, name, entry);
        const auto part = [&](const char* suffix, TensorHeader& header, Buffer& data) {
            const auto index = reader.find(name + suffix);
            if (!index) refuse("{}: packed tensor '{}' lacks its {}{}", path, name, name, suffix);
            // What is packed is at least a twentieth of what it unpacks to: 1:16 of I8 with its indices.
            NamedTensor tensor = reader.read(*index);
            header = tensor;
            data = std::move(tensor.data);
            parts.insert(header.name);
        };
        part(".values", packed.values, packed.value_data);
        part(packed.layout == PackedLayout::nm ? ".indices" : ".metadata", packed.indices, packed.index_data);
        file.tensors.push_back(unpack_weights(packed));
    }
    for (size_t i = 0; i < reader.tensors().size(); ++i) {
        const std::string& name = reader.tensors()[i].name;
        if (parts.contains(name)) continue;
        if (entries.contains(name)) refuse("{}: tensor '{}' is there packed and unpacked", path, name);
        file.tensors.push_back(reader.read(i));
    }
    return file;
}

void require_unpacked(const SafetensorsReader& file, const std::filesystem::path& path) {
    if (file.metadata().contains(std::string(packed_metadata_key)))
        refuse("{}: is packed; enmesh unpack it first", path.string());
}

}  // namespace enmesh
