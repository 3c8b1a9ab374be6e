/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Where the beat is, in closed form and whole numbers.
 *
 * A beat is a place on a line through the anchor (anchor_frame, anchor_beat); a change of tempo puts the anchor where the
 * beat is then. So nothing adds up: the onset of a step is computed from the anchor, however long ago that is.
 *
 * Exactness: beats are counted in 2^-32, tempi in 2^-48 beats a minute and rates in 1/16 Hz. Every double from 20 to 999 is a
 * whole number of 2^-48 (the unit in the last place of 16 is 2^-48), so that the tempo is exactly what was asked for. With
 * the step's place s (in 2^-32 steps of num / den to a beat) the onset is the anchor's frame and
 *     x = n 60 rate / (num 2^32 bpm),  n = s den - anchor_beat num,   rounded half up,
 * of which both numbers are whole: x = n r 2^12 / (num b) with r = 16 60 rate < 2^30 and b = 2^48 bpm < 2^58. Within 2^31 beats
 * n < 2^70 and n r 2^13 < 2^113: 128 bits hold all of it, and the division is exact. An anchor in the middle of a beat is the
 * nearest 2^-32 beat: less than 2^-14 frames off at 20 bpm and 768 kHz. */
#ifndef PE_DSP_BEAT_H
#define PE_DSP_BEAT_H

#include <stdint.h>

#include "../rt.h"

__extension__ typedef __int128 PeWide;

#define PE_BEAT_PARTS 4294967296.0 /* 2^32 */

typedef struct PeBeat { /* the state of a clock node */
  int64_t  frames;       /* since it began, when the chunk starts */
  int64_t  anchor_frame;
  int64_t  anchor_beat;  /* in 2^-32 */
  uint64_t bpm;          /* in 2^-48 */
  uint64_t rate;         /* 16 x 60 x sample rate */
  uint64_t swing;        /* in 2^-32 steps */
  uint32_t is_running;
  uint32_t changes;      /* onsets are others from now on */
  uint32_t jumps;        /* the beat is elsewhere from now on */
  uint32_t reserved;
} PeBeat;

PE_RT_INLINE int64_t pe_floor_div(PeWide n, PeWide d) { /* d > 0 */
  const PeWide q = n / d;
  return (int64_t)(n % d < 0 ? q - 1 : q);
}

PE_RT_INLINE int64_t pe_round_div(PeWide n, PeWide d) { return pe_floor_div(2 * n + d, 2 * d); }

/* The place of step k, in 2^-32 steps, with num / den to a beat: every second one comes later, if there are two to a beat. */
PE_RT_INLINE PeWide pe_beat_step(const PeBeat *c, int64_t k, uint32_t num, uint32_t den) {
  return (PeWide)k * 4294967296 + ((k & 1) && num >= 2 * den ? (PeWide)c->swing : 0);
}

/* Frame of the clock's count at which it comes to a place, with num / den steps to a beat. */
PE_RT_INLINE int64_t pe_beat_frame(const PeBeat *c, PeWide place, uint32_t num, uint32_t den) {
  const PeWide n = place * den - (PeWide)c->anchor_beat * num;
  return c->anchor_frame + pe_round_div(n * (PeWide)c->rate * 4096, (PeWide)num * (PeWide)c->bpm);
}

/* Where the beat is at a frame of the clock's count, in 2^-32. */
PE_RT_INLINE int64_t pe_beat_at(const PeBeat *c, int64_t frame) {
  if (!c->is_running) return c->anchor_beat;
  return c->anchor_beat + pe_round_div((PeWide)(frame - c->anchor_frame) * (PeWide)c->bpm, (PeWide)c->rate * 4096);
}

#endif
