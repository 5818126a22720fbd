#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

/// Which products of a report of `enmesh simulate --accel stc-*` are timed, and what the model says of
/// exactly those. No CUDA in here.
namespace enmesh::cuda {

/// dst[rows][cols] = weights[rows][depth] · src[cols][depth]ᵀ with a 2:4 operand `weights`: of FF and BP the
/// layer's weights, of a product with a sparse gradient that gradient.
struct TimedProduct {
    int64_t rows = 0, cols = 0, depth = 0;                       ///< the report's n, m, k (or m, n, k)
    int64_t padded_rows = 0, padded_cols = 0, padded_depth = 0;  ///< what is timed, by every contestant
    bool chosen = false;                                         ///< whether the simulated step runs it 2:4
    std::vector<std::string> places{};  ///< "FF layer1.0.conv2", …: products of this size and choice
    /// The model's, of the padded product as it is timed: matrices in memory, of a convolution its explicit
    /// im2col, so neither the report's sizes nor its traffic.
    double dense_microseconds = 0, sparse_microseconds = 0;
};

struct TimedProducts {
    std::string accelerator;
    std::vector<TimedProduct> products{};
    std::vector<std::string> left_out{};  ///< with the reason
};

/// From the report's text; `settings` are those of `simulate --set`. Every product counts of which the step
/// asks a pattern that runs as 2:4, whether the model ran it so or dense. Of equal products (groups) one is
/// timed. BP of a strided convolution, several smaller products, is left out. Throws a std::exception whose
/// message says what is wrong with the report.
TimedProducts timed_products(const std::string& report, std::span<const std::string> settings);

}  // namespace enmesh::cuda
