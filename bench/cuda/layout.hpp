#pragma once

#include <cstddef>
#include <cstdint>

/// Where every element of a 2:4 product lies: the packed operand in memory, its metadata, the pieces of a
/// block in shared memory, and what each lane of a warp takes from there. The kernels and the CPU tests share
/// these functions, so that the layout is checked without a GPU.
#if defined(__CUDACC__)
#define ENMESH_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define ENMESH_HOST_DEVICE inline
#endif

namespace enmesh::cuda {

ENMESH_HOST_DEVICE constexpr int64_t round_up(int64_t size, int64_t unit) {
    return (size + unit - 1) / unit * unit;
}

// ---- The packed operand -------------------------------------------------------------------------------
// weights[rows][depth], two of every four consecutive elements along the depth kept.
//   values:   [rows][depth / 2], the two kept ones of each quad, in order.
//   metadata: 32-bit words, sixteen for every 16 rows and 32 of the depth, in the order in which the lanes of
//             `mma.sp.m16n8k32` take them: word 2 g + t holds row g (low half) and row g + 8 (high half), the
//             elements 16 t .. 16 t + 15 of the depth, a nibble a quad (first place, second place << 2).
// Rows are padded to `packed_rows`, the depth to `step`; padding has zero values and valid nibbles.

constexpr int64_t packed_rows = 128;
/// The depth that a block covers at once.
constexpr int step = 64;
/// Every nibble 0xE, as the codec stores a quad of zeros.
constexpr uint32_t padding_metadata = 0xEEEEEEEEU;

struct PackedSize {
    int64_t rows, depth;  ///< padded
    ENMESH_HOST_DEVICE constexpr int64_t values() const { return rows * depth / 2; }
    ENMESH_HOST_DEVICE constexpr int64_t words() const { return rows * depth / 32; }
};
ENMESH_HOST_DEVICE constexpr PackedSize packed_size(int64_t rows, int64_t depth) {
    return {round_up(rows, packed_rows), round_up(depth, step)};
}

/// Of the first value that quad `quad` of a row keeps; the second follows. `depth` is padded.
ENMESH_HOST_DEVICE constexpr int64_t value_index(int64_t row, int64_t quad, int64_t depth) {
    return row * (depth / 2) + quad * 2;
}
ENMESH_HOST_DEVICE constexpr int64_t metadata_word(int64_t row, int64_t quad, int64_t depth) {
    const int64_t block = row / 16 * (depth / 32) + quad / 8;
    return block * 16 + row % 8 * 2 + quad % 8 / 4;
}
ENMESH_HOST_DEVICE constexpr unsigned metadata_shift(int64_t row, int64_t quad) {
    return static_cast<unsigned>(row % 16 / 8 * 16 + quad % 4 * 4);
}

// ---- Selection ----------------------------------------------------------------------------------------

/// Orders magnitudes; NaN is above infinity.
ENMESH_HOST_DEVICE constexpr uint32_t magnitude_key(uint32_t float_bits) { return float_bits & 0x7fffffffU; }

/// The two largest of four magnitudes as a mask, bit i = element i; ties go to the lower index.
ENMESH_HOST_DEVICE constexpr unsigned two_largest(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    const uint32_t keys[4] = {magnitude_key(a), magnitude_key(b), magnitude_key(c), magnitude_key(d)};
    unsigned mask = 0;
    for (int i = 0; i < 4; ++i) {
        int before = 0;
        for (int j = 0; j < 4; ++j) before += keys[j] > keys[i] || (keys[j] == keys[i] && j < i);
        mask |= before < 2 ? 1U << i : 0U;
    }
    return mask;
}

/// The nibble of a quad whose non-zeros are `mask` (at most two): that of enmesh::quad_nibble, without a
/// table in memory.
ENMESH_HOST_DEVICE constexpr unsigned nibble_of(unsigned mask) {
    return static_cast<unsigned>(0x4DCE'4DCE'498E'498EULL >> (mask * 4)) & 15U;
}

/// One metadata word and the sixteen values beside it, from sixteen consecutive elements along the depth of
/// each of the two rows that share the word.
struct PackedWord {
    uint16_t values[2][8];
    uint32_t metadata;
};

/// `bits(row, i)` is element i (0..15) of row 0 or 1 as float32, `rounded(row, i)` the same as the bits of
/// the 16-bit type. Selection sees the float32; a value that rounds to zero counts as none.
template <typename Bits, typename Rounded>
ENMESH_HOST_DEVICE constexpr PackedWord pack_word(const Bits& bits, const Rounded& rounded) {
    PackedWord word{};
    for (int row = 0; row < 2; ++row) {
        for (int quad = 0; quad < 4; ++quad) {
            const int first = quad * 4;
            const unsigned chosen = two_largest(bits(row, first), bits(row, first + 1), bits(row, first + 2),
                                                bits(row, first + 3));
            unsigned kept = 0;
            for (int i = 0; i < 4; ++i)
                kept |= (chosen >> i & 1U) != 0 && rounded(row, first + i) != 0 ? 1U << i : 0U;
            const unsigned nibble = nibble_of(kept);
            for (int i = 0; i < 2; ++i) {
                const unsigned place = nibble >> (2 * i) & 3U;
                const bool stored = (kept >> place & 1U) != 0;
                word.values[row][quad * 2 + i] =
                    stored ? static_cast<uint16_t>(rounded(row, first + static_cast<int>(place)))
                           : uint16_t{0};
            }
            word.metadata |= nibble << (row * 16 + quad * 4);
        }
    }
    return word;
}

/// A layer's masters are [outputs][positions][inputs] (a kernel's positions; 1 for a linear layer). FF's
/// operand has a row for each output and the depth (position, input); BP's a row for each input and the depth
/// (position, output). Inputs and outputs are multiples of 16.
struct Layer {
    int64_t outputs, positions, inputs;
    ENMESH_HOST_DEVICE constexpr int64_t master(int64_t output, int64_t position, int64_t input) const {
        return (output * positions + position) * inputs + input;
    }
    ENMESH_HOST_DEVICE constexpr PackedSize forward() const {
        return packed_size(outputs, positions * inputs);
    }
    ENMESH_HOST_DEVICE constexpr PackedSize backward() const {
        return packed_size(inputs, positions * outputs);
    }
};

/// A block of the selection kernel reads `select_tile` outputs by as many inputs at one position; half of its
/// threads pack FF's words of it, half BP's.
constexpr int select_tile = 64, select_threads = 256;
constexpr int select_words = select_tile / 2 * (select_tile / 16);
static_assert(2 * select_words == select_threads);

/// What a thread packs: of FF's operand or BP's, rows `row` and `row` + 8, sixteen elements from `depth` on.
/// In the block's tile those are outputs (FF; BP: inputs) `tile_row` and `tile_row` + 8 and inputs (BP:
/// outputs) from `tile_depth` on.
struct SelectWork {
    bool forward, inside;
    int tile_row, tile_depth;
    int64_t row, depth, packed_depth;
};
ENMESH_HOST_DEVICE constexpr SelectWork select_work(const Layer& layer, int64_t first_output,
                                                    int64_t position, int64_t first_input, int thread) {
    const bool forward = thread < select_words;
    const int index = thread % select_words;
    const int tile_row = index / 32 * 16 + index / 4 % 8, tile_depth = index % 4 * 16;
    const int64_t rows = forward ? layer.outputs : layer.inputs;
    const int64_t channels = forward ? layer.inputs : layer.outputs;
    const int64_t row = (forward ? first_output : first_input) + tile_row;
    const int64_t channel = (forward ? first_input : first_output) + tile_depth;
    return {forward,
            row < rows && channel < channels,
            tile_row,
            tile_depth,
            row,
            position * channels + channel,
            (forward ? layer.forward() : layer.backward()).depth};
}

// ---- The product kernel -------------------------------------------------------------------------------
// A block of eight warps computes `rows` x `cols` outputs, 64 x 32 a warp, the depth in steps of 64 through
// `stages` buffers in shared memory.

constexpr int stages = 3, threads = 256, warp_rows = 64, warp_cols = 32;
constexpr int row_tiles = warp_rows / 16, col_tiles = warp_cols / 8;

template <int block_rows>
struct Block {
    static constexpr int rows = block_rows, cols = 128 * 128 / block_rows;
    static constexpr int weights_bytes = rows * step, src_bytes = cols * step * 2,
                         metadata_bytes = rows * step / 8;
    static constexpr int stage_bytes = weights_bytes + src_bytes + metadata_bytes;
    static constexpr int shared_bytes = stages * stage_bytes;
    /// Results pass through shared memory as [cols][result_stride], so that rows of 16 bytes leave.
    static constexpr int result_stride = rows + 8;
    static_assert(cols * result_stride * 2 <= shared_bytes);
    static_assert(rows / warp_rows * (cols / warp_cols) * 32 == threads);
    static_assert(metadata_bytes / 16 <= threads);

    ENMESH_HOST_DEVICE static constexpr int warp_row(int warp) {
        return warp % (rows / warp_rows) * warp_rows;
    }
    ENMESH_HOST_DEVICE static constexpr int warp_col(int warp) {
        return warp / (rows / warp_rows) * warp_cols;
    }
};
using WideBlock = Block<128>;   ///< 128 x 128
using NarrowBlock = Block<64>;  ///< 64 x 256, for layers of 64 channels

/// The grid: blocks along the rows and along the columns.
struct Grid {
    int64_t x, y;
};
template <typename B>
constexpr Grid grid_of(int64_t rows, int64_t cols) {
    return {(rows + B::rows - 1) / B::rows, (cols + B::cols - 1) / B::cols};
}

/// Whether One covers the results with fewer padded ones than Other.
template <typename One, typename Other>
constexpr bool pads_less(int64_t rows, int64_t cols) {
    const Grid one = grid_of<One>(rows, cols), other = grid_of<Other>(rows, cols);
    return one.x * one.y < other.x * other.y;
}

// Chunks of 16 bytes are permuted in each row so that the eight rows of a matrix that ldmatrix reads lie in
// different banks. Byte offsets in a stage's weights and src.
ENMESH_HOST_DEVICE constexpr uint32_t weights_chunk(int row, int chunk) {
    return static_cast<uint32_t>(row * step + ((chunk ^ (row >> 1)) & 3) * 16);
}
ENMESH_HOST_DEVICE constexpr uint32_t src_chunk(int row, int chunk) {
    return static_cast<uint32_t>(row * step * 2 + ((chunk ^ row) & 7) * 16);
}

/// What one thread of a block copies for every step: where its first chunk of weights, src and metadata comes
/// from, in elements. The offsets move with the steps, so that no register is spent on each chunk's address.
struct Reader {
    int64_t weights, src, metadata, k;
    int64_t col;  ///< of its first chunk of src
};
template <typename B>
ENMESH_HOST_DEVICE constexpr Reader reader_of(unsigned thread, int64_t first_row, int64_t first_col,
                                              int64_t depth, int64_t packed_depth) {
    const int64_t col = first_col + thread / 8, k = thread % 8 * 8;
    // Thread i takes chunk i of the stage's metadata, which lies [row / 16][step / 32][16].
    return {value_index(first_row + thread / 4, thread % 4 * 4, packed_depth), col * depth + k,
            (first_row / 16 + thread / 8) * (packed_depth / 2) + thread % 8 * 4, k, col};
}

/// One thread's part of a step's copies: calls weights(byte, element), src(byte, element, inside) and
/// metadata(byte, word) for each chunk of 16 bytes, the byte within the stage, and moves the reader on. What
/// is not inside is to be zeros.
template <typename B, typename Weights, typename Src, typename Metadata>
ENMESH_HOST_DEVICE constexpr void read_step(unsigned thread, int64_t cols, int64_t depth,
                                            int64_t packed_depth, Reader& reader, const Weights& weights,
                                            const Src& src, const Metadata& metadata) {
    constexpr int weights_rows = threads / 4, src_rows = threads / 8;
    const auto row = static_cast<int>(thread);
    for (int i = 0; i < B::rows / weights_rows; ++i) {
        weights(weights_chunk(row / 4, row % 4) + static_cast<uint32_t>(i * weights_rows * step),
                reader.weights + i * weights_rows * (packed_depth / 2));
    }
    const bool deep = reader.k < depth;
    for (int i = 0; i < B::cols / src_rows; ++i) {
        src(B::weights_bytes + src_chunk(row / 8, row % 8) + static_cast<uint32_t>(i * src_rows * step * 2),
            reader.src + i * src_rows * depth, deep && reader.col + i * src_rows < cols);
    }
    if (thread < B::metadata_bytes / 16)
        metadata(B::weights_bytes + B::src_bytes + thread * 16, reader.metadata);
    reader.weights += step / 2;
    reader.src += step;
    reader.metadata += step / 2;
    reader.k += step;
}

// What lane `lane` addresses for one 16 x 32 tile of weights, row `row` of the block on, half `half` of the
// step: the row of 16 bytes that it hands to ldmatrix, and its metadata word (lanes 0 and 1 of each four are
// asked, selector 0). Then the same for eight columns of src from `col` on.
ENMESH_HOST_DEVICE constexpr uint32_t weights_address(int lane, int row, int half) {
    return weights_chunk(row + lane % 16, half * 2 + lane / 16);
}
ENMESH_HOST_DEVICE constexpr int metadata_address(int lane, int row, int half) {
    return ((row / 16 * 2 + half) * 16 + lane / 4 * 2 + lane % 2) * 4;
}
ENMESH_HOST_DEVICE constexpr uint32_t src_address(int lane, int col, int half) {
    return src_chunk(col + lane % 8, half * 4 + lane / 8);
}

/// Sum i (0..3) of a lane belongs to this row and column of a 16 x 8 tile of results.
ENMESH_HOST_DEVICE constexpr int result_row(int lane, int i) { return lane / 4 + i / 2 * 8; }
ENMESH_HOST_DEVICE constexpr int result_col(int lane, int i) { return lane % 4 * 2 + i % 2; }

}  // namespace enmesh::cuda
