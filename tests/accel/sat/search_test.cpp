#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>

#include "accel/draw.hpp"
#include "accel/sat/cost.hpp"
#include "accel/small_network.hpp"
#include "enmesh/accel/sat/schedule.hpp"
#include "enmesh/accel/sat/simulate.hpp"
#include "enmesh/base/error.hpp"

// What the search finds, held against everything else that could have been chosen.
namespace enmesh::accel::sat {
namespace {

/// Everything the array and the tile grid allow, without bounds, on coarse power-of-two tiles: the search may
/// never be slower.
int64_t best_of_random(const SatConfig& config, const Piece& piece, Operand indexed, Random& random) {
    int64_t best = std::numeric_limits<int64_t>::max();
    const auto draw = [&](int64_t high) {
        return 1 + static_cast<int64_t>(random.below(static_cast<uint64_t>(high)));
    };
    for (int trial = 0; trial < 300; ++trial) {
        Mapping m;
        m.indexed = indexed;
        m.engine.dataflow = random.below(2) == 0 ? Dataflow::ws : Dataflow::os;
        m.engine.group = static_cast<int>(draw(config.stce.max_group));
        m.engine.interleave = static_cast<int>(draw(config.stce.max_interleave));
        m.pack = piece.engine.dense() ? Pack::none : Pack::pregenerated;
        m.tile_m = piece.engine.m;
        m.tile_n = piece.engine.n;
        m.tile_k = piece.engine.k;
        if (!why_illegal(config, piece, m).empty()) continue;
        best = std::min(best, cost(config, piece, m).cycles);
    }
    return best;
}

TEST(Schedule, IsLegalAndBeatsRandomMappings) {
    SatConfig config;
    config.stce.rows = 8;
    config.stce.cols = 8;
    Random random(3);
    Workload w = small_network();
    for (const bool sparse : {false, true}) {
        if (sparse) make_sparse(w, {2, 8});
        const Schedule schedule = find_schedule(config, w);
        check(config, w, schedule, "found");
        for (size_t i = 0; i < w.products.size(); ++i) {
            const Product& p = w.products[i];
            for (size_t phase = 0; phase < schedule.products[i].mappings.size(); ++phase) {
                const Mapping& m = schedule.products[i].mappings[phase];
                const int64_t found = cost(config, pieces(p, m.indexed)[phase], m).cycles;
                for (const Operand role : {Operand::a, Operand::b}) {
                    if (p.is_sparse() && role != p.sparse) continue;
                    EXPECT_LE(found, best_of_random(config, pieces(p, role)[phase], role, random))
                        << p.layer << " " << i;
                }
            }
        }
    }
}

/// The first of the fastest among everything that the search may choose, by the public cost model alone.
Mapping best_of_all(const SatConfig& config, const Product& product, size_t phase) {
    const std::vector<Mapping> all = detail::all_mappings(config, product)[phase];
    std::map<Operand, Piece> piece;
    for (const Operand role : {Operand::a, Operand::b}) piece[role] = pieces(product, role)[phase];
    const Mapping* best = nullptr;
    int64_t best_cycles = 0;
    for (const Mapping& mapping : all) {
        if (!why_illegal(config, piece[mapping.indexed], mapping).empty()) continue;
        const int64_t cycles = cost(config, piece[mapping.indexed], mapping).cycles;
        if (best != nullptr && cycles >= best_cycles) continue;
        best = &mapping;
        best_cycles = cycles;
    }
    return *best;
}

struct Range {
    int64_t low, high;
};
struct MachineRanges {
    Range array, group, interleave;
    Range input_bytes, weight_bytes, output_bytes;
    Range memory;  ///< 1e8 bytes per second
};

SatConfig machine_within(Random& random, const MachineRanges& ranges) {
    const auto of = [&](Range range) { return draw(random, range.low, range.high); };
    SatConfig config;
    config.stce.rows = static_cast<int>(of(ranges.array));
    config.stce.cols = static_cast<int>(of(ranges.array));
    config.stce.max_group = static_cast<int>(of(ranges.group));
    config.stce.max_interleave = static_cast<int>(of(ranges.interleave));
    config.input_buffer_bytes = of(ranges.input_bytes);
    config.weight_buffer_bytes = of(ranges.weight_bytes);
    config.output_buffer_bytes = of(ranges.output_bytes);
    config.memory_peak_bytes_per_second = static_cast<double>(of(ranges.memory)) * 1e8;
    config.double_buffering = random.below(4) != 0;
    return config;
}

TEST(Schedule, BoundsNeverChangeWhatTheSearchFinds) {
    Random random(11);
    const auto draw = [&](int64_t low, int64_t high) { return accel::draw(random, low, high); };
    int compared = 0;
    for (int trial = 0; trial < 22; ++trial) {
        SatConfig config = machine_within(random, {.array = {2, 8},
                                                   .group = {4, 6},
                                                   .interleave = {1, 5},
                                                   .input_bytes = {200, 8000},
                                                   .weight_bytes = {200, 4000},
                                                   .output_bytes = {200, 8000},
                                                   .memory = {1, 40}});
        config.stce.latches = random.below(3) == 0 ? 8 : 2;
        config.stce.packed_sets = static_cast<int>(draw(1, 2));
        config.stce.accumulator_sets = static_cast<int>(draw(1, 2));
        config.pregeneration = random.below(2) == 0;
        const ConvGeometry geometry =
            conv(draw(1, 2), draw(1, 14), draw(3, 6), draw(1, 14), random.below(2) == 0 ? 1 : 3, draw(1, 2));
        Product product = training_products("l", geometry)[random.below(3)];
        if (product.stage != Stage::WG && random.below(2) == 0) {
            product.sparse = Operand::b;
            product.pattern = {static_cast<int>(draw(1, 3)), 4};
            product.b_is_parameter = true;
        }
        ProductSchedule found;
        try {
            found = find_mappings(config, product);
        } catch (const Error&) {
            continue;
        }
        for (size_t phase = 0; phase < found.mappings.size(); ++phase, ++compared) {
            const Mapping best = best_of_all(config, product, phase);
            EXPECT_EQ(found.mappings[phase], best) << "trial " << trial << " phase " << phase;
        }
    }
    EXPECT_GE(compared, 14);
}

/// The fastest of everything that replay accepts: every tile size, loop order and array setting.
int64_t best_of_accepted(const SatConfig& config, const Product& product) {
    int64_t best = std::numeric_limits<int64_t>::max();
    const Piece piece = pieces(product, Operand::b).front(), other = pieces(product, Operand::a).front();
    const auto consider = [&](const Mapping& mapping) {
        const Piece& p = mapping.indexed == Operand::b ? piece : other;
        if (why_illegal(config, p, mapping).empty()) best = std::min(best, cost(config, p, mapping).cycles);
    };
    constexpr std::array<Loop, 3> loops = {Loop::m, Loop::n, Loop::k};
    std::vector<Mapping> settings;
    Mapping mapping;
    mapping.pack = product.is_sparse() ? Pack::pregenerated : Pack::none;
    for (const Operand indexed : {Operand::a, Operand::b})
        for (const Dataflow flow : {Dataflow::ws, Dataflow::os})
            for (int group = product.is_sparse() ? config.stce.max_group : 1; group <= config.stce.max_group;
                 ++group)
                for (int interleave = 1; interleave <= config.stce.max_interleave; ++interleave)
                    for (const bool pixels : {false, true}) {
                        if ((pixels && interleave == 1) || (product.is_sparse() && indexed == Operand::a))
                            continue;
                        mapping.indexed = indexed;
                        mapping.engine.dataflow = flow;
                        mapping.engine.group = group;
                        mapping.engine.interleave = interleave;
                        mapping.engine.interleave_pixels = pixels;
                        settings.push_back(mapping);
                    }
    for (Mapping& m : settings) {
        const EngineProduct size = (m.indexed == Operand::b ? piece : other).engine;
        for (m.tile_k = 1; m.tile_k <= size.k; ++m.tile_k) {
            m.streaming = true;
            m.tile_m = size.m, m.tile_n = size.n;
            consider(m);
            m.streaming = false;
            for (m.tile_n = 1; m.tile_n <= size.n; ++m.tile_n)
                for (m.tile_m = 1; m.tile_m <= size.m; ++m.tile_m) {
                    m.order = loops;
                    if (!why_illegal(config, m.indexed == Operand::b ? piece : other, m).empty()) continue;
                    do consider(m);
                    while (std::next_permutation(m.order.begin(), m.order.end()));
                }
        }
    }
    return best;
}

/// Machines with hardly any buffer, and products for them.
struct Drawn {
    Random random;

    explicit Drawn(uint64_t seed) : random(seed) {}

    int64_t draw(int64_t low, int64_t high) { return accel::draw(random, low, high); }
    SatConfig tiny_machine() {
        return machine_within(random, {.array = {1, 3},
                                       .group = {1, 2},
                                       .interleave = {1, 2},
                                       .input_bytes = {20, 200},
                                       .weight_bytes = {20, 200},
                                       .output_bytes = {40, 400},
                                       .memory = {1, 20}});
    }
    Product matrix() {
        Product product;
        product.layer = "l";
        product.m = draw(1, 20);
        product.n = draw(1, 20);
        product.k = draw(1, 20);
        return product;
    }
    Product convolution() {
        const int64_t kernel = draw(1, 3), size = draw(kernel, 4);
        const ConvGeometry geometry = conv(draw(1, 2), 2 * draw(1, 2), size, draw(1, 4), kernel, 1);
        return training_products("l", geometry)[random.below(3)];
    }
};

/// Holds the search against all that replay accepts; how many products were compared, and how many of them
/// were cut into tiles.
std::pair<int, int> compare_with_all(Drawn& drawn, int trials, const std::function<Product()>& next) {
    int compared = 0, cut = 0;
    for (int trial = 0; trial < trials; ++trial) {
        const SatConfig config = drawn.tiny_machine();
        Product product = next();
        product.b_is_parameter = true;
        if (config.stce.max_group == 2 && product.stage != Stage::WG && drawn.random.below(2) == 0) {
            product.sparse = Operand::b;
            product.pattern = {1, 2};
        }
        int64_t found = 0;
        try {
            const Mapping mapping = find_mappings(config, product).mappings.front();
            const PieceCost cheapest = cost(config, pieces(product, mapping.indexed).front(), mapping);
            found = cheapest.cycles;
            cut += cheapest.tiles > 1 ? 1 : 0;
        } catch (const Error&) {
            continue;
        }
        const int64_t best = best_of_accepted(config, product);
        EXPECT_EQ(found, best) << trial;
        ++compared;
    }
    return {compared, cut};
}

TEST(Schedule, IsTheBestOfAllThatReplayAcceptsOnSmallProducts) {
    Drawn drawn(23);
    const auto [compared, cut] = compare_with_all(drawn, 100, [&] { return drawn.matrix(); });
    EXPECT_GE(compared, 30);
    EXPECT_GE(cut, 10);
}

TEST(Schedule, IsTheBestOfAllThatReplayAcceptsOnSmallConvolutions) {
    Drawn drawn(29);
    const auto [compared, cut] = compare_with_all(drawn, 100, [&] { return drawn.convolution(); });
    EXPECT_GE(compared, 30);
    EXPECT_GE(cut, 10);
}

TEST(Schedule, CutsKernelPositionsWhereBuffersAreSmall) {
    SatConfig config;
    config.input_buffer_bytes = 131072;
    config.weight_buffer_bytes = 32768;
    config.output_buffer_bytes = 262144;
    config.memory_peak_bytes_per_second = 9.6e9;
    ConvGeometry geometry = conv(32, 128, 30, 128, 3, 1);
    geometry.pad_top = geometry.pad_left = 0;
    geometry.out_height = geometry.out_width = 28;
    Product p = training_products("l", geometry)[0];
    p.sparse = Operand::b;
    p.pattern = {2, 8};
    p.b_is_parameter = true;
    // One and a half positions at a time; whole positions, or whole kernel rows, take 45 % longer.
    EXPECT_EQ(find_mappings(config, p).mappings.front().tile_k, 192);
}

TEST(Schedule, FindsUnalignedCutsWhereBuffersAreSmall) {
    SatConfig config;
    config.stce.rows = config.stce.cols = 8;
    config.input_buffer_bytes = config.weight_buffer_bytes = 4096;
    config.output_buffer_bytes = 8192;
    config.memory_peak_bytes_per_second = 2e9;
    Product p;
    p.layer = "a";
    p.m = 300;
    p.n = 200;
    p.k = 500;
    p.sparse = Operand::b;
    p.pattern = {2, 8};
    p.b_is_parameter = true;
    const Piece piece = pieces(p, Operand::b).front();
    Mapping by_hand;
    by_hand.engine.interleave = 4;
    by_hand.tile_m = 16;
    by_hand.tile_n = 50;
    by_hand.tile_k = 64;
    by_hand.pack = Pack::pregenerated;
    ASSERT_EQ(why_illegal(config, piece, by_hand), "");
    EXPECT_LE(cost(config, piece, find_mappings(config, p).mappings.front()).cycles,
              cost(config, piece, by_hand).cycles);
}

TEST(Schedule, UntiledEngineTimeBoundsEveryTiling) {
    Random random(5);
    const auto draw = [&](int64_t low, int64_t high) { return accel::draw(random, low, high); };
    for (int trial = 0; trial < 20000; ++trial) {
        Stce stce;
        stce.rows = static_cast<int>(draw(1, 8));
        stce.cols = static_cast<int>(draw(1, 8));
        stce.adder_latency = static_cast<int>(draw(1, 6));
        stce.packed_sets = static_cast<int>(draw(1, 2));
        stce.accumulator_sets = static_cast<int>(draw(1, 2));
        stce.column_link_values = static_cast<int>(draw(1, 3));
        EngineProduct p{draw(1, 60), draw(1, 60), draw(1, 120), {}};
        if (random.below(2) == 0) p.pattern = {static_cast<int>(draw(1, 3)), 4};
        EngineMapping m;
        m.dataflow = random.below(2) == 0 ? Dataflow::ws : Dataflow::os;
        m.group = static_cast<int>(draw(1, 16));
        m.interleave = static_cast<int>(draw(1, 8));
        if (!legal(stce, p, m)) continue;
        const int64_t tm = draw(1, p.m), tn = draw(1, p.n);
        int64_t tk = m.dataflow == Dataflow::os ? p.k : draw(1, p.k);
        if (!p.dense() && tk != p.k) tk = std::min(p.k, std::max<int64_t>(4, tk / 4 * 4));
        int64_t tiled = 0;
        for (int64_t a = 0; a < p.m; a += tm)
            for (int64_t b = 0; b < p.n; b += tn)
                for (int64_t c = 0; c < p.k; c += tk)
                    tiled += closed_form(stce,
                                         {std::min(tm, p.m - a), std::min(tn, p.n - b), std::min(tk, p.k - c),
                                          p.pattern},
                                         m)
                                 .cycles;
        ASSERT_GE(tiled, closed_form(stce, p, m).cycles) << trial;
    }
}

/// Streaming takes the chunk that is fastest, not the largest that fits.
TEST(Schedule, EveryChunkIsCompared) {
    SatConfig config;
    config.dataflow = "os";
    const Workload w = small_network();
    int streams = 0;
    for (const Product& p : w.products) {
        const ProductSchedule found = find_mappings(config, p);
        for (size_t phase = 0; phase < found.mappings.size(); ++phase) {
            const Mapping& mapping = found.mappings[phase];
            if (!mapping.streaming) continue;
            const Piece piece = pieces(p, mapping.indexed)[phase];
            const int64_t cycles = cost(config, piece, mapping).cycles;
            for (const int64_t groups : {1, 4, 16}) {
                Mapping other = mapping;
                other.tile_k = std::min(piece.engine.k, groups * mapping.engine.group);
                if (why_illegal(config, piece, other).empty()) {
                    EXPECT_LE(cycles, cost(config, piece, other).cycles) << p.layer << " " << groups;
                }
            }
            ++streams;
        }
    }
    EXPECT_GT(streams, 0);
}

/// Slow memory, fast memory, hardly any buffer (everything streams), and output-stationary alone.
class MoreHardware : public ::testing::TestWithParam<int> {};

TEST_P(MoreHardware, IsNeverSlower) {
    Workload w = small_network();
    if (GetParam() % 2 == 1) make_sparse(w, {2, 8});
    const auto cycles = [&](const auto& change) {
        SatConfig config;
        config.stce.rows = config.stce.cols = 8;
        config.input_buffer_bytes = config.weight_buffer_bytes = config.output_buffer_bytes = 64 << 10;
        config.memory_peak_bytes_per_second = GetParam() / 2 % 2 == 0 ? 2e9 : 40e9;
        if (GetParam() / 4 == 1)
            config.input_buffer_bytes = config.weight_buffer_bytes = config.output_buffer_bytes = 1 << 10;
        if (GetParam() / 4 == 2) config.dataflow = "os";
        change(config);
        return simulate(config, w, find_schedule(config, w)).total_cycles;
    };
    const int64_t base = cycles([](SatConfig&) {});
    EXPECT_LE(cycles([](SatConfig& c) { c.input_buffer_bytes *= 16; }), base);
    EXPECT_LE(cycles([](SatConfig& c) { c.weight_buffer_bytes *= 16; }), base);
    EXPECT_LE(cycles([](SatConfig& c) { c.output_buffer_bytes *= 16; }), base);
    EXPECT_LE(cycles([](SatConfig& c) { c.memory_peak_bytes_per_second *= 2; }), base);
    EXPECT_LE(cycles([](SatConfig& c) {
                  c.input_buffer_bytes *= 2, c.weight_buffer_bytes *= 2, c.output_buffer_bytes *= 2;
              }),
              base);
    EXPECT_LE(cycles([](SatConfig& c) { c.wuve.lanes *= 2; }), base);
    // Where buffers are scarce, the second halves may be worth more as room.
    if (GetParam() / 4 != 1) {
        EXPECT_GE(cycles([](SatConfig& c) { c.double_buffering = false; }), base);
    }
    EXPECT_GE(cycles([](SatConfig& c) { c.interleaving = false; }), base);
    if (GetParam() / 4 != 2) {
        EXPECT_GE(cycles([](SatConfig& c) { c.dataflow = "ws"; }), base);
    }
    EXPECT_GE(cycles([](SatConfig& c) { c.dataflow = "os"; }), base);
}
INSTANTIATE_TEST_SUITE_P(Machines, MoreHardware, ::testing::Range(0, 12));

}  // namespace
}  // namespace enmesh::accel::sat
