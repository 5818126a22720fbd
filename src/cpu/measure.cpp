#include "cpu/measure.hpp"

#include <algorithm>
#include <memory>
#include <vector>

#include "enmesh/base/buffer.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/products/packed.hpp"
#include "enmesh/products/product.hpp"

namespace enmesh::cpu {
namespace {

Buffer random_floats(int64_t count) {
    Buffer buffer(static_cast<size_t>(count) * sizeof(float));
    Random random(7);
    for (float& value : buffer.as<float>()) value = random.uniform(-1.0F, 1.0F);
    return buffer;
}

/// One kernel with its own prepared weights and workspace, on shared operands.
struct Entrant {
    std::unique_ptr<products::Product> product;
    Buffer prepared, workspace;
    std::vector<double> seconds;
};

products::Packed random_packed(const products::Problem& problem, const Buffer& weights) {
    if (problem.sparse == products::Operand::weights) {
        return products::pack_weights(problem.conv, problem.stage, problem.pattern, weights.as<float>());
    }
    const products::Conv& conv = problem.conv;
    const int64_t positions = conv.n * conv.out_h() * conv.out_w();
    const bool along_positions = problem.stage == products::Stage::wg;
    products::Packed packed(along_positions ? products::PackedShape{problem.pattern, conv.k, 1, positions}
                                            : products::PackedShape{problem.pattern, positions, 1, conv.k});
    const Buffer dense = random_floats(conv.dst_size());
    products::pack(dense.as<float>().data(), {packed.shape().reduction, 0, 1}, packed.span());
    return packed;
}

}  // namespace

std::string fastest_kernel(const products::Problem& problem) {
    std::vector<Entrant> entrants;
    for (const products::Candidate& candidate : products::candidates(problem)) {
        if (!candidate.declined.empty() || (candidate.name == "reference" && !entrants.empty())) continue;
        Entrant entrant;
        entrant.product = products::plan(problem, candidate.name);
        entrants.push_back(std::move(entrant));
    }
    if (entrants.size() == 1) return std::string(entrants.front().product->kernel());

    const products::Conv& conv = problem.conv;
    const Buffer src = random_floats(conv.src_size()), diff_dst = random_floats(conv.dst_size());
    const Buffer weights = random_floats(conv.weights_size());
    Buffer out(static_cast<size_t>(std::max({conv.src_size(), conv.dst_size(), conv.weights_size()})) *
               sizeof(float));
    products::Packed packed;
    if (problem.sparse != products::Operand::none) packed = random_packed(problem, weights);
    const products::PackedView view = packed.view();
    for (Entrant& entrant : entrants) {
        entrant.prepared = Buffer(entrant.product->prepared_bytes());
        entrant.workspace = Buffer(entrant.product->workspace_bytes());
        if (problem.stage == products::Stage::wg) continue;
        if (problem.sparse == products::Operand::weights) {
            entrant.product->prepare(view, entrant.prepared.as<std::byte>());
        } else {
            entrant.product->prepare(weights.as<float>(), entrant.prepared.as<std::byte>());
        }
    }
    constexpr int rounds = 4;
    for (int round = 0; round < rounds; ++round) {
        for (Entrant& entrant : entrants) {
            products::Arguments arguments;
            arguments.src = src.as<float>().data();
            arguments.diff_dst = diff_dst.as<float>().data();
            if (problem.sparse == products::Operand::diff_dst) arguments.packed_diff_dst = &view;
            arguments.prepared = entrant.prepared.as<std::byte>();
            arguments.out = out.as<float>().data();
            arguments.workspace = entrant.workspace.as<std::byte>();
            const Timer timer;
            entrant.product->run(arguments);
            if (round > 0) entrant.seconds.push_back(timer.seconds());
        }
    }
    const auto median = [](Entrant& entrant) {
        std::sort(entrant.seconds.begin(), entrant.seconds.end());
        return entrant.seconds[entrant.seconds.size() / 2];
    };
    const auto best = std::min_element(entrants.begin(), entrants.end(),
                                       [&](Entrant& a, Entrant& b) { return median(a) < median(b); });
    return std::string(best->product->kernel());
}

}  // namespace enmesh::cpu
