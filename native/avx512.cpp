#define MADEM_ISA avx512
#define MADEM_BYTES 64
#include "convolve.inl"
#include "mirrored.inl"
#include "relax_pair.inl"
#include "wires.inl"
