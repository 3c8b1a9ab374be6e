/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* What most modules do with the numbers that come in and go out. */
#ifndef PE_DSP_VALUES_H
#define PE_DSP_VALUES_H

#include "approx.h"
#include "module.h"

#define PE_DB_TO_OCTAVES 0x1.542a5a12e1c5bp-3 /* log2(10) / 20: 10^(db / 20) is 2^(db x this) */

/* v within min and max; NaN gives min. */
PE_RT_INLINE double pe_within(double v, double min, double max) {
  v = v > min ? v : min;
  return v < max ? v : max;
}

/* A sample as a module may take it: within +-PE_SAMPLE_LIMIT, 0 for NaN. */
PE_RT_INLINE float pe_taken(float x) {
  x = x == x ? x : 0.0f;
  x = x < PE_SAMPLE_LIMIT ? x : PE_SAMPLE_LIMIT;
  return x > -PE_SAMPLE_LIMIT ? x : -PE_SAMPLE_LIMIT;
}

/* A sample as a module may put it out. */
PE_RT_INLINE float pe_limited(double v) {
  float x = (float)v;
  x = x < PE_SAMPLE_LIMIT ? x : PE_SAMPLE_LIMIT;
  return x > -PE_SAMPLE_LIMIT ? x : -PE_SAMPLE_LIMIT;
}

/* What a stepped parameter is set to, as a whole number, 0 to its max; NaN gives 0. */
PE_RT_INLINE uint32_t pe_whole(const PeSmooth *p, const PeParam *params, uint32_t param) {
  const double v = p[param].target;
  return v >= params[param].max ? (uint32_t)params[param].max : v >= 0.0 ? (uint32_t)(v + 0.5) : 0;
}

/* No parameter moves during the block, and no cable drives one of the first n (gates come last, and do not count). */
PE_RT_INLINE int pe_block_is_still(const PeBlock *b, uint32_t n_params) {
  if (b->is_unchanged) return 1;
  for (uint32_t p = 0; p < n_params; p++)
    if (!pe_block_param_is_constant(b, p)) return 0;
  return 1;
}

PE_RT_INLINE double pe_gain_of_db(double db) { return pe_exp2(db * PE_DB_TO_OCTAVES); }

/* What an exponential decay keeps per frame, falling by 60 dB in `ms`: 2^(-log2(1000) / frames). */
PE_RT_INLINE double pe_decay_60_db(double ms, double sample_rate_hz) {
  return pe_exp2(-9.965784284662087 * 1000.0 / (ms * sample_rate_hz));
}

/* The same with a time constant: it falls to 1/e in `ms`. Times below a frame are taken as one. */
PE_RT_INLINE double pe_decay_1_e(double ms, double sample_rate_hz) {
  const double frames = ms * sample_rate_hz / 1000.0;
  return pe_exp2(-1.4426950408889634 / (frames > 1.0 ? frames : 1.0));
}

#endif
