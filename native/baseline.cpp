#define MADEM_ISA baseline
#define MADEM_BYTES 16
#include "convolve.inl"
#include "mirrored.inl"
#include "relax_pair.inl"
#include "wires.inl"
