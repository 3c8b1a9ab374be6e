/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "pace.h"

#define SHORTEST_LOOK_NS 50000u /* a look costs a few us */

PE_RT void pe_pace_init(PePace *p, double sample_rate_hz, uint32_t block_frames, uint32_t lead_blocks) {
  *p = (PePace){.frame_ns = 1.0e9 / sample_rate_hz, .block_frames = block_frames, .lead_blocks = lead_blocks};
}

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
  const uint32_t size = r->steady ? r->steady : r->largest, step = r->steady ? divisor(size, p->block_frames) : 1;
  const uint64_t ahead = (uint64_t)(r->lead - 1) * p->block_frames + 2u * (uint64_t)step;
  if (ahead <= size) return 0; /* the lead is not large enough for such requests yet */
  const uint64_t least = ahead - size;
  const uint64_t whole = r->steady ? (least + size - 1) / size * size : least;
  return whole < UINT32_MAX ? (uint32_t)whole : UINT32_MAX;
}

/* Nothing waits for longer than until the next block is freed. */
static uint64_t period_ns(const PePace *p, const PeRequests *r) {
  const uint32_t size = r->steady ? r->steady : r->largest;
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

/* One that jitter made late, by less than half of their distance, does not put the next block off. Some may not have been seen
 * in between. */
static void see(PePace *p, const PeRequests *r) {
  if (r->freed_ns == p->freed_ns) return;
  const uint64_t period = period_ns(p, r), since = r->freed_ns > p->line_ns ? r->freed_ns - p->line_ns : 0;
  const uint64_t n = since < period ? 1 : (since + period / 2) / period;
  const uint64_t due = p->line_ns + n * (period + period / 64); /* it follows a clock that drifts */
  p->freed_ns = r->freed_ns;
  p->line_ns = r->freed_ns > due && r->steady ? due : r->freed_ns;
}

PE_RT uint64_t pe_pace_begin_ns(PePace *p, const PeRequests *r, uint64_t took_ns) {
  see(p, r);
  return p->line_ns + late_ns(p, r, took_ns);
}

PE_RT uint64_t pe_pace_next_ns(PePace *p, const PeRequests *r, uint64_t took_ns) {
  return pe_pace_begin_ns(p, r, took_ns) + period_ns(p, r);
}

PE_RT uint64_t pe_pace_look_ns(const PePace *p, const PeRequests *r) {
  const uint64_t block = ns_of(p, p->block_frames), usual = block / (p->lead_blocks > 1 ? 8 : 16);
  const uint64_t slack = r->steady ? ns_of(p, pe_pace_slack(p, r)) / 16 : usual, look = slack < usual ? slack : usual;
  return look > SHORTEST_LOOK_NS || look == usual ? look : SHORTEST_LOOK_NS;
}

PE_RT uint32_t pe_pace_freed_blocks(const PePace *p, const PeRequests *r) {
  const uint32_t size = r->steady ? r->steady : r->largest;
  return size > p->block_frames ? (size + p->block_frames - 1) / p->block_frames : 1;
}
