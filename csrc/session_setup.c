/* What a session log reads out of the shared segment, in bulk: decisions of the journal and records of the stream. */
#include "journal.h"

/* As in journal.c: the lap of a block and, below it, the number up to which commands apply. */
static uint64_t lap_of(const PeSegment *s, uint64_t block) { return block / s->config.n_journal + 1; }

PeStatus pe_journal_changes(const PeSegment *s, uint64_t *block, uint64_t end, uint64_t *seq, uint64_t *pairs, uint32_t capacity,
                            uint32_t *n) {
  *n = 0;
  for (; *block < end && *n < capacity; (*block)++) {
    const uint64_t entry = pe_journal_entry(s, *block), lap = entry >> PE_JOURNAL_SEQ_BITS;
    if (lap > lap_of(s, *block)) return PE_STALE;
    if (lap < lap_of(s, *block)) break; /* not decided yet */
    const uint64_t now = entry & ((1ull << PE_JOURNAL_SEQ_BITS) - 1);
    if (now == *seq) continue;
    pairs[2 * (size_t)*n] = *block;
    pairs[2 * (size_t)*n + 1] = now;
    *seq = now;
    (*n)++;
  }
  return PE_OK;
}

uint32_t pe_stream_copy(const PeSegment *s, uint64_t first_seq, PeCommand *records, uint32_t capacity) {
  const uint64_t newest = pe_stream_newest(s);
  uint32_t n = 0;
  if (first_seq == 0 || newest >= first_seq + s->config.n_commands) return 0;
  for (; n < capacity && first_seq + n <= newest; n++) records[n] = *pe_stream_record((PeSegment *)(uintptr_t)s, first_seq + n);
  return n;
}
