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
  uint64_t freed_ns; /* when the newest one came that read a block to its end: CLOCK_MONOTONIC; 0: none yet */
  uint32_t largest;  /* frames */
  uint32_t steady;   /* all that came lately had so many frames; 0: they differ, or are few yet */
  uint32_t lead;     /* blocks that may be rendered from the one on that is played: the effective lead */
} PeRequests;

typedef struct PePace {
  double   frame_ns;
  uint32_t block_frames, lead_blocks;
  uint64_t freed_ns, line_ns; /* the newest such request seen: when it came, and when it should have */
} PePace;

PE_RT void pe_pace_init(PePace *p, double sample_rate_hz, uint32_t block_frames, uint32_t lead_blocks);

/* From when the newest block that may be rendered may be begun until the request that needs it, at least, in frames: from one request to
 * another, each at the time of its first frame. */
PE_RT uint32_t pe_pace_slack(const PePace *p, const PeRequests *r);

/* When to begin what the newest request has freed. took_ns: to render a block. */
PE_RT uint64_t pe_pace_begin_ns(PePace *p, const PeRequests *r, uint64_t took_ns);

/* When to begin what the request after it will free; and how often to look from then on. */
PE_RT uint64_t pe_pace_next_ns(PePace *p, const PeRequests *r, uint64_t took_ns);
PE_RT uint64_t pe_pace_look_ns(const PePace *p, const PeRequests *r);

/* How many blocks one request frees, at most. */
PE_RT uint32_t pe_pace_freed_blocks(const PePace *p, const PeRequests *r);

#endif
