#include <stdlib.h>

#include "clock.h"
#include "thread_setup.h"

PeStatus pe_clock_start(PeOutput *output, PeSegment *segment, uint32_t kind, uint32_t request_frames, int32_t priority, PeClock **clock) {
  *clock = NULL;
  if (kind > PE_CLOCK_FREE || request_frames == 0 || request_frames > PE_MAX_REQUEST) return PE_BAD_ARGUMENT;
  PeClock *c = aligned_alloc(64, (sizeof *c + 63u) & ~(size_t)63u);
  if (c == NULL) return PE_NO_MEMORY;
  *c = (PeClock){.output = output, .segment = segment, .kind = kind, .request_frames = request_frames, .n_requests = 1, .requests = {request_frames}};
  c->buffer = calloc((size_t)PE_MAX_REQUEST * segment->config.n_channels, sizeof *c->buffer);
  if (c->buffer == NULL) {
    free(c);
    return PE_NO_MEMORY;
  }
  void *(*main)(void *) = kind == PE_CLOCK_REALTIME ? pe_clock_realtime_main : pe_clock_free_main;
  if (!pe_thread_start(&c->thread, main, c, "pe-clock", kind == PE_CLOCK_REALTIME ? priority : 0, &c->is_realtime)) {
    free(c->buffer);
    free(c);
    return PE_NO_THREAD;
  }
  *clock = c;
  return PE_OK;
}

void pe_clock_stop(PeClock *c) {
  if (c == NULL) return;
  atomic_store_explicit(&c->stop, 1, memory_order_release); /* a flag, nothing else */
  pe_wake(&c->go);
  pe_wake(&c->segment->pace);
  pe_wake(&c->segment->done);
  pthread_join(c->thread, NULL);
  free(c->buffer);
  free(c);
}

uint32_t pe_clock_is_realtime(const PeClock *c) { return (uint32_t)c->is_realtime; }

void pe_clock_allow(PeClock *c, uint64_t until_frame) {
  atomic_store_explicit(&c->allowed, until_frame, memory_order_release); /* a number, nothing else */
  pe_wake(&c->go);
}

uint32_t pe_clock_requests(PeClock *c, const uint32_t *frames, uint32_t n) {
  if (n == 0 || n > PE_CLOCK_MAX_REQUESTS || atomic_load_explicit(&c->allowed, memory_order_acquire) != 0) return 0; /* it may be reading them */
  for (uint32_t i = 0; i < n; i++)
    if (frames[i] == 0 || frames[i] > PE_MAX_REQUEST) return 0;
  for (uint32_t i = 0; i < n; i++) c->requests[i] = frames[i];
  c->n_requests = n;
  return 1;
}

uint32_t pe_clock_wait(PeClock *c, uint64_t frame, uint32_t timeout_ms) {
  const uint64_t until = pe_now_ns() + (uint64_t)timeout_ms * 1000000u;
  for (;;) {
    const uint32_t seen = pe_wake_seen(&c->out);
    if (pe_output_frames(c->output) >= frame) return 1;
    const uint64_t now = pe_now_ns();
    if (now >= until) return 0;
    pe_wake_wait(&c->out, seen, until - now);
  }
}
