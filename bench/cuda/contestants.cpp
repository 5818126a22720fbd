#include "contestants.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <vector>

#include "pack_on_cpu.hpp"

namespace enmesh::cuda {
namespace {

std::string word_of(const Comparison& comparison) {
    if (comparison.unwritten > 0)
        return fmt::format("wrong: {} results are NaN or not written", comparison.unwritten);
    return fmt::format("wrong: {} of {} results, at worst {:.3g} times the allowed difference",
                       comparison.wrong, comparison.compared, comparison.worst);
}

Measured measured(const Run& run, Timer* timer, int rounds) {
    if (timer == nullptr) return {.median = 0.0};
    const Spread spread = timer->time(run, rounds);
    return {.median = spread.median, .min = spread.min, .max = spread.max};
}

/// Compares, with whole numbers exactly, before it times.
Measured compared(const Operands& operands, bool pruned, Roundings roundings, const Run& run, Timer* timer,
                  int rounds) {
    poison(operands);
    run();
    check(cudaDeviceSynchronize(), "product");
    const Comparison comparison = compare(operands, pruned, timer == nullptr ? Roundings::exact : roundings);
    if (!comparison.right()) return {.why_not = word_of(comparison)};
    return measured(run, timer, rounds);
}

/// `word`: what an exception is called. A library may refuse a size; that is no failure of the run.
template <typename Work>
Measured guarded(const Work& work, const char* word = "failed") {
    try {
        return work();
    } catch (const std::exception& error) {
        require_device();
        return {.why_not = fmt::format("{}: {}", word, error.what())};
    }
}

/// Of a layer's operand: whether the GPU's bits are the CPU's, and where they are not.
std::string difference(const char* name, const Packed& gpu, const PackedOnCpu& cpu) {
    std::vector<uint16_t> values(cpu.values.size());
    std::vector<uint32_t> metadata(cpu.metadata.size());
    check(cudaMemcpy(values.data(), gpu.values.get(), gpu.values.bytes(), cudaMemcpyDeviceToHost),
          "reading packed values");
    check(cudaMemcpy(metadata.data(), gpu.metadata.get(), gpu.metadata.bytes(), cudaMemcpyDeviceToHost),
          "reading metadata");
    for (size_t i = 0; i < values.size(); ++i) {
        if (values[i] != cpu.values[i])
            return fmt::format("wrong: value {} of {} is {:#06x} where {:#06x} is right", i, name, values[i],
                               cpu.values[i]);
    }
    for (size_t i = 0; i < metadata.size(); ++i) {
        if (metadata[i] != cpu.metadata[i])
            return fmt::format("wrong: metadata word {} of {} is {:#010x} where {:#010x} is right", i, name,
                               metadata[i], cpu.metadata[i]);
    }
    return "";
}

/// The plain unpacking kernel, on which the reference of every 2:4 product stands.
std::string unpacking_difference(const Packed& gpu, const PackedOnCpu& cpu, int64_t rows, int64_t depth) {
    const DeviceMemory<uint16_t> dense(rows * depth);
    expand(gpu, rows, depth, dense.get());
    std::vector<uint16_t> found(static_cast<size_t>(rows * depth));
    check(cudaMemcpy(found.data(), dense.get(), dense.bytes(), cudaMemcpyDeviceToHost), "reading weights");
    return found == expand_on_cpu(cpu, rows, depth) ? "" : "wrong: unpacked weights differ from the CPU's";
}

std::function<double(const Run&)> chooser(Timer* timer) {
    if (timer == nullptr) return {};
    return [timer](const Run& run) { return timer->quick(run); };
}

}  // namespace

Cusparselt::Cusparselt() {
    void* const library = dlopen(cusparselt_library, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        why_not_ = fmt::format("not there: {}", dlerror());
        return;
    }
    const auto function = reinterpret_cast<CusparseltFunction>(dlsym(library, cusparselt_symbol));
    if (function == nullptr) {
        why_not_ = fmt::format("not there: {} is of another version", cusparselt_library);
        return;
    }
    api_ = function();
}

std::string Cusparselt::version() const {
    if (api_ == nullptr) return "";
    return fmt::format("{}.{}.{}", api_->version / 10000, api_->version / 100 % 100, api_->version % 100);
}

Cusparselt::Runs Cusparselt::make(const Operands& o) const {
    if (api_ == nullptr) throw std::runtime_error(why_not_);
    const CusparseltProduct product{o.pruned.get(), o.src.get(),  o.dst.get(),         o.size.rows,
                                    o.size.cols,    o.size.depth, o.type == Type::bf16};
    std::array<char, 256> message{};
    const std::shared_ptr<void> made(api_->create(&product, message.data(), message.size()),
                                     [api = api_](void* p) {
                                         if (p != nullptr) api->destroy(p);
                                     });
    if (made == nullptr) throw std::runtime_error(message.data());
    const auto guarded_run = [made](int (*function)(void*, char*, size_t)) {
        return [made, function] {
            std::array<char, 256> text{};
            if (function(made.get(), text.data(), text.size()) != 0) throw std::runtime_error(text.data());
        };
    };
    return {guarded_run(api_->run), guarded_run(api_->compress)};
}

ProductResult run_product(const Size& size, Type type, bool two_in_four, const Cusparselt& cusparselt,
                          Timer* timer, int rounds) {
    const Operands operands =
        make_operands(size, type, two_in_four, timer != nullptr ? Numbers::uniform : Numbers::whole);
    ProductResult result;
    result.type = name_of(type);
    result.dense = guarded([&] {
        return compared(operands, false, Roundings::one, cublaslt_product(operands, chooser(timer)), timer,
                        rounds);
    });
    if (!two_in_four) return result;
    result.mma_sp = guarded([&] {
        return compared(operands, true, Roundings::one, mma_sp_product(operands, chooser(timer)), timer,
                        rounds);
    });
    if (!cusparselt.why_not().empty()) {
        result.cusparselt.why_not = result.cusparselt_packing.why_not = cusparselt.why_not();
        return result;
    }
    result.cusparselt_packing.why_not = "not timed";
    result.cusparselt = guarded(
        [&]() -> Measured {
            const Cusparselt::Runs runs = cusparselt.make(operands);
            const Measured product =
                compared(operands, true, Roundings::several, runs.product, timer, rounds);
            if (product.median) result.cusparselt_packing = measured(runs.packing, timer, rounds);
            return product;
        },
        "refused");
    return result;
}

Measured run_selection(const Layer& layer, Type type, Numbers numbers, Timer* timer, int rounds) {
    return guarded([&]() -> Measured {
        const int64_t count = layer.outputs * layer.positions * layer.inputs;
        const DeviceMemory<float> master = make_master(count, numbers);
        const Packed forward = make_packed(layer.forward()), backward = make_packed(layer.backward());
        const Run run = select_layer(layer, type, master.get(), forward, backward);
        run();
        std::vector<float> numbers_on_cpu(static_cast<size_t>(count));
        check(cudaMemcpy(numbers_on_cpu.data(), master.get(), master.bytes(), cudaMemcpyDeviceToHost),
              "reading masters");
        const Rounding round = type == Type::f16 ? to_f16 : to_bf16;
        const PackedOnCpu of_forward = pack_forward(layer, round, numbers_on_cpu);
        std::string word = difference("FF's operand", forward, of_forward);
        if (word.empty()) {
            word = difference("BP's operand", backward, pack_backward(layer, round, numbers_on_cpu));
        }
        if (word.empty()) {
            word = unpacking_difference(forward, of_forward, layer.outputs, layer.positions * layer.inputs);
        }
        if (!word.empty()) return {.why_not = word};
        return measured(run, timer, rounds);
    });
}

void require_device() {
    cudaGetLastError();
    const cudaError_t error = cudaDeviceSynchronize();
    if (error != cudaSuccess)
        throw std::runtime_error(
            fmt::format("the device does not answer any more: {}", cudaGetErrorString(error)));
}

}  // namespace enmesh::cuda
