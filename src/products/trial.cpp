#include "enmesh/products/trial.hpp"

#include <algorithm>

#include "enmesh/base/half.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/products/select.hpp"

namespace enmesh::products {
namespace {

bool reads_bf16(const Problem& problem) { return problem.numbers.a == Number::bf16; }

Buffer random_numbers(const Problem& problem, int64_t count) {
    Buffer buffer = random_floats(count);
    if (!reads_bf16(problem)) return buffer;
    for (float& value : buffer.as<float>()) value = to_float(to_bfloat16(value));
    return buffer;
}

Buffer narrowed(const Buffer& map) {
    const std::span<const float> from = map.as<const float>();
    Buffer to(from.size() * sizeof(uint16_t));
    std::ranges::transform(from, to.as<uint16_t>().begin(),
                           [](float value) { return to_bfloat16(value).bits; });
    return to;
}

Packed random_packed(const Problem& problem, const Buffer& weights, const Buffer& diff_dst) {
    switch (problem.sparse()) {
        case Operand::none:
            break;
        case Operand::weights:
            return pack_weights(problem.conv, problem.stage, problem.pattern(), weights.as<const float>());
        case Operand::diff_dst:
            return pack_diff_dst(problem, {}, diff_dst.as<const float>().data());
    }
    return {};
}

/// A map of its own for a kernel that pads it; empty for any other.
Buffer padded_map(size_t wanted, const Buffer& map, bool bf16) {
    if (wanted <= map.bytes()) return {};
    if (!bf16) return random_floats(static_cast<int64_t>(wanted / sizeof(float)));
    return narrowed(random_floats(static_cast<int64_t>(wanted / sizeof(uint16_t))));
}

size_t out_bytes(const Product& product) {
    switch (product.problem().stage) {
        case Stage::ff:
            return product.dst_bytes();
        case Stage::bp:
            return product.src_bytes();
        case Stage::wg:
            break;
    }
    return static_cast<size_t>(product.problem().conv.weights_size()) * sizeof(float);
}

}  // namespace

Buffer random_floats(int64_t count) {
    Buffer buffer(static_cast<size_t>(count) * sizeof(float));
    Random random(7);
    for (float& value : buffer.as<float>()) value = random.uniform(-1.0F, 1.0F);
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

TrialOperands::TrialOperands(const Problem& wanted)
    : problem(wanted),
      src(random_numbers(wanted, wanted.conv.src_size())),
      diff_dst(random_numbers(wanted, wanted.conv.dst_size())),
      weights(random_numbers(wanted, wanted.conv.weights_size())),
      bias(random_floats(wanted.conv.k)),
      src_bf16(reads_bf16(wanted) ? narrowed(src) : Buffer()),
      diff_dst_bf16(reads_bf16(wanted) ? narrowed(diff_dst) : Buffer()),
      packed(random_packed(wanted, weights, diff_dst)) {}

KernelTrial::KernelTrial(const TrialOperands& operands, std::unique_ptr<Product> product, bool bias)
    : operands_(operands),
      product_(std::move(product)),
      prepared_(product_->prepared_bytes()),
      workspace_(product_->workspace_bytes()),
      out_(out_bytes(*product_)),
      bias_(bias) {
    const bool bf16 = reads_bf16(operands.problem);
    src_ = padded_map(product_->src_bytes(), bf16 ? operands.src_bf16 : operands.src, bf16);
    dst_ = padded_map(product_->dst_bytes(), bf16 ? operands.diff_dst_bf16 : operands.diff_dst, bf16);
    if (product_->prepares_dense()) dense_ = Buffer(operands.weights.bytes());
    prepare();
}

double KernelTrial::prepare() {
    const Problem& problem = operands_.problem;
    if (problem.stage == Stage::wg || product_->weights_in_place()) return 0;
    const Timer timer;
    if (problem.sparse() != Operand::weights) {
        product_->prepare(operands_.weights.as<float>(), prepared_.as<std::byte>());
    } else if (product_->prepares_dense()) {
        unpack_weights(problem.conv, problem.stage, operands_.packed.view(), dense_.as<float>());
        product_->prepare(std::span<const float>(dense_.as<float>()), prepared_.as<std::byte>());
    } else {
        product_->prepare(operands_.packed.view(), prepared_.as<std::byte>());
    }
    return timer.seconds();
}

double KernelTrial::run() {
    const auto map = [](const Buffer& padded, const Buffer& given) -> const Buffer& {
        return padded.bytes() > 0 ? padded : given;
    };
    const bool bf16 = reads_bf16(operands_.problem);
    const PackedView packed = operands_.packed.view();
    Arguments arguments;
    if (bf16) {
        arguments.src_bf16 = map(src_, operands_.src_bf16).as<uint16_t>().data();
        arguments.diff_dst_bf16 = map(dst_, operands_.diff_dst_bf16).as<uint16_t>().data();
    } else {
        arguments.src = map(src_, operands_.src).as<float>().data();
        arguments.diff_dst = map(dst_, operands_.diff_dst).as<float>().data();
    }
    if (operands_.problem.sparse() == Operand::diff_dst) arguments.packed_diff_dst = &packed;
    arguments.prepared = prepared_.as<std::byte>();
    arguments.weights = operands_.weights.as<float>().data();
    arguments.out = out_.as<float>().data();
    if (bias_) arguments.epilogue.bias = operands_.bias.as<float>().data();
    arguments.workspace = workspace_.as<std::byte>();
    const Timer timer;
    product_->run(arguments);
    return timer.seconds();
}

const Kernel* fastest_kernel(const std::vector<const Kernel*>& kernels, const Problem& problem,
                             bool weights_change, const PlanOptions& options) {
    std::vector<const Kernel*> measured = kernels;
    if (measured.size() > 1)
        std::erase_if(measured,
                      [&](const Kernel* kernel) { return kernel->properties(problem, options).oracle; });
    if (measured.size() == 1) return measured.front();

    const TrialOperands operands(problem);
    std::vector<KernelTrial> trials;
    trials.reserve(measured.size());
    std::vector<std::function<void()>> contestants;
    for (const Kernel* const kernel : measured) {
        KernelTrial& trial = trials.emplace_back(operands, kernel->plan(problem, options), options.bias);
        contestants.emplace_back([&trial, weights_change] {
            if (weights_change) trial.prepare();
            trial.run();
        });
    }
    return measured[fastest_of(contestants)];
}

}  // namespace enmesh::products
