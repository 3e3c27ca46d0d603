// Block coordinate descent of two layers, the upper one small: the hot spot of most networks.
//
//   s = clip((d + W^T y) / a)        all lower units of one sample
//   y = clip((e + W s) / b)          all upper units
//
// Both products of a sweep read W once, from the first-level cache, and the states stay there too.
// This file is compiled once for every instruction set, in a namespace of its own, MADEM_ISA,
// with vectors of MADEM_BYTES.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "lanes.inl"
#include "relax_pair.h"

namespace madem {
namespace MADEM_ISA {

template <typename T>
static inline T largest_of(typename Lanes<T>::vec v) {
    return folded<T, MADEM_BYTES>(v, [](auto a, auto b) { return a > b ? a : b; });
}

// How far a vector of units moved, and how large they are.
template <typename T>
static inline void watch(typename Lanes<T>::vec v, typename Lanes<T>::vec before,
                         typename Lanes<T>::vec &far, typename Lanes<T>::vec &top) {
    typedef typename Lanes<T>::vec vec;
    const vec step = v - before, size = step < 0 ? -step : step, value = v < 0 ? -v : v;
    far = size > far ? size : far;
    top = value > top ? value : top;
}

// Sums of vectors, as many as a vector has lanes, in one vector: halves of two vectors are added
// side by side, then quarters of two of those, and so on. `length` is that of the parts so far.
constexpr int lane(int i, int length, int offset, int lanes) {
    const int part = i / length;
    return part / 2 * 2 * length + i % length + offset + part % 2 * lanes;
}

template <int length, typename V, int... I>
static inline V beside(V a, V b, std::integer_sequence<int, I...>) {
    constexpr int lanes = sizeof...(I);
    return __builtin_shufflevector(a, b, lane(I, length, 0, lanes)...) +
           __builtin_shufflevector(a, b, lane(I, length, length, lanes)...);
}

template <typename T, int K, int first, int length>
static inline typename Lanes<T>::vec sums_of(const typename Lanes<T>::vec *v) {
    constexpr int L = Lanes<T>::count;
    if constexpr (first >= K)
        return typename Lanes<T>::vec{};
    else if constexpr (length == L)
        return v[first];
    else
        return beside<length>(sums_of<T, K, first, 2 * length>(v),
                              sums_of<T, K, first + length, 2 * length>(v),
                              std::make_integer_sequence<int, L>{});
}

// The upper units follow from the sums of their pulls, a vector of them at a time.
template <typename T, int K, bool Watch, int first>
static inline void upper(const Sample<T> &p, const typename Lanes<T>::vec *sums, T *__restrict y,
                         typename Lanes<T>::vec &far, typename Lanes<T>::vec &top) {
    typedef typename Lanes<T>::vec vec;
    if constexpr (first < K) {
        vec v = sums_of<T, K, first, 1>(sums);
        v = (load(p.drive_up + first) + v) * load(p.ease_up + first);
        const vec low = load(p.low_up + first), high = load(p.high_up + first);
        v = v < low ? low : v;
        v = v > high ? high : v;
        if constexpr (Watch) watch<T>(v, load(y + first), far, top);
        store(y + first, v);
        upper<T, K, Watch, first + Lanes<T>::count>(p, sums, y, far, top);
    }
}

// Vectors of lower units that share what is loaded of the upper ones, where registers are 16.
constexpr int abreast = MADEM_BYTES == 64 ? 1 : 4;

// One sweep of one sample. The lower states follow from the upper ones, so that they are kept only
// where Watch, which also says how far the units moved, and the largest state.
template <typename T, int K, bool Watch>
static void sweep(const Sample<T> &p, T *__restrict s, T *__restrict y, T &moved, T &largest) {
    typedef typename Lanes<T>::vec vec;
    constexpr int L = Lanes<T>::count;
    vec sums[K], spread[K];
#pragma GCC unroll 16
    for (int k = 0; k < K; ++k) sums[k] = vec{}, spread[k] = vec{} + y[k];
    vec far = vec{}, top = vec{};
    const auto rest = [&](vec v, int64_t at) {
        v *= load(p.ease + at);
        const vec low = load(p.low + at), high = load(p.high + at);
        v = v < low ? low : v;
        v = v > high ? high : v;
        if constexpr (Watch) watch<T>(v, load(s + at), far, top), store(s + at, v);
        return v;
    };
    if constexpr (MADEM_BYTES == 64) {
        // 32 registers: weights are loaded once for both products, and a vector of units pulls
        // upwards while the next one, whose own sum would else be waited for, is pulled downwards
        vec held[K] = {}, v = vec{};
        for (int64_t h = 0; h < p.padded; h += L) {
            vec part[2] = {load(p.drive + h), vec{}};
#pragma GCC unroll 16
            for (int k = 0; k < K; ++k) sums[k] += held[k] * v;
#pragma GCC unroll 16
            for (int k = 0; k < K; ++k) {
                held[k] = load(p.weight + k * p.padded + h);
                part[k % 2] += held[k] * spread[k];
            }
            v = rest(part[0] + part[1], h);
        }
#pragma GCC unroll 16
        for (int k = 0; k < K; ++k) sums[k] += held[k] * v;
    } else {
        for (int64_t h = 0; h < p.padded; h += abreast * L) {
            vec v[abreast];
#pragma GCC unroll 4
            for (int i = 0; i < abreast; ++i) v[i] = load(p.drive + h + i * L);
#pragma GCC unroll 16
            for (int k = 0; k < K; ++k)
#pragma GCC unroll 4
                for (int i = 0; i < abreast; ++i)
                    v[i] += load(p.weight + k * p.padded + h + i * L) * spread[k];
#pragma GCC unroll 4
            for (int i = 0; i < abreast; ++i) v[i] = rest(v[i], h + i * L);
#pragma GCC unroll 16
            for (int k = 0; k < K; ++k)
#pragma GCC unroll 4
                for (int i = 0; i < abreast; ++i)
                    sums[k] += load(p.weight + k * p.padded + h + i * L) * v[i];
        }
    }
    upper<T, K, Watch, 0>(p, sums, y, far, top);
    if constexpr (Watch) moved = largest_of<T>(far), largest = largest_of<T>(top);
}

template <typename T>
using Sweep = void (*)(const Sample<T> &, T *, T *, T &, T &);

template <typename T, int K, bool Watch>
static Sweep<T> pick(int wanted) {
    if constexpr (K > most_upper)
        return nullptr;
    else
        return wanted == K ? &sweep<T, K, Watch> : pick<T, K + 1, Watch>(wanted);
}

// Zeros at an address that whole vectors do not straddle.
template <typename T>
class Aligned {
  public:
    explicit Aligned(int64_t count) : held(count + 64 / sizeof(T), T(0)) {
        const auto at = reinterpret_cast<uintptr_t>(held.data());
        first = held.data() + (64 - at % 64) % 64 / sizeof(T);
    }
    T *data() { return first; }

  private:
    std::vector<T> held;
    T *first;
};

// A place in which one sample after another settles.
template <typename T>
class Seat {
  public:
    Seat(const Pair<T> &p, int64_t padded, const T *weight, const T *ease)
        : p(p), weight(weight), ease(ease), padded(padded), drive(padded), low(padded),
          high(padded), s(padded), up(5 * most_upper) {}

    void take(int64_t one) {
        b = one, sample = one % p.samples, count = 0, done = false;
        T *own = up.data(), *y = own + 3 * most_upper, *ease_up = own + 4 * most_upper;
        const T stiffness = p.stiffness[one / p.samples];
        const T *nudge = p.nudge.at + b * p.nudge.stride;
        copy(drive, p.drive), copy(low, p.low), copy(high, p.high);
        const T *rows[3] = {row(p.drive_up), row(p.low_up), row(p.high_up)};
        for (int i = 0; i < 3; ++i) std::memcpy(own + i * most_upper, rows[i], p.upper * sizeof(T));
        if (p.at) displace(own);
        for (int64_t k = 0; k < p.upper; ++k) {
            own[k] += nudge[k];
            ease_up[k] = p.ease_up.at[k] / (1 + stiffness * p.ease_up.at[k]);
        }
        if (p.warm) {
            std::memcpy(s.data(), p.s + b * p.lower, p.lower * sizeof(T));
            std::memcpy(y, p.y + b * p.upper, p.upper * sizeof(T));
        } else {
            std::memset(s.data(), 0, p.lower * sizeof(T));
            std::memset(y, 0, p.upper * sizeof(T));
        }
        now = {padded, weight, drive.data(), ease, low.data(), high.data(),
               own, ease_up, own + most_upper, own + 2 * most_upper};
    }

    // A sweep that repeats the upper states bit for bit has found where all others would stay, so
    // that what is left of the budget needs no doing.
    void step(Sweep<T> blind, Sweep<T> watched, T tolerance, int budget) {
        T *y = up.data() + 3 * most_upper;
        const bool watch = tolerance > 0 || count + 2 >= budget;
        if (watch) {
            watched(now, s.data(), y, moved, largest);
        } else {
            T before[most_upper];
            std::memcpy(before, y, sizeof(before));
            blind(now, s.data(), y, moved, largest);
            if (!std::memcmp(before, y, sizeof(before))) {
                watched(now, s.data(), y, moved, largest);
                moved = 0, done = true;
            }
        }
        ++count;
        done = done || count == budget || (tolerance > 0 && moved <= tolerance * largest);
    }

    void leave() {
        std::memcpy(p.s + b * p.lower, s.data(), p.lower * sizeof(T));
        std::memcpy(p.y + b * p.upper, up.data() + 3 * most_upper, p.upper * sizeof(T));
        p.sweeps[b] = count;
        p.residual[b] = moved > 0 ? moved / largest : T(0);
    }

    bool done = true;

  private:
    const T *row(const Rows<T> &of) const { return of.at + sample * of.stride; }

    void copy(Aligned<T> &to, const Rows<T> &from) {
        std::memcpy(to.data(), row(from), p.lower * sizeof(T));
    }

    // Turn drives and limits into those of displacements from the states at rest: a unit inside its
    // limits feels changes alone, a unit on a limit must first overcome what presses it there.
    void displace(T *own) {
        typedef typename Lanes<T>::vec vec;
        const T *at = p.at + sample * p.lower, *at_up = p.at_up + sample * p.upper;
        T *felt = drive.data(), *least = low.data(), *most = high.data(), *rest = s.data();
        std::memcpy(rest, at, p.lower * sizeof(T));
        vec total[most_upper] = {};
        for (int64_t h = 0; h < padded; h += Lanes<T>::count) {
            const vec v = load(rest + h), lower = load(least + h), upper = load(most + h);
            vec d = load(felt + h);
            for (int64_t k = 0; k < p.upper; ++k) {
                const vec w = load(weight + k * padded + h);
                d += w * at_up[k], total[k] += w * v;
            }
            const auto outside = (v <= lower) | (v >= upper);
            store(felt + h, outside ? d - v / load(ease + h) : vec{});
            store(least + h, lower - v), store(most + h, upper - v);
        }
        for (int64_t k = 0; k < p.upper; ++k) {
            const T y = at_up[k];
            T *limits = own + most_upper + k;
            const bool inside = y > limits[0] && y < limits[most_upper];
            own[k] = inside ? T(0) : own[k] + sum<T>(total[k]) - y / p.ease_up.at[k];
            limits[0] -= y, limits[most_upper] -= y;
        }
    }

    const Pair<T> &p;
    const T *weight, *ease;
    int64_t padded, b = 0, sample = 0;
    Aligned<T> drive, low, high, s, up;
    Sample<T> now{};
    int count = 0;
    T moved = 0, largest = 0;
};

// Samples settle in turns, a few at a time, so that the end of one's sweep hides behind another's.
template <typename T>
void relax_pair(const Pair<T> &p, T tolerance, int budget) {
    constexpr int L = Lanes<T>::count;
    constexpr int seats = 3;
    const int64_t padded = (p.lower + abreast * L - 1) / (abreast * L) * (abreast * L);
    Aligned<T> weight(p.upper * padded), ease(padded);
    for (int64_t k = 0; k < p.upper; ++k)
        std::memcpy(weight.data() + k * padded, p.weight + k * p.lower, p.lower * sizeof(T));
    std::fill(ease.data(), ease.data() + padded, T(1));
    std::memcpy(ease.data(), p.ease.at, p.lower * sizeof(T));
    const Sweep<T> blind = pick<T, 1, false>(static_cast<int>(p.upper));
    const Sweep<T> watched = pick<T, 1, true>(static_cast<int>(p.upper));
    std::vector<Seat<T>> places;
    places.reserve(seats);
    for (int i = 0; i < seats; ++i) places.emplace_back(p, padded, weight.data(), ease.data());
    int64_t next = 0;
    for (bool busy = true; busy;) {
        busy = false;
        for (Seat<T> &seat : places) {
            if (seat.done && next < p.nudges * p.samples) seat.take(next++);
            if (seat.done) continue;
            seat.step(blind, watched, tolerance, budget);
            if (seat.done) seat.leave();
            busy = true;
        }
    }
}

template void relax_pair<float>(const Pair<float> &, float, int);
template void relax_pair<double>(const Pair<double> &, double, int);

}  // namespace MADEM_ISA
}  // namespace madem
