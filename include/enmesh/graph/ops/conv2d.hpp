#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// dst[n,k,oh,ow] = bias[k] + sum over c,r,s of weights[k,c,r,s] * src[n, c, oh*stride_h - top +
/// r*dilation_h, …]. Inputs src NCHW, weights K × C/groups × R × S, optionally bias K. Depthwise is groups ==
/// C.
struct Conv2d {
    static constexpr std::string_view name = "conv2d";
    static constexpr bool product = true;
    std::array<int64_t, 2> stride{1, 1};
    std::array<int64_t, 4> padding{0, 0, 0, 0};  ///< top, left, bottom, right
    std::array<int64_t, 2> dilation{1, 1};
    int64_t groups = 1;

    static constexpr auto fields() {
        return std::tuple{field("stride", &Conv2d::stride), field("padding", &Conv2d::padding),
                          field("dilation", &Conv2d::dilation), field("groups", &Conv2d::groups)};
    }
    bool operator==(const Conv2d&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
    OperationCount count(std::span<const ValueType> inputs, std::span<const ValueType> outputs) const;
};

/// diff_src of a Conv2d. Inputs diff_dst, weights (either may be N:M along its output channels).
struct Conv2dBackwardData {
    static constexpr std::string_view name = "conv2d_backward_data";
    static constexpr bool product = true;
    Conv2d conv;
    Shape src;

    static constexpr auto fields() {
        return std::tuple{field("conv", &Conv2dBackwardData::conv), field("src", &Conv2dBackwardData::src)};
    }
    bool operator==(const Conv2dBackwardData&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    OperationCount count(std::span<const ValueType> inputs, std::span<const ValueType> outputs) const;
};

/// diff_weights of a Conv2d. Inputs src, diff_dst (which may be N:M along positions).
struct Conv2dBackwardWeights {
    static constexpr std::string_view name = "conv2d_backward_weights";
    static constexpr bool product = true;
    Conv2d conv;
    Shape weights;

    static constexpr auto fields() {
        return std::tuple{field("conv", &Conv2dBackwardWeights::conv),
                          field("weights", &Conv2dBackwardWeights::weights)};
    }
    bool operator==(const Conv2dBackwardWeights&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    OperationCount count(std::span<const ValueType> inputs, std::span<const ValueType> outputs) const;
};

/// "stride=2,2 padding=1,1,1,1" for the attributes of the convolution inside its gradients.
std::string attribute_text(const Conv2d& conv);

}  // namespace enmesh
