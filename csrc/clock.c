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

/* Requests that may be slept through: at the end of them all are made at once, as of the times they were due. */
static uint64_t requests_of_rest(PeClock *c) {
  if (c->output->is_silent) return 0; /* not by rest: something lacks */
  const uint64_t frames = (uint64_t)pe_rest_of_clock(c->segment) * c->segment->config.block_frames;
  return frames / c->request_frames;
}

/* Say so, look again whether something came that did not see it, and sleep. */
static void rest(PeClock *c, uint32_t seen, uint64_t n_requests, uint64_t until_ns) {
  if (c->drawn_until_ns != until_ns) pe_timeline_draw_on(&c->output->timeline, (uint32_t)n_requests * c->request_frames);
  c->drawn_until_ns = until_ns;
  c->rests = 1;
  atomic_store_explicit(&c->segment->clock_rests, 1, memory_order_release); /* a flag, nothing else */
  atomic_thread_fence(memory_order_seq_cst); /* said before it is looked, see pe_wake_resting */
  const uint64_t now = pe_now_ns();
  if (requests_of_rest(c) > 0 && now < until_ns) pe_wake_wait(&c->segment->pace, seen, until_ns - now);
}

/* All that was slept through is played: the workers may take play_block for the present again. */
static void wake(PeClock *c) {
  c->rests = 0;
  atomic_store_explicit(&c->segment->clock_rests, 0, memory_order_release); /* after play_block */
  pe_wake(&c->segment->work);
}

/* Deadlines are start + n x period, computed afresh: no drift. Where the machine took the processor away for
 * a period or more, those periods are counted and left out, as a device that ran dry would: no burst follows. */
void *pe_clock_realtime_main(void *clock) {
  PeClock *c = clock;
  const double period_ns = 1.0e9 * c->request_frames / c->segment->config.sample_rate_hz;
  uint64_t start = pe_now_ns();
  uint64_t n = 0;
#define DEADLINE(n) (start + (uint64_t)(period_ns * (double)(n)))
  while (!is_stopped(c)) {
    const uint32_t seen = pe_wake_seen(&c->segment->pace);
    const uint64_t n_rest = requests_of_rest(c), n_most = n_rest > 1 ? n_rest : 1;
    if (c->rests && n_rest <= 1) wake(c);
    if (n_rest > 1)
      rest(c, seen, n_rest, DEADLINE(n + n_rest));
    else
      sleep_until(DEADLINE(n + 1));
    const uint64_t now = pe_now_ns();
    uint64_t n_due = 0;
    while (n_due < n_most && DEADLINE(n + n_due + 1) <= now) n_due++;
    if (n_due == 0) continue; /* woken early */
    const uint64_t first = n + 1;
    n += n_due;
    const uint64_t late = now - DEADLINE(n);
    for (uint64_t i = first; i < n; i++) pe_output_put(c->output, c->buffer, c->request_frames, DEADLINE(i));
    if (n_due == n_most) pe_counter_max(&c->segment->counters[PE_COUNT_CLOCK_WORST_LATE_NS], late);
    if ((double)late >= period_ns) {
      const uint64_t missed = (uint64_t)((double)late / period_ns);
      pe_counter_add(&c->segment->counters[PE_COUNT_CLOCK_MISSED], missed);
      n += missed;
    }
    pe_output_put(c->output, c->buffer, c->request_frames, c->rests ? DEADLINE(n) : now);
    if (n > (1ull << 40)) start = DEADLINE(n), n = 0; /* keep the double exact for ever */
    pe_wake(&c->out);
  }
#undef DEADLINE
  if (c->rests) wake(c); /* whoever calls the output next keeps the time */
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
