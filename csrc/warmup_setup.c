/* Warm-up: a plan is rendered for a few blocks, listened to and timed, and its states are put back. */
#include <stdlib.h>
#include <string.h>

#include "plan.h"
#include "segment.h"

static int compare_ns(const void *a, const void *b) {
  const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static void measure_block(const float *x, uint32_t n, PeWarmup *r) {
  double sum = 0.0;
  for (uint32_t i = 0; i < n; i++) {
    const double v = (double)x[i];
    if (!(v - v == 0.0)) { /* NaN or infinite */
      r->is_finite = 0;
      continue;
    }
    sum += v * v;
    const double a = v < 0.0 ? -v : v;
    if (a > r->peak) r->peak = a;
  }
  const double mean = sum / n;
  if (mean > r->max_rms) r->max_rms = mean; /* squared until the end */
}

static void open_all(PePlan *plan) {
  for (uint32_t i = 0; i < plan->n_steps; i++)
    if (plan->steps[i].module->open)
      plan->steps[i].module->open(plan->steps[i].own, plan->steps[i].params);
  pe_plan_touched(plan);
}

static double square_root(double x) { /* Newton; for a report, not for a sample */
  double r = x > 1.0 ? x : 1.0;
  for (int i = 0; i < 64 && x > 0.0; i++) r = 0.5 * (r + x / r);
  return x > 0.0 ? r : 0.0;
}

PeStatus pe_plan_warmup(PePlan *plan, uint32_t n_blocks, uint32_t block_frames, const volatile uint32_t *stop, PeWarmup *result) {
  _Atomic uint32_t marker = 0;
  return pe_plan_measure(plan, n_blocks, block_frames, stop, &marker, result);
}

PeStatus pe_plan_measure(PePlan *plan, uint32_t n_blocks, uint32_t block_frames, const volatile uint32_t *stop,
                         _Atomic uint32_t *marker, PeWarmup *result) {
  if (n_blocks == 0 || n_blocks > 4096 || block_frames == 0 || block_frames > plan->max_block_frames) return PE_BAD_ARGUMENT;
  unsigned char *kept = malloc(plan->state_bytes + 1);
  float *out = calloc((size_t)plan->n_channels * block_frames, sizeof *out);
  uint64_t *ns = calloc(n_blocks, sizeof *ns);
  const PeStatus status = kept && out && ns ? PE_OK : PE_NO_MEMORY;
  if (status == PE_OK) {
    *result = (PeWarmup){.is_finite = 1};
    float *planes[PE_MAX_CHANNELS];
    for (uint32_t c = 0; c < plan->n_channels; c++) planes[c] = out + (size_t)c * block_frames;
    const int had_run = plan->has_run;
    const uint32_t position = plan->position;
    pe_plan_settle(plan);
    memcpy(kept, plan->states, plan->state_bytes);
    open_all(plan);
    const PeFpMode mode = pe_fp_enter();
    uint32_t i = 0;
    for (; i < n_blocks && !(i > 0 && *stop); i++) {
      const uint64_t start = pe_thread_cpu_ns();
      pe_plan_run(plan, planes, block_frames, NULL, marker);
      ns[i] = pe_thread_cpu_ns() - start;
      for (uint32_t c = 0; c < plan->n_channels; c++) measure_block(planes[c], block_frames, result);
    }
    pe_fp_leave(mode);
    memcpy(plan->states, kept, plan->state_bytes);
    pe_plan_touched(plan);
    plan->has_run = had_run;
    plan->position = position;
    qsort(ns, i, sizeof *ns, compare_ns);
    result->n_blocks = i;
    result->block_cpu_ns = (double)ns[i / 2];
    result->max_rms = square_root(result->max_rms);
  }
  free(kept);
  free(out);
  free(ns);
  return status;
}
