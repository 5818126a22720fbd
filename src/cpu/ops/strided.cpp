#include "cpu/ops/strided.hpp"

#include <algorithm>
#include <cstring>
#include <span>

#include "cpu/ops/runs.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::cpu {
namespace {

constexpr size_t max_loops = 12;
constexpr int64_t tile = 16;
constexpr int64_t buffered = 512;
constexpr int64_t most_lanes = 64;

using Offsets = std::array<int64_t, 3>;

/// Leaves out loops of one round and joins neighbours that step alike in every operand.
Loops joined(const Loops& loops) {
    Loops result;
    for (const Loop& loop : loops) {
        if (loop.extent == 1) continue;
        const auto continues = [&](const Loop& outer) {
            for (size_t k = 0; k < loop.stride.size(); ++k) {
                if (outer.stride[k] != loop.stride[k] * loop.extent) return false;
            }
            return true;
        };
        if (!result.empty() && continues(result.back())) {
            result.back() = {result.back().extent * loop.extent, loop.stride};
        } else {
            result.push_back(loop);
        }
    }
    if (result.size() > max_loops) refuse("more than {} axes are not supported", max_loops);
    return result;
}

/// Outer loops first, by their strides in operand k.
void sort_by_stride(Loops& loops, size_t k) {
    std::stable_sort(loops.begin(), loops.end(),
                     [&](const Loop& a, const Loop& b) { return a.stride[k] > b.stride[k]; });
}

Loop take_last(Loops& loops) {
    if (loops.empty()) return {};
    const Loop last = loops.back();
    loops.pop_back();
    return last;
}

int64_t rounds(std::span<const Loop> loops) {
    int64_t count = 1;
    for (const Loop& loop : loops) count *= loop.extent;
    return count;
}

/// body(offsets, round of the innermost loop) for rounds [begin, end) of the nest.
template <typename Body>
void walk(std::span<const Loop> loops, int64_t begin, int64_t end, const Body& body) {
    std::array<int64_t, max_loops> index{};
    Offsets at{};
    int64_t rest = begin;
    for (size_t l = loops.size(); l-- > 0;) {
        index[l] = rest % loops[l].extent;
        rest /= loops[l].extent;
        for (size_t k = 0; k < at.size(); ++k) at[k] += index[l] * loops[l].stride[k];
    }
    for (int64_t round = begin; round < end; ++round) {
        body(at, loops.empty() ? 0 : index[loops.size() - 1]);
        for (size_t l = loops.size(); l-- > 0;) {
            const Loop& loop = loops[l];
            const bool again = ++index[l] < loop.extent;
            const int64_t steps = again ? 1 : 1 - loop.extent;
            for (size_t k = 0; k < at.size(); ++k) at[k] += steps * loop.stride[k];
            if (again) break;
            index[l] = 0;
        }
    }
}

std::vector<int64_t> row_major(const std::vector<int64_t>& extents) {
    std::vector<int64_t> strides(extents.size());
    int64_t stride = 1;
    for (size_t i = extents.size(); i-- > 0;) {
        strides[i] = stride;
        stride *= extents[i];
    }
    return strides;
}

/// sums[i] += x[r * step + i] over `rounds` runs of `width` neighbours.
template <int64_t Width>
void add_runs(const float* x, int64_t step, int64_t rounds, int64_t width, double* sums) {
    constexpr int64_t flush = 64;
    const int64_t count = Width > 0 ? Width : width;
    for (int64_t first = 0; first < rounds; first += flush) {
        std::array<float, most_lanes> partial{};
        const int64_t last = std::min(first + flush, rounds);
        for (int64_t r = first; r < last; ++r) {
            for (int64_t i = 0; i < count; ++i) partial[static_cast<size_t>(i)] += x[r * step + i];
        }
        for (int64_t i = 0; i < count; ++i) sums[i] += static_cast<double>(partial[static_cast<size_t>(i)]);
    }
}

}  // namespace

std::vector<int64_t> split_extents(const Shape& shape, LaneSplit split) {
    std::vector<int64_t> extents = shape.dims();
    if (split.block == 1) return extents;
    extents[static_cast<size_t>(split.axis)] /= split.block;
    extents.push_back(split.block);
    return extents;
}

std::vector<int64_t> split_strides(const Shape& shape, Layout layout, int rank, LaneSplit split) {
    const auto axis = static_cast<size_t>(split.axis);
    const size_t missing = static_cast<size_t>(rank - shape.rank());
    std::vector<int64_t> own = row_major(split_extents(shape, LaneSplit(layout)));
    std::vector<int64_t> strides(static_cast<size_t>(rank), 0);
    for (size_t i = 0; i < static_cast<size_t>(shape.rank()); ++i) {
        if (shape[static_cast<int>(i)] != 1) strides[missing + i] = own[i];
    }
    if (split.block == 1) {
        ENMESH_ASSERT(layout.plain());
    } else if (layout.plain()) {
        strides.push_back(strides[axis]);
        strides[axis] *= split.block;
    } else {
        ENMESH_ASSERT(missing == 0 && layout.block == split.block);
        strides.push_back(1);
    }
    return strides;
}

Loops make_loops(const Shape& shape, LaneSplit split, std::vector<std::vector<int64_t>> strides) {
    const std::vector<int64_t> extents = split_extents(shape, split);
    Loops loops(extents.size());
    for (size_t i = 0; i < loops.size(); ++i) {
        loops[i].extent = extents[i];
        for (size_t k = 0; k < strides.size(); ++k) loops[i].stride[k] = strides[k][i];
    }
    return loops;
}

StridedCopy::StridedCopy(Loops loops) : outer_(std::move(loops)) {
    outer_ = joined(outer_);
    sort_by_stride(outer_, 0);
    outer_ = joined(outer_);
    inner_ = take_last(outer_);
    if (inner_.stride[1] <= 1) return;
    const auto contiguous =
        std::find_if(outer_.begin(), outer_.end(), [](const Loop& loop) { return loop.stride[1] == 1; });
    if (contiguous == outer_.end()) return;
    across_ = *contiguous;
    outer_.erase(contiguous);
    Loop tiles{(across_.extent + tile - 1) / tile, across_.stride};
    for (int64_t& stride : tiles.stride) stride *= tile;
    outer_.push_back(tiles);
}

/// `rows` rounds of across_ by all of inner_, in squares, so that both sides' cache lines are used up.
void StridedCopy::copy_tile(const float* src, float* dst, int64_t rows) const {
    const int64_t dst_step = inner_.stride[0], src_step = inner_.stride[1], dst_row = across_.stride[0];
    for (int64_t begin = 0; begin < inner_.extent; begin += tile) {
        const int64_t end = std::min(begin + tile, inner_.extent);
        for (int64_t row = 0; row < rows; ++row) {
            for (int64_t i = begin; i < end; ++i) dst[row * dst_row + i * dst_step] = src[row + i * src_step];
        }
    }
}

void StridedCopy::run(const float* src, float* dst) const {
    const int64_t width = inner_.extent * std::min(across_.extent, tile);
    const int64_t dst_step = inner_.stride[0], src_step = inner_.stride[1];
    parallel_for(rounds(outer_), std::max<int64_t>(1, element_grain / width),
                 [&](int64_t begin, int64_t end) {
                     walk(outer_, begin, end, [&](const Offsets& at, int64_t round) {
                         float* const to = dst + at[0];
                         const float* const from = src + at[1];
                         if (across_.extent > 1) {
                             copy_tile(from, to, std::min(tile, across_.extent - round * tile));
                         } else if (dst_step <= 1 && src_step == 1 && inner_.extent == 8) {
                             std::memcpy(to, from, 8 * sizeof(float));  // a block of lanes: worth no call
                         } else if (dst_step <= 1 && src_step == 1) {
                             std::memcpy(to, from, static_cast<size_t>(inner_.extent) * sizeof(float));
                         } else {
                             for (int64_t i = 0; i < inner_.extent; ++i)
                                 to[i * dst_step] = from[i * src_step];
                         }
                     });
                 });
}

StridedBinary::StridedBinary(Loops loops, Function function) : function_(function), outer_(joined(loops)) {
    lane_ = take_last(outer_);
    // Short innermost loops (the lanes of a block) are taken together with the loop around them.
    if (lane_.extent < 64) row_ = take_last(outer_);
    length_ = row_.extent * lane_.extent;
    for (size_t k = 0; k < sources_.size(); ++k) {
        const bool single = row_.extent == 1;
        sources_[k].direct =
            (lane_.extent == 1 || lane_.stride[k] == 1) && (single || row_.stride[k] == lane_.extent);
        sources_[k].repeated = single ? lane_.stride[k] == 0 : row_.stride[k] == 0;
    }
    const bool all_direct = sources_[1].direct && sources_[2].direct;
    const int64_t most = all_direct ? element_grain : buffered;
    const int64_t unit = row_.extent == 1 ? lanes : lane_.extent;
    chunk_ = most / unit * unit;
    Loop chunks{(length_ + chunk_ - 1) / chunk_, {}};
    for (size_t k = 0; k < chunks.stride.size(); ++k) {
        chunks.stride[k] =
            row_.extent == 1 ? chunk_ * lane_.stride[k] : chunk_ / lane_.extent * row_.stride[k];
    }
    outer_.push_back(chunks);
}

void StridedBinary::gather(const float* from, size_t operand, int64_t count, float* to) const {
    const int64_t lane_step = lane_.stride[operand], row_step = row_.stride[operand];
    for (int64_t row = 0, i = 0; i < count; ++row) {
        const float* const x = from + row * row_step;
        const int64_t end = std::min(lane_.extent, count - i);
        for (int64_t lane = 0; lane < end; ++lane) to[i++] = x[lane * lane_step];
    }
}

void StridedBinary::run(const float* a, const float* b, float* dst) const {
    const std::array<const float*, 3> bases{dst, a, b};
    const int64_t grain = std::max<int64_t>(1, element_grain / std::min(chunk_, length_));
    parallel_for(rounds(outer_), grain, [&](int64_t begin, int64_t end) {
        std::array<std::array<float, buffered>, 3> buffers;
        std::array<const float*, 3> held{};
        walk(outer_, begin, end, [&](const Offsets& at, int64_t round) {
            const int64_t count = std::min(chunk_, length_ - round * chunk_);
            std::array<const float*, 3> operands{};
            for (size_t k = 1; k < operands.size(); ++k) {
                const float* const from = bases[k] + at[k];
                operands[k] = sources_[k].direct ? from : buffers[k].data();
                if (sources_[k].direct || (sources_[k].repeated && held[k] == from)) continue;
                gather(from, k, sources_[k].repeated ? std::min(chunk_, length_) : count, buffers[k].data());
                held[k] = from;
            }
            function_(operands[1], operands[2], dst + at[0], count);
        });
    });
}

StridedSum::StridedSum(Loops loops, double factor) : factor_(factor) {
    Loops all = joined(loops);
    sort_by_stride(all, 1);
    all = joined(all);
    inner_ = take_last(all);
    inner_summed_ = inner_.stride[0] == 0;
    for (const Loop& loop : all) (loop.stride[0] == 0 ? summed_ : kept_).push_back(loop);
    if (!inner_summed_) {
        Loop tiles{(inner_.extent + most_lanes - 1) / most_lanes, inner_.stride};
        for (int64_t& stride : tiles.stride) stride *= most_lanes;
        kept_.push_back(tiles);
    }
    grain_ = std::max<int64_t>(1, element_grain / std::max<int64_t>(1, rounds(summed_) * inner_.extent));
    if (!inner_summed_) runs_ = take_last(summed_);
}

void StridedSum::sum_runs(const float* src, float* dst) const {
    const int64_t count = rounds(summed_);
    parallel_for(rounds(kept_), grain_, [&](int64_t begin, int64_t end) {
        walk(kept_, begin, end, [&](const Offsets& at, int64_t) {
            double total = 0;
            walk(summed_, 0, count, [&](const Offsets& inside, int64_t) {
                total += simd().sum(src + at[1] + inside[1], inner_.extent);
            });
            dst[at[0]] = static_cast<float>(factor_ * total);
        });
    });
}

void StridedSum::sum_lanes(const float* src, float* dst) const {
    const int64_t count = rounds(summed_);
    parallel_for(rounds(kept_), grain_, [&](int64_t begin, int64_t end) {
        walk(kept_, begin, end, [&](const Offsets& at, int64_t round) {
            const int64_t width = std::min(most_lanes, inner_.extent - round * most_lanes);
            std::array<double, most_lanes> totals{};
            const auto add = width == 8            ? add_runs<8>
                             : width == most_lanes ? add_runs<most_lanes>
                                                   : add_runs<0>;
            walk(summed_, 0, count, [&](const Offsets& inside, int64_t) {
                add(src + at[1] + inside[1], runs_.stride[1], runs_.extent, width, totals.data());
            });
            for (int64_t i = 0; i < width; ++i) {
                dst[at[0] + i * inner_.stride[0]] =
                    static_cast<float>(factor_ * totals[static_cast<size_t>(i)]);
            }
        });
    });
}

void StridedSum::run(const float* src, float* dst) const {
    if (inner_summed_) {
        sum_runs(src, dst);
    } else {
        sum_lanes(src, dst);
    }
}

}  // namespace enmesh::cpu
