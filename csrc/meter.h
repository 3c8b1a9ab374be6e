/* Levels of what nodes put out, measured by the worker that is not heard, and only while somebody watches.
 * What is measured is read and never written: with and without it every bit is the same. */
#ifndef PE_METER_H
#define PE_METER_H

#include "segment.h"

typedef struct PeMeter {
  PeMeterPlace *places;   /* [PE_METERS], the seat's own in the segment */
  uint32_t block;         /* at work, modulo 2^32 */
  uint32_t mask;          /* a node's turn is when its number and that of the block agree in these bits */
  uint32_t block_frames;
  float    keep_peak, keep_energy; /* what is left of a level after a block */
  float    share;         /* of a level that the blocks of one turn make up */
} PeMeter;

/* Is `meter` to be used for this block of a plan of n_nodes: it, or NULL. [rt] */
PE_RT PeMeter *pe_meter_begin(PeMeter *meter, PeSegment *s, uint32_t seat, uint64_t generation, uint64_t block, uint32_t n_nodes);

/* Is it the turn of the node or bank of this number? [rt] */
PE_RT static inline int pe_meter_wants(const PeMeter *m, uint32_t number) { return ((number ^ m->block) & m->mask) == 0; }

/* n_frames of one output of the node at `place` of its plan. [rt] */
PE_RT void pe_meter_mono(PeMeter *m, uint32_t place, uint32_t handle, const float *x, uint32_t n_frames);

/* n_frames of [frame][lane]: level l is that of lane l. For pe_meter_put. [rt] */
PE_RT void pe_meter_lanes(const float *x, uint32_t n_frames, float *peaks, float *squares);

/* What was measured of a node: the largest sample, the sum of the squares. [rt] */
PE_RT void pe_meter_put(PeMeter *m, uint32_t place, uint32_t handle, float peak, float squares);

/* What the node without audio at `place` shows. [rt] */
PE_RT void pe_meter_show(PeMeter *m, uint32_t place, uint32_t handle, const uint64_t shown[2]);

/* Show what is put out to whoever watches; by the callback. [rt & active] */
PE_RT void pe_view_put(PeSegment *s, const float *interleaved, uint32_t n_frames);

/* For the worker that takes the seat. [setup] */
void pe_meter_init(PeMeter *meter, PeSegment *s, uint32_t seat);

/* What is left of a level after so many blocks. [rt] */
PE_RT float pe_meter_kept(float keep, uint32_t n_blocks);

/* How it falls: per block. [setup] */
float pe_meter_keep_peak(const PeConfig *config);
float pe_meter_keep_energy(const PeConfig *config);

#endif
