#pragma once

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "enmesh/base/buffer.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/products/problem.hpp"
#include "products/micro/micro.hpp"

namespace enmesh::products {

extern const MicroKernels micro_wide;

inline std::vector<float> random_floats(int64_t size, Random& random) {
    std::vector<float> values(static_cast<size_t>(size));
    for (float& value : values) value = random.uniform(-1.0F, 1.0F);
    return values;
}

inline int64_t pick(Random& random, std::initializer_list<int64_t> choices) {
    return choices.begin()[random.below(choices.size())];
}

/// Memory for a product's output, `shift` floats (fewer than 16) behind a cache line, full of NaNs, between
/// two lines that must not change.
class Output {
  public:
    Output(int64_t size, size_t shift) : begin_(16 + shift), end_(begin_ + static_cast<size_t>(size)) {
        memory_ = Buffer((end_ + 16) * sizeof(float));
        for (float& value : memory_.as<float>()) value = guard;
        for (size_t i = begin_; i < end_; ++i)
            memory_.as<float>()[i] = std::numeric_limits<float>::quiet_NaN();
    }
    float* data() { return memory_.as<float>().data() + begin_; }
    /// The output; checks the memory around it.
    std::vector<float> take() const {
        const std::span<const float> all = memory_.as<float>();
        for (size_t i = 0; i < all.size(); ++i) {
            if (i >= begin_ && i < end_) continue;
            EXPECT_EQ(all[i], guard) << "written beside the output, at float " << i << " of " << all.size();
        }
        return {all.begin() + static_cast<std::ptrdiff_t>(begin_),
                all.begin() + static_cast<std::ptrdiff_t>(end_)};
    }

  private:
    static constexpr float guard = 12345.0F;
    size_t begin_, end_;
    Buffer memory_;
};

/// A small convolution of any awkwardness: odd sizes, tails, strides, dilations, asymmetric padding, groups.
inline Conv random_conv(Random& random) {
    for (;;) {
        Conv conv;
        conv.n = pick(random, {1, 2, 3, 4, 6, 8, 8, 16});
        conv.groups = pick(random, {1, 1, 1, 1, 2, 3});
        conv.c = conv.groups * static_cast<int64_t>(1 + random.below(conv.groups == 1 ? 33 : 7));
        conv.k = conv.groups * static_cast<int64_t>(1 + random.below(conv.groups == 1 ? 33 : 7));
        conv.h = pick(random, {1, 2, 3, 4, 5, 7, 9, 12});
        conv.w = pick(random, {1, 2, 3, 4, 5, 7, 9, 14, 19});
        conv.r = pick(random, {1, 1, 2, 3, 3, 3, 5, 7});
        conv.s = pick(random, {conv.r, conv.r, 1, 3});
        conv.stride_h = pick(random, {1, 1, 2, 2, 3});
        conv.stride_w = pick(random, {conv.stride_h, conv.stride_h, 1, 2});
        conv.dilation_h = pick(random, {1, 1, 1, 2, 3});
        conv.dilation_w = pick(random, {conv.dilation_h, 1});
        conv.pad_top = static_cast<int64_t>(random.below(4));
        conv.pad_left = static_cast<int64_t>(random.below(4));
        conv.pad_bottom = pick(random, {conv.pad_top, 0, 1});
        conv.pad_right = pick(random, {conv.pad_left, 0, 2});
        if (conv.h + conv.pad_top + conv.pad_bottom < (conv.r - 1) * conv.dilation_h + 1) continue;
        if (conv.w + conv.pad_left + conv.pad_right < (conv.s - 1) * conv.dilation_w + 1) continue;
        return conv;
    }
}

}  // namespace enmesh::products
