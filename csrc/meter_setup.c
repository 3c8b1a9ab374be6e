#include <string.h>

#include "meter.h"

#define FALL_A_S (24.0 / 8.685889638) /* of a peak, as a rate: 24 dB a second */
#define FORGET_A_S 10.0                /* of a power: what is left of it after 0.1 s is 1/e */
#define SILENT 1.0e-6f                 /* -120 dB: below this a node is not listed */

/* e^(-rate) over a block, as (1 - x / 2^16)^(2^16): within 0.1 % up to a block of 8 s. */
static float kept_in_a_block(const PeConfig *c, double rate_a_s) {
  double kept = 1.0 - rate_a_s * c->block_frames / c->sample_rate_hz / 65536.0;
  for (int i = 0; i < 16; i++) kept *= kept;
  return (float)kept;
}

float pe_meter_keep_peak(const PeConfig *c) { return kept_in_a_block(c, FALL_A_S); }

float pe_meter_keep_energy(const PeConfig *c) { return kept_in_a_block(c, FORGET_A_S); }

/* The root by Newton, from above: 40 turns halve any start down to where it converges. */
static float root(float x) {
  float y = x > 1.0f ? x : 1.0f;
  if (x <= 0.0f) return 0.0f;
  for (int i = 0; i < 80; i++) y = 0.5f * (y + x / y);
  return y;
}

void pe_meter_init(PeMeter *m, PeSegment *s, uint32_t seat) {
  *m = (PeMeter){.places = pe_segment_at(s, s->meters_at[seat]),
                 .block_frames = s->config.block_frames,
                 .keep_peak = pe_meter_keep_peak(&s->config),
                 .keep_energy = pe_meter_keep_energy(&s->config)};
}

void pe_meter_watch(PeSegment *s, uint64_t until_block) {
  atomic_store_explicit(&s->watch_until, until_block, memory_order_relaxed); /* a figure, nothing hangs on it */
}

uint64_t pe_meter_watched_until(const PeSegment *s) {
  return atomic_load_explicit(&s->watch_until, memory_order_relaxed); /* a figure, nothing hangs on it */
}

static uint32_t newest_seat(const PeSegment *s) {
  uint32_t seat = 0;
  uint64_t newest = 0;
  for (uint32_t i = 0; i < PE_SEATS; i++) {
    const uint64_t block = atomic_load_explicit(&s->seats[i].metered, memory_order_relaxed); /* a figure: any of them will do */
    if (block > newest) {
      newest = block;
      seat = i;
    }
  }
  return seat;
}

/* The words of an audio node are 0, and those of one that has nothing to show. */
static int is_shown(const PeMeterPlace *p, PeShown *out, uint32_t newest, uint32_t oldest) {
  const uint64_t who = atomic_load_explicit(&p->who, memory_order_acquire); /* and the words stored before it */
  for (uint32_t i = 0; i < 2; i++) out->words[i] = atomic_load_explicit(&p->shown[i], memory_order_relaxed); /* ordered by the fence */
  atomic_thread_fence(memory_order_acquire);
  out->handle = (uint32_t)(who >> 32);
  out->reserved = 0;
  const int is_whole = who != 0 && atomic_load_explicit(&p->who, memory_order_relaxed) == who; /* ordered by the fence */
  const uint32_t block = (uint32_t)who;
  return is_whole && (out->words[0] | out->words[1]) && (int32_t)(block - oldest) >= 0 && (int32_t)(block - newest) <= 0;
}

static int read_place(const PeMeterPlace *p, uint64_t *who, uint64_t *level) {
  *who = atomic_load_explicit(&p->who, memory_order_acquire); /* and the level stored before it */
  *level = atomic_load_explicit(&p->level, memory_order_relaxed); /* ordered by the fence */
  atomic_thread_fence(memory_order_acquire);
  return *who != 0 && atomic_load_explicit(&p->who, memory_order_relaxed) == *who; /* ordered by the fence */
}

/* Both fall on while a node is not rendered: nobody hears it, or it is at rest. */
static PeLevel level_now(uint64_t who, uint64_t level, uint32_t block, float keep_peak, float keep_energy) {
  const uint32_t since = (int32_t)(block - (uint32_t)who) > 0 ? block - (uint32_t)who : 0; /* blocks are rendered ahead */
  const uint32_t high = (uint32_t)(level >> 32), low = (uint32_t)level;
  PeLevel out = {.handle = (uint32_t)(who >> 32)};
  float energy;
  memcpy(&out.peak, &high, sizeof out.peak);
  memcpy(&energy, &low, sizeof energy);
  out.peak *= pe_meter_kept(keep_peak, since);
  out.rms = root(energy * pe_meter_kept(keep_energy, since));
  return out;
}

uint32_t pe_meter_levels(const PeSegment *s, PeLevel *levels, uint32_t capacity) {
  const PeMeterPlace *places = pe_segment_at_const(s, s->meters_at[newest_seat(s)]);
  const float keep_peak = pe_meter_keep_peak(&s->config), keep_energy = pe_meter_keep_energy(&s->config);
  const uint32_t block = (uint32_t)pe_gate_play_block(s);
  uint32_t n = 0;
  for (uint32_t i = 0; i < PE_METERS && n < capacity; i++) {
    uint64_t who, level;
    if (!read_place(&places[i], &who, &level)) continue;
    levels[n] = level_now(who, level, block, keep_peak, keep_energy);
    n += levels[n].peak > SILENT;
  }
  return n;
}

uint32_t pe_meter_shown(const PeSegment *s, PeShown *shown, uint32_t capacity) {
  const uint32_t seat = newest_seat(s);
  const PeMeterPlace *places = pe_segment_at_const(s, s->meters_at[seat]);
  const uint32_t newest = (uint32_t)atomic_load_explicit(&s->seats[seat].metered, memory_order_relaxed); /* a figure, as above */
  const uint32_t age = (uint32_t)(0.5 * s->config.sample_rate_hz / s->config.block_frames) + PE_METERS / 64; /* a node's turn comes each 64 blocks at the most */
  uint32_t n = 0;
  for (uint32_t i = 0; i < PE_METERS && n < capacity; i++) n += (uint32_t)is_shown(&places[i], &shown[n], newest, newest - age);
  return n;
}

uint64_t pe_view_tail(const PeSegment *s, uint32_t n_frames, float *interleaved) {
  const float *view = pe_segment_at_const(s, s->view_at);
  const size_t n_channels = s->config.n_channels;
  const uint64_t end = atomic_load_explicit(&s->view_end, memory_order_acquire); /* see the frames that are counted */
  uint32_t n = n_frames < PE_VIEW_FRAMES / 2 ? n_frames : PE_VIEW_FRAMES / 2; /* the callback needs 0.1 s to come round */
  if (end < n) n = (uint32_t)end;
  const uint32_t n_zeros = n_frames - n;
  memset(interleaved, 0, n_zeros * n_channels * sizeof(float));
  for (uint32_t i = 0; i < n;) {
    const uint32_t at = (uint32_t)(end - n + i) & (PE_VIEW_FRAMES - 1), left = PE_VIEW_FRAMES - at, part = n - i < left ? n - i : left;
    memcpy(interleaved + (n_zeros + i) * n_channels, view + at * n_channels, part * n_channels * sizeof(float));
    i += part;
  }
  return end;
}

void pe_view_level(const PeSegment *s, uint32_t n_frames, uint32_t channel, float *peak, float *rms) {
  const float *view = pe_segment_at_const(s, s->view_at);
  const uint64_t end = atomic_load_explicit(&s->view_end, memory_order_acquire); /* see the frames that are counted */
  uint32_t n = n_frames < PE_VIEW_FRAMES / 2 ? n_frames : PE_VIEW_FRAMES / 2;
  float most = 0.0f, sum = 0.0f;
  if (end < n) n = (uint32_t)end;
  for (uint32_t i = 0; i < n; i++) {
    const float x = view[(size_t)((end - n + i) & (PE_VIEW_FRAMES - 1)) * s->config.n_channels + channel % s->config.n_channels];
    const float a = x < 0.0f ? -x : x;
    most = a > most ? a : most;
    sum += x * x;
  }
  *peak = most;
  *rms = n > 0 ? root(sum / (float)n) : 0.0f;
}
