/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Cables into parameters that the modules do not read frame by frame: the plan looks at the cables every PE_CABLE_FRAMES
 * frames and sets the parameter, to the frame, as a command would. A value that is in force already is not set again.
 *
 * When it looks next is part of the node's state. So it is the same for any split into blocks, and goes on through
 * checkpoints and swaps. It begins with the first frame at which the cable is there. */
#include <float.h>

#include "plan.h"

PE_RT PeSampledParam *pe_sampled_find(const PeStep *step, uint32_t param) {
  for (uint32_t i = 0; i < step->n_sampled; i++)
    if (step->sampled[i].param == param) return &step->sampled[i];
  return NULL;
}

PE_RT double pe_sampled_value(const PePlan *plan, const PeStep *step, const PeSampledParam *p, float cable) {
  const PeParam *param = &step->module->params[p->param];
  const double value = (param->flags & PE_PARAM_GATE ? 0.0 : p->state->set) + (double)cable;
  return pe_step_value(plan, param, value == value ? value : param->min);
}

PE_RT void pe_sampled_apply(PeStep *step, uint32_t param, double value) {
  pe_smooth_set(&step->params[param], value, 0); /* what has a ramp of its own in the module goes on having it */
  if (step->module->changed) step->module->changed(step->own, step->params, param, 0);
  step->is_moving = 2;
}

/* Look at the cables where it is time; the frames up to `now` are rendered before anything changes. Returns up to where they are. */
static uint32_t look(PePlan *plan, PeStep *step, uint32_t done, uint32_t now) {
  for (uint32_t i = 0; i < step->n_sampled; i++) {
    const PeSampledParam *p = &step->sampled[i];
    if (p->state->left > 0 && !p->state->is_due) continue;
    p->state->is_due = 0;
    if (p->state->left == 0) p->state->left = PE_CABLE_FRAMES;
    const double value = pe_sampled_value(plan, step, p, p->cable[now]);
    if (value == step->params[p->param].target) continue;
    if (now > done) pe_step_run_part(step, done, now);
    done = now;
    pe_sampled_apply(step, p->param, value);
  }
  return done;
}

/* Frames until the next look, at most n; they count as passed. */
static uint32_t pass(PeStep *step, uint32_t n) {
  for (uint32_t i = 0; i < step->n_sampled; i++) n = step->sampled[i].state->left < n ? step->sampled[i].state->left : n;
  for (uint32_t i = 0; i < step->n_sampled; i++) step->sampled[i].state->left -= n;
  return n;
}

PE_RT void pe_sampled_run(PePlan *plan, PeStep *step, uint32_t n_frames, const PeDue *due, uint32_t at) {
  uint32_t done = 0, d = step->last_due == PE_NONE ? PE_NONE : step->first_due;
  for (uint32_t now = 0; now < n_frames;) {
    uint32_t next = n_frames;
    for (; d != PE_NONE; d = plan->next_due[d]) {
      const PeEmitted c = pe_due_at(plan, due, d, at);
      if (c.frame > now) {
        next = c.frame;
        break;
      }
      if (now > done) pe_step_run_part(step, done, now);
      done = now;
      pe_step_set(plan, step, c.param, c.value, c.how);
    }
    done = look(plan, step, done, now);
    now += pass(step, next - now);
  }
  pe_step_run_part(step, done, n_frames);
  step->first_due = PE_NONE_YET;
  step->last_due = PE_NONE;
}

/* A chunk has one such frame at most. */
PE_RT void pe_sampled_take(PeStep *step, uint32_t n_frames) {
  for (uint32_t i = 0; i < step->n_sampled; i++) {
    const PeSampledParam *p = &step->sampled[i];
    PeSampled *s = p->state;
    if (s->left < n_frames) {
      const float x = p->cable[s->left];
      s->is_due |= s->held != s->taken; /* no room for it in this chunk */
      s->held = s->taken;
      s->taken = x == x ? x : -FLT_MAX; /* NaN gives the least value, as elsewhere, and is equal to itself */
      s->left += PE_CABLE_EVENT_FRAMES;
    }
    s->left -= n_frames;
  }
}

static void carry(PePlan *plan, PePlan *before, const PeSampledCarry *c) {
  PeStep *to = &plan->steps[c->to_step];
  const PeSampledParam *from = c->from == PE_NONE ? NULL : &before->steps[c->from_step].sampled[c->from];
  const PeSampledParam *now = c->to == PE_NONE ? NULL : &to->sampled[c->to];
  if (from && now) {
    *now->state = *from->state;
  } else if (now) {
    *now->state = (PeSampled){.set = to->params[now->param].target, .held = now->rest, .taken = now->rest, .is_due = 1};
  } else if (from && to->params[from->param].target != from->state->set) {
    if (to->module->events)
      pe_events_apply(plan, to, from->param, from->state->set);
    else
      pe_sampled_apply(to, from->param, from->state->set);
  }
}

PE_RT void pe_sampled_carry(PePlan *plan, PePlan *before) {
  for (uint32_t i = 0; i < plan->n_sampled_carries; i++) carry(plan, before, &plan->sampled_carries[i]);
}
