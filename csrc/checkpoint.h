/* All states of a run, its schedule and its sequence number at one block edge, in shared memory. */
#ifndef PE_CHECKPOINT_H
#define PE_CHECKPOINT_H

#include "render.h"
#include "segment.h"

/* Write one at the edge before `block`. The run must not be in a crossfade. One writer at a time: the supervisor
 * asks one slot. 0 when the plan's states do not fit. [rt] */
PE_RT int pe_checkpoint_write(PeSegment *s, const PeRun *run, uint64_t block);

/* Load the newest one of the run's generation into it; *block is where it goes on. [setup] */
PeStatus pe_checkpoint_load(PeSegment *s, PeRun *run, uint64_t *block);

#endif
