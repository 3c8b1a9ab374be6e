/* All states of a run, its schedule and its sequence number at one block edge, in shared memory. Each seat has two
 * places; its worker writes the older one, and the word that makes it valid last. */
#ifndef PE_CHECKPOINT_H
#define PE_CHECKPOINT_H

#include "render.h"
#include "segment.h"

/* The checksum that a checkpoint of the run at the edge before `block` has. [rt] */
PE_RT uint64_t pe_checkpoint_hash(const PeRun *run, uint64_t block);

/* Write one at the edge before `block`. The run must not be in a crossfade. Returns its checksum, 0 when the plan's
 * states do not fit. [rt] */
PE_RT uint64_t pe_checkpoint_write(PeSegment *s, uint32_t seat, const PeRun *run, uint64_t block);

/* Load the newest whole one of `generation`, numbered below `below` and of `last_block` at the latest, into the run;
 * *block is where it goes on. [setup] */
PeStatus pe_checkpoint_load(PeSegment *s, uint64_t generation, uint64_t below, uint64_t last_block, PeRun *run, uint64_t *block);

#endif
