/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Which engine frame is put out at which time: a delay-locked loop over the times of the requests, so that the jitter of
 * the callback does not get in (after F. Adriaensen, "Using a DLL to filter time", 2005). Written by the callback. */
#ifndef PE_TIMELINE_H
#define PE_TIMELINE_H

#include "counters.h"
#include "rt.h"

typedef struct PeTimeline {
  /* the callback's own; times in ns after the first request */
  double   rate_hz, next_ns, frame_ns, apart_ns;
  uint64_t origin_ns, n_updates;
  int32_t  n_apart; /* requests in a row that came out of time: late (above 0) or early (below) */
  /* published: a frame, when it is put out, and for how long the line may be drawn on from there */
  _Atomic uint32_t version;
  _Atomic int64_t  frame, until;
  _Atomic uint64_t at_ns, frame_fs; /* length of a frame, in femtoseconds */
} PeTimeline;

void pe_timeline_init(PeTimeline *t, double rate_hz);

/* A request of n_frames was made at now_ns; the first frame of it that is due is `frame`. [rt & active] */
PE_RT void pe_timeline_update(PeTimeline *t, uint64_t now_ns, uint32_t n_frames, int64_t frame);

/* No request comes for n_frames more: the line may be drawn on until then. [rt] */
PE_RT void pe_timeline_draw_on(PeTimeline *t, uint32_t n_frames);

/* The frame that is put out at a time; one request behind the newest one at most, as then time stands still. -1 while
 * nothing is known. Any thread. */
int64_t pe_timeline_frame(const PeTimeline *t, uint64_t at_ns);

#endif
