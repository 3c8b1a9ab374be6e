/* One worker: the render thread's state, and what its process's other thread hands to it. */
#ifndef PE_WORKER_H
#define PE_WORKER_H

#include <pthread.h>

#include "checkpoint.h"
#include "journal.h"
#include "pace.h"
#include "render.h"
#include "rest.h"
#include "segment.h"

struct PeJoin { /* a run that is brought up to date beside the running one, or (no run) the wish to have none */
  PeRun   *run;
  uint64_t block;    /* it renders this one next */
  int      is_stale; /* given back unused: the journal or the records had gone too far */
  PePlan **then;     /* plans that came after it, each turned to at its SWITCH */
  uint32_t n_then, at_then;
};

typedef enum PeRest { /* rest.h */
  PE_AWAKE,
  PE_RESTING, /* renders what was played, and nothing ahead of it */
  PE_WAKING,  /* back to the present: takes nothing yet that changes a block which the callback may decide on */
} PeRest;

struct PeWorker {
  PeSegment    *segment;
  PeSeatShared *shared;
  uint32_t      seat;

  /* the render thread's own */
  PeRun   *run;                /* NULL: nothing to render yet, or no more */
  uint64_t head;               /* block to be rendered next */
  uint64_t checkpoint_served;  /* the request answered last */
  uint64_t checkpoint_block;   /* the last periodic one's */
  PeWriting writing;           /* one that is under way */
  uint64_t writing_request, writing_head; /* that it answers, or 0; the block before which its last piece was taken, + 1 */
  float   *scratch;            /* a block that is not published */
  PeMeter  meter;
  PePace   pace;
  uint64_t took_ns;            /* to render the newest block */
  PeRest   rest;
  uint64_t woken_play;         /* while it wakes: play_block when it stood at the present first */
  uint64_t marked_until, marked_applied; /* the states were kept: looked at again when it comes to this block; with records up to here */
  uint32_t n_silent;           /* blocks in a row that were silent, since it was last looked at whether it may rest */
  uint32_t rest_blocks;        /* that it may be behind while it rests */

  /* handed over: whoever exchanges the pointer for NULL owns what it pointed to */
  _Atomic(PePlan *) armed;     /* or pe_turning() while the render thread turns to it */
  _Atomic(PeJoin *) joining;
  PeRing           *retired;   /* plans and runs that nothing renders any more, to be freed by the setup side */
  void             *retired_memory;

  pthread_t thread;
  int       is_started;
  int       is_realtime;
};

typedef struct PeRetired {
  PePlan *plan;
  PeRun  *run;
  PeJoin *join;
} PeRetired;

/* Stands in `armed` until the running plan is the armed one: nothing may be matched against it before. */
static inline PePlan *pe_turning(PeWorker *w) { return (PePlan *)(void *)w; }

/* The render thread: until the seat's shutdown word is set. */
void *pe_worker_main(void *worker);

#endif
