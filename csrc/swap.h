/* The swap gate: which slot is heard for the block that is due, and the declick. */
#ifndef PE_SWAP_H
#define PE_SWAP_H

#include "rest.h"

#define PE_DECLICK_MS 5.0
#define PE_HEDGES_TO_CHANGE 16u /* a slot that is late for so many blocks in a row is left */

typedef struct PeSource {
  uint32_t slot;        /* PE_NO_SLOT: no ring has the block */
  uint32_t seat;        /* whose ring it is in */
  uint64_t generation;
  int      is_declicked; /* what comes does not continue what was heard */
  int      is_rest;      /* in no ring: +0, by what a worker that rests says */
} PeSource;

typedef struct PeGate {
  PeQuiet  quiet[PE_SEATS];
  uint32_t n_hedged_in_a_row;
  uint32_t heard_slot;
  uint64_t heard_generation; /* of the block played last; the segment's word tells others, and is early at a swap */
} PeGate;

/* Decide for the block that is due; opens the gate when all of invariant 3 holds. Writes active_slot,
 * swapped_generation and the counters. frames: put out so far, for events. [rt & active] */
PE_RT PeSource pe_gate_choose(PeSegment *s, PeGate *gate, uint64_t block, uint64_t frames);

/* Compare a block that is played, by its hash, with the other ring's. [rt & active] */
PE_RT void pe_gate_compare(PeSegment *s, const PeSource *source, uint64_t block, uint64_t frames, uint64_t hash);

/* Say what is heard from this block on, if it does not simply go on. Writes heard_generation. [rt & active] */
PE_RT void pe_gate_tell(PeSegment *s, PeGate *gate, const PeSource *source, uint64_t block, uint64_t frames, int is_declicked);

/* An offset that falls to zero over PE_DECLICK_MS: last sample heard minus first sample of what comes. */
typedef struct PeDeclick {
  float    offset[PE_MAX_CHANNELS];
  float    last[PE_MAX_CHANNELS];
  uint32_t left, length, is_due;
} PeDeclick;

/* Put n frames of planar samples (NULL: silence) out, interleaved; planes are `stride` apart. [rt & active] */
PE_RT void pe_declick_put(PeDeclick *d, const float *planar, uint32_t stride, uint32_t n_channels, uint32_t n_frames, float *out);

#endif
