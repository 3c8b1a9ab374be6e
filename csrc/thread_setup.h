/* Threads at real-time priority where the machine allows it. */
#ifndef PE_THREAD_SETUP_H
#define PE_THREAD_SETUP_H

#include <pthread.h>
#include <stdint.h>

/* Start `main` under SCHED_FIFO at this priority, or in the normal class where that is refused or priority is 0.
 * *is_realtime tells which. 0 when no thread could be started. [setup] */
int pe_thread_start(pthread_t *thread, void *(*main)(void *), void *argument, const char *name, int32_t priority, int *is_realtime);

#endif
