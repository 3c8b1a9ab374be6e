#define _GNU_SOURCE
#include "thread_setup.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

typedef struct Start {
  void *(*main)(void *);
  void *argument;
  char  name[16];
} Start;

static void *named_main(void *argument) {
  const Start start = *(Start *)argument;
  free(argument);
#if defined(__linux__)
  prctl(PR_SET_TIMERSLACK, 1ul); /* in the normal class a timer may otherwise be 50 us late */
  pthread_setname_np(pthread_self(), start.name);
#endif
  return start.main(start.argument);
}

static int start_with(pthread_t *thread, Start *start, int32_t priority) {
  pthread_attr_t attr;
  if (pthread_attr_init(&attr) != 0) return 0;
  pthread_attr_setstacksize(&attr, 512 * 1024);
  if (priority > 0) {
    const struct sched_param param = {.sched_priority = priority};
    pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
    pthread_attr_setschedparam(&attr, &param);
  }
  const int ok = pthread_create(thread, &attr, named_main, start) == 0;
  pthread_attr_destroy(&attr);
  return ok;
}

int pe_thread_start(pthread_t *thread, void *(*main)(void *), void *argument, const char *name, int32_t priority, int *is_realtime) {
  Start *start = calloc(1, sizeof *start);
  if (start == NULL) return 0;
  start->main = main;
  start->argument = argument;
  strncpy(start->name, name, sizeof start->name - 1);
  *is_realtime = priority > 0 && start_with(thread, start, priority);
  if (*is_realtime || start_with(thread, start, 0)) return 1;
  free(start);
  return 0;
}
