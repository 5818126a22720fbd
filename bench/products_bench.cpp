// Our products against oneDNN's dense ones on the convolutions of ResNet-18 (CIFAR shape), interleaved in one
// process. Correctness first: every kernel is checked against the reference on the same shape with one image
// block, and a timed output must be finite and non-zero. On one thread times are processor time, otherwise
// wall time. oneDNN runs in layouts of its own choice; reorders are excluded on both sides.
//
//   products_bench [--batch B] [--pattern N:M] [--threads T] [--rounds R] [--layer I] [--stage ff|bp|wg]

#include <fmt/core.h>
#include <omp.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <dnnl.hpp>
#include <string>
#include <unordered_map>
#include <vector>

#include "enmesh/base/buffer.hpp"
#include "enmesh/base/compare.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/products/product.hpp"
#include "enmesh/products/select.hpp"

using namespace enmesh;
using namespace enmesh::products;

namespace {

struct Options {
    int64_t batch = 128;
    Pattern pattern{2, 8};
    int threads = 0, rounds = 7, layer = -1;
    std::string stage;
};

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string name = argv[i], value = argv[i + 1];
        if (name == "--batch") {
            options.batch = std::stol(value);
        } else if (name == "--pattern") {
            options.pattern = parse_pattern(value);
        } else if (name == "--threads") {
            options.threads = std::stoi(value);
        } else if (name == "--rounds") {
            options.rounds = std::stoi(value);
        } else if (name == "--layer") {
            options.layer = std::stoi(value);
        } else if (name == "--stage") {
            options.stage = value;
        } else {
            refuse("unknown option '{}'", name);
        }
    }
    return options;
}

Conv layer(int64_t n, int64_t c, int64_t k, int64_t h, int64_t window, int64_t stride) {
    const int64_t pad = window / 2;
    return {.n = n,
            .c = c,
            .h = h,
            .w = h,
            .k = k,
            .r = window,
            .s = window,
            .stride_h = stride,
            .stride_w = stride,
            .pad_top = pad,
            .pad_left = pad,
            .pad_bottom = pad,
            .pad_right = pad};
}

std::vector<Conv> resnet18(int64_t n) {
    return {layer(n, 3, 64, 32, 3, 1),    layer(n, 64, 64, 32, 3, 1),   layer(n, 64, 128, 32, 3, 2),
            layer(n, 64, 128, 32, 1, 2),  layer(n, 128, 128, 16, 3, 1), layer(n, 128, 256, 16, 3, 2),
            layer(n, 128, 256, 16, 1, 2), layer(n, 256, 256, 8, 3, 1),  layer(n, 256, 512, 8, 3, 2),
            layer(n, 256, 512, 8, 1, 2),  layer(n, 512, 512, 4, 3, 1)};
}

std::vector<float> random_floats(int64_t size, uint64_t seed) {
    Random random(seed);
    std::vector<float> values(static_cast<size_t>(size));
    for (float& value : values) value = random.uniform(-1.0F, 1.0F);
    return values;
}

// One of our kernels, with memory of its own.
struct Ours {
    std::string name;
    std::unique_ptr<Product> product;
    Buffer prepared, workspace;
    Packed gradient;
    std::vector<float> out;

    Ours(const Problem& problem, const std::string& kernel, std::span<const float> weights)
        : name(problem.sparse != Operand::none ? to_string(problem.pattern) + " " + kernel : kernel),
          product(plan(problem, kernel)),
          prepared(product->prepared_bytes()),
          workspace(product->workspace_bytes()) {
        const Conv& conv = problem.conv;
        int64_t size = conv.weights_size();
        if (problem.stage == Stage::ff) size = conv.dst_size();
        if (problem.stage == Stage::bp) size = conv.src_size();
        out.resize(static_cast<size_t>(size));
        if (problem.sparse == Operand::diff_dst) gradient = Packed(diff_dst_shape(problem));
        if (problem.stage == Stage::wg) return;
        if (problem.sparse == Operand::weights) {
            product->prepare(pack_weights(conv, problem.stage, problem.pattern, weights),
                             prepared.as<std::byte>());
        } else {
            product->prepare(weights, prepared.as<std::byte>());
        }
    }

    void run(const std::vector<float>& src, const std::vector<float>& diff_dst) {
        Arguments arguments;
        arguments.src = src.data();
        arguments.diff_dst = diff_dst.data();
        PackedView view;
        if (product->problem().sparse == Operand::diff_dst) {  // selection counts: it is done every step
            pack_diff_dst(product->problem(), {.how = Selection::mvue}, diff_dst.data(), gradient.span());
            view = gradient;
            arguments.packed_diff_dst = &view;
        }
        arguments.prepared = prepared.as<std::byte>();
        arguments.out = out.data();
        arguments.workspace = workspace.as<std::byte>();
        product->run(arguments);
    }
};

void check_small(Problem problem, const std::string& kernel) {
    problem.conv.n = problem.block;
    problem.conv.h = problem.conv.w = std::min<int64_t>(problem.conv.h, 8);
    problem.conv.c = std::min<int64_t>(problem.conv.c, 64);
    problem.conv.k = std::min<int64_t>(problem.conv.k, 64);
    const Conv& conv = problem.conv;
    const auto src = random_floats(conv.src_size(), 1), diff_dst = random_floats(conv.dst_size(), 2);
    const auto weights = random_floats(conv.weights_size(), 3);
    Ours fast(problem, kernel, weights), reference(problem, "reference", weights);
    fast.run(src, diff_dst);
    reference.run(src, diff_dst);
    const Comparison same = compare(fast.out, reference.out, kernel == "winograd" ? 1e-4 : 1e-5);
    if (!same.ok()) fail("{} is wrong: {}: {}", kernel, to_string(problem), same.describe());
}

// oneDNN's dense product by one algorithm, in the layouts it asks for.
struct Peer {
    std::string name;
    dnnl::primitive primitive;
    std::unordered_map<int, dnnl::memory> arguments;
};

using Descs = std::vector<std::pair<int, dnnl::memory::desc>>;

template <typename Descriptor>
Peer finish_peer(const Descriptor& descriptor, Descs descs, const dnnl::engine& engine) {
    Peer peer{descriptor.impl_info_str(), dnnl::primitive(descriptor), {}};
    descs.emplace_back(DNNL_ARG_SCRATCHPAD, descriptor.scratchpad_desc());
    for (const auto& [argument, desc] : descs) {
        dnnl::memory memory(desc, engine);
        auto* const data = static_cast<float*>(memory.get_data_handle());
        Random random(4);
        for (size_t i = 0; i < desc.get_size() / 4; ++i) data[i] = random.uniform(-1.0F, 1.0F);
        peer.arguments.emplace(argument, std::move(memory));
    }
    return peer;
}

Peer make_peer(const Conv& conv, Stage stage, dnnl::algorithm algorithm, const dnnl::engine& engine) {
    using dnnl::memory;
    const auto any = [](memory::dims dims) {
        return memory::desc(std::move(dims), memory::data_type::f32, memory::format_tag::any);
    };
    const auto src = any({conv.n, conv.c, conv.h, conv.w}), weights = any({conv.k, conv.c, conv.r, conv.s});
    const auto dst = any({conv.n, conv.k, conv.out_h(), conv.out_w()});
    const memory::dims strides = {conv.stride_h, conv.stride_w}, low = {conv.pad_top, conv.pad_left};
    const memory::dims high = {conv.pad_bottom, conv.pad_right};
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::convolution_forward::primitive_desc forward(
        {dnnl::prop_kind::forward_training, algorithm, src, weights, dst, strides, low, high}, attributes,
        engine);
    if (stage == Stage::ff) {
        return finish_peer(forward,
                           {{DNNL_ARG_SRC, forward.src_desc()},
                            {DNNL_ARG_WEIGHTS, forward.weights_desc()},
                            {DNNL_ARG_DST, forward.dst_desc()}},
                           engine);
    }
    if (stage == Stage::bp) {
        const dnnl::convolution_backward_data::primitive_desc backward(
            {algorithm, src, weights, dst, strides, low, high}, attributes, engine, forward);
        return finish_peer(backward,
                           {{DNNL_ARG_DIFF_DST, backward.diff_dst_desc()},
                            {DNNL_ARG_WEIGHTS, backward.weights_desc()},
                            {DNNL_ARG_DIFF_SRC, backward.diff_src_desc()}},
                           engine);
    }
    const dnnl::convolution_backward_weights::primitive_desc gradient(
        {algorithm, src, weights, dst, strides, low, high}, attributes, engine, forward);
    return finish_peer(gradient,
                       {{DNNL_ARG_DIFF_DST, gradient.diff_dst_desc()},
                        {DNNL_ARG_SRC, gradient.src_desc()},
                        {DNNL_ARG_DIFF_WEIGHTS, gradient.diff_weights_desc()}},
                       engine);
}

// On one thread the thread's own processor time: what else a shared machine does then drops out.
double seconds_now() {
    timespec now{};
    clock_gettime(threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

#if defined(__x86_64__)
// What one core does in registers alone.
__attribute__((target("avx2,fma"))) double fma_peak_gflops() {
    double best = 0;
    for (int round = 0; round < 5; ++round) {
        constexpr int64_t iterations = 200'000;
        const double start = seconds_now();
        for (int64_t i = 0; i < iterations; ++i) {
            asm volatile(
                "vfmadd231ps %%ymm0, %%ymm0, %%ymm1\n vfmadd231ps %%ymm0, %%ymm0, %%ymm2\n"
                "vfmadd231ps %%ymm0, %%ymm0, %%ymm3\n vfmadd231ps %%ymm0, %%ymm0, %%ymm4\n"
                "vfmadd231ps %%ymm0, %%ymm0, %%ymm5\n vfmadd231ps %%ymm0, %%ymm0, %%ymm6\n"
                "vfmadd231ps %%ymm0, %%ymm0, %%ymm7\n vfmadd231ps %%ymm0, %%ymm0, %%ymm8\n"
                "vfmadd231ps %%ymm0, %%ymm0, %%ymm9\n vfmadd231ps %%ymm0, %%ymm0, %%ymm10\n" ::
                    : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                      "xmm10");
        }
        best = std::max(best, 2e-9 * 8 * 10 * iterations / (seconds_now() - start));
    }
    return best;
}
#else
double fma_peak_gflops() { return 0; }
#endif

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

std::vector<Ours> our_kernels(const Conv& conv, Stage stage, Pattern pattern,
                              std::span<const float> weights) {
    const int block = best_block(conv.n);
    std::vector<Problem> problems;
    if (stage != Stage::wg && (stage == Stage::ff ? conv.c : conv.k) % pattern.m == 0) {
        problems.push_back({conv, stage, Operand::weights, pattern, block});
    }
    if (stage == Stage::wg) problems.push_back({conv, stage, Operand::diff_dst, pattern, block});
    problems.push_back({conv, stage, Operand::none, {}, block});
    std::vector<Ours> ours;
    for (const Problem& problem : problems) {
        for (const Candidate& candidate : candidates(problem)) {
            if (!candidate.declined.empty() || candidate.name == "reference") continue;
            check_small(problem, candidate.name);
            ours.emplace_back(problem, candidate.name, weights);
        }
    }
    return ours;
}

void bench(const Conv& conv, Stage stage, const Options& options) {
    const auto src = random_floats(conv.src_size(), 5), diff_dst = random_floats(conv.dst_size(), 6);
    std::vector<Ours> ours = our_kernels(conv, stage, options.pattern, random_floats(conv.weights_size(), 7));
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    dnnl::stream stream(engine);
    std::vector<Peer> peers;
    for (const auto algorithm :
         {dnnl::algorithm::convolution_direct, dnnl::algorithm::convolution_winograd}) {
        try {
            peers.push_back(make_peer(conv, stage, algorithm, engine));
        } catch (const dnnl::error&) {  // no Winograd for this shape or processor
        }
    }
    std::vector<std::vector<double>> times(ours.size() + peers.size());
    for (int round = -1; round < options.rounds; ++round) {
        for (size_t i = 0; i < times.size(); ++i) {
            const double start = seconds_now();
            if (i < ours.size()) {
                ours[i].run(src, diff_dst);
            } else {
                peers[i - ours.size()].primitive.execute(stream, peers[i - ours.size()].arguments);
                stream.wait();
            }
            if (round >= 0) times[i].push_back(seconds_now() - start);
        }
    }
    double best_peer = 1e300;
    for (size_t i = ours.size(); i < times.size(); ++i) best_peer = std::min(best_peer, median(times[i]));
    fmt::print("{} {}\n", to_string(stage), to_string(conv));
    for (size_t i = 0; i < times.size(); ++i) {
        const bool mine = i < ours.size();
        const double seconds = median(times[i]), least = *std::min_element(times[i].begin(), times[i].end());
        const double useful = mine ? ours[i].product->problem().multiply_adds() : conv.multiply_adds();
        if (mine) {
            double sum = 0;
            for (const float value : ours[i].out) sum += std::abs(static_cast<double>(value));
            if (!(sum > 0 && std::isfinite(sum))) fail("{}: output is zero or not finite", ours[i].name);
        }
        fmt::print("    {:<28} {:9.3f} ms (min {:9.3f}) {:7.1f} GFLOP/s useful {:6.2f}x of oneDNN's best\n",
                   mine ? ours[i].name : "oneDNN " + peers[i - ours.size()].name, seconds * 1e3, least * 1e3,
                   2e-9 * useful / seconds, best_peer / seconds);
    }
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const Options options = parse(argc, argv);
        if (options.threads > 0) set_threads(options.threads);
        omp_set_num_threads(threads());
        if (hardware_isa() != Isa::portable) {
            fmt::print("8-lane FMA in registers: {:.1f} GFLOP/s a core\n", fma_peak_gflops());
        }
        fmt::print("{}; {} threads, batch {}, pattern {}, kernels {}; medians of {} interleaved rounds\n",
                   cpu_description(), threads(), options.batch, to_string(options.pattern), to_string(isa()),
                   options.rounds);
        const std::vector<Conv> layers = resnet18(options.batch);
        for (size_t i = 0; i < layers.size(); ++i) {
            if (options.layer >= 0 && static_cast<size_t>(options.layer) != i) continue;
            for (const Stage stage : {Stage::ff, Stage::bp, Stage::wg}) {
                const std::string name = stage == Stage::ff ? "ff" : stage == Stage::bp ? "bp" : "wg";
                if (options.stage.empty() || options.stage == name) bench(layers[i], stage, options);
            }
        }
    } catch (const std::exception& error) {
        fmt::print(stderr, "enmesh: error: {}\n", error.what());
        return 1;
    }
    return 0;
}
