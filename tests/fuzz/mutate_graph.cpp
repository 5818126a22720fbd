#include "fuzz/mutate_graph.hpp"

#include <array>
#include <climits>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "fuzz/known_operators.hpp"

namespace enmesh::testing {
namespace {

using ::onnx::AttributeProto;
using ::onnx::GraphProto;
using ::onnx::NodeProto;
using ::onnx::TensorProto;

constexpr int64_t most_elements = 64;

class GraphMutation {
  public:
    GraphMutation(GraphProto& graph, std::minstd_rand& random) : graph_(graph), random_(random) {
        for (TensorProto& tensor : *graph_.mutable_initializer()) tensors_.push_back(&tensor);
        for (NodeProto& node : *graph_.mutable_node()) {
            for (AttributeProto& attribute : *node.mutable_attribute()) {
                if (attribute.has_t()) tensors_.push_back(attribute.mutable_t());
            }
        }
    }

    void apply() {
        switch (below(6)) {
            case 0:
                if (!tensors_.empty()) remake(*tensors_[index(tensors_.size())], type());
                return;
            case 1:
                return remake_inputs();
            case 2:
                return replace_operator();
            case 3:
                return insert_node();
            case 4:
                if (graph_.node_size() > 0) set_attribute(any_node());
                return;
            default:
                return replace_input();
        }
    }

  private:
    int below(int count) { return static_cast<int>(random_() % static_cast<unsigned>(count)); }
    size_t index(size_t count) { return static_cast<size_t>(below(static_cast<int>(count))); }
    bool one_in(int count) { return below(count) == 0; }
    NodeProto& any_node() { return *graph_.mutable_node(below(graph_.node_size())); }
    const std::string& any_operator() { return known_operators()[index(known_operators().size())]; }

    /// Mostly one of those that operators ask for.
    int type() {
        static constexpr std::array common = {TensorProto::INT64, TensorProto::FLOAT, TensorProto::BOOL,
                                              TensorProto::INT32};
        return one_in(4) ? below(18) : common[index(common.size())];
    }

    int64_t integer() {
        static constexpr std::array<int64_t, 8> odd = {
            INT_MAX, INT_MIN, INT64_MAX, INT64_MIN, int64_t{1} << 40, int64_t{1} << 32, 65536, 4096};
        return one_in(6) ? odd[index(odd.size())] : below(9) - 3;
    }
    double number() {
        static constexpr std::array odd = {
            std::numeric_limits<double>::quiet_NaN(), HUGE_VAL, -HUGE_VAL, 1e-40, 1e38, -0.0, 9.3e18, 0.5};
        return one_in(4) ? odd[index(odd.size())] : static_cast<double>(integer());
    }

    /// Kept, a scalar, a short list, several axes, or without elements, sometimes beside a huge extent.
    void reshape(TensorProto& tensor) {
        if (one_in(3)) return;
        tensor.clear_dims();
        for (int rank = one_in(3) ? 0 : 1 + below(one_in(3) ? 4 : 1); rank > 0; --rank)
            tensor.add_dims(1 + below(4));
        if (tensor.dims_size() > 0 && one_in(6)) {
            tensor.set_dims(below(tensor.dims_size()), 0);
            if (one_in(2)) tensor.set_dims(below(tensor.dims_size()), int64_t{1} << below(41));
        }
    }

    void store(TensorProto& tensor, int64_t count) {
        for (int64_t i = 0; i < count; ++i) {
            switch (tensor.data_type()) {
                case TensorProto::FLOAT:
                    tensor.add_float_data(static_cast<float>(number()));
                    break;
                case TensorProto::DOUBLE:
                    tensor.add_double_data(number());
                    break;
                case TensorProto::INT64:
                    tensor.add_int64_data(integer());
                    break;
                case TensorProto::UINT32:
                case TensorProto::UINT64:
                    tensor.add_uint64_data(static_cast<uint64_t>(integer()));
                    break;
                default:
                    tensor.add_int32_data(static_cast<int32_t>(integer() % 65536));
            }
        }
    }

    /// Type, dims and elements anew; one time in eight one element too many or elements of another type.
    void remake(TensorProto& tensor, int type) {
        reshape(tensor);
        int64_t count = 1;
        for (const int64_t dim : tensor.dims()) {
            if (dim < 0 || (dim > 0 && count > most_elements)) return;
            count = dim > most_elements ? most_elements + 1 : count * dim;
        }
        for (const int64_t dim : tensor.dims()) count = dim == 0 ? 0 : count;
        if (count > most_elements) return;
        tensor.clear_raw_data();
        tensor.clear_float_data();
        tensor.clear_double_data();
        tensor.clear_int32_data();
        tensor.clear_int64_data();
        tensor.clear_uint64_data();
        tensor.set_data_type(type);
        const bool odd = one_in(8);
        store(tensor, count + (odd ? below(2) : 0));
        if (odd && one_in(2)) tensor.set_data_type(this->type());
    }

    TensorProto* constant_called(const std::string& name) {
        for (TensorProto& tensor : *graph_.mutable_initializer()) {
            if (tensor.name() == name) return &tensor;
        }
        for (NodeProto& node : *graph_.mutable_node()) {
            if (node.output_size() != 1 || node.output(0) != name) continue;
            for (AttributeProto& attribute : *node.mutable_attribute()) {
                if (attribute.has_t()) return attribute.mutable_t();
            }
        }
        return nullptr;
    }

    /// Every constant that one node takes becomes of one type.
    void remake_inputs() {
        if (graph_.node_size() == 0) return;
        const NodeProto& node = any_node();
        const int together = type();
        for (const std::string& input : node.input()) {
            TensorProto* const tensor = constant_called(input);
            if (tensor != nullptr) remake(*tensor, one_in(8) ? type() : together);
        }
    }

    /// A value that is known before node `before`: an initialiser, the graph's input, or an earlier result.
    std::string any_value(int before) {
        std::vector<std::string> names;
        for (const TensorProto& tensor : graph_.initializer()) names.push_back(tensor.name());
        for (const auto& input : graph_.input()) names.push_back(input.name());
        for (int i = 0; i < before; ++i) {
            for (const std::string& output : graph_.node(i).output()) names.push_back(output);
        }
        return names.empty() ? "" : names[index(names.size())];
    }

    void set_attribute(NodeProto& node) {
        const AttributeTypes& known = known_attributes(node.op_type());
        if (known.empty()) return;
        auto chosen = known.begin();
        std::advance(chosen, below(static_cast<int>(known.size())));
        AttributeProto* attribute = nullptr;
        for (AttributeProto& candidate : *node.mutable_attribute()) {
            if (candidate.name() == chosen->first) attribute = &candidate;
        }
        if (attribute == nullptr) attribute = node.add_attribute();
        attribute->Clear();
        attribute->set_name(chosen->first);
        attribute->set_type(chosen->second);
        give_value(*attribute);
        if (one_in(16)) attribute->set_type(AttributeProto::INTS);
    }

    void give_value(AttributeProto& attribute) {
        static const std::array<std::string, 6> texts = {"tanh",       "none",       "VALID",
                                                         "SAME_UPPER", "SAME_LOWER", "x"};
        switch (attribute.type()) {
            case AttributeProto::INT:
                return attribute.set_i(integer());
            case AttributeProto::FLOAT:
                return attribute.set_f(static_cast<float>(number()));
            case AttributeProto::STRING:
                return attribute.set_s(texts[index(texts.size())]);
            case AttributeProto::TENSOR:
                return remake(*attribute.mutable_t(), type());
            case AttributeProto::FLOATS:
                for (int i = below(5); i > 0; --i) attribute.add_floats(static_cast<float>(number()));
                return;
            default:
                for (int i = below(5); i > 0; --i) attribute.add_ints(integer());
        }
    }

    /// Another operator, the number of inputs it might have, and some of its attributes.
    void replace_operator() {
        if (graph_.node_size() == 0) return;
        const int at = below(graph_.node_size());
        NodeProto& node = *graph_.mutable_node(at);
        node.set_op_type(any_operator());
        node.clear_attribute();
        for (int wanted = 1 + below(3); node.input_size() < wanted;) node.add_input(any_value(at));
        while (node.input_size() > 1 && one_in(3)) node.mutable_input()->RemoveLast();
        for (int i = below(3); i > 0; --i) set_attribute(node);
    }

    /// A node of an operator of its own between a value and the node that takes it.
    void insert_node() {
        if (graph_.node_size() == 0) return;
        const int at = below(graph_.node_size());
        if (graph_.node(at).input_size() == 0) return;
        const int input = below(graph_.node(at).input_size());
        NodeProto inserted;
        inserted.set_op_type(any_operator());
        inserted.add_input(graph_.node(at).input(input));
        for (int i = below(3); i > 0; --i) inserted.add_input(any_value(at));
        inserted.add_output("inserted" + std::to_string(graph_.node_size()) + "_" +
                            std::to_string(below(1000)));
        for (int i = below(3); i > 0; --i) set_attribute(inserted);
        graph_.mutable_node(at)->set_input(input, inserted.output(0));
        *graph_.add_node() = std::move(inserted);
        for (int i = graph_.node_size() - 1; i > at; --i) graph_.mutable_node()->SwapElements(i, i - 1);
    }

    /// An input becomes a Constant node of its own: float numbers of an initialiser would be trained, not
    /// folded.
    void replace_input() {
        if (graph_.node_size() == 0) return;
        const int at = below(graph_.node_size());
        NodeProto made;
        made.set_op_type("Constant");
        made.add_output("made" + std::to_string(graph_.node_size()) + "_" + std::to_string(below(1000)));
        AttributeProto& value = *made.add_attribute();
        value.set_name("value");
        value.set_type(AttributeProto::TENSOR);
        value.mutable_t()->add_dims(1 + below(4));
        remake(*value.mutable_t(), type());
        NodeProto& node = *graph_.mutable_node(at);
        if (node.input_size() == 0 || one_in(6)) {
            node.add_input(made.output(0));
        } else {
            node.set_input(below(node.input_size()), made.output(0));
        }
        *graph_.add_node() = std::move(made);
        for (int i = graph_.node_size() - 1; i > at; --i) graph_.mutable_node()->SwapElements(i, i - 1);
    }

    GraphProto& graph_;
    std::minstd_rand& random_;
    std::vector<TensorProto*> tensors_;
};

}  // namespace

void mutate_graph(::onnx::ModelProto& model, std::minstd_rand& random) {
    GraphMutation(*model.mutable_graph(), random).apply();
}

}  // namespace enmesh::testing
