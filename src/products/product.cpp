#include "enmesh/products/product.hpp"

#include "enmesh/base/error.hpp"
#include "products/kernels.hpp"

namespace enmesh::products {
namespace {

size_t bytes_of(int64_t elements, Number number) {
    return static_cast<size_t>(elements) * (number == Number::bf16 ? sizeof(uint16_t) : sizeof(float));
}

}  // namespace

void Product::prepare(const PackedView&, std::span<std::byte>) const {
    fail("{}: kernel '{}' takes no compact weights", to_string(problem_), kernel());
}

void Product::prepare(std::span<const float>, std::span<std::byte>) const {
    fail("{}: kernel '{}' takes no dense weights", to_string(problem_), kernel());
}

size_t Product::src_bytes() const {
    const Numbers& numbers = problem_.numbers;
    return bytes_of(problem_.conv.src_size(), problem_.stage == Stage::bp ? numbers.out : numbers.a);
}

size_t Product::dst_bytes() const {
    const Numbers& numbers = problem_.numbers;
    const Number dst = problem_.stage == Stage::ff   ? numbers.out
                       : problem_.stage == Stage::bp ? numbers.a
                                                     : numbers.b;
    return bytes_of(problem_.conv.dst_size(), dst);
}

void require_bytes(std::span<const std::byte> span, size_t bytes, const char* what) {
    if (span.size() < bytes) fail("{} has {} bytes, {} are needed", what, span.size(), bytes);
}

const MicroKernels& micro_kernels([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::avx512) return micro_avx512;
    if (isa == Isa::avx2) return micro_avx2;
#endif
    return micro_portable;
}

const MicroKernels& micro_kernels_filled_by(int block, Isa isa) {
    for (const Isa narrower : {Isa::avx512, Isa::avx2, Isa::portable}) {
        if (narrower <= isa && block % micro_kernels(narrower).lanes == 0) return micro_kernels(narrower);
    }
    return micro_kernels(isa);
}

}  // namespace enmesh::products
