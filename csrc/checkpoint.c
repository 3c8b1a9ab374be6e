/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "checkpoint.h"

#include <string.h>

static PeCheckpointHead *head_at(PeSegment *s, uint32_t i) { return pe_segment_at(s, s->checkpoint_at[i]); }
static PeCommand *schedule_of(PeCheckpointHead *h) { return (PeCommand *)(void *)(h + 1); }
static unsigned char *states_of(PeCheckpointHead *h) { return (unsigned char *)(schedule_of(h) + PE_SCHEDULE_SIZE); }

/* Four interleaved 64-bit lanes of multiply and rotate: fast, and sees every torn word. */
static uint64_t checksum(const unsigned char *bytes, uint64_t n) {
  uint64_t lane[4] = {0x9e3779b97f4a7c15ull, 0xbf58476d1ce4e5b9ull, 0x94d049bb133111ebull, n};
  uint64_t at = 0;
  for (; at + 32 <= n; at += 32)
    for (uint32_t i = 0; i < 4; i++) {
      uint64_t word;
      memcpy(&word, bytes + at + 8 * i, 8);
      lane[i] = (lane[i] ^ word) * 0x9fb21c651e98df25ull;
      lane[i] = (lane[i] << 29) | (lane[i] >> 35);
    }
  for (; at < n; at++) lane[at & 3] = (lane[at & 3] ^ bytes[at]) * 0x100000001b3ull;
  uint64_t sum = lane[0] ^ (lane[1] * 3) ^ (lane[2] * 5) ^ (lane[3] * 7);
  sum ^= sum >> 32;
  return sum;
}

static uint64_t checksum_of(const PeCheckpointInfo *info, const unsigned char *states, const PeCommand *schedule, uint32_t n_scheduled) {
  return checksum(states, info->state_bytes) ^ checksum((const unsigned char *)schedule, (uint64_t)n_scheduled * sizeof(PeCommand)) ^
         (info->generation * 31 + info->block * 7 + info->seq);
}

static uint64_t stamp_of(PeCheckpointHead *h) {
  return atomic_load_explicit(&h->stamp, memory_order_acquire); /* and what was written before it */
}

PE_RT int pe_checkpoint_write(PeSegment *s, const PeRun *run, uint64_t block) {
  if (run->plan->state_bytes > s->config.checkpoint_bytes || run->fading) return 0;
  PeCheckpointHead *h = stamp_of(head_at(s, 0)) <= stamp_of(head_at(s, 1)) ? head_at(s, 0) : head_at(s, 1); /* the older */
  const uint64_t stamp = atomic_load_explicit(&s->checkpoint_stamp, memory_order_acquire) + 1; /* the writer before us may be another process */
  atomic_store_explicit(&h->stamp, 0, memory_order_relaxed); /* made visible before the rest by the fence */
  atomic_thread_fence(memory_order_release);
  h->info = (PeCheckpointInfo){.generation = run->generation, .block = block, .seq = run->applied, .state_bytes = run->plan->state_bytes};
  h->n_scheduled = run->schedule.n;
  memcpy(schedule_of(h), run->schedule.heap, run->schedule.n * sizeof(PeCommand));
  memcpy(states_of(h), run->plan->states, run->plan->state_bytes);
  h->info.checksum = checksum_of(&h->info, states_of(h), schedule_of(h), h->n_scheduled);
  atomic_store_explicit(&s->checkpoint_stamp, stamp, memory_order_release); /* the next writer takes a higher one */
  atomic_store_explicit(&h->stamp, stamp, memory_order_release);            /* valid only with all of it */
  return 1;
}

static PeCheckpointHead *newest_of(PeSegment *s, uint64_t generation, uint64_t *stamp) {
  PeCheckpointHead *best = NULL;
  *stamp = 0;
  for (uint32_t i = 0; i < 2; i++) {
    PeCheckpointHead *h = head_at(s, i);
    const uint64_t now = stamp_of(h);
    if (now > *stamp && h->info.generation == generation) {
      best = h;
      *stamp = now;
    }
  }
  return best;
}

PeStatus pe_checkpoint_load(PeSegment *s, PeRun *run, uint64_t *block) {
  uint64_t stamp;
  PeCheckpointHead *h = newest_of(s, run->generation, &stamp);
  if (h == NULL) return PE_NO_CHECKPOINT;
  const PeCheckpointInfo info = h->info; /* one look: it may be written anew while it is read */
  const uint32_t n_scheduled = h->n_scheduled;
  if (info.state_bytes != run->plan->state_bytes || n_scheduled > PE_SCHEDULE_SIZE) return PE_BAD_CHECKPOINT;
  run->schedule.n = n_scheduled;
  memcpy(run->schedule.heap, schedule_of(h), n_scheduled * sizeof(PeCommand));
  memcpy(run->plan->states, states_of(h), info.state_bytes);
  run->plan->has_run = 1;
  run->applied = info.seq;
  *block = info.block;
  atomic_thread_fence(memory_order_acquire); /* the copies end before the stamp is looked at again */
  const int is_sound = checksum_of(&info, run->plan->states, run->schedule.heap, n_scheduled) == info.checksum;
  return is_sound && stamp_of(h) == stamp ? PE_OK : PE_BAD_CHECKPOINT;
}

PeStatus pe_checkpoint_latest(const PeSegment *s, uint64_t generation, PeCheckpointInfo *info) {
  uint64_t stamp;
  PeCheckpointHead *h = newest_of((PeSegment *)(uintptr_t)s, generation, &stamp);
  if (h == NULL) return PE_NO_CHECKPOINT;
  *info = h->info;
  atomic_thread_fence(memory_order_acquire); /* the copy ends before the stamp is looked at again */
  return stamp_of(h) == stamp ? PE_OK : PE_BUSY;
}

uint64_t pe_checkpoint_image(const PeSegment *segment, uint64_t generation, void *out, uint64_t size) {
  uint64_t stamp;
  PeCheckpointHead *h = newest_of((PeSegment *)(uintptr_t)segment, generation, &stamp);
  if (h == NULL) return 0;
  const PeCheckpointInfo info = h->info; /* one look: it may be written anew while it is read */
  const uint32_t counts[2] = {h->n_scheduled, 0};
  const uint64_t head_bytes = sizeof info + sizeof counts, schedule_bytes = (uint64_t)counts[0] * sizeof(PeCommand);
  if (counts[0] > PE_SCHEDULE_SIZE || info.state_bytes > segment->config.checkpoint_bytes) return 0;
  if (head_bytes + schedule_bytes + info.state_bytes > size) return 0;
  unsigned char *schedule = (unsigned char *)out + head_bytes, *states = schedule + schedule_bytes;
  memcpy(out, &info, sizeof info);
  memcpy((unsigned char *)out + sizeof info, counts, sizeof counts);
  memcpy(schedule, schedule_of(h), (size_t)schedule_bytes);
  memcpy(states, states_of(h), (size_t)info.state_bytes);
  atomic_thread_fence(memory_order_acquire); /* the copies end before the stamp is looked at again */
  const int is_sound = checksum_of(&info, states, (const PeCommand *)(const void *)schedule, counts[0]) == info.checksum;
  return is_sound && stamp_of(h) == stamp ? head_bytes + schedule_bytes + info.state_bytes : 0;
}
