/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Event nodes, asked before a chunk's audio for the commands that take effect in it: see dsp/event.h. */
#include "data.h"
#include "dsp/event.h"
#include "plan.h"

#define MOST_DEPTH 4u /* event nodes that set event nodes that set event nodes */

static void put(const PeEmit *e, uint32_t handle, uint32_t param, double value, uint32_t how);

static PeEmit emit_of(PePlan *plan, const PeStep *step, uint32_t at, uint32_t is_now, uint32_t depth) {
  return (PeEmit){.params = step->params, .data = step->data ? step->data->bytes : NULL, .clock = step->clock ? step->clock->own : NULL,
                  .clock_handle = step->clock ? step->clock->handle : 0, .at = at, .sample_rate_hz = plan->sample_rate_hz,
                  .put = put, .plan = plan, .is_now = is_now, .depth = depth};
}

static void told(PePlan *plan, PeStep *step, uint32_t param, uint32_t at, uint32_t is_now, uint32_t depth) {
  if (step->module->events->told == NULL) return;
  const PeEmit e = emit_of(plan, step, at, is_now, depth);
  step->module->events->told(step->own, &e, param);
}

/* Cables held something: what comes of it and of the setting is told where it is something else than before. */
static void follow(PePlan *plan, PeStep *step, const PeSampledParam *p, uint32_t at, uint32_t is_now, uint32_t depth) {
  const double value = pe_sampled_value(plan, step, p, p->state->held);
  p->state->is_due = 0;
  if (value == step->params[p->param].target) return;
  pe_sampled_apply(step, p->param, value);
  told(plan, step, p->param, at, is_now, depth);
}

static void tell(PePlan *plan, PeStep *step, uint32_t param, double value, uint32_t at, uint32_t is_now, uint32_t depth) {
  pe_step_set(plan, step, param, value, PE_AT_ONCE);
  const PeSampledParam *sampled = pe_sampled_find(step, param);
  if (sampled)
    follow(plan, step, sampled, at, is_now, depth);
  else
    told(plan, step, param, at, is_now, depth);
}

static void put(const PeEmit *e, uint32_t handle, uint32_t param, double value, uint32_t how) {
  PePlan *plan = e->plan;
  PeStep *step = pe_plan_find(plan, handle);
  if (step == NULL || param >= step->module->n_params || value != value) return;
  if (step->module->events) {
    if (e->depth < MOST_DEPTH) tell(plan, step, param, value, e->at, e->is_now, e->depth + 1);
    return;
  }
  if (e->is_now) {
    pe_step_set(plan, step, param, value, how);
  } else if (plan->n_emitted < PE_EMIT_SIZE) {
    plan->emitted[plan->n_emitted++] = (PeEmitted){.step = step, .value = value, .frame = e->at, .param = (uint16_t)param, .how = (uint16_t)how};
  } else {
    plan->n_emit_full++;
  }
}

PE_RT void pe_events_set(PePlan *plan, PeStep *step, uint32_t param, double value) { tell(plan, step, param, value, 0, 1, 0); }

PE_RT void pe_events_apply(PePlan *plan, PeStep *step, uint32_t param, double value) {
  pe_sampled_apply(step, param, value);
  told(plan, step, param, 0, 1, 0);
}

/* ---- a chunk ----------------------------------------------------------------------------------------- */

typedef struct Outside { /* commands that are due, from outside the plan */
  const PeDue *due;
  uint32_t     next, last, at;
} Outside;

static PeStep *outside_step(const PePlan *plan, const Outside *o) {
  const PeCommand *c = &o->due->commands[o->next];
  if (pe_plan_would_apply(plan, c->handle, c->param, c->value) != PE_APPLIED) return NULL;
  PeStep *step = pe_plan_find(plan, c->handle);
  return step->module->events ? step : NULL;
}

static uint32_t outside_frame(const Outside *o) { return (uint32_t)(o->due->commands[o->next].frame - o->due->first_frame) - o->at; }

/* The first frame from `now` on at which cables set something of it. What is held already is in force. */
static uint32_t cables_next(const PeStep *step, uint32_t now) {
  uint32_t next = PE_NEVER;
  for (uint32_t i = 0; i < step->n_sampled; i++) {
    const PeSampled *s = step->sampled[i].state;
    if (s->is_due) return now;
    if (s->held != s->taken && s->left >= now && s->left < next) next = s->left;
  }
  return next;
}

static void follow_cables(PePlan *plan, uint32_t now) {
  for (uint32_t i = 0; i < plan->n_events; i++) {
    PeStep *step = &plan->steps[plan->events[i]];
    for (uint32_t k = 0; k < step->n_sampled; k++) {
      PeSampled *s = step->sampled[k].state;
      const int is_new = s->left == now && s->held != s->taken;
      if (is_new) s->held = s->taken;
      if (is_new || s->is_due) follow(plan, step, &step->sampled[k], now, 0, 0);
    }
  }
}

/* The first frame from `now` on at which anything happens to an event node, PE_NEVER if none. */
static uint32_t next_frame(PePlan *plan, Outside *o, uint32_t now) {
  while (o->next < o->last && outside_step(plan, o) == NULL) o->next++;
  uint32_t next = o->next < o->last ? outside_frame(o) : PE_NEVER;
  for (uint32_t i = 0; i < plan->n_events; i++) {
    PeStep *step = &plan->steps[plan->events[i]];
    const uint32_t set = cables_next(step, now);
    next = set < next ? set : next;
    if (step->module->events->next == NULL) continue;
    const PeEmit e = emit_of(plan, step, now, 0, 0);
    const uint32_t frame = step->module->events->next(step->own, &e);
    next = frame < next ? frame : next;
  }
  return next;
}

static void tell_outside(PePlan *plan, Outside *o, uint32_t now) {
  for (; o->next < o->last && outside_frame(o) == now; o->next++) {
    PeStep *step = outside_step(plan, o);
    if (step) tell(plan, step, o->due->commands[o->next].param, o->due->commands[o->next].value, now, 0, 0);
  }
}

static void emit_at(PePlan *plan, uint32_t now, _Atomic uint32_t *marker) {
  for (uint32_t i = 0; i < plan->n_events; i++) {
    PeStep *step = &plan->steps[plan->events[i]];
    const PeEventOps *ops = step->module->events;
    if (ops->next == NULL) continue;
    const PeEmit e = emit_of(plan, step, now, 0, 0);
    atomic_store_explicit(marker, step->handle, memory_order_relaxed); /* read after a death only */
    if (ops->next(step->own, &e) == now) ops->emit(step->own, &e);
  }
}

/* What they show is read and never written, as levels are. */
static void show(PePlan *plan) {
  for (uint32_t i = 0; i < plan->n_events; i++) {
    const PeStep *step = &plan->steps[plan->events[i]];
    if (step->module->events->show == NULL || !pe_meter_wants(plan->meter, plan->events[i])) continue;
    const PeEmit e = emit_of(plan, step, 0, 0, 0);
    uint64_t shown[2] = {0};
    step->module->events->show(step->own, &e, shown);
    pe_meter_show(plan->meter, plan->events[i], step->handle, shown);
  }
}

PE_RT void pe_events_run(PePlan *plan, uint32_t n_frames, const PeDue *due, uint32_t first, uint32_t last, uint32_t at, _Atomic uint32_t *marker) {
  Outside o = {.due = due, .next = first, .last = last, .at = at};
  uint32_t left = PE_EMIT_SIZE; /* moments of one chunk: none goes on for ever at one frame */
  plan->n_emitted = 0;
  for (uint32_t i = 0; i < plan->n_events; i++) pe_step_touch(plan, &plan->steps[plan->events[i]]);
  for (uint32_t now = next_frame(plan, &o, 0); now < n_frames; now = next_frame(plan, &o, now)) {
    if (left-- == 0) {
      plan->n_emit_full++;
      for (now = n_frames; o.next < o.last; now = outside_frame(&o)) tell_outside(plan, &o, now); /* what was asked for is done, however late */
      break;
    }
    tell_outside(plan, &o, now);
    follow_cables(plan, now);
    emit_at(plan, now, marker);
  }
  for (uint32_t i = 0; i < plan->n_events; i++) {
    const PeStep *step = &plan->steps[plan->events[i]];
    if (step->module->events->advance) step->module->events->advance(step->own, n_frames);
  }
  if (plan->meter) show(plan);
}

/* ---- from plan to plan ------------------------------------------------------------------------------ */

PE_RT void pe_events_carry(PePlan *plan, PePlan *before) {
  for (uint32_t i = 0; i < before->n_events; i++) {
    const PeStep *old = &before->steps[before->events[i]];
    const PeEventOps *ops = old->module->events;
    const PeStep *step = pe_plan_find(plan, old->handle);
    const int is_carried = step && step->is_carried && step->module == old->module;
    if (ops->end == NULL || (is_carried && step->data == old->data)) continue;
    PeEmit e = emit_of(plan, old, 0, 1, 0); /* its data; but what it sets is what sounds from now on */
    e.params = is_carried ? step->params : old->params;
    ops->end(is_carried ? step->own : old->own, &e, is_carried && step->data ? step->data->bytes : NULL);
  }
}
