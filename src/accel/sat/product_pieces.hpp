#pragma once

#include <array>
#include <optional>
#include <vector>

#include "enmesh/accel/sat/schedule.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat::detail {

/// Refuses a schedule of another number of phases than the product has.
inline void require_phases(const Product& product, size_t scheduled) {
    const size_t expected = phases(product).size();
    if (scheduled != expected)
        refuse("{} {}: the schedule has {} phases, the product {}", product.layer, to_string(product.stage),
               scheduled, expected);
}

/// The pieces of a product for either choice of the indexed operand, each made when it is first asked for.
class ProductPieces {
  public:
    explicit ProductPieces(const Product& product) : product_(product) {}

    /// Refuses a phase that the product does not have.
    const Piece& at(size_t phase, Operand indexed) {
        std::optional<std::vector<Piece>>& known = known_[indexed == Operand::a ? 0 : 1];
        if (!known) known = pieces(product_, indexed);
        if (phase >= known->size())
            refuse("{} {}: the schedule has a phase {}, the product has {}", product_.layer,
                   to_string(product_.stage), phase + 1, known->size());
        return (*known)[phase];
    }

  private:
    const Product& product_;
    std::array<std::optional<std::vector<Piece>>, 2> known_;
};

}  // namespace enmesh::accel::sat::detail
