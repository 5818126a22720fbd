#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "enmesh/bench/bench_time.hpp"
#include "enmesh/cpu/kernels.hpp"
#include "enmesh/tensor/dtype.hpp"

namespace enmesh::bench {

/// What is timed, with what it holds kept alive by its closure.
struct Contestant {
    std::string name;     ///< "oneDNN direct", "dense winograd", "2:8 broadcast"
    std::string library;  ///< whose kernel it is; empty: ours
    bool direct = false;  ///< no Winograd
    std::optional<Pattern> pattern;
    double multiply_adds = 0;  ///< useful ones
    std::function<void()> run;
    std::function<std::span<const float>()> out;
    std::vector<double> seconds;

    double median() const { return bench::median(seconds); }
    double least() const { return *std::min_element(seconds.begin(), seconds.end()); }
};

/// A product of a layer, by everything that can compute it.
struct KernelMatch {
    products::Conv conv;
    bool linear = false;
    products::Stage stage = products::Stage::ff;
    std::vector<Pattern> patterns;
};

/// Every kernel of the list that accepts the product: dense in each layout that a layer may have (libraries in
/// one of their own choice), and N:M, one a pattern and kernel that skips zeros. Each is checked where its
/// layout is known: in full against the reference on a smaller product, if that has one, and at places of the
/// one that is timed. `dtype`: f32 or bf16, the latter with AVX-512 alone.
std::vector<Contestant> contestants_of(const KernelMatch& match, DType dtype,
                                       const products::KernelList& kernels = cpu::product_kernels());

}  // namespace enmesh::bench
