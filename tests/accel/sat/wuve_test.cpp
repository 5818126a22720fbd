#include "enmesh/accel/sat/wuve.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh::accel::sat {
namespace {

TEST(Wuve, TheTableIsSortedAndSane) {
    std::string_view last;
    for (const VectorCost& cost : vector_costs()) {
        EXPECT_LT(last, cost.name);
        EXPECT_GE(cost.passes, 1);
        EXPECT_GE(cost.lane_ops, 0);
        last = cost.name;
    }
    EXPECT_EQ(vector_cost("sgd_momentum_update").lane_ops, 4);
    EXPECT_THROW(vector_cost("sgd_momentum"), Error);
}

TEST(Wuve, VectorCyclesByHand) {
    const VectorCost cost = {"x", 2, 3, 0, 0};
    EXPECT_EQ(vector_cycles({32, 8}, cost, 1000), 16 + 32 * 3);
    EXPECT_EQ(vector_cycles({32, 8}, cost, 0), 0);
    EXPECT_EQ(vector_cycles({32, 8}, cost, 1000, 4), 4 * (16 + 32 * 3));
}

/// One lane, register by register: an element enters every `ops` cycles, its operations issue two cycles
/// after one another (the second half one later if they are even in number), a result leaves two cycles after
/// the last one issued, and a read and a write register lie around it.
TEST(Wuve, ALaneNeverHasTwoOperationsInACycle) {
    for (int ops = 1; ops <= 24; ++ops) {
        constexpr int elements = 40;
        std::vector<int> issued(static_cast<size_t>(elements * ops + 2 * ops + 8), 0);
        int64_t first_result = 0, last_result = 0;
        for (int element = 0; element < elements; ++element) {
            int64_t before = -2, issue = 0;
            for (int op = 0; op < ops; ++op) {
                issue = element * ops + 1 + 2 * op + (ops % 2 == 0 && op >= ops / 2 ? 1 : 0);
                EXPECT_GE(issue, before + 2);
                EXPECT_EQ(issued[static_cast<size_t>(issue)]++, 0) << ops << " operations, cycle " << issue;
                before = issue;
            }
            last_result = issue + 2 + 1;  // multiply, add, write
            if (element == 0) first_result = last_result;
        }
        EXPECT_EQ(ops + pipeline_cycles({1, 1}, ops), first_result) << ops;
        EXPECT_EQ(vector_cycles({1, 1}, {"x", 1, ops, 0, 0}, elements), last_result) << ops;
    }
    EXPECT_EQ(pipeline_cycles({32, 8}, 3), 8);
    EXPECT_EQ(pipeline_cycles({32, 8}, 23), 25);
}

TEST(Wuve, UpdateCyclesByHand) {
    // 64 x 32 in 8 x 8 tiles: 32 tiles; 2 cycles x 3 operations on 32 lanes; 16 groups at 8 a cycle take 2.
    const WeightUpdate update = {64, 32, 1, 3, {2, 8}, 2};
    EXPECT_EQ(update_cycles({32, 8}, {8, 4}, update), 8 + 32 * 6 + (2 + 4));
    // One selector: selection takes 16 cycles a tile and sets the pace.
    EXPECT_EQ(update_cycles({32, 8}, {1, 4}, update), 8 + 31 * 16 + 6 + (16 + 4));
    EXPECT_EQ(update_cycles({32, 8}, {8, 4}, {16, 17, 9, 3, {}, 0}), 8 + 18 * 8 * 3);
    // 2:4 on 32 lanes: two 4 x 4 tiles side by side, 35 tiles in 18 sets, the last one of a single tile; 16
    // groups of a set at 4 a cycle take 4 cycles, longer than the lanes' 3.
    EXPECT_EQ(update_cycles({32, 8}, {4, 4}, {20, 28, 1, 3, {2, 4}, 2}), 8 + 17 * 4 + 3 + (2 + 4));
    EXPECT_EQ(update_cycles({32, 8}, {8, 4}, {20, 28, 1, 3, {2, 4}, 1}), 8 + 18 * 3 + (1 + 4));
    // 31 lanes hold one tile of 16, as 17 do; 16 too.
    for (const int lanes : {16, 17, 31})
        EXPECT_EQ(update_cycles({lanes, 8}, {8, 4}, {20, 28, 1, 3, {2, 4}, 0}), 8 + 35 * 3);
}

/// What the lanes do in their slots, lane by lane: each lane of each slot is given one element of one tile. A
/// set is the tiles that lie in the lanes at once.
struct LaneSets {
    std::vector<int64_t> tiles;  ///< of each set
    int64_t slots = 0;           ///< of a set; each takes lane_ops cycles
};

LaneSets lane_by_lane(int lanes, int64_t tiles, int side) {
    LaneSets sets;
    const int elements = side * side;
    for (int64_t tile = 0; tile < tiles;) {
        std::vector<std::vector<std::pair<int64_t, int>>> slots;  // [slot][lane] -> tile, element
        int64_t held = 0;
        do {  // another tile joins while the lanes that are free hold all of it
            for (int element = 0; element < elements; ++element) {
                if (slots.empty() || static_cast<int>(slots.back().size()) == lanes) slots.emplace_back();
                slots.back().emplace_back(tile + held, element);
            }
            ++held;
        } while (tile + held < tiles && slots.size() == 1 &&
                 lanes - static_cast<int>(slots.back().size()) >= elements);
        for (const auto& slot : slots) EXPECT_LE(static_cast<int>(slot.size()), lanes);
        if (tile == 0) sets.slots = static_cast<int64_t>(slots.size());
        EXPECT_EQ(static_cast<int64_t>(slots.size()), sets.slots);
        sets.tiles.push_back(held);
        tile += held;
    }
    return sets;
}

/// The same figure, cycle by cycle: lanes count down a set of tiles, a delay line of the lanes' latency
/// carries it to SORE, whose selectors take its groups; the last packed group is written SORE's latency after
/// its entry.
int64_t stepped_update(const Wuve& wuve, const Sore& sore, const LaneSets& sets, int lane_ops,
                       int64_t groups_of_tile) {
    const int64_t set_cycles = sets.slots * lane_ops;
    const size_t count = sets.tiles.size();
    std::vector<bool> line(static_cast<size_t>(pipeline_cycles(wuve, lane_ops)), false);
    size_t finished = 0, ready = 0, begun = 0, packed = 0;
    int64_t cycle = 0, lanes_left = set_cycles, groups_left = 0, last = 0;
    while (packed < count) {
        const bool arrives = line.back();
        line.pop_back();
        if (groups_of_tile == 0 && arrives && ++packed == count) last = cycle + 1;
        if (groups_left == 0 && ready > 0 && groups_of_tile > 0) {
            --ready;
            groups_left = groups_of_tile * sets.tiles[begun++];
        }
        if (groups_left > 0) {
            groups_left -= std::min<int64_t>(groups_left, sore.groups_per_cycle);
            if (groups_left == 0 && ++packed == count) last = cycle + 1 + sore.latency_cycles;
        }
        const bool hands_over = finished < count && --lanes_left == 0;
        if (hands_over) {
            ++finished;
            lanes_left = set_cycles;
        }
        line.insert(line.begin(), hands_over);
        ready += arrives;  // written to the tile buffer in this cycle, read from the next
        ++cycle;
    }
    return last;
}

TEST(Wuve, UpdateEqualsAMachineSteppedCycleByCycle) {
    Random random(3);
    int abreast = 0;
    for (int trial = 0; trial < 500; ++trial) {
        const int side = static_cast<int>(2 + random.below(trial % 2 == 0 ? 15 : 4));
        const Wuve wuve = {static_cast<int>(1 + random.below(64)), static_cast<int>(1 + random.below(12))};
        const Sore sore = {static_cast<int>(1 + random.below(16)), static_cast<int>(4 + random.below(4))};
        const int directions = static_cast<int>(random.below(3)),
                  lane_ops = static_cast<int>(1 + random.below(4));
        const auto rows = static_cast<int64_t>(1 + random.below(60)),
                   cols = static_cast<int64_t>(1 + random.below(60));
        const int64_t tiles = ((rows + side - 1) / side) * ((cols + side - 1) / side);
        const WeightUpdate update = {rows, cols, 1, lane_ops, {1, side}, directions};
        ASSERT_EQ(update_cycles(wuve, sore, update),
                  stepped_update(wuve, sore, lane_by_lane(wuve.lanes, tiles, side), lane_ops,
                                 int64_t{directions} * side))
            << wuve.lanes << " lanes, tiles of " << side;
        abreast += wuve.lanes >= 2 * side * side;
    }
    EXPECT_GE(abreast, 50);
}

/// One lane operation: a multiply, rounded, and an add, rounded. Products and sums of two binary32 numbers
/// are exact, or rounded harmlessly, in binary64.
float lane(float a, float b, float addend = -0.0F) {
    const auto product = static_cast<float>(static_cast<double>(a) * static_cast<double>(b));
    return static_cast<float>(static_cast<double>(product) + static_cast<double>(addend));
}

std::vector<float> normals(Random& random, size_t count, float scale) {
    std::vector<float> values(count);
    for (float& value : values) value = scale * random.normal();
    return values;
}

/// The lane operations of docs/sat.md, "Bits of an update", one after another; as many as are charged.
TEST(Wuve, SgdIsItsLaneOperations) {
    Random random(5);
    for (const bool nesterov : {false, true}) {
        const SgdStep step = {0.1F, 0.9F, 5e-4F, 1.0F / (3 * 65536.0F), nesterov};
        std::vector<float> w = normals(random, 1000, 1), v = normals(random, 1000, 0.1F);
        const std::vector<float> diff = normals(random, 1000, 1e5F);
        std::vector<float> masters = w, velocity = v;
        update_elements(step, masters, velocity, diff);
        for (size_t i = 0; i < w.size(); ++i) {
            const float t = lane(step.gradient_scale, diff[i]);
            const float g = lane(step.weight_decay, w[i], t);
            v[i] = lane(step.momentum, v[i], g);
            const float u = nesterov ? lane(step.momentum, v[i], g) : v[i];
            w[i] = lane(-step.lr, u, w[i]);
        }
        EXPECT_EQ(masters, w);
        EXPECT_EQ(velocity, v);
    }
    EXPECT_EQ(vector_cost("sgd_update").lane_ops, 3);
    EXPECT_EQ(vector_cost("sgd_nesterov_update").lane_ops, 5);
}

TEST(Wuve, AdamIsItsLaneOperations) {
    Random random(6);
    const AdamStep step = {1e-3F, 1.0F / 65536, 0.01F, 0.9F, 0.1F, 0.999F, 1e-3F, 1e-8F, 2.5F, 40.0F};
    std::vector<float> w = normals(random, 1000, 1), m = normals(random, 1000, 0.1F), v(1000);
    for (float& value : v) value = random.uniform();
    const std::vector<float> diff = normals(random, 1000, 1e5F);
    std::vector<float> masters = w, first = m, second = v;
    update_elements(step, masters, first, second, diff);
    for (size_t i = 0; i < w.size(); ++i) {
        const float d = lane(step.gradient_scale, diff[i]);
        m[i] = lane(step.beta1, m[i], lane(step.rest1, d));
        const float x = lane(step.beta2, v[i]);
        v[i] = lane(lane(step.rest2, d), d, x);
        const auto root = static_cast<float>(std::sqrt(static_cast<double>(lane(v[i], step.correction2))));
        const float r = lane(1, root, step.epsilon);
        const auto q =
            static_cast<float>(static_cast<double>(lane(m[i], step.correction1)) / static_cast<double>(r));
        w[i] = lane(-step.lr, lane(step.weight_decay, w[i], q), w[i]);
    }
    EXPECT_EQ(masters, w);
    EXPECT_EQ(first, m);
    EXPECT_EQ(second, v);
    EXPECT_EQ(vector_cost("adam_update").lane_ops, 11 + 2 * special_lane_ops);
}

TEST(Wuve, ATileComesOutPackedBothWays) {
    const SgdStep step = {0.5F, 0.5F, 0, 0.25F};
    std::vector<float> masters = {1, -4, 2, 3}, velocity = {2, 0, 0, 0}, diff = {4, 0, 0, 0};
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
}  // namespace enmesh::accel::sat
