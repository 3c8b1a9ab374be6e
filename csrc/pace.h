/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* When a worker begins a block, and when it looks whether it may, where the callback does not wake it. The later a block is
 * begun, the newer are the commands and commits that it takes; what must be left is time to render, and to be late.
 *
 * A block may be begun when a request has read another to its end. It is due with the first request that reaches into it:
 * how long that is depends on lead, block and request. Sizes that change leave nothing to be put off. */
#ifndef PE_PACE_H
#define PE_PACE_H

#include "rt.h"

typedef struct PeRequests { /* what is known of them */
  uint64_t played;   /* blocks that were read to their end */
  uint64_t freed_ns; /* when the request came that did so with the newest one: CLOCK_MONOTONIC; 0: none yet */
  uint32_t largest;  /* frames */
  uint32_t steady;   /* all that came lately had so many frames; 0: they differ, or are few yet */
  uint32_t lead;     /* blocks that may be rendered from the one on that is played: the effective lead */
} PeRequests;

typedef struct PePace {
  double   frame_ns;
  uint32_t block_frames, lead_blocks;
  uint64_t played;           /* blocks, when it was looked last */
  uint64_t line_ns, lag_ns;  /* when the request that freed the newest should have come, and how much later it did */
} PePace;

PE_RT void pe_pace_init(PePace *p, double sample_rate_hz, uint32_t block_frames, uint32_t lead_blocks);

/* From when the newest block that may be rendered may be begun until the request that needs it, at least, in frames: from one request to
 * another, each at the time of its first frame. */
PE_RT uint32_t pe_pace_slack(const PePace *p, const PeRequests *r);

/* When to begin a block that may be rendered. took_ns: what rendering one takes. */
PE_RT uint64_t pe_pace_begin_ns(PePace *p, const PeRequests *r, uint64_t block, uint64_t took_ns);

/* When to begin the first of those that the next request will free; and how often to look from then on. */
PE_RT uint64_t pe_pace_next_ns(PePace *p, const PeRequests *r, uint64_t took_ns);
PE_RT uint64_t pe_pace_look_ns(const PePace *p, const PeRequests *r);

#endif
