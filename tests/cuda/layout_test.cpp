#include "layout.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <limits>
#include <set>
#include <vector>

#include "comparison.hpp"
#include "enmesh/accel/stc/mma_sp.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/sparsity/codec.hpp"
#include "enmesh/sparsity/selection.hpp"
#include "pack_on_cpu.hpp"

namespace enmesh::cuda {
namespace {

/// Random numbers with ties, zeros of both signs and values that round to zero in FP16.
std::vector<float> masters(int64_t count, uint64_t seed) {
    Random random(seed);
    std::vector<float> numbers(static_cast<size_t>(count));
    for (float& number : numbers) {
        switch (random.below(6)) {
            case 0:
                number = static_cast<float>(static_cast<int>(random.below(5)) - 2);
                break;
            case 1:
                number = random.below(2) == 0 ? 0.0F : -0.0F;
                break;
            case 2:
                number = random.normal() * 1e-9F;
                break;
            default:
                number = random.normal();
        }
    }
    return numbers;
}

TEST(StcLayout, NibblesAreTheCodecs) {
    for (unsigned mask = 0; mask < 16; ++mask) EXPECT_EQ(nibble_of(mask), quad_nibble(mask)) << mask;
    EXPECT_EQ(padding_metadata & 15U, quad_nibble(0));
}

TEST(StcLayout, SelectionIsEnmeshs) {
    Random random(3);
    for (int round = 0; round < 20000; ++round) {
        double group[4];
        uint32_t bits[4];
        for (int i = 0; i < 4; ++i) {
            const float number =
                round % 2 == 0 ? random.normal() : static_cast<float>(static_cast<int>(random.below(5)) - 2);
            group[i] = static_cast<double>(number);
            bits[i] = bits_of(number);
        }
        uint8_t kept[2];
        select_magnitude(group, kept);
        EXPECT_EQ(two_largest(bits[0], bits[1], bits[2], bits[3]), 1U << kept[0] | 1U << kept[1]);
    }
    const uint32_t nan = bits_of(std::numeric_limits<float>::quiet_NaN()),
                   infinity = bits_of(std::numeric_limits<float>::infinity());
    EXPECT_EQ(two_largest(infinity, nan, infinity, bits_of(1)), 0b0011U);
    EXPECT_EQ(two_largest(0, 0, 0, 0), 0b0011U);
}

struct OfType {
    const char* dtype;
    Rounding round;
};
constexpr OfType types[] = {{"F16", to_f16}, {"BF16", to_bf16}};

/// The operand pruned by enmesh's own selection and rounded, as the codec takes it.
NamedTensor pruned(const OfType& type, const std::vector<float>& master, int64_t rows, int64_t depth) {
    NamedTensor tensor{TensorHeader{"w", type.dtype, Shape{rows, depth}}, {}};
    tensor.data = Buffer(tensor.bytes());
    const auto bits = tensor.data.as<uint16_t>();
    for (size_t quad = 0; quad < master.size() / 4; ++quad) {
        double group[4];
        for (size_t i = 0; i < 4; ++i) group[i] = static_cast<double>(master[quad * 4 + i]);
        uint8_t kept[2];
        select_magnitude(group, kept);
        for (size_t i = 0; i < 4; ++i) bits[quad * 4 + i] = 0;
        for (const uint8_t place : kept) bits[quad * 4 + place] = type.round(master[quad * 4 + place]);
    }
    return tensor;
}

TEST(StcLayout, PackedOperandsAreTheCodecsBitByBit) {
    for (const OfType& type : types) {
        for (const auto& [rows, depth] :
             {std::pair<int64_t, int64_t>{16, 16}, {80, 144}, {128, 64}, {208, 320}}) {
            const std::vector<float> master = masters(rows * depth, 5);
            const NamedTensor tensor = pruned(type, master, rows, depth);
            const PackedWeights packed =
                pack_weights(tensor, tensor.data.as<std::byte>(), PackedLayout::nv24, {2, 4});
            const PackedOnCpu ours = pack_forward({rows, 1, depth}, type.round, master);
            const auto values = packed.value_data.as<uint16_t>();
            const auto words = packed.index_data.as<uint16_t>();
            ASSERT_EQ(static_cast<int64_t>(values.size()), rows * depth / 2);
            ASSERT_EQ(static_cast<int64_t>(words.size()), rows * depth / 16);
            int64_t compared = 0;
            for (int64_t row = 0; row < ours.size.rows; ++row) {
                for (int64_t quad = 0; quad < ours.size.depth / 4; ++quad) {
                    const bool inside = row < rows && quad < depth / 4;
                    const uint32_t nibble =
                        ours.metadata[static_cast<size_t>(metadata_word(row, quad, ours.size.depth))] >>
                            metadata_shift(row, quad) &
                        15U;
                    const uint32_t expected =
                        inside ? words[static_cast<size_t>((row * depth + quad * 4) / 16)] >> (quad % 4 * 4) &
                                     15U
                               : quad_nibble(0);
                    ASSERT_EQ(nibble, expected) << row << ", quad " << quad;
                    for (int i = 0; i < 2; ++i) {
                        const uint16_t value =
                            ours.values[static_cast<size_t>(value_index(row, quad, ours.size.depth) + i)];
                        ASSERT_EQ(value,
                                  inside ? values[static_cast<size_t>(row * depth / 2 + quad * 2 + i)] : 0);
                        ++compared;
                    }
                }
            }
            EXPECT_EQ(compared, ours.size.values());
            const std::vector<uint16_t> dense = expand_on_cpu(ours, rows, depth);
            EXPECT_EQ(std::memcmp(dense.data(), tensor.data.as<uint16_t>().data(), dense.size() * 2), 0);
        }
    }
}

TEST(StcLayout, MetadataWordsAreThoseThatCutlassLoads) {
    // CUTLASS gives the four lanes of a group one 32-bit word each: lanes 0 and 1 (selector 0) those of the
    // first 16 of 32 rows, lanes 2 and 3 (selector 1) those of the other 16. Our kernel always uses selector
    // 0, so that each 16 rows have their words together.
    const int64_t rows = 128, depth = 192;
    const std::vector<float> master = masters(rows * depth, 6);
    const NamedTensor tensor = pruned(types[0], master, rows, depth);
    const PackedWeights packed =
        pack_weights(tensor, tensor.data.as<std::byte>(), PackedLayout::cutlass24, {2, 4});
    const PackedOnCpu ours = pack_forward({rows, 1, depth}, to_f16, master);
    ASSERT_EQ(packed.index_data.bytes(), ours.metadata.size() * 4);
    std::vector<uint32_t> cutlass(ours.metadata.size());
    std::memcpy(cutlass.data(), packed.index_data.as<std::byte>().data(), cutlass.size() * 4);
    for (int64_t first = 0; first < rows; first += 32) {
        for (int64_t block = 0; block < depth / 32; ++block) {
            for (int lane = 0; lane < 32; ++lane) {
                const int64_t tile = first / 16 + lane % 4 / 2;
                const int64_t word = (tile * (depth / 32) + block) * 16 + lane / 4 * 2 + lane % 2;
                EXPECT_EQ(ours.metadata[static_cast<size_t>(word)],
                          cutlass[static_cast<size_t>(block * rows + first + lane)]);
            }
        }
    }
}

TEST(StcLayout, SelectionThreadsPackEveryWordOnceInBothDirections) {
    for (const OfType& type : types) {
        for (const Layer& layer :
             {Layer{16, 1, 16}, Layer{64, 9, 64}, Layer{80, 9, 48}, Layer{208, 1, 144}}) {
            const std::vector<float> master = masters(layer.outputs * layer.positions * layer.inputs, 7);
            PackedOnCpu forward = pack_forward(layer, type.round, std::vector<float>(master.size(), 0));
            PackedOnCpu backward = pack_backward(layer, type.round, std::vector<float>(master.size(), 0));
            std::set<std::pair<bool, int64_t>> written;
            for (int64_t output = 0; output < layer.outputs; output += select_tile) {
                for (int64_t input = 0; input < layer.inputs; input += select_tile) {
                    for (int64_t position = 0; position < layer.positions; ++position) {
                        for (int thread = 0; thread < select_threads; ++thread) {
                            const SelectWork work = select_work(layer, output, position, input, thread);
                            if (!work.inside) continue;
                            const auto at = [&](int r, int i) {
                                const int64_t row = work.tile_row + r * 8, depth = work.tile_depth + i;
                                return master[static_cast<size_t>(
                                    work.forward ? layer.master(output + row, position, input + depth)
                                                 : layer.master(output + depth, position, input + row))];
                            };
                            const PackedWord word =
                                pack_word([&](int r, int i) { return bits_of(at(r, i)); },
                                          [&](int r, int i) { return type.round(at(r, i)); });
                            PackedOnCpu& to = work.forward ? forward : backward;
                            const int64_t quad = work.depth / 4;
                            for (int r = 0; r < 2; ++r) {
                                const int64_t first = value_index(work.row + r * 8, quad, work.packed_depth);
                                EXPECT_EQ(first % 8, 0);  // sixteen bytes at once
                                std::copy_n(word.values[r], 8, to.values.begin() + first);
                            }
                            const int64_t index = metadata_word(work.row, quad, work.packed_depth);
                            to.metadata[static_cast<size_t>(index)] = word.metadata;
                            EXPECT_TRUE(written.insert({work.forward, index}).second);
                        }
                    }
                }
            }
            const PackedOnCpu want_forward = pack_forward(layer, type.round, master);
            const PackedOnCpu want_backward = pack_backward(layer, type.round, master);
            EXPECT_EQ(forward.values, want_forward.values);
            EXPECT_EQ(forward.metadata, want_forward.metadata);
            EXPECT_EQ(backward.values, want_backward.values);
            EXPECT_EQ(backward.metadata, want_backward.metadata);
            EXPECT_EQ(static_cast<int64_t>(written.size()),
                      2 * layer.outputs * layer.positions * layer.inputs / 32);
        }
    }
}

/// A block's shared memory, with every byte of a stage written exactly once.
struct Stage {
    std::vector<unsigned char> bytes;
    std::vector<int> written;

    explicit Stage(int size) : bytes(static_cast<size_t>(size)), written(static_cast<size_t>(size)) {}

    void copy_16(uint32_t byte, const void* from) {
        ASSERT_EQ(byte % 16, 0U);
        ASSERT_LE(byte + 16, bytes.size());
        if (from != nullptr) std::memcpy(bytes.data() + byte, from, 16);
        for (size_t i = byte; i < byte + 16; ++i) ++written[i];
    }
    uint16_t half(uint32_t byte) const {
        uint16_t value = 0;
        std::memcpy(&value, bytes.data() + byte, 2);
        return value;
    }
    uint32_t word(uint32_t byte) const {
        uint32_t value = 0;
        std::memcpy(&value, bytes.data() + byte, 4);
        return value;
    }
};

struct Emulated {
    int64_t rows, cols, depth;
    const PackedOnCpu& packed;
    const std::vector<uint16_t>& src;
    std::vector<uint16_t> dst;
};

/// ldmatrix x4: register r of lane l holds elements 2 (l % 4) and the next of row l / 4 of matrix r, whose
/// rows lie where lanes 8 r .. 8 r + 7 point. The eight rows of a matrix are in different banks.
template <typename Address>
void load_matrices(const Stage& stage, uint32_t base, const Address& address,
                   uint16_t (&registers)[32][4][2]) {
    for (int r = 0; r < 4; ++r) {
        std::set<uint32_t> banks;
        for (int lane = 8 * r; lane < 8 * r + 8; ++lane) banks.insert((base + address(lane)) / 16 % 8);
        EXPECT_EQ(banks.size(), 8U);
        for (int lane = 0; lane < 32; ++lane) {
            const uint32_t row = base + address(8 * r + lane / 4);
            for (int i = 0; i < 2; ++i)
                registers[lane][r][i] = stage.half(row + static_cast<uint32_t>(lane % 4 * 4 + i * 2));
        }
    }
}

/// mma.sp.m16n8k32 by the tables of the PTX manual, on what the lanes hold.
void multiply(const uint16_t (&a)[32][4][2], const uint16_t (&b)[32][4][2], const uint32_t (&metadata)[32],
              float (&sums)[32][4]) {
    std::vector<uint16_t> a_matrix(16 * 16), b_matrix(32 * 8);
    std::vector<uint8_t> nibbles(16 * 8);
    std::vector<float> c(16 * 8);
    for (int lane = 0; lane < 32; ++lane) {
        const int group = lane / 4, in_group = lane % 4;
        for (int r = 0; r < 4; ++r) {
            for (int i = 0; i < 2; ++i) {
                const int row = r % 2 == 0 ? group : group + 8, stored = in_group * 2 + i + (r / 2) * 8;
                a_matrix[static_cast<size_t>(row * 16 + stored)] = a[lane][r][i];
                b_matrix[static_cast<size_t>((in_group * 2 + i + r * 8) * 8 + group)] = b[lane][r][i];
            }
            const int row = r < 2 ? group : group + 8, col = in_group * 2 + r % 2;
            c[static_cast<size_t>(row * 8 + col)] = sums[lane][r];
        }
        // Selector 0: the first two lanes of each group hold the metadata.
        if (in_group > 1) continue;
        for (int quad = 0; quad < 4; ++quad) {
            const auto place = static_cast<size_t>(group * 8 + in_group * 4 + quad);
            nibbles[place] = static_cast<uint8_t>(metadata[lane] >> (quad * 4) & 15U);
            nibbles[place + 64] = static_cast<uint8_t>(metadata[lane] >> (16 + quad * 4) & 15U);
        }
    }
    accel::mma_sp(accel::MmaType::f16, {16, 8, 32}, {a_matrix, b_matrix, nibbles}, c);
    for (int lane = 0; lane < 32; ++lane) {
        for (int r = 0; r < 4; ++r) {
            const int row = r < 2 ? lane / 4 : lane / 4 + 8, col = lane % 4 * 2 + r % 2;
            sums[lane][r] = c[static_cast<size_t>(row * 8 + col)];
        }
    }
}

template <typename B>
Stage read_stage(const Emulated& e, std::vector<Reader>& readers) {
    Stage stage(B::stage_bytes);
    for (unsigned thread = 0; thread < static_cast<unsigned>(threads); ++thread) {
        read_step<B>(
            thread, e.cols, e.depth, e.packed.size.depth, readers[thread],
            [&](uint32_t byte, int64_t element) {
                ASSERT_LE(element + 8, static_cast<int64_t>(e.packed.values.size()));
                stage.copy_16(byte, e.packed.values.data() + element);
            },
            [&](uint32_t byte, int64_t element, bool inside) {
                ASSERT_TRUE(!inside || element + 8 <= static_cast<int64_t>(e.src.size()));
                stage.copy_16(byte, inside ? e.src.data() + element : nullptr);
            },
            [&](uint32_t byte, int64_t word) {
                ASSERT_LE(word + 4, static_cast<int64_t>(e.packed.metadata.size()));
                stage.copy_16(byte, e.packed.metadata.data() + word);
            });
    }
    for (const int count : stage.written) EXPECT_EQ(count, 1);
    return stage;
}

/// What a warp's lanes hold of its tiles of results.
struct Sums {
    float of[row_tiles][col_tiles][32][4] = {};
};

/// One warp over one step.
template <typename B>
void multiply_stage(const Stage& stage, int warp, Sums& sums) {
    for (int half = 0; half < step / 32; ++half) {
        for (int i = 0; i < row_tiles; ++i) {
            const int row = B::warp_row(warp) + i * 16;
            uint16_t a[32][4][2], b[32][4][2];
            uint32_t metadata[32];
            load_matrices(
                stage, 0, [&](int lane) { return weights_address(lane, row, half); }, a);
            for (int lane = 0; lane < 32; ++lane)
                metadata[lane] = stage.word(static_cast<uint32_t>(B::weights_bytes + B::src_bytes +
                                                                  metadata_address(lane, row, half)));
            for (int j = 0; j < col_tiles; ++j) {
                const int col = B::warp_col(warp) + j * 8;
                load_matrices(
                    stage, B::weights_bytes, [&](int lane) { return src_address(lane, col, half); }, b);
                multiply(a, b, metadata, sums.of[i][j]);
            }
        }
    }
}

template <typename B>
void run_block(Emulated& e, int64_t first_row, int64_t first_col) {
    std::vector<Reader> readers;
    for (unsigned thread = 0; thread < static_cast<unsigned>(threads); ++thread)
        readers.push_back(reader_of<B>(thread, first_row, first_col, e.depth, e.packed.size.depth));
    std::vector<Sums> sums(threads / 32);
    for (int64_t s = 0; s < e.packed.size.depth / step; ++s) {
        const Stage stage = read_stage<B>(e, readers);
        for (int warp = 0; warp < threads / 32; ++warp)
            multiply_stage<B>(stage, warp, sums[static_cast<size_t>(warp)]);
    }
    for (int warp = 0; warp < threads / 32; ++warp) {
        for (int i = 0; i < row_tiles; ++i) {
            for (int j = 0; j < col_tiles; ++j) {
                for (int lane = 0; lane < 32; ++lane) {
                    for (int s = 0; s < 4; ++s) {
                        const int64_t row = first_row + B::warp_row(warp) + i * 16 + result_row(lane, s);
                        const int64_t col = first_col + B::warp_col(warp) + j * 8 + result_col(lane, s);
                        if (row < e.rows && col < e.cols)
                            e.dst[static_cast<size_t>(col * e.rows + row)] =
                                to_f16(sums[static_cast<size_t>(warp)].of[i][j][lane][s]);
                    }
                }
            }
        }
    }
}

template <typename B>
void expect_product(int64_t rows, int64_t cols, int64_t depth) {
    Random random(9);
    std::vector<float> master(static_cast<size_t>(rows * depth));
    std::vector<uint16_t> src(static_cast<size_t>(cols * depth));
    // Whole numbers: sums are exact in any order.
    for (float& number : master) number = static_cast<float>(static_cast<int>(random.below(5)) - 2);
    for (uint16_t& bits : src) bits = to_f16(static_cast<float>(static_cast<int>(random.below(5)) - 2));
    const PackedOnCpu packed = pack_forward({rows, 1, depth}, to_f16, master);
    const std::vector<uint16_t> weights = expand_on_cpu(packed, rows, depth);
    constexpr uint16_t nan = 0xFFFF;
    Emulated e{rows, cols, depth, packed, src, std::vector<uint16_t>(static_cast<size_t>(rows * cols), nan)};
    const Grid grid = grid_of<B>(rows, cols);
    for (int64_t x = 0; x < grid.x; ++x)
        for (int64_t y = 0; y < grid.y; ++y) run_block<B>(e, x * B::rows, y * B::cols);
    for (int64_t col = 0; col < cols; ++col) {
        for (int64_t row = 0; row < rows; ++row) {
            float sum = 0;
            for (int64_t k = 0; k < depth; ++k)
                sum += to_float(Half{weights[static_cast<size_t>(row * depth + k)]}) *
                       to_float(Half{src[static_cast<size_t>(col * depth + k)]});
            ASSERT_EQ(e.dst[static_cast<size_t>(col * rows + row)], to_f16(sum)) << row << ", " << col;
        }
    }
}

TEST(StcLayout, ABlockComputesTheProductLaneByLane) {
    expect_product<WideBlock>(128, 128, 64);
    expect_product<NarrowBlock>(64, 256, 64);
    // Rows, columns and a depth that fill no block.
    expect_product<WideBlock>(144, 16, 80);
    expect_product<NarrowBlock>(80, 272, 144);
}

TEST(StcLayout, TheNarrowBlockServesFewRows) {
    EXPECT_TRUE((pads_less<NarrowBlock, WideBlock>(64, 802816)));
    EXPECT_FALSE((pads_less<NarrowBlock, WideBlock>(128, 802816)));
}

TEST(StcComparison, RefusesNaNAndWhatIsTooFar) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    EXPECT_FALSE(is_wrong(1, 1, 0));
    EXPECT_FALSE(is_wrong(1, 1.5, 0.5));
    EXPECT_TRUE(is_wrong(1, 1.6, 0.5));
    EXPECT_TRUE(is_wrong(nan, 1, 10));
    EXPECT_TRUE(is_wrong(1, nan, 10));
    EXPECT_TRUE(is_wrong(1, 1, nan));
    EXPECT_TRUE(is_wrong(std::numeric_limits<double>::infinity(), 1, 10));
}

TEST(StcComparison, AllowsRoundingAndNoMissingTerm) {
    Random random(11);
    for (const bool bf16 : {false, true}) {
        const Rounding round = bf16 ? to_bf16 : to_f16;
        const auto value = [&](uint16_t bits) {
            return static_cast<double>(bf16 ? to_float(BFloat16{bits}) : to_float(Half{bits}));
        };
        for (int sample = 0; sample < 1000; ++sample) {
            double sum = 0, magnitudes = 0, squares = 0;
            float in_order = 0;
            for (int k = 0; k < 576; ++k) {
                const double term = value(round(random.uniform(-1, 1))) * value(round(random.uniform(-1, 1)));
                sum += term;
                magnitudes += std::abs(term);
                squares += term * term;
                in_order += static_cast<float>(term);
            }
            const double allowed = allowed_difference({sum, magnitudes, squares}, 576, bf16, Roundings::one);
            EXPECT_FALSE(is_wrong(value(round(in_order)), sum, allowed));
            // A result to which a product of ones was added, or in which it is missing.
            EXPECT_TRUE(is_wrong(value(round(in_order + 1)), sum, allowed));
            EXPECT_LT(allowed_difference({sum, magnitudes, squares}, 576, bf16, Roundings::exact), allowed);
            const double partial =
                allowed_difference({sum, magnitudes, squares}, 576, bf16, Roundings::several);
            EXPECT_GT(partial, allowed);
            EXPECT_TRUE(is_wrong(value(round(in_order + 1)), sum, partial));
        }
    }
}

TEST(StcComparison, SamplesLieInTheResultWithItsCorners) {
    std::set<std::pair<int64_t, int64_t>> places;
    for (int64_t i = 0; i < samples; ++i) {
        const Place place = sample_at(i, 64, 802816);
        ASSERT_GE(std::min(place.row, place.col), 0);
        ASSERT_LT(place.row, 64);
        ASSERT_LT(place.col, 802816);
        places.insert({place.row, place.col});
    }
    for (const auto& corner : {std::pair<int64_t, int64_t>{0, 0}, {63, 0}, {0, 802815}, {63, 802815}})
        EXPECT_TRUE(places.contains(corner));
    EXPECT_GT(places.size(), samples * 99 / 100);
}

}  // namespace
}  // namespace enmesh::cuda
