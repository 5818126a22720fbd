#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// Window geometry shared by both pools.
struct PoolWindow {
    std::array<int64_t, 2> kernel{2, 2};
    std::array<int64_t, 2> stride{2, 2};
    std::array<int64_t, 4> padding{0, 0, 0, 0};  ///< top, left, bottom, right
    bool ceil = false;                           ///< count a last window that hangs over the edge

    static constexpr auto fields() {
        return std::tuple{field("kernel", &PoolWindow::kernel), field("stride", &PoolWindow::stride),
                          field("padding", &PoolWindow::padding), field("ceil", &PoolWindow::ceil)};
    }
    bool operator==(const PoolWindow&) const = default;
};
std::string attribute_text(const PoolWindow& window);
/// N, C, OH, OW.
Shape pooled_shape(const PoolWindow& window, const Shape& src);

/// Outputs dst and, as u8, the place of each maximum in its window (r * kernel_w + s; ties: the first).
struct MaxPool2d {
    static constexpr std::string_view name = "max_pool2d";
    PoolWindow window;

    static constexpr auto fields() { return std::tuple{field("window", &MaxPool2d::window)}; }
    bool operator==(const MaxPool2d&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

/// Inputs diff_dst, places.
struct MaxPool2dBackward {
    static constexpr std::string_view name = "max_pool2d_backward";
    PoolWindow window;
    Shape src;

    static constexpr auto fields() {
        return std::tuple{field("window", &MaxPool2dBackward::window), field("src", &MaxPool2dBackward::src)};
    }
    bool operator==(const MaxPool2dBackward&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

/// The mean over each window; with count_padding the padded zeros count as elements.
struct AveragePool2d {
    static constexpr std::string_view name = "average_pool2d";
    PoolWindow window;
    bool count_padding = true;

    static constexpr auto fields() {
        return std::tuple{field("window", &AveragePool2d::window),
                          field("count_padding", &AveragePool2d::count_padding)};
    }
    bool operator==(const AveragePool2d&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

/// Input diff_dst.
struct AveragePool2dBackward {
    static constexpr std::string_view name = "average_pool2d_backward";
    PoolWindow window;
    bool count_padding = true;
    Shape src;

    static constexpr auto fields() {
        return std::tuple{field("window", &AveragePool2dBackward::window),
                          field("count_padding", &AveragePool2dBackward::count_padding),
                          field("src", &AveragePool2dBackward::src)};
    }
    bool operator==(const AveragePool2dBackward&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

/// NCHW -> N × C × 1 × 1.
struct GlobalAveragePool {
    static constexpr std::string_view name = "global_average_pool";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const GlobalAveragePool&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
    void differentiate(GradientBuilder& builder) const;
};

/// Input diff_dst N × C × 1 × 1.
struct GlobalAveragePoolBackward {
    static constexpr std::string_view name = "global_average_pool_backward";
    Shape src;

    static constexpr auto fields() { return std::tuple{field("src", &GlobalAveragePoolBackward::src)}; }
    bool operator==(const GlobalAveragePoolBackward&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

}  // namespace enmesh
