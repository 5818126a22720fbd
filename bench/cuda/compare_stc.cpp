#include <cuda_runtime.h>
#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "products.hpp"
#include "timed_products.hpp"

// Measured beside predicted: the 2:4 products of a report of `enmesh simulate --accel stc-*`, dense by
// cuBLASLt, 2:4 by mma.sp in a kernel of ours and by cuSPARSELt.

namespace enmesh::cuda {
namespace {

constexpr const char* usage =
    "Usage: compare_stc REPORT.json [ROUNDS] [--set KEY=VALUE]...\n"
    "                             times the 2:4 products of a report beside what the model says of them\n"
    "       compare_stc --check   compares results on small products, times nothing\n"
    "The report: enmesh simulate --model resnet50 --image 3x224x224 --classes 1000 --batch 32 --method asp\n"
    "  --pattern 2:4 --accel stc-h100 --json REPORT.json, and --set as it was given there.\n"
    "Exit code 77 where there is no GPU with Sparse Tensor Cores.\n";

struct Contestant {
    const char* name;
    Run (*make)(const Operands&);
};
constexpr Contestant contestants[] = {
    {"cuBLASLt dense", cublaslt_product}, {"mma.sp", mma_sp_product}, {"cuSPARSELt", cusparselt_product}};

/// FP16 rounds each result once: half an ulp of the largest, and the order of FP32 sums.
constexpr double tolerance = 1e-3;

void require_right(const Contestant& contestant, const Run& run, const Operands& operands) {
    clear_result(operands);
    run();
    check(cudaDeviceSynchronize(), contestant.name);
    const double error = relative_error(operands);
    if (!(error <= tolerance)) {
        throw std::runtime_error(fmt::format("{} is wrong on {} x {} x {}: relative error {:.3g}",
                                             contestant.name, operands.rows, operands.cols, operands.depth,
                                             error));
    }
}

int check_small() {
    for (const auto& [rows, cols, depth] :
         {std::array<int64_t, 3>{128, 128, 64}, {128, 256, 128}, {256, 384, 576}}) {
        Operands operands = make_operands(rows, cols, depth);
        for (const Contestant& contestant : contestants) {
            const Run run = contestant.make(operands);
            if (run) require_right(contestant, run, operands);
        }
        release(operands);
    }
    fmt::print("results agree\n");
    return 0;
}

std::string text_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(fmt::format("'{}' cannot be read", path));
    return {std::istreambuf_iterator<char>(file), {}};
}

void time_product(const TimedProduct& product, int rounds) {
    Operands operands = make_operands(product.rows, product.cols, product.depth);
    const size_t others = product.places.size() - 1;
    std::string line =
        fmt::format("| {}{} | {} x {} x {} | {} x {} x {} | {} | {:.1f} | {:.1f} ({:.2f}x) |",
                    product.places.front(), others > 0 ? fmt::format(" and {} more", others) : "",
                    product.cols, product.rows, product.depth, operands.cols, operands.rows, operands.depth,
                    product.chosen ? "2:4" : "dense", product.dense_microseconds, product.sparse_microseconds,
                    product.dense_microseconds / product.sparse_microseconds);
    double dense = 0;
    for (const Contestant& contestant : contestants) {
        const Run run = contestant.make(operands);
        if (!run) {
            line += " not built in |";
            continue;
        }
        require_right(contestant, run, operands);
        const double microseconds = static_cast<double>(median_milliseconds(run, rounds)) * 1e3;
        if (dense == 0) dense = microseconds;
        line += fmt::format(" {:.1f} ({:.2f}x) |", microseconds, dense / microseconds);
    }
    release(operands);
    fmt::print("{}\n", line);
}

bool has_sparse_tensor_cores(cudaDeviceProp& device) {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) return false;
    return cudaGetDeviceProperties(&device, 0) == cudaSuccess && device.major >= 8;
}

struct Request {
    bool check = false;
    std::string report;
    int rounds = 21;
    std::vector<std::string> settings;
};

Request parse(const std::vector<std::string>& arguments) {
    Request request;
    std::vector<std::string> plain;
    for (size_t i = 0; i < arguments.size(); ++i) {
        if (arguments[i] == "--check") {
            request.check = true;
        } else if (arguments[i] == "--set" && i + 1 < arguments.size()) {
            request.settings.push_back(arguments[++i]);
        } else if (arguments[i].starts_with("-")) {
            throw std::runtime_error(fmt::format("unknown option '{}'", arguments[i]));
        } else {
            plain.push_back(arguments[i]);
        }
    }
    if (plain.size() > 2 || plain.empty() != request.check)
        throw std::runtime_error("one report, or --check alone, is expected");
    if (!plain.empty()) request.report = plain[0];
    if (plain.size() == 2) request.rounds = std::atoi(plain[1].c_str());
    if (request.rounds < 1) throw std::runtime_error("ROUNDS is at least 1");
    return request;
}

void print_table(const TimedProducts& timed, const std::string& device, int rounds) {
    fmt::print(
        "{} beside the model of {}; microseconds, medians of {} runs; ratios to dense. Sizes m x n x k, n of "
        "the 2:4 operand; measured and predicted is the padded one, a plain matrix product.\n\n",
        device, timed.accelerator, rounds);
    fmt::print("| product | size | padded | simulated step | predicted dense | predicted 2:4 |");
    for (const Contestant& contestant : contestants) fmt::print(" {} |", contestant.name);
    fmt::print("\n|---|---|---|---|---|---|---|---|---|\n");
    for (const TimedProduct& product : timed.products) time_product(product, rounds);
    if (!timed.left_out.empty()) fmt::print("\n");
    for (const std::string& line : timed.left_out) fmt::print("left out: {}\n", line);
}

int run(const std::vector<std::string>& arguments) {
    if (arguments.empty() || arguments[0] == "--help") {
        fmt::print("{}", usage);
        return arguments.empty() ? 2 : 0;
    }
    const Request request = parse(arguments);
    TimedProducts timed;
    if (!request.check) timed = timed_products(text_of(request.report), request.settings);
    cudaDeviceProp device{};
    if (!has_sparse_tensor_cores(device)) {
        fmt::print("skipped: no GPU with Sparse Tensor Cores here\n");
        return 77;
    }
    if (request.check) return check_small();
    print_table(timed, device.name, request.rounds);
    return 0;
}

}  // namespace
}  // namespace enmesh::cuda

int main(int count, char** arguments) {
    try {
        return enmesh::cuda::run({arguments + 1, arguments + count});
    } catch (const std::exception& error) {
        fmt::print(stderr, "compare_stc: {}\n", error.what());
        return 2;
    }
}
