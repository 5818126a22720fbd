#pragma once

#include <string>
#include <vector>

#include "products/kernels.hpp"
#include "products/select/runs.hpp"

namespace enmesh::products {

constexpr int64_t dense_rows = 4;  // rows that share loads in the dense panel

struct Tap {
    int64_t index, dh, dw;
    int64_t offset_floats = 0;  // into a channel of the tile
};

// Channels [first, first + channels) of the reduction, and where their stream lies in the prepared weights.
struct Block {
    int64_t first = 0, channels = 0, units = 0, tail = 0;
    int64_t count = 0;  // products per row
    int64_t values = 0, offsets = 0;
};

struct Phase {
    int64_t out_h = 0, out_w = 0;
    int64_t y0 = 0, x0 = 0, step_h = 1, step_w = 1;  // output pixel of (i, j)
    int64_t in_h = 1, in_w = 1;                      // input step
    std::vector<Tap> taps = {};
    bool pointwise = false;  // one tap: output positions of all images form one list
    int64_t tiles_y = 1, tiles_x = 1, tiles = 1, row_parts = 1;
    int64_t height = 1, width = 1;  // of the largest tile, in rows and vectors
    int64_t dh_min = 0, dw_min = 0;
    std::vector<int64_t> residue_start = {}, residue_pixels = {};  // in a tile row, per column residue
    std::vector<char> row_used = {};
    int64_t row_floats = 0, channel_floats = 0;
    // Each vector of a tile row begins a segment of twice its length, which also holds what its taps read
    // beside it, so that no load crosses a cache line.
    bool spread = false;
    std::vector<Block> blocks = {};
};

// How a product runs on a processor: its phases, each with its tile and the layout of its prepared weights.
struct BroadcastPlan {
    BroadcastPlan(const Problem& problem, const MicroKernels& micro, bool dense, int threads);

    int64_t planes() const { return lanes.planes(problem.conv.n); }

    Problem problem;
    const MicroKernels* micro;
    LanePlan lanes;
    bool dense;
    bool linear = false;  // a linear layer: maps are row-major matrices
    int threads;
    Map in{}, out{};
    int64_t pixel_floats = 1;  // floats of a pixel that go into a vector
    int64_t pixels = 1;        // pixels in a vector
    Pattern pattern;
    int64_t rows = 0, reduction = 0;
    std::vector<Phase> phases;
    int64_t value_count = 0, offset_count = 0;  // of the prepared weights
    std::string declined;                       // why there is no plan; empty if there is one

  private:
    void make_phases();
    void add_phase(Phase phase);
    static bool reads(int64_t first, int64_t step, int64_t count, int64_t size);
    bool can_spread(const Phase& phase, int64_t height, int64_t width) const;
    void shape_tile(Phase& phase, int64_t height, int64_t width, bool spread) const;
    double estimated_cycles(const Phase& phase, int64_t channels) const;
    int64_t tile_channels(const Phase& phase) const;
    bool choose_tile(Phase& phase) const;
    void lay_out(Phase& phase);
    void split_rows(Phase& phase) const;
};

}  // namespace enmesh::products
