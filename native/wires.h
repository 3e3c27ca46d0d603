// What the kernel of wires.inl is given, and its versions for each instruction set.
#pragma once

#include <cstdint>

namespace madem {

// Crossbars of rows x columns cells, all with the same wires; conductances in S.
template <typename T>
struct Crossbars {
    int64_t chips, samples, rows, columns;
    const T *g;                    // chips x rows x columns
    const T *v;                    // voltages of the drivers, chips x samples x rows
    const T *sources;              // chips x rows x columns x samples, A from word to bit, or null
    T word, bit, drive, sense;     // conductances of a segment of each wire and of the terminations
    T *currents, *drawn;           // chips x samples x columns and x rows, out; drawn may be null
    T *across;                     // voltages of the cells, chips x rows x columns x samples, out, or null
    T *word_nodes, *bit_nodes;     // chips x samples x rows x columns, out, or null
    int32_t *iterations;           // chips x samples, out
    T *residual;                   // relative, chips x samples, out
};

#define MADEM_DECLARE(isa)                                      \
    namespace isa {                                             \
    template <typename T>                                       \
    void read_wires(const Crossbars<T> &, T tolerance, T steepest, int budget); \
    }
MADEM_DECLARE(baseline)
MADEM_DECLARE(avx2)
MADEM_DECLARE(avx512)
#undef MADEM_DECLARE

}  // namespace madem
