#include <cuda_runtime.h>
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "products.hpp"

// Measured beside predicted: the 2:4 products of a report of `enmesh simulate --accel stc-*`, dense by
// cuBLASLt, 2:4 by mma.sp in a kernel of ours and by cuSPARSELt.

namespace enmesh::cuda {
namespace {

constexpr const char* usage =
    "Usage: compare_stc REPORT.json [ROUNDS]   times the 2:4 FF products of a report beside its predictions\n"
    "       compare_stc --check                compares results on small products, times nothing\n"
    "The report: enmesh simulate --model resnet50 --image 3x224x224 --classes 1000 --batch 32 --method asp\n"
    "  --pattern 2:4 --accel stc-h100 --json REPORT.json\n"
    "Exit code 77 where there is no GPU with Sparse Tensor Cores.\n";

struct Shape {
    int64_t rows, cols, depth;
    double predicted_microseconds;
    std::vector<std::string> layers;
};

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

std::vector<Shape> shapes_of(const std::string& path, std::string& accelerator) {
    std::ifstream file(path);
    if (!file) throw std::runtime_error(fmt::format("'{}' cannot be read", path));
    const nlohmann::json report = nlohmann::json::parse(file);
    accelerator = report.at("accelerator");
    const double hertz = report.at("frequency_hz");
    std::vector<Shape> shapes;
    for (const nlohmann::json& product : report.at("products")) {
        if (product.at("pattern") != "2:4" || product.at("stage") != "FF" || product.at("batch") != 1)
            continue;
        const Shape shape{product.at("n"),
                          product.at("m"),
                          product.at("k"),
                          product.at("cycles").get<double>() / hertz * 1e6,
                          {product.at("layer")}};
        bool known = false;
        for (Shape& other : shapes) {
            if (other.rows != shape.rows || other.cols != shape.cols || other.depth != shape.depth) continue;
            other.layers.push_back(shape.layers.front());
            known = true;
        }
        if (!known) shapes.push_back(shape);
    }
    if (shapes.empty()) throw std::runtime_error(fmt::format("'{}' holds no 2:4 product of stage FF", path));
    return shapes;
}

void time_shape(const Shape& shape, int rounds) {
    Operands operands = make_operands(shape.rows, shape.cols, shape.depth);
    std::string line = fmt::format("| {}{} | {} | {} | {} | {:.1f} |", shape.layers.front(),
                                   shape.layers.size() > 1 ? fmt::format(" (x{})", shape.layers.size()) : "",
                                   shape.cols, shape.rows, shape.depth, shape.predicted_microseconds);
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

int run(const std::vector<std::string>& arguments) {
    if (arguments.empty() || arguments[0] == "--help" || arguments.size() > 2) {
        fmt::print("{}", usage);
        return arguments.empty() ? 2 : 0;
    }
    std::string accelerator;
    std::vector<Shape> shapes;
    if (arguments[0] != "--check") shapes = shapes_of(arguments[0], accelerator);
    cudaDeviceProp device{};
    if (!has_sparse_tensor_cores(device)) {
        fmt::print("skipped: no GPU with Sparse Tensor Cores here\n");
        return 77;
    }
    if (arguments[0] == "--check") return check_small();
    const int rounds = arguments.size() > 1 ? std::stoi(arguments[1]) : 21;
    if (rounds < 1) throw std::runtime_error("ROUNDS is at least 1");
    fmt::print("{} beside the model of {}; microseconds, medians of {} runs; ratios to cuBLASLt\n\n",
               device.name, accelerator, rounds);
    fmt::print("| layer | m | n | k | predicted |");
    for (const Contestant& contestant : contestants) fmt::print(" {} |", contestant.name);
    fmt::print("\n|---|---|---|---|---|---|---|---|\n");
    for (const Shape& shape : shapes) time_shape(shape, rounds);
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
