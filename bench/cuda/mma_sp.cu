#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "products.hpp"

// The kernel of layout.hpp's second half: packed weights, metadata and src come through `stages` buffers in
// shared memory by cp.async, go to the lanes by ldmatrix, and are multiplied by mma.sp.

namespace enmesh::cuda {
namespace {

struct Arguments {
    const uint16_t* packed;
    const uint32_t* metadata;
    const uint16_t* src;
    uint16_t* dst;
    int64_t rows, cols, depth;  ///< of src and dst
    int64_t packed_depth;
};

/// Zeros where `inside` is false.
__device__ void copy_16_bytes(uint32_t shared, const void* global, bool inside) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared), "l"(global),
                 "r"(inside ? 16 : 0));
}

__device__ void load_matrices(uint32_t (&registers)[4], uint32_t shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(shared));
}

template <Type type>
__device__ void multiply(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[4], uint32_t metadata) {
    if constexpr (type == Type::f16) {
        asm volatile(
            "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, 0x0;\n"
            : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]),
              "r"(metadata));
    } else {
        asm volatile(
            "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, 0x0;\n"
            : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]),
              "r"(metadata));
    }
}

template <Type type>
__device__ uint16_t rounded(float value) {
    if constexpr (type == Type::f16) return __half_as_ushort(__float2half_rn(value));
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

template <typename B>
__device__ void fetch(const Arguments& args, Reader& reader, uint32_t stage) {
    read_step<B>(
        threadIdx.x, args.cols, args.depth, args.packed_depth, reader,
        [&](uint32_t byte, int64_t element) { copy_16_bytes(stage + byte, args.packed + element, true); },
        [&](uint32_t byte, int64_t element, bool inside) {
            copy_16_bytes(stage + byte, inside ? args.src + element : args.src, inside);
        },
        [&](uint32_t byte, int64_t word) { copy_16_bytes(stage + byte, args.metadata + word, true); });
}

template <Type type, typename B>
__device__ void multiply_stage(float (&sums)[row_tiles][col_tiles][4], uint32_t stage, int warp_row,
                               int warp_col) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    // One half's operands at a time: both would take more than the 128 registers that let two blocks share a
    // multiprocessor.
#pragma unroll 1
    for (int half = 0; half < step / 32; ++half) {
        uint32_t b[col_tiles][4];
#pragma unroll
        for (int j = 0; j < col_tiles; ++j)
            load_matrices(b[j], stage + B::weights_bytes + src_address(lane, warp_col + j * 8, half));
#pragma unroll
        for (int i = 0; i < row_tiles; ++i) {
            const int row = warp_row + i * 16;
            uint32_t a[4], metadata = 0;
            load_matrices(a, stage + weights_address(lane, row, half));
            asm volatile("ld.shared.u32 %0, [%1];\n"
                         : "=r"(metadata)
                         : "r"(stage + B::weights_bytes + B::src_bytes +
                               static_cast<uint32_t>(metadata_address(lane, row, half))));
#pragma unroll
            for (int j = 0; j < col_tiles; ++j) multiply<type>(sums[i][j], a, b[j], metadata);
        }
    }
}

/// Results leave by way of shared memory, sixteen bytes of one column's rows at a time.
template <Type type, typename B>
__device__ void store(const Arguments& args, const float (&sums)[row_tiles][col_tiles][4], uint16_t* shared,
                      int64_t first_row, int64_t first_col) {
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
#pragma unroll
    for (int i = 0; i < row_tiles; ++i) {
#pragma unroll
        for (int j = 0; j < col_tiles; ++j) {
#pragma unroll
            for (int s = 0; s < 4; ++s) {
                const int row = B::warp_row(warp) + i * 16 + result_row(lane, s);
                const int col = B::warp_col(warp) + j * 8 + result_col(lane, s);
                shared[col * B::result_stride + row] = rounded<type>(sums[i][j][s]);
            }
        }
    }
    __syncthreads();
    for (int i = thread; i < B::cols * (B::rows / 8); i += threads) {
        const int col = i / (B::rows / 8), row = i % (B::rows / 8) * 8;
        if (first_col + col >= args.cols || first_row + row >= args.rows) continue;
        *reinterpret_cast<uint4*>(args.dst + (first_col + col) * args.rows + first_row + row) =
            *reinterpret_cast<const uint4*>(shared + col * B::result_stride + row);
    }
}

template <Type type, typename B>
__global__ void __launch_bounds__(threads, 2) mma_sp_kernel(Arguments args) {
    extern __shared__ __align__(128) unsigned char memory[];
    const auto shared = static_cast<uint32_t>(__cvta_generic_to_shared(memory));
    const int64_t first_row = static_cast<int64_t>(blockIdx.x) * B::rows;
    const int64_t first_col = static_cast<int64_t>(blockIdx.y) * B::cols;
    const int warp = static_cast<int>(threadIdx.x) / 32;
    float sums[row_tiles][col_tiles][4] = {};

    const auto buffer = [shared](int s) {
        return shared + static_cast<uint32_t>(s % stages * B::stage_bytes);
    };
    Reader reader = reader_of<B>(threadIdx.x, first_row, first_col, args.depth, args.packed_depth);
    const auto steps = static_cast<int>(args.packed_depth / step);
    for (int s = 0; s < stages - 1; ++s) {
        if (s < steps) fetch<B>(args, reader, buffer(s));
        asm volatile("cp.async.commit_group;\n");
    }
    for (int s = 0; s < steps; ++s) {
        asm volatile("cp.async.wait_group %0;\n" ::"n"(stages - 2));
        __syncthreads();
        if (s + stages - 1 < steps) fetch<B>(args, reader, buffer(s + stages - 1));
        asm volatile("cp.async.commit_group;\n");
        multiply_stage<type, B>(sums, buffer(s), B::warp_row(warp), B::warp_col(warp));
    }
    asm volatile("cp.async.wait_all;\n");
    __syncthreads();
    store<type, B>(args, sums, reinterpret_cast<uint16_t*>(memory), first_row, first_col);
}

template <Type type, typename B>
Run launch(const Operands& o) {
    check(cudaFuncSetAttribute(mma_sp_kernel<type, B>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               B::shared_bytes),
          "shared memory of mma.sp");
    const Arguments args{o.packed.values.get(), o.packed.metadata.get(),
                         o.src.get(),           o.dst.get(),
                         o.size.rows,           o.size.cols,
                         o.size.depth,          packed_size(o.size.rows, o.size.depth).depth};
    const Grid grid = grid_of<B>(o.size.rows, o.size.cols);
    const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
    return [args, blocks] {
        mma_sp_kernel<type, B><<<blocks, threads, B::shared_bytes>>>(args);
        check(cudaGetLastError(), "mma.sp");
    };
}

template <Type type>
Run best(const Operands& o, const std::function<double(const Run&)>& timed) {
    const Run wide = launch<type, WideBlock>(o), narrow = launch<type, NarrowBlock>(o);
    if (!timed) return pads_less<NarrowBlock, WideBlock>(o.size.rows, o.size.cols) ? narrow : wide;
    return timed(narrow) < timed(wide) ? narrow : wide;
}

}  // namespace

Run mma_sp_product(const Operands& operands, const std::function<double(const Run&)>& timed) {
    return operands.type == Type::f16 ? best<Type::f16>(operands, timed) : best<Type::bf16>(operands, timed);
}

}  // namespace enmesh::cuda
