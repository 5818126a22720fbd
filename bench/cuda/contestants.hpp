#pragma once

#include <memory>
#include <string>

#include "cusparselt_plugin.hpp"
#include "products.hpp"
#include "results.hpp"
#include "timing.hpp"

/// Everything that computes a product, made, compared with the plain kernel and timed.
namespace enmesh::cuda {

/// cuSPARSELt, if its library can be opened.
class Cusparselt {
  public:
    Cusparselt();
    /// "" or why it cannot be used.
    const std::string& why_not() const { return why_not_; }
    std::string version() const;  ///< "0.8.1"; "" without it

    struct Runs {
        Run product, packing;
    };
    /// Throws what cuSPARSELt objects to.
    Runs make(const Operands& operands) const;

  private:
    std::string why_not_;
    const CusparseltApi* api_ = nullptr;
};

/// Dense, mma.sp and cuSPARSELt on one product. A contestant whose result is wrong has no time but the
/// reason; `timer` null: compared only, with whole numbers and exactly.
ProductResult run_product(const Size& size, Type type, bool two_in_four, const Cusparselt& cusparselt,
                          Timer* timer, int rounds);

/// A layer's selection, compared with the CPU's bit by bit; `timer` null: compared only.
Measured run_selection(const Layer& layer, Type type, Numbers numbers, Timer* timer, int rounds);

/// Throws if the device does not answer any more: what follows would be no measurement.
void require_device();

}  // namespace enmesh::cuda
