#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

#include "comparison.hpp"
#include "layout.hpp"

/// One product on a GPU, by several ways of computing it: dst[cols][rows] = src[cols][depth] ·
/// weights[rows][depth]ᵀ in FP16 or BF16 with FP32 sums. `cols` are positions (of a map, of tokens), so that
/// dst lies as the next product's src does.
namespace enmesh::cuda {

enum class Type : uint8_t { f16, bf16 };
constexpr const char* name_of(Type type) { return type == Type::f16 ? "f16" : "bf16"; }

inline void check(cudaError_t error, const char* what) {
    if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

/// Device memory that goes with its owner.
template <typename T>
class DeviceMemory {
  public:
    DeviceMemory() = default;
    explicit DeviceMemory(int64_t count) : count_(count) {
        void* memory = nullptr;
        check(cudaMalloc(&memory, bytes()), "device memory");
        data_ = static_cast<T*>(memory);
    }
    DeviceMemory(DeviceMemory&& other) noexcept : data_(other.data_), count_(other.count_) {
        other.data_ = nullptr;
        other.count_ = 0;
    }
    DeviceMemory& operator=(DeviceMemory&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(count_, other.count_);
        return *this;
    }
    ~DeviceMemory() { cudaFree(data_); }

    T* get() const { return data_; }
    int64_t count() const { return count_; }
    size_t bytes() const { return static_cast<size_t>(count_) * sizeof(T); }

  private:
    T* data_ = nullptr;
    int64_t count_ = 0;
};

/// A packed 2:4 operand (layout.hpp).
struct Packed {
    DeviceMemory<uint16_t> values;
    DeviceMemory<uint32_t> metadata;
};
/// Padding as layout.hpp wants it, the rest undefined until something is packed into it.
Packed make_packed(PackedSize size);

/// Multiples of 16. `depth_major`: weights [depth][rows] and src [depth][cols], as WG finds them in memory.
struct Size {
    int64_t rows = 0, cols = 0, depth = 0;
    bool depth_major = false;
};

/// Numbers to multiply: uniform in [-1, 1), or whole ones from -2 to 2, of which sums are exact.
enum class Numbers : uint8_t { uniform, whole };

struct Operands {
    Size size;
    Type type = Type::f16;
    DeviceMemory<uint16_t> weights, src, dst;
    bool two_in_four = false;       ///< whether the next two are there
    DeviceMemory<uint16_t> pruned;  ///< [rows][depth], what `packed` holds with its zeros
    Packed packed;
};
/// Weights are packed by the selection kernel from float32 masters.
Operands make_operands(const Size& size, Type type, bool two_in_four, Numbers numbers);

/// Enqueues work on the default stream.
using Run = std::function<void()>;

/// A layer's two packed forms from its float32 masters, in one kernel. Refuses channels that are no multiples
/// of 16.
Run select_layer(const Layer& layer, Type type, const float* master, const Packed& forward,
                 const Packed& backward);
/// Random masters.
DeviceMemory<float> make_master(int64_t count, Numbers numbers);
/// The packed operand with its zeros, [rows][depth].
void expand(const Packed& packed, int64_t rows, int64_t depth, uint16_t* dense);

/// PTX `mma.sp` in a kernel of ours: the faster of its two block shapes where `timed` says how long a run
/// takes, otherwise (empty) the one that pads less.
Run mma_sp_product(const Operands& operands, const std::function<double(const Run&)>& timed);
/// Dense, the fastest of the algorithms that cuBLASLt proposes; `timed` as above.
Run cublaslt_product(const Operands& operands, const std::function<double(const Run&)>& timed);
size_t cublaslt_version();

/// What a comparison with the plain kernel found.
struct Comparison {
    uint64_t compared = 0, wrong = 0;
    uint64_t unwritten = 0;  ///< results that are still the poison, or NaN
    double worst = 0;        ///< largest difference over the largest allowed one
    bool right() const { return wrong == 0 && unwritten == 0 && compared > 0; }
};
/// Fills dst with what no product yields.
void poison(const Operands& operands);
/// dst against double sums of a plain kernel: every result of a small product, `samples` of a larger one, and
/// every result for being written.
Comparison compare(const Operands& operands, bool pruned, Roundings roundings);

}  // namespace enmesh::cuda
