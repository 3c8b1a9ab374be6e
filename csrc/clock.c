/* RT: no locks, no allocation, no syscalls but the timed wait, no unbounded loops. */
#define _GNU_SOURCE
#include "clock.h"

#include <time.h>

#define LOCKSTEP_NS 20000000u /* how long the free-running clock waits for a slot that is alive but has not the block */

static void sleep_until(uint64_t ns) {
#if defined(__linux__)
  const struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
#else
  const uint64_t now = pe_now_ns();
  if (now >= ns) return;
  const struct timespec ts = {.tv_sec = (time_t)((ns - now) / 1000000000u), .tv_nsec = (long)((ns - now) % 1000000000u)};
  nanosleep(&ts, NULL);
#endif
}

static int is_stopped(const PeClock *c) {
  return atomic_load_explicit(&c->stop, memory_order_acquire) != 0; /* a flag, nothing else */
}

/* Deadlines are start + n x period, computed afresh: no drift. Where the machine took the processor away for
 * a period or more, those periods are counted and left out, as a device that ran dry would: no burst follows. */
void *pe_clock_realtime_main(void *clock) {
  PeClock *c = clock;
  const double period_ns = 1.0e9 * c->request_frames / c->segment->config.sample_rate_hz;
  uint64_t start = pe_now_ns();
  uint64_t n = 0;
  while (!is_stopped(c)) {
    const uint64_t deadline = start + (uint64_t)(period_ns * (double)++n);
    sleep_until(deadline);
    const uint64_t now = pe_now_ns();
    const uint64_t late = now > deadline ? now - deadline : 0;
    pe_counter_max(&c->segment->counters[PE_COUNT_CLOCK_WORST_LATE_NS], late);
    if ((double)late >= period_ns) {
      const uint64_t missed = (uint64_t)((double)late / period_ns);
      pe_counter_add(&c->segment->counters[PE_COUNT_CLOCK_MISSED], missed);
      n += missed;
    }
    if (n > (1ull << 40)) start = deadline, n = 0; /* keep the double exact for ever */
    pe_output_process(c->output, c->buffer, c->request_frames);
    pe_wake(&c->out);
  }
  return NULL;
}

/* Wait until the request can be served whole, by all that are alive for a while, then by any. 0: not yet. */
static int is_ready(PeClock *c, uint32_t n_frames) {
  PeSegment *s = c->segment;
  pe_output_expect(c->output, n_frames);
  pe_wake(&s->work);
  const uint64_t until = pe_now_ns() + LOCKSTEP_NS;
  for (uint32_t i = 0; i < 64 && !is_stopped(c); i++) {
    const uint32_t seen = pe_wake_seen(&s->done);
    if (pe_output_can_serve(c->output, n_frames, 1)) return 1;
    const uint64_t now = pe_now_ns();
    if (now >= until) break;
    pe_wake_wait(&s->done, seen, until - now);
  }
  return pe_now_ns() >= until && pe_output_can_serve(c->output, n_frames, 0);
}

static int tap_has_room(PeClock *c, uint32_t n_frames) {
  if (!atomic_load_explicit(&c->output->record_wanted, memory_order_acquire)) return 1; /* a flag, nothing else */
  const uint32_t capacity = pe_ring_capacity(c->output->tap);
  return pe_ring_writable(c->output->tap) >= (n_frames < capacity ? n_frames : capacity);
}

void *pe_clock_free_main(void *clock) {
  PeClock *c = clock;
  while (!is_stopped(c)) {
    const uint32_t seen = pe_wake_seen(&c->go);
    const uint64_t out = atomic_load_explicit(&c->output->frames, memory_order_relaxed);  /* own word: this thread is the callback */
    const uint64_t allowed = atomic_load_explicit(&c->allowed, memory_order_acquire); /* a number, nothing else */
    if (out >= allowed) {
      pe_wake_wait(&c->go, seen, 50000000u);
      continue;
    }
    uint32_t n = c->requests[c->next_request]; /* set before the first allowance */
    if (allowed - out < n) n = (uint32_t)(allowed - out);
    if (!tap_has_room(c, n)) { /* a file is not written faster than the disk takes it */
      pe_wake_wait(&c->go, seen, 1000000u);
      continue;
    }
    if (!is_ready(c, n)) continue;
    c->next_request = (c->next_request + 1) % c->n_requests;
    pe_output_process(c->output, c->buffer, n);
    pe_wake(&c->out);
  }
  return NULL;
}
