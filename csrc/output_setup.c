#include <stdlib.h>

#include "output.h"

PeStatus pe_output_new(PeSegment *segment, PeOutput **output) {
  *output = NULL;
  PeOutput *o = calloc(1, sizeof *o);
  if (o == NULL) return PE_NO_MEMORY;
  const PeConfig *c = &segment->config;
  o->block = calloc((size_t)c->block_frames * c->n_channels, sizeof *o->block);
  if (o->block == NULL) {
    free(o);
    return PE_NO_MEMORY;
  }
  o->segment = segment;
  pe_timeline_init(&o->timeline, c->sample_rate_hz);
  o->tap = pe_segment_tap(segment);
  o->declick.length = (uint32_t)(PE_DECLICK_MS * c->sample_rate_hz / 1000.0 + 0.5);
  *output = o;
  return PE_OK;
}

void pe_output_free(PeOutput *o) {
  if (o == NULL) return;
  pe_history_free(&o->history);
  free(o->block);
  free(o);
}

void pe_output_record(PeOutput *o, uint32_t is_on) {
  atomic_store_explicit(&o->record_wanted, is_on, memory_order_release); /* a flag, nothing else */
}

uint32_t pe_output_is_recording(const PeOutput *o) {
  return atomic_load_explicit(&o->is_recording, memory_order_acquire); /* the frames put in the tap before it */
}

uint64_t pe_output_tap_start(const PeOutput *o) {
  return atomic_load_explicit(&o->tap_start, memory_order_acquire); /* a number, nothing else */
}

uint64_t pe_output_frames(const PeOutput *o) {
  return atomic_load_explicit(&o->frames, memory_order_acquire); /* and all that was put out before it */
}

PeStatus pe_output_keep(PeOutput *o, uint64_t n_frames) {
  return pe_history_make(&o->history, &o->segment->config, pe_output_frames(o), n_frames);
}

uint64_t pe_output_kept(const PeOutput *o, uint64_t *end) { return pe_history_kept(&o->history, end); }

uint64_t pe_output_listen(const PeOutput *o, float *interleaved, uint64_t n_frames, uint64_t *first) {
  return pe_history_copy(&o->history, interleaved, n_frames, first);
}

void pe_output_time(const PeOutput *o, uint64_t *frame, uint64_t *time_ns) {
  for (;;) { /* the callback writes three words a request: a second look is enough in all but the rarest case */
    const uint32_t v = atomic_load_explicit(&o->time_version, memory_order_acquire); /* not older than what follows */
    *frame = atomic_load_explicit(&o->time_frame, memory_order_relaxed); /* between the two versions */
    *time_ns = atomic_load_explicit(&o->time_ns, memory_order_relaxed);  /* between the two versions */
    atomic_thread_fence(memory_order_acquire);
    if ((v & 1u) == 0 && atomic_load_explicit(&o->time_version, memory_order_relaxed) == v) return; /* ordered by the fence */
  }
}
