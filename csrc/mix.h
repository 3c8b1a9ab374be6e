/* What is heard of banks: sums of lanes, for each instruction set. */
#ifndef PE_MIX_H
#define PE_MIX_H

#include "dsp/module.h"

typedef struct PeMix {
  /* acc += x, [frame][lane]; a lane outside `lanes` may hold anything and adds nothing. is_first: acc holds nothing yet,
   * and is +0. [rt] */
  void (*accumulate)(float *acc, const float *x, uint32_t lanes, int is_first, uint32_t n_frames);
  /* The fixed tree over the accumulators: stride 8, 4, 2, 1. Is there a NaN or an infinity in it? [rt] */
  int (*finish)(const float *acc, float *out, uint32_t n_frames);
  /* out = +0 + x: the sum of one. Is there a NaN or an infinity in it? out may be x. [rt] */
  int (*copy)(const float *x, float *out, uint32_t n_frames);
} PeMix;

extern const PeMix pe_mix[PE_ISAS];

#endif
