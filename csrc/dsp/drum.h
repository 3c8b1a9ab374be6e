/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* What drums share: noise, saturation, and what is left over of the strike before. */
#ifndef PE_DSP_DRUM_H
#define PE_DSP_DRUM_H

#include "gate.h"
#include "values.h"

#define PE_DRUM_REST 1e-8    /* -160 dB: a drum whose envelopes are below it is at rest */
#define PE_DRUM_TAIL_MS 1.0  /* what sounds when a strike comes falls to 1/e in this time */

/* White noise, evenly spread over -1 to 1. Numerical Recipes, ch. 7.1, "ranqd1": all 2^32 states in one cycle. */
PE_RT_INLINE double pe_noise(uint32_t *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return (double)(int32_t)*seed * 0x1p-31;
}

/* x within +-1 through a curve that keeps 0 and +-1 and is `drive` + 1 times as steep at 0; drive 0 leaves it as it is. */
PE_RT_INLINE double pe_driven(double x, double drive) { return x * (1.0 + drive) / (1.0 + drive * (x < 0.0 ? -x : x)); }

PE_RT_INLINE int pe_is_near_0(double x) { return x < PE_DRUM_REST && x > -PE_DRUM_REST; }

#endif
