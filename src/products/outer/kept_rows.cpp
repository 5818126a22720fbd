// WG of a linear layer that multiplies only the kept gradients of an N:M diff_dst: on row-major matrices a
// kept gradient meets a row of X, whose channels are the lanes as they lie. A chunk of rows, some vectors of
// each, is copied into a tile of the L1 cache; the broadcast panel then adds, for every row of dW, its kept
// gradients times rows of the tile. Threads own parts of dW, and each of its elements is one sum in order of
// the positions: its bits depend neither on the tiles nor on the threads.

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/base/prefetch.hpp"
#include "enmesh/products/select.hpp"
#include "products/kernels.hpp"
#include "products/select/runs.hpp"

namespace enmesh::products {
namespace {

constexpr int64_t tile_bytes = 24 << 10;
constexpr int64_t sum_bytes = 192 << 10;  // of dW that stay in L2 while the chunks pass
constexpr int64_t max_offset = 65536;     // offsets into a tile are 16 bits of bytes

void list_offsets(const uint16_t* group_offsets, const uint8_t* indices, uint16_t pitch, int64_t count,
                  uint16_t* offsets) {
    for (int64_t i = 0; i < count; ++i)
        offsets[i] = static_cast<uint16_t>(group_offsets[i] + indices[i] * pitch);
}

class KeptRows final : public Product {
  public:
    KeptRows(const Problem& problem, const MicroKernels& micro)
        : Product(problem),
          micro_(micro),
          conv_(problem.conv),
          shape_(diff_dst_shape(problem)),
          threads_(threads()) {
        if (problem.block != 1 || conv_ != linear(conv_.n, conv_.c, conv_.k)) {
            declined_ = "the maps are no matrices of rows";
            return;
        }
        const int64_t vectors = ceil_div(conv_.c, micro.lanes);
        width_ = ceil_div(vectors, ceil_div(vectors, std::min(micro.max_vectors, micro.max_sums)));
        column_blocks_ = ceil_div(vectors, width_);
        row_floats_ = width_ * micro.lanes;
        const int64_t groups = shape_.groups(), m = problem.pattern().m;
        const int64_t most = std::max<int64_t>(1, tile_bytes / (row_floats_ * 4 * m));
        chunks_ = std::max<int64_t>(1, ceil_div(groups, most));
        chunk_rows_ = ceil_div(groups, chunks_) * m + shape_.tail();
        if (chunk_rows_ * row_floats_ * 4 > max_offset) {
            declined_ = "one group of rows is larger than a tile may be";
            return;
        }
        divide_filters();
        for (int64_t i = 0; i < width_; ++i) vector_offsets_[static_cast<size_t>(i)] = i * micro.lanes;
        for (int64_t i = 0; i < ceil_div(groups, chunks_) * problem.pattern().n; ++i) {
            const int64_t row = i / problem.pattern().n * m;
            group_offsets_.push_back(static_cast<uint16_t>(row * row_floats_ * 4));
        }
        const int64_t kept = shape_.kept() + shape_.tail_size();
        value_bytes_ = round_up(kept * 4, 64);
        offset_bytes_ = round_up(kept * 2 + 64, 64);
        tile_bytes_ = round_up(chunk_rows_ * row_floats_ * 4, 64);
        thread_bytes_ = tile_bytes_ + round_up(ceil_div(conv_.k, filter_blocks_) * row_floats_ * 4, 64);
    }

    const std::string& declined() const { return declined_; }
    std::string_view kernel() const override { return "kept_rows"; }
    size_t workspace_bytes() const override {
        return static_cast<size_t>(value_bytes_ + offset_bytes_ + threads_ * thread_bytes_);
    }
    size_t prepared_bytes() const override { return 0; }

    void run(const Arguments& arguments) const override {
        require_bytes(arguments.workspace, workspace_bytes(), "the workspace");
        if (arguments.packed_diff_dst == nullptr || arguments.packed_diff_dst->shape != shape_) {
            fail("{}: no compact diff_dst of the right shape", to_string(problem()));
        }
        parallel_for(conv_.k, 1, [&](int64_t begin, int64_t end) {
            for (int64_t filter = begin; filter < end; ++filter) list_filter(arguments, filter);
        });
        parallel_team([&](int thread, int team) {
            team = std::min(team, threads_);
            if (thread >= team) return;
            const auto [begin, end] = share(column_blocks_ * filter_blocks_, thread, team);
            for (int64_t task = begin; task < end; ++task) {
                const auto filters =
                    share(conv_.k, static_cast<int>(task % filter_blocks_), static_cast<int>(filter_blocks_));
                run_block(arguments, filters, task / filter_blocks_ * row_floats_, thread);
            }
        });
    }

  private:
    struct Chunk {
        int64_t first_group, groups, kept;
    };

    // Few enough filters that their sums stay in cache, and enough blocks to keep the threads evenly busy.
    void divide_filters() {
        filter_blocks_ = ceil_div(conv_.k * row_floats_ * 4, sum_bytes);
        const int64_t most = std::max<int64_t>(filter_blocks_, conv_.k / 16);
        while (filter_blocks_ < most) {
            const int64_t tasks = column_blocks_ * filter_blocks_;
            if (ceil_div(tasks, threads_) * threads_ * 100 <= tasks * 108) break;
            ++filter_blocks_;
        }
        filter_blocks_ = std::min(filter_blocks_, conv_.k);
    }

    Chunk chunk(int64_t index) const {
        const auto [begin, end] = share(shape_.groups(), static_cast<int>(index), static_cast<int>(chunks_));
        const int64_t tail = index == chunks_ - 1 ? shape_.tail() : 0;
        return {begin, end - begin, (end - begin) * shape_.pattern.n + tail};
    }
    // Where the list of a chunk begins: [chunk][filter][kept].
    int64_t list_start(const Chunk& chunk) const { return conv_.k * chunk.first_group * shape_.pattern.n; }
    float* values(const Arguments& arguments) const {
        return reinterpret_cast<float*>(arguments.workspace.data());
    }
    uint16_t* offsets(const Arguments& arguments) const {
        return reinterpret_cast<uint16_t*>(arguments.workspace.data() + value_bytes_);
    }

    void list_filter(const Arguments& arguments, int64_t filter) const {
        const PackedView& packed = *arguments.packed_diff_dst;
        const int64_t groups = shape_.groups(), n = shape_.pattern.n, tail = shape_.tail();
        const auto pitch = static_cast<uint16_t>(row_floats_ * 4);
        for (int64_t index = 0; index < chunks_; ++index) {
            const Chunk of = chunk(index);
            const int64_t from = (filter * groups + of.first_group) * n,
                          to = list_start(of) + filter * of.kept;
            float* const value = values(arguments) + to;
            uint16_t* const offset = offsets(arguments) + to;
            const int64_t grouped = of.groups * n;
            std::copy_n(packed.values.data() + from, grouped, value);
            list_offsets(group_offsets_.data(), packed.indices.data() + from, pitch, grouped, offset);
            if (index < chunks_ - 1) continue;
            for (int64_t i = 0; i < tail; ++i) {
                value[grouped + i] = packed.tail[filter * tail + i];
                offset[grouped + i] = static_cast<uint16_t>((of.groups * shape_.pattern.m + i) * pitch);
            }
        }
    }

    // dW of some filters and of the channels that begin at `channel`.
    void run_block(const Arguments& arguments, std::pair<int64_t, int64_t> filters, int64_t channel,
                   int thread) const {
        std::byte* const scratch =
            arguments.workspace.data() + value_bytes_ + offset_bytes_ + thread * thread_bytes_;
        auto* const tile = reinterpret_cast<float*>(scratch);
        auto* const sums = reinterpret_cast<float*>(scratch + tile_bytes_);
        const int64_t channels = std::min(row_floats_, conv_.c - channel);
        float* const out = arguments.out + filters.first * conv_.c + channel;
        const bool whole = channels == row_floats_;
        for (int64_t index = 0; index < chunks_; ++index) {
            const Chunk of = chunk(index);
            const bool last = index == chunks_ - 1;
            const int64_t first = of.first_group * shape_.pattern.m;
            copy_rows(arguments.src + first * conv_.c + channel,
                      of.groups * shape_.pattern.m + (last ? shape_.tail() : 0), channels, tile);
            const int64_t list = list_start(of) + filters.first * of.kept;
            micro_.panel[0][width_ - 1]({.tile = tile,
                                         .values = values(arguments) + list,
                                         .offsets = offsets(arguments) + list,
                                         .rows = filters.second - filters.first,
                                         .count = of.kept,
                                         .sums = sums,
                                         .first = index == 0,
                                         .last = last,
                                         .out = whole ? out : nullptr,
                                         .out_offsets = vector_offsets_.data(),
                                         .out_row = conv_.c});
        }
        if (whole) return;
        for (int64_t filter = 0; filter < filters.second - filters.first; ++filter)
            std::copy_n(sums + filter * row_floats_, channels, out + filter * conv_.c);
    }

    void copy_rows(const float* from, int64_t rows, int64_t channels, float* tile) const {
        for (int64_t row = 0; row < rows; ++row, from += conv_.c, tile += row_floats_) {
            // Rows lie too far apart for the processor to read ahead by itself.
            for (int64_t i = 0; i < channels; i += 16) prefetch(from, 4 * conv_.c + i);
            std::memcpy(tile, from, static_cast<size_t>(channels) * 4);
            std::fill(tile + channels, tile + row_floats_, 0.0F);
        }
    }

    const MicroKernels& micro_;
    Conv conv_;
    PackedShape shape_;
    int threads_;
    std::string declined_;
    int64_t width_ = 1, column_blocks_ = 1, row_floats_ = 0;  // vectors of a tile's row; blocks of channels
    int64_t chunks_ = 1, chunk_rows_ = 1, filter_blocks_ = 1;
    int64_t value_bytes_ = 0, offset_bytes_ = 0, tile_bytes_ = 0, thread_bytes_ = 0;
    std::array<int64_t, MicroKernels::max_width> vector_offsets_{};
    std::vector<uint16_t> group_offsets_;  // of the groups of a chunk, once for each kept
};

}  // namespace

std::string decline_kept_rows(const Problem& problem, const MicroKernels& micro) {
    return KeptRows(problem, micro).declined();
}

std::unique_ptr<Product> make_kept_rows(const Problem& problem, const MicroKernels& micro) {
    return std::make_unique<KeptRows>(problem, micro);
}

}  // namespace enmesh::products
