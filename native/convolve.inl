// Convolution with kernels of 3 x 3 in tiles of 4 x 4 pixels: Winograd's F(4 x 4, 3 x 3).
// Pooling 2 x 2 pixels, and going back to the pixels that were largest, happens on the way.
//
//   z = A^T [ (G g G^T) . (B^T x B) ] A        (Lavin and Gray, arXiv 1509.09308)
//
// 36 products a tile and pair of channels, where 16 pixels of 9 products take 144. The planes of all
// tiles are 36 ordinary matrix products; blocks of tiles keep them in the cache.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "convolve.h"
#include "lanes.inl"

namespace madem {
namespace MADEM_ISA {

// G g, of three numbers at a distance of `step`, six in place.
template <int step, typename V>
static inline void expand(V *g) {
    const V ends = g[0] + g[2 * step], wide = g[0] / 24 + g[2 * step] / 6;
    const V middle = g[step], last = g[2 * step];
    g[0] = g[0] / 4;
    g[step] = (ends + middle) / -6, g[2 * step] = (ends - middle) / -6;
    g[3 * step] = wide + middle / 12, g[4 * step] = wide - middle / 12;
    g[5 * step] = last;
}

// B^T d, of six numbers at a distance of `step`, in place.
template <int step, typename V>
static inline void enter(V *d) {
    const V even = d[4 * step] - 4 * d[2 * step], odd = d[3 * step] - 4 * d[step];
    const V wide = d[4 * step] - d[2 * step], skew = 2 * (d[3 * step] - d[step]);
    d[0] = 4 * d[0] - 5 * d[2 * step] + d[4 * step];
    d[5 * step] = 4 * d[step] - 5 * d[3 * step] + d[5 * step];
    d[step] = even + odd, d[2 * step] = even - odd;
    d[3 * step] = wide + skew, d[4 * step] = wide - skew;
}

// A m, of four numbers at a distance of `step`, six in place.
template <int step, typename V>
static inline void widen(V *m) {
    const V even = m[0] + m[2 * step], odd = m[step] + m[3 * step];
    const V wide = m[0] + 4 * m[2 * step], skew = 2 * m[step] + 8 * m[3 * step];
    m[5 * step] = m[3 * step];
    m[step] = even + odd, m[2 * step] = even - odd;
    m[3 * step] = wide + skew, m[4 * step] = wide - skew;
}

// A^T m, of six numbers at a distance of `step`, four in place.
template <int step, typename V>
static inline void leave(V *m) {
    const V near = m[step] + m[2 * step], tilt = m[step] - m[2 * step];
    const V far = m[3 * step] + m[4 * step], slope = m[3 * step] - m[4 * step];
    m[0] = m[0] + near + far;
    m[step] = tilt + 2 * slope;
    m[2 * step] = near + 4 * far;
    m[3 * step] = tilt + 8 * slope + m[5 * step];
}

template <typename T>
struct Tile {
    int64_t image, row, column;
};

// A tile as pointers to its Side x Side pixels; what lies beyond the border is `blank`.
template <int Side, int size, typename T>
static void find(const T *image, const T *blank, const Tile<T> &tile, int64_t padding, int64_t rows,
                 int64_t columns, int64_t channels, const T **x) {
    for (int i = 0; i < Side * Side; ++i) {
        const int64_t row = tile.row + i / Side - padding, column = tile.column + i % Side - padding;
        const bool inside = row >= 0 && row < rows && column >= 0 && column < columns;
        const int64_t cell = (tile.image * (rows / size) + row / size) * (columns / size);
        x[i] = inside ? image + (cell + column / size) * channels : blank;
    }
}

// One tile of x onto its place in every plane; panels of channels lie `apart`.
template <typename T, bool Pooled, bool Moved>
static void spread(const Images<T> &p, const Tile<T> &tile, const T *blank, T *to, int64_t plane,
                   int64_t apart) {
    typedef typename Lanes<T>::vec vec;
    constexpr int size = Pooled ? 2 : 1, width = panel_bytes / sizeof(T);
    const T *x[planes], *corner[planes], *at[planes], *corner_at[planes];
    const auto see = [&](const T *image, const T **pixels) {
        find<6, size>(image, blank, tile, p.padding, p.rows, p.columns, p.in, pixels);
    };
    see(p.x, x);
    if constexpr (Pooled) see(p.corner, corner);
    if constexpr (Moved) see(p.at, at), see(p.corner_at, corner_at);
    T which[planes];  // of the 2 x 2 pixels a pixel is: odd and even alone count, so + is as good as -
    for (int i = 0; Pooled && i < planes; ++i) {
        const int64_t row = tile.row + i / 6 + p.padding, column = tile.column + i % 6 + p.padding;
        which[i] = T(row % 2 * 2 + column % 2);
    }
    for (int64_t c = 0; c < p.in; c += Lanes<T>::count) {
        vec d[planes];
#pragma GCC unroll 36
        for (int i = 0; i < planes; ++i) {
            d[i] = load(x[i] + c);
            if constexpr (Pooled) {
                const vec now = load(corner[i] + c), here = vec{} + which[i];
                if constexpr (Moved) {
                    const vec before = load(corner_at[i] + c);
                    const vec rest = now != before ? load(at[i] + c) : vec{};
                    d[i] = (now == here ? d[i] + rest : vec{}) - (before == here ? rest : vec{});
                } else {
                    d[i] = now == here ? d[i] : vec{};
                }
            }
        }
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) enter<6>(d + i);
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) enter<1>(d + 6 * i);
        T *there = to + c / width * apart + c % width;
#pragma GCC unroll 36
        for (int i = 0; i < planes; ++i) store(there + i * plane, d[i]);
    }
}

// The largest of every 2 x 2 of a tile's pixels, and which it is; the first of equals.
template <typename T>
static void pool(const Images<T> &p, const Tile<T> &tile, typename Lanes<T>::vec *m, int64_t c) {
    typedef typename Lanes<T>::vec vec;
    const int64_t rows = std::min<int64_t>(4, p.rows_out - tile.row);
    const int64_t columns = std::min<int64_t>(4, p.columns_out - tile.column);
    const int64_t first = tile.image * p.rows_out + tile.row;
    for (int64_t i = 0; i < rows; i += 2) {
        for (int64_t j = 0; j < columns; j += 2) {
            vec largest, which = vec{};
            for (int k = 0; k < 4; ++k) {
                const int64_t row = i + k / 2, column = j + k % 2;
                vec v = m[6 * row + column];
                if (p.offset)
                    v += load(p.offset + ((first + row) * p.columns_out + tile.column + column) * p.out
                              + c);
                which = k && v > largest ? vec{} + T(k) : which;
                largest = !k || v > largest ? v : largest;
            }
            const int64_t cell = ((first + i) / 2 * (p.columns_out / 2) + (tile.column + j) / 2) * p.out;
            store(p.z + cell + c, largest), store(p.corner_out + cell + c, which);
        }
    }
}

// One tile from its place in every plane onto z.
template <typename T>
static void gather(const Images<T> &p, const Tile<T> &tile, const T *from, int64_t plane) {
    typedef typename Lanes<T>::vec vec;
    const int64_t rows = std::min<int64_t>(4, p.rows_out - tile.row);
    const int64_t columns = std::min<int64_t>(4, p.columns_out - tile.column);
    T *to = p.z + ((tile.image * p.rows_out + tile.row) * p.columns_out + tile.column) * p.out;
    for (int64_t c = 0; c < p.out; c += Lanes<T>::count) {
        vec m[planes];
#pragma GCC unroll 36
        for (int i = 0; i < planes; ++i) m[i] = load(from + i * plane + c);
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) leave<6>(m + i);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) leave<1>(m + 6 * i);
        if (p.corner_out) {
            pool(p, tile, m, c);
        } else if (rows == 4 && columns == 4) {
#pragma GCC unroll 16
            for (int i = 0; i < 16; ++i)
                store(to + (i / 4 * p.columns_out + i % 4) * p.out + c, m[i / 4 * 6 + i % 4]);
        } else {
            for (int64_t i = 0; i < rows; ++i)
                for (int64_t j = 0; j < columns; ++j)
                    store(to + (i * p.columns_out + j) * p.out + c, m[6 * i + j]);
        }
    }
}

// R rows of a product with P panels of columns: as many sums as fit into registers.
template <typename T, int R, int P>
static inline void multiply(const T *__restrict a, int64_t in, const T *__restrict panels,
                            T *__restrict to, int64_t out) {
    typedef typename Lanes<T>::vec vec;
    constexpr int L = Lanes<T>::count, width = panel_bytes / sizeof(T), V = P * width / L;
    vec sums[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) sums[r][v] = vec{};
#pragma GCC unroll 4
    for (int64_t c = 0; c < in; ++c) {
        vec b[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
            const T *at = panels + (v * L / width * in + c) * width + v * L % width;
            __builtin_prefetch(at + P * in * width, 0, 2);  // of the next panels
            b[v] = load(at);
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) sums[r][v] += b[v] * a[r * in + c];
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) store(to + r * out + v * L, sums[r][v]);
}

template <typename T>
using Multiply = void (*)(const T *, int64_t, const T *, T *, int64_t);

template <typename T, int R, int P>
static Multiply<T> of_rows(int64_t wanted) {
    if constexpr (R == 1)
        return &multiply<T, 1, P>;
    else
        return wanted == R ? &multiply<T, R, P> : of_rows<T, R - 1, P>(wanted);
}

constexpr int most_rows = 12 * MADEM_BYTES / panel_bytes;  // of a panel, whose sums registers hold

// The products of one plane with P panels at a time, from the channel `first` on; returns how far.
template <typename T, int P>
static int64_t product(const T *a, int64_t tiles, int64_t in, const T *kernel, T *to, int64_t out,
                       int64_t first) {
    constexpr int width = panel_bytes / sizeof(T);
    const int64_t rests = (tiles + most_rows - 1) / most_rows;
    for (; first + P * width <= out; first += P * width) {
        for (int64_t i = 0, t = 0; i < rests; ++i) {
            const int64_t rows = (tiles - t + rests - i - 1) / (rests - i);
            of_rows<T, most_rows, P>(rows)(a + t * in, in, kernel + first * in, to + t * out + first, out);
            t += rows;
        }
    }
    return first;
}

// Room for `count` numbers from a line of the cache on, which a thread keeps: asking the system for it
// in every call would cost as much as the transforms.
template <typename T>
static T *room(int64_t count) {
    constexpr int64_t line = panel_bytes / sizeof(T);
    thread_local std::unique_ptr<T[]> held;
    thread_local int64_t size = 0;
    if (size < count) held.reset(new T[count + line]), size = count;
    const auto at = reinterpret_cast<uintptr_t>(held.get());
    return held.get() + (panel_bytes - at % panel_bytes) / sizeof(T);
}

template <typename T>
static std::vector<Tile<T>> tiled(const Images<T> &p) {
    std::vector<Tile<T>> tiles;
    for (int64_t image = 0; image < p.count; ++image)
        for (int64_t row = 0; row < p.rows_out; row += 4)
            for (int64_t column = 0; column < p.columns_out; column += 4)
                tiles.push_back({image, row, column});
    return tiles;
}

// Whether all images are zero, as layers are that have not moved yet; of others this sees a few
// numbers. A kernel must be finite, else its products are not: every tap is in the plane of point 1.
template <typename T>
static bool zero(const Images<T> &p) {
    const int64_t numbers = p.count * p.rows * p.columns * p.in / (p.corner ? 4 : 1);
    if (!std::all_of(p.x, p.x + numbers, [](T v) { return v == 0; })) return false;
    const T *one = p.kernel + 7 * p.in * p.out;
    return std::all_of(one, one + p.in * p.out, [](T v) { return v - v == 0; });
}

template <typename T>
void convolve(const Images<T> &p) {
    constexpr int64_t line = panel_bytes / sizeof(T);
    constexpr int wide = MADEM_BYTES == 64 ? 2 : 1;  // 32 registers hold the sums of two panels
    const auto read = !p.corner      ? &spread<T, false, false>
                      : !p.corner_at ? &spread<T, true, false>
                                     : &spread<T, true, true>;
    const std::vector<Tile<T>> tiles = tiled(p);
    // Every block reads the kernel. Where that stays in the third cache, blocks are so few tiles that
    // their planes stay in the second; else their planes are as large as the kernel.
    const int64_t each = planes * (p.in + p.out), size = planes * p.in * p.out, all = tiles.size();
    const int64_t second = (1 << 20) / sizeof(T), third = (8 << 20) / sizeof(T);
    const int64_t some = ((size > third ? size : second) / each / most_rows + 1) * most_rows;
    const int64_t block = std::min(all, some);
    // planes start a line apart, so that they do not crowd into one set of the cache
    const int64_t before = block * p.in + line, after = block * p.out + line;
    const std::unique_ptr<T[]> blank(new T[p.in]());
    T *a = room<T>(planes * (before + after)), *b = a + planes * before;
    const bool silent = !p.corner_at && zero(p);
    if (silent) std::fill(b, b + planes * after, T(0));
    for (int64_t first = 0; first < all; first += block) {
        const int64_t count = std::min(block, all - first);
        if (!silent) {
            for (int64_t t = 0; t < count; ++t)
                read(p, tiles[first + t], blank.get(), a + t * p.in, before, line);
            for (int i = 0; i < planes; ++i) {
                const T *from = a + i * before, *kernel = p.kernel + i * p.in * p.out;
                T *to = b + i * after;
                const int64_t done = product<T, wide>(from, count, p.in, kernel, to, p.out, 0);
                product<T, 1>(from, count, p.in, kernel, to, p.out, done);
            }
        }
        for (int64_t t = 0; t < count; ++t) gather(p, tiles[first + t], b + t * p.out, after);
    }
}

// Kernels of out x in x 3 x 3 as planes x panels out x in x panel, G g G^T. With `turned` those of the
// way back: out and in change places, and every kernel is turned by half a turn.
template <typename T>
void pack(const T *kernel, int64_t out, int64_t in, bool turned, T *packed) {
    typedef typename Lanes<T>::vec vec;
    constexpr int width = panel_bytes / sizeof(T);
    const int64_t outs = turned ? in : out, ins = turned ? out : in, plane = outs * ins;
    for (int64_t o = 0; o < outs; o += width)
        for (int64_t i = 0; i < ins; ++i, packed += width) {
            T taps[9][width];
            for (int64_t w = 0; w < width; ++w) {
                const T *from = kernel + 9 * (turned ? i * in + o + w : (o + w) * in + i);
                for (int k = 0; k < 9; ++k) taps[turned ? 8 - k : k][w] = from[k];
            }
            for (int c = 0; c < width; c += Lanes<T>::count) {
                vec g[planes];
#pragma GCC unroll 9
                for (int k = 0; k < 9; ++k) g[k / 3 * 6 + k % 3] = load(taps[k] + c);
#pragma GCC unroll 3
                for (int k = 0; k < 3; ++k) expand<6>(g + k);
#pragma GCC unroll 6
                for (int k = 0; k < 6; ++k) expand<1>(g + 6 * k);
#pragma GCC unroll 36
                for (int k = 0; k < planes; ++k) store(packed + k * plane + c, g[k]);
            }
        }
}

// A tile of the derivative of z onto its place in every plane, A m A^T; panels lie `apart`.
template <typename T>
static void spread_out(const Images<T> &p, const T *y, const Tile<T> &tile, const T *blank, T *to,
                       int64_t plane, int64_t apart) {
    typedef typename Lanes<T>::vec vec;
    constexpr int width = panel_bytes / sizeof(T);
    const T *x[16];
    find<4, 1>(y, blank, tile, 0, p.rows_out, p.columns_out, p.out, x);
    for (int64_t c = 0; c < p.out; c += Lanes<T>::count) {
        vec m[planes];
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) m[i / 4 * 6 + i % 4] = load(x[i] + c);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) widen<6>(m + i);
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) widen<1>(m + 6 * i);
        T *there = to + c / width * apart + c % width;
#pragma GCC unroll 36
        for (int i = 0; i < planes; ++i) store(there + i * plane, m[i]);
    }
}

// G^T u, of six numbers at a distance of `step`, three in place.
template <int step, typename V>
static inline void narrow(V *u) {
    const V near = u[step] + u[2 * step], tilt = u[step] - u[2 * step];
    const V far = u[3 * step] + u[4 * step], slope = u[3 * step] - u[4 * step];
    u[0] = u[0] / 4 - near / 6 + far / 24;
    u[step] = slope / 12 - tilt / 6;
    u[2 * step] = far / 6 - near / 6 + u[5 * step];
}

// The products of a panel of y with one of x, summed over tiles: rows of y, columns of x.
template <typename T>
static void outer(const T *__restrict y, const T *__restrict x, int64_t tiles, T *__restrict to) {
    typedef typename Lanes<T>::vec vec;
    constexpr int L = Lanes<T>::count, width = panel_bytes / sizeof(T), V = width / L;
    constexpr int R = std::min(width, (MADEM_BYTES == 64 ? 16 : 8) / V);
    for (int first = 0; first < width; first += R) {
        vec sums[R][V] = {};
        for (int64_t t = 0; t < tiles; ++t)
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) {
                const vec b = load(x + t * width + v * L);
#pragma GCC unroll 16
                for (int r = 0; r < R; ++r) sums[r][v] += b * y[t * width + first + r];
            }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) store(to + (first + r) * width + v * L, sums[r][v]);
    }
}

// dg = G^T [sum_tiles (A m A^T) . (B^T x B)] G: the derivative by the kernel, out x in x 3 x 3.
// Block by block of tiles, whose planes are to stay in a cache.
template <typename T>
void weigh(const Images<T> &p, const T *y, T *kernel) {
    typedef typename Lanes<T>::vec vec;
    constexpr int width = panel_bytes / sizeof(T), square = width * width;
    const std::vector<Tile<T>> tiles = tiled(p);
    const int64_t all = tiles.size(), each = planes * (p.in + p.out);
    const int64_t block = std::min<int64_t>(all, std::max<int64_t>(64, (4 << 20) / sizeof(T) / each));
    const int64_t panel = block * width;
    const int64_t below = panel * (p.in / width) + width, above = panel * (p.out / width) + width;
    const std::unique_ptr<T[]> blank(new T[std::max(p.in, p.out)]());
    T *a = room<T>(planes * (below + above) + (planes + 9) * square), *b = a + planes * below;
    T *u = b + planes * above, *found = u + planes * square;
    std::fill(kernel, kernel + p.out * p.in * 9, T(0));
    for (int64_t first = 0; first < all; first += block) {
        const int64_t count = std::min(block, all - first);
        for (int64_t t = 0; t < count; ++t) {
            const Tile<T> &tile = tiles[first + t];
            spread<T, false, false>(p, tile, blank.get(), a + t * width, below, panel);
            spread_out(p, y, tile, blank.get(), b + t * width, above, panel);
        }
        for (int64_t i = 0; i < p.in; i += width)
            for (int64_t o = 0; o < p.out; o += width) {
                for (int k = 0; k < planes; ++k)
                    outer(b + k * above + o * block, a + k * below + i * block, count,
                          u + k * square);
                for (int c = 0; c < square; c += Lanes<T>::count) {
                    vec g[planes];
#pragma GCC unroll 36
                    for (int k = 0; k < planes; ++k) g[k] = load(u + k * square + c);
#pragma GCC unroll 6
                    for (int k = 0; k < 6; ++k) narrow<6>(g + k);
#pragma GCC unroll 3
                    for (int k = 0; k < 3; ++k) narrow<1>(g + 6 * k);
#pragma GCC unroll 9
                    for (int k = 0; k < 9; ++k) store(found + k * square + c, g[k / 3 * 6 + k % 3]);
                }
                for (int r = 0; r < width; ++r) {
                    T *to = kernel + ((o + r) * p.in + i) * 9;
                    for (int c = 0; c < width; ++c)
                        for (int k = 0; k < 9; ++k)
                            to[9 * c + k] += found[k * square + r * width + c];
                }
            }
    }
}

template void convolve<float>(const Images<float> &);
template void convolve<double>(const Images<double> &);
template void pack<float>(const float *, int64_t, int64_t, bool, float *);
template void pack<double>(const double *, int64_t, int64_t, bool, double *);
template void weigh<float>(const Images<float> &, const float *, float *);
template void weigh<double>(const Images<double> &, const double *, double *);

}  // namespace MADEM_ISA
}  // namespace madem
