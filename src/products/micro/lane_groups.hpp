#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace enmesh::products {

/// A copy of constant size is a plain load and store.
inline void copy_lanes(const float* from, int64_t lanes, float* to) {
    if (lanes == 16)
        std::memcpy(to, from, 64);
    else if (lanes == 8)
        std::memcpy(to, from, 32);
    else if (lanes == 4)
        std::memcpy(to, from, 16);
    else
        std::copy_n(from, lanes, to);
}

/// What a vector kernel chose of up to `lanes` groups, [n][lanes], as compact groups `step` groups apart.
struct ChosenGroups {
    const float* values;
    const int32_t* indices;
    int64_t lanes, used;
    float* to_values;
    uint8_t* to_indices;
    int64_t step;
};

template <int constant_n>
void store_groups_of(const ChosenGroups& chosen, int run_n) {
    const int n = constant_n != 0 ? constant_n : run_n;
    // Copies, because a byte that is written might be part of anything else.
    const int64_t lanes = chosen.lanes, used = chosen.used, apart = chosen.step * n;
    const float* const values = chosen.values;
    const int32_t* const indices = chosen.indices;
    float* to_values = chosen.to_values;
    uint8_t* to_indices = chosen.to_indices;
    for (int64_t lane = 0; lane < used; ++lane, to_values += apart, to_indices += apart) {
        for (int slot = 0; slot < n; ++slot) {
            to_values[slot] = values[slot * lanes + lane];
            to_indices[slot] = static_cast<uint8_t>(indices[slot * lanes + lane]);
        }
    }
}

inline void store_groups(const ChosenGroups& chosen, int n) {
    if (n == 1) return store_groups_of<1>(chosen, n);
    if (n == 2) return store_groups_of<2>(chosen, n);
    if (n == 4) return store_groups_of<4>(chosen, n);
    store_groups_of<0>(chosen, n);
}

}  // namespace enmesh::products
