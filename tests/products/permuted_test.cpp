#include "products/permuted/permuted.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>

#include "enmesh/base/arithmetic.hpp"
#include "enmesh/base/buffer.hpp"
#include "enmesh/base/compare.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/base/parallel.hpp"
#include "products/random_problem.hpp"
#include "support/streaming_scope.hpp"

namespace enmesh::products {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

// Every loop that this machine can run, whichever it would choose.
std::vector<const PermutedLoops*> all_loops() {
    std::vector<const PermutedLoops*> result = {&permuted_portable};
#if defined(__x86_64__)
    if (isa() == Isa::avx512) result.push_back(&permuted_avx512);
    if (has_avx512_bf16()) result.push_back(&permuted_avx512_bf16);
#endif
    return result;
}

struct Threads {
    explicit Threads(int count) : before(threads()) { set_threads(count); }
    ~Threads() { set_threads(before); }
    int before;
};

float rounded(float value) { return to_float(to_bfloat16(value)); }

// A map of either side of a product, as its kernel lays it out and by its letters.
struct Map {
    Map(const Conv& conv, bool dst)
        : n(conv.n),
          channels(dst ? conv.k : conv.c),
          h(dst ? conv.out_h() : conv.h),
          w(dst ? conv.out_w() : conv.w) {}
    int64_t size() const { return n * channels * h * w; }
    size_t at(int64_t image, int64_t channel, int64_t y, int64_t x) const {
        return static_cast<size_t>(((image * (channels / 16) + channel / 16) * h * w + y * w + x) * 16 +
                                   channel % 16);
    }
    int64_t n, channels, h, w;
};

Map map_read(const Problem& problem) { return {problem.conv, problem.stage == Stage::bp}; }
Map map_written(const Problem& problem) { return {problem.conv, problem.stage == Stage::ff}; }

struct Inputs {
    Inputs(const Problem& problem, Random& random)
        : src(random_floats(map_read(problem).size(), random)),
          weights(random_floats(problem.conv.weights_size(), random)),
          bias(random_floats(problem.conv.k, random)) {
        for (float& value : src) value = rounded(value);
    }
    std::vector<float> src;  // bfloat16 values
    std::vector<float> weights, bias;
};

// Whatever was in its memory before must not matter. The output begins `shift` floats behind a cache line;
// what lies around it must stay as it is.
std::vector<float> run(const Product& product, const Problem& problem, const PackedView& weights,
                       const std::vector<float>& src, const float* bias = nullptr, size_t shift = 0) {
    Buffer prepared(product.prepared_bytes()), workspace(product.workspace_bytes());
    for (Buffer* const buffer : {&prepared, &workspace})
        std::ranges::fill(buffer->as<std::byte>(), std::byte{0xff});
    product.prepare(weights, prepared.as<std::byte>());
    std::vector<uint16_t> bits(src.size());
    std::ranges::transform(src, bits.begin(), [](float value) { return to_bfloat16(value).bits; });
    Output out(map_written(problem).size(), shift);
    product.run({.prepared = prepared.as<std::byte>(),
                 .out = out.data(),
                 .epilogue = {.bias = bias},
                 .workspace = workspace.as<std::byte>(),
                 .src_bf16 = bits.data(),
                 .diff_dst_bf16 = bits.data()});
    return out.take();
}

// By the definition, in double: FF gathers, BP scatters along the same triples. Weights that are not kept do
// not exist.
std::vector<float> definition(const Problem& problem, const PackedView& packed, const std::vector<float>& src,
                              const float* bias = nullptr) {
    const Conv& conv = problem.conv;
    std::vector<float> weights(static_cast<size_t>(conv.weights_size()));
    unpack_weights(conv, problem.stage, packed, weights);
    const Map in = map_read(problem), out = map_written(problem), dst(conv, true);
    const bool ff = problem.stage == Stage::ff;
    std::vector<double> sums(static_cast<size_t>(out.size()));
    const int64_t c = conv.c / conv.groups, k = conv.k / conv.groups;
    for (int64_t at = 0; at < conv.weights_size(); ++at) {
        const float weight = rounded(weights[static_cast<size_t>(at)]);
        if (weight == 0) continue;
        const int64_t s = at % conv.s, r = at / conv.s % conv.r, o = at / conv.taps() / c,
                      i = o / k * c + at / conv.taps() % c;
        for (int64_t n = 0; n < conv.n; ++n) {
            for (int64_t oy = 0; oy < dst.h; ++oy) {
                const int64_t y = oy * conv.stride_h + r * conv.dilation_h - conv.pad_top;
                if (y < 0 || y >= conv.h) continue;
                for (int64_t ox = 0; ox < dst.w; ++ox) {
                    const int64_t x = ox * conv.stride_w + s * conv.dilation_w - conv.pad_left;
                    if (x < 0 || x >= conv.w) continue;
                    const size_t from = ff ? in.at(n, i, y, x) : in.at(n, o, oy, ox);
                    const size_t to = ff ? out.at(n, o, oy, ox) : out.at(n, i, y, x);
                    sums[to] += static_cast<double>(weight) * src[from];
                }
            }
        }
    }
    std::vector<float> result(sums.begin(), sums.end());
    if (bias == nullptr) return result;
    for (int64_t n = 0; n < out.n; ++n)
        for (int64_t o = 0; o < out.channels; ++o)
            for (int64_t y = 0; y < out.h; ++y)
                for (int64_t x = 0; x < out.w; ++x) result[out.at(n, o, y, x)] += bias[o];
    return result;
}

// Every loop against the definition, with one thread and with others.
void check_problem(const Problem& problem, Random& random) {
    ASSERT_EQ(permuted_declines(problem), "") << to_string(problem);
    const Inputs inputs(problem, random);
    const float* const bias =
        problem.stage == Stage::ff && random.below(2) == 0 ? inputs.bias.data() : nullptr;
    const Packed packed = pack_weights(problem.conv, problem.stage, problem.pattern(), inputs.weights);
    const auto want = definition(problem, packed, inputs.src, bias);
    for (const PermutedLoops* loops : all_loops()) {
        std::vector<float> first;
        for (const int count : {1, 2, 3}) {
            const Threads scope(count);
            const auto got = run(*plan_permuted_on(*loops, problem), problem, packed, inputs.src, bias);
            const Comparison same = compare(got, want, 1e-5);
            ASSERT_TRUE(same.ok()) << loops->name << ' ' << to_string(problem) << ": " << same.describe();
            if (first.empty()) first = got;
            ASSERT_EQ(0, std::memcmp(first.data(), got.data(), got.size() * sizeof(float)))
                << loops->name << ' ' << to_string(problem) << " with " << count << " threads";
        }
    }
}

// Large outputs are streamed, small ones are not, and an output that does not begin on a cache line cannot
// be: in all cases every loop writes the same bits and nothing else.
void check_streaming(const Problem& problem, Random& random) {
    const Inputs inputs(problem, random);
    const float* const bias = problem.stage == Stage::ff ? inputs.bias.data() : nullptr;
    const Packed packed = pack_weights(problem.conv, problem.stage, problem.pattern(), inputs.weights);
    const auto planned = [&](const PermutedLoops& loops, Streaming streaming) {
        const testing::StreamingScope scope(streaming);
        return plan_permuted_on(loops, problem);
    };
    for (const PermutedLoops* loops : all_loops()) {
        const auto want = run(*planned(*loops, Streaming::never), problem, packed, inputs.src, bias);
        for (const int count : {1, 3}) {
            const Threads scope(count);
            for (const size_t shift : {0, 1, 8}) {
                const auto got =
                    run(*planned(*loops, Streaming::always), problem, packed, inputs.src, bias, shift);
                ASSERT_EQ(0, std::memcmp(want.data(), got.data(), got.size() * sizeof(float)))
                    << loops->name << ' ' << to_string(problem) << " with " << count << " threads, shift "
                    << shift;
            }
        }
    }
}

Pattern random_pattern(Random& random) {
    const int m = static_cast<int>(pick(random, {2, 4, 4, 8, 8, 8, 16, 16, 3, 5, 7, 11, 13, 15}));
    return {1 + static_cast<int>(random.below(static_cast<uint64_t>(m - 1))), m};
}

// random_conv's awkward images and windows on whole blocks of channels.
Problem random_permuted(Random& random, Stage stage) {
    Conv conv = random_conv(random);
    conv.n = pick(random, {1, 1, 2, 3});
    conv.groups = pick(random, {1, 1, 1, 2, 3});
    conv.c = conv.groups * pick(random, {16, 16, 32, 48});
    conv.k = conv.groups * pick(random, {16, 16, 32, 48});
    return {conv, stage, NmOperand{Operand::weights, random_pattern(random)}};
}

Conv window(int64_t n, int64_t c, int64_t k, int64_t size, int64_t taps, int64_t stride = 1) {
    const int64_t pad = taps / 2;
    return {.n = n,
            .c = c,
            .h = size,
            .w = size,
            .k = k,
            .r = taps,
            .s = taps,
            .stride_h = stride,
            .stride_w = stride,
            .pad_top = pad,
            .pad_left = pad,
            .pad_bottom = pad,
            .pad_right = pad};
}

TEST(Permuted, ForwardMatchesTheDefinition) {
    Random random(40);
    for (int round = 0; round < 25; ++round) check_problem(random_permuted(random, Stage::ff), random);
}

TEST(Permuted, BackwardMatchesTheDefinition) {
    Random random(41);
    for (int round = 0; round < 25; ++round) check_problem(random_permuted(random, Stage::bp), random);
}

// Of 80 channels the last block is half a block; groups of 3, 5, 11 straddle blocks and leave tails.
TEST(Permuted, PatternsMatchTheDefinition) {
    Random random(42);
    for (const Pattern pattern :
         {Pattern{1, 2}, Pattern{1, 4}, Pattern{2, 4}, Pattern{3, 4}, Pattern{1, 8}, Pattern{2, 8},
          Pattern{4, 8}, Pattern{1, 16}, Pattern{2, 16}, Pattern{15, 16}, Pattern{3, 5}, Pattern{1, 3},
          Pattern{4, 11}, Pattern{1, 15}}) {
        for (const Stage stage : {Stage::ff, Stage::bp})
            check_problem({window(1, 80, 80, 3, 1), stage, NmOperand{Operand::weights, pattern}}, random);
    }
}

TEST(Permuted, WindowsMatchTheDefinition) {
    Random random(43);
    for (const int64_t taps : {1, 3, 5, 7}) {
        for (const int64_t stride : {1, 2, 3}) {
            for (const Stage stage : {Stage::ff, Stage::bp})
                check_problem(
                    {window(2, 32, 16, 8, taps, stride), stage, NmOperand{Operand::weights, {2, 8}}}, random);
        }
    }
}

// Every size of a tile, one unit, and one to four vectors in it.
TEST(Permuted, LinearLayersMatchTheDefinition) {
    Random random(44);
    for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 15, 40}) {
        const Conv conv = linear(rows, pick(random, {16, 48, 64}), pick(random, {16, 32, 48, 64}));
        for (const Stage stage : {Stage::ff, Stage::bp})
            check_problem({conv, stage, NmOperand{Operand::weights, random_pattern(random)}}, random);
    }
}

TEST(Permuted, DegenerateShapesMatchTheDefinition) {
    Random random(45);
    const Conv one_pixel = window(1, 16, 16, 1, 3);
    Conv skipping = window(1, 16, 16, 9, 1, 3);  // BP: most residues have no tap
    skipping.stride_w = 12;
    const Conv far{.n = 1, .c = 16, .h = 3, .w = 3, .k = 16, .r = 3, .s = 1, .pad_top = 40, .pad_left = 5};
    for (const Conv& conv : {one_pixel, skipping, far}) {
        for (const Stage stage : {Stage::ff, Stage::bp})
            check_problem({conv, stage, NmOperand{Operand::weights, {2, 4}}}, random);
    }
}

// More tiles than stay in the cache; more images than a tiling spans, and one left over; threads that share
// tiles whole.
TEST(Permuted, ManyTilesMatchTheDefinition) {
    Random random(46);
    for (const Stage stage : {Stage::ff, Stage::bp}) {
        check_problem({window(1, 16, 32, 31, 3), stage, NmOperand{Operand::weights, {1, 8}}}, random);
        check_problem({window(5, 16, 16, 20, 3), stage, NmOperand{Operand::weights, {2, 8}}}, random);
        check_problem({linear(1000, 16, 32), stage, NmOperand{Operand::weights, {2, 4}}}, random);
    }
}

// Whole and short tiles, every number of vectors in a unit, odd widths, residues of a stride.
TEST(Permuted, StreamingStoresGiveTheSameBits) {
    Random random(50);
    for (const Stage stage : {Stage::ff, Stage::bp}) {
        for (const int64_t channels : {16, 32, 48, 64, 80})
            check_streaming({window(1, channels, channels, 7, 3), stage, NmOperand{Operand::weights, {2, 8}}},
                            random);
        check_streaming({window(3, 32, 64, 9, 3, 2), stage, NmOperand{Operand::weights, {2, 4}}}, random);
        check_streaming({window(1, 48, 16, 5, 1, 2), stage, NmOperand{Operand::weights, {1, 8}}}, random);
        for (const int64_t rows : {1, 2, 3, 4, 6, 9})
            check_streaming({linear(rows, 48, 112), stage, NmOperand{Operand::weights, {2, 4}}}, random);
    }
}

// Products of two bfloat16 are exact, and all additions come in one order.
TEST(Permuted, LoopsOnFloatsGiveTheSameBits) {
#if defined(__x86_64__)
    if (isa() != Isa::avx512) GTEST_SKIP() << "needs AVX-512";
    Random random(47);
    for (const Stage stage : {Stage::ff, Stage::bp}) {
        const Problem problem{window(1, 80, 48, 5, 3), stage, NmOperand{Operand::weights, {3, 5}}};
        const Inputs inputs(problem, random);
        const Packed packed = pack_weights(problem.conv, stage, problem.pattern(), inputs.weights);
        EXPECT_EQ(run(*plan_permuted_on(permuted_portable, problem), problem, packed, inputs.src),
                  run(*plan_permuted_on(permuted_avx512, problem), problem, packed, inputs.src));
    }
#endif
}

// A NaN reaches exactly the outputs that keep its channel, also where lanes are filled up.
TEST(Permuted, NanComesOut) {
    Random random(48);
    for (const Stage stage : {Stage::ff, Stage::bp}) {
        for (const Pattern pattern : {Pattern{2, 8}, Pattern{3, 5}, Pattern{1, 16}, Pattern{2, 11}}) {
            const Problem problem{window(1, 48, 48, 4, 3), stage, NmOperand{Operand::weights, pattern}};
            Inputs inputs(problem, random);
            for (const int64_t channel : {0, 17, 32, 47})
                inputs.src[map_read(problem).at(0, channel, channel % 4, channel / 16)] = nan;
            const Packed packed = pack_weights(problem.conv, stage, pattern, inputs.weights);
            const auto want = definition(problem, packed, inputs.src);
            ASSERT_TRUE(std::ranges::any_of(want, [](float value) { return std::isnan(value); }));
            for (const PermutedLoops* loops : all_loops()) {
                const auto got = run(*plan_permuted_on(*loops, problem), problem, packed, inputs.src);
                for (size_t i = 0; i < want.size(); ++i)
                    ASSERT_EQ(std::isnan(got[i]), std::isnan(want[i])) << loops->name << ' ' << i;
            }
        }
    }
}

TEST(Permuted, ZeroWeightsGiveTheBias) {
    Random random(49);
    for (const Stage stage : {Stage::ff, Stage::bp}) {
        const Problem problem{window(2, 48, 32, 3, 3, 2), stage, NmOperand{Operand::weights, {2, 8}}};
        const Inputs inputs(problem, random);
        const Packed packed(weights_shape(problem.conv, stage, problem.pattern()));
        const float* const bias = stage == Stage::ff ? inputs.bias.data() : nullptr;
        for (const PermutedLoops* loops : all_loops()) {
            EXPECT_EQ(run(*plan_permuted_on(*loops, problem), problem, packed, inputs.src, bias),
                      definition(problem, packed, inputs.src, bias))
                << loops->name;
        }
    }
}

// Rows of a unit matrix read the prepared weights back.
TEST(Permuted, WeightsAreRoundedToTheNearestEven) {
    const Problem problem{linear(16, 16, 16), Stage::ff, NmOperand{Operand::weights, {1, 2}}};
    std::vector<float> eye(256);
    for (size_t i = 0; i < 16; ++i) eye[17 * i] = 1;
    Packed packed(weights_shape(problem.conv, Stage::ff, problem.pattern()));
    const float ulp = 0x1p-7F;  // of bfloat16 in [1, 2)
    const std::vector<std::pair<float, float>> cases = {{1 + ulp / 2, 1},
                                                        {1 + ulp * 3 / 2, 1 + 2 * ulp},
                                                        {1 + ulp / 2 + 0x1p-20F, 1 + ulp},
                                                        {-1 - ulp / 2, -1},
                                                        {3.4e38F, std::numeric_limits<float>::infinity()},
                                                        {std::bit_cast<float>(0x7f800001U), nan}};
    for (const PermutedLoops* loops : all_loops()) {
        for (const auto& [value, want] : cases) {
            packed.span().values[0] = value;  // output 0, channel 0: meets row 0 alone
            const auto got = run(*plan_permuted_on(*loops, problem), problem, packed, eye);
            if (std::isnan(want)) {
                EXPECT_TRUE(std::isnan(got[0])) << loops->name;
            } else {
                EXPECT_EQ(got[0], want) << loops->name;
            }
        }
    }
}

// The one difference of the processor's bfloat16 dot products that does not hang on rounding.
TEST(Permuted, DenormalsAreZerosToBfloat16DotProducts) {
    const Problem problem{linear(1, 16, 16), Stage::ff, NmOperand{Operand::weights, {1, 2}}};
    Packed packed(weights_shape(problem.conv, Stage::ff, problem.pattern()));
    packed.span().values[0] = 0x1p-130F;
    const std::vector<float> src(16, 0x1p100F);
    for (const PermutedLoops* loops : all_loops()) {
        const bool flushes = std::string_view(loops->name) == "avx512_bf16";
        EXPECT_EQ(run(*plan_permuted_on(*loops, problem), problem, packed, src)[0], flushes ? 0.0F : 0x1p-30F)
            << loops->name;
    }
    if (!has_avx512_bf16()) GTEST_SKIP() << "no processor with them here";
}

TEST(Permuted, DeclinesWhatItCannotServe) {
    const Conv conv = window(1, 32, 32, 4, 3);
    EXPECT_EQ(permuted_declines({conv, Stage::ff, NmOperand{Operand::weights, {2, 4}}}), "");
    EXPECT_NE(permuted_declines({conv, Stage::wg, NmOperand{Operand::diff_dst, {2, 4}}}), "");
    EXPECT_NE(permuted_declines({conv, Stage::ff, {}}), "");
    EXPECT_NE(permuted_declines({conv, Stage::bp, NmOperand{Operand::diff_dst, {2, 4}}}), "");
    for (const auto& [c, k, groups] : {std::tuple{24, 32, 1}, {32, 40, 1}, {32, 64, 4}, {64, 32, 4}}) {
        Conv odd = conv;
        odd.c = c, odd.k = k, odd.groups = groups;
        const Problem problem{odd, Stage::ff, NmOperand{Operand::weights, {2, 4}}};
        EXPECT_NE(permuted_declines(problem), "") << to_string(problem);
        EXPECT_THROW(plan_permuted(problem), Error);
    }
    EXPECT_THROW(plan_permuted({conv, Stage::ff, NmOperand{Operand::weights, {4, 4}}}), Error);
}

TEST(Permuted, NamesWhatItRunsOn) {
    const Problem problem{linear(4, 16, 16), Stage::ff, NmOperand{Operand::weights, {2, 4}}};
    EXPECT_EQ(plan_permuted(problem, {.isa = Isa::portable})->kernel(), "permuted bf16 portable");
    EXPECT_EQ(plan_permuted(problem, {.isa = Isa::avx2})->kernel(), "permuted bf16 portable");
    EXPECT_EQ(plan_permuted(problem)->kernel(), std::string("permuted bf16 ") + all_loops().back()->name);
}

TEST(Permuted, RefusesMemoryThatIsTooSmall) {
    const Problem problem{linear(4, 16, 16), Stage::ff, NmOperand{Operand::weights, {2, 4}}};
    const auto product = plan_permuted(problem);
    Buffer prepared(product->prepared_bytes());
    const Packed packed(weights_shape(problem.conv, Stage::ff, {2, 4}));
    const Packed other(weights_shape(problem.conv, Stage::ff, {1, 4}));
    EXPECT_THROW(product->prepare(packed, prepared.as<std::byte>().first(prepared.bytes() - 1)), Error);
    EXPECT_THROW(product->prepare(other, prepared.as<std::byte>()), Error);
}

}  // namespace
}  // namespace enmesh::products
