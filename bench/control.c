/* Same clock, same deadlines, same priority and same way of counting as pe_clock_realtime_main in csrc/clock.c. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include "control.h"

static uint64_t now_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void sleep_until(uint64_t ns) {
#if defined(__linux__)
  const struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
#else
  const uint64_t now = now_ns();
  if (now >= ns) return;
  const struct timespec ts = {.tv_sec = (time_t)((ns - now) / 1000000000u), .tv_nsec = (long)((ns - now) % 1000000000u)};
  nanosleep(&ts, NULL);
#endif
}

static uint32_t looks_until_full(const Pacer *p, uint64_t deadline) {
  const uint64_t want = p->play_block(p->segment) + p->lead_blocks;
  for (uint32_t i = 1; i <= p->looks; i++) {
    sleep_until(deadline + (uint64_t)(p->period_ns * i / (p->looks + 1)));
    if (p->render_head(p->segment, 0) >= want && p->render_head(p->segment, 1) >= want) return i;
  }
  return p->looks + 1;
}

static void *pacer_main(void *argument) {
  Pacer *p = argument;
  const uint64_t start = now_ns();
  uint64_t n = 0;
#if defined(__linux__)
  prctl(PR_SET_TIMERSLACK, 1ul);
#endif
  while (!__atomic_load_n(&p->stop, __ATOMIC_ACQUIRE)) {
    const uint64_t deadline = start + (uint64_t)(p->period_ns * (double)++n);
    sleep_until(deadline);
    const uint64_t now = now_ns(), late = now > deadline ? now - deadline : 0;
    if (late > p->worst_late_ns) p->worst_late_ns = late;
    if ((double)late >= p->period_ns) {
      const uint64_t missed = (uint64_t)((double)late / p->period_ns);
      p->missed_periods += missed;
      n += missed;
    }
    if (p->process) {
      const uint64_t before = now_ns();
      p->process(p->output, p->buffer, p->n_frames);
      if (p->n_periods < p->n_max) p->took_ns[p->n_periods] = (uint32_t)(now_ns() - before);
      if (p->looks && p->n_periods < p->n_max) p->filled_look[p->n_periods] = looks_until_full(p, deadline);
    }
    p->n_periods++;
  }
  return NULL;
}

int pacer_start(Pacer *p) {
  pthread_t *thread = malloc(sizeof *thread);
  if (thread == NULL) return 0;
  pthread_attr_t attr;
  const struct sched_param param = {.sched_priority = p->priority};
  pthread_attr_init(&attr);
  pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
  pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
  pthread_attr_setschedparam(&attr, &param);
  p->is_realtime = p->priority > 0 && pthread_create(thread, &attr, pacer_main, p) == 0;
  pthread_attr_destroy(&attr);
  if (!p->is_realtime && pthread_create(thread, NULL, pacer_main, p) != 0) {
    free(thread);
    return 0;
  }
  p->thread = thread;
  return 1;
}

void pacer_stop(Pacer *p) {
  if (p->thread == NULL) return;
  __atomic_store_n(&p->stop, 1, __ATOMIC_RELEASE);
  pthread_join(*(pthread_t *)p->thread, NULL);
  free(p->thread);
  p->thread = NULL;
}
