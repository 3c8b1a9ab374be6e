/* Rest: while what a worker runs is silent, and will be until something is set, nobody renders a block until it is over.
 *
 * A worker says so in its seat's words: from block B on, with records up to A applied, generation G puts out nothing but
 * +0. That stays true whatever becomes of the worker, since it follows from the records alone. The callback then takes
 * +0 for a block that no ring has, if the journal says of that block that nothing beyond A changes anything before its
 * end; where nothing is said yet, the callback decides, as a worker would. So a block is silent for all or for none.
 *
 * Who sends a record wakes the workers, or a clock that rests, which wakes them once it stands at the present. A worker
 * that wakes takes part in decisions as the callback did until the next block was played; from there on as always. */
#ifndef PE_REST_H
#define PE_REST_H

#include "journal.h"

#define PE_REST_MS 20u /* silent for so long before it is looked whether a worker may rest; the longest sleep while it does */

typedef struct PeQuiet { /* records (applied, upto] were looked at: none of them changes anything before first_frame */
  uint64_t applied, upto;
  int64_t  first_frame;
} PeQuiet;

/* Does a worker that has the seat, or had it, stand for the silence of this block? Decides for it if nobody has; the
 * blocks before it are decided. `quiet` keeps what was looked at, one for each seat. [rt] */
PE_RT int pe_rest_covers(PeSegment *s, PeQuiet *quiet, uint32_t seat, uint64_t block, uint64_t *generation);

/* By the worker: it rests from `block` on, and can be n_blocks behind when it is woken; it does no longer. [rt] */
PE_RT void pe_rest_begin(PeSegment *s, uint32_t seat, uint64_t block, uint64_t applied, uint64_t generation, uint32_t n_blocks);
PE_RT void pe_rest_end(PeSegment *s, uint32_t seat);

/* How many blocks from the due one on a clock may sleep through: all that are alive rest, and nothing is to come. [rt] */
PE_RT uint32_t pe_rest_of_clock(PeSegment *s);

/* Wake whoever rests, after something was stored that ends it. [rt] */
PE_RT void pe_rest_wake(PeSegment *s);

/* Does a slot that is alive rest? [rt] */
PE_RT static inline int pe_slot_rests(const PeSegment *s, uint32_t slot) {
  const uint64_t from = atomic_load_explicit(&s->seats[pe_seat_of(s, slot)].rests_from, memory_order_acquire); /* and the words with it */
  return from != 0 && atomic_load_explicit(&s->slots[slot].alive, memory_order_acquire) != 0; /* a flag, nothing else */
}

#endif
