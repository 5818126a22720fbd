#include "enmesh/reference/executor.hpp"

#include <algorithm>
#include <cmath>

#include "enmesh/base/error.hpp"
#include "reference/run.hpp"

namespace enmesh {
namespace {

using reference::Array;
using reference::Frame;

bool is_packing(const Operation& op) { return op.is<PackNm>() || op.is<UnpackNm>() || op.is<SelectMask>(); }

template <typename T>
void copy_in(const Tensor& tensor, std::vector<double>& data) {
    const std::span<const T> from = tensor.as<T>();
    data.assign(from.begin(), from.end());
}

template <typename T>
void copy_out(const std::vector<double>& data, Tensor& tensor) {
    const std::span<T> to = tensor.as<T>();
    for (size_t i = 0; i < to.size(); ++i) to[i] = static_cast<T>(data[i]);
}

class ReferenceExecutor final : public Executor {
  public:
    ReferenceExecutor(TrainingStep step, DType storage) : step_(std::move(step)), storage_(storage) {
        if (storage != DType::f32 && storage != DType::f64)
            refuse("the reference stores f32 or f64, not {}", to_string(storage));
        const Graph& graph = step_.graph;
        place_.resize(graph.values().size());
        for (size_t i = 0; i < place_.size(); ++i) place_[i] = i;
        for (const auto& [result, state] : step_.carried) place_[at(result)] = place_[at(state)];
        arrays_.resize(place_.size());
        for (size_t i = 0; i < place_.size(); ++i) {
            if (place_[i] != i) continue;
            arrays_[i].type = graph.values()[i].type;
            if (graph.values()[i].role == Role::result) continue;
            arrays_[i].clear();
            if (graph.values()[i].role == Role::constant)
                write(ValueId{static_cast<int>(i)}, initial_value(graph.values()[i], 0));
        }
    }

    const TrainingStep& step() const override { return step_; }

    void write(ValueId id, const Tensor& tensor) override {
        const Value& value = step_.graph.value(id);
        if (value.role == Role::result) refuse("'{}' is a result, it cannot be written", value.name);
        if (!value.type.dense()) refuse("'{}' is packed from its weights, it cannot be written", value.name);
        const bool wide =
            storage_ == DType::f64 && value.type.dtype == DType::f32 && tensor.dtype() == DType::f64;
        if (tensor.shape() != value.type.shape || (tensor.dtype() != value.type.dtype && !wide)) {
            refuse("'{}' is {}, {} {} was given", value.name, to_string(value.type),
                   to_string(tensor.dtype()), to_string(tensor.shape()));
        }
        std::vector<double>& data = array(id).data;
        switch (tensor.dtype()) {
            case DType::f32:
                return copy_in<float>(tensor, data);
            case DType::f64:
                return copy_in<double>(tensor, data);
            case DType::i32:
                return copy_in<int32_t>(tensor, data);
            case DType::u8:
                return copy_in<uint8_t>(tensor, data);
            default:
                refuse("'{}': the reference holds no {}", value.name, to_string(tensor.dtype()));
        }
    }

    Tensor read(ValueId id) const override {
        const Value& value = step_.graph.value(id);
        const Array& from = arrays_[place_[at(id)]];
        if (from.data.empty() && value.type.shape.elements() > 0)
            refuse("'{}' was not computed yet", value.name);
        const DType dtype = value.type.dtype == DType::f32 ? storage_ : value.type.dtype;
        Tensor tensor(value.type.shape, dtype);
        const std::vector<double> dense = reference::densified(from);
        switch (dtype) {
            case DType::f32:
                copy_out<float>(dense, tensor);
                break;
            case DType::f64:
                copy_out<double>(dense, tensor);
                break;
            case DType::i32:
                copy_out<int32_t>(dense, tensor);
                break;
            case DType::u8:
                copy_out<uint8_t>(dense, tensor);
                break;
            default:
                refuse("'{}': the reference holds no {}", value.name, to_string(dtype));
        }
        return tensor;
    }

    void gradients(const RunContext& context) override {
        for (const Node& node : step_.graph.nodes()) {
            if (node.stage != Stage::WU) run(node, context, false);
        }
    }

    void update(const RunContext& context) override {
        for (const Node& node : step_.graph.nodes()) {
            if (node.stage == Stage::WU) run(node, context, false);
        }
    }

    void refresh() override {
        for (const Node& node : step_.graph.nodes()) {
            if (node.stage == Stage::WU && is_packing(node.operation)) run(node, {}, true);
        }
    }

    std::string first_non_finite(const RunContext&) override {
        const Graph& graph = step_.graph;
        for (size_t i = 0; i < place_.size(); ++i) {
            const Value& value = graph.values()[i];
            const bool given = value.role == Role::input || value.role == Role::parameter;
            if (given && !finite(i)) return fmt::format("{} '{}'", to_string(value.role), value.name);
        }
        for (const Node& node : graph.nodes()) {
            for (const ValueId output : node.outputs) {
                if (!finite(at(output))) return describe(node);
            }
        }
        for (size_t i = 0; i < place_.size(); ++i) {
            if (!finite(i))
                return fmt::format("{} '{}'", to_string(graph.values()[i].role), graph.values()[i].name);
        }
        return "";
    }

  private:
    static size_t at(ValueId id) { return static_cast<size_t>(id.index); }
    Array& array(ValueId id) { return arrays_[place_[at(id)]]; }

    bool finite(size_t value) const {
        const std::vector<double>& data = arrays_[place_[value]].data;
        return std::all_of(data.begin(), data.end(), [](double x) { return std::isfinite(x); });
    }

    static std::string describe(const Node& node) {
        constexpr std::array what = {"the output of layer", "the gradient in layer", "the gradient in layer",
                                     "the update of"};
        return fmt::format("{} '{}' ({})", what[static_cast<size_t>(node.stage)], node.layer,
                           name(node.operation));
    }

    void run(const Node& node, const RunContext& context, bool refreshing) {
        Frame frame{.inputs = {}, .outputs = {}, .context = context, .refreshing = refreshing};
        for (const ValueId input : node.inputs) frame.inputs.push_back(&array(input));
        for (const ValueId output : node.outputs) {
            Array& out = array(output);
            const bool in_place =
                std::find(frame.inputs.begin(), frame.inputs.end(), &out) != frame.inputs.end();
            if (!in_place) out.clear();
            frame.outputs.push_back(&out);
        }
        try {
            std::visit([&](const auto& op) { reference::run(op, frame); }, node.operation.attributes);
        } catch (const Error& error) {
            throw Error(error.kind(),
                        fmt::format("layer '{}' ({}): {}", node.layer, name(node.operation), error.what()));
        }
        for (Array* const out : frame.outputs) store(*out);
    }

    /// Rounds to what the storage holds.
    void store(Array& array) const {
        if (storage_ != DType::f32 || array.type.dtype != DType::f32) return;
        for (double& x : array.data) x = static_cast<float>(x);
    }

    TrainingStep step_;
    DType storage_;
    std::vector<size_t> place_;  ///< value index -> the array that holds it
    std::vector<Array> arrays_;
};

}  // namespace

std::unique_ptr<Executor> make_reference_executor(TrainingStep step, DType storage) {
    return std::make_unique<ReferenceExecutor>(std::move(step), storage);
}

}  // namespace enmesh
