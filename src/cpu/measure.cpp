#include "cpu/measure.hpp"

#include <algorithm>
#include <vector>

#include "cpu/matrix_product.hpp"
#include "cpu/simd/simd.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/products/select.hpp"

namespace enmesh::cpu {
namespace {

products::Packed random_packed(const products::Problem& problem, const Buffer& weights,
                               const Buffer& diff_dst) {
    switch (problem.sparse) {
        case products::Operand::none:
            break;
        case products::Operand::weights:
            return products::pack_weights(problem.conv, problem.stage, problem.pattern, weights.as<float>());
        case products::Operand::diff_dst:
            return products::pack_diff_dst(problem, {}, diff_dst.as<float>().data());
    }
    return {};
}

Buffer random_numbers(int64_t count, TrialNumbers numbers) {
    Buffer buffer = random_floats(count);
    float* const values = buffer.as<float>().data();
    if (numbers == TrialNumbers::bf16) simd().round_to_bf16(values, values, count);
    return buffer;
}

int64_t out_size(const products::Problem& problem) {
    switch (problem.stage) {
        case products::Stage::ff:
            return problem.conv.dst_size();
        case products::Stage::bp:
            return problem.conv.src_size();
        case products::Stage::wg:
            break;
    }
    return problem.conv.weights_size();
}

}  // namespace

Buffer random_floats(int64_t count) {
    Buffer buffer(static_cast<size_t>(count) * sizeof(float));
    Random random(7);
    for (float& value : buffer.as<float>()) value = random.uniform(-1.0F, 1.0F);
    return buffer;
}

Buffer random_bf16(int64_t count) {
    const Buffer floats = random_floats(count);
    Buffer buffer(static_cast<size_t>(count) * sizeof(uint16_t));
    simd().to_bf16(floats.as<float>().data(), buffer.as<uint16_t>().data(), count);
    return buffer;
}

size_t fastest_of(const std::vector<std::function<void()>>& contestants) {
    std::vector<std::vector<double>> seconds(contestants.size());
    constexpr int rounds = 4;
    for (int round = 0; round < rounds; ++round) {
        for (size_t i = 0; i < contestants.size(); ++i) {
            const Timer timer;
            contestants[i]();
            if (round > 0) seconds[i].push_back(timer.seconds());
        }
    }
    std::vector<double> medians;
    for (std::vector<double>& values : seconds) {
        std::sort(values.begin(), values.end());
        medians.push_back(values[values.size() / 2]);
    }
    return static_cast<size_t>(std::min_element(medians.begin(), medians.end()) - medians.begin());
}

TrialOperands::TrialOperands(const products::Problem& wanted, TrialNumbers numbers)
    : problem(wanted),
      src(random_numbers(wanted.conv.src_size(), numbers)),
      diff_dst(random_numbers(wanted.conv.dst_size(), numbers)),
      weights(random_numbers(wanted.conv.weights_size(), numbers)),
      packed(random_packed(wanted, weights, diff_dst)) {}

KernelTrial::KernelTrial(const TrialOperands& operands, std::string_view kernel)
    : operands_(operands),
      product_(plan_kernel(operands.problem, kernel)),
      prepared_(product_->prepared_bytes()),
      workspace_(product_->workspace_bytes()),
      out_(static_cast<size_t>(out_size(operands.problem)) * sizeof(float)) {
    prepare();
}

double KernelTrial::prepare() {
    if (operands_.problem.stage == products::Stage::wg) return 0;
    const Timer timer;
    if (operands_.problem.sparse == products::Operand::weights) {
        product_->prepare(operands_.packed.view(), prepared_.as<std::byte>());
    } else {
        product_->prepare(operands_.weights.as<float>(), prepared_.as<std::byte>());
    }
    return timer.seconds();
}

double KernelTrial::run() {
    const products::PackedView packed = operands_.packed.view();
    products::Arguments arguments;
    arguments.src = operands_.src.as<float>().data();
    arguments.diff_dst = operands_.diff_dst.as<float>().data();
    if (operands_.problem.sparse == products::Operand::diff_dst) arguments.packed_diff_dst = &packed;
    arguments.prepared = prepared_.as<std::byte>();
    arguments.out = out_.as<float>().data();
    arguments.workspace = workspace_.as<std::byte>();
    const Timer timer;
    product_->run(arguments);
    return timer.seconds();
}

std::string fastest_kernel(const products::Problem& problem, bool weights_change) {
    std::vector<std::string> names;
    for (const products::Candidate& candidate : kernel_candidates(problem)) {
        if (!candidate.declined.empty() || (candidate.name == "reference" && !names.empty())) continue;
        names.push_back(candidate.name);
    }
    if (names.size() == 1) return names.front();

    const TrialOperands operands(problem);
    std::vector<KernelTrial> trials;
    trials.reserve(names.size());
    std::vector<std::function<void()>> contestants;
    for (const std::string& name : names) {
        KernelTrial& trial = trials.emplace_back(operands, name);
        contestants.emplace_back([&trial, weights_change] {
            if (weights_change) trial.prepare();
            trial.run();
        });
    }
    return names[fastest_of(contestants)];
}

}  // namespace enmesh::cpu
