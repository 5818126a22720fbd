#include "enmesh/products/product.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "enmesh/base/error.hpp"
#include "products/dispatch.hpp"
#include "products/masked.hpp"

namespace enmesh::products {
namespace {

std::string never_declines(const Problem&, const MicroKernels&) { return {}; }

constexpr KernelEntry reference{"reference", never_declines, make_reference};

// Where the zeros are filled in, the order is that of the dense kernels, after whatever skips zeros.
constexpr KernelEntry sparse_weights[] = {
    {"broadcast", decline_broadcast, make_broadcast},
    masked<decline_winograd, make_winograd>("winograd"),
    masked<decline_dense, make_dense>("dense"),
    reference,
};
constexpr KernelEntry dense_weights[] = {
    {"winograd", decline_winograd, make_winograd},
    {"dense", decline_dense, make_dense},
    {"broadcast", decline_broadcast, make_broadcast},
    reference,
};
constexpr KernelEntry dense_gradient[] = {
    {"winograd", decline_winograd, make_winograd},
    {"outer", decline_outer, make_outer},
    reference,
};
constexpr KernelEntry sparse_gradient[] = {
    {"kept", decline_kept, make_kept},
    masked<decline_winograd, make_winograd>("winograd"),
    masked<decline_outer, make_outer>("outer"),
    reference,
};
// A gradient that is sparse along its channels has another pattern in every image, and images lie in the
// lanes.
constexpr KernelEntry sparse_gradient_along_channels[] = {
    masked<decline_winograd, make_winograd>("winograd"),
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

std::span<const KernelEntry> kernel_list(const Problem& problem) {
    if (problem.stage == Stage::wg) {
        if (problem.sparse == Operand::diff_dst) return sparse_gradient;
        return dense_gradient;
    }
    if (problem.sparse == Operand::diff_dst) return sparse_gradient_along_channels;
    if (problem.sparse == Operand::weights) return sparse_weights;
    return dense_weights;
}

std::vector<Candidate> candidates(const Problem& problem, const PlanOptions& options) {
    check(problem);
    std::vector<Candidate> result;
    for (const KernelEntry& entry : kernel_list(problem)) {
        result.push_back({std::string(entry.name), entry.decline(problem, micro_kernels(options.isa))});
    }
    return result;
}

std::unique_ptr<Product> plan(const Problem& problem, std::string_view kernel, const PlanOptions& options) {
    check(problem);
    const MicroKernels& micro = micro_kernels(options.isa);
    std::vector<std::string> names;
    for (const KernelEntry& entry : kernel_list(problem)) {
        names.emplace_back(entry.name);
        if (!kernel.empty() && entry.name != kernel) continue;
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
