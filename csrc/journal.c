/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "journal.h"

#define SEQ_MASK ((1ull << PE_JOURNAL_SEQ_BITS) - 1)

static _Atomic uint64_t *entry_of(PeSegment *s, uint64_t block) {
  return (_Atomic uint64_t *)pe_segment_at(s, s->journal_at) + (block & (s->config.n_journal - 1));
}

/* 0 is "never": laps count from 1. */
static uint64_t tag_of(const PeSegment *s, uint64_t block) { return block / s->config.n_journal + 1; }

PE_RT uint64_t pe_journal_read(PeSegment *s, uint64_t block) {
  const uint64_t e = atomic_load_explicit(entry_of(s, block), memory_order_acquire); /* and the records it covers */
  return e >> PE_JOURNAL_SEQ_BITS == tag_of(s, block) ? (e & SEQ_MASK) : PE_JOURNAL_STALE;
}

/* At most the budget beyond what was applied, cut back to the end of a bundle. */
static uint64_t within_budget(PeSegment *s, uint64_t applied, uint64_t newest) {
  if (newest - applied <= PE_COMMAND_BUDGET) return newest;
  uint64_t cut = applied + PE_COMMAND_BUDGET;
  while (cut > applied && !(pe_stream_record(s, cut)->flags & PE_COMMAND_BUNDLE_END)) cut--; /* a bundle is no larger */
  return cut;
}

/* The longest prefix of whole bundles that changes nothing before end_frame; all, if one further on waits for a frame of
 * this block: it is not passed over. */
static uint64_t what_waits(PeSegment *s, uint64_t applied, uint64_t newest, int64_t end_frame) {
  const int64_t first_frame = end_frame - (int64_t)s->config.block_frames;
  const uint64_t last = newest - applied <= PE_COMMAND_BUDGET ? newest : applied + PE_COMMAND_BUDGET;
  uint64_t upto = applied;
  int is_prefix = 1;
  for (uint64_t seq = applied + 1; seq <= last; seq++) {
    const PeCommand *c = pe_stream_record(s, seq);
    if (c->seq != seq) break;
    if (c->kind == PE_COMMAND_PARAM && c->frame >= first_frame && c->frame < end_frame) return within_budget(s, applied, newest);
    is_prefix &= c->kind == PE_COMMAND_MARK || (c->kind == PE_COMMAND_PARAM && c->frame >= end_frame);
    if (is_prefix && (c->flags & PE_COMMAND_BUNDLE_END)) upto = seq;
  }
  return upto;
}

static uint64_t decide(PeSegment *s, uint64_t block, uint64_t applied, int is_quiet, int64_t end_frame) {
  _Atomic uint64_t *entry = entry_of(s, block);
  const uint64_t tag = tag_of(s, block);
  uint64_t e = atomic_load_explicit(entry, memory_order_acquire); /* and the records a decision covers */
  if (e >> PE_JOURNAL_SEQ_BITS == tag) return e & SEQ_MASK;
  if (e >> PE_JOURNAL_SEQ_BITS > tag) return PE_JOURNAL_STALE;
  uint64_t newest = atomic_load_explicit(&s->newest, memory_order_acquire); /* fresh, and the records up to it */
  if (newest < applied) newest = applied;
  const uint64_t proposal = is_quiet ? what_waits(s, applied, newest, end_frame) : within_budget(s, applied, newest);
  const uint64_t mine = (tag << PE_JOURNAL_SEQ_BITS) | (proposal & SEQ_MASK);
  if (atomic_compare_exchange_strong_explicit(entry, &e, mine, memory_order_acq_rel, /* first: ours stands */
                                              memory_order_acquire))                 /* second: see the records of theirs */
    return proposal;
  return e >> PE_JOURNAL_SEQ_BITS == tag ? (e & SEQ_MASK) : PE_JOURNAL_STALE;
}

PE_RT uint64_t pe_journal_decide(PeSegment *s, uint64_t block, uint64_t applied) { return decide(s, block, applied, 0, 0); }

PE_RT uint64_t pe_journal_decide_quiet(PeSegment *s, uint64_t block, uint64_t applied, int64_t end_frame) {
  return decide(s, block, applied, 1, end_frame);
}
