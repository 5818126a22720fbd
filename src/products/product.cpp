#include "enmesh/products/product.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "enmesh/base/error.hpp"
#include "products/dispatch.hpp"
#include "products/select/masked.hpp"

namespace enmesh::products {
namespace {

const MicroKernels& micro_of(const KernelEntry& entry, const Problem& problem, Isa isa) {
    return entry.whole_vectors ? micro_kernels_filled_by(problem.block, isa) : micro_kernels(isa);
}

std::string never_declines(const Problem&, const MicroKernels&) { return {}; }

constexpr KernelEntry reference{"reference", never_declines, make_reference};

// Where the zeros are filled in, the order is that of the dense kernels, after whatever skips zeros.
constexpr KernelEntry sparse_weights[] = {
    {"broadcast", decline_broadcast, make_broadcast},
    masked<decline_winograd, make_winograd>("winograd", true),
    masked<decline_dense, make_dense>("dense"),
    reference,
};
constexpr KernelEntry dense_weights[] = {
    {"winograd", decline_winograd, make_winograd, true},
    {"dense", decline_dense, make_dense},
    {"broadcast", decline_broadcast, make_broadcast},
    reference,
};
constexpr KernelEntry dense_gradient[] = {
    {"winograd", decline_winograd, make_winograd, true},
    {"outer", decline_outer, make_outer},
    reference,
};
constexpr KernelEntry sparse_gradient[] = {
    {"kept", decline_kept, make_kept, true},
    {"kept_rows", decline_kept_rows, make_kept_rows},
    masked<decline_winograd, make_winograd>("winograd", true),
    masked<decline_outer, make_outer>("outer"),
    reference,
};
// A gradient that is sparse along its channels has another pattern in every image, and images lie in the
// lanes.
constexpr KernelEntry sparse_gradient_along_channels[] = {
    masked<decline_winograd, make_winograd>("winograd", true),
    masked<decline_dense, make_dense>("dense"),
    masked<decline_broadcast, make_broadcast>("broadcast"),
    reference,
};

}  // namespace

bool verbose_dispatch() {
    static const bool verbose = [] {
        const char* const text = std::getenv("ENMESH_VERBOSE");
        return text != nullptr && std::strstr(text, "dispatch") != nullptr;
    }();
    return verbose;
}

void say_dispatch(const std::string& product, const std::string& what) {
    if (verbose_dispatch()) fmt::print(stderr, "enmesh: dispatch: {}: {}\n", product, what);
}

void Product::prepare(const PackedView&, std::span<std::byte>) const {
    fail("{}: kernel '{}' takes no compact weights", to_string(problem_), kernel());
}

void Product::prepare(std::span<const float>, std::span<std::byte>) const {
    fail("{}: kernel '{}' takes no dense weights", to_string(problem_), kernel());
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

std::span<const KernelEntry> kernel_list(const Problem& problem) {
    if (problem.stage == Stage::wg) {
        if (problem.sparse == Operand::diff_dst) return sparse_gradient;
        return dense_gradient;
    }
    if (problem.sparse == Operand::diff_dst) return sparse_gradient_along_channels;
    if (problem.sparse == Operand::weights) return sparse_weights;
    return dense_weights;
}

namespace {

// The list in default order: what runs on the baseline's vectors, without fused multiply-adds, where there
// are better ones, is behind all but the reference. Measured on resnet18 with a batch of 4 on AVX2, Winograd
// so served takes twice the time of the dense kernels.
std::vector<KernelEntry> default_order(const Problem& problem, Isa isa) {
    const std::span<const KernelEntry> list = kernel_list(problem);
    std::vector<KernelEntry> order(list.begin(), list.end());
    std::stable_partition(order.begin(), order.end() - 1, [&](const KernelEntry& entry) {
        return &micro_of(entry, problem, isa) == &micro_kernels(isa) ||
               &micro_of(entry, problem, isa) != &micro_portable;
    });
    return order;
}

}  // namespace

std::vector<Candidate> candidates(const Problem& problem, const PlanOptions& options) {
    check(problem);
    std::vector<Candidate> result;
    for (const KernelEntry& entry : default_order(problem, options.isa)) {
        result.push_back(
            {std::string(entry.name), entry.decline(problem, micro_of(entry, problem, options.isa))});
    }
    return result;
}

std::unique_ptr<Product> plan(const Problem& problem, std::string_view kernel, const PlanOptions& options) {
    check(problem);
    std::vector<std::string> names;
    for (const KernelEntry& entry : default_order(problem, options.isa)) {
        names.emplace_back(entry.name);
        if (!kernel.empty() && entry.name != kernel) continue;
        const MicroKernels& micro = micro_of(entry, problem, options.isa);
        const std::string declined = entry.decline(problem, micro);
        if (declined.empty()) {
            say_dispatch(to_string(problem), fmt::format("{} ({})", entry.name, micro.name));
            return entry.make(problem, micro);
        }
        if (!kernel.empty()) refuse("{}: kernel '{}' declines: {}", to_string(problem), kernel, declined);
        say_dispatch(to_string(problem), fmt::format("{} declines: {}", entry.name, declined));
    }
    refuse("{}: unknown kernel '{}'{}", to_string(problem), kernel, suggestion(kernel, names));
}

}  // namespace enmesh::products
