/* RT: no locks, no allocation, no unbounded loops. The one system call of the real-time side is here:
 * the wait and the wake on a shared word, and the clock (which is no system call on Linux). */
#define _GNU_SOURCE
#include <limits.h>
#include <time.h>

#include "segment.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static void word_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t timeout_ns) {
  const struct timespec ts = {.tv_sec = (time_t)(timeout_ns / 1000000000u), .tv_nsec = (long)(timeout_ns % 1000000000u)};
  syscall(SYS_futex, word, FUTEX_WAIT, seen, &ts, NULL, 0);
}

static void word_wake(_Atomic uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0); }
#else
/* Elsewhere a wait is a short sleep: what ends a sleep is only a hint, the sound is right all the same. */
static void word_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t timeout_ns) {
  if (atomic_load_explicit(word, memory_order_acquire) != seen) return; /* as a futex would */
  const uint64_t ns = timeout_ns < 500000u ? timeout_ns : 500000u;
  const struct timespec ts = {.tv_sec = 0, .tv_nsec = (long)ns};
  nanosleep(&ts, NULL);
}

static void word_wake(_Atomic uint32_t *word) { (void)word; }
#endif

PE_RT void pe_wake(PeWake *w) {
  atomic_fetch_add_explicit(&w->word, 1, memory_order_seq_cst); /* before the look at sleepers, see pe_wake_wait */
  if (atomic_load_explicit(&w->sleepers, memory_order_seq_cst) != 0) word_wake(&w->word); /* none asleep: no call */
}

PE_RT void pe_wake_resting(PeSegment *s) {
  atomic_thread_fence(memory_order_seq_cst); /* what was stored comes before the look: who goes to rest does it the other way round */
  if (atomic_load_explicit(&s->clock_rests, memory_order_acquire)) { /* a flag, nothing else */
    pe_wake(&s->pace);
    return;
  }
  for (uint32_t i = 0; i < PE_SLOTS; i++)
    if (pe_slot_rests(s, i)) {
      pe_wake(&s->work);
      return;
    }
}

PE_RT void pe_wake_wait(PeWake *w, uint32_t seen, uint64_t timeout_ns) {
  atomic_fetch_add_explicit(&w->sleepers, 1, memory_order_seq_cst); /* announced before the word is looked at */
  word_wait(&w->word, seen, timeout_ns);
  atomic_fetch_sub_explicit(&w->sleepers, 1, memory_order_relaxed); /* too late only costs a needless wake */
}

static uint64_t clock_ns(clockid_t id) {
  struct timespec ts;
  clock_gettime(id, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

PE_RT uint64_t pe_now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
PE_RT uint64_t pe_thread_cpu_ns(void) { return clock_ns(CLOCK_THREAD_CPUTIME_ID); }

PE_RT void pe_event_push(PeSegment *s, const PeEvent *event) {
  void *place;
  PeRing *ring = pe_event_ring(s, event->source);
  if (ring_acquire(ring, 1, &place) == 1) {
    *(PeEvent *)place = *event;
    ring_commit(ring, 1);
  } else {
    atomic_fetch_add_explicit(&s->counters[PE_COUNT_EVENTS_LOST], 1, memory_order_relaxed); /* a figure; three writers */
  }
  pe_wake(&s->signal);
}
