// Crossbars with wires: the word lines are eliminated exactly, and conjugate gradients run on what
// is left for the bit lines, S = A_b - D A_w^-1 D, preconditioned by the bit lines A_b alone.
//
// With T = A_b^-1 D A_w^-1 D this solves (1 - T) b = A_b^-1 D A_w^-1 f in the inner product of A_b,
// <x, y> = x . A_b y, so that one iteration is one solve along every word line and one along every
// bit line. Lines are eliminated without a subtraction: seen from a node outwards the conductance is
// E_j = g_j + G E_{j+1} / (E_{j+1} + G), which keeps its digits in float32.
//
// A step longer than `steepest` would follow what rounding hides: the inputs beside it are given up,
// with the residual that they have. The inputs of one array lie side by side in a vector.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "lanes.inl"
#include "wires.h"

namespace madem {
namespace MADEM_ISA {

constexpr int64_t together = 4;  // word lines solved at once, to hide the latency of one

// Of every node: the part of a current that is lost to the line beyond it and to its own cell (the
// rest goes on towards the termination), and the resistance through which what arrives lifts it.
// Losses are small where wires are good, so that products of many shares keep their digits.
template <typename T>
struct Lines {
    std::vector<T> loss, lift;
};

template <typename T>
struct Factors {
    Lines<T> words, bits;
};

// One node of every one of `count` lines, `step` apart: the next one towards the terminations.
// `beyond` holds what the rest of each line adds to its node's conductance.
template <typename T>
static void eliminate(int64_t count, int64_t step, const T *__restrict g, double onward,
                      double *__restrict beyond, T *__restrict loss, T *__restrict lift) {
    for (int64_t k = 0; k < count; ++k) {
        const double here = double(g[k * step]) + beyond[k], r = 1 / (here + onward);
        lift[k * step] = T(r), loss[k * step] = T(here * r);
        beyond[k] = onward * here * r;
    }
}

template <typename T>
static Factors<T> factor(const Crossbars<T> &c, const T *g) {
    const int64_t m = c.rows, n = c.columns;
    Factors<T> f;
    for (Lines<T> *lines : {&f.words, &f.bits}) lines->loss.resize(m * n), lines->lift.resize(m * n);
    std::vector<double> beyond(std::max(m, n), 0.0);
    for (int64_t j = n; j-- > 0;)
        eliminate(m, n, g + j, j ? c.word : c.drive, beyond.data(), f.words.loss.data() + j,
                  f.words.lift.data() + j);
    std::fill(beyond.begin(), beyond.end(), 0.0);
    for (int64_t i = 0; i < m; ++i)
        eliminate(n, 1, g + i * n, i + 1 < m ? c.bit : c.sense, beyond.data(),
                  f.bits.loss.data() + i * n, f.bits.lift.data() + i * n);
    return f;
}

// As many doubles as a vector has lanes: a driver's voltage loses little at every node, and float32
// would round the same way at each.
template <typename T>
struct Wide;
template <>
struct Wide<float> {
    typedef double vec __attribute__((vector_size(2 * MADEM_BYTES)));
};
template <>
struct Wide<double> {
    typedef double vec __attribute__((vector_size(MADEM_BYTES)));
};

template <typename T>
struct Reader {
    using vec = typename Lanes<T>::vec;
    static constexpr int64_t lanes = Lanes<T>::count;
    using wide = typename Wide<T>::vec;
    static wide widen(vec v) { return __builtin_convertvector(v, wide); }
    static vec narrow(wide v) { return __builtin_convertvector(v, vec); }
    const Crossbars<T> &c;
    int64_t m, n;
    const T *g = nullptr;
    Factors<T> f;
    std::vector<T> memory;
    T *b, *z, *p, *s, *line;  // rows x columns vectors each, line: together x columns

    explicit Reader(const Crossbars<T> &c)
        : c(c), m(c.rows), n(c.columns), memory((4 * m + together) * n * lanes + lanes) {
        const auto address = reinterpret_cast<uintptr_t>(memory.data());
        T *at = memory.data() + (MADEM_BYTES - address % MADEM_BYTES) % MADEM_BYTES / sizeof(T);
        const int64_t field = m * n * lanes;
        b = at, z = at + field, p = at + 2 * field, s = at + 3 * field, line = at + 4 * field;
    }

    // Voltages u of word lines i .. i + count - 1 under the currents g p, into `line`; and, in `s`,
    // what of the currents g u arrives at every node of the bit lines from above. On the way p
    // becomes z + beta p, or z without `step`. Returns sum g p (p - u); `drops` grows by the squares
    // of p's drops along the bit lines, from the row above on.
    template <int count, bool step, bool top>
    vec words(int64_t i, vec beta, vec &drops) {
        const T *loss = f.words.loss.data() + i * n, *lift = f.words.lift.data() + i * n;
        const T *lost = f.bits.loss.data() + i * n, *own = g + i * n;
        const int64_t field = i * n * lanes;
        vec carry[count] = {}, total[count] = {}, squares[count] = {};  // sums apart, not to wait
        for (int64_t j = n; j-- > 0;) {
            vec last = vec{};
            if (!top) last = load<T>(p + field + (j - n) * lanes);
            for (int r = 0; r < count; ++r) {
                const int64_t cell = r * n + j, at = field + cell * lanes;
                vec here = load<T>(z + at);
                if (step) here += beta * load<T>(p + at);
                store<T>(p + at, here);
                if (r || !top) squares[r] += (here - last) * (here - last);
                last = here;
                const vec arrived = carry[r] + own[cell] * here;
                store<T>(line + cell * lanes, arrived);
                carry[r] = arrived - loss[cell] * arrived;
            }
        }
        for (int r = 0; r < count; ++r) drops += squares[r], carry[r] = vec{};
        for (int64_t j = 0; j < n; ++j) {
            vec above = vec{};
            if (!top) {
                above = load<T>(s + field + (j - n) * lanes);
                above -= lost[j - n] * above;
            }
            for (int r = 0; r < count; ++r) {
                const int64_t cell = r * n + j;
                const vec back = carry[r] + lift[cell] * load<T>(line + cell * lanes);
                carry[r] = back - loss[cell] * carry[r];
                const vec current = own[cell] * carry[r], way = load<T>(p + field + cell * lanes);
                total[r] += (own[cell] * way - current) * way;
                above += current;
                store<T>(s + field + cell * lanes, above);
                above -= lost[cell] * above;
            }
        }
        for (int r = 1; r < count; ++r) total[0] += total[r];
        return total[0];
    }

    // Returns p . S p, as a sum of what word lines and wires take of it: the difference of <p, p> and
    // <p, T p> loses its digits where wires are poor.
    template <bool step>
    vec all_words(vec beta) {
        vec total = vec{}, drops = vec{}, end = vec{};
        int64_t i = 0;
        if (m >= together) {
            total += words<together, step, true>(0, beta, drops);
            for (i = together; i + together <= m; i += together)
                total += words<together, step, false>(i, beta, drops);
        } else {
            total += words<1, step, true>(i++, beta, drops);
        }
        for (; i < m; ++i) total += words<1, step, false>(i, beta, drops);
        for (int64_t j = 0; j < n; ++j) {
            const vec last = load<T>(p + ((m - 1) * n + j) * lanes);
            end += last * last;
        }
        return total + c.bit * drops + c.sense * end;
    }

    // Whether more is asked for than the currents at the last row.
    bool whole() const { return c.drawn || c.word_nodes || c.across; }

    // One row of `bits`; returns its part of <z, z> but for that of the wires, which goes to `drops`.
    // The solution b is followed where it is asked for: `last` is always.
    template <bool start, bool last, bool kept = true>
    vec row(int64_t i, vec alpha, vec &drops) {
        const T *loss = f.bits.loss.data() + i * n, *lift = f.bits.lift.data() + i * n;
        const int64_t field = i * n * lanes, below = field + n * lanes;
        vec loads = vec{}, squares = vec{};
        for (int64_t j = 0; j < n; ++j) {
            const int64_t at = field + j * lanes;
            vec u = lift[j] * load<T>(s + at);
            if (!last) {
                const vec from = load<T>(s + below + j * lanes);
                u = (u + from) - loss[j] * from;
            }
            store<T>(s + at, u);
            vec left = u;
            if (!start) {
                const vec way = load<T>(p + at);
                if (kept) store<T>(b + at, load<T>(b + at) + alpha * way);
                left = load<T>(z + at) - alpha * (way - u);
            }
            store<T>(z + at, left);
            loads += g[i * n + j] * left * left;
            const vec drop = last ? left : left - load<T>(z + below + j * lanes);
            squares += drop * drop;
        }
        drops += squares;
        return loads;
    }

    // From what arrives on the bit lines, `s`, their voltages u = A_b^-1 D A_w^-1 D p; then the step
    // b += alpha p, z -= alpha (p - u), or at the start z = u. Returns <z, z>.
    template <bool start>
    vec bits(vec alpha) {
        vec wires = vec{}, end = vec{};
        vec loads = row<start, true>(m - 1, alpha, end);
        if (start || whole())
            for (int64_t i = m - 1; i-- > 0;) loads += row<start, false>(i, alpha, wires);
        else
            for (int64_t i = m - 1; i-- > 0;) loads += row<start, false, false>(i, alpha, wires);
        return loads + c.bit * wires + c.sense * end;
    }

    // The lanes of what is stored for `count` samples of a cell, the first of which is at `p`.
    static vec some(const T *p, int64_t count) {
        vec v = vec{};
        std::memcpy(&v, p, count * sizeof(T));
        return v;
    }

    // A voltage of the bit lines: z is the step that the preconditioner takes from b, which mends b
    // most near the sense inputs.
    vec bit_node(int64_t cell) const { return load<T>(b + cell * lanes) + load<T>(z + cell * lanes); }

    // The currents that arrive at every node of word line i from beyond, into `line`: those of the
    // cells at the bit lines' voltages b, where `loaded`, less those of the sources.
    void arrive(int64_t i, const T *sources, int64_t count, bool loaded) {
        const T *loss = f.words.loss.data();
        vec carry = vec{};
        for (int64_t j = n; j-- > 0;) {
            const int64_t cell = i * n + j;
            vec arrived = carry;
            if (loaded) arrived += g[cell] * bit_node(cell);
            if (sources) arrived -= some(sources + cell * c.samples, count);
            store<T>(line + j * lanes, arrived);
            carry = arrived - loss[cell] * arrived;
        }
    }

    // The drivers and the sources alone, into what arrives on the bit lines, `s`.
    void drive(const T *v, const T *sources, int64_t count) {
        const T *loss = f.words.loss.data(), *lift = f.words.lift.data();
        const T *lost = f.bits.loss.data();
        for (int64_t i = 0; i < m; ++i) {
            wide u = wide{};
            for (int64_t q = 0; q < count; ++q) u[q] = v[q * m + i];
            if (sources) arrive(i, sources, count, false);
            for (int64_t j = 0; j < n; ++j) {
                const int64_t cell = i * n + j, at = cell * lanes;
                u -= double(loss[cell]) * u;
                if (sources) u += double(lift[cell]) * widen(load<T>(line + j * lanes));
                vec above = g[cell] * narrow(u);
                if (sources) above += some(sources + cell * c.samples, count);
                if (i) {
                    const vec from = load<T>(s + at - n * lanes);
                    above += from - lost[cell - n] * from;
                }
                store<T>(b + at, vec{});
                store<T>(s + at, above);
            }
        }
    }

    // Write what was asked for of the inputs `sample` .. `sample + count - 1` of a chip.
    void tell(const T *v, const T *sources, int64_t chip, int64_t sample, int64_t count) {
        const int64_t at = chip * c.samples + sample;
        const T *loss = f.words.loss.data(), *lift = f.words.lift.data();
        for (int64_t j = 0; j < n; ++j) {
            const vec sensed = c.sense * bit_node((m - 1) * n + j);
            for (int64_t q = 0; q < count; ++q) c.currents[(at + q) * n + j] = sensed[q];
        }
        if (!whole()) return;
        for (int64_t i = 0; i < m; ++i) {
            wide u = wide{};
            arrive(i, sources, count, true);
            for (int64_t q = 0; q < count; ++q) u[q] = v[q * m + i];
            const int64_t length = c.word_nodes || c.across ? n : 1;
            for (int64_t j = 0; j < length; ++j) {
                const int64_t cell = i * n + j;
                const wide lifted = double(lift[cell]) * widen(load<T>(line + j * lanes));
                const wide drop = double(loss[cell]) * u - lifted;
                u -= drop;
                if (!j && c.drawn)
                    for (int64_t q = 0; q < count; ++q)
                        c.drawn[(at + q) * m + i] = c.drive * T(drop[q]);
                const vec low = bit_node(cell);
                if (c.across) {
                    const vec seen = narrow(u - widen(low));
                    T *into = c.across + (chip * m * n + cell) * c.samples + sample;
                    std::memcpy(into, &seen, count * sizeof(T));
                }
                if (c.word_nodes)
                    for (int64_t q = 0; q < count; ++q) {
                        c.word_nodes[(at + q) * m * n + cell] = T(u[q]);
                        c.bit_nodes[(at + q) * m * n + cell] = low[q];
                    }
            }
        }
    }

    void solve(int64_t chip, int64_t sample, int64_t count, T tolerance, T steepest,
               int budget) {
        const T *v = c.v + (chip * c.samples + sample) * m;
        const T *sources =
            c.sources ? c.sources + chip * m * n * c.samples + sample : nullptr;
        drive(v, sources, count);
        vec size = bits<true>(vec{}), beta = vec{};
        const vec first = size;
        int32_t taken[lanes] = {};
        for (int round = 1; round <= budget; ++round) {
            bool going = false;
            for (int64_t q = 0; q < count; ++q)
                if (size[q] > tolerance * tolerance * first[q]) going = true, taken[q] = round;
            if (!going) break;
            const vec curve = round > 1 ? all_words<true>(beta) : all_words<false>(beta);
            vec alpha;
            bool lost = false;
            for (int64_t q = 0; q < lanes; ++q) {
                alpha[q] = curve[q] > 0 ? size[q] / curve[q] : T(0);
                lost |= taken[q] == round && !(curve[q] * steepest > size[q]);
            }
            if (lost) break;
            const vec now = bits<false>(alpha);
            for (int64_t q = 0; q < lanes; ++q) beta[q] = size[q] > 0 ? now[q] / size[q] : T(0);
            size = now;
        }
        const int64_t at = chip * c.samples + sample;
        for (int64_t q = 0; q < count; ++q) {
            c.iterations[at + q] = taken[q];
            c.residual[at + q] = first[q] > 0 ? std::sqrt(size[q] / first[q]) : T(0);
        }
        tell(v, sources, chip, sample, count);
    }
};

template <typename T>
void read_wires(const Crossbars<T> &c, T tolerance, T steepest, int budget) {
    Reader<T> reader(c);
    for (int64_t chip = 0; chip < c.chips; ++chip) {
        reader.g = c.g + chip * c.rows * c.columns;
        reader.f = factor(c, reader.g);
        for (int64_t sample = 0; sample < c.samples; sample += Lanes<T>::count) {
            const int64_t count = std::min<int64_t>(Lanes<T>::count, c.samples - sample);
            reader.solve(chip, sample, count, tolerance, steepest, budget);
        }
    }
}

template void read_wires<float>(const Crossbars<float> &, float, float, int);
template void read_wires<double>(const Crossbars<double> &, double, double, int);

}  // namespace MADEM_ISA
}  // namespace madem
