/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Samples within bounds, and parameters as the floats that samples are multiplied by. */
#ifndef PE_DSP_LEVELS_H
#define PE_DSP_LEVELS_H

#include "module.h"

/* Within +-PE_SAMPLE_LIMIT; NaN gives the limit. */
PE_RT_INLINE float pe_bounded(float v) {
  v = v < PE_SAMPLE_LIMIT ? v : PE_SAMPLE_LIMIT;
  return v > -PE_SAMPLE_LIMIT ? v : -PE_SAMPLE_LIMIT;
}

PE_RT_INLINE float pe_level_at(const PeBlock *b, const PeParam *params, uint32_t param, uint32_t i) {
  return (float)pe_block_param(b, param, i, params[param].min, params[param].max);
}

/* Frames `from` to `from` + n of a parameter. */
PE_RT_INLINE void pe_levels(const PeBlock *b, const PeParam *params, uint32_t param, uint32_t from, uint32_t n, float *levels) {
  if (pe_block_param_is_constant(b, param)) {
    const float level = pe_level_at(b, params, param, from);
    for (uint32_t i = 0; i < n; i++) levels[i] = level;
    return;
  }
  for (uint32_t i = 0; i < n; i++) levels[i] = pe_level_at(b, params, param, from + i);
}

PE_RT_INLINE uint32_t pe_chunk_at(uint32_t at, uint32_t n_frames) {
  return n_frames - at < PE_CHUNK_FRAMES ? n_frames - at : PE_CHUNK_FRAMES;
}

#endif
