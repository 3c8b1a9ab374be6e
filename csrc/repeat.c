/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Will a plan put out the same block again and again? A node whose state is after a block what it was before, and whose
 * sources are such nodes too, puts out the same block once more: by induction for ever, until something is set. */
#include <string.h>

#include "plan.h"

PE_RT int pe_plan_mark(PePlan *plan) {
  if (plan->mark == NULL) return 0;
  pe_plan_settle(plan);
  memcpy(plan->mark, plan->states, plan->plain_bytes);
  return 1;
}

/* Of a memory: as many slots are written. States are multiples of 32 bytes. */
static int has_come_back(const PePlan *plan, const PeStep *step) {
  uint64_t was, is, differs = 0;
  for (uint64_t at = step->state_at; at < step->state_at + step->state_bytes && differs == 0; at += sizeof is) {
    memcpy(&was, plan->mark + at, sizeof was);
    memcpy(&is, plan->states + at, sizeof is);
    differs = was ^ is;
  }
  return differs == 0;
}

static void visit(PePlan *plan, uint32_t step, uint32_t *n_visits) {
  if (plan->is_visited[step]) return;
  plan->is_visited[step] = 1;
  plan->visits[(*n_visits)++] = step;
}

PE_RT int pe_plan_repeats(PePlan *plan) {
  uint32_t n_visits = 0;
  if (plan->mark == NULL) return 0;
  pe_plan_settle(plan);
  memset(plan->is_visited, 0, plan->n_steps);
  for (uint32_t i = 0; i < plan->n_roots; i++) visit(plan, plan->roots[i], &n_visits);
  while (n_visits > 0) { /* each step once */
    const PeStep *step = &plan->steps[plan->visits[--n_visits]];
    if (!has_come_back(plan, step)) return 0;
    const int is_closed = step->module->is_closed && step->module->is_closed(step->own, step->params);
    for (uint32_t i = 0; i < step->n_feeds; i++) {
      const PeFeed *feed = &plan->feeds[step->first_feed + i];
      if (feed->to_param || !is_closed) visit(plan, feed->step, &n_visits);
    }
  }
  return 1;
}
