#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cpu/lowering.hpp"

namespace enmesh::cpu {

/// One axis of a nest of loops, and how far a step along it moves in each operand.
struct Loop {
    int64_t extent = 1;
    std::array<int64_t, 3> stride{};
};
using Loops = std::vector<Loop>;

/// A blocked layout as row-major memory of one more axis: the lanes, split off the images' or the channels'
/// axis, come last.
struct LaneSplit {
    int axis = 0;
    int block = 1;
    explicit LaneSplit(Layout layout)
        : axis(layout.lanes == Layout::Lanes::images ? 0 : 1), block(layout.block) {}
};
/// Extents of `shape` with its lanes split off.
std::vector<int64_t> split_extents(const Shape& shape, LaneSplit split);
/// Strides of a value of `shape` along the split axes of a result of `rank` axes: 0 where it is repeated
/// (NumPy broadcasting). Its own layout is the one that `split` stands for, or plain.
std::vector<int64_t> split_strides(const Shape& shape, Layout layout, int rank, LaneSplit split);
/// Loops over a result of `shape` with up to three operands' strides.
Loops make_loops(const Shape& shape, LaneSplit split, std::vector<std::vector<int64_t>> strides);

/// dst = src along loops of strides {dst, src}. No element of dst is written twice.
class StridedCopy {
  public:
    explicit StridedCopy(Loops loops);
    void run(const float* src, float* dst) const;

  private:
    void copy_tile(const float* src, float* dst, int64_t rows) const;

    Loops outer_;
    Loop inner_;   ///< smallest stride of dst
    Loop across_;  ///< stride 1 of src where inner_ has none: the two are walked in tiles
};

/// dst = f(a, b) along loops of strides {dst, a, b}, dst being contiguous.
class StridedBinary {
  public:
    using Function = void (*)(const float* a, const float* b, float* dst, int64_t count);
    StridedBinary(Loops loops, Function function);
    void run(const float* a, const float* b, float* dst) const;

  private:
    /// How an operand gives the `chunk_` elements that one call takes.
    struct Source {
        bool direct = false;    ///< they lie side by side
        bool repeated = false;  ///< every chunk of a row is the same
    };
    void gather(const float* from, size_t operand, int64_t count, float* to) const;

    Function function_;
    Loops outer_;  ///< the last one steps from chunk to chunk of a row
    Loop row_, lane_;
    int64_t length_ = 0, chunk_ = 0;
    std::array<Source, 3> sources_{};
};

/// dst = factor * sum of src along loops of strides {dst, src}: those where dst stands still are summed, in
/// an order that does not depend on the number of threads.
class StridedSum {
  public:
    StridedSum(Loops loops, double factor);
    void run(const float* src, float* dst) const;

  private:
    void sum_runs(const float* src, float* dst) const;
    void sum_lanes(const float* src, float* dst) const;

    Loops kept_, summed_;
    Loop inner_;  ///< stride 1 of src
    Loop runs_;   ///< the innermost summed loop where inner_ is kept
    bool inner_summed_ = false;
    int64_t grain_ = 1;
    double factor_ = 1;
};

}  // namespace enmesh::cpu
