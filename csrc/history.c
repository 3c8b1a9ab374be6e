/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "history.h"

#include <string.h>

PE_RT void pe_history_put(PeHistory *h, const float *interleaved, uint64_t at, uint32_t n_frames) {
  if (h->frames == NULL) return;
  const uint64_t end = at + n_frames;
  atomic_store_explicit(&h->begun, end, memory_order_relaxed); /* ordered by the fence */
  atomic_thread_fence(memory_order_release);                   /* told before the first frame is written over */
  if (n_frames > h->capacity) {
    interleaved += (n_frames - h->capacity) * h->n_channels;
    at = end - h->capacity;
  }
  while (at < end) { /* at most twice: once around the ring's end */
    const uint64_t place = at % h->capacity, room = h->capacity - place;
    const uint64_t n = end - at < room ? end - at : room;
    memcpy(h->frames + place * h->n_channels, interleaved, n * h->n_channels * sizeof(float));
    interleaved += n * h->n_channels;
    at += n;
  }
  atomic_store_explicit(&h->ended, end, memory_order_release); /* after the frames below it */
}
