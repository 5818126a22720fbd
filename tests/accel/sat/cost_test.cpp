#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>

#include "accel/draw.hpp"
#include "enmesh/accel/sat/schedule.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh::accel::sat {
namespace {

/// The loop nest walked tile by tile, remembering what the buffers hold: obviously right, and slow.
struct Naive {
    int64_t engine = 0, bandwidth = 0, packing = 0;
    double read = 0, write = 0, packed = 0;
};

/// Groups that a row of `depth` elements is packed into, element by element: M to a group, those of a ragged
/// tail N to a group.
int64_t row_groups(Pattern pattern, int64_t depth) {
    int64_t groups = 0;
    for (int64_t k = 0; k < depth; ++groups) k += k + pattern.m <= depth ? pattern.m : pattern.n;
    return groups;
}

/// Groups of rows x depth; a convolution's operand, stored without duplicates, at the rate of its rows.
int64_t groups(const Piece& p, Span rows, Span depth) {
    const double rate = static_cast<double>(p.indexed.values(rows, depth)) *
                        static_cast<double>(row_groups(p.engine.pattern, depth.size));
    return static_cast<int64_t>(std::ceil(rate / static_cast<double>(depth.size)));
}

double packed_bytes(const Piece& p, Span rows, Span depth) {
    const Pattern pattern = p.engine.pattern;
    if (pattern.m == 0) return 2.0 * static_cast<double>(p.indexed.values(rows, depth));
    return static_cast<double>(groups(p, rows, depth)) * pattern.n * (2 + pattern.index_bits() / 8.0);
}

/// SORE reads M values a selector and cycle, whatever lines they belong to.
int64_t pack_cycles(const SatConfig& config, const Piece& piece, double values) {
    if (values == 0) return 0;
    return sore_cycles(config.sore, static_cast<int64_t>(std::ceil(values / piece.engine.pattern.m)));
}

Naive walk(const SatConfig& config, const Piece& piece, const Mapping& mapping) {
    const std::array<int64_t, 3> size = {piece.engine.m, piece.engine.n, piece.engine.k};
    const std::array<int64_t, 3> tile = {mapping.tile_m, mapping.tile_n, mapping.tile_k};
    std::array<int64_t, 3> count{};
    for (size_t i = 0; i < 3; ++i) count[i] = (size[i] + tile[i] - 1) / tile[i];
    struct Step {
        std::array<int64_t, 3> at{};
        std::array<int64_t, 3> extent{};
        double load = 0, store = 0, packed = 0;

        Span span(size_t axis, const std::array<int64_t, 3>& tiles) const {
            return {extent[axis], extent[axis] < tiles[axis]};
        }
    };
    std::vector<Step> steps;
    std::array<int64_t, 3> trip{};
    const auto axis = [&](size_t p) { return static_cast<size_t>(mapping.order[p]); };
    for (trip[0] = 0; trip[0] < count[axis(0)]; ++trip[0])
        for (trip[1] = 0; trip[1] < count[axis(1)]; ++trip[1])
            for (trip[2] = 0; trip[2] < count[axis(2)]; ++trip[2]) {
                Step step;
                for (size_t p = 0; p < 3; ++p) step.at[axis(p)] = trip[p];
                for (size_t i = 0; i < 3; ++i)
                    step.extent[i] = std::min(tile[i], size[i] - step.at[i] * tile[i]);
                steps.push_back(step);
            }
    // Partial sums leave the chip if, for any (m, n), the walk comes back to it after another one.
    bool spilled = false;
    std::vector<std::array<int64_t, 2>> left;
    for (size_t s = 0; s < steps.size(); ++s) {
        const std::array<int64_t, 2> now = {steps[s].at[0], steps[s].at[1]};
        if (std::find(left.begin(), left.end(), now) != left.end()) spilled = true;
        if (s + 1 < steps.size() && std::array<int64_t, 2>{steps[s + 1].at[0], steps[s + 1].at[1]} != now)
            left.push_back(now);
    }
    std::array<int64_t, 2> streamed = {-1, -1}, indexed = {-1, -1};
    Naive sum;
    for (Step& s : steps) {
        const std::array<int64_t, 2> mk = {s.at[0], s.at[2]}, nk = {s.at[1], s.at[2]};
        if (mk != streamed)
            s.load += 2.0 * static_cast<double>(piece.streamed.values(s.span(0, tile), s.span(2, tile)));
        if (nk != indexed) {
            const double values = static_cast<double>(piece.indexed.values(s.span(1, tile), s.span(2, tile)));
            const bool on_load = mapping.pack == Pack::on_load;
            s.load += on_load ? 2 * values : packed_bytes(piece, s.span(1, tile), s.span(2, tile));
            if (on_load) s.packed = values;
        }
        streamed = mk;
        indexed = nk;
        const double outputs = static_cast<double>(s.extent[0] * s.extent[1]);
        if (spilled && s.at[2] > 0) s.load += 4 * outputs;
        const bool last_k = s.at[2] == count[2] - 1;
        s.store = last_k ? piece.bytes_per_output * outputs : spilled ? 4 * outputs : 0;
        sum.read += s.load;
        sum.write += s.store;
        sum.packed += s.packed;
    }
    const auto dram = [&](double bytes) {
        return static_cast<int64_t>(std::ceil(bytes / config.bytes_per_cycle()));
    };
    for (size_t i = 0; i < steps.size(); ++i) {
        const Step& s = steps[i];
        const int64_t engine =
            closed_form(config.stce, {s.extent[0], s.extent[1], s.extent[2], piece.engine.pattern},
                        mapping.engine)
                .cycles;
        const bool first = i == 0, last = i + 1 == steps.size();
        if (first) {
            sum.bandwidth += dram(s.load);
            sum.packing += std::max<int64_t>(0, pack_cycles(config, piece, s.packed) - dram(s.load));
        }
        const int64_t transfer = dram((first ? 0 : s.load) + (last ? 0 : s.store));
        const int64_t reduce = first ? 0 : pack_cycles(config, piece, s.packed);
        sum.engine += engine;
        if (config.double_buffering) {
            sum.bandwidth += std::max<int64_t>(0, transfer - engine);
            sum.packing += std::max<int64_t>(0, reduce - std::max(engine, transfer));
        } else {
            const int64_t in = dram(first ? 0 : s.load);
            sum.bandwidth += in + dram(last ? 0 : s.store);
            sum.packing += std::max<int64_t>(0, reduce - in);
        }
        if (last) sum.bandwidth += dram(s.store);
    }
    return sum;
}

Product random_product(Random& random) {
    Product p;
    p.layer = "l";
    if (random.below(2) == 0) {
        p.m = draw(random, 1, 40);
        p.n = draw(random, 1, 40);
        p.k = draw(random, 1, 80);
    } else {
        ConvGeometry c;
        c.images = draw(random, 1, 3);
        c.in_channels = 4 * draw(random, 1, 4);
        c.in_height = c.in_width = draw(random, 4, 9);
        c.out_channels = 4 * draw(random, 1, 4);
        c.kernel_height = c.kernel_width = draw(random, 1, 3);
        c.stride_height = c.stride_width = draw(random, 1, 2);
        c.pad_top = c.pad_left = draw(random, 0, 1);
        c.out_height = c.out_width = (c.in_height + 2 * c.pad_top - c.kernel_height) / c.stride_height + 1;
        p = training_products("l", c)[random.below(3)];
    }
    p.batch = draw(random, 1, 2);
    p.b_is_parameter = random.below(2) == 0;
    if (random.below(2) == 0) {
        p.sparse = random.below(2) == 0 ? Operand::a : Operand::b;
        p.pattern = {1 + static_cast<int>(random.below(2)), 4};
    }
    return p;
}

SatConfig small_machine(Random& random) {
    SatConfig config;
    config.stce.rows = static_cast<int>(draw(random, 1, 6));
    config.stce.cols = static_cast<int>(draw(random, 1, 6));
    config.stce.adder_latency = static_cast<int>(draw(random, 1, 5));
    config.stce.max_group = 8;
    config.stce.max_interleave = 4;
    config.input_buffer_bytes = draw(random, 200, 4000);
    config.weight_buffer_bytes = draw(random, 200, 4000);
    config.output_buffer_bytes = draw(random, 400, 4000);
    config.memory_peak_bytes_per_second = 1e8 * static_cast<double>(draw(random, 1, 40));
    config.double_buffering = random.below(3) != 0;
    config.pregeneration = random.below(2) == 0;
    return config;
}

Mapping random_mapping(Random& random, const SatConfig& config, const Product& product, size_t phase) {
    Mapping mapping;
    mapping.indexed = product.is_sparse() ? product.sparse : random.below(2) == 0 ? Operand::a : Operand::b;
    const Piece piece = pieces(product, mapping.indexed)[phase];
    mapping.engine.dataflow = random.below(2) == 0 ? Dataflow::ws : Dataflow::os;
    mapping.engine.group = static_cast<int>(draw(random, 1, config.stce.max_group));
    mapping.engine.interleave = static_cast<int>(draw(random, 1, config.stce.max_interleave));
    mapping.tile_m = draw(random, 1, piece.engine.m);
    mapping.tile_n = draw(random, 1, piece.engine.n);
    mapping.tile_k =
        mapping.engine.dataflow == Dataflow::os ? piece.engine.k : draw(random, 1, piece.engine.k);
    if (product.is_sparse()) {
        mapping.pack = static_cast<Pack>(draw(random, 1, 3));
        if (mapping.tile_k != piece.engine.k) mapping.tile_k = std::max<int64_t>(4, mapping.tile_k / 4 * 4);
        mapping.tile_k = std::min(mapping.tile_k, piece.engine.k);
    }
    std::array<Loop, 3> order = {Loop::m, Loop::n, Loop::k};
    for (size_t i = 2; i > 0; --i) std::swap(order[i], order[random.below(i + 1)]);
    mapping.order = order;
    return mapping;
}

TEST(Cost, EqualsTheWalkTileByTile) {
    Random random(11);
    int compared = 0;
    for (int trial = 0; trial < 6000; ++trial) {
        const Product product = random_product(random);
        const SatConfig config = small_machine(random);
        const size_t phase = random.below(phases(product).size());
        const Mapping mapping = random_mapping(random, config, product, phase);
        Piece piece = pieces(product, mapping.indexed)[phase];
        if (!why_illegal(config, piece, mapping).empty()) continue;
        piece.repeat = 1;
        piece.values_to_pack = piece.groups_to_pack = 0;
        const PieceCost fast = cost(config, piece, mapping);
        const Naive slow = walk(config, piece, mapping);
        ASSERT_EQ(fast.engine_cycles, slow.engine) << trial;
        ASSERT_EQ(fast.bandwidth_cycles, slow.bandwidth) << trial;
        ASSERT_EQ(fast.packing_cycles, slow.packing) << trial;
        ASSERT_EQ(fast.cycles, slow.engine + slow.bandwidth + slow.packing);
        ASSERT_TRUE(std::abs(fast.activity.dram_read_bytes - slow.read) <= 1e-9 * slow.read) << trial;
        ASSERT_TRUE(std::abs(fast.activity.dram_write_bytes - slow.write) <= 1e-9 * slow.write) << trial;
        ASSERT_TRUE(std::abs(fast.activity.packed_values - slow.packed) <= 1e-9 * slow.packed + 1e-9)
            << trial;
        const EngineCycles& e = fast.engine;
        ASSERT_EQ(e.useful + e.tail + e.adder + e.link + e.fill_drain + e.load,
                  fast.engine_cycles * config.elements());
        ++compared;
    }
    EXPECT_GT(compared, 400);
}

/// One N:M product whose every operand crosses DRAM once.
PieceCost packed_once(Pattern pattern, int64_t n, int64_t k, Pack pack, const SatConfig& config = {}) {
    Product p;
    p.layer = "l";
    p.m = 8;
    p.n = n;
    p.k = k;
    p.sparse = Operand::b;
    p.pattern = pattern;
    Mapping mapping;
    mapping.engine.interleave = 1;
    mapping.tile_m = p.m;
    mapping.tile_n = p.n;
    mapping.tile_k = p.k;
    mapping.pack = pack;
    return cost(config, pieces(p, Operand::b).front(), mapping);
}

TEST(Cost, RaggedTailsAreMovedAndPackedWhole) {
    struct Case {
        Pattern pattern;
        int64_t k, entries;
    };
    for (const Case& c : {Case{{2, 8}, 9, 4}, Case{{2, 8}, 27, 10}, Case{{1, 16}, 15, 15},
                          Case{{2, 8}, 16, 4}, Case{{1, 4}, 3, 3}}) {
        const double streamed = 2.0 * 8 * static_cast<double>(c.k), outputs = 2.0 * 8 * 5,
                     dense = 2.0 * 5 * static_cast<double>(c.k),
                     packed = 5 * static_cast<double>(c.entries) * (2 + c.pattern.index_bits() / 8.0);
        const PieceCost ready = packed_once(c.pattern, 5, c.k, Pack::pregenerated);
        EXPECT_EQ(ready.activity.dram_read_bytes, streamed + packed) << c.k;
        EXPECT_EQ(ready.activity.dram_write_bytes, outputs) << c.k;
        const PieceCost ahead = packed_once(c.pattern, 5, c.k, Pack::ahead);
        EXPECT_EQ(ahead.activity.dram_read_bytes, streamed + packed + dense) << c.k;
        EXPECT_EQ(ahead.activity.dram_write_bytes, outputs + packed) << c.k;
        EXPECT_EQ(packed_once(c.pattern, 5, c.k, Pack::on_load).activity.dram_read_bytes, streamed + dense);
    }
}

TEST(Cost, PackingTakesTheMachinesCycles) {
    SatConfig config;
    config.sore.groups_per_cycle = 1;
    config.memory_peak_bytes_per_second = 1e15;
    for (const Pattern pattern : {Pattern{2, 8}, Pattern{1, 16}, Pattern{1, 4}, Pattern{3, 5}})
        for (int64_t k = 1; k <= 40; ++k) {
            const std::vector<float> ranks(static_cast<size_t>(5 * k), 1.0F);
            const std::vector<Half> values(ranks.size(), to_half(1));
            EXPECT_EQ(packed_once(pattern, 5, k, Pack::ahead, config).packing_cycles,
                      run_sore_lines(config.sore, pattern, k, ranks, values).cycles)
                << to_string(pattern) << " k " << k;
        }
}

TEST(Cost, ATileFitsWithItsRaggedTail) {
    SatConfig config;
    config.double_buffering = false;
    Product p;
    p.layer = "l";
    p.m = p.n = 4;
    p.k = 31;
    p.sparse = Operand::b;
    p.pattern = {1, 16};
    const Piece piece = pieces(p, Operand::b).front();
    Mapping mapping;
    mapping.tile_m = mapping.tile_n = 4;
    mapping.tile_k = 16;
    mapping.pack = Pack::pregenerated;
    // The first tile of k holds one entry a row, the last one fifteen, of 2.5 bytes.
    EXPECT_EQ(buffer_needs(config, piece, mapping).weight, 150);
    mapping.tile_k = 31;
    EXPECT_EQ(buffer_needs(config, piece, mapping).weight, 160);
}

TEST(Cost, ConvolutionTilesLoadNoDuplicates) {
    ConvGeometry c;
    c.images = 2;
    c.in_channels = 8;
    c.in_height = c.in_width = 10;
    c.out_channels = 16;
    c.kernel_height = c.kernel_width = 3;
    c.out_height = c.out_width = 8;
    const Product ff = training_products("c", c)[0];
    const Piece piece = pieces(ff, Operand::b).front();
    EXPECT_EQ(piece.streamed.values(ff.m, ff.k), 2 * 10 * 10 * 8);  // whole feature maps
    EXPECT_EQ(piece.streamed.values(8, ff.k), 3 * 10 * 8);          // one output row needs three input rows
    EXPECT_EQ(piece.streamed.values(8, 3 * 8), 10 * 8);             // with one kernel row only one
    EXPECT_EQ(piece.streamed.values(1, ff.k), 9 * 8);               // one pixel: its window
    EXPECT_EQ(piece.indexed.values(16, ff.k), 16 * ff.k);
    const Product wg = training_products("c", c)[2];
    EXPECT_EQ(pieces(wg, Operand::a).front().streamed.values(wg.n, wg.k), 2 * 10 * 10 * 8);
}

/// Rows of out-grads that the first `rows` input rows of a residue read, in a convolution one pixel wide.
int64_t rows_read(const ConvGeometry& c, int64_t residue, int64_t rows) {
    std::set<int64_t> seen;
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t tap = 0; tap < c.kernel_height; ++tap) {
            const int64_t at = residue + i * c.stride_height + c.pad_top - tap * c.dilation_height;
            if (at % c.stride_height == 0) seen.insert(at / c.stride_height);
        }
    return static_cast<int64_t>(seen.size());
}

TEST(Cost, PhasesOfStridedAndDilatedConvolutionsReadWhatTheirTapsReach) {
    for (int64_t stride = 1; stride <= 4; ++stride)
        for (int64_t dilation = 1; dilation <= 4; ++dilation)
            for (int64_t kernel = 1; kernel <= 5; ++kernel) {
                ConvGeometry c;
                c.images = 1;
                c.in_channels = 2;
                c.out_channels = 3;
                c.kernel_height = kernel;
                c.stride_height = stride;
                c.dilation_height = dilation;
                c.pad_top = 1;
                c.in_height = 60;
                c.out_height = (c.in_height + 2 - dilation * (kernel - 1) - 1) / stride + 1;
                const Product bp = training_products("c", c)[1];
                const std::vector<Piece> parts = pieces(bp, Operand::b);
                std::set<std::array<int64_t, 2>> known, read;
                for (const Piece& piece : parts)
                    known.insert({piece.engine.k, piece.streamed.values(5, piece.engine.k)});
                for (int64_t residue = 0; residue < stride; ++residue) {
                    int64_t taps = 0;
                    for (int64_t tap = 0; tap < kernel; ++tap)
                        taps += (residue + c.pad_top - tap * dilation) % stride == 0 ? 1 : 0;
                    if (taps > 0) read.insert({taps * 3, rows_read(c, residue, 5) * 3});
                }
                EXPECT_EQ(known, read) << stride << ' ' << dilation << ' ' << kernel;
            }
}

TEST(Cost, WhyIllegalNamesBufferAndAmount) {
    SatConfig config;
    Product p;
    p.layer = "l";
    p.m = p.n = p.k = 1024;
    const Piece piece = pieces(p, Operand::b).front();
    Mapping mapping;
    mapping.tile_m = mapping.tile_n = mapping.tile_k = 1024;
    config.weight_buffer_bytes = 1 << 20;
    EXPECT_EQ(why_illegal(config, piece, mapping),
              "its tile needs 4194304 bytes of weight buffer, which has 1048576 (3145728 missing)");
    config.interleaving = false;
    EXPECT_EQ(why_illegal(config, piece, mapping), "it interleaves, and features.interleaving is off");
    mapping.engine.interleave = 1;
    config.dataflow = "os";
    EXPECT_EQ(why_illegal(config, piece, mapping), "it is ws, and features.dataflow is os");
}

}  // namespace
}  // namespace enmesh::accel::sat
