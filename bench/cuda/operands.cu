#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "products.hpp"

namespace enmesh::cuda {
namespace {

/// A number in [-1, 1) from its position.
__device__ float number_at(uint64_t at, uint64_t stream) {
    uint64_t z = (at + 1) * 0x9e3779b97f4a7c15ULL + stream;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return static_cast<float>((z ^ (z >> 31)) >> 40) * 0x1p-23F - 1.0F;
}

__global__ void fill(__half* values, int64_t rows, int64_t depth, int64_t kept_rows, int64_t kept_depth,
                     uint64_t stream, bool two_of_four) {
    const int64_t quads = depth / 4;
    const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= rows * quads) return;
    const int64_t row = at / quads, first = at % quads * 4;
    float quad[4];
    for (int i = 0; i < 4; ++i) {
        const bool inside = row < kept_rows && first + i < kept_depth;
        quad[i] = inside ? number_at(static_cast<uint64_t>(row * depth + first + i), stream) : 0.0F;
    }
    // Drops the two smallest magnitudes.
    for (int drop = 0; two_of_four && drop < 2; ++drop) {
        int least = -1;
        for (int i = 0; i < 4; ++i) {
            if (quad[i] != 0.0F && (least < 0 || fabsf(quad[i]) < fabsf(quad[least]))) least = i;
        }
        int left = 0;
        for (int i = 0; i < 4; ++i) left += quad[i] != 0.0F;
        if (left > 2) quad[least] = 0.0F;
    }
    for (int i = 0; i < 4; ++i) values[row * depth + first + i] = __float2half(quad[i]);
}

__global__ void multiply(const __half* weights, const __half* src, float* out, int64_t rows, int64_t cols,
                         int64_t depth) {
    const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= rows * cols) return;
    const __half* const a = weights + at / cols * depth;
    const __half* const b = src + at % cols * depth;
    double sum = 0;
    for (int64_t k = 0; k < depth; ++k)
        sum += static_cast<double>(__half2float(a[k])) * static_cast<double>(__half2float(b[k]));
    out[at] = static_cast<float>(sum);
}

unsigned blocks_for(int64_t count) { return static_cast<unsigned>((count + 255) / 256); }

template <typename T>
T* allocate(int64_t count) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, static_cast<size_t>(count) * sizeof(T)), "device memory");
    return static_cast<T*>(memory);
}

}  // namespace

Operands make_operands(int64_t rows, int64_t cols, int64_t depth) {
    Operands o;
    o.rows = padded(rows, tile);
    o.cols = padded(cols, tile);
    o.depth = padded(depth, tile_depth);
    o.weights = allocate<__half>(o.rows * o.depth);
    o.src = allocate<__half>(o.cols * o.depth);
    o.dst = allocate<__half>(o.rows * o.cols);
    o.reference = allocate<float>(o.rows * o.cols);
    fill<<<blocks_for(o.rows * o.depth / 4), 256>>>(o.weights, o.rows, o.depth, rows, depth, 1, true);
    fill<<<blocks_for(o.cols * o.depth / 4), 256>>>(o.src, o.cols, o.depth, cols, depth, 2, false);
    multiply<<<blocks_for(o.rows * o.cols), 256>>>(o.weights, o.src, o.reference, o.rows, o.cols, o.depth);
    check(cudaGetLastError(), "operands");
    check(cudaDeviceSynchronize(), "operands");
    return o;
}

void release(Operands& o) {
    for (void* memory : {static_cast<void*>(o.weights), static_cast<void*>(o.src), static_cast<void*>(o.dst),
                         static_cast<void*>(o.reference)})
        cudaFree(memory);
    o = {};
}

void clear_result(const Operands& o) {
    check(cudaMemset(o.dst, 0, static_cast<size_t>(o.rows * o.cols) * sizeof(__half)), "clearing the result");
}

double relative_error(const Operands& o) {
    const auto count = static_cast<size_t>(o.rows * o.cols);
    std::vector<__half> dst(count);
    std::vector<float> reference(count);
    check(cudaMemcpy(dst.data(), o.dst, count * sizeof(__half), cudaMemcpyDeviceToHost),
          "reading the result");
    check(cudaMemcpy(reference.data(), o.reference, count * sizeof(float), cudaMemcpyDeviceToHost),
          "reading the reference");
    double error = 0, scale = 0;
    for (size_t i = 0; i < count; ++i) {
        const double difference =
            std::abs(static_cast<double>(__half2float(dst[i])) - static_cast<double>(reference[i]));
        if (std::isnan(difference)) return std::numeric_limits<double>::quiet_NaN();
        error = std::max(error, difference);
        scale = std::max(scale, std::abs(static_cast<double>(reference[i])));
    }
    return error / scale;
}

float median_milliseconds(const Run& run, int rounds) {
    cudaEvent_t begin{}, end{};
    check(cudaEventCreate(&begin), "event");
    check(cudaEventCreate(&end), "event");
    run();
    std::vector<float> taken;
    for (int round = 0; round < rounds; ++round) {
        check(cudaEventRecord(begin), "event");
        run();
        check(cudaEventRecord(end), "event");
        check(cudaEventSynchronize(end), "product");
        float milliseconds = 0;
        check(cudaEventElapsedTime(&milliseconds, begin, end), "event");
        taken.push_back(milliseconds);
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    std::nth_element(taken.begin(), taken.begin() + static_cast<ptrdiff_t>(taken.size() / 2), taken.end());
    return taken[taken.size() / 2];
}

}  // namespace enmesh::cuda
