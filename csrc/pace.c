/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "pace.h"

#define SHORTEST_LOOK_NS 50000u /* a look costs a few us */

PE_RT void pe_pace_init(PePace *p, double sample_rate_hz, uint32_t block_frames, uint32_t lead_blocks) {
  *p = (PePace){.frame_ns = 1.0e9 / sample_rate_hz, .block_frames = block_frames, .lead_blocks = lead_blocks};
}

static uint32_t size_of(const PeRequests *r) { return r->steady ? r->steady : r->largest; }

static uint64_t ns_of(const PePace *p, uint32_t frames) { return (uint64_t)(p->frame_ns * frames); }

/* Greatest common divisor: Euclid, some 40 steps at most. */
static uint32_t divisor(uint32_t a, uint32_t b) {
  while (b != 0) {
    const uint32_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

/* Requests come at multiples R of their size r, blocks of B begin at multiples of g, the divisor of both. Block b is due with the
 * last request at or before b B: after b B - r + g, or at it. With a lead of L, it is freed by the one that reads the last frame
 * before (b - L + 1) B: (b - L + 1) B - g or earlier. Between two requests lies a multiple of r. */
PE_RT uint32_t pe_pace_slack(const PePace *p, const PeRequests *r) {
  const uint32_t size = size_of(r), step = r->steady ? divisor(size, p->block_frames) : 1;
  const uint64_t ahead = (uint64_t)(r->lead - 1) * p->block_frames + 2u * (uint64_t)step;
  if (ahead <= size) return 0; /* the lead is not large enough for such requests yet */
  const uint64_t least = ahead - size;
  const uint64_t whole = r->steady ? (least + size - 1) / size * size : least;
  return whole < UINT32_MAX ? (uint32_t)whole : UINT32_MAX;
}

/* Nothing waits for longer than until the next block is freed. */
static uint64_t period_ns(const PePace *p, const PeRequests *r) {
  const uint32_t size = size_of(r);
  if (size == 0) return ns_of(p, p->block_frames);
  return ns_of(p, size < p->block_frames ? p->block_frames / size * size : size);
}

/* A quarter of the slack with a lead of one block, seven sixteenths with more: of the two blocks' time that there is with a lead of
 * two, more than one is left. What rendering takes is left twice, in the time that is to be had. */
static uint64_t late_ns(const PePace *p, const PeRequests *r, uint64_t took_ns) {
  const uint64_t slack = ns_of(p, pe_pace_slack(p, r)), period = period_ns(p, r), block = ns_of(p, p->block_frames);
  const uint64_t share = p->lead_blocks > 1 ? slack / 16 * 7 : slack / 4, most = period / 8 * 7;
  const uint64_t left = block > 2 * took_ns ? block - 2 * took_ns : 0, soonest = pe_pace_look_ns(p, r) / 2;
  const uint64_t late = (uint64_t)((double)(share < most ? share : most) * (double)left / (double)block);
  return late > soonest ? late : soonest;
}

/* How much later than the line a request does not come but by a fault: where sizes do not divide each other, some come up to
 * one size later than the frames of the block are due. */
static uint64_t far_ns(const PePace *p, const PeRequests *r) {
  const uint64_t size = size_of(r);
  const int is_even = size == 0 || size % p->block_frames == 0 || p->block_frames % size == 0;
  return (uint64_t)(p->frame_ns * (double)size) / 4 * (is_even ? 3 : 7);
}

/* One that came late does not put the next block off: jitter, or the machine stood still and what was left out follows at once. If it
 * does not follow, the device has left it out. */
static void see(PePace *p, const PeRequests *r) {
  if (r->played == p->played) return;
  const uint64_t block = ns_of(p, p->block_frames), n = r->played - p->played;
  const uint64_t due = p->line_ns + n * (block + block / 64); /* it follows a clock that drifts */
  const uint64_t lag = r->freed_ns > due ? r->freed_ns - due : 0, far = far_ns(p, r);
  const int is_left_out = p->lag_ns > far && lag + far / 2 > p->lag_ns, is_late = lag > 0 && !is_left_out && p->line_ns > 0 && r->steady;
  p->played = r->played;
  p->line_ns = is_late ? due : r->freed_ns;
  p->lag_ns = is_late ? lag : 0;
}

/* Those before the newest, a block's time earlier each: what was freed before, or at once with it, does not wait with it. */
PE_RT uint64_t pe_pace_begin_ns(PePace *p, const PeRequests *r, uint64_t block, uint64_t took_ns) {
  see(p, r);
  const uint64_t newest = r->played + r->lead - 1, before = (newest > block ? newest - block : 0) * ns_of(p, p->block_frames);
  const uint64_t begin = p->line_ns + late_ns(p, r, took_ns);
  return begin > before ? begin - before : 0;
}

PE_RT uint64_t pe_pace_next_ns(PePace *p, const PeRequests *r, uint64_t took_ns) {
  see(p, r);
  const uint32_t size = size_of(r) > p->block_frames ? size_of(r) : p->block_frames; /* a block's time where one frees less than one */
  const uint64_t before = (uint64_t)((size - 1) / p->block_frames) * ns_of(p, p->block_frames), late = late_ns(p, r, took_ns);
  const uint64_t soonest = pe_pace_look_ns(p, r) / 2;
  return p->line_ns + ns_of(p, size) + (late > before + soonest ? late - before : soonest);
}

PE_RT uint64_t pe_pace_look_ns(const PePace *p, const PeRequests *r) {
  const uint64_t block = ns_of(p, p->block_frames), usual = block / (p->lead_blocks > 1 ? 8 : 16);
  const uint64_t slack = r->steady ? ns_of(p, pe_pace_slack(p, r)) / 16 : usual, look = slack < usual ? slack : usual;
  return look > SHORTEST_LOOK_NS || look == usual ? look : SHORTEST_LOOK_NS;
}
