/* The callback without a device. */
#ifndef PE_CLOCK_H
#define PE_CLOCK_H

#include <pthread.h>

#include "output.h"

#define PE_CLOCK_MAX_REQUESTS 256u

struct PeClock {
  PeOutput  *output;
  PeSegment *segment;
  float     *buffer;
  uint32_t   kind, request_frames, n_requests, next_request;
  uint32_t   requests[PE_CLOCK_MAX_REQUESTS];
  _Atomic uint32_t stop;
  _Atomic uint64_t allowed; /* free-running: frames below this one may be put out */
  PeWake     go, out;       /* the clock sleeps on go; whoever waits for a frame on out */
  pthread_t  thread;
  int        is_realtime;
  uint64_t   drawn_until_ns; /* so far the timeline was drawn on when it went to rest last */
  int        rests;         /* it sleeps through silent blocks, until something comes */
};

void *pe_clock_realtime_main(void *clock);
void *pe_clock_free_main(void *clock);

#endif
