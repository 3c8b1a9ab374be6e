/* A run: a plan that is being rendered, with the commands that wait and the crossfade it is in.
 * The same code renders live, beside the running plan while a worker joins, and offline. */
#ifndef PE_RENDER_H
#define PE_RENDER_H

#include "plan.h"
#include "schedule.h"

typedef struct PeRun {
  PePlan    *plan;
  PePlan    *fading;     /* the plan before, while the crossfade lasts */
  uint64_t   generation;
  uint64_t   applied;    /* newest command taken */
  uint32_t   fade_at, fade_frames;
  uint64_t   n_late, n_schedule_full, n_unknown, n_refused, n_not_finite, n_emit_full;
  float     *scratch;    /* [n_channels][max_block_frames] for the fading plan */
  PeCommand *due;        /* [PE_SCHEDULE_SIZE] those of the schedule that take effect within the frames at work */
  PeSchedule schedule;
} PeRun;

/* Take one command at `first_frame`: apply it, or put it on the schedule. Not for PE_COMMAND_SWITCH. [rt] */
PE_RT void pe_run_take(PeRun *run, const PeCommand *command, int64_t first_frame);

/* Turn to `plan` from the next frame on; the plan before it goes on beside it for plan->fade_frames.
 * Returns a plan that nothing runs any more (the one before, or one whose fade was cut), or NULL. [rt] */
PE_RT PePlan *pe_run_turn(PeRun *run, PePlan *plan);

/* Render n_frames from first_frame into planes; a scheduled command takes effect at its frame, and splits the node it
 * is for and no other. Returns the plan whose
 * crossfade ended in these frames, or NULL. [rt & active] */
PE_RT PePlan *pe_run_render(PeRun *run, int64_t first_frame, uint32_t n_frames, float *const *planes, _Atomic uint32_t *marker);

/* A run of `plan` with nothing taken yet; frees what pe_run_free is given, plans included. [setup] */
PeStatus pe_run_new(PePlan *plan, uint64_t generation, PeRun **run);
void pe_run_free(PeRun *run);

#endif
