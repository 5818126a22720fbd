#pragma once

#include "enmesh/graph/operation.hpp"

namespace enmesh {

/// How the kept elements of a group are chosen.
enum class Selection : uint8_t {
    magnitude,  ///< the N largest magnitudes; ties go to the lowest index
    mask,       ///< those a given mask marks
    mvue,       ///< at random, unbiased and of least variance (Chmiel et al. 2022), scaled by 1 / probability
    transposable,  ///< one mask that is N:M along both channel axes, of largest sum of magnitudes (masks
                   ///< only)
};
std::string to_string(Selection selection);

/// Dense operand -> N:M compact operand (values and indices) along `axis`. Inputs src and, for
/// Selection::mask, a u8 mask of the same shape. With Selection::mvue the choice is a pure function of (seed,
/// step, stream, group).
struct PackNm {
    static constexpr std::string_view name = "pack_nm";
    Pattern pattern;
    GroupAxis axis = GroupAxis::input_channels;
    Selection selection = Selection::magnitude;
    int64_t stream = 0;

    static constexpr auto fields() {
        return std::tuple{field("pattern", &PackNm::pattern), field("axis", &PackNm::axis),
                          field("selection", &PackNm::selection), field("stream", &PackNm::stream)};
    }
    bool operator==(const PackNm&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

/// N:M compact operand -> dense, zeros where nothing was kept: FF's mask in a product that reduces along
/// another axis.
struct UnpackNm {
    static constexpr std::string_view name = "unpack_nm";
    static constexpr auto fields() { return std::tuple{}; }
    bool operator==(const UnpackNm&) const = default;
    std::vector<ValueType> infer(std::span<const ValueType> inputs) const;
};

}  // namespace enmesh
