#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bench/bench_time.hpp"
#include "enmesh/products/problem.hpp"
#include "enmesh/tensor/dtype.hpp"

namespace enmesh::cli {

/// What is timed, with what it holds kept alive by its closure.
struct Contestant {
    enum class Kind { onednn, dense, sparse };
    std::string name;
    Kind kind = Kind::onednn;
    std::optional<Pattern> pattern;
    double multiply_adds = 0;  ///< useful ones
    std::function<void()> run;
    std::function<std::span<const float>()> out;
    std::vector<double> seconds;

    double median() const { return cli::median(seconds); }
    double least() const { return *std::min_element(seconds.begin(), seconds.end()); }
};

/// A product of a layer, by everything that can compute it.
struct KernelMatch {
    products::Conv conv;
    bool linear = false;
    products::Stage stage = products::Stage::ff;
    std::vector<Pattern> patterns;
};

/// oneDNN's dense product, ours, and one N:M product a pattern, each of ours checked: all of a small product,
/// places of the one that is timed. `dtype`: f32 or bf16, the latter with AVX-512 alone.
std::vector<Contestant> contestants_of(const KernelMatch& match, DType dtype);

}  // namespace enmesh::cli
