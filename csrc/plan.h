/* A patch made ready to run: a flat, ordered list of steps over preassigned buffers.
 *
 * The states of all nodes lie in one block of plain bytes, whose layout is a function of the patch alone:
 * that block is what is checkpointed, hashed and carried. */
#ifndef PE_PLAN_H
#define PE_PLAN_H

#include <stdatomic.h>

#include "dsp/module.h"

#define PE_ACCUMULATORS 16u /* cable i of a sum goes to accumulator i mod 16: DESIGN.md, same bits */

typedef struct PeSum {
  float        *dest;
  const float **sources;
  uint32_t      n_sources;
} PeSum;

typedef struct PeStep {
  const PeModule *module;
  uint64_t        state_at; /* parameters, then the module's own state */
  uint64_t        own_at;
  uint32_t        handle, n_sums;
  const float   **inputs;
  float         **outputs;
  const float   **mods;
  PeSum          *sums;     /* done before the step */
  uint8_t         is_carried; /* its state came from another plan: it has sounded */
} PeStep;

typedef struct PeCarry { /* one node's state from the plan before */
  uint64_t from, to, bytes;
} PeCarry;

struct PePlan {
  double    sample_rate_hz;
  uint32_t  max_block_frames, n_channels, n_steps, n_handles;
  PeStep   *steps;         /* in the order they run */
  uint32_t *by_handle;     /* step numbers in order of handle */
  unsigned char *states;
  uint64_t  state_bytes;
  PeSum     output;        /* all nodes without an outgoing cable; dest is unused */
  float    *buffers;
  void     *memory;        /* steps, pointers: one allocation */
  int       has_run;       /* something of it has been rendered: changes ramp from now on */

  /* how it is turned to, filled in by the worker's setup side */
  uint64_t  generation;
  uint32_t  fade_frames, n_carries;
  PeCarry  *carries;
};

/* Render n_frames (at most max_block_frames) into planes[n_channels]. The marker tells which node runs. [rt & active] */
PE_RT void pe_plan_run(PePlan *plan, float *const *planes, uint32_t n_frames, _Atomic uint32_t *marker);

typedef enum PeApplied { PE_APPLIED, PE_APPLIED_NOT, PE_APPLIED_REFUSED } PeApplied;

/* Set a parameter: clamped to its range; NaN is refused; PE_APPLIED_NOT when the plan has no such node or parameter. [rt] */
PE_RT PeApplied pe_plan_apply(PePlan *plan, uint32_t handle, uint32_t param, double value, int is_immediate);

/* Copy the states that are carried from the plan before. [rt] */
PE_RT void pe_plan_carry(PePlan *plan, const PePlan *before);

/* The step of a handle, NULL if there is none. [rt] */
PE_RT PeStep *pe_plan_find(const PePlan *plan, uint32_t handle);

/* pe_plan_warmup with a marker to tell which node runs, should it never return. [setup] */
PeStatus pe_plan_measure(PePlan *plan, uint32_t n_blocks, uint32_t block_frames, const volatile uint32_t *stop,
                         _Atomic uint32_t *marker, PeWarmup *result);

/* Fill in the list of states to be carried from `before`: same handle, type and state version. [setup] */
PeStatus pe_plan_match(PePlan *plan, const PePlan *before);

#endif
