#include "onnx/import/fold.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "enmesh/base/error.hpp"
#include "enmesh/graph/ops/add.hpp"

namespace enmesh::onnx {
namespace {

constexpr int32_t boolean_type = proto::TensorProto_DataType_BOOL;

/// The operator on hand: its inputs and what it may still make.
struct Fold {
    const NodeView& node;
    const std::vector<const Constant*>& inputs;
    int64_t& budget;

    const Constant& input(size_t i) const {
        if (i >= inputs.size() || inputs[i] == nullptr) refuse("input {} is missing", i);
        return *inputs[i];
    }
    const Constant* optional(size_t i) const { return i < inputs.size() ? inputs[i] : nullptr; }
    void pay(const Shape& shape) const {
        // An empty result still costs the loops over its other axes.
        const int64_t count = checked_places(shape.dims(), std::numeric_limits<int64_t>::max());
        if (count >= budget)
            refuse("its result of shape {} is larger than shape arithmetic should be", to_string(shape));
        budget -= count + 1;
    }
};

using Results = std::vector<Constant>;
using Function = Results (*)(const Fold&);

/// Offsets into an operand that is broadcast to `shape`, in row-major order.
std::vector<int64_t> broadcast_offsets(const Shape& operand, const Shape& shape) {
    std::vector<int64_t> strides(static_cast<size_t>(shape.rank()), 0);
    int64_t stride = 1;
    for (int axis = 1; axis <= operand.rank(); ++axis) {
        if (operand[-axis] != 1) strides[static_cast<size_t>(shape.rank() - axis)] = stride;
        stride *= operand[-axis];
    }
    std::vector<int64_t> offsets, index(strides.size(), 0);
    offsets.reserve(static_cast<size_t>(shape.elements()));
    int64_t at = 0;
    for (int64_t count = shape.elements(); count > 0; --count) {
        offsets.push_back(at);
        for (size_t axis = strides.size(); axis-- > 0;) {
            at += strides[axis];
            if (++index[axis] < shape[static_cast<int>(axis)]) break;
            at -= strides[axis] * index[axis];
            index[axis] = 0;
        }
    }
    return offsets;
}

/// The elements at `offsets`, under another shape.
Constant picked(const Constant& src, Shape shape, const std::vector<int64_t>& offsets) {
    if (src.real()) {
        auto tensor = std::make_shared<Tensor>(shape);
        for (size_t i = 0; i < offsets.size(); ++i) tensor->f32()[i] = src.real_number(offsets[i]);
        return {std::move(shape), src.type, std::move(tensor)};
    }
    std::vector<int64_t> integers;
    integers.reserve(offsets.size());
    for (const int64_t offset : offsets) integers.push_back(src.integer(offset));
    return {std::move(shape), src.type, std::move(integers)};
}

/// ONNX asks for one type; among integers, and among float types, ours do not differ.
void require_one_kind(const Constant& a, const Constant& b) {
    if (a.real() != b.real()) refuse("inputs of {} and {} do not mix", type_name(a.type), type_name(b.type));
}

template <typename Real, typename Integer>
Results binary(const Fold& fold, Real real, Integer integer, bool gives_boolean = false) {
    const Constant &a = fold.input(0), &b = fold.input(1);
    // An exponent may have a type of its own.
    if (fold.node.type() != "Pow") require_one_kind(a, b);
    const Shape shape = broadcast_shape(a.shape, b.shape);
    fold.pay(shape);
    const std::vector<int64_t> at = broadcast_offsets(a.shape, shape), bt = broadcast_offsets(b.shape, shape);
    const bool reals = a.real() || b.real();
    if (reals && !gives_boolean) {
        std::vector<float> values;
        for (size_t i = 0; i < at.size(); ++i)
            values.push_back(static_cast<float>(real(a.number(at[i]), b.number(bt[i]))));
        return {real_constant(shape, std::move(values))};
    }
    std::vector<int64_t> values;
    for (size_t i = 0; i < at.size(); ++i) {
        values.push_back(reals ? static_cast<int64_t>(real(a.number(at[i]), b.number(bt[i])))
                               : integer(a.integer(at[i]), b.integer(bt[i])));
    }
    return {integer_constant(shape, std::move(values), gives_boolean ? boolean_type : a.type)};
}

int64_t wrapped(uint64_t value) { return static_cast<int64_t>(value); }
uint64_t bits(int64_t value) { return static_cast<uint64_t>(value); }

int64_t sum(int64_t a, int64_t b) { return wrapped(bits(a) + bits(b)); }
int64_t difference(int64_t a, int64_t b) { return wrapped(bits(a) - bits(b)); }
int64_t product(int64_t a, int64_t b) { return wrapped(bits(a) * bits(b)); }
int64_t negated(int64_t a) { return wrapped(0 - bits(a)); }
int64_t magnitude(int64_t a) { return a < 0 ? negated(a) : a; }
int64_t is_zero(int64_t a) { return a == 0 ? 1 : 0; }
int64_t unchanged(int64_t a) { return a; }
int64_t no_integers(int64_t) { refuse("is not defined for integers"); }

int64_t quotient(int64_t a, int64_t b) {
    if (b == 0) refuse("division by zero");
    return b == -1 ? negated(a) : a / b;
}

/// With the sign of b.
int64_t remainder(int64_t a, int64_t b) {
    const int64_t rest = difference(a, product(quotient(a, b), b));
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

int64_t integer_power(int64_t base, int64_t exponent) {
    uint64_t result = 1;
    if (exponent < 0 || exponent > 64) refuse("an integer power of {}", exponent);
    for (; exponent > 0; --exponent) result *= bits(base);
    return wrapped(result);
}

double real_remainder(double a, double b) { return std::fmod(a, b); }

/// With the sign of a, as C has it.
int64_t integer_fmod(int64_t a, int64_t b) { return difference(a, product(quotient(a, b), b)); }
double real_power(double a, double b) { return std::pow(a, b); }
double negative(double a) { return -a; }
double inverse(double a) { return 1 / a; }
double no_reals(double) { refuse("is defined for booleans only"); }

constexpr auto least = [](auto a, auto b) { return std::min(a, b); };
constexpr auto greatest = [](auto a, auto b) { return std::max(a, b); };
constexpr auto both = [](auto a, auto b) { return a != 0 && b != 0; };
constexpr auto either = [](auto a, auto b) { return a != 0 || b != 0; };

Results unary(const Fold& fold, double (*real)(double), int64_t (*integer)(int64_t)) {
    const Constant& a = fold.input(0);
    fold.pay(a.shape);
    if (!a.real()) {
        std::vector<int64_t> values;
        for (const int64_t value : a.integers()) values.push_back(integer(value));
        return {integer_constant(a.shape, std::move(values), a.type)};
    }
    std::vector<float> values;
    for (int64_t i = 0; i < a.elements(); ++i) values.push_back(static_cast<float>(real(a.number(i))));
    return {real_constant(a.shape, std::move(values))};
}

Constant converted(const Constant& src, int32_t type) {
    if (is_real_type(type)) {
        auto tensor = std::make_shared<Tensor>(src.shape);
        for (int64_t i = 0; i < src.elements(); ++i)
            tensor->f32()[static_cast<size_t>(i)] = static_cast<float>(src.number(i));
        return {src.shape, type, std::move(tensor)};
    }
    std::vector<int64_t> integers;
    for (int64_t i = 0; i < src.elements(); ++i) {
        const double value = src.number(i);
        const bool fits = value > -9.2e18 && value < 9.2e18;
        if (src.real() && type != boolean_type && !fits) refuse("{} is no integer", value);
        const int64_t integer = src.real() ? (fits ? static_cast<int64_t>(value) : 1) : src.integer(i);
        integers.push_back(type == boolean_type ? (value != 0 ? 1 : 0) : integer);
    }
    return {src.shape, type, std::move(integers)};
}

Results cast(const Fold& fold) {
    fold.pay(fold.input(0).shape);
    const auto to = static_cast<int32_t>(fold.node.integer("to", 0));
    if (!is_real_type(to) && type_name(to).starts_with("type")) refuse("a cast to {}", type_name(to));
    return {converted(fold.input(0), to)};
}

Results cast_like(const Fold& fold) {
    fold.pay(fold.input(0).shape);
    return {converted(fold.input(0), fold.input(1).type)};
}

Results constant(const Fold& fold) {
    const NodeView& node = fold.node;
    if (const proto::TensorProto* const tensor = node.tensor("value")) return {read_constant(*tensor)};
    if (node.has("value_float"))
        return {real_constant({}, {static_cast<float>(node.real("value_float", 0))})};
    if (node.has("value_int")) return {integer_constant({}, {node.integer("value_int", 0)})};
    if (const auto list = node.integers("value_ints"))
        return {integer_constant(Shape{static_cast<int64_t>(list->size())}, *list)};
    if (const auto list = node.reals("value_floats"))
        return {real_constant(Shape{static_cast<int64_t>(list->size())}, *list)};
    refuse("a constant of a kind that is not understood");
}

Results constant_of_shape(const Fold& fold) {
    const Shape shape(integers_of(fold.input(0), "shape"));
    fold.pay(shape);
    Constant value = real_constant(Shape{1}, {0.0F});
    if (const proto::TensorProto* const tensor = fold.node.tensor("value")) value = read_constant(*tensor);
    if (value.elements() != 1) refuse("its value has {} elements", value.elements());
    return {picked(value, shape, std::vector<int64_t>(static_cast<size_t>(shape.elements()), 0))};
}

/// start, start + step, … before limit, in float numbers.
Results real_range(const Fold& fold, double start, double limit, double step) {
    const double count = std::ceil((limit - start) / step);
    if (!std::isfinite(start) || !std::isfinite(limit) || !std::isfinite(step) || step == 0 || !(count < 1e9))
        refuse("an endless range");
    const Shape shape{static_cast<int64_t>(std::max(count, 0.0))};
    fold.pay(shape);
    std::vector<float> values;
    for (int64_t i = 0; i < shape[0]; ++i)
        values.push_back(static_cast<float>(start + static_cast<double>(i) * step));
    return {real_constant(shape, std::move(values))};
}

/// The same in integers. The distance may exceed int64: it is counted in uint64.
Results integer_range(const Fold& fold, int64_t start, int64_t limit, int64_t step, int32_t type) {
    const bool up = step > 0;
    uint64_t count = 0;
    if (up ? limit > start : limit < start) {
        const uint64_t distance = up ? bits(limit) - bits(start) : bits(start) - bits(limit);
        const uint64_t stride = up ? bits(step) : 0 - bits(step);
        if (stride != 0) count = (distance - 1) / stride + 1;
    }
    if (step == 0 || count > uint64_t{1'000'000'000}) refuse("an endless range");
    const Shape shape{static_cast<int64_t>(count)};
    fold.pay(shape);
    std::vector<int64_t> values;
    for (uint64_t i = 0; i < count; ++i) values.push_back(wrapped(bits(start) + i * bits(step)));
    return {integer_constant(shape, std::move(values), type)};
}

Results range(const Fold& fold) {
    const Constant &start = fold.input(0), &limit = fold.input(1), &delta = fold.input(2);
    for (size_t i = 0; i < 3; ++i) {
        if (fold.input(i).elements() != 1) refuse("input {} is no scalar", i);
        require_one_kind(start, fold.input(i));
    }
    if (start.real()) return real_range(fold, start.number(0), limit.number(0), delta.number(0));
    return integer_range(fold, start.integer(0), limit.integer(0), delta.integer(0), start.type);
}

Results shape_of(const Fold& fold) {
    const Shape& shape = fold.input(0).shape;
    const int64_t rank = shape.rank();
    const auto clamp = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + rank : at, 0, rank); };
    const int64_t begin = clamp(fold.node.integer("start", 0)), end = clamp(fold.node.integer("end", rank));
    std::vector<int64_t> dims;
    for (int64_t i = begin; i < end; ++i) dims.push_back(shape[static_cast<int>(i)]);
    const Shape result{static_cast<int64_t>(dims.size())};
    return {integer_constant(result, std::move(dims))};
}

Results size_of_value(const Fold& fold) { return {integer_constant({}, {fold.input(0).elements()})}; }

Results gather(const Fold& fold) {
    const Constant &data = fold.input(0), &indices = fold.input(1);
    if (data.shape.rank() == 0 || indices.real()) refuse("needs data with axes and integer indices");
    const auto axis = static_cast<int>(normal_axis(fold.node.integer("axis", 0), data.shape.rank()));
    int64_t outer = 1, inner = 1;
    std::vector<int64_t> dims;
    for (int i = 0; i < axis; ++i) {
        outer *= data.shape[i];
        dims.push_back(data.shape[i]);
    }
    dims.insert(dims.end(), indices.shape.begin(), indices.shape.end());
    for (int i = axis + 1; i < data.shape.rank(); ++i) {
        inner *= data.shape[i];
        dims.push_back(data.shape[i]);
    }
    const Shape shape(std::move(dims));
    fold.pay(shape);
    std::vector<int64_t> offsets;
    for (int64_t o = 0; o < outer; ++o) {
        for (const int64_t index : indices.integers()) {
            const int64_t extent = data.shape[axis], at = index < 0 ? index + extent : index;
            if (at < 0 || at >= extent) refuse("index {} is out of range for an extent of {}", index, extent);
            for (int64_t i = 0; i < inner; ++i) offsets.push_back((o * extent + at) * inner + i);
        }
    }
    return {picked(data, shape, offsets)};
}

/// Elements begin, begin + step, … of one axis.
Constant sliced(const Fold& fold, const Constant& src, int axis, const SliceRange& range) {
    Shape shape = src.shape;
    shape[axis] = range.count;
    fold.pay(shape);
    int64_t outer = 1, inner = 1;
    for (int i = 0; i < axis; ++i) outer *= src.shape[i];
    for (int i = axis + 1; i < src.shape.rank(); ++i) inner *= src.shape[i];
    std::vector<int64_t> offsets;
    for (int64_t o = 0; o < outer; ++o) {
        for (int64_t c = 0; c < range.count; ++c) {
            const int64_t at = (o * src.shape[axis] + range.begin + c * range.step) * inner;
            for (int64_t i = 0; i < inner; ++i) offsets.push_back(at + i);
        }
    }
    return picked(src, shape, offsets);
}

Results slice(const Fold& fold) {
    Constant result = fold.input(0);
    const SliceLists lists =
        slice_lists(fold.node, fold.optional(1), fold.optional(2), fold.optional(3), fold.optional(4));
    for (size_t i = 0; i < lists.starts.size(); ++i) {
        const auto axis = static_cast<int>(normal_axis(lists.axes[i], result.shape.rank()));
        result = sliced(fold, result, axis,
                        slice_range(result.shape[axis], lists.starts[i], lists.ends[i], lists.steps[i]));
    }
    return {result};
}

Results split(const Fold& fold) {
    const Constant& src = fold.input(0);
    const auto axis = static_cast<int>(normal_axis(fold.node.integer("axis", 0), src.shape.rank()));
    Results results;
    int64_t begin = 0;
    for (const int64_t extent : split_extents(fold.node, fold.optional(1), src.shape[axis])) {
        results.push_back(sliced(fold, src, axis, {begin, extent, 1}));
        begin += extent;
    }
    return results;
}

Results concat(const Fold& fold) {
    const Constant& first = fold.input(0);
    const auto axis = static_cast<int>(normal_axis(fold.node.integer("axis", 0), first.shape.rank()));
    Shape shape = first.shape;
    shape[axis] = 0;
    for (size_t i = 0; i < fold.inputs.size(); ++i) {
        Shape same = fold.input(i).shape;
        if (same.rank() != shape.rank()) refuse("inputs differ in rank");
        require_one_kind(first, fold.input(i));
        if (same[axis] > std::numeric_limits<int64_t>::max() - shape[axis]) refuse("its result is too large");
        shape[axis] += same[axis];
        same[axis] = first.shape[axis];
        if (same != first.shape) refuse("inputs differ outside axis {}", axis);
    }
    fold.pay(shape);
    int64_t outer = 1;
    for (int i = 0; i < axis; ++i) outer *= shape[i];
    std::vector<int64_t> integers;
    std::vector<float> reals;
    for (int64_t o = 0; o < outer; ++o) {
        for (size_t i = 0; i < fold.inputs.size(); ++i) {
            const Constant& part = fold.input(i);
            const int64_t run = part.elements() / outer;
            for (int64_t e = o * run; e < (o + 1) * run; ++e) {
                if (first.real()) {
                    reals.push_back(part.real_number(e));
                } else {
                    integers.push_back(part.integer(e));
                }
            }
        }
    }
    if (first.real()) return {real_constant(shape, std::move(reals))};
    return {integer_constant(shape, std::move(integers), first.type)};
}

std::optional<std::vector<int64_t>> axes_of(const Fold& fold, size_t input) {
    if (const auto* const given = fold.optional(input)) return integers_of(*given, "axes");
    return fold.node.integers("axes");
}

Results squeeze(const Fold& fold) {
    return {reshaped(fold.input(0), squeezed(fold.input(0).shape, axes_of(fold, 1)))};
}

Results unsqueeze(const Fold& fold) {
    const auto axes = axes_of(fold, 1);
    if (!axes.has_value()) refuse("its axes are missing");
    return {reshaped(fold.input(0), unsqueezed(fold.input(0).shape, *axes))};
}

Results reshape(const Fold& fold) {
    const std::vector<int64_t> target = integers_of(fold.input(1), "shape");
    const bool allow_zero = fold.node.integer("allowzero", 0) != 0;
    return {reshaped(fold.input(0), reshape_target(fold.input(0).shape, target, allow_zero))};
}

Results flatten(const Fold& fold) {
    const Shape& shape = fold.input(0).shape;
    int64_t axis = fold.node.integer("axis", 1);
    if (axis < -shape.rank() || axis > shape.rank())
        refuse("axis {} is out of range for rank {}", axis, shape.rank());
    if (axis < 0) axis += shape.rank();
    int64_t outer = 1;
    for (int i = 0; i < static_cast<int>(axis); ++i) outer *= shape[i];
    return {reshaped(fold.input(0), Shape{outer, outer == 0 ? 0 : shape.elements() / outer})};
}

Results transpose(const Fold& fold) {
    const Constant& src = fold.input(0);
    std::vector<int64_t> order;
    for (int i = src.shape.rank() - 1; i >= 0; --i) order.push_back(i);
    if (const auto given = fold.node.integers("perm")) order = *given;
    std::vector<int64_t> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    for (size_t i = 0; i < sorted.size(); ++i) {
        if (sorted[i] != static_cast<int64_t>(i)) refuse("perm is no permutation");
    }
    if (static_cast<int>(order.size()) != src.shape.rank())
        refuse("perm does not fit rank {}", src.shape.rank());
    fold.pay(src.shape);
    return {transposed(src, order)};
}

Results expand(const Fold& fold) {
    const Constant& src = fold.input(0);
    const Shape target(integers_of(fold.input(1), "shape"));
    checked_elements(target.dims(), fold.budget);
    const Shape shape = broadcast_shape(src.shape, target);
    fold.pay(shape);
    return {picked(src, shape, broadcast_offsets(src.shape, shape))};
}

Results where(const Fold& fold) {
    const Constant &condition = fold.input(0), &a = fold.input(1), &b = fold.input(2);
    const Shape shape = broadcast_shape(broadcast_shape(a.shape, b.shape), condition.shape);
    fold.pay(shape);
    if (condition.real()) refuse("needs a boolean condition");
    require_one_kind(a, b);
    const auto ct = broadcast_offsets(condition.shape, shape), at = broadcast_offsets(a.shape, shape),
               bt = broadcast_offsets(b.shape, shape);
    std::vector<int64_t> integers;
    std::vector<float> reals;
    for (size_t i = 0; i < ct.size(); ++i) {
        const bool first = condition.integer(ct[i]) != 0;
        const int64_t from = first ? at[i] : bt[i];
        if (a.real()) {
            reals.push_back((first ? a : b).real_number(from));
        } else {
            integers.push_back((first ? a : b).integer(from));
        }
    }
    if (a.real()) return {real_constant(shape, std::move(reals))};
    return {integer_constant(shape, std::move(integers), a.type)};
}

/// Over every element only: what shape arithmetic does with it.
Results reduce_all(const Fold& fold, bool product) {
    const Constant& src = fold.input(0);
    const auto axes = axes_of(fold, 1);
    const bool keep = fold.node.integer("keepdims", 1) != 0;
    if (fold.node.integer("noop_with_empty_axes", 0) != 0 && (!axes.has_value() || axes->empty()))
        return {src};
    if (src.shape.rank() > 1 || src.real()) refuse("is understood for lists of integers only");
    if (axes.has_value() && !axes->empty()) normal_axis(axes->front(), src.shape.rank());
    uint64_t total = product ? 1 : 0;
    for (const int64_t value : src.integers()) total = product ? total * bits(value) : total + bits(value);
    const Shape shape = keep && src.shape.rank() == 1 ? Shape{1} : Shape{};
    return {integer_constant(shape, {wrapped(total)}, src.type)};
}

Results identity(const Fold& fold) { return {fold.input(0)}; }

template <typename Compare>
Results compared(const Fold& fold, Compare compare) {
    const auto wide = [&](double a, double b) { return compare(a, b) ? 1.0 : 0.0; };
    const auto whole = [&](int64_t a, int64_t b) { return int64_t{compare(a, b)}; };
    return binary(fold, wide, whole, true);
}

Results modulo(const Fold& fold) {
    const bool sign_of_dividend = fold.node.integer("fmod", 0) != 0;
    return binary(fold, real_remainder, sign_of_dividend ? integer_fmod : remainder);
}

constexpr int any_count = std::numeric_limits<int>::max();

/// How many inputs an operator has at most, and what runs it. An input that it needs is asked for there.
struct Row {
    int most_inputs;
    Function run;
};

const std::map<std::string_view, Row>& rows() {
    static const std::map<std::string_view, Row> table = {
        {"Constant", {0, constant}},
        {"ConstantOfShape", {1, constant_of_shape}},
        {"Range", {3, range}},
        {"Shape", {1, shape_of}},
        {"Size", {1, size_of_value}},
        {"Gather", {2, gather}},
        {"Slice", {5, slice}},
        {"Split", {2, split}},
        {"Concat", {any_count, concat}},
        {"Squeeze", {2, squeeze}},
        {"Unsqueeze", {2, unsqueeze}},
        {"Reshape", {2, reshape}},
        {"Flatten", {1, flatten}},
        {"Transpose", {1, transpose}},
        {"Expand", {2, expand}},
        {"Where", {3, where}},
        {"Identity", {1, identity}},
        {"Cast", {1, cast}},
        {"CastLike", {2, cast_like}},
        {"Add", {2, [](const Fold& f) { return binary(f, std::plus<>(), sum); }}},
        {"Sub", {2, [](const Fold& f) { return binary(f, std::minus<>(), difference); }}},
        {"Mul", {2, [](const Fold& f) { return binary(f, std::multiplies<>(), product); }}},
        {"Div", {2, [](const Fold& f) { return binary(f, std::divides<>(), quotient); }}},
        {"Mod", {2, modulo}},
        {"Pow", {2, [](const Fold& f) { return binary(f, real_power, integer_power); }}},
        {"Min", {2, [](const Fold& f) { return binary(f, least, least); }}},
        {"Max", {2, [](const Fold& f) { return binary(f, greatest, greatest); }}},
        {"Equal", {2, [](const Fold& f) { return compared(f, std::equal_to<>()); }}},
        {"Less", {2, [](const Fold& f) { return compared(f, std::less<>()); }}},
        {"LessOrEqual", {2, [](const Fold& f) { return compared(f, std::less_equal<>()); }}},
        {"Greater", {2, [](const Fold& f) { return compared(f, std::greater<>()); }}},
        {"GreaterOrEqual", {2, [](const Fold& f) { return compared(f, std::greater_equal<>()); }}},
        {"And", {2, [](const Fold& f) { return compared(f, both); }}},
        {"Or", {2, [](const Fold& f) { return compared(f, either); }}},
        {"Not", {1, [](const Fold& f) { return unary(f, no_reals, is_zero); }}},
        {"Neg", {1, [](const Fold& f) { return unary(f, negative, negated); }}},
        {"Abs", {1, [](const Fold& f) { return unary(f, std::fabs, magnitude); }}},
        {"Floor", {1, [](const Fold& f) { return unary(f, std::floor, unchanged); }}},
        {"Ceil", {1, [](const Fold& f) { return unary(f, std::ceil, unchanged); }}},
        {"Sqrt", {1, [](const Fold& f) { return unary(f, std::sqrt, no_integers); }}},
        {"Exp", {1, [](const Fold& f) { return unary(f, std::exp, no_integers); }}},
        {"Reciprocal", {1, [](const Fold& f) { return unary(f, inverse, no_integers); }}},
        {"ReduceProd", {2, [](const Fold& f) { return reduce_all(f, true); }}},
        {"ReduceSum", {2, [](const Fold& f) { return reduce_all(f, false); }}},
    };
    return table;
}

}  // namespace

bool foldable(std::string_view op_type) { return rows().contains(op_type); }

std::vector<std::string_view> foldable_operators() {
    std::vector<std::string_view> names;
    for (const auto& [name, row] : rows()) names.push_back(name);
    return names;
}

std::vector<Constant> fold(const NodeView& node, const std::vector<const Constant*>& inputs,
                           int64_t& budget) {
    const Row& row = rows().at(node.type());
    if (node.inputs() > row.most_inputs)
        refuse("{} inputs, at most {} are supported", node.inputs(), row.most_inputs);
    return row.run(Fold{node, inputs, budget});
}

}  // namespace enmesh::onnx
