/* Which commands apply before which block: decided once, obeyed by both slots. */
#ifndef PE_JOURNAL_H
#define PE_JOURNAL_H

#include "segment.h"

#define PE_JOURNAL_SEQ_BITS 40
#define PE_JOURNAL_STALE UINT64_MAX

/* The number up to which commands apply before `block`: the decision that stands, or ours if we are first.
 * `applied` is the decision of block - 1, as obeyed. PE_JOURNAL_STALE when the journal is a lap further. [rt] */
PE_RT uint64_t pe_journal_decide(PeSegment *s, uint64_t block, uint64_t applied);

/* The same for a block that may be silent: of what is new only that which changes nothing before `end_frame`, as long as
 * nothing of it waits for a frame before that. [rt] */
PE_RT uint64_t pe_journal_decide_quiet(PeSegment *s, uint64_t block, uint64_t applied, int64_t end_frame);

/* The standing decision, or PE_JOURNAL_STALE when there is none for exactly this block. [rt] */
PE_RT uint64_t pe_journal_read(PeSegment *s, uint64_t block);

#endif
