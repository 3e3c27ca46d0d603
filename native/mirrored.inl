// Resistors from mirrored lines, for few samples: memory is the limit, so each conductance is read
// from it once, for all samples and for the load, and each contrast written once.
//
//   drive = gain x (G+ - G-)^T        load = sum G+ + G-
//   contrast+- = own -+ gain change^T x        own = sum_samples change middle

#include <algorithm>
#include <cstdint>
#include <vector>

#include "lanes.inl"
#include "mirrored.h"

namespace madem {
namespace MADEM_ISA {

// A node's drive in N samples.
template <typename T, int N>
static void node(const Mirror<T> &p, const T *x, const T *plus, T *drive) {
    typedef typename Lanes<T>::vec vec;
    constexpr int L = Lanes<T>::count, abreast = 2;
    const T *minus = plus + p.pre;
    vec sums[N][abreast] = {};
    int64_t i = 0;
    for (; i + abreast * L <= p.pre; i += abreast * L) {
#pragma GCC unroll 2
        for (int v = 0; v < abreast; ++v) {
            const vec g = load(plus + i + v * L) - load(minus + i + v * L);
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n) sums[n][v] += g * load(x + n * p.pre + i + v * L);
        }
    }
    for (int n = 0; n < N; ++n) {
        T total = sum<T>(sums[n][0] + sums[n][1]);
        for (int64_t k = i; k < p.pre; ++k) total += (plus[k] - minus[k]) * x[n * p.pre + k];
        drive[n * p.post] = p.gain * total;
    }
}

// The sum of a row.
template <typename T>
static T row_sum(const T *row, int64_t length) {
    typedef typename Lanes<T>::vec vec;
    constexpr int L = Lanes<T>::count, abreast = 4;
    vec sums[abreast] = {};
    int64_t i = 0;
    for (; i + abreast * L <= length; i += abreast * L)
#pragma GCC unroll 4
        for (int v = 0; v < abreast; ++v) sums[v] += load(row + i + v * L);
    T total = sum<T>((sums[0] + sums[1]) + (sums[2] + sums[3]));
    for (; i < length; ++i) total += row[i];
    return total;
}

template <typename T>
using Node = void (*)(const Mirror<T> &, const T *, const T *, T *);

constexpr int most_samples = 8;  // whose sums fit into registers

template <typename T, int N>
static Node<T> node_of(int64_t wanted) {
    if constexpr (N == 1)
        return &node<T, 1>;
    else
        return wanted >= N ? &node<T, N> : node_of<T, N - 1>(wanted);
}

template <typename T>
void read_mirrored(const Mirror<T> &p, const T *g, T *drive, T *loads) {
    for (int64_t j = 0; j < p.post; ++j, g += 2 * p.pre) {
        loads[j] = row_sum(g, 2 * p.pre);  // first: memory gives one stream faster than two
        for (int64_t b = 0; b < p.samples; b += most_samples)
            node_of<T, most_samples>(p.samples - b)(p, p.x + b * p.pre, g, drive + b * p.post + j);
    }
}

template <typename T>
void contrast_mirrored(const Mirror<T> &p, const T *change, const T *middle, T *contrast) {
    typedef typename Lanes<T>::vec vec;
    constexpr int L = Lanes<T>::count, abreast = 4;
    std::vector<T> moved(p.samples), product(p.pre);
    for (int64_t j = 0; j < p.post; ++j) {
        T own = 0;
        for (int64_t b = 0; b < p.samples; ++b) {
            moved[b] = p.gain * change[b * p.post + j];
            own += change[b * p.post + j] * middle[b * p.post + j];
        }
        T *plus = contrast + 2 * j * p.pre, *minus = plus + p.pre, *__restrict row = product.data();
        int64_t i = 0;
        for (; i + abreast * L <= p.pre; i += abreast * L) {
            vec sums[abreast] = {};
            for (int64_t b = 0; b < p.samples; ++b)
#pragma GCC unroll 4
                for (int v = 0; v < abreast; ++v)
                    sums[v] += load(p.x + b * p.pre + i + v * L) * moved[b];
#pragma GCC unroll 4
            for (int v = 0; v < abreast; ++v) store(row + i + v * L, sums[v]);
        }
        for (; i < p.pre; ++i) {
            row[i] = 0;
            for (int64_t b = 0; b < p.samples; ++b) row[i] += p.x[b * p.pre + i] * moved[b];
        }
        // one after the other: memory takes one stream of writes faster than two
        for (i = 0; i < p.pre; ++i) plus[i] = own - row[i];
        for (i = 0; i < p.pre; ++i) minus[i] = own + row[i];
    }
}

template void read_mirrored<float>(const Mirror<float> &, const float *, float *, float *);
template void read_mirrored<double>(const Mirror<double> &, const double *, double *, double *);
template void contrast_mirrored<float>(const Mirror<float> &, const float *, const float *,
                                       float *);
template void contrast_mirrored<double>(const Mirror<double> &, const double *, const double *,
                                        double *);

}  // namespace MADEM_ISA
}  // namespace madem
