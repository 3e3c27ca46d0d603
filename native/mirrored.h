// What the kernels of mirrored.inl are given, and their versions for each instruction set.
#pragma once

#include <cstdint>

namespace madem {

// Resistors from lines at gain x and -gain x: g is post x 2 pre, the positive lines first.
template <typename T>
struct Mirror {
    int64_t samples, post, pre;
    const T *x;  // samples x pre
    T gain;
};

#define MADEM_DECLARE(isa)                                                                  \
    namespace isa {                                                                         \
    template <typename T>                                                                   \
    void read_mirrored(const Mirror<T> &, const T *g, T *drive, T *load);                   \
    template <typename T>                                                                   \
    void contrast_mirrored(const Mirror<T> &, const T *change, const T *middle, T *contrast); \
    }
MADEM_DECLARE(baseline)
MADEM_DECLARE(avx2)
MADEM_DECLARE(avx512)
#undef MADEM_DECLARE

}  // namespace madem
