#pragma once

#include <cstdint>

namespace enmesh {

/// Functions of one element that need no file of their own; x is the element, a and b the operation's
/// attributes. Where a derivative jumps, it is the one of the flat side (as for Relu).
enum class UnaryKind : uint8_t {
    none,          ///< not chosen yet: refused
    clip,          ///< min(max(x, a), b); Relu6 is clip with a = 0, b = 6
    sigmoid,       ///< 1 / (1 + exp(-x))
    hard_sigmoid,  ///< min(max(a * x + b, 0), 1)
    hard_swish,    ///< x * min(max(x / 6 + 1 / 2, 0), 1) (Howard et al. 2019)
    silu,          ///< x / (1 + exp(-x)), also called swish
    tanh,
    leaky_relu,  ///< x > 0 ? x : a * x
    gelu_tanh,   ///< x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) (Hendrycks, Gimpel 2016)
    erf,
    exp,
    log,
    sqrt,
    power,  ///< x^a
};

}  // namespace enmesh
