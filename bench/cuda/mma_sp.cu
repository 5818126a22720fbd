#include <cstdint>
#include <memory>
#include <vector>

#include "products.hpp"

// A block computes 128 x 128 outputs with eight warps of 64 x 32, k in steps of 64 through three buffers in
// shared memory. Packed weights: two values a quad, [rows][depth / 2]. Metadata: for every 16 rows and 32 k
// sixteen words in the order in which the lanes of `mma.sp` take them: word 2 g + t holds the quads of row g
// (low half) and row g + 8 (high half) whose k lie in 16 t .. 16 t + 15, a nibble each.

namespace enmesh::cuda {
namespace {

constexpr int block_rows = 128, block_cols = 128, step = 64, stages = 3, threads = 256;
constexpr int warp_rows = 64, warp_cols = 32;
constexpr int row_tiles = warp_rows / 16, col_tiles = warp_cols / 8;
constexpr int weights_bytes = block_rows * step / 2 * 2, src_bytes = block_cols * step * 2;
constexpr int metadata_bytes = block_rows * step / 8;
constexpr int stage_bytes = weights_bytes + src_bytes + metadata_bytes;

struct Arguments {
    const __half* packed;
    const uint32_t* metadata;
    const __half* src;
    __half* dst;
    int64_t rows, cols, depth;
};

__device__ void copy_16_bytes(uint32_t shared, const void* global) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(shared), "l"(global));
}

__device__ void load_matrices(uint32_t (&registers)[4], uint32_t shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(shared));
}

__device__ void multiply(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[4], uint32_t metadata) {
    asm volatile(
        "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, 0x0;\n"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]),
          "r"(metadata));
}

// Chunks of 16 bytes are permuted in each row so that the eight rows of a matrix lie in different banks.
__device__ uint32_t weights_chunk(int row, int chunk) {
    return static_cast<uint32_t>(row * step + ((chunk ^ (row >> 1)) & 3) * 16);
}
__device__ uint32_t src_chunk(int row, int chunk) {
    return static_cast<uint32_t>(row * step * 2 + ((chunk ^ row) & 7) * 16);
}

__device__ void fetch(const Arguments& args, uint32_t stage, int64_t first_row, int64_t first_col,
                      int64_t k) {
    const int thread = static_cast<int>(threadIdx.x);
    for (int i = thread; i < block_rows * 4; i += threads) {
        const int row = i / 4, chunk = i % 4;
        copy_16_bytes(stage + weights_chunk(row, chunk),
                      args.packed + (first_row + row) * (args.depth / 2) + k / 2 + chunk * 8);
    }
    for (int i = thread; i < block_cols * 8; i += threads) {
        const int row = i / 8, chunk = i % 8;
        copy_16_bytes(stage + weights_bytes + src_chunk(row, chunk),
                      args.src + (first_col + row) * args.depth + k + chunk * 8);
    }
    if (thread < metadata_bytes / 16) {
        const int row_tile = thread / 8, chunk = thread % 8;
        copy_16_bytes(
            stage + weights_bytes + src_bytes + static_cast<uint32_t>(thread) * 16,
            args.metadata + ((first_row / 16 + row_tile) * (args.depth / 32) + k / 32) * 16 + chunk * 4);
    }
}

__device__ void multiply_stage(float (&sums)[row_tiles][col_tiles][4], uint32_t stage, int warp_row,
                               int warp_col) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int half = 0; half < step / 32; ++half) {
        uint32_t a[row_tiles][4], b[col_tiles][4], metadata[row_tiles];
        for (int i = 0; i < row_tiles; ++i) {
            const int row = warp_row + i * 16 + lane % 16;
            load_matrices(a[i], stage + weights_chunk(row, half * 2 + lane / 16));
            const int word = ((warp_row / 16 + i) * 2 + half) * 16 + lane / 4 * 2 + lane % 2;
            asm volatile("ld.shared.u32 %0, [%1];\n"
                         : "=r"(metadata[i])
                         : "r"(stage + weights_bytes + src_bytes + static_cast<uint32_t>(word) * 4));
        }
        for (int j = 0; j < col_tiles; ++j) {
            const int row = warp_col + j * 8 + lane % 8;
            load_matrices(b[j], stage + weights_bytes + src_chunk(row, half * 4 + lane / 8));
        }
        for (int i = 0; i < row_tiles; ++i) {
            for (int j = 0; j < col_tiles; ++j) multiply(sums[i][j], a[i], b[j], metadata[i]);
        }
    }
}

__global__ void __launch_bounds__(threads) mma_sp_kernel(Arguments args) {
    extern __shared__ __align__(128) unsigned char memory[];
    const auto shared = static_cast<uint32_t>(__cvta_generic_to_shared(memory));
    const int64_t first_row = static_cast<int64_t>(blockIdx.x) * block_rows;
    const int64_t first_col = static_cast<int64_t>(blockIdx.y) * block_cols;
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const int warp_row = warp % 2 * warp_rows, warp_col = warp / 2 * warp_cols;
    float sums[row_tiles][col_tiles][4] = {};

    const int64_t steps = args.depth / step;
    for (int s = 0; s < stages - 1; ++s) {
        if (s < steps)
            fetch(args, shared + static_cast<uint32_t>(s * stage_bytes), first_row, first_col, s * step);
        asm volatile("cp.async.commit_group;\n");
    }
    for (int64_t s = 0; s < steps; ++s) {
        asm volatile("cp.async.wait_group %0;\n" ::"n"(stages - 2));
        __syncthreads();
        const int64_t ahead = s + stages - 1;
        if (ahead < steps) {
            fetch(args, shared + static_cast<uint32_t>(ahead % stages * stage_bytes), first_row, first_col,
                  ahead * step);
        }
        asm volatile("cp.async.commit_group;\n");
        multiply_stage(sums, shared + static_cast<uint32_t>(s % stages * stage_bytes), warp_row, warp_col);
    }
    for (int i = 0; i < row_tiles; ++i) {
        for (int j = 0; j < col_tiles; ++j) {
            const int64_t row = first_row + warp_row + i * 16 + lane / 4;
            const int64_t col = first_col + warp_col + j * 8 + lane % 4 * 2;
            *reinterpret_cast<__half2*>(args.dst + row * args.cols + col) =
                __floats2half2_rn(sums[i][j][0], sums[i][j][1]);
            *reinterpret_cast<__half2*>(args.dst + (row + 8) * args.cols + col) =
                __floats2half2_rn(sums[i][j][2], sums[i][j][3]);
        }
    }
}

struct Packed {
    __half* values = nullptr;
    uint32_t* metadata = nullptr;

    Packed() = default;
    Packed(const Packed&) = delete;
    Packed& operator=(const Packed&) = delete;
    ~Packed() {
        cudaFree(values);
        cudaFree(metadata);
    }
};

/// The two places that a quad keeps; zeros fill up what has fewer.
void places_of(const __half* quad, int (&places)[2]) {
    int count = 0;
    for (int i = 0; i < 4 && count < 2; ++i) {
        if (__half2float(quad[i]) != 0.0F) places[count++] = i;
    }
    if (count == 0) places[0] = 0, places[1] = 1;
    if (count == 1) places[1] = 3;
    if (count == 1 && places[0] == 3) places[0] = 0;
}

void pack(const Operands& o, Packed& packed) {
    const auto size = static_cast<size_t>(o.rows * o.depth);
    std::vector<__half> weights(size), values(size / 2);
    std::vector<uint32_t> metadata(size / 32, 0);
    check(cudaMemcpy(weights.data(), o.weights, size * sizeof(__half), cudaMemcpyDeviceToHost),
          "reading weights");
    for (int64_t row = 0; row < o.rows; ++row) {
        for (int64_t quad = 0; quad < o.depth / 4; ++quad) {
            const __half* const at = weights.data() + row * o.depth + quad * 4;
            int places[2] = {};
            places_of(at, places);
            for (int i = 0; i < 2; ++i)
                values[static_cast<size_t>(row * o.depth / 2 + quad * 2 + i)] = at[places[i]];
            const int64_t block = row / 16 * (o.depth / 32) + quad / 8;
            const int64_t word = block * 16 + row % 8 * 2 + quad % 8 / 4;
            const auto shift = static_cast<unsigned>(row % 16 / 8 * 16 + quad % 4 * 4);
            metadata[static_cast<size_t>(word)] |= static_cast<uint32_t>(places[0] | places[1] << 2) << shift;
        }
    }
    check(cudaMalloc(&packed.values, values.size() * sizeof(__half)), "packed weights");
    check(cudaMalloc(&packed.metadata, metadata.size() * sizeof(uint32_t)), "metadata");
    check(cudaMemcpy(packed.values, values.data(), values.size() * sizeof(__half), cudaMemcpyHostToDevice),
          "packed weights");
    check(cudaMemcpy(packed.metadata, metadata.data(), metadata.size() * sizeof(uint32_t),
                     cudaMemcpyHostToDevice),
          "metadata");
}

}  // namespace

Run mma_sp_product(const Operands& o) {
    const auto packed = std::make_shared<Packed>();
    pack(o, *packed);
    constexpr int bytes = stages * stage_bytes;
    check(cudaFuncSetAttribute(mma_sp_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
          "shared memory");
    return [o, packed] {
        const dim3 grid(static_cast<unsigned>(o.rows / block_rows),
                        static_cast<unsigned>(o.cols / block_cols));
        mma_sp_kernel<<<grid, threads, bytes>>>(
            {packed->values, packed->metadata, o.src, o.dst, o.rows, o.cols, o.depth});
        check(cudaGetLastError(), "mma.sp");
    };
}

}  // namespace enmesh::cuda
