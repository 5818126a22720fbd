#include "enmesh/products/kernel.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "enmesh/base/buffer.hpp"
#include "enmesh/base/compare.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/products/select.hpp"
#include "products/kernels.hpp"
#include "products/random_problem.hpp"
#include "support/streaming_scope.hpp"

namespace enmesh::products {
namespace {

std::vector<const MicroKernels*> all_micro() {
    std::vector<const MicroKernels*> result = {&micro_portable, &micro_wide};
    if (isa() != Isa::portable) result.push_back(&micro_kernels(Isa::avx2));
    if (isa() == Isa::avx512) result.push_back(&micro_kernels(Isa::avx512));
    return result;
}

std::vector<float> blocked(const std::vector<float>& nchw, int block, int64_t n, int64_t channels,
                           int64_t area) {
    std::vector<float> result(nchw.size());
    for (int64_t i = 0; i < static_cast<int64_t>(nchw.size()); ++i) {
        result[blocked_index(i / (channels * area), i / area % channels, i % area, channels, area, block)] =
            nchw[i];
    }
    (void)n;
    return result;
}

struct Inputs {
    std::vector<float> src, diff_dst, weights, bias;
};

Inputs random_inputs(const Conv& conv, Random& random) {
    return {random_floats(conv.src_size(), random), random_floats(conv.dst_size(), random),
            random_floats(conv.weights_size(), random), random_floats(conv.k, random)};
}

int64_t out_size(const Problem& problem) {
    if (problem.stage == Stage::ff) return problem.conv.dst_size();
    return problem.stage == Stage::bp ? problem.conv.src_size() : problem.conv.weights_size();
}

// Runs a product on NCHW inputs and returns the output in the problem's block, from memory `shift` floats
// behind a cache line.
std::vector<float> run(const Product& product, const Inputs& inputs, const Epilogue& epilogue = {},
                       size_t shift = 0) {
    const Problem& problem = product.problem();
    const Conv& conv = problem.conv;
    const auto src = blocked(inputs.src, problem.block, conv.n, conv.c, conv.h * conv.w);
    const auto diff_dst =
        blocked(inputs.diff_dst, problem.block, conv.n, conv.k, conv.out_h() * conv.out_w());
    Buffer prepared(product.prepared_bytes()), workspace(product.workspace_bytes());
    // Whatever was there before, NaNs included, must not matter.
    for (Buffer* const buffer : {&prepared, &workspace})
        std::ranges::fill(buffer->as<std::byte>(), std::byte{0xff});
    if (problem.stage != Stage::wg) {
        if (problem.sparse() == Operand::weights) {
            product.prepare(pack_weights(conv, problem.stage, problem.pattern(), inputs.weights),
                            prepared.as<std::byte>());
        } else {
            product.prepare(std::span<const float>(inputs.weights), prepared.as<std::byte>());
        }
    }
    Output out(out_size(problem), shift);
    product.run({.src = src.data(),
                 .diff_dst = diff_dst.data(),
                 .prepared = prepared.as<std::byte>(),
                 .out = out.data(),
                 .epilogue = epilogue,
                 .workspace = workspace.as<std::byte>()});
    return out.take();
}

// FF of plain NCHW arrays by its definition, with the sparse operand expanded: what the reference itself is
// held to.
std::vector<float> naive_ff(const Conv& conv, const std::vector<float>& src,
                            const std::vector<float>& weights) {
    std::vector<float> dst(static_cast<size_t>(conv.dst_size()));
    const int64_t c = conv.c / conv.groups, k = conv.k / conv.groups;
    size_t at = 0;
    for (int64_t n = 0; n < conv.n; ++n)
        for (int64_t o = 0; o < conv.k; ++o)
            for (int64_t y = 0; y < conv.out_h(); ++y)
                for (int64_t x = 0; x < conv.out_w(); ++x) {
                    double sum = 0;
                    for (int64_t i = 0; i < c; ++i)
                        for (int64_t r = 0; r < conv.r; ++r)
                            for (int64_t s = 0; s < conv.s; ++s) {
                                const int64_t iy = y * conv.stride_h + r * conv.dilation_h - conv.pad_top;
                                const int64_t ix = x * conv.stride_w + s * conv.dilation_w - conv.pad_left;
                                if (iy < 0 || ix < 0 || iy >= conv.h || ix >= conv.w) continue;
                                sum += static_cast<double>(
                                           src[((n * conv.c + o / k * c + i) * conv.h + iy) * conv.w + ix]) *
                                       weights[((o * c + i) * conv.r + r) * conv.s + s];
                            }
                    dst[at++] = static_cast<float>(sum);
                }
    return dst;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum;
}

TEST(Reference, ForwardIsTheDefinition) {
    Random random(10);
    for (int round = 0; round < 15; ++round) {
        const Conv conv = random_conv(random);
        const Inputs inputs = random_inputs(conv, random);
        const auto product = plan({conv, Stage::ff}, "reference");
        const Comparison same =
            compare(run(*product, inputs), naive_ff(conv, inputs.src, inputs.weights), 1e-6);
        ASSERT_TRUE(same.ok()) << to_string(conv) << ": " << same.describe();
    }
}

// <FF(src, w), g> = <src, BP(g, w)> = <w, WG(src, g)>: gradients of a bilinear form are its adjoints.
TEST(Reference, BackwardIsTheAdjoint) {
    Random random(11);
    for (int round = 0; round < 15; ++round) {
        const Conv conv = random_conv(random);
        const Inputs inputs = random_inputs(conv, random);
        const double forward = dot(run(*plan({conv, Stage::ff}, "reference"), inputs), inputs.diff_dst);
        const double backward = dot(run(*plan({conv, Stage::bp}, "reference"), inputs), inputs.src);
        const double weight = dot(run(*plan({conv, Stage::wg}, "reference"), inputs), inputs.weights);
        const double scale = 1e-5 * std::sqrt(conv.multiply_adds());
        ASSERT_NEAR(forward, backward, scale) << to_string(conv);
        ASSERT_NEAR(forward, weight, scale) << to_string(conv);
    }
}

TEST(Reference, CompactWeightsAreTheMaskedOnes) {
    Random random(12);
    for (int round = 0; round < 15; ++round) {
        const Conv conv = random_conv(random);
        Inputs inputs = random_inputs(conv, random);
        const int m = 2 + static_cast<int>(random.below(7)), n = 1 + static_cast<int>(random.below(m - 1));
        for (const Stage stage : {Stage::ff, Stage::bp}) {
            const int block = best_block(conv.n);
            const auto sparse =
                run(*plan({conv, stage, NmOperand{Operand::weights, {n, m}}, block}, "reference"), inputs);
            Inputs masked = inputs;
            unpack_weights(conv, stage, pack_weights(conv, stage, {n, m}, inputs.weights), masked.weights);
            const auto dense = run(*plan({conv, stage, {}, block}, "reference"), masked);
            const Comparison same = compare(sparse, dense, 1e-6);
            ASSERT_TRUE(same.ok()) << to_string(conv) << ": " << same.describe();
        }
    }
}

struct Threads {
    explicit Threads(int count) : before(threads()) { set_threads(count); }
    ~Threads() { set_threads(before); }
    int before;
};

Problem random_problem(Random& random, Stage stage) {
    Problem problem{random_conv(random), stage};
    if (stage != Stage::wg && random.below(4) != 0) {
        const int m = static_cast<int>(pick(random, {2, 4, 4, 8, 8, 16, 3, 5, 11}));
        problem.sparsity = NmOperand{Operand::weights, {1 + static_cast<int>(random.below(m - 1)), m}};
    }
    std::vector<int64_t> blocks;
    for (const int64_t block : {1, 2, 3, 4, 6, 8, 16, 32}) {
        if (problem.conv.n % block == 0) blocks.push_back(block);
    }
    problem.block = static_cast<int>(blocks[random.below(blocks.size())]);
    return problem;
}

// Every kernel that accepts, at every vector width, on random problems, against the reference.
void check_random(Stage stage, uint64_t seed, int rounds) {
    Random random(seed);
    for (int round = 0; round < rounds; ++round) {
        const Problem problem = random_problem(random, stage);
        const Inputs inputs = random_inputs(problem.conv, random);
        Epilogue epilogue;
        if (stage == Stage::ff && random.below(2) == 0) epilogue.bias = inputs.bias.data();
        if (stage == Stage::ff) epilogue.relu = random.below(2) == 0;
        const auto want = run(*plan(problem, "reference"), inputs, epilogue);
        for (const MicroKernels* micro : all_micro()) {
            for (const KernelEntry& entry : kernel_list(problem)) {
                if (entry.name == "reference" || !entry.decline(problem, *micro).empty()) continue;
                const Threads count(1 + static_cast<int>(random.below(3)));
                const Comparison same =
                    compare(run(*entry.make(problem, *micro), inputs, epilogue), want, 1e-5);
                ASSERT_TRUE(same.ok()) << entry.name << ' ' << micro->name << ' ' << to_string(problem)
                                       << ": " << same.describe();
            }
        }
    }
}

TEST(Kernels, ForwardMatchesTheReference) { check_random(Stage::ff, 20, 40); }
TEST(Kernels, BackwardMatchesTheReference) { check_random(Stage::bp, 21, 40); }
TEST(Kernels, WeightGradientMatchesTheReference) { check_random(Stage::wg, 22, 40); }

// Large outputs are streamed, small ones are not, and an output that does not begin on a cache line cannot
// be: in all cases every kernel writes the same bits and nothing else.
void check_streaming(const Problem& problem, Random& random) {
    const Inputs inputs = random_inputs(problem.conv, random);
    const auto want = run(*plan(problem, "reference"), inputs);
    for (const MicroKernels* micro : all_micro()) {
        for (const KernelEntry& entry : kernel_list(problem)) {
            if (entry.name != "broadcast" || !entry.decline(problem, *micro).empty()) continue;
            const auto planned = [&](Streaming streaming) {
                const testing::StreamingScope scope(streaming);
                return entry.make(problem, *micro);
            };
            const auto kept = run(*planned(Streaming::never), inputs);
            const Comparison same = compare(kept, want, 1e-4);
            ASSERT_TRUE(same.ok()) << entry.name << ' ' << to_string(problem) << ": " << same.describe();
            for (const size_t shift : {0, 1, 8}) {
                const Threads count(1 + static_cast<int>(random.below(3)));
                const auto got = run(*planned(Streaming::always), inputs, {}, shift);
                ASSERT_EQ(0, std::memcmp(kept.data(), got.data(), got.size() * sizeof(float)))
                    << entry.name << ' ' << micro->name << ' ' << to_string(problem) << ", shift " << shift;
            }
        }
    }
}

TEST(Kernels, StreamingStoresGiveTheSameBits) {
    Random random(30);
    for (int round = 0; round < 12; ++round) {
        for (const Stage stage : {Stage::ff, Stage::bp}) {
            Problem problem = random_problem(random, stage);
            problem.block = static_cast<int>(pick(random, {1, 8, 16, 16, 32}));
            problem.conv.n = problem.block * pick(random, {1, 2});
            check_streaming(problem, random);
        }
    }
}

// Every width that accepts, of dense weights or of N:M weights filled in, against the reference.
void check_winograd(const Problem& problem, const Inputs& inputs, Random& random) {
    Epilogue epilogue;
    if (problem.stage == Stage::ff) epilogue = {inputs.bias.data(), random.below(2) == 0};
    const auto want = run(*plan(problem, "reference"), inputs, epilogue);
    for (const MicroKernels* micro : all_micro()) {
        for (const KernelEntry& entry : kernel_list(problem)) {
            if (entry.name != "winograd" || !entry.decline(problem, *micro).empty()) continue;
            const Threads count(1 + static_cast<int>(random.below(5)));
            const Comparison same = compare(run(*entry.make(problem, *micro), inputs, epilogue), want, 1e-4);
            ASSERT_TRUE(same.ok()) << micro->name << ' ' << to_string(problem) << ": " << same.describe();
        }
    }
}

// Winograd needs whole vectors of images and enough channels, which random shapes rarely have.
TEST(Kernels, WinogradMatchesTheReference) {
    Random random(26);
    for (int round = 0; round < 8; ++round) {
        Conv conv{.n = pick(random, {16, 32}),
                  .c = 16 + static_cast<int64_t>(random.below(12)),
                  .h = pick(random, {3, 4, 7, 8, 11}),
                  .w = pick(random, {4, 7, 8, 12}),
                  .k = 16 + static_cast<int64_t>(random.below(20)),
                  .r = 3,
                  .s = 3};
        conv.pad_top = static_cast<int64_t>(random.below(3));
        conv.pad_left = static_cast<int64_t>(random.below(3));
        conv.pad_bottom = pick(random, {conv.pad_top, 0, 3});
        conv.pad_right = pick(random, {conv.pad_left, 1});
        const Inputs inputs = random_inputs(conv, random);
        for (const Stage stage : {Stage::ff, Stage::bp, Stage::wg}) {
            check_winograd({conv, stage, {}, 16}, inputs, random);
            if (stage == Stage::wg) continue;
            check_winograd({conv, stage,
                            NmOperand{Operand::weights, {2, static_cast<int>(pick(random, {4, 8, 7}))}}, 16},
                           inputs, random);
        }
    }
}

// A hundred tiles and more at any width: what is multiplied at once is fewer.
// A 3x3 window on 16 images, padded to keep their size.
Conv padded_3x3(int64_t h, int64_t w, int64_t c, int64_t k) {
    return {.n = 16,
            .c = c,
            .h = h,
            .w = w,
            .k = k,
            .r = 3,
            .s = 3,
            .pad_top = 1,
            .pad_left = 1,
            .pad_bottom = 1,
            .pad_right = 1};
}

TEST(Kernels, WinogradInSeveralChunksMatchesTheReference) {
    Random random(29);
    const Conv conv = padded_3x3(40, 37, 16, 17);
    const Inputs inputs = random_inputs(conv, random);
    for (const Stage stage : {Stage::ff, Stage::bp, Stage::wg})
        check_winograd({conv, stage, {}, 16}, inputs, random);
}

// One kernel on an N:M diff_dst.
std::vector<float> run_packed(const Product& product, const Inputs& inputs, const Packed& packed) {
    const Problem& problem = product.problem();
    const Conv& conv = problem.conv;
    const auto src = blocked(inputs.src, problem.block, conv.n, conv.c, conv.h * conv.w);
    Buffer prepared(product.prepared_bytes()), workspace(product.workspace_bytes());
    if (problem.stage == Stage::bp)
        product.prepare(std::span<const float>(inputs.weights), prepared.as<std::byte>());
    std::vector<float> out(static_cast<size_t>(out_size(problem)), std::numeric_limits<float>::quiet_NaN());
    const PackedView view = packed;
    product.run({.src = src.data(),
                 .packed_diff_dst = &view,
                 .prepared = prepared.as<std::byte>(),
                 .out = out.data(),
                 .workspace = workspace.as<std::byte>()});
    return out;
}

// How many kernels served the problem, all within tolerance of the reference.
int check_packed_gradient(const Problem& problem, Random& random) {
    const Conv& conv = problem.conv;
    const Inputs inputs = random_inputs(conv, random);
    const auto diff_dst =
        blocked(inputs.diff_dst, problem.block, conv.n, conv.k, conv.out_h() * conv.out_w());
    const Packed packed = pack_diff_dst(problem, {Selection::mvue, Random(1, 2)}, diff_dst.data());
    const auto want = run_packed(*plan(problem, "reference"), inputs, packed);
    int served = 0;
    for (const MicroKernels* micro : all_micro()) {
        for (const KernelEntry& entry : kernel_list(problem)) {
            if (entry.name == "reference" || !entry.decline(problem, *micro).empty()) continue;
            const Threads count(1 + static_cast<int>(random.below(3)));
            const Comparison same = compare(run_packed(*entry.make(problem, *micro), inputs, packed), want,
                                            entry.name == "winograd" ? 1e-4 : 1e-5);
            EXPECT_TRUE(same.ok()) << entry.name << ' ' << micro->name << ' ' << to_string(problem) << ": "
                                   << same.describe();
            ++served;
        }
    }
    return served;
}

TEST(Kernels, SparseGradientsMatchTheReference) {
    Random random(27);
    for (const Stage stage : {Stage::wg, Stage::bp}) {
        int served = 0;
        for (int round = 0; round < 25; ++round) {
            Conv conv = random_conv(random);
            conv.n = 16;
            conv.groups = 1;
            conv.c = 1 + static_cast<int64_t>(random.below(40));
            conv.k = 1 + static_cast<int64_t>(random.below(stage == Stage::wg ? 12 : 24));
            conv.dilation_w = 1;
            const int m = static_cast<int>(pick(random, {2, 3, 4, 5, 7, 8, 9, 16}));
            served += check_packed_gradient(
                {conv, stage, NmOperand{Operand::diff_dst, {1 + static_cast<int>(random.below(m - 1)), m}},
                 16},
                random);
        }
        EXPECT_GT(served, 25) << to_string(stage);
        const Conv square = padded_3x3(8, 8, 17, 24);
        EXPECT_GT(check_packed_gradient({square, stage, NmOperand{Operand::diff_dst, {2, 8}}, 16}, random),
                  1);
    }
}

// Row-major matrices go in and out through transposes.
TEST(Kernels, LinearLayersMatchTheReference) {
    Random random(28);
    for (int round = 0; round < 15; ++round) {
        const Conv conv =
            linear(1 + static_cast<int64_t>(random.below(150)), 1 + static_cast<int64_t>(random.below(90)),
                   1 + static_cast<int64_t>(random.below(60)));
        const Inputs inputs = random_inputs(conv, random);
        for (const Stage stage : {Stage::ff, Stage::bp, Stage::wg}) {
            Problem problem{conv, stage};
            if (stage != Stage::wg && random.below(3) != 0)
                problem.sparsity = NmOperand{Operand::weights, {2, 8}};
            Epilogue epilogue;
            if (stage == Stage::ff) epilogue = {inputs.bias.data(), random.below(2) == 0};
            const auto want = run(*plan(problem, "reference"), inputs, epilogue);
            for (const MicroKernels* micro : all_micro()) {
                for (const KernelEntry& entry : kernel_list(problem)) {
                    if (entry.name == "reference" || !entry.decline(problem, *micro).empty()) continue;
                    const Comparison same =
                        compare(run(*entry.make(problem, *micro), inputs, epilogue), want, 1e-5);
                    ASSERT_TRUE(same.ok()) << entry.name << ' ' << micro->name << ' ' << to_string(problem)
                                           << ": " << same.describe();
                }
            }
        }
    }
}

// Rows that are no multiple of M, channels that fill no tile, several tiles and chunks of rows.
TEST(Kernels, SparseGradientsOfLinearLayersMatchTheReference) {
    Random random(31);
    int served = 0;
    for (int round = 0; round < 25; ++round) {
        const Conv conv =
            linear(1 + static_cast<int64_t>(random.below(300)), 1 + static_cast<int64_t>(random.below(150)),
                   1 + static_cast<int64_t>(random.below(70)));
        const int m = static_cast<int>(pick(random, {2, 3, 4, 5, 7, 8, 8, 9, 16}));
        served += check_packed_gradient(
            {conv, Stage::wg, NmOperand{Operand::diff_dst, {1 + static_cast<int>(random.below(m - 1)), m}},
             1},
            random);
    }
    EXPECT_GT(served, 2 * 25);
    // Enough filters for several blocks whose sums stay in cache.
    const Problem wide{linear(50, 130, 1100), Stage::wg, NmOperand{Operand::diff_dst, {2, 8}}, 1};
    EXPECT_EQ(candidates(wide)[1].name, "kept_rows");
    EXPECT_EQ(candidates(wide)[1].declined, "");
    EXPECT_GT(check_packed_gradient(wide, random), 1);
    EXPECT_NE(
        decline_kept_rows({padded_3x3(8, 8, 17, 24), Stage::wg, NmOperand{Operand::diff_dst, {2, 8}}, 1},
                          micro_portable),
        "");
}

TEST(Kernels, BitsOfKeptRowsDoNotDependOnThreads) {
    Random random(33);
    for (const Conv& conv : {linear(301, 70, 40), linear(64, 200, 300), linear(5, 3, 2)}) {
        const Problem problem{conv, Stage::wg, NmOperand{Operand::diff_dst, {2, 8}}, 1};
        const Inputs inputs = random_inputs(conv, random);
        std::vector<float> first;
        for (const int count : {1, 2, 3, 5}) {
            const Threads scope(count);
            const Packed packed =
                pack_diff_dst(problem, {Selection::mvue, Random(1, 2)}, inputs.diff_dst.data());
            const auto out = run_packed(*plan(problem, "kept_rows"), inputs, packed);
            if (first.empty()) first = out;
            ASSERT_EQ(0, std::memcmp(first.data(), out.data(), out.size() * 4)) << to_string(problem);
        }
    }
}

// Winograd and the product of kept gradients have one image in each lane; a block may be narrower than the
// widest vectors.
TEST(Kernels, NarrowBlocksKeepTheirKernels) {
    Random random(30);
    for (const int block : {4, 8, 16}) {
        Conv conv = padded_3x3(8, 8, 17, 24);
        conv.n = block;
        const Inputs inputs = random_inputs(conv, random);
        for (const Stage stage : {Stage::ff, Stage::bp, Stage::wg}) {
            const Problem problem{conv, stage, {}, block};
            const Comparison same = compare(run(*plan(problem, "winograd"), inputs),
                                            run(*plan(problem, "reference"), inputs), 1e-4);
            EXPECT_TRUE(same.ok()) << to_string(problem) << ": " << same.describe();
        }
        const Problem sparse{conv, Stage::wg, NmOperand{Operand::diff_dst, {2, 8}}, block};
        const auto diff_dst = blocked(inputs.diff_dst, block, conv.n, conv.k, conv.out_h() * conv.out_w());
        const Packed packed = pack_diff_dst(sparse, {Selection::mvue, Random(1, 2)}, diff_dst.data());
        const Comparison same = compare(run_packed(*plan(sparse, "kept"), inputs, packed),
                                        run_packed(*plan(sparse, "reference"), inputs, packed), 1e-5);
        EXPECT_TRUE(same.ok()) << to_string(sparse) << ": " << same.describe();
    }
}

// They are the default only where their vectors are not the baseline's.
TEST(Kernels, NarrowBlocksHaveTheirDefaults) {
    Conv conv = padded_3x3(8, 8, 17, 24);
    const auto first = [&](int block, Isa isa) {
        conv.n = block;
        const Candidate best = candidates({conv, Stage::ff, {}, block}, {isa}).front();
        EXPECT_EQ(best.declined, "");
        return best.name;
    };
    EXPECT_EQ(first(4, Isa::portable), "winograd");
#if defined(__x86_64__)
    EXPECT_EQ(first(4, Isa::avx2), "dense");
    EXPECT_EQ(first(8, Isa::avx2), "winograd");
    EXPECT_EQ(first(4, Isa::avx512), "dense");
    EXPECT_EQ(first(8, Isa::avx512), "winograd");
    EXPECT_EQ(first(16, Isa::avx512), "winograd");
#endif
}

// Which instructions serve a block: the widest vectors that it fills.
TEST(Kernels, VectorsAreAsWideAsABlockFills) {
    EXPECT_EQ(micro_kernels_filled_by(4, Isa::portable).lanes, 4);
    EXPECT_EQ(micro_kernels_filled_by(8, Isa::portable).lanes, 4);
    EXPECT_EQ(micro_kernels_filled_by(2, Isa::portable).lanes, 4);
#if defined(__x86_64__)
    EXPECT_EQ(micro_kernels_filled_by(4, Isa::avx2).lanes, 4);
    EXPECT_EQ(micro_kernels_filled_by(12, Isa::avx512).lanes, 4);
    EXPECT_EQ(micro_kernels_filled_by(8, Isa::avx512).lanes, 8);
    EXPECT_EQ(micro_kernels_filled_by(32, Isa::avx512).lanes, 16);
    EXPECT_EQ(micro_kernels_filled_by(2, Isa::avx512).lanes, 16);
#endif
}

TEST(Kernels, WinogradSaysWhyItDeclines) {
    const Conv good = padded_3x3(8, 8, 16, 16);
    EXPECT_EQ(decline_winograd({good, Stage::ff, {}, 16}, micro_portable), "");
    Conv strided = good;
    strided.stride_h = 2;
    EXPECT_EQ(decline_winograd({strided, Stage::ff, {}, 16}, micro_portable), "the stride is not 1");
    EXPECT_NE(decline_winograd({good, Stage::wg, {}, 2}, micro_portable), "");
}

TEST(Kernels, BitsDependNeitherOnThreadsNorOnTheRun) {
    Random random(23);
    for (int round = 0; round < 10; ++round) {
        for (const Stage stage : {Stage::ff, Stage::bp, Stage::wg}) {
            const Problem problem = random_problem(random, stage);
            const Inputs inputs = random_inputs(problem.conv, random);
            std::vector<float> first;
            for (const int count : {1, 2, 3, 1}) {
                const Threads scope(count);
                const auto out = run(*plan(problem), inputs);
                if (first.empty()) first = out;
                ASSERT_EQ(0, std::memcmp(first.data(), out.data(), out.size() * 4)) << to_string(problem);
            }
        }
    }
}

TEST(Kernels, DegenerateShapes) {
    Random random(24);
    for (const Conv& conv :
         {Conv{}, Conv{.r = 3, .s = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1},
          Conv{.n = 8, .c = 1, .h = 5, .w = 5, .k = 1, .r = 5, .s = 5}, linear(1, 17, 5), linear(33, 64, 10),
          Conv{.n = 2, .c = 16, .h = 1, .w = 9, .k = 3, .r = 1, .s = 3, .stride_h = 7, .stride_w = 5},
          Conv{.n = 16, .c = 3, .h = 4, .w = 4, .k = 70, .r = 1, .s = 1, .stride_h = 5, .stride_w = 5}}) {
        const Inputs inputs = random_inputs(conv, random);
        for (const Stage stage : {Stage::ff, Stage::bp}) {
            for (const Pattern pattern : {Pattern{1, 2}, Pattern{2, 8}, Pattern{15, 16}}) {
                const Problem problem{conv, stage, NmOperand{Operand::weights, pattern}, best_block(conv.n)};
                const auto want = run(*plan(problem, "reference"), inputs);
                const Comparison same = compare(run(*plan(problem), inputs), want, 1e-5);
                ASSERT_TRUE(same.ok()) << to_string(problem) << ": " << same.describe();
            }
        }
    }
}

TEST(Plan, RefusesBadRequests) {
    const Conv conv{.n = 6, .c = 4, .h = 4, .w = 4, .k = 4};
    EXPECT_THROW(plan({conv, Stage::ff, {}, 4}), Error);
    EXPECT_THROW(plan({conv, Stage::ff, NmOperand{Operand::weights, {4, 4}}, 2}), Error);
    EXPECT_THROW(plan({conv, Stage::ff, NmOperand{Operand::diff_dst, {2, 4}}, 2}), Error);
    EXPECT_THROW(plan({conv, Stage::ff}, "fastest"), Error);
    EXPECT_THROW(plan({Conv{.h = 2, .r = 3}, Stage::ff}), Error);
}

TEST(Plan, ListsTheReferenceLast) {
    for (const Stage stage : {Stage::ff, Stage::bp, Stage::wg}) {
        const auto list = candidates({Conv{.n = 8, .c = 8, .h = 8, .w = 8, .k = 8}, stage, {}, 8});
        ASSERT_FALSE(list.empty());
        EXPECT_EQ(list.back().name, "reference");
        EXPECT_TRUE(list.back().declined.empty());
    }
}

TEST(Reblock, IsAPermutation) {
    Random random(25);
    const auto nchw = random_floats(16 * 5 * 6, random);
    for (const int from : {1, 2, 8, 16}) {
        for (const int to : {1, 4, 16}) {
            std::vector<float> source = blocked(nchw, from, 16, 5, 6), target(nchw.size());
            reblock(source.data(), from, target.data(), to, 16, 5, 6);
            EXPECT_EQ(target, blocked(nchw, to, 16, 5, 6));
        }
    }
}

}  // namespace
}  // namespace enmesh::products
