#include "enmesh/accel/workload/workload_of.hpp"

#include <map>
#include <set>

#include "accel/workload/vector_kinds.hpp"
#include "enmesh/base/arithmetic.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

class Reader {
  public:
    explicit Reader(const TrainingStep& step) : step_(step), graph_(step.graph) {}

    Workload read() {
        workload_.method = step_.recipe.method;
        workload_.images = graph_.type(step_.images).shape[0];
        collect_packed_forms();
        for (size_t i = 0; i < graph_.nodes().size(); ++i) {
            position_ = static_cast<int64_t>(i);
            const size_t before = items();
            read_node(graph_.nodes()[i]);
            trace_needs(graph_.nodes()[i], items() > before);
        }
        return std::move(workload_);
    }

  private:
    const ValueType& type(ValueId id) const { return graph_.type(id); }
    const Shape& in(const Node& node, size_t i) const { return type(node.inputs[i]).shape; }
    const Shape& out(const Node& node) const { return type(node.outputs[0]).shape; }

    size_t items() const {
        return workload_.products.size() + workload_.vector_ops.size() + workload_.updates.size();
    }

    /// What a node reads, seen through the nodes that are no work of their own.
    void trace_needs(const Node& node, bool works) {
        std::set<int64_t> needs;
        for (const ValueId input : node.inputs)
            if (const auto made = makers_.find(input.index); made != makers_.end())
                needs.insert(made->second.begin(), made->second.end());
        std::vector<int64_t> list(needs.begin(), needs.end());
        if (works) {
            workload_.needs[position_] = std::move(list);
            list = {position_};
        }
        for (const ValueId output : node.outputs) makers_[output.index] = list;
    }

    /// Which packed forms the update of each parameter writes.
    void collect_packed_forms() {
        for (const Node& node : graph_.nodes()) {
            const PackNm* pack = node.operation.as<PackNm>();
            if (node.stage == Stage::WU && pack != nullptr)
                packed_forms_[node.inputs[0].index].emplace(pack->axis, pack->pattern);
        }
    }

    void read_node(const Node& node) {
        const Operation& op = node.operation;
        if (is_product(op))
            read_product(node);
        else if (const SgdUpdate* sgd = op.as<SgdUpdate>())
            add_update(node, sgd->nesterov        ? "sgd_nesterov_update"
                             : sgd->momentum != 0 ? "sgd_momentum_update"
                                                  : "sgd_update");
        else if (op.is<AdamWUpdate>())
            add_update(node, "adam_update");
        else if (op.is<GradientNorm>())
            read_gradient_norm(node);
        else
            read_vector(node);
    }

    void read_product(const Node& node) {
        const Operation& op = node.operation;
        if (const Conv2d* conv = op.as<Conv2d>()) {
            add_conv(node, *conv, in(node, 0), in(node, 1), out(node));
            if (node.inputs.size() == 3) add_vector(node, "bias", out(node).elements());
        } else if (const Conv2dBackwardData* data = op.as<Conv2dBackwardData>()) {
            add_conv(node, data->conv, data->src, in(node, 1), in(node, 0));
        } else if (const Conv2dBackwardWeights* weights = op.as<Conv2dBackwardWeights>()) {
            add_conv(node, weights->conv, in(node, 0), weights->weights, in(node, 1));
        } else if (op.is<Linear>()) {
            const Shape& w = in(node, 1);
            add_gemm(node, in(node, 0).elements() / w[1], w[0], w[1], 1, 1);
            if (node.inputs.size() == 3) add_vector(node, "bias", out(node).elements());
        } else if (op.is<LinearBackwardData>()) {
            const Shape& w = in(node, 1);
            add_gemm(node, in(node, 0).elements() / w[0], w[1], w[0], 1, 0);
        } else if (op.is<LinearBackwardWeights>()) {
            const Shape& w = out(node);
            add_gemm(node, w[0], w[1], in(node, 0).elements() / w[1], -1, 1);
        } else if (const MatMul* product = op.as<MatMul>()) {
            const Shape &a = in(node, 0), &c = out(node);
            add_gemm(node, c[-2], c[-1], product->transpose_a ? a[-2] : a[-1], 1, 0);
            workload_.products.back().batch = c.elements() / (c[-2] * c[-1]);
        } else {
            refuse("layer {}: the accelerators know no product {}", node.layer, name(op));
        }
    }

    /// The forward shapes of a convolution give all three of its products; groups are equal products.
    void add_conv(const Node& node, const Conv2d& conv, const Shape& src, const Shape& weights,
                  const Shape& dst) {
        ConvGeometry c;
        c.images = src[0];
        c.in_channels = weights[1];
        c.in_height = src[2];
        c.in_width = src[3];
        c.out_channels = weights[0] / conv.groups;
        c.out_height = dst[2];
        c.out_width = dst[3];
        c.kernel_height = weights[2];
        c.kernel_width = weights[3];
        c.stride_height = conv.stride[0];
        c.stride_width = conv.stride[1];
        c.pad_top = conv.padding[0];
        c.pad_left = conv.padding[1];
        c.dilation_height = conv.dilation[0];
        c.dilation_width = conv.dilation[1];
        for (Product& product : training_products(node.layer, c)) {
            if (product.stage != node.stage) continue;
            product.batch = conv.groups;
            product.position = position_;
            if (node.stage == Stage::FF) mark(product, node, 1, Operand::b);
            if (node.stage == Stage::BP)
                mark(product, node, 0, Operand::a), mark(product, node, 1, Operand::b);
            if (node.stage == Stage::WG) mark(product, node, 1, Operand::a);
            workload_.products.push_back(std::move(product));
            return;
        }
        refuse("layer {}: a convolution in stage {} is unknown", node.layer, to_string(node.stage));
    }

    /// `weights` and `gradient` are the inputs that may be N:M as B and as A; -1 if there is none.
    void add_gemm(const Node& node, int64_t m, int64_t n, int64_t k, int weights, int gradient) {
        Product product;
        product.layer = node.layer;
        product.stage = node.stage;
        product.m = m;
        product.n = n;
        product.k = k;
        product.position = position_;
        if (node.stage == Stage::WG) product.bytes_per_output = 4;
        if (weights >= 0) mark(product, node, static_cast<size_t>(weights), Operand::b);
        const bool gradient_operand = node.stage != Stage::FF && gradient >= 0;
        if (gradient_operand) mark(product, node, static_cast<size_t>(gradient), Operand::a);
        workload_.products.push_back(std::move(product));
    }

    void mark(Product& product, const Node& node, size_t input, Operand operand) const {
        const Value& value = graph_.value(node.inputs[input]);
        if (operand == Operand::b)
            product.b_is_parameter = value.role == Role::parameter || value.role == Role::state;
        const NmSparsity* nm = value.type.nm();
        if (nm == nullptr) return;
        if (product.is_sparse())
            refuse("layer {} {}: both operands are N:M", node.layer, to_string(node.stage));
        product.sparse = operand;
        product.pattern = nm->pattern;
    }

    /// Everything between the products: a row of the vector engine's table, or a refusal. Packing by
    /// magnitude is SORE's, and a reshape moves nothing.
    void read_vector(const Node& node) {
        const Operation& op = node.operation;
        const int64_t results = out(node).elements();
        if (op.is<Reshape>()) return;
        if (const PackNm* pack = op.as<PackNm>())
            read_pack(node, *pack);
        else if (const SelectMask* select = op.as<SelectMask>())
            read_mask(node, *select);
        else if (const Unary* unary = op.as<Unary>())
            add_vector(node, unary_row(unary->kind, false), results);
        else if (const UnaryBackward* backward = op.as<UnaryBackward>())
            add_vector(node, unary_row(backward->kind, true), results);
        else if (const BatchNorm* norm = op.as<BatchNorm>())
            add_vector(node, norm_kind(*norm), results);
        else if (op.is<EmbeddingBackward>()) {
            add_vector(node, "fill", results);
            add_vector(node, "embedding_backward", in(node, 1).elements());
        } else if (const VectorKind* kind = vector_kind(name(op)))
            add_vector(node, kind->row, kind->of_input ? in(node, 0).elements() : results);
        else
            refuse("layer {}: the vector engine knows no operation {}", node.layer, name(op));
    }

    /// By a mask, SORE ranks by the mask's bytes; MVUE first has its values chosen and scaled by the lanes.
    void read_pack(const Node& node, const PackNm& pack) {
        const int64_t values = in(node, 0).elements();
        if (pack.selection == Selection::mask) add_vector(node, "mask_rank", values);
        if (pack.selection == Selection::mvue) add_vector(node, "mvue", values, pack.pattern.n);
    }

    /// A step bears its share of a mask that is renewed once a period.
    void read_mask(const Node& node, const SelectMask& select) {
        const int64_t weights = ceil_div(in(node, 0).elements(), select.period);
        if (select.selection == Selection::transposable)
            add_vector(node, "transposable_mask", weights, int64_t{select.pattern.n} * select.pattern.m);
        else
            add_vector(node, "select_mask", weights);
    }

    static const char* norm_kind(const BatchNorm& norm) {
        return norm.training ? "batch_norm_forward" : "batch_norm_inference";
    }

    void read_gradient_norm(const Node& node) {
        int64_t elements = 0;
        for (size_t i = 1; i < node.inputs.size(); ++i) elements += in(node, i).elements();
        add_vector(node, "gradient_norm", elements);
    }

    void add_vector(const Node& node, std::string_view kind, int64_t elements, int64_t rounds = 1) {
        if (elements > 0)
            workload_.vector_ops.push_back(
                {std::string(kind), node.layer, node.stage, elements, position_, rounds});
    }

    /// K × C at every kernel position; a vector is one row.
    void add_update(const Node& node, const char* kind) {
        const Shape& shape = in(node, 0);
        Update update;
        update.kind = kind;
        update.layer = node.layer;
        update.position = position_;
        update.rows = shape.rank() >= 2 ? shape[0] : 1;
        update.cols = shape.rank() >= 2 ? shape[1] : shape.elements();
        update.repeats = shape.elements() / (update.rows * update.cols);
        if (const auto forms = packed_forms_.find(node.outputs[0].index); forms != packed_forms_.end()) {
            update.along_cols = forms->second.contains(GroupAxis::input_channels);
            update.along_rows = forms->second.contains(GroupAxis::output_channels);
            update.pattern = forms->second.begin()->second;
        }
        workload_.updates.push_back(std::move(update));
    }

    const TrainingStep& step_;
    const Graph& graph_;
    Workload workload_;
    std::map<int, std::map<GroupAxis, Pattern>> packed_forms_;
    std::map<int, std::vector<int64_t>> makers_;  ///< of a value: the positions that it comes from
    int64_t position_ = 0;
};

}  // namespace

Workload workload_of(const TrainingStep& step) { return Reader(step).read(); }

}  // namespace enmesh::accel
