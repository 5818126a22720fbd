// The Winograd transforms of micro_impl.hpp, which includes this file and says how it is compiled.

namespace enmesh::products {
namespace {

// Toom-Cook with the points 0, 1, -1, 2, -2, infinity. The same input transform serves F(4, 3), the
// convolution, and F(3, 4), its weight gradient.
enum class Transform { src, diff, dst, weights };

template <Transform kind>
inline void transform(const Vec (&in)[6], Vec (&out)[6]) {
    if constexpr (kind == Transform::src) {
        const Vec even = in[4] - 4.0F * in[2], odd = in[3] - 4.0F * in[1];
        const Vec even2 = in[4] - in[2], odd2 = 2.0F * (in[3] - in[1]);
        out[0] = 4.0F * in[0] - 5.0F * in[2] + in[4];
        out[1] = even + odd;
        out[2] = even - odd;
        out[3] = even2 + odd2;
        out[4] = even2 - odd2;
        out[5] = 4.0F * in[1] - 5.0F * in[3] + in[5];
    } else if constexpr (kind == Transform::diff) {
        const Vec even = (in[0] + in[2]) * (-1.0F / 6.0F), odd = (in[1] + in[3]) * (-1.0F / 6.0F);
        const Vec even2 = in[0] * (1.0F / 24.0F) + in[2] * (1.0F / 6.0F);
        const Vec odd2 = in[1] * (1.0F / 12.0F) + in[3] * (1.0F / 3.0F);
        out[0] = in[0] * 0.25F;
        out[1] = even + odd;
        out[2] = even - odd;
        out[3] = even2 + odd2;
        out[4] = even2 - odd2;
        out[5] = in[3];
    } else {
        const Vec sum = in[1] + in[2], gap = in[1] - in[2], sum2 = in[3] + in[4], gap2 = in[3] - in[4];
        out[0] = in[0] + sum + sum2;
        out[1] = gap + 2.0F * gap2;
        if constexpr (kind == Transform::dst) {
            out[2] = sum + 4.0F * sum2;
            out[3] = gap + 8.0F * gap2 + in[5];
        } else {
            out[2] = sum + 4.0F * sum2 + in[5];
        }
    }
}

// Both directions of the grid: its `from` x `from` corner becomes `to` x `to`.
template <Transform kind, int from, int to>
inline void transform_square(Vec (&grid)[6][6]) {
    ENMESH_UNROLL for (int x = 0; x < from; ++x) {
        Vec in[6] = {}, out[6];
        ENMESH_UNROLL for (int y = 0; y < from; ++y) in[y] = grid[y][x];
        transform<kind>(in, out);
        ENMESH_UNROLL for (int y = 0; y < to; ++y) grid[y][x] = out[y];
    }
    ENMESH_UNROLL for (int y = 0; y < to; ++y) {
        Vec in[6] = {}, out[6];
        ENMESH_UNROLL for (int x = 0; x < from; ++x) in[x] = grid[y][x];
        transform<kind>(in, out);
        ENMESH_UNROLL for (int x = 0; x < to; ++x) grid[y][x] = out[x];
    }
}

template <Transform kind, int size>
void winograd_from_map(const WinogradArgs& args) {
    for (int64_t channel = 0; channel < args.channels; ++channel) {
        const float* const plane = args.src + channel * args.map_channel;
        for (int64_t t = 0; t < args.tile_count; ++t) {
            const WinogradTile& tile = args.tiles[t];
            Vec grid[6][6];
            if (tile.y_begin == 0 && tile.x_begin == 0 && tile.y_end == size && tile.x_end == size) {
                ENMESH_UNROLL for (int y = 0; y < size; ++y) {
                    const float* const line = plane + tile.origin + y * args.map_row;
                    ENMESH_UNROLL for (int x = 0; x < size; ++x) grid[y][x] = load(line + x * args.map_pixel);
                }
            } else {
                for (int y = 0; y < size; ++y) {
                    for (int x = 0; x < size; ++x) grid[y][x] = Vec{};
                }
                for (int y = tile.y_begin; y < tile.y_end; ++y) {
                    for (int x = tile.x_begin; x < tile.x_end; ++x) {
                        grid[y][x] = load(plane + (tile.origin + y * args.map_row + x * args.map_pixel));
                    }
                }
            }
            transform_square<kind, size, 6>(grid);
            float* const flat = args.dst + channel * args.flat_channel + tile.flat;
            for (int y = 0; y < 6; ++y) {
                for (int x = 0; x < 6; ++x) store(flat + (y * 6 + x) * args.flat_point, grid[y][x]);
            }
        }
    }
}

void winograd_to_map(const WinogradArgs& args) {
    for (int64_t channel = 0; channel < args.channels; ++channel) {
        const float bias = args.bias == nullptr ? 0.0F : args.bias[channel];
        float* const plane = args.dst + channel * args.map_channel;
        for (int64_t t = 0; t < args.tile_count; ++t) {
            const WinogradTile& tile = args.tiles[t];
            const float* const flat = args.src + channel * args.flat_channel + tile.flat;
            Vec grid[6][6];
            for (int y = 0; y < 6; ++y) {
                for (int x = 0; x < 6; ++x) grid[y][x] = load(flat + (y * 6 + x) * args.flat_point);
            }
            transform_square<Transform::dst, 6, 4>(grid);
            for (int y = tile.y_begin; y < tile.y_end; ++y) {
                for (int x = tile.x_begin; x < tile.x_end; ++x) {
                    Vec value = grid[y][x] + bias;
                    if (args.relu) value = positive(value);
                    store(plane + (tile.origin + y * args.map_row + x * args.map_pixel), value);
                }
            }
        }
    }
}

void winograd_weights(const float* points, int64_t point_stride, int64_t count, float* weights) {
    for (int64_t first = 0; first < count; first += lanes) {
        const int64_t used = count - first < lanes ? count - first : lanes;
        Vec grid[6][6];
        for (int p = 0; p < 36; ++p) {
            const float* const from = points + p * point_stride + first;
            Vec value = {};
            if (used == lanes) {
                value = load(from);
            } else {
                for (int64_t i = 0; i < used; ++i) value[i] = from[i];
            }
            grid[p / 6][p % 6] = value;
        }
        transform_square<Transform::weights, 6, 3>(grid);
        for (int64_t i = 0; i < used; ++i) {
            for (int p = 0; p < 9; ++p) weights[(first + i) * 9 + p] = grid[p / 3][p % 3][i];
        }
    }
}

}  // namespace
}  // namespace enmesh::products
