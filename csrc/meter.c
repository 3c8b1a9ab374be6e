/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "meter.h"

#include <string.h>

#define LANES 16u
#define NODES_A_BLOCK 256u /* about so many are measured in one block: a bound on what watching costs */

/* The worker that is heard measures only what no other one renders. */
static int is_ours(PeSegment *s, uint32_t seat, uint64_t generation) {
  const uint32_t active = atomic_load_explicit(&s->active_slot, memory_order_relaxed) % PE_SLOTS; /* a hint: who measures is not heard */
  const uint32_t standby = 1u - active;
  const int is_active = pe_seat_of(s, active) == seat;
  const uint32_t other = pe_seat_of(s, is_active ? standby : active);
  const int runs_the_same = atomic_load_explicit(&s->seats[other].generation, memory_order_relaxed) == generation; /* a hint, as above */
  const int is_there = atomic_load_explicit(&s->slots[standby].alive, memory_order_relaxed) != 0;                 /* a hint, as above */
  return is_active ? !(is_there && runs_the_same) : runs_the_same;
}

PE_RT float pe_meter_kept(float keep, uint32_t n_blocks) {
  float kept = 1.0f;
  for (uint32_t n = n_blocks; n > 0; n >>= 1) { /* 32 turns at most */
    if (n & 1u) kept *= keep;
    keep *= keep;
  }
  return kept;
}

PE_RT PeMeter *pe_meter_begin(PeMeter *m, PeSegment *s, uint32_t seat, uint64_t generation, uint64_t block, uint32_t n_nodes) {
  if (block >= atomic_load_explicit(&s->watch_until, memory_order_relaxed)) return NULL; /* a figure, nothing hangs on it */
  if (!is_ours(s, seat, generation)) return NULL;
  uint32_t turns = 1;
  while (turns * NODES_A_BLOCK < n_nodes) turns *= 2; /* 6 times at most: PE_MAX_NODES */
  m->mask = turns - 1;
  m->block = (uint32_t)block;
  m->share = 1.0f - pe_meter_kept(m->keep_energy, turns);
  atomic_store_explicit(&s->seats[seat].metered, block + 1, memory_order_relaxed); /* a figure: whose levels are the newest */
  pe_counter_add(&s->seats[seat].counters[PE_SLOT_COUNT_METERED], 1);
  return m;
}

PE_RT void pe_meter_lanes(const float *x, uint32_t n_frames, float *peaks, float *squares) {
  float peak[LANES] = {0}, square[LANES] = {0};
  for (uint32_t f = 0; f < n_frames; f++)
    for (uint32_t l = 0; l < LANES; l++) {
      const float v = x[(size_t)f * LANES + l], a = v < 0.0f ? -v : v;
      peak[l] = a > peak[l] ? a : peak[l];
      square[l] += v * v;
    }
  memcpy(peaks, peak, sizeof peak);
  memcpy(squares, square, sizeof square);
}

PE_RT void pe_meter_mono(PeMeter *m, uint32_t place, uint32_t handle, const float *x, uint32_t n_frames) {
  float peaks[LANES], squares[LANES], peak = 0.0f, sum = 0.0f;
  const uint32_t whole = n_frames / LANES;
  pe_meter_lanes(x, whole, peaks, squares);
  for (uint32_t l = 0; l < LANES; l++) {
    peak = peaks[l] > peak ? peaks[l] : peak;
    sum += squares[l];
  }
  for (uint32_t f = whole * LANES; f < n_frames; f++) {
    const float a = x[f] < 0.0f ? -x[f] : x[f];
    peak = a > peak ? a : peak;
    sum += x[f] * x[f];
  }
  pe_meter_put(m, place, handle, peak, sum);
}

static uint64_t pack(float high, float low) {
  uint32_t h, l;
  memcpy(&h, &high, sizeof h);
  memcpy(&l, &low, sizeof l);
  return (uint64_t)h << 32 | l;
}

/* A node may be measured in parts, and its outputs one after the other: the first of a block lets the level fall. */
PE_RT void pe_meter_put(PeMeter *m, uint32_t place, uint32_t handle, float peak, float squares) {
  if (place >= PE_METERS) return;
  PeMeterPlace *p = &m->places[place];
  const uint64_t who = atomic_load_explicit(&p->who, memory_order_relaxed), level = atomic_load_explicit(&p->level, memory_order_relaxed); /* our own words */
  float old_peak = 0.0f, energy = 0.0f;
  if ((uint32_t)(who >> 32) == handle) {
    const uint32_t since = m->block - (uint32_t)who, high = (uint32_t)(level >> 32), low = (uint32_t)level;
    memcpy(&old_peak, &high, sizeof old_peak);
    memcpy(&energy, &low, sizeof energy);
    old_peak *= pe_meter_kept(m->keep_peak, since);
    energy *= pe_meter_kept(m->keep_energy, since);
  }
  energy += m->share * squares / (float)m->block_frames;
  if (!(energy < 1.0e30f)) energy = 1.0e30f; /* a NaN or an infinity is not kept for ever */
  if (!(peak < 1.0e15f)) peak = 1.0e15f;
  peak = peak > old_peak ? peak : old_peak;
  atomic_store_explicit(&p->who, 0, memory_order_relaxed); /* nobody's while it is written: ordered by the fence */
  atomic_thread_fence(memory_order_release);
  for (uint32_t i = 0; i < 2 && (uint32_t)(who >> 32) != handle; i++) atomic_store_explicit(&p->shown[i], 0, memory_order_relaxed); /* another node's; ordered by the last store */
  atomic_store_explicit(&p->level, pack(peak, energy), memory_order_relaxed); /* ordered by the store below */
  atomic_store_explicit(&p->who, (uint64_t)handle << 32 | m->block, memory_order_release); /* the level is there before it has a name */
}

PE_RT void pe_meter_show(PeMeter *m, uint32_t place, uint32_t handle, const uint64_t shown[2]) {
  if (place >= PE_METERS) return;
  PeMeterPlace *p = &m->places[place];
  atomic_store_explicit(&p->who, 0, memory_order_relaxed); /* nobody's while it is written: ordered by the fence */
  atomic_thread_fence(memory_order_release);
  atomic_store_explicit(&p->level, 0, memory_order_relaxed); /* ordered by the store below, as the next two are */
  for (uint32_t i = 0; i < 2; i++) atomic_store_explicit(&p->shown[i], shown[i], memory_order_relaxed); /* as above */
  atomic_store_explicit(&p->who, (uint64_t)handle << 32 | m->block, memory_order_release); /* what it shows is there before it has a name */
}

PE_RT void pe_view_put(PeSegment *s, const float *interleaved, uint32_t n_frames) {
  const uint64_t play = atomic_load_explicit(&s->play_block, memory_order_relaxed); /* own word: the callback's */
  if (play >= atomic_load_explicit(&s->watch_until, memory_order_relaxed)) return;  /* a figure, nothing hangs on it */
  const uint64_t end = atomic_load_explicit(&s->view_end, memory_order_relaxed);    /* own word */
  const size_t n_channels = s->config.n_channels;
  float *view = pe_segment_at(s, s->view_at);
  for (uint32_t i = n_frames > PE_VIEW_FRAMES ? n_frames - PE_VIEW_FRAMES : 0; i < n_frames;) { /* twice at most */
    const uint32_t at = (uint32_t)(end + i) & (PE_VIEW_FRAMES - 1), left = PE_VIEW_FRAMES - at;
    const uint32_t n = n_frames - i < left ? n_frames - i : left;
    memcpy(view + at * n_channels, interleaved + i * n_channels, n * n_channels * sizeof(float));
    i += n;
  }
  atomic_store_explicit(&s->view_end, end + n_frames, memory_order_release); /* the frames are there before they are counted */
}
