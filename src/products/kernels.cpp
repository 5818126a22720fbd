#include "products/kernels.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>

#include "enmesh/base/error.hpp"
#include "products/select/masked.hpp"

namespace enmesh::products {
namespace {

bool weights_product(const Problem& problem) { return problem.stage != Stage::wg; }
bool weight_gradient(const Problem& problem) { return problem.stage == Stage::wg; }
bool sparse_weight_gradient(const Problem& problem) {
    return problem.stage == Stage::wg && problem.sparse() == Operand::diff_dst;
}
bool any_product(const Problem&) { return true; }

bool always(const Problem&) { return true; }
bool never(const Problem&) { return false; }
bool of_weights(const Problem& problem) { return problem.sparse() == Operand::weights; }

std::string never_declines(const Problem&, const MicroKernels&) { return {}; }

// Images lie in the lanes, and a gradient that is sparse along its channels has another pattern in every
// image: there its zeros are filled in.
std::string decline_broadcast_or_fill(const Problem& problem, const MicroKernels& micro) {
    return decline_broadcast(of_weights(problem) ? problem : filled_in(problem), micro);
}
std::unique_ptr<Product> make_broadcast_or_fill(const Problem& problem, const MicroKernels& micro) {
    return of_weights(problem) ? make_broadcast(problem, micro)
                               : make_filled_in<make_broadcast>(problem, micro);
}

// To add a kernel, add a line. The order counts among kernels that are alike in what default_order() asks
// first. permuted_kernel() stands in front of these, the reference behind them.
constexpr KernelEntry entries[] = {
    {"kept", sparse_weight_gradient, decline_kept, make_kept, always, true},
    {"kept_rows", sparse_weight_gradient, decline_kept_rows, make_kept_rows, always},
    {"winograd", any_product, decline_filled_in<decline_winograd>, make_filled_in<make_winograd>, never, true,
     true},
    {"dense", weights_product, decline_filled_in<decline_dense>, make_filled_in<make_dense>, never},
    {"outer", weight_gradient, decline_filled_in<decline_outer>, make_filled_in<make_outer>, never},
    {"broadcast", weights_product, decline_broadcast_or_fill, make_broadcast_or_fill, of_weights},
    {"reference", any_product, never_declines, make_reference, never},
};

bool images_in_lanes(const Problem& problem) {
    return problem.lanes == Lanes::images && problem.numbers == Numbers{};
}

const MicroKernels& micro_of(const KernelEntry& entry, const Problem& problem, Isa isa) {
    return entry.whole_vectors ? micro_kernels_filled_by(problem.block, isa) : micro_kernels(isa);
}

Properties properties_of(const KernelEntry& entry, const Problem& problem, Isa isa) {
    const MicroKernels* const micro = &micro_of(entry, problem, isa);
    return {.skips_zeros = entry.skips_zeros(problem),
            .baseline_vectors = micro == &micro_portable && micro != &micro_kernels(isa),
            .oracle = entry.make == make_reference,
            .transforms = entry.transforms};
}

Kernel kernel_of(const KernelEntry& entry) {
    return {
        .name = std::string(entry.name),
        .concerns = [entry](const Problem& p) { return images_in_lanes(p) && entry.concerns(p); },
        .declines =
            [entry](const Problem& p, const PlanOptions& options) {
                return entry.decline(p, micro_of(entry, p, options.isa));
            },
        .plan =
            [entry](const Problem& p, const PlanOptions& options) {
                const MicroKernels& micro = micro_of(entry, p, options.isa);
                say_dispatch(to_string(p), fmt::format("{} ({})", entry.name, micro.name));
                return entry.make(p, micro);
            },
        .properties = [entry](const Problem& p,
                              const PlanOptions& options) { return properties_of(entry, p, options.isa); }};
}

}  // namespace

std::vector<KernelEntry> kernel_list(const Problem& problem) {
    std::vector<KernelEntry> list;
    std::ranges::copy_if(entries, std::back_inserter(list), [&](const KernelEntry& entry) {
        return images_in_lanes(problem) && entry.concerns(problem);
    });
    return list;
}

const KernelList& product_kernels() {
    static const KernelList list = [] {
        KernelList made{permuted_kernel()};
        for (const KernelEntry& entry : entries) made.push_back(kernel_of(entry));
        return made;
    }();
    return list;
}

// Baseline vectors, that is no fused multiply-adds, are behind: measured on resnet18 with a batch of 4 on
// AVX2, Winograd so served takes twice the time of the dense kernels.
std::vector<const Kernel*> default_order(const KernelList& list, const Problem& problem,
                                         const PlanOptions& options) {
    check(problem);
    std::vector<std::pair<std::tuple<bool, bool, bool>, const Kernel*>> ranked;
    for (const Kernel& kernel : list) {
        if (!kernel.concerns(problem)) continue;
        const Properties p = kernel.properties(problem, options);
        ranked.emplace_back(std::tuple{p.oracle, p.baseline_vectors, !p.skips_zeros}, &kernel);
    }
    std::ranges::stable_sort(ranked, {}, [](const auto& one) { return one.first; });
    std::vector<const Kernel*> order;
    for (const auto& [rank, kernel] : ranked) order.push_back(kernel);
    return order;
}

std::vector<const Kernel*> accepting(const KernelList& list, const Problem& problem,
                                     const PlanOptions& options) {
    std::vector<const Kernel*> order = default_order(list, problem, options);
    std::erase_if(order, [&](const Kernel* kernel) { return !kernel->declines(problem, options).empty(); });
    return order;
}

std::string planned_name(const Kernel& kernel, const Problem& problem, const PlanOptions& options) {
    return kernel.planned_as ? kernel.planned_as(problem, options) : kernel.name;
}

const Kernel* find_planned(const std::vector<const Kernel*>& kernels, std::string_view name,
                           const Problem& problem, const PlanOptions& options) {
    for (const Kernel* const kernel : kernels) {
        if (planned_name(*kernel, problem, options) == name) return kernel;
    }
    // Plans of before may have details of the implementation behind a name, as a library's version had them.
    for (const Kernel* const kernel : kernels) {
        if (name.starts_with(kernel->name + " ")) return kernel;
    }
    return nullptr;
}

std::vector<Candidate> candidates(const KernelList& list, const Problem& problem,
                                  const PlanOptions& options) {
    std::vector<Candidate> result;
    for (const Kernel* const kernel : default_order(list, problem, options))
        result.push_back({planned_name(*kernel, problem, options), kernel->declines(problem, options)});
    return result;
}

std::vector<Candidate> candidates(const Problem& problem, const PlanOptions& options) {
    return candidates(product_kernels(), problem, options);
}

std::unique_ptr<Product> plan(const KernelList& list, const Problem& problem, std::string_view kernel,
                              const PlanOptions& options) {
    const std::vector<const Kernel*> order = default_order(list, problem, options);
    if (!kernel.empty()) {
        const Kernel* const named = find_planned(order, kernel, problem, options);
        if (named == nullptr) {
            std::vector<std::string> names;
            for (const Kernel* const one : order) names.push_back(planned_name(*one, problem, options));
            refuse("{}: unknown kernel '{}'{}", to_string(problem), kernel, suggestion(kernel, names));
        }
        if (const std::string declined = named->declines(problem, options); !declined.empty())
            refuse("{}: kernel '{}' declines: {}", to_string(problem), kernel, declined);
        return named->plan(problem, options);
    }
    for (const Kernel* const one : order) {
        const std::string declined = one->declines(problem, options);
        if (declined.empty()) return one->plan(problem, options);
        say_dispatch(to_string(problem),
                     fmt::format("{} declines: {}", planned_name(*one, problem, options), declined));
    }
    refuse("{}: no kernel serves it", to_string(problem));
}

std::unique_ptr<Product> plan(const Problem& problem, std::string_view kernel, const PlanOptions& options) {
    return plan(product_kernels(), problem, kernel, options);
}

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

}  // namespace enmesh::products
