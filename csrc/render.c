/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "render.h"

static void run_apply(PeRun *run, const PeCommand *c) {
  if (c->kind != PE_COMMAND_PARAM) return;
  const int is_immediate = (c->flags & PE_COMMAND_IMMEDIATE) != 0;
  const PeApplied applied = pe_plan_apply(run->plan, c->handle, c->param, c->value, is_immediate);
  if (run->fading) pe_plan_apply(run->fading, c->handle, c->param, c->value, is_immediate);
  run->n_unknown += applied == PE_APPLIED_NOT;
  run->n_refused += applied == PE_APPLIED_REFUSED;
}

/* What waits for this frame or an earlier one was numbered before anything that is still to be taken. */
PE_RT_APART static void run_apply_due(PeRun *run, int64_t frame) {
  for (const PeCommand *due = pe_schedule_first(&run->schedule); due && due->frame <= frame; due = pe_schedule_first(&run->schedule)) {
    run_apply(run, due);
    pe_schedule_drop_first(&run->schedule);
  }
}

PE_RT void pe_run_take(PeRun *run, const PeCommand *c, int64_t first_frame) {
  const PeFpMode mode = pe_fp_enter(); /* as for those that wait: a ramp has the same bits either way */
  run_apply_due(run, first_frame);
  if (c->frame < 0 || c->frame <= first_frame) {
    run->n_late += c->frame >= 0 && c->frame < first_frame;
    run_apply(run, c);
  } else if (!pe_schedule_add(&run->schedule, c)) {
    run->n_schedule_full++;
    run_apply(run, c);
  }
  pe_fp_leave(mode);
}

PE_RT PePlan *pe_run_turn(PeRun *run, PePlan *plan) {
  PePlan *done = run->fading;
  PePlan *before = run->plan;
  pe_plan_carry(plan, before);
  run->plan = plan;
  run->generation = plan->generation;
  run->fade_at = 0;
  run->fade_frames = plan->fade_frames;
  run->fading = NULL;
  if (run->fade_frames > 0 && done == NULL)
    run->fading = before;
  else if (done == NULL)
    done = before;
  else
    run->fading = before; /* a fade was cut short by a second turn: its plan is handed back, this one fades */
  return done;
}

/* Weight of the new plan: 0 to 1 with level ends (3t^2 - 2t^3), equal gain. See docs/architecture.md. */
static float fade_weight(uint32_t at, uint32_t n) {
  const float t = (float)(at + 1) / (float)n;
  return t * t * (3.0f - 2.0f * t);
}

PE_RT_APART static void run_fade(PeRun *run, uint32_t n, float *const *planes, const PeDue *due, _Atomic uint32_t *marker) {
  float *old[PE_MAX_CHANNELS];
  const uint32_t left = run->fade_frames - run->fade_at;
  const uint32_t n_fade = n < left ? n : left;
  for (uint32_t c = 0; c < run->plan->n_channels; c++) old[c] = run->scratch + (size_t)c * run->plan->max_block_frames;
  pe_plan_run(run->fading, old, n, due, marker);
  for (uint32_t c = 0; c < run->plan->n_channels; c++)
    for (uint32_t f = 0; f < n_fade; f++)
      planes[c][f] = old[c][f] + fade_weight(run->fade_at + f, run->fade_frames) * (planes[c][f] - old[c][f]);
  run->fade_at += n_fade;
}

/* What is NaN or infinite is not put out, whatever a module does. */
static uint64_t make_finite(float *x, uint32_t n) {
  uint64_t n_found = 0;
  for (uint32_t f = 0; f < n; f++)
    if (x[f] - x[f] != 0.0f) {
      x[f] = 0.0f;
      n_found++;
    }
  return n_found;
}

/* Take what is due before frame `end` off the schedule, in order. */
PE_RT_APART static void take_due(PeRun *run, PeDue *due, int64_t end) {
  for (const PeCommand *c = pe_schedule_first(&run->schedule); c && c->frame < end; c = pe_schedule_first(&run->schedule)) {
    if (c->kind == PE_COMMAND_PARAM) {
      const PeApplied applied = pe_plan_would_apply(run->plan, c->handle, c->param, c->value);
      run->n_unknown += applied == PE_APPLIED_NOT;
      run->n_refused += applied == PE_APPLIED_REFUSED;
      run->due[due->n++] = *c;
    }
    pe_schedule_drop_first(&run->schedule);
  }
}

PE_RT PePlan *pe_run_render(PeRun *run, int64_t first_frame, uint32_t n_frames, float *const *planes, _Atomic uint32_t *marker) {
  const PeFpMode mode = pe_fp_enter();
  PeDue due = {.commands = run->due, .first_frame = first_frame};
  if (run->schedule.n > 0) {
    run_apply_due(run, first_frame);
    take_due(run, &due, first_frame + n_frames);
  }
  int is_broken = pe_plan_run(run->plan, planes, n_frames, &due, marker);
  if (run->plan->n_emit_full > 0) {
    run->n_emit_full += run->plan->n_emit_full;
    run->plan->n_emit_full = 0;
  }
  if (run->fading) {
    run_fade(run, n_frames, planes, &due, marker);
    is_broken = 1; /* it may be: two that are finite can be too far apart */
  }
  for (uint32_t c = 0; is_broken && c < run->plan->n_channels; c++) run->n_not_finite += make_finite(planes[c], n_frames);
  pe_fp_leave(mode);
  if (run->fading == NULL || run->fade_at < run->fade_frames) return NULL;
  PePlan *done = run->fading;
  run->fading = NULL;
  return done;
}
