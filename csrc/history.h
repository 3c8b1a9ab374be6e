/* The last frames that were put out, for whoever wants to listen: a ring that the callback writes over and over. */
#ifndef PE_HISTORY_H
#define PE_HISTORY_H

#include "segment.h"

#include <stdatomic.h>

typedef struct PeHistory {
  float   *frames;    /* interleaved; NULL: nothing is kept */
  uint64_t capacity;  /* frames */
  uint64_t first;     /* frame of the output since which it is kept */
  uint32_t n_channels;
  _Atomic uint64_t begun; /* all below may have been written over by what comes a capacity later */
  _Atomic uint64_t ended; /* all below is there */
} PeHistory;

/* Keep n_frames that are put out from frame `at` on. [rt & active] */
PE_RT void pe_history_put(PeHistory *history, const float *interleaved, uint64_t at, uint32_t n_frames);

/* Make room for n_frames, the first of them frame `at` of the output. Before anybody puts; once. [setup] */
PeStatus pe_history_make(PeHistory *history, const PeConfig *config, uint64_t at, uint64_t n_frames);
void pe_history_free(PeHistory *history); /* [setup] */

/* As pe_output_kept and pe_output_listen. [any] */
uint64_t pe_history_kept(const PeHistory *history, uint64_t *end);
uint64_t pe_history_copy(const PeHistory *history, float *interleaved, uint64_t n_frames, uint64_t *first);

#endif
