#include "enmesh/accel/workload/workload.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "enmesh/base/error.hpp"
#include "enmesh/base/strided_phases.hpp"

namespace enmesh::accel {
namespace {

std::vector<Phase> strided_bp_phases(const Product& product) {
    const ConvGeometry& c = *product.conv;
    std::vector<Phase> result;
    const WindowAxis down{c.in_height,     c.out_height, c.kernel_height,
                          c.stride_height, c.pad_top,    c.dilation_height};
    const WindowAxis across{c.in_width,     c.out_width, c.kernel_width,
                            c.stride_width, c.pad_left,  c.dilation_width};
    const std::vector<AxisPhase> columns = backward_phases(across);
    for (const AxisPhase& y : backward_phases(down)) {
        for (const AxisPhase& x : columns) {
            if (y.taps.empty() || x.taps.empty()) continue;
            const Phase phase{c.images * y.count * x.count,
                              std::ssize(y.taps),
                              std::ssize(x.taps),
                              c.out_channels,
                              y.count,
                              x.count,
                              1};
            const auto same = std::find_if(result.begin(), result.end(), [&](const Phase& seen) {
                Phase one = seen;
                one.count = 1;
                return one == phase;
            });
            if (same == result.end())
                result.push_back(phase);
            else
                ++same->count;
        }
    }
    return result;
}

[[noreturn]] void contradicts(const Product& product, const char* what, int64_t got, int64_t want) {
    refuse("product {} {}: {} is {}, but its convolution makes it {}", product.layer,
           to_string(product.stage), what, got, want);
}

/// Their product; refuses more than 64 bits can count.
int64_t counted(const Product& product, std::initializer_list<int64_t> factors) {
    int64_t count = 1;
    for (const int64_t factor : factors) {
        if (__builtin_mul_overflow(count, factor, &count))
            refuse("product {} {}: has more multiply-adds or elements than 64 bits can count", product.layer,
                   to_string(product.stage));
    }
    return count;
}

void check_geometry(const Product& product) {
    const ConvGeometry& c = *product.conv;
    for (const int64_t value : {c.images, c.in_channels, c.in_height, c.in_width, c.out_channels,
                                c.out_height, c.out_width, c.kernel_height, c.kernel_width, c.stride_height,
                                c.stride_width, c.dilation_height, c.dilation_width}) {
        if (value < 1)
            refuse("product {} {}: a size of its convolution is {}", product.layer, to_string(product.stage),
                   value);
    }
    const auto times = [&](std::initializer_list<int64_t> factors) { return counted(product, factors); };
    const int64_t taps = times({c.kernel_height, c.kernel_width});
    const int64_t in = times({c.images, c.in_height, c.in_width});
    const int64_t out = times({c.images, c.out_height, c.out_width});
    const bool ff = product.stage == Stage::FF, bp = product.stage == Stage::BP;
    const int64_t m = ff ? out : bp ? in : c.out_channels;
    const int64_t n = ff ? c.out_channels : bp ? c.in_channels : times({c.in_channels, taps});
    const int64_t k = ff ? times({c.in_channels, taps}) : bp ? times({c.out_channels, taps}) : out;
    if (product.m != m) contradicts(product, "m", product.m, m);
    if (product.n != n) contradicts(product, "n", product.n, n);
    if (product.k != k) contradicts(product, "k", product.k, k);
}

}  // namespace

std::vector<Phase> phases(const Product& product) {
    if (!product.conv) return {Phase{product.m, 1, 1, product.k, 1, product.m, 1}};
    const ConvGeometry& c = *product.conv;
    switch (product.stage) {
        case Stage::FF:
            return {Phase{product.m, c.kernel_height, c.kernel_width, c.in_channels, c.out_height,
                          c.out_width, 1}};
        case Stage::BP:
            return strided_bp_phases(product);
        default:
            return {Phase{product.m, 1, 1, product.k, 1, product.m, 1}};
    }
}

int64_t dense_multiply_adds(const Product& product) {
    int64_t total = 0;
    for (const Phase& phase : phases(product)) total += phase.count * phase.rows * phase.k();
    return total * product.n * product.batch;
}

int64_t useful_multiply_adds(const Product& product) {
    if (!product.is_sparse()) return dense_multiply_adds(product);
    const auto [n, m] = product.pattern;
    int64_t total = 0;
    for (const Phase& phase : phases(product)) {
        total += phase.count * phase.rows * (phase.k() / m * n + phase.k() % m);
    }
    return total * product.n * product.batch;
}

void check(const Product& product) {
    if (product.m < 1 || product.n < 1 || product.k < 1 || product.batch < 1) {
        refuse("product {} {}: m={} n={} k={} batch={}: every size must be at least 1", product.layer,
               to_string(product.stage), product.m, product.n, product.k, product.batch);
    }
    counted(product, {product.m, product.n, product.k, product.batch});
    if (product.stage == Stage::WU)
        refuse("product {}: the weight update has no matrix product", product.layer);
    if (product.is_sparse()) check_pattern(product.pattern);
    if (product.conv) check_geometry(product);
}

void check(const Workload& workload) {
    if (workload.products.empty() && workload.vector_ops.empty() && workload.updates.empty())
        refuse("the workload {} has neither products nor other work", workload.name);
    for (const Product& product : workload.products) check(product);
}

std::vector<Product> training_products(const std::string& layer, const ConvGeometry& conv, bool with_bp) {
    const int64_t taps = conv.kernel_height * conv.kernel_width;
    const int64_t in = conv.images * conv.in_height * conv.in_width,
                  out = conv.images * conv.out_height * conv.out_width;
    Product ff;
    ff.layer = layer;
    ff.conv = conv;
    Product bp = ff, wg = ff;
    ff.stage = Stage::FF;
    ff.m = out, ff.n = conv.out_channels, ff.k = conv.in_channels * taps;
    ff.b_is_parameter = true;
    bp.stage = Stage::BP;
    bp.m = in, bp.n = conv.in_channels, bp.k = conv.out_channels * taps;
    bp.b_is_parameter = true;
    wg.stage = Stage::WG;
    wg.m = conv.out_channels, wg.n = conv.in_channels * taps, wg.k = out;
    wg.bytes_per_output = 4;
    if (!with_bp) return {ff, wg};
    return {ff, bp, wg};
}

}  // namespace enmesh::accel
