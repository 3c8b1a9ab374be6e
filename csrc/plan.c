/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "plan.h"

#include <string.h>

#define CHUNK 64u

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

/* Sum in an order that is a function of the patch alone: source i goes to accumulator i mod 16, accumulators
 * start at +0.0, then a fixed tree. Absent accumulators would add +0.0, which changes no bit: left out. */
static void sum_chunk(float *dest, const float *const *sources, uint32_t n_sources, uint32_t at, uint32_t n) {
  float acc[PE_ACCUMULATORS][CHUNK];
  const uint32_t used = n_sources < PE_ACCUMULATORS ? n_sources : PE_ACCUMULATORS;
  for (uint32_t i = 0; i < n_sources; i++) {
    float *a = acc[i % PE_ACCUMULATORS];
    const float *x = sources[i] + at;
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

static void sum(const PeSum *s, float *dest, uint32_t n_frames) {
  if (s->n_sources == 0) {
    memset(dest, 0, n_frames * sizeof(float));
    return;
  }
  for (uint32_t at = 0; at < n_frames; at += CHUNK)
    sum_chunk(dest, s->sources, s->n_sources, at, n_frames - at < CHUNK ? n_frames - at : CHUNK);
}

PE_RT void pe_plan_run(PePlan *plan, float *const *planes, uint32_t n_frames, _Atomic uint32_t *marker) {
  for (uint32_t i = 0; i < plan->n_steps; i++) {
    PeStep *step = &plan->steps[i];
    atomic_store_explicit(marker, step->handle, memory_order_relaxed); /* read after a death only */
    for (uint32_t k = 0; k < step->n_sums; k++) sum(&step->sums[k], step->sums[k].dest, n_frames);
    PeSmooth *params = (PeSmooth *)(void *)(plan->states + step->state_at);
    const PeBlock block = {.n_frames = n_frames, .inputs = step->inputs, .outputs = step->outputs, .params = params, .mods = step->mods};
    step->module->process(plan->states + step->own_at, &block);
    for (uint32_t p = 0; p < step->module->n_params; p++) pe_smooth_advance(&params[p], n_frames);
  }
  atomic_store_explicit(marker, 0, memory_order_relaxed); /* read after a death only */
  sum(&plan->output, planes[0], n_frames);
  for (uint32_t c = 1; c < plan->n_channels; c++) memcpy(planes[c], planes[0], n_frames * sizeof(float));
  plan->has_run = 1;
}

static double param_max(const PePlan *plan, const PeParam *p) {
  return p->flags & PE_PARAM_NYQUIST ? plan->sample_rate_hz * 0.5 - 10.0 : p->max;
}

PE_RT PeApplied pe_plan_apply(PePlan *plan, uint32_t handle, uint32_t param, double value, int is_immediate) {
  PeStep *step = pe_plan_find(plan, handle);
  if (step == NULL || param >= step->module->n_params) return PE_APPLIED_NOT;
  if (value != value) return PE_APPLIED_REFUSED;
  const PeParam *p = &step->module->params[param];
  const double max = param_max(plan, p);
  value = value < p->min ? p->min : value > max ? max : value;
  if (p->flags & PE_PARAM_GATE) value = value >= 0.5 ? 1.0 : 0.0;
  if (p->flags & PE_PARAM_INTEGER) value = (double)(int64_t)(value + 0.5);
  const int at_once = is_immediate || !(p->flags & PE_PARAM_RAMPED) || (!plan->has_run && !step->is_carried);
  const uint32_t n_ramp = at_once ? 0 : (uint32_t)(p->ramp_us * plan->sample_rate_hz / 1.0e6 + 0.5);
  PeSmooth *params = (PeSmooth *)(void *)(plan->states + step->state_at);
  pe_smooth_set(&params[param], value, n_ramp);
  if (step->module->changed)
    step->module->changed(plan->states + step->own_at, params, param, is_immediate || (!plan->has_run && !step->is_carried));
  return PE_APPLIED;
}

PE_RT void pe_plan_carry(PePlan *plan, const PePlan *before) {
  for (uint32_t i = 0; i < plan->n_carries; i++) {
    const PeCarry *c = &plan->carries[i];
    memcpy(plan->states + c->to, before->states + c->from, c->bytes);
  }
}
