/* State of the audio callback. */
#ifndef PE_OUTPUT_H
#define PE_OUTPUT_H

#include "history.h"
#include "segment.h"
#include "swap.h"
#include "timeline.h"

struct PeOutput {
  PeSegment *segment;
  PeRing    *tap;
  PeGate     gate;
  PeDeclick  declick;
  float     *block;        /* the block that is being put out: [channel][frame] */
  uint32_t   at;           /* frames of it that are out */
  int        has_block;
  int        is_silent;    /* in an underrun */
  uint64_t   silent_frames;
  int        is_tapped;    /* what this request does */
  uint32_t   request_frames, n_same; /* the newest request, and how many in a row were as large */
  _Atomic uint32_t record_wanted, is_recording;
  _Atomic uint64_t tap_start;
  _Atomic uint64_t frames; /* put out, silence included */
  _Atomic uint32_t time_version;
  _Atomic uint64_t time_frame, time_ns;
  PeTimeline timeline;
  PeHistory  history;
};

/* A request of n_frames is coming: the workers must be allowed to render so far ahead. [rt] */
PE_RT void pe_output_expect(PeOutput *o, uint32_t n_frames);

/* The audio callback, of a request that was due at asked_ns. [rt & active] */
PE_RT void pe_output_put(PeOutput *o, float *out, uint32_t n_frames, uint64_t asked_ns);

/* How many of the due blocks that a request of n_frames needs are there in a playable ring, and
 * (`all`) in the rings of all that are alive. [rt] */
PE_RT int pe_output_can_serve(PeOutput *o, uint32_t n_frames, int all);

#endif
