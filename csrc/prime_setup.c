#include "plan.h"

PeStatus pe_plan_set_all(PePlan *plan, const PeSetting *settings, uint32_t n, uint32_t *n_set) {
  PeStatus status = PE_OK;
  for (*n_set = 0; *n_set < n; ++*n_set) {
    const PeSetting *s = &settings[*n_set];
    status = pe_plan_set(plan, s->handle, s->param, s->value);
    if (status != PE_OK) break;
  }
  return status;
}
