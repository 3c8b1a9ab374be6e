/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "mix.h"

#include <string.h>

#define PE_SIMD_BODY "../mix_simd.h"
#include "dsp/simd_each.h"

#define ROW(isa) {accumulate_##isa, finish_##isa, copy_##isa}
const PeMix pe_mix[PE_ISAS] = PE_SIMD_EACH(ROW);
