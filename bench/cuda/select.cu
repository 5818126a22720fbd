#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "products.hpp"

// 2:4 by magnitude in both directions at once, as BDWP's weight update needs it: masters are read once, each
// tile goes through shared memory, and FF's and BP's words of it leave in rows of sixteen bytes.

namespace enmesh::cuda {
namespace {

struct Arguments {
    Layer layer;
    const float* master;
    uint16_t *forward_values, *backward_values;
    uint32_t *forward_metadata, *backward_metadata;
};

template <Type type>
__device__ uint16_t rounded(float value) {
    if constexpr (type == Type::f16) return __half_as_ushort(__float2half_rn(value));
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

/// `at(row, i)`: element i of the word's row 0 or 1.
template <Type type, typename At>
__device__ void pack(const At& at, uint16_t* values, uint32_t* metadata, const SelectWork& work) {
    const PackedWord word = pack_word([&](int r, int i) { return __float_as_uint(at(r, i)); },
                                      [&](int r, int i) { return rounded<type>(at(r, i)); });
    for (int r = 0; r < 2; ++r) {
        uint4 chunk;
        chunk.x = word.values[r][0] | static_cast<uint32_t>(word.values[r][1]) << 16;
        chunk.y = word.values[r][2] | static_cast<uint32_t>(word.values[r][3]) << 16;
        chunk.z = word.values[r][4] | static_cast<uint32_t>(word.values[r][5]) << 16;
        chunk.w = word.values[r][6] | static_cast<uint32_t>(word.values[r][7]) << 16;
        *reinterpret_cast<uint4*>(values + value_index(work.row + r * 8, work.depth / 4, work.packed_depth)) =
            chunk;
    }
    metadata[metadata_word(work.row, work.depth / 4, work.packed_depth)] = word.metadata;
}

template <Type type>
__global__ void __launch_bounds__(select_threads) select_kernel(Arguments args) {
    __shared__ float tile[select_tile][select_tile + 1];
    const Layer& layer = args.layer;
    const int thread = static_cast<int>(threadIdx.x);
    const int64_t first_input = static_cast<int64_t>(blockIdx.x) * select_tile;
    const int64_t first_output = static_cast<int64_t>(blockIdx.y) * select_tile;
    const int64_t position = blockIdx.z;
    for (int i = thread; i < select_tile * select_tile / 4; i += select_threads) {
        const int output = i / (select_tile / 4), input = i % (select_tile / 4) * 4;
        if (first_output + output >= layer.outputs || first_input + input >= layer.inputs) continue;
        const float4 four = *reinterpret_cast<const float4*>(
            args.master + layer.master(first_output + output, position, first_input + input));
        tile[output][input] = four.x;
        tile[output][input + 1] = four.y;
        tile[output][input + 2] = four.z;
        tile[output][input + 3] = four.w;
    }
    __syncthreads();
    const SelectWork work = select_work(layer, first_output, position, first_input, thread);
    if (!work.inside) return;
    if (work.forward) {
        pack<type>([&](int r, int i) { return tile[work.tile_row + r * 8][work.tile_depth + i]; },
                   args.forward_values, args.forward_metadata, work);
    } else {
        pack<type>([&](int r, int i) { return tile[work.tile_depth + i][work.tile_row + r * 8]; },
                   args.backward_values, args.backward_metadata, work);
    }
}

__global__ void expand_kernel(const uint16_t* values, const uint32_t* metadata, uint16_t* dense, int64_t rows,
                              int64_t depth, int64_t packed_depth) {
    const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= rows * (depth / 4)) return;
    const int64_t row = at / (depth / 4), quad = at % (depth / 4);
    const uint32_t nibble =
        metadata[metadata_word(row, quad, packed_depth)] >> metadata_shift(row, quad) & 15U;
    uint16_t* const out = dense + row * depth + quad * 4;
    for (int i = 0; i < 4; ++i) out[i] = 0;
    for (int i = 0; i < 2; ++i)
        out[nibble >> (2 * i) & 3U] = values[value_index(row, quad, packed_depth) + i];
}

template <Type type>
Run launch(const Arguments& args) {
    const auto tiles = [](int64_t channels) {
        return static_cast<unsigned>((channels + select_tile - 1) / select_tile);
    };
    const dim3 blocks(tiles(args.layer.inputs), tiles(args.layer.outputs),
                      static_cast<unsigned>(args.layer.positions));
    return [args, blocks] {
        select_kernel<type><<<blocks, select_threads>>>(args);
        check(cudaGetLastError(), "selection");
    };
}

}  // namespace

Packed make_packed(PackedSize size) {
    Packed packed{DeviceMemory<uint16_t>(size.values()), DeviceMemory<uint32_t>(size.words())};
    check(cudaMemset(packed.values.get(), 0, packed.values.bytes()), "packed values");
    // padding_metadata is one byte four times.
    check(cudaMemset(packed.metadata.get(), padding_metadata & 0xFF, packed.metadata.bytes()), "metadata");
    return packed;
}

Run select_layer(const Layer& layer, Type type, const float* master, const Packed& forward,
                 const Packed& backward) {
    if (layer.inputs % 16 != 0 || layer.outputs % 16 != 0)
        throw std::runtime_error("selection: channels are to be multiples of 16");
    const Arguments args{layer,
                         master,
                         forward.values.get(),
                         backward.values.get(),
                         forward.metadata.get(),
                         backward.metadata.get()};
    return type == Type::f16 ? launch<Type::f16>(args) : launch<Type::bf16>(args);
}

void expand(const Packed& packed, int64_t rows, int64_t depth, uint16_t* dense) {
    const int64_t quads = rows * (depth / 4);
    expand_kernel<<<static_cast<unsigned>((quads + 255) / 256), 256>>>(
        packed.values.get(), packed.metadata.get(), dense, rows, depth, packed_size(rows, depth).depth);
    check(cudaGetLastError(), "unpacking");
}

}  // namespace enmesh::cuda
