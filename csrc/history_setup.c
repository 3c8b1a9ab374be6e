#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "history.h"

/* A listener copies while the callback goes on: what may be written over meanwhile. */
#define SPARE_S 1.0
#define SPARE_FRAMES 16384u

PeStatus pe_history_make(PeHistory *h, const PeConfig *c, uint64_t at, uint64_t n_frames) {
  if (n_frames == 0) return PE_OK;
  if (h->frames != NULL) return PE_BUSY;
  const uint64_t capacity = n_frames + SPARE_FRAMES + (uint64_t)(SPARE_S * c->sample_rate_hz);
  const uint64_t bytes = capacity * c->n_channels * sizeof(float);
  if (bytes / sizeof(float) / c->n_channels != capacity || bytes > SIZE_MAX) return PE_TOO_LARGE;
  float *frames = malloc((size_t)bytes);
  if (frames == NULL) return PE_NO_MEMORY;
  memset(frames, 0, (size_t)bytes);   /* makes the pages: the callback must not */
  (void)mlock(frames, (size_t)bytes); /* where that is refused they are there, unless the machine swaps */
  h->capacity = capacity;
  h->n_channels = c->n_channels;
  h->first = at;
  atomic_init(&h->begun, h->first);
  atomic_init(&h->ended, h->first);
  h->frames = frames;
  return PE_OK;
}

void pe_history_free(PeHistory *h) {
  if (h->frames == NULL) return;
  (void)munlock(h->frames, h->capacity * h->n_channels * sizeof(float));
  free(h->frames);
  h->frames = NULL;
}

uint64_t pe_history_kept(const PeHistory *h, uint64_t *end) {
  *end = h->frames == NULL ? 0 : atomic_load_explicit(&h->ended, memory_order_acquire); /* a number, nothing else */
  const uint64_t whole = h->capacity > SPARE_FRAMES ? h->capacity - SPARE_FRAMES : 0, put = *end - h->first;
  return h->frames == NULL ? 0 : put < whole ? put : whole;
}

static void copy_out(const PeHistory *h, float *interleaved, uint64_t at, uint64_t n_frames) {
  while (n_frames > 0) {
    const uint64_t place = at % h->capacity, room = h->capacity - place;
    const uint64_t n = n_frames < room ? n_frames : room;
    memcpy(interleaved, h->frames + place * h->n_channels, n * h->n_channels * sizeof(float));
    interleaved += n * h->n_channels;
    at += n;
    n_frames -= n;
  }
}

uint64_t pe_history_copy(const PeHistory *h, float *interleaved, uint64_t n_frames, uint64_t *first) {
  uint64_t end;
  const uint64_t kept = pe_history_kept(h, &end); /* and all frames below `end`, by its acquire */
  if (n_frames > kept) n_frames = kept;
  *first = end - n_frames;
  if (n_frames == 0) return 0;
  copy_out(h, interleaved, *first, n_frames);
  atomic_thread_fence(memory_order_acquire); /* the copy ends before it is asked what was written meanwhile */
  const uint64_t begun = atomic_load_explicit(&h->begun, memory_order_relaxed); /* ordered by the fence */
  const uint64_t oldest = begun > h->capacity ? begun - h->capacity : 0; /* of what was not written over */
  if (oldest <= *first) return n_frames;
  const uint64_t lost = oldest - *first < n_frames ? oldest - *first : n_frames;
  *first += lost;
  memmove(interleaved, interleaved + lost * h->n_channels, (n_frames - lost) * h->n_channels * sizeof(float));
  return n_frames - lost;
}
