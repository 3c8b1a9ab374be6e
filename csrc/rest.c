/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "rest.h"

typedef struct Words {
  uint64_t from, applied, generation; /* from: block + 1 */
  uint32_t n_blocks;
} Words;

/* Written with `from` 0, so that a reader who finds it the same before and after has read what belongs together. */
static int words_of(const PeSegment *s, uint32_t seat, Words *words) {
  const PeSeatShared *at = &s->seats[seat];
  words->from = atomic_load_explicit(&at->rests_from, memory_order_acquire); /* and the words stored before it */
  words->applied = atomic_load_explicit(&at->rests_applied, memory_order_relaxed);       /* between the two looks */
  words->generation = atomic_load_explicit(&at->rests_generation, memory_order_relaxed); /* between the two looks */
  words->n_blocks = atomic_load_explicit(&at->rest_blocks, memory_order_relaxed);        /* between the two looks */
  atomic_thread_fence(memory_order_acquire);
  return words->from != 0 && atomic_load_explicit(&at->rests_from, memory_order_relaxed) == words->from; /* ordered by the fence */
}

PE_RT void pe_rest_begin(PeSegment *s, uint32_t seat, uint64_t block, uint64_t applied, uint64_t generation, uint32_t n_blocks) {
  PeSeatShared *at = &s->seats[seat];
  atomic_store_explicit(&at->rests_from, 0, memory_order_relaxed); /* before the words, by the fence */
  atomic_thread_fence(memory_order_release);
  atomic_store_explicit(&at->rests_applied, applied, memory_order_relaxed);       /* ordered by rests_from */
  atomic_store_explicit(&at->rests_generation, generation, memory_order_relaxed); /* ordered by rests_from */
  atomic_store_explicit(&at->rest_blocks, n_blocks, memory_order_relaxed);        /* ordered by rests_from */
  atomic_store_explicit(&at->rests_from, block + 1, memory_order_release);        /* after the words */
}

PE_RT void pe_rest_end(PeSegment *s, uint32_t seat) {
  atomic_store_explicit(&s->seats[seat].rests_from, 0, memory_order_release); /* what it renders instead is there */
}

/* Look at the records that were not looked at yet, as far as a decision may come that follows on `before`. What waits for a
 * frame before `start` is late: it is taken when somebody renders. 0: there are too many, or they are gone. */
static int look_at(PeSegment *s, PeQuiet *q, uint64_t applied, uint64_t before, uint64_t newest, int64_t start) {
  if (newest > before + PE_COMMAND_BUDGET) newest = before + PE_COMMAND_BUDGET;
  if (q->applied != applied || q->upto > newest) *q = (PeQuiet){.applied = applied, .upto = applied};
  if (q->upto == applied) q->first_frame = INT64_MAX; /* at the start too, when all is 0 */
  if (newest - q->upto > 2 * PE_COMMAND_BUDGET) return 0; /* nobody wakes */
  for (; q->upto < newest; q->upto++) {
    const PeCommand *c = pe_stream_record(s, q->upto + 1);
    if (c->seq != q->upto + 1) return 0;
    if (c->kind == PE_COMMAND_MARK) continue;
    if (c->kind == PE_COMMAND_PARAM && c->frame >= start) {
      q->first_frame = c->frame < q->first_frame ? c->frame : q->first_frame;
      q->n_waiting++;
    } else if (q->first_now == 0) {
      q->first_now = c->seq;
    }
  }
  return 1;
}

/* Does any of them change the block? `upto`: what it takes. */
static int is_quiet(const PeQuiet *q, uint64_t upto, int64_t end) {
  return q->first_frame >= end && q->n_waiting <= PE_SCHEDULE_SIZE && (q->first_now == 0 || q->first_now > upto);
}

PE_RT int pe_rest_covers(PeSegment *s, PeQuiet *quiet, uint32_t seat, uint64_t block, uint64_t *generation) {
  Words words;
  if (!words_of(s, seat, &words) || block + 1 < words.from || block == 0) return 0;
  const int64_t start = (int64_t)(block * s->config.block_frames), end = start + (int64_t)s->config.block_frames;
  const uint64_t newest = atomic_load_explicit(&s->newest, memory_order_acquire); /* and the records up to it */
  const uint64_t before = pe_journal_read(s, block - 1);
  if (before == PE_JOURNAL_STALE || before < words.applied || newest < before) return 0;
  if (!look_at(s, quiet, words.applied, before, newest, start) || !is_quiet(quiet, before, end)) return 0;
  const uint64_t upto = pe_journal_decide_quiet(s, block, before, end);
  if (upto == PE_JOURNAL_STALE || upto < before || (upto > quiet->upto && !look_at(s, quiet, words.applied, before, upto, start))) return 0;
  *generation = words.generation;
  return is_quiet(quiet, upto, end);
}

PE_RT int pe_rest_is_said(const PeSegment *s) {
  for (uint32_t i = 0; i < PE_SLOTS; i++)
    if (atomic_load_explicit(&s->seats[pe_seat_of(s, i)].rests_from, memory_order_acquire) != 0) return 1; /* a look, nothing else */
  return 0;
}

static int is_to_swap(const PeSegment *s) {
  return atomic_load_explicit(&s->pending_switch, memory_order_acquire) != 0 && /* a number, nothing else */
         atomic_load_explicit(&s->opening, memory_order_acquire) != atomic_load_explicit(&s->swapped_opening, memory_order_relaxed); /* numbers, nothing else */
}

PE_RT uint32_t pe_rest_of_clock(PeSegment *s) {
  const uint64_t play = atomic_load_explicit(&s->play_block, memory_order_relaxed); /* own word: the clock is the callback */
  uint32_t most = 0, n_alive = 0;
  if (is_to_swap(s) || atomic_load_explicit(&s->watch_until, memory_order_acquire) > play) return 0; /* a figure */
  for (uint32_t i = 0; i < PE_SLOTS; i++) {
    Words words;
    if (atomic_load_explicit(&s->slots[i].alive, memory_order_acquire) == 0) continue; /* a flag, nothing else */
    if (!words_of(s, pe_seat_of(s, i), &words) || words.from > play + 1 || !pe_slot_plays(s, i, words.generation)) return 0;
    if (words.applied != atomic_load_explicit(&s->newest, memory_order_acquire)) return 0; /* a number, nothing else */
    if (n_alive++ == 0 || words.n_blocks < most) most = words.n_blocks;
  }
  return most;
}
