#include "accel/workload/vector_kinds.hpp"

#include <algorithm>
#include <array>

#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

constexpr std::array kinds = {
    VectorKind{"accumulate", "accumulate"},
    VectorKind{"add", "add"},
    VectorKind{"apply_mask", "apply_mask"},
    VectorKind{"average_pool2d", "avg_pool_forward", true},
    VectorKind{"average_pool2d_backward", "avg_pool_backward"},
    VectorKind{"batch_norm_backward", "batch_norm_backward"},
    VectorKind{"concat", "copy"},
    VectorKind{"cross_entropy", "cross_entropy", true},
    VectorKind{"cross_entropy_backward", "cross_entropy_backward"},
    VectorKind{"divide", "divide"},
    VectorKind{"dropout", "dropout"},
    VectorKind{"embedding", "copy"},
    VectorKind{"expand", "copy"},
    VectorKind{"exponential_average", "exponential_average"},
    VectorKind{"gelu", "gelu_forward"},
    VectorKind{"gelu_backward", "gelu_backward"},
    VectorKind{"global_average_pool", "avg_pool_forward", true},
    VectorKind{"global_average_pool_backward", "avg_pool_backward"},
    VectorKind{"layer_norm", "layer_norm_forward"},
    VectorKind{"layer_norm_backward", "layer_norm_backward"},
    VectorKind{"max_pool2d", "max_pool_forward", true},
    VectorKind{"max_pool2d_backward", "max_pool_backward"},
    VectorKind{"multiply", "multiply"},
    VectorKind{"pad", "copy"},
    VectorKind{"reduce", "reduce", true},
    VectorKind{"relu", "relu_forward"},
    VectorKind{"relu_backward", "relu_backward"},
    VectorKind{"scale", "scale"},
    VectorKind{"slice", "copy"},
    VectorKind{"slice_backward", "copy"},
    VectorKind{"softmax", "softmax_forward"},
    VectorKind{"softmax_backward", "softmax_backward"},
    VectorKind{"sr_decay", "sr_decay"},
    VectorKind{"subtract", "add"},
    VectorKind{"sum_except", "bias", true},
    VectorKind{"sum_to", "reduce", true},
    VectorKind{"transpose", "copy"},
    VectorKind{"unpack_nm", "unpack"},
};

template <typename Op>
struct Charged {
    static_assert(std::count_if(kinds.begin(), kinds.end(),
                                [](const VectorKind& kind) { return kind.operation == Op::name; }) +
                          is_listed<Op, WithoutVectorKind> ==
                      1,
                  "an operation needs one row in kinds or a place in WithoutVectorKind");
};

template <typename... Ops>
constexpr bool all_charged(const std::variant<Ops...>*) {
    return (... && (sizeof(Charged<Ops>) > 0));
}
static_assert(all_charged(static_cast<const AnyOperation*>(nullptr)));

}  // namespace

const VectorKind* vector_kind(std::string_view operation) {
    const auto found = std::find_if(kinds.begin(), kinds.end(),
                                    [&](const VectorKind& kind) { return kind.operation == operation; });
    return found == kinds.end() ? nullptr : &*found;
}

std::string_view unary_row(UnaryKind kind, bool backward) {
    switch (kind) {
        case UnaryKind::clip:
        case UnaryKind::hard_sigmoid:
        case UnaryKind::hard_swish:
        case UnaryKind::leaky_relu:
            return backward ? "piecewise_backward" : "piecewise_forward";
        case UnaryKind::exp:
        case UnaryKind::log:
        case UnaryKind::sqrt:
            return backward ? "special_backward" : "special_forward";
        case UnaryKind::sigmoid:
        case UnaryKind::silu:
        case UnaryKind::tanh:
        case UnaryKind::gelu_tanh:
        case UnaryKind::erf:
        case UnaryKind::power:
            return backward ? "gelu_backward" : "gelu_forward";
        case UnaryKind::none:
            break;
    }
    refuse("the vector engine knows no unary function '{}'", to_string(kind));
}

}  // namespace enmesh::accel
