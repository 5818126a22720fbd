#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "enmesh/onnx/import.hpp"
#include "onnx/import/constant.hpp"
#include "onnx/import/fold.hpp"
#include "onnx/import/node_view.hpp"
#include "onnx/model_file.hpp"

namespace enmesh::onnx {

/// Walks the file's nodes in order and makes our graph of them. What is known while reading (weights, shapes
/// and what is computed from shapes) stays a Constant until an operation of the graph needs it as a value: an
/// initialiser's elements then become a parameter, anything else a constant.
class Converter {
  public:
    Converter(const ModelFile& file, const ImportOptions& options);
    Model run() &&;

    // What operators use. `i` counts a node's inputs or outputs.

    /// The value, made a parameter or constant of the graph where it is not computed from the input.
    ValueId value(const NodeView& node, int i);
    /// The same for weights of a product: they decay.
    ValueId weights(const NodeView& node, int i, const Constant& constant);
    /// An initialiser in the form given: a parameter that does not decay.
    ValueId parameter(const NodeView& node, int i, const Constant& constant);
    /// Running statistics.
    ValueId state(const NodeView& node, int i);
    /// nullptr where the input is absent or computed from the images.
    const Constant* constant(const NodeView& node, int i) const;
    /// Refuses what is computed from the images, or from weights that are to be trained.
    const Constant& required(const NodeView& node, int i, std::string_view what) const;
    /// The one number that input i is, if it is one that is known.
    std::optional<double> scalar(const NodeView& node, int i) const;

    const Shape& shape(ValueId value) const { return graph_.type(value).shape; }
    int64_t batch() const { return batch_; }
    /// Adds a node under the layer's name; products get a name of their own. Known patterns of several nodes
    /// become one.
    ValueId add(Operation operation, std::vector<ValueId> inputs);
    ValueId add_constant(Tensor tensor);
    ValueId add_zeros(const Shape& shape);
    int64_t next_dropout() { return dropouts_++; }

    void set(const NodeView& node, int output, ValueId value);
    void set(const NodeView& node, int output, Constant constant);
    /// What SplitToSequence makes, and SequenceAt takes apart.
    void set_sequence(const NodeView& node, std::vector<ValueId> values);
    const std::vector<ValueId>& sequence(const NodeView& node, int i) const;
    /// The elements that may still be made beside those of the file.
    int64_t& budget() { return budget_; }
    /// Whether another node, or the user of the network, takes that result.
    bool is_read(const NodeView& node, int output) const;
    bool is_network_output(const NodeView& node) const;
    /// A line that the user should see.
    void note(std::string text) { notes_.push_back(std::move(text)); }

  private:
    struct Entry {
        std::optional<ValueId> value;
        std::shared_ptr<const Constant> constant;
        std::vector<ValueId> sequence{};
    };

    void read_input();
    bool input_is_nhwc() const;
    void find_live_nodes();
    void find_constant_weights();
    void check_operators() const;
    void convert(const NodeView& node);
    bool try_fold(const NodeView& node);
    const Entry* find(const NodeView& node, int i) const;
    const std::string& name_of(const Origin& origin) const;
    /// Otherwise it is computed from initialisers alone.
    bool depends_on_images(const Entry& entry) const;
    void define(const std::string& name, Entry entry);
    std::string layer_of(const NodeView& node) const;
    std::string unique_name(const std::string& wanted) const;
    /// Takes the elements from the budget, before they are made.
    void pay(int64_t elements, std::string_view what);
    ValueId materialize(const NodeView& node, int i, const Constant& constant, Role role, bool decayed);
    ValueId linked(const NodeView& node, int i, const Constant& constant, Role role, bool decayed);
    void add_notes(Model& model) const;
    std::string left_out() const;

    const ModelFile& file_;
    const proto::GraphProto& source_;
    ImportOptions options_;
    int64_t opset_;
    Graph graph_;
    std::string input_, layer_;
    int64_t batch_ = 0;
    bool dynamic_batch_ = false;
    int64_t budget_;
    int64_t dropouts_ = 0;
    std::map<std::string, Entry, std::less<>> entries_;
    std::map<std::string, int, std::less<>> initializers_;
    std::vector<bool> live_;            ///< nodes that the output needs
    std::set<std::string_view> read_;   ///< values that live nodes or the user read
    std::vector<std::string> weights_;  ///< names of what an Origin counts: initialisers, then Constant nodes
    std::set<std::string>
        constant_weights_;  ///< results of Constant nodes that are trained like initialisers
    std::vector<std::string> notes_;
    std::set<std::string> two_forms_;              ///< initialisers that are read in two forms
    std::map<std::string, ValueId> materialized_;  ///< by initialiser, steps and role
    std::map<int, std::string> first_use_;         ///< of an initialiser: its steps and role
    std::vector<WeightLink> links_;
    std::set<std::string> product_layers_;
};

/// Operators whose results are an initialiser's elements in another order or shape.
bool rearranges(std::string_view op_type);
/// Operators whose further inputs are a layer's weights.
bool is_layer(std::string_view op_type);

/// One operator of the standard domain as nodes of our graph.
using ConvertOperator = void (*)(Converter& converter, const NodeView& node);
/// nullptr: not supported on values that are computed from the images.
ConvertOperator find_operator(std::string_view op_type);

// The parts of the table, one per file.
using OperatorTable = std::map<std::string_view, ConvertOperator>;
const OperatorTable& layer_operators();
const OperatorTable& norm_operators();
const OperatorTable& resize_operators();
const OperatorTable& shape_operators();
const OperatorTable& window_operators();
std::vector<const OperatorTable*> operator_tables();

/// What the newest node of a graph makes together with those before it: a LayerNorm, Gelu, SiLU, … in its
/// parts.
struct Fused {
    Operation operation;
    std::vector<ValueId> inputs;
    int layer_of = -1;  ///< the node whose layer it is
};
std::optional<Fused> fuse(const Graph& graph, ValueId newest);

/// The graph without what its outputs do not need; inputs stay.
Graph prune_graph(const Graph& graph);

/// Hash of everything but the weights' values, which may be those of Constant nodes.
uint64_t structure_of(const proto::ModelProto& model, const std::vector<WeightLink>& weights);

}  // namespace enmesh::onnx
