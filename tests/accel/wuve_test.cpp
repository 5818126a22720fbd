#include "enmesh/accel/wuve.hpp"

#include <gtest/gtest.h>

#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh::accel {
namespace {

TEST(Wuve, TheTableIsSortedAndSane) {
    std::string_view last;
    for (const VectorCost& cost : vector_costs()) {
        EXPECT_LT(last, cost.name);
        EXPECT_GE(cost.passes, 1);
        EXPECT_GE(cost.lane_ops, 0);
        last = cost.name;
    }
    EXPECT_EQ(vector_cost("sgd_momentum_update").lane_ops, 3);
    EXPECT_THROW(vector_cost("sgd_momentum"), Error);
}

TEST(Wuve, VectorCyclesByHand) {
    const VectorCost cost = {"x", 2, 3, 0, 0};
    EXPECT_EQ(vector_cycles({32, 8}, cost, 1000), 16 + 94);
    EXPECT_EQ(vector_cycles({32, 8}, cost, 0), 0);
}

TEST(Wuve, UpdateCyclesByHand) {
    // 64 x 32 in 8 x 8 tiles: 32 tiles; 2 cycles x 3 operations on 32 lanes; 16 groups at 8 a cycle take 2.
    const WeightUpdate update = {64, 32, 1, 3, {2, 8}, 2};
    EXPECT_EQ(update_cycles({32, 8}, {8, 4}, update), 8 + 32 * 6 + (2 + 4));
    // One selector: selection takes 16 cycles a tile and sets the pace.
    EXPECT_EQ(update_cycles({32, 8}, {1, 4}, update), 8 + 31 * 16 + 6 + (16 + 4));
    EXPECT_EQ(update_cycles({32, 8}, {8, 4}, {16, 17, 9, 3, {}, 0}), 8 + 18 * 8 * 3);
}

/// The same figure, cycle by cycle: lanes count down a tile, a delay line of the lanes' latency carries it to
/// SORE, whose selectors take groups; the last packed group is written SORE's latency after its entry.
int64_t stepped_update(const Wuve& wuve, const Sore& sore, int64_t tiles, int side, int lane_ops,
                       int groups) {
    const auto lanes_tile = static_cast<int64_t>((side * side + wuve.lanes - 1) / wuve.lanes) * lane_ops;
    std::vector<bool> line(static_cast<size_t>(wuve.latency_cycles), false);
    int64_t cycle = 0, lanes_left = lanes_tile, finished = 0, ready = 0, groups_left = 0, packed = 0,
            last = 0;
    while (packed < tiles) {
        const bool arrives = line.back();
        line.pop_back();
        if (groups == 0 && arrives && ++packed == tiles) last = cycle + 1;
        if (groups_left == 0 && ready > 0 && groups > 0) {
            --ready;
            groups_left = groups;
        }
        if (groups_left > 0) {
            groups_left -= std::min<int64_t>(groups_left, sore.groups_per_cycle);
            if (groups_left == 0 && ++packed == tiles) last = cycle + 1 + sore.latency_cycles;
        }
        const bool hands_over = finished < tiles && --lanes_left == 0;
        if (hands_over) {
            ++finished;
            lanes_left = lanes_tile;
        }
        line.insert(line.begin(), hands_over);
        ready += arrives;  // written to the tile buffer in this cycle, read from the next
        ++cycle;
    }
    return last;
}

TEST(Wuve, UpdateEqualsAMachineSteppedCycleByCycle) {
    Random random(3);
    for (int trial = 0; trial < 500; ++trial) {
        const int side = static_cast<int>(2 + random.below(15));
        const Wuve wuve = {static_cast<int>(1 + random.below(64)), static_cast<int>(1 + random.below(12))};
        const Sore sore = {static_cast<int>(1 + random.below(16)), static_cast<int>(4 + random.below(4))};
        const int directions = static_cast<int>(random.below(3)),
                  lane_ops = static_cast<int>(1 + random.below(4));
        const auto rows = static_cast<int64_t>(1 + random.below(60)),
                   cols = static_cast<int64_t>(1 + random.below(60));
        const int64_t tiles = ((rows + side - 1) / side) * ((cols + side - 1) / side);
        const WeightUpdate update = {rows, cols, 1, lane_ops, {1, side}, directions};
        ASSERT_EQ(update_cycles(wuve, sore, update),
                  stepped_update(wuve, sore, tiles, side, lane_ops, directions * side));
    }
}

TEST(Wuve, ATileComesOutPackedBothWays) {
    const SgdStep step = {0.5F, 0.5F, 0};
    std::vector<float> masters = {1, -4, 2, 3}, velocity = {2, 0, 0, 0}, diff = {1, 0, 0, 0};
    const PackedTile tile = update_tile(step, {1, 2}, masters, velocity, diff);
    EXPECT_EQ(velocity, (std::vector<float>{2, 0, 0, 0}));
    EXPECT_EQ(masters, (std::vector<float>{0, -4, 2, 3}));
    EXPECT_EQ(tile.along_cols[0].indices[0], 1);
    EXPECT_EQ(tile.along_cols[1].indices[0], 1);
    EXPECT_EQ(tile.along_rows[0].indices[0], 1);
    EXPECT_EQ(tile.along_rows[1].indices[0], 0);
    EXPECT_EQ(tile.along_rows[1].values[0], to_half(-4));
}

TEST(Wuve, RefusesParametersOutOfRange) {
    EXPECT_THROW(check(Wuve{0, 8}), Error);
    EXPECT_THROW(check(Wuve{32, 0}), Error);
}

}  // namespace
}  // namespace enmesh::accel
