/* A patch made ready to run: a flat, ordered list of steps over preassigned buffers, rendered in chunks of at most
 * PE_CHUNK_FRAMES frames, so that all buffers stay in cache.
 *
 * The states of all nodes lie in one block of plain bytes, whose layout is a function of the patch alone:
 * that block is what is checkpointed, hashed and carried. Whether a node runs as a step of its own or as a lane of a
 * bank changes neither a state nor a bit of the output. */
#ifndef PE_PLAN_H
#define PE_PLAN_H

#include <stdatomic.h>

#include "capture.h"
#include "dsp/module.h"
#include "meter.h"
#include "mix.h"

#define PE_ACCUMULATORS 16u /* cable i of a sum goes to accumulator i mod 16: DESIGN.md, same bits */
#define PE_NONE 0xffffffffu
#define PE_NONE_YET 0xfffffffeu /* see PeStep.first_due */
#define PE_BANK_NODES 64u    /* most nodes of one tree in a bank */
#define PE_MARK_BYTES (256u << 10) /* most states of a plan that is looked at for whether it repeats: some 20 us */
#define PE_EMIT_SIZE 4096u   /* most commands that event nodes put out in a chunk */

typedef struct PeScale { /* of a cable */
  float depth, offset;
} PeScale;

typedef struct PeSum {
  float         *dest;
  const float  **sources;
  const PeScale *scales;    /* [n_sources], NULL where all are taken as they are */
  uint32_t       n_sources;
} PeSum;

typedef struct PeFeed { /* of a cable */
  uint32_t step, to_param; /* where it comes from */
} PeFeed;

typedef struct PeSampled { /* part of the states, behind the node's own: a parameter that cables set in steps */
  double   set;         /* what it was set to; its target is what is in force */
  float    held, taken; /* of an event node: the cables' sum that is in force, and the one that is from frame `left` on */
  uint32_t left;        /* frames until the cables are looked at */
  uint32_t is_due;      /* they are at the next frame too: it was set, or they are new */
} PeSampled;
_Static_assert(sizeof(PeSampled) == 24, "no padding in a state");

typedef struct PeSampledParam {
  uint32_t     param;
  float        rest;   /* what the cables put out when nothing comes in */
  const float *cable;  /* the chunk's, summed before the step */
  PeSampled   *state;
} PeSampledParam;

typedef struct PeStep { /* a node */
  const PeModule *module;
  void (*process)(void *state, const PeBlock *block); /* for the instruction set in use */
  PeSmooth       *params;
  void           *own;      /* the module's own state, behind the parameters */
  uint64_t        state_at, state_bytes; /* parameters, own state, what cables set in steps */
  float          *memory;   /* behind all states; NULL without */
  PeData         *data;     /* NULL without */
  uint32_t        handle, n_sums, memory_slots;
  const float   **inputs;
  float         **outputs;
  const float   **mods;
  PeSum          *sums;       /* done before the step */
  uint32_t        bank, node, lane;   /* its place in a bank; bank is PE_NONE where it runs by itself */
  uint32_t        first_due, last_due; /* commands for it in this chunk: places in PePlan.next_due, or PE_NONE. Without any the
                                        * first is PE_NONE_YET where the plan has to look at cables: one test for both */
  uint32_t        n_sampled;
  PeSampledParam *sampled;  /* [n_sampled]; those parameters' mods are NULL */
  const struct PeStep *clock; /* that it follows, of an event node; NULL without */
  uint32_t        first_feed, n_feeds; /* in PePlan.feeds: where its cables come from */
  uint8_t         is_carried; /* its state came from another plan: it has sounded */
  uint8_t         is_moving;  /* 2: a parameter may be on its ramp; 1: all stand, but the module has not seen them so */
  uint8_t         has_mods;   /* the module reads cables of a parameter */
  uint8_t         is_plain;   /* nothing is to be summed for it, and no cable to be looked at */
  uint8_t         is_held;    /* since parameters stand, the module has said that it `holds` */
  struct PeScaled *scaled;    /* NULL unless the node behind it may come to a factor of what it puts out */
  PeBlock         block;      /* all of a run that stays the same */
} PeStep;

typedef struct PeScaled { /* two nodes in one call */
  PeStep *by;    /* the second: it alone takes all that the first puts out */
  PeBlock block; /* of the first, but that it writes where the second does, and multiplies */
} PeScaled;

typedef struct PeBankPort { /* an input of all lanes: a sum of nodes of the bank and of what comes from outside */
  uint32_t      n_sources;
  const float **sources;    /* [frame][lane]; summed into `dest` where there is more than one */
  float        *dest;
  uint32_t     *children;   /* [n_sources] node numbers in the bank, PE_NONE for what comes from outside */
  const float **outside;    /* [n_sources][PE_LANES] mono buffers, NULL for a lane without one; copied into `gathered` */
  float       **gathered;   /* [n_sources] */
} PeBankPort;

typedef struct PeBankNode { /* one node of each of up to PE_LANES equal voices */
  const PeModule *module;
  void (*process)(const PeBankBlock *block);
  void (*process_half)(const PeBankBlock *block); /* cheaper where all lanes lie in one half */
  PeStep      *steps[PE_LANES]; /* NULL where there is no voice */
  void        *states[PE_LANES];
  void        *cache;
  PeBankPort  *ports;     /* [n_inputs] */
  const float **inputs;   /* [n_inputs] */
  float       *output;    /* [frame][lane] */
  uint32_t     is_fed;    /* an input has to be gathered or summed first */
  uint32_t     changed;   /* lanes to be refreshed before the next run */
  /* of this chunk: lanes with commands; going alone; known to be +0; to be rendered */
  uint32_t     due, alone, silent, rendered;
} PeBankNode;

typedef struct PeBank {
  PeBankNode *nodes;   /* sources before what they feed; the last one is the root */
  uint32_t    n_nodes;
  uint32_t    lanes;   /* those that hold a voice */
  uint32_t    heard;   /* lanes of this chunk whose root is not silent */
  uint32_t    is_touched;  /* a node has a command or changed lanes */
  uint32_t    is_steady;   /* every lane of every node was rendered with the others, and will be until it is touched */
  uint32_t    is_resident; /* the states' moving parts are in the caches */
  uint32_t    is_idle;     /* nothing was rendered in the last chunk, nor will be until it is touched */
  uint32_t    idle_frames; /* that the states have not been advanced by yet */
  float     **out;     /* [PE_LANES] mono buffers for the root's output, NULL where the output takes it as it is */
} PeBank;

typedef struct PeUnit { /* a step of its own, or a bank (step is PE_NONE) */
  uint32_t step, bank;
} PeUnit;

typedef struct PeHeardSource { /* of the output, in order of accumulators' turns: a bank in its lanes, or a step */
  uint32_t     bank, lane;
  const float *mono;
} PeHeardSource;

typedef struct PeMemory { /* of a node, as places in the states */
  uint64_t count_at, at;
  uint64_t slots, slot_bytes;
} PeMemory;

typedef struct PeCarry { /* one node's state from the plan before */
  uint64_t from, to, bytes;
  uint32_t from_memory, to_memory; /* numbers in the two plans, PE_NONE without */
} PeCarry;

typedef struct PeSampledCarry { /* a parameter that cables set in steps before, or now, of a node that is carried */
  uint32_t from_step, from; /* number in the step's `sampled`, PE_NONE: it had no cable */
  uint32_t to_step, to;     /* PE_NONE: it has none now */
} PeSampledCarry;

typedef struct PeEmitted { /* a command that an event node put out */
  PeStep  *step;
  double   value;
  uint32_t frame;  /* of the chunk */
  uint16_t param, how; /* PE_RAMPED ... of dsp/module.h */
} PeEmitted;

struct PePlan {
  double    sample_rate_hz;
  uint32_t  max_block_frames, n_channels, n_steps, n_handles;
  uint32_t  chunk_frames, position; /* the former a power of two; frames rendered so far, modulo PE_CHUNK_FRAMES */
  PeStep   *steps;         /* in the order of their states: chains stay together */
  uint32_t *by_handle;     /* step numbers in order of handle */
  PeUnit   *units;         /* in the order they run */
  uint32_t  n_units, n_banks, n_heard;
  const PeMix *mix;        /* for the instruction set in use */
  PeBank   *banks;
  unsigned char *states;
  uint64_t  plain_bytes, state_bytes; /* without memories, which come behind; and with them */
  PeMemory *memories;
  uint32_t  n_memories, n_absorbing, n_sampled; /* the last: parameters that cables set in steps */
  uint32_t *absorbing;     /* step numbers; event nodes with cables too */
  PeSum    *sides;         /* [n_channels]: what is heard there alone; NULL where nothing is */
  uint32_t  n_data;
  PeData  **data;
  int       is_straight;   /* it has a finisher, and nothing but audio */
  PeStep   *finisher;      /* all that is heard, and puts it out as it is to be heard; NULL without */
  PeSum     output;        /* what is heard in all channels, where nothing of it is in a bank; dest is unused */
  PeHeardSource *heard;    /* the same, where one is: [n_heard] */
  float    *accumulators;  /* [PE_CHUNK_FRAMES][PE_ACCUMULATORS] */
  float    *alone;         /* for a lane that is rendered alone: a chunk for each node of a bank */
  uint32_t *next_due;      /* [PE_SCHEDULE_SIZE + PE_EMIT_SIZE] links from a due command to the next one for the same step; the latter emitted ones */
  uint32_t *events;        /* numbers of event nodes' steps, in the order they come at one frame */
  uint32_t  n_events, n_emitted;
  PeEmitted *emitted;      /* [PE_EMIT_SIZE] of this chunk */
  uint64_t  n_emit_full;   /* that found no room */
  float    *buffers, *bank_buffers; /* one allocation, with the two above */
  void     *caches;
  void     *memory;        /* steps, pointers: one allocation */
  PeFeed   *feeds;         /* where cables come from, by destination */
  uint32_t *roots;         /* step numbers: what is heard, and event nodes */
  uint32_t *visits;        /* [n_steps] a stack */
  uint8_t  *is_visited;    /* [n_steps] */
  uint32_t  n_roots;
  unsigned char *mark;     /* [plain_bytes] of pe_plan_mark; NULL: too much for it */
  PeCapture capture;       /* of the plain states, for a checkpoint that is under way */
  PeMeter  *meter;         /* measures what is rendered at this moment; NULL: nobody watches */
  int       has_run;       /* something of it has been rendered: changes ramp from now on */

  void     *offline_run;   /* of pe_render_offline, kept for the next call */
  void    (*offline_free)(void *run);

  /* how it is turned to, filled in by the worker's setup side */
  uint64_t  generation;
  uint32_t  fade_frames, n_carries, n_sampled_carries;
  PeCarry  *carries;
  PeSampledCarry *sampled_carries;
};

typedef struct PeDue { /* commands that take effect in the frames to be rendered, in their order */
  const PeCommand *commands;
  uint32_t         n;
  int64_t          first_frame; /* of what is rendered */
} PeDue;

/* Render n_frames (at most max_block_frames) into planes[n_channels]. The marker tells which node runs, of a bank its first. Returns whether
 * there is a NaN or an infinity in it. [rt & active] */
PE_RT int pe_plan_run(PePlan *plan, float *const *planes, uint32_t n_frames, const PeDue *due, _Atomic uint32_t *marker);

/* Keep the states as they are now, and whether what is heard will repeat from then on as long as nothing is set: all that
 * it depends on has come back to the same state. 0 also where the plan has too many states to look at. [rt] */
PE_RT int pe_plan_mark(PePlan *plan);
PE_RT int pe_plan_repeats(PePlan *plan);

/* n_frames (at most PE_CHUNK_FRAMES) of a bank, from frame `at` of what is rendered. [rt & active] */
PE_RT void pe_bank_run(PePlan *plan, PeBank *bank, uint32_t n_frames, const PeDue *due, uint32_t at, _Atomic uint32_t *marker);

/* Ask the event nodes for the next n_frames, from frame `at` of what is rendered, and tell them the commands due[first, last)
 * that are for them; what they put out is in plan->emitted, in order of frame. [rt & active] */
PE_RT void pe_events_run(PePlan *plan, uint32_t n_frames, const PeDue *due, uint32_t first, uint32_t last, uint32_t at, _Atomic uint32_t *marker);

/* A parameter of an event node is set between two blocks; what it puts out takes effect at once. [rt] */
PE_RT void pe_events_set(PePlan *plan, PeStep *step, uint32_t param, double value);

/* Cables, not a command, give a parameter of an event node a value between two blocks. [rt] */
PE_RT void pe_events_apply(PePlan *plan, PeStep *step, uint32_t param, double value);

/* Event nodes of the plan before that are gone, or have other data, end what they began. [rt] */
PE_RT void pe_events_carry(PePlan *plan, PePlan *before);

/* Sum in an order that is a function of the patch alone: source i goes to accumulator i mod 16, accumulators start at
 * +0.0, then a fixed tree. [rt] */
PE_RT void pe_sum(const PeSum *sum, float *dest, uint32_t n_frames);

/* A node's frames, split where commands for it are due. The pointers are those of the step's ports. [rt & active] */
PE_RT void pe_step_run(PePlan *plan, PeStep *step, uint32_t n_frames, const PeDue *due, uint32_t at);

/* Set a parameter of a step: clamped, rounded, how: PE_RAMPED, PE_AT_ONCE, PE_RETUNED. One that cables set in steps is told at its
 * next frame. [rt] */
PE_RT void pe_step_set(PePlan *plan, PeStep *step, uint32_t param, double value, uint32_t how);

/* What a number becomes as the value of a parameter: clamped, rounded. [rt] */
PE_RT double pe_step_value(const PePlan *plan, const PeParam *param, double value);

/* What is in force where cables put out `cable` besides the setting. [rt] */
PE_RT double pe_sampled_value(const PePlan *plan, const PeStep *step, const PeSampledParam *p, float cable);

/* The parameter's place among those that cables set in steps; NULL if it is none. [rt] */
PE_RT PeSampledParam *pe_sampled_find(const PeStep *step, uint32_t param);

/* The value is in force from now on, without a ramp. [rt] */
PE_RT void pe_sampled_apply(PeStep *step, uint32_t param, double value);

/* The next n frames of a node with such parameters, split where one changes and where commands are due. [rt & active] */
PE_RT void pe_sampled_run(PePlan *plan, PeStep *step, uint32_t n_frames, const PeDue *due, uint32_t at);

/* An event node takes from the cables of this chunk what is in force from the next one on. [rt] */
PE_RT void pe_sampled_take(PeStep *step, uint32_t n_frames);

/* The settings, and where the cables are, from the plan before; what has lost its cable is what it was set to. [rt] */
PE_RT void pe_sampled_carry(PePlan *plan, PePlan *before);

/* Frames `from` to `to` of the chunk. [rt & active] */
PE_RT void pe_step_run_part(PeStep *step, uint32_t from, uint32_t to);

/* Due command d, PE_NONE without, as one of the chunk. [rt] */
PE_RT PeEmitted pe_due_at(const PePlan *plan, const PeDue *due, uint32_t d, uint32_t at);

/* The parameters of a step n frames on; tells in is_moving whether any still moves. [rt] */
PE_RT void pe_step_advance(PeStep *step, uint32_t n_frames);

typedef enum PeApplied { PE_APPLIED, PE_APPLIED_NOT, PE_APPLIED_REFUSED } PeApplied;

/* Set a parameter: clamped to its range; NaN is refused; PE_APPLIED_NOT when the plan has no such node or parameter. [rt] */
PE_RT PeApplied pe_plan_apply(PePlan *plan, uint32_t handle, uint32_t param, double value, int is_immediate);

/* What pe_plan_apply would answer. [rt] */
PE_RT PeApplied pe_plan_would_apply(const PePlan *plan, uint32_t handle, uint32_t param, double value);

/* States were written from outside: nothing that was derived from them holds any more. [rt] */
PE_RT void pe_plan_touched(PePlan *plan);

/* Bring the states up to date that banks at rest, or steady ones, have not; before anything reads them. [rt] */
PE_RT void pe_plan_settle(PePlan *plan);

/* The same for one bank. [rt] */
PE_RT void pe_bank_settle(PePlan *plan, PeBank *bank);

/* The plain states as they are now, to be copied (unless NULL) and hashed piece by piece, pe_capture_take(&plan->capture):
 * whatever is rendered or set meanwhile. [rt] */
PE_RT void pe_plan_capture(PePlan *plan, unsigned char *to);

/* The state of a step is about to change. [rt] */
PE_RT static inline void pe_step_touch(PePlan *plan, const PeStep *step) {
  if (plan->capture.n_left > 0) pe_capture_touch(&plan->capture, step->state_at, step->state_bytes);
}

/* Copy the slots that were written behind number `before` of a memory; more where those are gone. [rt] */
PE_RT void pe_memory_copy(const PeMemory *m, const unsigned char *from_states, const PeMemory *to, unsigned char *to_states, uint64_t before);

/* Slots that a memory has written so far. [rt] */
PE_RT uint64_t pe_memory_count(const PeMemory *m, const unsigned char *states);

/* Copy the states that are carried from the plan before. [rt] */
PE_RT void pe_plan_carry(PePlan *plan, PePlan *before);

/* The step of a handle, NULL if there is none. [rt] */
PE_RT PeStep *pe_plan_find(const PePlan *plan, uint32_t handle);

/* pe_plan_warmup with a marker to tell which node runs, should it never return. [setup] */
PeStatus pe_plan_measure(PePlan *plan, uint32_t n_blocks, uint32_t block_frames, const volatile uint32_t *stop,
                         _Atomic uint32_t *marker, PeWarmup *result);

/* Fill in the list of states to be carried from `before`: same handle, type and state version. [setup] */
PeStatus pe_plan_match(PePlan *plan, const PePlan *before);

#endif
