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

// The halves of a vector, joined, and the halves of that, until one number is left.
template <typename T, int bytes, typename V, typename Join>
static inline T folded(V v, Join join) {
    if constexpr (bytes == sizeof(T)) {
        return v[0];
    } else {
        typedef T half __attribute__((vector_size(bytes / 2)));
        half parts[2];
        std::memcpy(parts, &v, bytes);
        return folded<T, bytes / 2>(join(parts[0], parts[1]), join);
    }
}

template <typename T>
static inline T sum(typename Lanes<T>::vec v) {
    return folded<T, MADEM_BYTES>(v, [](auto a, auto b) { return a + b; });
}

}  // namespace MADEM_ISA
}  // namespace madem
