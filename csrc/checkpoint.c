/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "checkpoint.h"

#include <string.h>

#include "capture.h"
#include "hash.h"

#define N_PLACES (2u * PE_SEATS)

static PeCheckpointHead *head_at(PeSegment *s, uint32_t place) { return pe_segment_at(s, s->checkpoint_at[place / 2][place % 2]); }
static PeCommand *schedule_of(PeCheckpointHead *h) { return (PeCommand *)(void *)(h + 1); }
static unsigned char *states_of(PeCheckpointHead *h) { return (unsigned char *)(schedule_of(h) + PE_SCHEDULE_SIZE); }

/* states, schedule: their hashes. */
static uint64_t checksum_of(const PeCheckpointInfo *info, uint64_t states, uint64_t schedule, uint32_t has_run) {
  const uint64_t sum = states ^ (schedule * 3) ^ (info->generation * 31 + info->block * 7 + info->seq) ^ (uint64_t)has_run << 63;
  return sum ? sum : 1; /* 0 is "none" */
}

static uint64_t hash_of(const PeCommand *schedule, uint32_t n_scheduled) { return pe_hash(schedule, (uint64_t)n_scheduled * sizeof(PeCommand)); }

static uint64_t stamp_of(PeCheckpointHead *h) {
  return atomic_load_explicit(&h->stamp, memory_order_acquire); /* and what was written before it */
}

static PeCheckpointInfo info_of(const PeRun *run, uint64_t block) {
  return (PeCheckpointInfo){.generation = run->generation, .block = block, .seq = run->applied, .state_bytes = run->plan->state_bytes, .plain_bytes = run->plan->plain_bytes};
}

/* Of a memory that was written here before, only what is new: a run of one generation has written the same until then. */
static void write_memories(PeCheckpointHead *h, const PePlan *plan, int is_newer) {
  for (uint32_t i = 0; i < plan->n_memories; i++) {
    const PeMemory *m = &plan->memories[i];
    const uint64_t there = is_newer ? pe_memory_count(m, states_of(h)) : 0;
    pe_memory_copy(m, plan->states, m, states_of(h), there);
  }
}

PE_RT int pe_checkpoint_begin(PeWriting *w, PeSegment *s, uint32_t seat, const PeRun *run, uint64_t block, int is_kept) {
  if (is_kept && (run->plan->state_bytes > s->config.checkpoint_bytes || run->fading)) return 0;
  *w = (PeWriting){.plan = run->plan, .info = info_of(run, block), .schedule_hash = hash_of(run->schedule.heap, run->schedule.n), .has_run = (uint32_t)run->plan->has_run};
  if (!is_kept) {
    pe_plan_capture(run->plan, NULL);
    return 1;
  }
  const uint64_t first = stamp_of(head_at(s, 2 * seat)), second = stamp_of(head_at(s, 2 * seat + 1));
  PeCheckpointHead *h = head_at(s, first <= second ? 2 * seat : 2 * seat + 1); /* the older, or a torn one */
  const int is_newer = stamp_of(h) != 0 && h->info.generation == run->generation && h->info.state_bytes == run->plan->state_bytes;
  atomic_store_explicit(&h->stamp, 0, memory_order_relaxed); /* made visible before the rest by the fence */
  atomic_thread_fence(memory_order_release);
  w->head = h;
  w->stamp = (first > second ? first : second) + 1;
  h->info = w->info;
  write_memories(h, run->plan, is_newer);
  h->n_scheduled = run->schedule.n;
  h->has_run = w->has_run;
  memcpy(schedule_of(h), run->schedule.heap, run->schedule.n * sizeof(PeCommand));
  pe_plan_capture(run->plan, states_of(h));
  return 1;
}

PE_RT uint64_t pe_checkpoint_go_on(PeWriting *w, uint64_t n_pieces) {
  if (!pe_capture_take(&w->plan->capture, n_pieces)) return 0;
  const uint64_t checksum = checksum_of(&w->info, w->plan->capture.hash, w->schedule_hash, w->has_run);
  w->plan = NULL;
  if (w->head == NULL) return checksum;
  w->head->info.checksum = checksum;
  atomic_store_explicit(&w->head->stamp, w->stamp, memory_order_release); /* valid only with all of it */
  return checksum;
}

PE_RT void pe_checkpoint_drop(PeWriting *w) {
  if (w->plan) pe_capture_drop(&w->plan->capture);
  w->plan = NULL;
}

/* The newest of a generation that is not in `tried`: of the latest block, whichever seat wrote it. */
static PeCheckpointHead *newest_of(PeSegment *s, uint64_t generation, uint64_t below, uint64_t last_block, uint32_t tried, uint32_t *place, uint64_t *stamp) {
  PeCheckpointHead *best = NULL;
  uint64_t block = 0;
  for (uint32_t i = 0; i < N_PLACES; i++) {
    PeCheckpointHead *h = head_at(s, i);
    const uint64_t now = stamp_of(h);
    if (now == 0 || (tried >> i & 1u) || h->info.generation != generation || h->info.seq >= below || h->info.block > last_block || (best && h->info.block <= block)) continue;
    best = h;
    block = h->info.block;
    *place = i;
    *stamp = now;
  }
  return best;
}

static PeStatus load(PeCheckpointHead *h, uint64_t stamp, PeRun *run, uint64_t *block) {
  const PeCheckpointInfo info = h->info; /* one look: it may be written anew while it is read */
  const uint32_t n_scheduled = h->n_scheduled, has_run = h->has_run;
  if (has_run > 1) return PE_BAD_CHECKPOINT;
  if (info.state_bytes != run->plan->state_bytes || info.plain_bytes != run->plan->plain_bytes || n_scheduled > PE_SCHEDULE_SIZE) return PE_BAD_CHECKPOINT;
  run->schedule.n = n_scheduled;
  memcpy(run->schedule.heap, schedule_of(h), n_scheduled * sizeof(PeCommand));
  memcpy(run->plan->states, states_of(h), info.state_bytes);
  run->plan->has_run = (int)has_run;
  pe_plan_touched(run->plan);
  run->applied = info.seq;
  *block = info.block;
  atomic_thread_fence(memory_order_acquire); /* the copies end before the stamp is looked at again */
  const int is_sound = checksum_of(&info, pe_capture_hash(run->plan->states, info.plain_bytes), hash_of(run->schedule.heap, n_scheduled), has_run) == info.checksum;
  return is_sound && stamp_of(h) == stamp ? PE_OK : PE_BAD_CHECKPOINT;
}

PeStatus pe_checkpoint_load(PeSegment *s, uint64_t generation, uint64_t below, uint64_t last_block, PeRun *run, uint64_t *block) {
  PeStatus status = PE_NO_CHECKPOINT;
  uint32_t place = 0, tried = 0;
  uint64_t stamp = 0;
  for (uint32_t i = 0; i < N_PLACES; i++) { /* one that was written anew or damaged meanwhile: the next older */
    PeCheckpointHead *h = newest_of(s, generation, below, last_block, tried, &place, &stamp);
    if (h == NULL) return status;
    status = load(h, stamp, run, block);
    if (status == PE_OK) return PE_OK;
    tried |= 1u << place;
  }
  return status;
}

PeStatus pe_checkpoint_latest(const PeSegment *s, uint64_t generation, uint64_t below, uint64_t last_block, PeCheckpointInfo *info) {
  uint32_t place = 0, tried = 0;
  uint64_t stamp = 0;
  for (uint32_t i = 0; i < N_PLACES; i++) {
    PeCheckpointHead *h = newest_of((PeSegment *)(uintptr_t)s, generation, below, last_block, tried, &place, &stamp);
    if (h == NULL) return PE_NO_CHECKPOINT;
    *info = h->info;
    atomic_thread_fence(memory_order_acquire); /* the copy ends before the stamp is looked at again */
    if (stamp_of(h) == stamp) return PE_OK;
    tried |= 1u << place;
  }
  return PE_NO_CHECKPOINT;
}

uint64_t pe_checkpoint_image(const PeSegment *segment, uint64_t generation, void *out, uint64_t size) {
  uint64_t stamp = 0;
  uint32_t place = 0;
  PeCheckpointHead *h = newest_of((PeSegment *)(uintptr_t)segment, generation, PE_KEEP_ALL, PE_KEEP_ALL, 0, &place, &stamp);
  if (h == NULL) return 0;
  const PeCheckpointInfo info = h->info; /* one look: it may be written anew while it is read */
  const uint32_t counts[2] = {h->n_scheduled, h->has_run};
  const uint64_t head_bytes = sizeof info + sizeof counts, schedule_bytes = (uint64_t)counts[0] * sizeof(PeCommand);
  if (counts[0] > PE_SCHEDULE_SIZE || info.state_bytes > segment->config.checkpoint_bytes || info.plain_bytes > info.state_bytes) return 0;
  if (head_bytes + schedule_bytes + info.state_bytes > size) return 0;
  unsigned char *schedule = (unsigned char *)out + head_bytes, *states = schedule + schedule_bytes;
  memcpy(out, &info, sizeof info);
  memcpy((unsigned char *)out + sizeof info, counts, sizeof counts);
  memcpy(schedule, schedule_of(h), (size_t)schedule_bytes);
  memcpy(states, states_of(h), (size_t)info.state_bytes);
  atomic_thread_fence(memory_order_acquire); /* the copies end before the stamp is looked at again */
  const int is_sound = checksum_of(&info, pe_capture_hash(states, info.plain_bytes), hash_of((const PeCommand *)(const void *)schedule, counts[0]), counts[1]) == info.checksum;
  return is_sound && stamp_of(h) == stamp ? head_bytes + schedule_bytes + info.state_bytes : 0;
}
