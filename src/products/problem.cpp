#include "enmesh/products/problem.hpp"

#include <algorithm>

#include "enmesh/base/error.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"

namespace enmesh::products {
namespace {

void append(std::string& text, const char* name, int64_t value, int64_t left_out) {
    if (value != left_out) text += fmt::format(" {}{}", name, value);
}

}  // namespace

std::string to_string(Stage stage) {
    switch (stage) {
        case Stage::ff:
            return "FF";
        case Stage::bp:
            return "BP";
        case Stage::wg:
            return "WG";
    }
    return "FF";
}

Conv linear(int64_t rows, int64_t c, int64_t k) { return {.n = rows, .c = c, .k = k}; }

void check(const Conv& conv) {
    for (const int64_t size : {conv.n, conv.c, conv.h, conv.w, conv.k, conv.r, conv.s, conv.stride_h,
                               conv.stride_w, conv.dilation_h, conv.dilation_w, conv.groups}) {
        if (size < 1)
            refuse("convolution {}: every size, stride and dilation must be at least 1", to_string(conv));
    }
    for (const int64_t pad : {conv.pad_top, conv.pad_left, conv.pad_bottom, conv.pad_right}) {
        if (pad < 0) refuse("convolution {}: padding must not be negative", to_string(conv));
    }
    if (conv.c % conv.groups != 0 || conv.k % conv.groups != 0) {
        refuse("convolution {}: {} groups do not divide the channels", to_string(conv), conv.groups);
    }
    if (conv.h + conv.pad_top + conv.pad_bottom < (conv.r - 1) * conv.dilation_h + 1 ||
        conv.w + conv.pad_left + conv.pad_right < (conv.s - 1) * conv.dilation_w + 1) {
        refuse("convolution {}: the window is larger than the padded image", to_string(conv));
    }
}

std::string to_string(const Conv& conv) {
    std::string text =
        fmt::format("n{} c{} h{} w{} k{} r{} s{}", conv.n, conv.c, conv.h, conv.w, conv.k, conv.r, conv.s);
    append(text, "sh", conv.stride_h, 1);
    append(text, "sw", conv.stride_w, 1);
    append(text, "pt", conv.pad_top, 0);
    append(text, "pl", conv.pad_left, 0);
    append(text, "pb", conv.pad_bottom, 0);
    append(text, "pr", conv.pad_right, 0);
    append(text, "dh", conv.dilation_h, 1);
    append(text, "dw", conv.dilation_w, 1);
    append(text, "g", conv.groups, 1);
    return text;
}

bool Problem::linear() const { return conv == products::linear(conv.n, conv.c, conv.k); }

double Problem::multiply_adds() const {
    const double whole = conv.multiply_adds();
    if (dense()) return whole;
    const Pattern kind = pattern();
    const int64_t length = stage == Stage::wg ? conv.n * conv.out_h() * conv.out_w() : reduction();
    const int64_t kept = length / kind.m * kind.n + length % kind.m;
    return whole * static_cast<double>(kept) / static_cast<double>(length);
}

void check(const Problem& problem) {
    check(problem.conv);
    const bool lanes_of_images = problem.lanes == Lanes::images;
    if (problem.block < 1 || (lanes_of_images && problem.conv.n % problem.block != 0)) {
        refuse("{}: block {} does not divide the batch", to_string(problem.conv), problem.block);
    }
    if (problem.lanes == Lanes::rows && !problem.linear())
        refuse("{}: a convolution is no product of rows", to_string(problem.conv));
    if (problem.dense()) return;
    check_pattern(problem.pattern());
    if (problem.stage == Stage::ff && problem.sparse() == Operand::diff_dst)
        refuse("FF has no diff_dst operand");
    if (problem.stage == Stage::wg && problem.sparse() == Operand::weights)
        refuse("WG has no weights operand");
}

namespace {

std::string sparsity_text(std::monostate) { return "dense"; }
std::string sparsity_text(const NmOperand& nm) {
    return (nm.operand == Operand::weights ? "weights " : "diff_dst ") + enmesh::to_string(nm.pattern);
}

/// Stage, geometry and sparsity.
std::string core_text(const Problem& problem) {
    return fmt::format("{} {} {}", to_string(problem.stage), to_string(problem.conv),
                       std::visit([](const auto& kind) { return sparsity_text(kind); }, problem.sparsity));
}

}  // namespace

std::string to_string(const Problem& problem) {
    constexpr const char* names[] = {"", " channels", " rows", " plain", " any"};
    return fmt::format("{} b{}{}{}{}", core_text(problem), problem.block,
                       names[static_cast<size_t>(problem.lanes)], problem.plain_src ? " plain src" : "",
                       problem.numbers.a == Number::bf16 ? " bf16" : "");
}

std::string plan_key(const Problem& problem) {
    if (problem.lanes == Lanes::images) return to_string(problem);
    if (problem.numbers.a == Number::bf16) return "bf16 " + core_text(problem) + " b1";
    return "oneDNN " + core_text(filled_in(problem)) + " b1";
}

Problem filled_in(const Problem& problem) {
    Problem dense = problem;
    dense.sparsity = {};
    return dense;
}

int best_block(int64_t n) {
    for (int block = std::max(8, vector_lanes(isa())); block > 1; block /= 2) {
        if (n % block == 0) return block;
    }
    return 1;
}

void reblock(const float* from, int from_block, float* to, int to_block, int64_t n, int64_t channels,
             int64_t area) {
    const int64_t wide = std::max(from_block, to_block), narrow = std::min(from_block, to_block);
    // One image block of the wider layout and one channel at a time: `parts` runs of the narrower layout.
    const int64_t parts = wide / narrow;
    parallel_for(n / wide * channels, 4, [&](int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item) {
            const int64_t outer = item / channels, channel = item % channels;
            for (int64_t part = 0; part < parts; ++part) {
                const int64_t wide_base = item * area * wide + part * narrow;
                const int64_t narrow_base = ((outer * parts + part) * channels + channel) * area * narrow;
                for (int64_t pixel = 0; pixel < area; ++pixel) {
                    const int64_t in_wide = wide_base + pixel * wide,
                                  in_narrow = narrow_base + pixel * narrow;
                    const float* const source = from + (from_block > to_block ? in_wide : in_narrow);
                    float* const target = to + (from_block > to_block ? in_narrow : in_wide);
                    for (int64_t lane = 0; lane < narrow; ++lane) target[lane] = source[lane];
                }
            }
        }
    });
}

}  // namespace enmesh::products
