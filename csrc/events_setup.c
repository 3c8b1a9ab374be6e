/* What the event pass of a plan needs: its nodes in their order, whom each follows, room for what they put out. */
#include <stdlib.h>

#include "dsp/event.h"
#include "plan_setup.h"

static PeStatus bind(PePlan *p, PeStep *step) {
  const PeEventOps *ops = step->module->events;
  const void *data = step->data ? pe_data_bytes(step->data) : NULL;
  if (ops->check) {
    const PeStatus status = ops->check(data, step->data ? pe_data_size(step->data) : 0);
    if (status != PE_OK) return status;
  }
  const uint32_t clock = ops->follows ? ops->follows(data) : 0;
  step->clock = clock ? pe_plan_find(p, clock) : NULL;
  if (clock && (step->clock == NULL || step->clock->module->events == NULL || step->clock->module->events->order != PE_EVENTS_CLOCK)) return PE_UNKNOWN_NODE;
  return PE_OK;
}

PeStatus pe_events_prepare(const Build *b, PePlan *p) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < b->spec->n_nodes; i++) n += b->modules[i]->events != NULL;
  if (n == 0) return PE_OK;
  p->events = calloc(n, sizeof *p->events);
  p->emitted = calloc(PE_EMIT_SIZE, sizeof *p->emitted);
  if (p->events == NULL || p->emitted == NULL) return PE_NO_MEMORY;
  for (uint32_t order = PE_EVENTS_CLOCK; order <= PE_EVENTS_VOICES; order++)
    for (uint32_t i = 0; i < b->spec->n_nodes; i++) { /* the patch's order */
      if (b->modules[i]->events == NULL || b->modules[i]->events->order != order) continue;
      PeStep *step = pe_plan_find(p, b->spec->nodes[i].handle);
      p->events[p->n_events++] = (uint32_t)(step - p->steps);
      const PeStatus status = bind(p, step);
      if (status != PE_OK) return status;
    }
  return PE_OK;
}
