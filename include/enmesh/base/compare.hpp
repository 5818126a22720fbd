#pragma once

#include <span>
#include <string>

namespace enmesh {

/// What a comparison saw; ok() is what a test asserts, describe() what it prints.
struct Comparison {
    double max_abs_diff = 0;  ///< largest |got - want|; NaN if any element of either is NaN
    double scale = 0;         ///< largest |want|
    size_t worst = 0;         ///< index of the largest difference
    bool within = false;      ///< every difference <= tolerance, written so that NaN fails
    bool distrusted = false;  ///< `got` is all zeros while `want` is not: a kernel that did nothing

    bool ok() const { return within && !distrusted; }
    std::string describe() const;
};

/// |got - want| <= tolerance * max|want| + 1e-30 for every element; sizes must match (otherwise not within).
Comparison compare(std::span<const float> got, std::span<const float> want, double tolerance);

}  // namespace enmesh
