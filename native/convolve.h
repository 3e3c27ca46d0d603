// What the kernel of convolve.inl is given, and its versions for each instruction set.
#pragma once

#include <cstdint>

namespace madem {

constexpr int planes = 36;        // numbers that a tile of 6 x 6 pixels becomes
constexpr int panel_bytes = 64;   // channels go side by side by the line of the cache

// Images, channels last, in panels of channels; `kernel` lies as planes x panels out x in x panel.
template <typename T>
struct Images {
    int64_t count, rows, columns, in;   // of x
    int64_t rows_out, columns_out, out; // of z
    int64_t padding;
    const T *x, *kernel;
    T *z;
};

#define MADEM_DECLARE(isa)          \
    namespace isa {                 \
    template <typename T>           \
    void convolve(const Images<T> &); \
    }
MADEM_DECLARE(baseline)
MADEM_DECLARE(avx2)
MADEM_DECLARE(avx512)
#undef MADEM_DECLARE

}  // namespace madem
