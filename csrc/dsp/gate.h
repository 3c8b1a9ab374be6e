/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Gates, frame by frame: high where a cable is at 0.5 or above. Two kinds of module look at them:
 * - one that is held open (an envelope) follows the cable alone where there is one, the parameter otherwise;
 * - one that is struck (a drum) is struck by each rise of the cable, and by each command that sets the gate to 1. */
#ifndef PE_DSP_GATE_H
#define PE_DSP_GATE_H

#include <stdint.h>

#include "../rt.h"

PE_RT_INLINE int pe_gate_is_high(float cable) { return cable >= 0.5f; } /* not for NaN */

/* First frame behind i at which the cable is on the other side; n_frames where it stays. */
PE_RT_INLINE uint32_t pe_gate_run_end(const float *cable, uint32_t i, uint32_t n_frames) {
  const int is_high = pe_gate_is_high(cable[i]);
  for (i++; i < n_frames && pe_gate_is_high(cable[i]) == is_high; i++) {
  }
  return i;
}

typedef struct PeStrike { /* part of a state; zeroed: nothing has come yet */
  uint32_t is_high;  /* the cable at the newest frame */
  uint32_t is_asked; /* a command struck since */
} PeStrike;

/* For `changed`, after a command set the gate to `value`. */
PE_RT_INLINE void pe_strike_command(PeStrike *s, double value) {
  if (value >= 0.5) s->is_asked = 1;
}

/* Whether frame i is struck; to be asked of the first frame of a call, and of those that pe_strike_next gives.
 * cable: NULL where there is none. */
PE_RT_INLINE int pe_strike_at(PeStrike *s, const float *cable, uint32_t i) {
  const uint32_t is_high = cable && pe_gate_is_high(cable[i]) ? 1u : 0u;
  const int is_struck = s->is_asked || is_high > s->is_high;
  s->is_high = is_high;
  s->is_asked = 0;
  return is_struck;
}

/* First frame behind i at which the cable rises, or n_frames. */
PE_RT_INLINE uint32_t pe_strike_next(PeStrike *s, const float *cable, uint32_t i, uint32_t n_frames) {
  if (!cable) return n_frames;
  for (i++; i < n_frames; i++) {
    const uint32_t is_high = pe_gate_is_high(cable[i]) ? 1u : 0u;
    if (is_high > s->is_high) return i;
    s->is_high = is_high;
  }
  return n_frames;
}

/* The same of two gates, whichever rises first. */
PE_RT_INLINE uint32_t pe_strike_next_of_2(PeStrike *a, const float *cable_a, PeStrike *b, const float *cable_b, uint32_t i, uint32_t n_frames) {
  PeStrike ahead = *a;
  const uint32_t of_a = pe_strike_next(&ahead, cable_a, i, n_frames), next = pe_strike_next(b, cable_b, i, of_a);
  pe_strike_next(a, cable_a, i, next);
  return next;
}

#endif
