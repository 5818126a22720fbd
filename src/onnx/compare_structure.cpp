#include <set>
#include <string_view>

#include "enmesh/base/random.hpp"
#include "onnx/import/converter.hpp"

namespace enmesh::onnx {
namespace {

void mix(uint64_t& hash, std::string_view text) {
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    hash = Random::mix(hash + text.size());
}

}  // namespace

uint64_t structure_of(const proto::ModelProto& model, const std::vector<WeightLink>& weights) {
    std::set<std::string_view> names;
    for (const WeightLink& link : weights) names.insert(link.initializer);
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (const proto::NodeProto& node : model.graph().node()) {
        mix(hash, node.op_type());
        for (const std::string& input : node.input()) mix(hash, input);
        for (const std::string& output : node.output()) mix(hash, output);
        const bool weight =
            node.op_type() == "Constant" && node.output_size() == 1 && names.contains(node.output(0));
        for (const proto::AttributeProto& attribute : node.attribute()) {
            if (!weight) mix(hash, attribute.SerializeAsString());
            for (const int64_t dim : attribute.t().dims())
                hash = weight ? Random::mix(hash ^ static_cast<uint64_t>(dim)) : hash;
        }
    }
    for (const proto::TensorProto& tensor : model.graph().initializer()) {
        mix(hash, tensor.name());
        for (const int64_t dim : tensor.dims()) hash = Random::mix(hash ^ static_cast<uint64_t>(dim));
    }
    return hash;
}

}  // namespace enmesh::onnx
