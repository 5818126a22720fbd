#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <limits>
#include <vector>

#include "comparison.hpp"
#include "products.hpp"

namespace enmesh::cuda {
namespace {

__device__ float number_at(int64_t at, uint64_t stream, Numbers numbers) {
    const uint64_t random = scramble(static_cast<uint64_t>(at), stream);
    if (numbers == Numbers::whole) return static_cast<float>(static_cast<int>((random >> 32) % 5) - 2);
    return static_cast<float>(random >> 40) * 0x1p-23F - 1.0F;
}

template <Type type>
__device__ uint16_t rounded(float value) {
    if constexpr (type == Type::f16) return __half_as_ushort(__float2half_rn(value));
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

template <Type type>
__device__ double value_of(uint16_t bits) {
    if constexpr (type == Type::f16) return static_cast<double>(__half2float(__ushort_as_half(bits)));
    return static_cast<double>(__bfloat162float(__ushort_as_bfloat16(bits)));
}

constexpr uint64_t weights_stream = 1, src_stream = 2;
/// A number far above any result, in both types: a library that multiplies it by zero leaves no trace of it.
constexpr uint16_t poison_bits = 0x7B7B;

template <Type type>
__global__ void fill(uint16_t* values, int64_t count, uint64_t stream, Numbers numbers) {
    const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at < count) values[at] = rounded<type>(number_at(at, stream, numbers));
}

__global__ void fill_master(float* values, int64_t count, Numbers numbers) {
    const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at < count) values[at] = number_at(at, weights_stream, numbers);
}

struct Compared {
    unsigned long long wrong, unwritten, worst_bits;
};

struct ComparedProduct {
    const uint16_t *weights, *src, *dst;
    int64_t rows, cols, depth, count;
    bool depth_major, every;
    Roundings roundings;
};

/// A warp computes one result, in double.
template <Type type>
__global__ void compare_kernel(ComparedProduct p, Compared* found) {
    const int64_t index = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (index >= p.count) return;
    const Place place = p.every ? Place{index % p.rows, index / p.rows} : sample_at(index, p.rows, p.cols);
    Reference reference{};
    for (int64_t k = lane; k < p.depth; k += 32) {
        const int64_t a = p.depth_major ? k * p.rows + place.row : place.row * p.depth + k;
        const int64_t b = p.depth_major ? k * p.cols + place.col : place.col * p.depth + k;
        const double term = value_of<type>(p.weights[a]) * value_of<type>(p.src[b]);
        reference.sum += term;
        reference.magnitudes += fabs(term);
        reference.squares += term * term;
    }
    for (int other = 16; other > 0; other /= 2) {
        reference.sum += __shfl_down_sync(0xffffffffU, reference.sum, other);
        reference.magnitudes += __shfl_down_sync(0xffffffffU, reference.magnitudes, other);
        reference.squares += __shfl_down_sync(0xffffffffU, reference.squares, other);
    }
    if (lane != 0) return;
    const double result = value_of<type>(p.dst[place.col * p.rows + place.row]);
    const double allowed =
        allowed_difference(reference, static_cast<double>(p.depth), type == Type::bf16, p.roundings);
    if (is_wrong(result, reference.sum, allowed)) atomicAdd(&found->wrong, 1ULL);
    const double share = fabs(result - reference.sum) / allowed;
    // Bits of non-negative doubles are ordered as the numbers are; NaN is above all.
    atomicMax(&found->worst_bits, static_cast<unsigned long long>(__double_as_longlong(fabs(share))));
}

template <Type type>
__global__ void find_unwritten(const uint16_t* dst, int64_t count, Compared* found) {
    const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at < count && (dst[at] == poison_bits || isnan(value_of<type>(dst[at]))))
        atomicAdd(&found->unwritten, 1ULL);
}

unsigned blocks_for(int64_t count) { return static_cast<unsigned>((count + 255) / 256); }

template <Type type>
DeviceMemory<uint16_t> filled(int64_t count, uint64_t stream, Numbers numbers) {
    DeviceMemory<uint16_t> memory(count);
    fill<type><<<blocks_for(count), 256>>>(memory.get(), count, stream, numbers);
    check(cudaGetLastError(), "operands");
    return memory;
}

template <Type type>
Comparison compare_as(const Operands& o, bool pruned, Roundings roundings) {
    const Size& s = o.size;
    const bool every = s.rows * s.cols * s.depth <= small_product;
    const int64_t count = every ? s.rows * s.cols : samples;
    DeviceMemory<Compared> found(1);
    check(cudaMemset(found.get(), 0, sizeof(Compared)), "comparison");
    const ComparedProduct product{pruned ? o.pruned.get() : o.weights.get(),
                                  o.src.get(),
                                  o.dst.get(),
                                  s.rows,
                                  s.cols,
                                  s.depth,
                                  count,
                                  s.depth_major,
                                  every,
                                  roundings};
    compare_kernel<type><<<blocks_for(count * 32), 256>>>(product, found.get());
    find_unwritten<type><<<blocks_for(s.rows * s.cols), 256>>>(o.dst.get(), s.rows * s.cols, found.get());
    check(cudaGetLastError(), "comparison");
    Compared result{};
    check(cudaMemcpy(&result, found.get(), sizeof result, cudaMemcpyDeviceToHost), "comparison");
    double worst = 0;
    static_assert(sizeof worst == sizeof result.worst_bits);
    __builtin_memcpy(&worst, &result.worst_bits, sizeof worst);
    return {static_cast<uint64_t>(count), result.wrong, result.unwritten, worst};
}

}  // namespace

DeviceMemory<float> make_master(int64_t count, Numbers numbers) {
    DeviceMemory<float> master(count);
    fill_master<<<blocks_for(count), 256>>>(master.get(), count, numbers);
    check(cudaGetLastError(), "masters");
    return master;
}

Operands make_operands(const Size& size, Type type, bool two_in_four, Numbers numbers) {
    Operands o;
    o.size = size;
    o.type = type;
    o.two_in_four = two_in_four;
    const auto fill_16 = type == Type::f16 ? filled<Type::f16> : filled<Type::bf16>;
    // The numbers of the dense weights are those of the masters, rounded.
    o.weights = fill_16(size.rows * size.depth, weights_stream, numbers);
    o.src = fill_16(size.cols * size.depth, src_stream, numbers);
    o.dst = DeviceMemory<uint16_t>(size.cols * size.rows);
    if (two_in_four) {
        const Layer layer{size.rows, 1, size.depth};
        const DeviceMemory<float> master = make_master(size.rows * size.depth, numbers);
        o.packed = make_packed(layer.forward());
        const Packed backward = make_packed(layer.backward());
        select_layer(layer, type, master.get(), o.packed, backward)();
        o.pruned = DeviceMemory<uint16_t>(size.rows * size.depth);
        expand(o.packed, size.rows, size.depth, o.pruned.get());
        check(cudaDeviceSynchronize(), "operands");
    }
    check(cudaDeviceSynchronize(), "operands");
    return o;
}

void poison(const Operands& o) {
    check(cudaMemset(o.dst.get(), poison_bits & 0xFF, o.dst.bytes()), "clearing the result");
}

Comparison compare(const Operands& operands, bool pruned, Roundings roundings) {
    return operands.type == Type::f16 ? compare_as<Type::f16>(operands, pruned, roundings)
                                      : compare_as<Type::bf16>(operands, pruned, roundings);
}

}  // namespace enmesh::cuda
