#include "enmesh/base/compare.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "enmesh/base/error.hpp"

namespace enmesh {

Comparison compare(std::span<const float> got, std::span<const float> want, double tolerance) {
    Comparison result;
    if (got.size() != want.size()) {
        result.max_abs_diff = std::numeric_limits<double>::quiet_NaN();
        return result;
    }
    bool any_got = false, any_want = false;
    for (size_t i = 0; i < want.size(); ++i) {
        const double diff = std::abs(static_cast<double>(got[i]) - want[i]);
        if (!(diff <= result.max_abs_diff)) {
            if (!std::isnan(result.max_abs_diff)) result.worst = i;
            result.max_abs_diff = std::isnan(result.max_abs_diff) ? result.max_abs_diff : diff;
        }
        result.scale = std::max(result.scale, std::abs(static_cast<double>(want[i])));
        any_got = any_got || got[i] != 0.0F;
        any_want = any_want || want[i] != 0.0F;
    }
    result.within = result.max_abs_diff <= tolerance * result.scale + 1e-30;
    result.distrusted = any_want && !any_got;
    return result;
}

std::string Comparison::describe() const {
    return fmt::format("max |diff| {:.3e} at {}, scale {:.3e}{}{}", max_abs_diff, worst, scale,
                       within ? "" : ", beyond tolerance", distrusted ? ", output is all zeros" : "");
}

}  // namespace enmesh
