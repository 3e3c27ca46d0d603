// Vectors of the instruction set that this is compiled for: MADEM_BYTES wide, in MADEM_ISA.
#pragma once

#include <cstdint>
#include <cstring>

namespace madem {
namespace MADEM_ISA {

template <typename T>
struct Lanes {
    static constexpr int count = MADEM_BYTES / sizeof(T);
    typedef T vec __attribute__((vector_size(MADEM_BYTES)));
};

template <typename T>
static inline typename Lanes<T>::vec load(const T *p) {
    typename Lanes<T>::vec v;
    std::memcpy(&v, p, MADEM_BYTES);
    return v;
}

template <typename T>
static inline void store(T *p, typename Lanes<T>::vec v) {
    std::memcpy(p, &v, MADEM_BYTES);
}

}  // namespace MADEM_ISA
}  // namespace madem
