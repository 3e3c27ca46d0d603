// What the kernel of relax_pair.inl is given, and its versions for each instruction set.
#pragma once

#include <cstdint>

namespace madem {

constexpr int most_upper = 16;  // upper units whose sums fit into registers

// Rows of a matrix, one a sample; stride 0 where all samples share one.
template <typename T>
struct Rows {
    const T *at;
    int64_t stride;
};

template <typename T>
struct Pair {
    int64_t samples, nudges, lower, upper;
    const T *weight;  // upper x lower
    Rows<T> drive, ease, low, high;
    Rows<T> drive_up, ease_up, low_up, high_up;
    Rows<T> nudge;       // currents into the upper layer, one nudge's samples after another's
    const T *stiffness;  // what each nudge adds to the upper layer's load
    const T *at, *at_up;  // where given, states are displacements from these, at rest unnudged
    bool warm;            // whether s and y hold a start; else they start from zero
    T *s, *y;             // states, (nudges x samples) x lower and x upper, out
    int32_t *sweeps;
    T *residual;
};

// One sample, its lower units padded to whole vectors.
template <typename T>
struct Sample {
    int64_t padded;
    const T *weight, *drive, *ease, *low, *high;
    const T *drive_up, *ease_up, *low_up, *high_up;
};

#define MADEM_DECLARE(isa)                                  \
    namespace isa {                                         \
    template <typename T>                                   \
    void relax_pair(const Pair<T> &, T tolerance, int budget); \
    }
MADEM_DECLARE(baseline)
MADEM_DECLARE(avx2)
MADEM_DECLARE(avx512)
#undef MADEM_DECLARE

}  // namespace madem
