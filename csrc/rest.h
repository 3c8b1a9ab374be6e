/* Rest, where the engine's config allows it: while what a worker runs is silent, and will be until something is set, nobody renders a block until it is over.
 *
 * A worker says so in its seat's words: from block B on, with records up to A applied, generation G puts out nothing but
 * +0. That stays true whatever becomes of the worker, since it follows from the records alone. The callback then takes
 * +0 for a block that no ring has, if the journal says of that block that nothing beyond A changes anything before its
 * end; where nothing is said yet, the callback decides, as a worker would. So a block is silent for all or for none. A
 * block in which a frame lies that a record waits for is never passed over, though no decision has come to that record.
 *
 * Who sends a record wakes the workers, or a clock that rests, which wakes them once it stands at the present. A worker
 * that wakes takes part in decisions as the callback did until the next block was played; from there on as always, and so
 * for the last block that it may render if no request reaches that which comes at this moment: it is due one later at the
 * earliest. So does who joins, or with a lead of two or more is late, while anybody stands for silence. */
#ifndef PE_REST_H
#define PE_REST_H

#include "journal.h"

#define PE_REST_MS 20u /* silent for so long before it is looked whether a worker may rest; the longest sleep while it does */

typedef struct PeQuiet { /* what records (applied, upto] do */
  uint64_t applied, upto;
  uint64_t first_now;   /* the first one that takes effect with the block that takes it; 0 for none */
  int64_t  first_frame; /* of those that wait for a frame */
  uint64_t n_waiting;   /* so many: no more than a schedule holds, or one takes effect at once */
} PeQuiet;

/* Does a worker that has the seat, or had it, stand for the silence of this block? Decides for it if nobody has; the
 * blocks before it are decided. `quiet` keeps what was looked at, one for each seat. [rt] */
PE_RT int pe_rest_covers(PeSegment *s, PeQuiet *quiet, uint32_t seat, uint64_t block, uint64_t *generation);

/* By the worker: it rests from `block` on, and can be n_blocks behind when it is woken; it does no longer. [rt] */
PE_RT void pe_rest_begin(PeSegment *s, uint32_t seat, uint64_t block, uint64_t applied, uint64_t generation, uint32_t n_blocks);
PE_RT void pe_rest_end(PeSegment *s, uint32_t seat);

/* Stands anybody for silence whose seat a slot has, alive or dead? [rt] */
PE_RT int pe_rest_is_said(const PeSegment *s);

/* How many blocks from the due one on a clock may sleep through: all that are alive rest, and nothing is to come. [rt] */
PE_RT uint32_t pe_rest_of_clock(PeSegment *s);

#endif
