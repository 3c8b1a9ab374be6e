/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "plan.h"

#include <string.h>

#include "data.h"

PE_RT PeStep *pe_plan_find(const PePlan *plan, uint32_t handle) {
  uint32_t low = 0, high = plan->n_handles;
  while (low < high) {
    const uint32_t mid = low + (high - low) / 2;
    const uint32_t h = plan->steps[plan->by_handle[mid]].handle;
    if (h == handle) return &plan->steps[plan->by_handle[mid]];
    if (h < handle)
      low = mid + 1;
    else
      high = mid;
  }
  return NULL;
}

/* Absent accumulators would add +0.0, which changes no bit: left out. */
static void sum_chunk(float *dest, const float *const *sources, const PeScale *scales, uint32_t n_sources, uint32_t at, uint32_t n) {
  float acc[PE_ACCUMULATORS][PE_CHUNK_FRAMES];
  const uint32_t used = n_sources < PE_ACCUMULATORS ? n_sources : PE_ACCUMULATORS;
  for (uint32_t i = 0; i < n_sources; i++) {
    float *a = acc[i % PE_ACCUMULATORS];
    const float *x = sources[i] + at;
    float scaled[PE_CHUNK_FRAMES];
    if (scales && (scales[i].depth != 1.0f || scales[i].offset != 0.0f)) {
      for (uint32_t f = 0; f < n; f++) scaled[f] = x[f] * scales[i].depth + scales[i].offset;
      x = scaled;
    }
    if (i < PE_ACCUMULATORS)
      for (uint32_t f = 0; f < n; f++) a[f] = 0.0f + x[f];
    else
      for (uint32_t f = 0; f < n; f++) a[f] += x[f];
  }
  for (uint32_t stride = PE_ACCUMULATORS / 2; stride > 0; stride /= 2)
    for (uint32_t a = 0; a + stride < used && a < stride; a++)
      for (uint32_t f = 0; f < n; f++) acc[a][f] += acc[a + stride][f];
  memcpy(dest + at, acc[0], n * sizeof(float));
}

PE_RT void pe_sum(const PeSum *s, float *dest, uint32_t n_frames) {
  if (s->n_sources == 0) {
    memset(dest, 0, n_frames * sizeof(float));
    return;
  }
  for (uint32_t at = 0; at < n_frames; at += PE_CHUNK_FRAMES)
    sum_chunk(dest, s->sources, s->scales, s->n_sources, at, n_frames - at < PE_CHUNK_FRAMES ? n_frames - at : PE_CHUNK_FRAMES);
}

/* ---- one step ---------------------------------------------------------------------------------- */

static double param_max(const PePlan *plan, const PeParam *p) {
  return p->flags & PE_PARAM_NYQUIST ? plan->sample_rate_hz * 0.5 - 10.0 : p->max;
}

PE_RT double pe_step_value(const PePlan *plan, const PeParam *p, double value) {
  const double max = param_max(plan, p);
  value = (value < p->min ? p->min : value > max ? max : value) + 0.0; /* never -0: whether a ramp ends on it would depend on how it was split */
  if (p->flags & PE_PARAM_GATE) return value >= 0.5 ? 1.0 : 0.0;
  return p->flags & PE_PARAM_INTEGER ? (double)(int64_t)(value + 0.5) : value;
}

static uint32_t ramp_frames(const PePlan *plan, const PeParam *p, uint32_t how) {
  if (how == PE_AT_ONCE || !(p->flags & PE_PARAM_RAMPED)) return 0;
  const int is_short = how == PE_RETUNED && p->flags & PE_PARAM_TUNES && p->ramp_us > PE_RETUNE_US;
  return (uint32_t)((is_short ? PE_RETUNE_US : p->ramp_us) * plan->sample_rate_hz / 1.0e6 + 0.5);
}

PE_RT void pe_step_set(PePlan *plan, PeStep *step, uint32_t param, double value, uint32_t how) {
  const PeParam *p = &step->module->params[param];
  const int is_new = !plan->has_run && !step->is_carried;
  pe_step_touch(plan, step);
  if (step->bank != PE_NONE) pe_bank_settle(plan, &plan->banks[step->bank]);
  value = pe_step_value(plan, p, value);
  PeSampledParam *sampled = pe_sampled_find(step, param);
  if (sampled) {
    sampled->state->set = value;
    sampled->state->is_due = 1;
    return;
  }
  if (is_new) how = PE_AT_ONCE;
  pe_smooth_set(&step->params[param], value, ramp_frames(plan, p, how));
  if (step->module->changed) step->module->changed(step->own, step->params, param, how == PE_AT_ONCE);
  step->is_moving = 2;
  if (step->bank == PE_NONE) return;
  PeBank *bank = &plan->banks[step->bank];
  bank->nodes[step->node].changed |= 1u << step->lane;
  bank->is_touched = 1;
}

PE_RT_APART void pe_step_advance(PeStep *step, uint32_t n_frames) {
  int is_settled = 1;
  for (uint32_t p = 0; p < step->module->n_params; p++) {
    pe_smooth_advance(&step->params[p], n_frames);
    is_settled &= pe_smooth_is_settled(&step->params[p]);
  }
  step->is_held = 0;
  step->is_moving = !is_settled ? 2 : step->is_moving > 0 ? (uint8_t)(step->is_moving - 1) : 0;
}

static void process(PeStep *step, PeBlock *block, uint32_t n_frames) {
  block->n_frames = n_frames;
  block->is_unchanged = !step->is_moving && !step->has_mods;
  step->process(step->own, block);
  if (step->is_moving) pe_step_advance(step, n_frames);
}

PE_RT void pe_step_run_part(PeStep *step, uint32_t from, uint32_t to) {
  const PeModule *m = step->module;
  const float *inputs[PE_MODULE_MAX_PORTS], *mods[PE_MODULE_MAX_PORTS];
  float *outputs[PE_MODULE_MAX_PORTS];
  for (uint32_t i = 0; i < m->n_inputs; i++) inputs[i] = step->inputs[i] ? step->inputs[i] + from : NULL;
  for (uint32_t i = 0; i < m->n_params; i++) mods[i] = step->mods[i] ? step->mods[i] + from : NULL;
  for (uint32_t i = 0; i < m->n_outputs; i++) outputs[i] = step->outputs[i] + from;
  PeBlock block = step->block;
  block.inputs = inputs;
  block.outputs = outputs;
  block.mods = mods;
  process(step, &block, to - from);
}

static uint32_t due_frame(const PeDue *due, uint32_t d, uint32_t at) { return (uint32_t)(due->commands[d].frame - due->first_frame) - at; }

/* An emitted one as it is, one from outside by its frame. */
PE_RT PeEmitted pe_due_at(const PePlan *plan, const PeDue *due, uint32_t d, uint32_t at) {
  if (d >= PE_SCHEDULE_SIZE) return plan->emitted[d - PE_SCHEDULE_SIZE];
  const PeCommand *c = &due->commands[d];
  return (PeEmitted){.value = c->value, .frame = due_frame(due, d, at), .param = (uint16_t)c->param, .how = c->flags & PE_COMMAND_IMMEDIATE ? PE_AT_ONCE : PE_RAMPED};
}

PE_RT_APART static void run_split(PePlan *plan, PeStep *step, uint32_t n_frames, const PeDue *due, uint32_t at) {
  if (step->n_sampled) {
    pe_sampled_run(plan, step, n_frames, due, at);
    return;
  }
  uint32_t done = 0;
  for (uint32_t d = step->first_due; d != PE_NONE; d = plan->next_due[d]) {
    const PeEmitted c = pe_due_at(plan, due, d, at);
    if (c.frame > done) pe_step_run_part(step, done, c.frame);
    done = c.frame;
    pe_step_set(plan, step, c.param, c.value, c.how);
  }
  pe_step_run_part(step, done, n_frames);
  step->first_due = step->last_due = PE_NONE;
}

PE_RT_APART static void measure(PePlan *plan, const PeStep *step, uint32_t n_frames) {
  const uint32_t place = (uint32_t)(step - plan->steps);
  if (!pe_meter_wants(plan->meter, place)) return;
  for (uint32_t i = 0; i < step->module->n_outputs; i++) pe_meter_mono(plan->meter, place, step->handle, step->outputs[i], n_frames);
}

PE_RT void pe_step_run(PePlan *plan, PeStep *step, uint32_t n_frames, const PeDue *due, uint32_t at) {
  for (uint32_t k = 0; k < step->n_sums && step->module->absorb == NULL; k++) pe_sum(&step->sums[k], step->sums[k].dest, n_frames);
  if (step->first_due != PE_NONE)
    run_split(plan, step, n_frames, due, at);
  else
    process(step, &step->block, n_frames);
  if (plan->meter) measure(plan, step, n_frames);
}

/* What closes no cycle takes its inputs when all is rendered. */
static void absorb(PeStep *step, uint32_t n_frames) {
  for (uint32_t k = 0; k < step->n_sums; k++) pe_sum(&step->sums[k], step->sums[k].dest, n_frames);
  if (step->module->events) {
    pe_sampled_take(step, n_frames);
    return;
  }
  step->block.n_frames = n_frames;
  step->block.is_unchanged = !step->is_moving && !step->has_mods;
  step->module->absorb(step->own, &step->block);
}

/* ---- the output ---------------------------------------------------------------------------------- */

/* Banks whose root is heard run here, each at its turn among the output's sources. */
static int run_output(PePlan *plan, float *out, uint32_t n_frames, const PeDue *due, uint32_t at, _Atomic uint32_t *marker) {
  float *acc = plan->accumulators;
  if (plan->finisher) return 0; /* it has put it there */
  if (plan->heard == NULL && plan->output.n_sources == 1) return plan->mix->copy(plan->output.sources[0], out, n_frames);
  if (plan->heard == NULL) {
    pe_sum(&plan->output, out, n_frames);
    return plan->mix->copy(out, out, n_frames);
  }
  int is_first = 1;
  for (uint32_t i = 0; i < plan->n_heard; i++) {
    const PeHeardSource *h = &plan->heard[i];
    if (h->bank == PE_NONE) {
      if (is_first) memset(acc, 0, n_frames * PE_ACCUMULATORS * sizeof *acc);
      is_first = 0;
      for (uint32_t f = 0; f < n_frames; f++) acc[(size_t)f * PE_ACCUMULATORS + h->lane] += h->mono[f];
      continue;
    }
    PeBank *bank = &plan->banks[h->bank];
    pe_bank_run(plan, bank, n_frames, due, at, marker);
    if (bank->heard == 0) continue;
    plan->mix->accumulate(acc, bank->nodes[bank->n_nodes - 1].output, bank->heard, is_first, n_frames);
    is_first = 0;
  }
  if (!is_first) return plan->mix->finish(acc, out, n_frames);
  memset(out, 0, n_frames * sizeof *out);
  return 0;
}

/* ---- all of it ------------------------------------------------------------------------------------ */

static void link_one(PePlan *plan, PeStep *step, uint32_t d) {
  if (step->last_due == PE_NONE)
    step->first_due = d;
  else
    plan->next_due[step->last_due] = d;
  step->last_due = d;
  plan->next_due[d] = PE_NONE;
  if (step->bank == PE_NONE) return;
  plan->banks[step->bank].nodes[step->node].due |= 1u << step->lane;
  plan->banks[step->bank].is_touched = 1;
}

/* Link the commands of the chunk to their steps, in order of frame, those from outside first; from `next` on, returns
 * the first one behind the chunk. */
PE_RT_APART static uint32_t link_due(PePlan *plan, const PeDue *due, uint32_t next, uint32_t at, uint32_t n_frames, _Atomic uint32_t *marker) {
  uint32_t last = next, emitted = 0;
  while (due && last < due->n && due->commands[last].frame - due->first_frame < at + n_frames) last++;
  if (plan->n_events) pe_events_run(plan, n_frames, due, next, last, at, marker);
  while (next < last || emitted < plan->n_emitted) {
    if (next == last || (emitted < plan->n_emitted && plan->emitted[emitted].frame < due_frame(due, next, at))) {
      link_one(plan, plan->emitted[emitted].step, PE_SCHEDULE_SIZE + emitted);
      emitted++;
      continue;
    }
    const PeCommand *c = &due->commands[next];
    if (pe_plan_would_apply(plan, c->handle, c->param, c->value) == PE_APPLIED) {
      PeStep *step = pe_plan_find(plan, c->handle);
      if (step->module->events == NULL) link_one(plan, step, next); /* the others have been told */
    }
    next++;
  }
  return last;
}

/* A channel: what is heard everywhere, and what in it alone. Channel 0 comes last: the others take from it. */
static void run_side(const PePlan *plan, float *out, const float *all, uint32_t channel, uint32_t n_frames) {
  if (out != all) memcpy(out, all, n_frames * sizeof(float));
  if (plan->sides == NULL || plan->sides[channel].n_sources == 0) return;
  float side[PE_CHUNK_FRAMES];
  pe_sum(&plan->sides[channel], side, n_frames);
  for (uint32_t f = 0; f < n_frames; f++) out[f] += side[f];
}

PE_RT_APART static int run_chunk(PePlan *plan, float *const *planes, uint32_t n_frames, const PeDue *due, uint32_t at, _Atomic uint32_t *marker) {
  if (plan->finisher) plan->finisher->outputs[0] = planes[0] + at;
  for (uint32_t i = 0; i < plan->n_units; i++) {
    const PeUnit *unit = &plan->units[i];
    if (unit->step == PE_NONE) {
      pe_bank_run(plan, &plan->banks[unit->bank], n_frames, due, at, marker);
      continue;
    }
    PeStep *step = &plan->steps[unit->step];
    atomic_store_explicit(marker, step->handle, memory_order_relaxed); /* read after a death only */
    pe_step_touch(plan, step);
    pe_step_run(plan, step, n_frames, due, at);
  }
  for (uint32_t i = 0; i < plan->n_absorbing; i++) absorb(&plan->steps[plan->absorbing[i]], n_frames);
  const int is_broken = run_output(plan, planes[0] + at, n_frames, due, at, marker) || plan->sides;
  for (uint32_t c = plan->n_channels; c-- > 0;) run_side(plan, planes[c] + at, planes[0] + at, c, n_frames);
  plan->position = (plan->position + n_frames) % PE_CHUNK_FRAMES;
  return is_broken;
}

/* Frames to the end of the present chunk. */
PE_RT_INLINE uint32_t frames_to_edge(const PePlan *plan) { return plan->chunk_frames - (plan->position & (plan->chunk_frames - 1u)); }

/* Is the node behind it a factor now, and no more? It has no command, so that stays so for the chunk. */
static int is_factor(PeScaled *scaled) {
  PeStep *by = scaled->by;
  if (by->is_moving) return 0;
  if (!by->is_held) by->is_held = by->module->holds(by->own, &scaled->block.scale) != 0;
  return by->is_held;
}

/* A chunk, or less, of a plan that has a finisher and no banks, in which no command falls, and which nobody watches. A patch of few
 * nodes is rendered in some ten ns a node: what is around them counts. */
static void run_straight(PePlan *plan, float *const *planes, uint32_t n_frames, _Atomic uint32_t *marker) {
  plan->finisher->outputs[0] = planes[0];
  const PeUnit *unit = plan->units, *end = unit + plan->n_units;
  for (; unit < end; unit++) {
    PeStep *step = &plan->steps[unit->step];
    atomic_store_explicit(marker, step->handle, memory_order_relaxed); /* read after a death only */
    PeBlock *block = &step->block;
    if (!step->is_plain) {
      pe_step_run(plan, step, n_frames, NULL, 0);
      continue;
    }
    if (step->scaled && is_factor(step->scaled)) {
      block = &step->scaled->block;
      unit++;
    }
    process(step, block, n_frames);
  }
  for (uint32_t c = 1; c < plan->n_channels; c++) memcpy(planes[c], planes[0], n_frames * sizeof **planes);
  plan->position = (plan->position + n_frames) % PE_CHUNK_FRAMES;
}

/* Chunk by chunk, whatever there is. */
PE_RT_APART static int run_chunks(PePlan *plan, float *const *planes, uint32_t n_frames, const PeDue *due, _Atomic uint32_t *marker) {
  uint32_t next = 0;
  int is_broken = 0;
  for (uint32_t at = 0; at < n_frames;) {
    const uint32_t to_edge = frames_to_edge(plan);
    const uint32_t n = n_frames - at < to_edge ? n_frames - at : to_edge;
    next = link_due(plan, due, next, at, n, marker);
    is_broken |= run_chunk(plan, planes, n, due, at, marker);
    at += n;
  }
  return is_broken;
}

PE_RT int pe_plan_run(PePlan *plan, float *const *planes, uint32_t n_frames, const PeDue *due, _Atomic uint32_t *marker) {
  int is_broken = 0;
  plan->has_run |= n_frames > 0;
  if (plan->is_straight && plan->meter == NULL && plan->capture.n_left == 0 && (due == NULL || due->n == 0) && n_frames > 0 && n_frames <= frames_to_edge(plan))
    run_straight(plan, planes, n_frames, marker);
  else
    is_broken = run_chunks(plan, planes, n_frames, due, marker);
  atomic_store_explicit(marker, 0, memory_order_relaxed); /* read after a death only */
  return is_broken;
}

PE_RT PeApplied pe_plan_would_apply(const PePlan *plan, uint32_t handle, uint32_t param, double value) {
  const PeStep *step = pe_plan_find(plan, handle);
  if (step == NULL || param >= step->module->n_params) return PE_APPLIED_NOT;
  return value != value ? PE_APPLIED_REFUSED : PE_APPLIED;
}

PE_RT PeApplied pe_plan_apply(PePlan *plan, uint32_t handle, uint32_t param, double value, int is_immediate) {
  const PeApplied applied = pe_plan_would_apply(plan, handle, param, value);
  if (applied != PE_APPLIED) return applied;
  PeStep *step = pe_plan_find(plan, handle);
  if (step->module->events)
    pe_events_set(plan, step, param, value);
  else
    pe_step_set(plan, step, param, value, is_immediate ? PE_AT_ONCE : PE_RAMPED);
  return applied;
}

PE_RT void pe_plan_touched(PePlan *plan) {
  for (uint32_t i = 0; i < plan->n_steps; i++) plan->steps[i].is_moving = 2;
  for (uint32_t i = 0; i < plan->n_banks; i++) {
    PeBank *bank = &plan->banks[i];
    for (uint32_t k = 0; k < bank->n_nodes; k++) bank->nodes[k].changed = bank->lanes;
    bank->is_touched = 1;
    bank->idle_frames = bank->is_resident = 0; /* what they stand for is no more */
  }
}

PE_RT void pe_plan_settle(PePlan *plan) {
  for (uint32_t i = 0; i < plan->n_banks; i++) pe_bank_settle(plan, &plan->banks[i]);
}

PE_RT uint64_t pe_memory_count(const PeMemory *m, const unsigned char *states) {
  uint64_t count;
  memcpy(&count, states + m->count_at, sizeof count);
  return count;
}

PE_RT void pe_memory_copy(const PeMemory *m, const unsigned char *from_states, const PeMemory *to, unsigned char *to_states, uint64_t before) {
  const uint64_t count = pe_memory_count(m, from_states);
  const uint64_t oldest = count > m->slots ? count - m->slots : 0;
  uint64_t at = before > oldest && before <= count ? before : oldest;
  while (at < count) { /* at most twice: once around the ring's end */
    const uint64_t slot = at % m->slots, left = m->slots - slot, n = count - at < left ? count - at : left;
    memcpy(to_states + to->at + slot * m->slot_bytes, from_states + m->at + slot * m->slot_bytes, n * m->slot_bytes);
    at += n;
  }
}

PE_RT void pe_plan_carry(PePlan *plan, PePlan *before) {
  pe_plan_settle(before);
  pe_plan_settle(plan);
  for (uint32_t i = 0; i < plan->n_carries; i++) {
    const PeCarry *c = &plan->carries[i];
    memcpy(plan->states + c->to, before->states + c->from, c->bytes);
    if (c->to_memory != PE_NONE)
      pe_memory_copy(&before->memories[c->from_memory], before->states, &plan->memories[c->to_memory], plan->states, 0);
  }
  pe_events_carry(plan, before);
  pe_plan_touched(plan);
  pe_sampled_carry(plan, before);
}
