// Included once per ISA with ENMESH_SIMD_WIDTH (float lanes of a register) and ENMESH_SIMD_TABLE (the table
// to define). Only plain loops and GCC vector extensions here: a template of another header instantiated
// under these compiler flags could end up serving the other ISAs.
#include <cstring>

#include "cpu/simd/simd.hpp"

#if defined(__AVX512F__) && ENMESH_SIMD_WIDTH == 16
#define ENMESH_SIMD_STREAMS 1
#include <immintrin.h>
#else
#define ENMESH_SIMD_STREAMS 0
#endif

namespace enmesh::cpu {
namespace {

constexpr int width = ENMESH_SIMD_WIDTH;
constexpr int vectors = lanes / width;
/// Elements summed in float before the sum moves to double.
constexpr int64_t chunk = 4096;

typedef float V __attribute__((vector_size(4 * ENMESH_SIMD_WIDTH)));
typedef int32_t I __attribute__((vector_size(4 * ENMESH_SIMD_WIDTH)));
typedef uint8_t B __attribute__((vector_size(ENMESH_SIMD_WIDTH)));

inline V load(const float* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline void store(float* p, V v) { std::memcpy(p, &v, sizeof v); }
/// A streaming store if asked for, to a whole cache line then.
template <bool is_streaming>
inline void store_as(float* p, V v) {
#if ENMESH_SIMD_STREAMS
    if (is_streaming) return _mm512_stream_ps(p, v);
#endif
    store(p, v);
}
/// Whether a run that was asked to stream can: vectors of less than a line cannot, nor runs that begin inside
/// one.
inline bool can_stream([[maybe_unused]] const float* p, [[maybe_unused]] bool stream) {
#if ENMESH_SIMD_STREAMS
    return stream && (reinterpret_cast<uintptr_t>(p) & 63) == 0;
#else
    return false;
#endif
}
inline V splat(float x) { return V{} + x; }
inline V select(I mask, V yes, V no) { return (V)(((I)yes & mask) | ((I)no & ~mask)); }
/// NaN passes, so that it stays visible.
inline V positive(V x) { return select(x < 0.0F, V{}, x); }
inline float positive(float x) { return x < 0.0F ? 0.0F : x; }
inline int64_t whole(int64_t count) { return count - count % lanes; }

inline V gradient_at(const NormGradient& g, int64_t i) {
    V dy = load(g.g1 + i);
    if (g.g2 != nullptr) dy += load(g.g2 + i);
    if (g.z != nullptr) dy = select(load(g.z + i) > 0.0F, dy, V{});
    return dy;
}
inline float gradient_at_scalar(const NormGradient& g, int64_t i) {
    const float dy = g.g1[i] + (g.g2 != nullptr ? g.g2[i] : 0.0F);
    return g.z == nullptr || g.z[i] > 0.0F ? dy : 0.0F;
}

void flush(V* sums, double* out) {
    for (int v = 0; v < vectors; ++v) {
        for (int l = 0; l < width; ++l) out[v * width + l] += static_cast<double>(sums[v][l]);
        sums[v] = V{};
    }
}

void norm_sums(const float* x, int64_t count, const float* shift, double* sum, double* sum_squares) {
    V s[vectors] = {}, q[vectors] = {}, k[vectors];
    for (int v = 0; v < vectors; ++v) k[v] = load(shift + v * width);
    const int64_t end = whole(count);
    for (int64_t begin = 0; begin < end; begin += chunk) {
        const int64_t stop = begin + chunk < end ? begin + chunk : end;
        for (int64_t i = begin; i < stop; i += lanes) {
            for (int v = 0; v < vectors; ++v) {
                const V d = load(x + i + v * width) - k[v];
                s[v] += d;
                q[v] += d * d;
            }
        }
        flush(s, sum);
        flush(q, sum_squares);
    }
    for (int64_t i = end; i < count; ++i) {
        const double d = static_cast<double>(x[i]) - static_cast<double>(shift[i - end]);
        sum[i - end] += d;
        sum_squares[i - end] += d * d;
    }
}

template <bool HasResidual, bool IsRelu, bool is_streaming>
void norm_apply_as(const float* x, const float* residual, float* y, int64_t count, const float* scale,
                   const float* offset) {
    V a[vectors], b[vectors];
    for (int v = 0; v < vectors; ++v) {
        a[v] = load(scale + v * width);
        b[v] = load(offset + v * width);
    }
    const int64_t end = whole(count);
    for (int64_t i = 0; i < end; i += lanes) {
        for (int v = 0; v < vectors; ++v) {
            V r = load(x + i + v * width) * a[v] + b[v];
            if (HasResidual) r += load(residual + i + v * width);
            store_as<is_streaming>(y + i + v * width, IsRelu ? positive(r) : r);
        }
    }
    for (int64_t i = end; i < count; ++i) {
        float r = x[i] * scale[i - end] + offset[i - end];
        if (HasResidual) r += residual[i];
        y[i] = IsRelu ? positive(r) : r;
    }
}

template <bool is_streaming>
void norm_apply_by(const float* x, const float* residual, float* y, int64_t count, const float* scale,
                   const float* offset, bool relu) {
    const auto run =
        residual != nullptr
            ? (relu ? norm_apply_as<true, true, is_streaming> : norm_apply_as<true, false, is_streaming>)
            : (relu ? norm_apply_as<false, true, is_streaming> : norm_apply_as<false, false, is_streaming>);
    run(x, residual, y, count, scale, offset);
}

void norm_apply(const float* x, const float* residual, float* y, int64_t count, const float* scale,
                const float* offset, bool relu, bool stream) {
    if (can_stream(y, stream)) return norm_apply_by<true>(x, residual, y, count, scale, offset, relu);
    norm_apply_by<false>(x, residual, y, count, scale, offset, relu);
}

template <bool is_streaming>
void norm_backward_sums_as(NormGradient g, const float* x, float* dy_out, int64_t count, const float* mean,
                           double* sum, double* sum_product) {
    V s[vectors] = {}, q[vectors] = {}, k[vectors];
    for (int v = 0; v < vectors; ++v) k[v] = load(mean + v * width);
    const int64_t end = whole(count);
    for (int64_t begin = 0; begin < end; begin += chunk) {
        const int64_t stop = begin + chunk < end ? begin + chunk : end;
        for (int64_t i = begin; i < stop; i += lanes) {
            for (int v = 0; v < vectors; ++v) {
                const int64_t at = i + v * width;
                const V dy = gradient_at(g, at);
                s[v] += dy;
                q[v] += dy * (load(x + at) - k[v]);
                if (dy_out != nullptr) store_as<is_streaming>(dy_out + at, dy);
            }
        }
        flush(s, sum);
        flush(q, sum_product);
    }
    for (int64_t i = end; i < count; ++i) {
        const float dy = gradient_at_scalar(g, i);
        sum[i - end] += static_cast<double>(dy);
        sum_product[i - end] += static_cast<double>(dy * (x[i] - mean[i - end]));
        if (dy_out != nullptr) dy_out[i] = dy;
    }
}

void norm_backward_sums(NormGradient g, const float* x, float* dy_out, int64_t count, const float* mean,
                        double* sum, double* sum_product, bool stream) {
    if (can_stream(dy_out, stream))
        return norm_backward_sums_as<true>(g, x, dy_out, count, mean, sum, sum_product);
    norm_backward_sums_as<false>(g, x, dy_out, count, mean, sum, sum_product);
}

template <bool is_streaming>
void norm_backward_apply_as(NormGradient g, const float* x, float* dx, int64_t count, const float* a,
                            const float* b, const float* c) {
    V va[vectors], vb[vectors], vc[vectors];
    for (int v = 0; v < vectors; ++v) {
        va[v] = load(a + v * width);
        vb[v] = load(b + v * width);
        vc[v] = load(c + v * width);
    }
    const int64_t end = whole(count);
    for (int64_t i = 0; i < end; i += lanes) {
        for (int v = 0; v < vectors; ++v) {
            const int64_t at = i + v * width;
            store_as<is_streaming>(dx + at, gradient_at(g, at) * va[v] + load(x + at) * vb[v] + vc[v]);
        }
    }
    for (int64_t i = end; i < count; ++i) {
        dx[i] = gradient_at_scalar(g, i) * a[i - end] + x[i] * b[i - end] + c[i - end];
    }
}

void norm_backward_apply(NormGradient g, const float* x, float* dx, int64_t count, const float* a,
                         const float* b, const float* c, bool stream) {
    if (can_stream(dx, stream)) return norm_backward_apply_as<true>(g, x, dx, count, a, b, c);
    norm_backward_apply_as<false>(g, x, dx, count, a, b, c);
}

void add(const float* a, const float* b, float* y, int64_t count) {
    for (int64_t i = 0; i < count; ++i) y[i] = a[i] + b[i];
}
void subtract(const float* a, const float* b, float* y, int64_t count) {
    for (int64_t i = 0; i < count; ++i) y[i] = a[i] - b[i];
}
void multiply(const float* a, const float* b, float* y, int64_t count) {
    for (int64_t i = 0; i < count; ++i) y[i] = a[i] * b[i];
}
void divide(const float* a, const float* b, float* y, int64_t count) {
    for (int64_t i = 0; i < count; ++i) y[i] = a[i] / b[i];
}
void scale(const float* x, float factor, float* y, int64_t count) {
    for (int64_t i = 0; i < count; ++i) y[i] = x[i] * factor;
}
void relu(const float* x, float* y, int64_t count) {
    for (int64_t i = 0; i < count; ++i) y[i] = positive(x[i]);
}
void relu_backward(const float* z, const float* dz, float* dx, int64_t count) {
    for (int64_t i = 0; i < count; ++i) dx[i] = z[i] > 0.0F ? dz[i] : 0.0F;
}

/// exp(x) to about 2 ulp: x = n ln 2 + r, a degree-6 polynomial for e^r, n added to the exponent. Below -87:
/// 0; above 88: the largest finite power; NaN stays NaN.
inline V exponential(V x) {
    const V low = splat(-87.0F), high = splat(88.0F);
    const I under = x < low;
    V t = select(x > high, high, select(under, low, x));
    const V n_float = t * 1.44269504F;
    const V magic = splat(12582912.0F);  // 1.5 * 2^23: adding it rounds to an integer
    const V rounded = (n_float + magic) - magic;
    const V r = (t - rounded * 0.693145752F) - rounded * 1.42860677e-6F;
    V p = splat(1.0F / 720);
    p = p * r + 1.0F / 120;
    p = p * r + 1.0F / 24;
    p = p * r + 1.0F / 6;
    p = p * r + 0.5F;
    p = p * r + 1.0F;
    p = p * r + 1.0F;
    const I n = __builtin_convertvector(rounded, I);
    const V power = (V)((n + 127) << 23);
    return select(x != x, x, select(under, V{}, p * power));
}

/// The standard normal distribution function and its density at x; erf after Abramowitz, Stegun 7.1.26
/// (error 1.5e-7).
inline V normal_distribution(V x, V* density) {
    const V z = x * 0.70710678F;
    const V a = select(z < 0.0F, -z, z);
    const V t = 1.0F / (1.0F + 0.3275911F * a);
    V p = splat(1.061405429F);
    p = p * t - 1.453152027F;
    p = p * t + 1.421413741F;
    p = p * t - 0.284496736F;
    p = p * t + 0.254829592F;
    const V e = exponential(-(a * a));
    const V erf = 1.0F - p * t * e;
    *density = e * 0.39894228F;
    return 0.5F + 0.5F * select(z < 0.0F, -erf, erf);
}

/// body(V in) -> V over a run with one input; the tail goes through a padded register.
template <typename Body>
inline void map_run(const float* x, float* y, int64_t count, const Body& body) {
    int64_t i = 0;
    for (; i + width <= count; i += width) store(y + i, body(load(x + i), i));
    if (i == count) return;
    float tail[width] = {};
    std::memcpy(tail, x + i, static_cast<size_t>(count - i) * sizeof(float));
    V v = load(tail);
    v = body(v, i);
    std::memcpy(y + i, &v, static_cast<size_t>(count - i) * sizeof(float));
}

void gelu(const float* x, float* y, int64_t count) {
    map_run(x, y, count, [](V v, int64_t) {
        V density;
        return v * normal_distribution(v, &density);
    });
}

/// dx = dy * derivative(x).
template <typename Derivative>
inline void map_gradient(const float* x, const float* dy, float* dx, int64_t count,
                         const Derivative& derivative) {
    map_run(x, dx, count, [&](V v, int64_t i) {
        V g;
        if (i + width <= count) {
            g = load(dy + i);
        } else {
            float tail[width] = {};
            std::memcpy(tail, dy + i, static_cast<size_t>(count - i) * sizeof(float));
            g = load(tail);
        }
        return g * derivative(v);
    });
}

void gelu_backward(const float* x, const float* dy, float* dx, int64_t count) {
    map_gradient(x, dy, dx, count, [](V v) {
        V density;
        const V phi = normal_distribution(v, &density);
        return phi + v * density;
    });
}

double sum(const float* x, int64_t count) {
    double total = 0;
    for (int64_t begin = 0; begin < count; begin += chunk) {
        const int64_t stop = begin + chunk < count ? begin + chunk : count;
        V s{};
        int64_t i = begin;
        for (; i + width <= stop; i += width) s += load(x + i);
        for (int l = 0; l < width; ++l) total += static_cast<double>(s[l]);
        for (; i < stop; ++i) total += static_cast<double>(x[i]);
    }
    return total;
}

double sum_squares(const float* x, int64_t count) {
    double total = 0;
    for (int64_t i = 0; i < count; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    return total;
}

inline float larger(float a, float largest) { return a > largest || a != a ? a : largest; }

/// A NaN is larger than anything.
inline float largest_of(const float* x, int64_t count) {
    float largest = x[0];
    int64_t i = 0;
    if (count >= width) {
        V top = load(x);
        for (i = width; i + width <= count; i += width) {
            const V v = load(x + i);
            top = select((v > top) | (v != v), v, top);
        }
        for (int l = 0; l < width; ++l) largest = larger(top[l], largest);
    }
    for (; i < count; ++i) largest = larger(x[i], largest);
    return largest;
}

void softmax(const float* x, float* y, int64_t count) {
    const float largest = largest_of(x, count);
    map_run(x, y, count, [&](V v, int64_t) { return exponential(v - largest); });
    const float inverse = static_cast<float>(1.0 / sum(y, count));
    scale(y, inverse, y, count);
}

void softmax_backward(const float* y, const float* dy, float* dx, int64_t count) {
    float dot = 0;
    V s{};
    int64_t i = 0;
    for (; i + width <= count; i += width) s += load(y + i) * load(dy + i);
    for (int l = 0; l < width; ++l) dot += s[l];
    for (; i < count; ++i) dot += y[i] * dy[i];
    for (i = 0; i < count; ++i) dx[i] = y[i] * (dy[i] - dot);
}

void accumulate(const float* x, float* sums, int64_t count) {
    for (int64_t i = 0; i < count; ++i) sums[i] += x[i];
}

void sgd(float* w, const float* g, float* v, int64_t count, const SgdCoefficients& c) {
    const float lr = c.learning_rate, gs = c.gradient_scale, mu = c.momentum, wd = c.weight_decay;
    if (c.nesterov) {
        for (int64_t i = 0; i < count; ++i) {
            const float d = gs * g[i] + wd * w[i];
            v[i] = mu * v[i] + d;
            w[i] -= lr * (d + mu * v[i]);
        }
    } else {
        for (int64_t i = 0; i < count; ++i) {
            v[i] = mu * v[i] + (gs * g[i] + wd * w[i]);
            w[i] -= lr * v[i];
        }
    }
}

void adamw(float* w, const float* g, float* m, float* v, int64_t count, const AdamCoefficients& c) {
    for (int64_t i = 0; i < count; ++i) {
        const float d = c.gradient_scale * g[i];
        m[i] = c.beta1 * m[i] + (1.0F - c.beta1) * d;
        v[i] = c.beta2 * v[i] + (1.0F - c.beta2) * d * d;
        const float root = __builtin_sqrtf(v[i] * c.correction2) + c.epsilon;
        w[i] -= c.learning_rate * (m[i] * c.correction1 / root + c.weight_decay * w[i]);
    }
}

void average(float* a, const float* w, float decay, int64_t count) {
    for (int64_t i = 0; i < count; ++i) a[i] = decay * a[i] + (1.0F - decay) * w[i];
}

bool all_finite(const float* x, int64_t count) {
    int32_t bad = 0;
    for (int64_t i = 0; i < count; ++i) bad |= !(x[i] - x[i] == 0.0F);
    return bad == 0;
}

/// The upper half is the bfloat16.
inline uint32_t bf16_bits(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const uint32_t nearest = bits + 0x7fff + ((bits >> 16) & 1);
    return x == x ? nearest : bits | 0x400000;
}

void to_bf16(const float* x, uint16_t* y, int64_t count) {
    for (int64_t i = 0; i < count; ++i) y[i] = static_cast<uint16_t>(bf16_bits(x[i]) >> 16);
}

void round_to_bf16(const float* x, float* y, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t bits = bf16_bits(x[i]) & 0xffff0000;
        std::memcpy(y + i, &bits, sizeof bits);
    }
}

/// The rows and columns of a window that lie inside the image.
struct PoolWindowPart {
    int64_t top, left, r_begin, r_end, s_begin, s_end;
};

inline PoolWindowPart window_part(const PoolPlane& p, int64_t y, int64_t x) {
    const int64_t top = y * p.stride_h - p.pad_top, left = x * p.stride_w - p.pad_left;
    return {top,
            left,
            top < 0 ? -top : 0,
            p.h - top < p.kernel_h ? p.h - top : p.kernel_h,
            left < 0 ? -left : 0,
            p.w - left < p.kernel_w ? p.w - left : p.kernel_w};
}

inline V load_block(const float* p, int count) {
    if (count == width) return load(p);
    float padded[width] = {};
    std::memcpy(padded, p, static_cast<size_t>(count) * sizeof(float));
    return load(padded);
}

/// `count` (at most a register's) lanes of windows with the same part inside; `at(r, s)` loads their pixels.
template <typename Load>
inline void max_window(const PoolPlane& p, const PoolWindowPart& w, const Load& at, int count, float* dst,
                       uint8_t* places) {
    V best = at(w.r_begin, w.s_begin);
    I place = I{} + static_cast<int32_t>(w.r_begin * p.kernel_w + w.s_begin);
    for (int64_t r = w.r_begin; r < w.r_end; ++r) {
        for (int64_t s = w.s_begin; s < w.s_end; ++s) {
            const V x = at(r, s);
            const I better = (x > best) | ((x != x) & (best == best));
            best = select(better, x, best);
            place = (better & (I{} + static_cast<int32_t>(r * p.kernel_w + s))) | (~better & place);
        }
    }
    const B narrow = __builtin_convertvector(place, B);
    std::memcpy(dst, &best, static_cast<size_t>(count) * sizeof(float));
    std::memcpy(places, &narrow, static_cast<size_t>(count));
}

/// Neighbouring pixels, or every second one.
inline V load_columns(const float* p, int64_t stride) {
    if (stride == 1) return load(p);
    I even;
    for (int i = 0; i < width; ++i) even[i] = 2 * i;
    return __builtin_shuffle(load(p), load(p + width), even);
}

/// Where pixels lie alone, neighbouring windows fill the lanes: as many from `x` on as are whole and can be
/// loaded without leaving the row. Returns the first column that is left.
inline int64_t max_columns(const PoolPlane& p, int64_t y, int64_t x, const float* src, float* dst,
                           uint8_t* places) {
    for (; x + width <= p.ow; x += width) {
        const PoolWindowPart w = window_part(p, y, x);
        if (w.left < 0 || w.left + p.kernel_w - 1 + p.stride_w * width > p.w) break;
        const auto at = [&](int64_t r, int64_t s) {
            return load_columns(src + (w.top + r) * p.w + w.left + s, p.stride_w);
        };
        max_window(p, w, at, width, dst + y * p.ow + x, places + y * p.ow + x);
    }
    return x;
}

void max_pool(const PoolPlane& p, const float* src, float* dst, uint8_t* places) {
    for (int64_t y = 0; y < p.oh; ++y) {
        for (int64_t x = 0; x < p.ow; ++x) {
            if (p.block == 1 && p.stride_w <= 2) {
                x = max_columns(p, y, x, src, dst, places);
                if (x == p.ow) break;
            }
            const PoolWindowPart w = window_part(p, y, x);
            for (int lane = 0; lane < p.block; lane += width) {
                const int count = p.block - lane < width ? p.block - lane : width;
                const int64_t out = (y * p.ow + x) * p.block + lane;
                const auto at = [&](int64_t r, int64_t s) {
                    return load_block(src + lane + ((w.top + r) * p.w + w.left + s) * p.block, count);
                };
                max_window(p, w, at, count, dst + out, places + out);
            }
        }
    }
}

/// What a window's pixel gets of its gradient: all of it where the pixel held the maximum. `count` as above.
inline V chosen(const float* diff_dst, const uint8_t* places, int32_t here, int count) {
    B place = {};
    std::memcpy(&place, places, static_cast<size_t>(count));
    return select(__builtin_convertvector(place, I) == here, load_block(diff_dst, count), V{});
}

/// Adds a window's gradient to its pixels; stores it instead where no other window can reach them.
template <bool alone>
inline void max_window_backward(const PoolPlane& p, const PoolWindowPart& w, const float* diff_dst,
                                const uint8_t* places, int count, float* diff_src) {
    for (int64_t r = w.r_begin; r < w.r_end; ++r) {
        for (int64_t s = w.s_begin; s < w.s_end; ++s) {
            float* const to = diff_src + ((w.top + r) * p.w + w.left + s) * p.block;
            V dx = chosen(diff_dst, places, static_cast<int32_t>(r * p.kernel_w + s), count);
            if (!alone) dx += load_block(to, count);
            std::memcpy(to, &dx, static_cast<size_t>(count) * sizeof(float));
        }
    }
}

template <bool alone>
void max_windows_backward(const PoolPlane& p, const float* diff_dst, const uint8_t* places, float* diff_src) {
    for (int64_t y = 0; y < p.oh; ++y) {
        for (int64_t x = 0; x < p.ow; ++x) {
            const PoolWindowPart w = window_part(p, y, x);
            const int64_t out = (y * p.ow + x) * p.block;
            int lane = 0;
            for (; lane + width <= p.block; lane += width) {
                max_window_backward<alone>(p, w, diff_dst + out + lane, places + out + lane, width,
                                           diff_src + lane);
            }
            if (lane < p.block) {
                max_window_backward<alone>(p, w, diff_dst + out + lane, places + out + lane, p.block - lane,
                                           diff_src + lane);
            }
        }
    }
}

void max_pool_backward(const PoolPlane& p, const float* diff_dst, const uint8_t* places, float* diff_src) {
    const bool covers = p.h == p.oh * p.stride_h && p.w == p.ow * p.stride_w && p.pad_top == 0 &&
                        p.pad_left == 0 && p.kernel_h == p.stride_h && p.kernel_w == p.stride_w;
    if (!covers) std::memset(diff_src, 0, static_cast<size_t>(p.h * p.w * p.block) * sizeof(float));
    if (p.kernel_h <= p.stride_h && p.kernel_w <= p.stride_w)
        max_windows_backward<true>(p, diff_dst, places, diff_src);
    else
        max_windows_backward<false>(p, diff_dst, places, diff_src);
}

}  // namespace
}  // namespace enmesh::cpu

#include "cpu/simd/unary_impl.hpp"

namespace enmesh::cpu {

const Simd ENMESH_SIMD_TABLE = {
    norm_sums,
    norm_apply,
    norm_backward_sums,
    norm_backward_apply,
    add,
    subtract,
    multiply,
    divide,
    scale,
    relu,
    relu_backward,
    gelu,
    gelu_backward,
    unary,
    unary_backward,
    softmax,
    softmax_backward,
    sum,
    sum_squares,
    accumulate,
    sgd,
    adamw,
    average,
    all_finite,
    to_bf16,
    round_to_bf16,
    max_pool,
    max_pool_backward,
};

}  // namespace enmesh::cpu
