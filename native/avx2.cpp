#define MADEM_ISA avx2
#define MADEM_BYTES 32
#include "convolve.inl"
#include "mirrored.inl"
#include "relax_pair.inl"
#include "wires.inl"
