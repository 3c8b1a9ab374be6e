/* Event nodes: no audio, but commands to other nodes at exact frames (a clock, a sequence, the voices of a note).
 *
 * The plan asks them at the start of each chunk: from frame to frame at which anything happens, all commands from outside
 * first, then the nodes in their order. A node's time is a count of frames in its state, moved on by `advance` when
 * the chunk is done; within it, `at` frames have passed. What a node puts out is a function of its state, its data and
 * the commands it was told: the same for any split into chunks. */
#ifndef PE_DSP_EVENT_H
#define PE_DSP_EVENT_H

#include "module.h"

#define PE_NEVER 0xffffffffu

typedef struct PeEmit PeEmit;
struct PeEmit {
  const PeSmooth *params;
  const void     *data;         /* the node's; NULL where it has none */
  const void     *clock;        /* state of the node it follows; NULL without */
  uint32_t        clock_handle, at; /* frame of the chunk */
  double          sample_rate_hz;
  /* Set a parameter of another node, at this frame; how: PE_RAMPED, PE_AT_ONCE, PE_RETUNED. What is not there, is NaN or finds no room
   * is left out, the last counted. [rt] */
  void          (*put)(const PeEmit *e, uint32_t handle, uint32_t param, double value, uint32_t how);
  void           *plan;         /* of `put`; so are those below */
  uint32_t        is_now, depth;
};

struct PeEventOps {
  uint32_t order;                                                     /* PE_EVENTS_...: clocks come first at a frame, voices last */
  PeStatus (*check)(const void *data, uint64_t data_bytes);           /* is this what it reads? NULL for no data; may be NULL; [setup] */
  uint32_t (*follows)(const void *data);                              /* handle of the clock, 0 for none; may be NULL; [setup] */
  uint32_t (*next)(void *state, const PeEmit *e);                     /* the frame of the chunk, e->at or later, at which it has something to do, or PE_NEVER; may be NULL; [rt] */
  void (*emit)(void *state, const PeEmit *e);                         /* this is that frame; [rt] */
  void (*told)(void *state, const PeEmit *e, uint32_t param);         /* a parameter was set, also to the same value; may be NULL; [rt] */
  void (*end)(void *state, const PeEmit *e, const void *data);        /* its data are another's from now on, NULL: it is gone; ends what it began; may be NULL; [rt] */
  void (*show)(const void *state, const PeEmit *e, uint64_t shown[2]); /* to whoever watches, when the chunk is done; both 0: nothing; may be NULL; [rt] */
  void (*advance)(void *state, uint32_t n_frames);                    /* the chunk is done; may be NULL; [rt] */
};

#endif
