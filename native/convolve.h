// What the kernel of convolve.inl is given, and its versions for each instruction set.
#pragma once

#include <cstdint>

namespace madem {

constexpr int planes = 36;        // numbers that a tile of 6 x 6 pixels becomes
constexpr int panel_bytes = 64;   // channels go side by side by the line of the cache

// Images, channels last, in panels of channels; `kernel` lies as planes x panels out x in x panel.
// Rows and columns are those of the images that are convolved and of the convolution.
template <typename T>
struct Images {
    int64_t count, rows, columns, in;
    int64_t rows_out, columns_out, out;
    int64_t padding;
    const T *x, *kernel;
    T *z;
    // Where `corner` is given, x is pooled: each number lies on one of 2 x 2 pixels, counted by
    // rows, and the others are zero. Where `corner_at` is given as well, x is a displacement from
    // `at`, which lay on that corner: what it was taken from has moved with it.
    const T *corner, *at, *corner_at;
    // Where `corner_out` is given, z takes the largest of 2 x 2 pixels of the convolution, plus
    // `offset` where given, and `corner_out` which of them that is.
    T *corner_out;
    const T *offset;
};

#define MADEM_DECLARE(isa)          \
    namespace isa {                 \
    template <typename T>           \
    void convolve(const Images<T> &); \
    template <typename T>           \
    void pack(const T *kernel, int64_t out, int64_t in, bool turned, T *packed); \
    template <typename T>           \
    void weigh(const Images<T> &, const T *y, T *kernel); \
    }
MADEM_DECLARE(baseline)
MADEM_DECLARE(avx2)
MADEM_DECLARE(avx512)
#undef MADEM_DECLARE

}  // namespace madem
