/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Linear ramp of a parameter over a number of frames. Plain data; zeroed it is the constant 0.
 *
 * The value `i` frames from now is a closed form of the target, never a running sum: the ramp ends
 * exactly on its target and has the same bits however the frames are split into calls. */
#ifndef PE_DSP_SMOOTH_H
#define PE_DSP_SMOOTH_H

#include <stdint.h>

#include "../rt.h"

typedef struct PeSmooth {
  double   target;
  double   step;      /* per frame; 0 when settled */
  uint32_t remaining; /* frames until the target is reached */
  uint32_t reserved;
} PeSmooth;

/* Value i frames from now. */
PE_RT_INLINE double pe_smooth_at(const PeSmooth *s, uint32_t i) {
  return i < s->remaining ? s->target - s->step * (double)(s->remaining - i) : s->target;
}

PE_RT_INLINE double pe_smooth_now(const PeSmooth *s) { return pe_smooth_at(s, 0); }

PE_RT_INLINE int pe_smooth_is_settled(const PeSmooth *s) { return s->remaining == 0; }

/* Head for `target`, from the present value, in n frames; 0 frames: at once. */
PE_RT_INLINE void pe_smooth_set(PeSmooth *s, double target, uint32_t n_frames) {
  const double now = pe_smooth_now(s);
  s->target = target;
  s->remaining = now == target ? 0 : n_frames;
  s->step = s->remaining ? (target - now) / (double)n_frames : 0.0;
}

/* n frames have passed. */
PE_RT_INLINE void pe_smooth_advance(PeSmooth *s, uint32_t n_frames) {
  s->remaining = n_frames < s->remaining ? s->remaining - n_frames : 0;
  if (s->remaining == 0) s->step = 0.0;
}

#endif
