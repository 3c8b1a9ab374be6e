/* The shared memory of one engine: written by the supervisor, its audio callback and two workers.
 * Fixed widths, offsets not pointers; every group of words with one writer has cache lines of its own. */
#ifndef PE_SEGMENT_H
#define PE_SEGMENT_H

#include <stdatomic.h>

#include "counters.h"
#include "pe.h"
#include "ring.h"
#include "rt.h"

#define PE_SEGMENT_MAGIC 0x4e474e45594550ull /* "PEYENGN" */
#define PE_EVENT_CAPACITY 1024u
#define PE_LINE _Alignas(64)

/* Head of one block in an audio ring. There is no second index: a block is there when `stamp` says so.
 * Writer: stamp = 0, release fence, data and generation, stamp = block + 1 with release. */
typedef struct PeBlockHead {
  PE_LINE _Atomic uint64_t stamp; /* block + 1; 0 = invalid */
  _Atomic uint64_t generation;
  _Atomic uint64_t hash;          /* of the audio: replicas must agree */
} PeBlockHead;

typedef struct PeSlotShared { /* by the supervisor; prime_ready also by the worker, by compare-and-swap */
  PE_LINE _Atomic uint64_t prime_ready; /* generation x 2 + ready */
  _Atomic uint64_t pin;                 /* records above it are kept for a joiner */
  _Atomic uint64_t playable;            /* generation whose blocks may be played, all or none */
  _Atomic uint32_t alive, seat;
} PeSlotShared;

typedef struct PeSeatShared {
  /* by the supervisor */
  PE_LINE _Atomic uint64_t checkpoint_request; /* generation x 2^16 + number of the request */
  _Atomic uint32_t shutdown, keeper;
  /* by the worker that has the seat */
  PE_LINE _Atomic uint64_t render_head;
  _Atomic uint64_t applied;
  _Atomic uint64_t generation;
  _Atomic uint64_t switch_block; /* where `generation` begins */
  _Atomic uint64_t switch_from;  /* generation that its run had before: it continues that one without a step */
  _Atomic uint64_t heartbeat;
  _Atomic uint32_t marker;       /* node that renders */
  _Atomic uint32_t build_marker; /* node that warms up or catches up, in the other thread */
  _Atomic uint64_t metered;      /* newest block whose levels it measured, + 1 */
  /* it rests, rest.h: from this block, + 1, on (0: it does not) what it runs is silent until something is set */
  _Atomic uint64_t rests_from, rests_applied, rests_generation;
  _Atomic uint32_t rest_blocks;  /* it may be so many behind and is still in time when something comes */
  PE_LINE PeCounter counters[PE_SLOT_COUNTERS];
} PeSeatShared;

/* The level of one node, by the worker that measures it. A reader looks at `who` again after it has read `level`. */
typedef struct PeMeterPlace {
  _Atomic uint64_t who;   /* handle, and in the low 32 bits the block; 0 while it is written */
  _Atomic uint64_t level; /* two floats: the peak, and in the low 32 bits the power */
  _Atomic uint64_t shown[2]; /* of a node without audio: what it shows; the level is 0 */
} PeMeterPlace;

typedef struct PeCheckpointHead {
  PE_LINE _Atomic uint64_t stamp; /* 0 = being written or never was; the higher the newer, within a seat */
  PeCheckpointInfo info;
  uint32_t n_scheduled;
  uint32_t has_run; /* of the plan: before its first block a change does not ramp */
} PeCheckpointHead;

/* A word to wait on, and how many do: a wake without sleepers costs no system call. */
typedef struct PeWake {
  PE_LINE _Atomic uint32_t word;
  _Atomic uint32_t sleepers;
} PeWake;

struct PeSegment {
  uint64_t magic;
  uint32_t version, reserved;
  uint64_t bytes;
  PeConfig config;
  uint32_t ring_blocks, reserved2;
  uint64_t heads_at[PE_SEATS], data_at[PE_SEATS], checkpoint_at[PE_SEATS][2]; /* offsets from the segment's start */
  uint64_t commands_at, journal_at, event_at[PE_EVENT_SOURCES], event_bytes, tap_at, tap_bytes, view_at, meters_at[PE_SEATS];

  /* by the callback */
  PE_LINE _Atomic uint64_t play_block;
  _Atomic uint64_t heard_generation, swapped_generation;
  _Atomic uint64_t swapped_opening; /* the opening of the gate that was used last */
  _Atomic uint64_t view_end;        /* frames ever put into the view */
  _Atomic uint64_t freed_ns;        /* when the newest request came that read a block to its end: CLOCK_MONOTONIC */
  _Atomic uint32_t active_slot, effective_lead;
  _Atomic uint32_t largest_request; /* frames; 0: none yet */
  _Atomic uint32_t steady_request;  /* all that came lately had so many frames; 0: they differ, or are few yet */
  _Atomic uint32_t clock_rests; /* the clock sleeps through silent blocks: play_block may be behind the time */
  _Atomic uint32_t most_touched; /* blocks from play_block on that one request reached, at most */
  PE_LINE PeCounter counters[PE_COUNTERS];
  /* by the supervisor */
  PE_LINE _Atomic uint64_t pending_switch;
  _Atomic uint64_t standby_ready;
  _Atomic uint64_t opening; /* counts pe_gate_open: each is for one swap */
  _Atomic uint64_t keep;    /* records above it are kept for whoever starts from a checkpoint */
  _Atomic uint64_t sync_seq;
  _Atomic uint64_t watch_until; /* blocks below it are measured: somebody watches */
  /* by the intake */
  PE_LINE _Atomic uint64_t newest; /* newest published command */

  PeWake work;   /* workers sleep on it where the clock is free-running */
  PeWake done;   /* the free-running clock sleeps on it */
  PeWake signal; /* the supervisor sleeps on it */
  PeWake pace;   /* a clock that rests sleeps on it */

  PeSlotShared slots[PE_SLOTS];
  PeSeatShared seats[PE_SEATS];
};

static inline void *pe_segment_at(PeSegment *s, uint64_t offset) { return (unsigned char *)s + offset; }
static inline const void *pe_segment_at_const(const PeSegment *s, uint64_t offset) { return (const unsigned char *)s + offset; }

/* The seat whose ring is a slot's at present. */
PE_RT static inline uint32_t pe_seat_of(const PeSegment *s, uint32_t slot) {
  return atomic_load_explicit(&s->slots[slot].seat, memory_order_acquire) % PE_SEATS; /* its ring was in order before */
}

/* Where the states of a seat's checkpoint lie, in one of its two places: checkpoint_bytes of them. [any] */
void *pe_segment_states(PeSegment *s, uint32_t seat, uint32_t place);

/* A seat's audio ring: heads, and planar samples [channel][frame]. */
PE_RT static inline PeBlockHead *pe_block_head(PeSegment *s, uint32_t seat, uint64_t block) {
  return (PeBlockHead *)pe_segment_at(s, s->heads_at[seat]) + (block & (s->ring_blocks - 1));
}

PE_RT static inline float *pe_block_data(PeSegment *s, uint32_t seat, uint64_t block) {
  const size_t floats = (size_t)s->config.block_frames * s->config.n_channels;
  return (float *)pe_segment_at(s, s->data_at[seat]) + (size_t)(block & (s->ring_blocks - 1)) * floats;
}

/* Is the block there? Its generation, if so. Pairs with the release of the stamp. [rt] */
PE_RT static inline int pe_block_is_there(PeSegment *s, uint32_t seat, uint64_t block, uint64_t *generation) {
  PeBlockHead *h = pe_block_head(s, seat, block);
  if (atomic_load_explicit(&h->stamp, memory_order_acquire) != block + 1) return 0; /* see the data stored before it */
  *generation = atomic_load_explicit(&h->generation, memory_order_relaxed);         /* ordered by the stamp */
  return 1;
}

/* May the callback play a block of this generation from the slot's ring, or (PE_PLAY_NONE) of none? [rt] */
PE_RT static inline int pe_slot_plays(const PeSegment *s, uint32_t slot, uint64_t generation) {
  const uint64_t playable = atomic_load_explicit(&s->slots[slot].playable, memory_order_acquire); /* its ring is in order */
  return playable == PE_PLAY_ALL || playable == generation;
}

/* Is a playable block there in a slot's ring? Its generation, if so. [rt] */
PE_RT static inline int pe_slot_has(PeSegment *s, uint32_t slot, uint64_t block, uint64_t *generation) {
  return pe_block_is_there(s, pe_seat_of(s, slot), block, generation) && pe_slot_plays(s, slot, *generation);
}

/* Does a slot that is alive rest? [rt] */
PE_RT static inline int pe_slot_rests(const PeSegment *s, uint32_t slot) {
  const uint64_t from = atomic_load_explicit(&s->seats[pe_seat_of(s, slot)].rests_from, memory_order_acquire); /* and the words with it */
  return from != 0 && atomic_load_explicit(&s->slots[slot].alive, memory_order_acquire) != 0; /* a flag, nothing else */
}

PE_RT static inline PeCommand *pe_stream_record(PeSegment *s, uint64_t seq) {
  return (PeCommand *)pe_segment_at(s, s->commands_at) + (seq & (s->config.n_commands - 1));
}

PE_RT static inline PeRing *pe_event_ring(PeSegment *s, uint32_t source) { return pe_segment_at(s, s->event_at[source]); }

/* Queue an event for the supervisor and raise the signal; counted as lost when the ring is full. [rt] */
PE_RT void pe_event_push(PeSegment *s, const PeEvent *event);

/* Wake whoever sleeps on it. [rt] */
PE_RT void pe_wake(PeWake *w);
/* Wake whoever rests (rest.h), after something was stored that ends it. [rt] */
PE_RT void pe_wake_resting(PeSegment *s);
/* Sleep while the word is `seen`, at most timeout_ns; a hint that may come early. [rt] */
PE_RT void pe_wake_wait(PeWake *w, uint32_t seen, uint64_t timeout_ns);
PE_RT static inline uint32_t pe_wake_seen(const PeWake *w) {
  return atomic_load_explicit(&w->word, memory_order_acquire); /* what was stored before the wake */
}

PE_RT uint64_t pe_now_ns(void);        /* CLOCK_MONOTONIC */
PE_RT uint64_t pe_thread_cpu_ns(void); /* CPU time of this thread */

#endif
