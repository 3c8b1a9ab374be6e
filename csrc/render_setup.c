#include <stdlib.h>

#include "render.h"

PeStatus pe_run_new(PePlan *plan, uint64_t generation, PeRun **run) {
  *run = NULL;
  PeRun *r = calloc(1, sizeof *r);
  if (r == NULL) return PE_NO_MEMORY;
  r->scratch = calloc((size_t)plan->n_channels * plan->max_block_frames, sizeof *r->scratch);
  r->due = malloc(PE_SCHEDULE_SIZE * sizeof *r->due);
  if (r->scratch == NULL || r->due == NULL) {
    free(r->scratch);
    free(r->due);
    free(r);
    return PE_NO_MEMORY;
  }
  r->plan = plan;
  r->generation = generation;
  *run = r;
  return PE_OK;
}

void pe_run_free(PeRun *run) {
  if (run == NULL) return;
  pe_plan_free(run->plan);
  pe_plan_free(run->fading);
  free(run->scratch);
  free(run->due);
  free(run);
}
