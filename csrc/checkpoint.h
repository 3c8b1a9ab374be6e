/* All states of a run, its schedule and its sequence number at one block edge, in shared memory. Each seat has two
 * places; its worker writes the older one, and the word that makes it valid last. */
#ifndef PE_CHECKPOINT_H
#define PE_CHECKPOINT_H

#include "render.h"
#include "segment.h"

typedef struct PeWriting { /* one that is under way, or the hash that it would have */
  PePlan           *plan; /* whose states are captured; NULL: none is under way */
  PeCheckpointHead *head; /* NULL: only the hash */
  PeCheckpointInfo  info;
  uint64_t          stamp, schedule_hash;
  uint32_t          has_run;
} PeWriting;

/* Begin one at the edge before `block`: it holds the run as it is now, whatever is rendered until it is written. Or, not to
 * be kept, its hash alone. The run must not be in a crossfade. 0 when it is to be kept and the plan's states do not fit. [rt] */
PE_RT int pe_checkpoint_begin(PeWriting *w, PeSegment *s, uint32_t seat, const PeRun *run, uint64_t block, int is_kept);

/* Write so many pieces more. Returns its checksum when it is there, with nothing under way any more; until then 0. [rt] */
PE_RT uint64_t pe_checkpoint_go_on(PeWriting *w, uint64_t n_pieces);

/* Give it up: before the run has another plan. [rt] */
PE_RT void pe_checkpoint_drop(PeWriting *w);

/* Load the newest whole one of `generation`, numbered below `below` and of `last_block` at the latest, into the run;
 * *block is where it goes on. [setup] */
PeStatus pe_checkpoint_load(PeSegment *s, uint64_t generation, uint64_t below, uint64_t last_block, PeRun *run, uint64_t *block);

#endif
