#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "contestants.hpp"
#include "device.hpp"

// The program that runs on a GPU (measure.sh starts it): compares, then times what a plan asks for, and
// writes results after every product, so that a run that is cut short leaves what it has.

namespace enmesh::cuda {
size_t cublaslt_version();
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr const char* usage =
    "Usage: measure_stc --plan FILE --out FOLDER [--seconds S] [--rounds N]\n"
    "       measure_stc --check    compares, times nothing\n"
    "Writes FOLDER/stc.json and FOLDER/stc.md. Exit code 0: done; 1: a result was wrong, or the device "
    "failed;\n"
    "2: the request was wrong; 77: no GPU with Sparse Tensor Cores.\n";

struct Request {
    bool check = false;
    std::string plan, out;
    double seconds = 400;
    int rounds = 15;
};

struct RequestError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

template <typename T>
T number(const std::string& option, const std::string& text, T low, T high) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || !(value >= low && value <= high))
        throw RequestError(
            fmt::format("{} '{}': a number from {} to {} is expected", option, text, low, high));
    return value;
}

Request parse(const std::vector<std::string>& arguments) {
    Request request;
    for (size_t i = 0; i < arguments.size(); ++i) {
        const std::string& option = arguments[i];
        if (option == "--check") {
            request.check = true;
            continue;
        }
        static const std::set<std::string> known = {"--plan", "--out", "--seconds", "--rounds"};
        if (!known.contains(option))
            throw RequestError(fmt::format("unknown option '{}' (see --help)", option));
        if (i + 1 == arguments.size()) throw RequestError(fmt::format("{} needs a value", option));
        const std::string& value = arguments[++i];
        if (option == "--plan") request.plan = value;
        if (option == "--out") request.out = value;
        if (option == "--seconds") request.seconds = number(option, value, 1.0, 86400.0);
        if (option == "--rounds") request.rounds = number(option, value, 3, 1001);
    }
    if (!request.check && (request.plan.empty() || request.out.empty()))
        throw RequestError("--plan and --out are needed (see --help)");
    return request;
}

std::string text_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw RequestError(fmt::format("'{}' cannot be read", path));
    return {std::istreambuf_iterator<char>(file), {}};
}

void write(const fs::path& path, const std::string& text) {
    const fs::path part = path.string() + ".part";
    std::ofstream file(part, std::ios::binary);
    file << text;
    if (!file.flush()) throw std::runtime_error(fmt::format("'{}' cannot be written", part.string()));
    fs::rename(part, path);
}

/// Makes the folder and writes into it, so that a bad one is found before minutes of measuring.
void require_writable(const fs::path& folder) {
    const fs::path probe = folder / "stc.probe";
    std::error_code code;
    fs::create_directories(folder, code);
    const bool written = !code && (std::ofstream(probe) << "probe").flush();
    fs::remove(probe, code);
    if (!written) throw RequestError(fmt::format("--out '{}' cannot be written into", folder.string()));
}

const char* name_of(const Measured& measured) { return measured.median ? "right" : measured.why_not.c_str(); }

void note_failure(Results& results, const std::string& what, const Measured& measured) {
    if (measured.why_not.starts_with("wrong") || measured.why_not.starts_with("failed"))
        results.failures.push_back(fmt::format("{}: {}", what, measured.why_not));
}

/// Small products with whole numbers, every result exact, and small layers bit by bit.
void check_small(Results& results, const Cusparselt& cusparselt) {
    for (const Type type : {Type::f16, Type::bf16}) {
        for (const Size& size : {Size{128, 128, 64}, Size{64, 256, 64}, Size{16, 16, 16}, Size{144, 272, 80},
                                 Size{256, 384, 576}, Size{1008, 48, 160}, Size{48, 32, 2064, true}}) {
            const std::string what = fmt::format("{} x {} x {}{}, {}", size.cols, size.rows, size.depth,
                                                 size.depth_major ? " (depth outermost)" : "", name_of(type));
            const ProductResult r = run_product(size, type, !size.depth_major, cusparselt, nullptr, 0);
            note_failure(results, "cuBLASLt on " + what, r.dense);
            std::string line = fmt::format("product {}: cuBLASLt {}", what, name_of(r.dense));
            if (!size.depth_major) {
                note_failure(results, "mma.sp on " + what, r.mma_sp);
                note_failure(results, "cuSPARSELt on " + what, r.cusparselt);
                line += fmt::format(", mma.sp {}, cuSPARSELt {}", name_of(r.mma_sp), name_of(r.cusparselt));
            }
            results.checks.push_back(line);
        }
        for (const Layer& layer :
             {Layer{16, 1, 16}, Layer{64, 9, 64}, Layer{80, 9, 48}, Layer{208, 1, 336}}) {
            // Uniform numbers, and whole ones for their ties and zeros.
            for (const Numbers numbers : {Numbers::uniform, Numbers::whole}) {
                const std::string what =
                    fmt::format("selection {} x {} x {}, {}, {} numbers", layer.outputs, layer.positions,
                                layer.inputs, name_of(type), numbers == Numbers::whole ? "whole" : "uniform");
                const Measured r = run_selection(layer, type, numbers, nullptr, 0);
                note_failure(results, what, r);
                results.checks.push_back(fmt::format("{}: {}", what, name_of(r)));
            }
        }
    }
}

class Measurement {
  public:
    Measurement(const Request& request, Plan plan, Results results, const Cusparselt& cusparselt,
                const Monitor& monitor, Clock::time_point begin)
        : request_(request),
          plan_(std::move(plan)),
          results_(std::move(results)),
          cusparselt_(cusparselt),
          monitor_(monitor),
          begin_(begin) {}

    /// Networks in the plan's order, all in FP16, then all in BF16; of a network the costliest products
    /// first.
    Results run() {
        for (const Type type : {Type::f16, Type::bf16}) {
            for (const PlannedNetwork& network : plan_.networks) run(network, type);
            // A report's plan has no networks.
            if (plan_.networks.empty()) {
                for (size_t i = 0; i < plan_.products.size(); ++i) run_product_row(i, type, "the report");
            }
        }
        for (const auto& [what, count] : unmeasured_)
            results_.left_out.push_back(fmt::format(
                "{}: {} products and layers; the {:.0f} seconds were over", what, count, request_.seconds));
        save();
        return results_;
    }

  private:
    void run(const PlannedNetwork& network, Type type) {
        std::vector<std::pair<double, size_t>> order;
        for (const auto& [index, count] : network.products) {
            const PlannedProduct& p = plan_.products[index];
            order.emplace_back(-static_cast<double>(p.rows * p.cols) * static_cast<double>(p.depth * count),
                               index);
        }
        std::sort(order.begin(), order.end());
        for (const auto& [work, index] : order) run_product_row(index, type, network.name);
        for (const auto& [index, count] : network.layers) run_layer_row(index, type, network.name);
    }

    bool time_is_over(Type type, const std::string& network) {
        if (std::chrono::duration<double>(Clock::now() - begin_).count() < request_.seconds) return false;
        ++unmeasured_[fmt::format("{}, {}", network, name_of(type))];
        return true;
    }

    Clocks clocks() const {
        const DeviceState state = monitor_.state();
        return {state.sm_megahertz, state.watts};
    }

    void run_product_row(size_t index, Type type, const std::string& network) {
        if (!done_products_.insert({index, type}).second || time_is_over(type, network)) return;
        const PlannedProduct& p = plan_.products[index];
        ProductResult result = run_product({p.rows, p.cols, p.depth, p.depth_major}, type, p.two_in_four,
                                           cusparselt_, &timer_, request_.rounds);
        result.product = index;
        result.clocks = clocks();
        const std::string what = fmt::format("{}, {}", p.places.front(), name_of(type));
        note_failure(results_, "cuBLASLt on " + what, result.dense);
        note_failure(results_, "mma.sp on " + what, result.mma_sp);
        note_failure(results_, "cuSPARSELt on " + what, result.cusparselt);
        fmt::print("{}: {} x {} x {}: dense {}", what, p.cols, p.rows, p.depth, short_text(result.dense));
        if (p.two_in_four)
            fmt::print(", mma.sp {}, cuSPARSELt {}", short_text(result.mma_sp),
                       short_text(result.cusparselt));
        fmt::print("\n");
        results_.products.push_back(std::move(result));
        save();
    }

    void run_layer_row(size_t index, Type type, const std::string& network) {
        if (!done_layers_.insert({index, type}).second || time_is_over(type, network)) return;
        const PlannedLayer& layer = plan_.layers[index];
        LayerResult result{.layer = index, .type = name_of(type)};
        result.selection = run_selection({layer.outputs, layer.positions, layer.inputs}, type,
                                         Numbers::uniform, &timer_, request_.rounds);
        result.clocks = clocks();
        const std::string what = fmt::format("selection of {}, {}", layer.places.front(), name_of(type));
        note_failure(results_, what, result.selection);
        fmt::print("{}: {}\n", what, short_text(result.selection));
        results_.layers.push_back(std::move(result));
        save();
    }

    static std::string short_text(const Measured& measured) {
        return measured.median ? fmt::format("{:.1f} us", *measured.median) : measured.why_not;
    }

    void save() {
        write(fs::path(request_.out) / "stc.json", to_json(plan_, results_));
        write(fs::path(request_.out) / "stc.md", to_markdown(plan_, results_));
        std::fflush(stdout);
    }

    const Request& request_;
    Plan plan_;
    Results results_;
    const Cusparselt& cusparselt_;
    const Monitor& monitor_;
    Clock::time_point begin_;
    Timer timer_;
    std::set<std::pair<size_t, Type>> done_products_, done_layers_;
    std::map<std::string, int> unmeasured_;
};

std::string text_of(const std::optional<double>& value, const char* unit) {
    return value ? fmt::format("{:.0f} {}", *value, unit) : "not known";
}

std::vector<std::pair<std::string, std::string>> facts_of(const Device& device, const Monitor& monitor,
                                                          const Cusparselt& cusparselt,
                                                          const Request& request) {
    const DeviceState now = monitor.state();
    const size_t cublas = cublaslt_version();
    std::vector<std::pair<std::string, std::string>> facts = {
        {"device", fmt::format("{}, {} multiprocessors, sm_{}, {:.0f} MB of L2, {:.0f} GB", device.name,
                               device.multiprocessors, device.compute_capability, device.l2_bytes / 1e6,
                               device.memory_bytes / 1e9)},
        {"driver", fmt::format("{} (CUDA {}), runtime {}",
                               monitor.driver().empty() ? "version not known" : monitor.driver(),
                               device.cuda_driver, device.cuda_runtime)},
        {"clocks before",
         monitor.why_not().empty()
             ? fmt::format("SM {} (at most {}), memory {}", text_of(now.sm_megahertz, "MHz"),
                           text_of(monitor.max_sm_megahertz(), "MHz"), text_of(now.memory_megahertz, "MHz"))
             : "not known: " + monitor.why_not()},
        {"power before", monitor.why_not().empty() ? fmt::format("{} of {}, {}", text_of(now.watts, "W"),
                                                                 text_of(monitor.power_limit_watts(), "W"),
                                                                 text_of(now.celsius, "C"))
                                                   : "not known: " + monitor.why_not()},
        {"cuBLASLt", fmt::format("{}.{}.{}", cublas / 10000, cublas / 100 % 100, cublas % 100)},
        {"cuSPARSELt", cusparselt.why_not().empty() ? cusparselt.version() : cusparselt.why_not()},
        {"times",
         fmt::format("medians of {} runs by CUDA events after a warm-up; before each run a memory larger "
                     "than L2 is written, so that operands come from DRAM",
                     request.rounds)}};
    return facts;
}

int finish(const Results& results) {
    for (const std::string& failure : results.failures) fmt::print(stderr, "measure_stc: {}\n", failure);
    return results.failures.empty() ? 0 : 1;
}

int run(const Request& request) {
    const Clock::time_point begin = Clock::now();
    Plan plan;
    if (!request.check) {
        plan = [&] {
            try {
                return parse_plan(text_of(request.plan));
            } catch (const std::exception& error) {
                throw RequestError(fmt::format("{}: {}", request.plan, error.what()));
            }
        }();
    }
    std::string reason;
    const std::optional<Device> device = find_device(reason);
    if (!device) {
        fmt::print("skipped: no GPU with Sparse Tensor Cores here ({})\n", reason);
        return 77;
    }
    if (!request.check) require_writable(request.out);
    const Monitor monitor;
    const Cusparselt cusparselt;
    Results results;
    results.facts = facts_of(*device, monitor, cusparselt, request);
    for (const auto& [name, text] : results.facts) fmt::print("{}: {}\n", name, text);
    results.predicted_gpu = predicted_gpu(plan, device->name);
    if (!request.check)
        fmt::print("predictions: {} for {}\n", results.predicted_gpu.empty() ? "none" : results.predicted_gpu,
                   device->name);
    check_small(results, cusparselt);
    for (const std::string& line : results.checks) fmt::print("{}\n", line);
    if (request.check) return finish(results);
    results = Measurement(request, plan, std::move(results), cusparselt, monitor, begin).run();
    fmt::print("\n{}", to_markdown(plan, results));
    return finish(results);
}

}  // namespace
}  // namespace enmesh::cuda

int main(int count, char** arguments) {
    using namespace enmesh::cuda;
    const std::vector<std::string> words(arguments + 1, arguments + count);
    try {
        if (!words.empty() && words[0] == "--help") {
            fmt::print("{}", usage);
            return 0;
        }
        return run(parse(words));
    } catch (const RequestError& error) {
        fmt::print(stderr, "measure_stc: error: {}\n", error.what());
        return 2;
    } catch (const std::exception& error) {
        fmt::print(stderr, "measure_stc: error: {}\n", error.what());
        return 1;
    }
}
