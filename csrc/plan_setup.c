#include <stdlib.h>
#include <string.h>

#include "data.h"
#include "plan_setup.h"

static void build_free(Build *b) {
  free(b->modules);
  free(b->first_cable);
  free(b->into);
  free(b->n_out_cables);
  free(b->is_kept);
  free(b->order);
  free(b->first_buffer);
  free(b->users);
  free(b->free_buffers);
  free(b->unit_of);
  free(b->node_of);
  free(b->lane_of);
  free(b->shapes);
  free(b->members);
  free(b->units);
}

static PeStatus build_allocate(Build *b) {
  const size_t n = b->spec->n_nodes, c = b->spec->n_cables;
  b->modules = calloc(n + 1, sizeof *b->modules);
  b->first_cable = calloc(n + 2, sizeof *b->first_cable);
  b->into = calloc(c + 1, sizeof *b->into);
  b->n_out_cables = calloc(n + 1, sizeof *b->n_out_cables);
  b->is_kept = calloc(n + 1, sizeof *b->is_kept);
  b->order = calloc(n + 1, sizeof *b->order);
  b->first_buffer = calloc(n + 1, sizeof *b->first_buffer);
  b->users = calloc(n + 1, sizeof *b->users);
  if (!b->modules || !b->first_cable || !b->into || !b->n_out_cables || !b->is_kept || !b->order || !b->first_buffer || !b->users)
    return PE_NO_MEMORY;
  return PE_OK;
}

static PeStatus build_check(Build *b, const PeRegistry *registry) {
  const PePlanSpec *spec = b->spec;
  for (uint32_t i = 0; i < spec->n_nodes; i++) {
    b->modules[i] = pe_registry_module(registry, spec->nodes[i].module);
    if (b->modules[i] == NULL) return PE_UNKNOWN_MODULE;
    if (spec->nodes[i].handle == 0 || spec->nodes[i].data > spec->n_data) return PE_BAD_ARGUMENT;
  }
  for (uint32_t i = 0; i < spec->n_cables; i++) {
    const PeCableSpec *c = &spec->cables[i];
    if (c->source >= spec->n_nodes || c->dest >= spec->n_nodes) return PE_UNKNOWN_NODE;
    const PeModule *from = b->modules[c->source], *to = b->modules[c->dest];
    if (c->source_port >= from->n_outputs) return PE_BAD_PORT;
    if (!(c->depth - c->depth == 0.0f && c->offset - c->offset == 0.0f)) return PE_BAD_ARGUMENT; /* NaN or infinite */
    if (c->dest_port >= (c->to_param ? to->n_params : to->n_inputs)) return PE_BAD_PORT;
    if (c->to_param && (to->params[c->dest_port].flags & PE_PARAM_EVENT)) return PE_BAD_PORT;
    if (to->absorb)
      b->is_kept[c->source] = 1;
    else
      b->n_out_cables[c->source]++;
    b->first_cable[c->dest + 1]++;
  }
  for (uint32_t i = 0; i < spec->n_nodes; i++) b->first_cable[i + 1] += b->first_cable[i];
  return PE_OK;
}

/* Group the cables by destination, keeping the patch's order (a counting sort). */
static PeStatus build_group(Build *b) {
  uint32_t *next = calloc((size_t)b->spec->n_nodes + 1, sizeof *next);
  if (next == NULL) return PE_NO_MEMORY;
  memcpy(next, b->first_cable, (size_t)b->spec->n_nodes * sizeof *next);
  for (uint32_t i = 0; i < b->spec->n_cables; i++) b->into[next[b->spec->cables[i].dest]++] = i;
  free(next);
  return PE_OK;
}

/* Depth first from each node in the patch's order, sources before what they feed: chains stay together. */
static PeStatus build_order(Build *b) {
  const uint32_t n = b->spec->n_nodes;
  uint32_t *stack = calloc((size_t)n + 1, sizeof *stack), *next = calloc((size_t)n + 1, sizeof *next);
  uint8_t *seen = calloc((size_t)n + 1, 1); /* 1 on the stack, 2 ordered */
  PeStatus status = stack && next && seen ? PE_OK : PE_NO_MEMORY;
  uint32_t n_ordered = 0;
  for (uint32_t root = 0; status == PE_OK && root < n; root++) {
    if (seen[root]) continue;
    uint32_t depth = 0;
    stack[depth++] = root;
    seen[root] = 1;
    next[root] = b->first_cable[root];
    while (depth > 0 && status == PE_OK) {
      const uint32_t node = stack[depth - 1];
      if (next[node] == b->first_cable[node + 1]) {
        b->order[n_ordered++] = node;
        seen[node] = 2;
        depth--;
        continue;
      }
      const uint32_t source = b->spec->cables[b->into[next[node]++]].source;
      if (pe_is_late(b->modules[node])) continue;
      if (seen[source] == 1) status = PE_CYCLE;
      if (seen[source] != 0) continue;
      seen[source] = 1;
      next[source] = b->first_cable[source];
      stack[depth++] = source;
    }
  }
  free(stack);
  free(next);
  free(seen);
  return status;
}

static PeStatus index_handles(PePlan *p);

static PeStatus plan_prepare(PePlan *p) {
  for (uint32_t i = 0; i < p->n_steps; i++) {
    PeStep *step = &p->steps[i];
    PeSmooth *params = step->params;
    for (uint32_t k = 0; k < step->module->n_params; k++) {
      params[k].target = step->module->params[k].default_value;
      const double max = p->sample_rate_hz * 0.5 - 10.0;
      if ((step->module->params[k].flags & PE_PARAM_NYQUIST) && params[k].target > max) params[k].target = max;
    }
    if (step->n_sampled > 0) step->first_due = PE_NONE_YET;
    for (uint32_t k = 0; k < step->n_sampled; k++) {
      const PeSampledParam *s = &step->sampled[k];
      *s->state = (PeSampled){.set = params[s->param].target, .held = s->rest, .taken = s->rest, .is_due = 1};
    }
    const PeStatus status = step->module->prepare(step->own, p->sample_rate_hz, p->max_block_frames);
    if (status != PE_OK) return status;
  }
  return PE_OK;
}

static PeStatus hold_data(const PePlanSpec *spec, PePlan *p) {
  p->data = calloc((size_t)spec->n_data + 1, sizeof *p->data);
  if (p->data == NULL) return PE_NO_MEMORY;
  for (; p->n_data < spec->n_data; p->n_data++) {
    p->data[p->n_data] = spec->data[p->n_data];
    pe_data_hold(p->data[p->n_data]);
  }
  return PE_OK;
}

static PeStatus plan_build(Build *b, const PeRegistry *registry, PePlan *p) {
  PeStatus status = build_allocate(b);
  if (status == PE_OK) status = build_check(b, registry);
  if (status == PE_OK) status = build_group(b);
  if (status == PE_OK) status = build_order(b);
  if (status == PE_OK) status = pe_banks_find(b);
  if (status == PE_OK) status = pe_plan_lay_out(b, p);
  if (status == PE_OK) status = hold_data(b->spec, p);
  if (status == PE_OK) status = index_handles(p);
  if (status == PE_OK) status = pe_events_prepare(b, p);
  if (status == PE_OK) status = plan_prepare(p);
  return status;
}

/* What is created at a block's edge should stay in step with the plan: a chunk that divides the block, if it is long enough. */
static uint32_t chunk_of(uint32_t block_frames) {
  uint32_t chunk = PE_CHUNK_FRAMES;
  while (block_frames % chunk != 0 && chunk > 16) chunk /= 2;
  return block_frames % chunk == 0 ? chunk : PE_CHUNK_FRAMES;
}

PeStatus pe_plan_new(const PeRegistry *registry, const PePlanSpec *spec, PePlan **plan) {
  *plan = NULL;
  if (spec->max_block_frames == 0 || spec->max_block_frames > PE_MAX_BLOCK_FRAMES || spec->n_channels == 0 ||
      spec->n_channels > PE_MAX_CHANNELS || !(spec->sample_rate_hz >= 1000.0 && spec->sample_rate_hz <= 768000.0))
    return PE_BAD_ARGUMENT;
  if (spec->n_nodes > PE_MAX_NODES || spec->n_cables > PE_MAX_CABLES) return PE_TOO_LARGE;
  PePlan *p = calloc(1, sizeof *p);
  if (p == NULL) return PE_NO_MEMORY;
  p->sample_rate_hz = spec->sample_rate_hz;
  p->max_block_frames = spec->max_block_frames;
  p->n_channels = spec->n_channels;
  p->n_steps = p->n_handles = spec->n_nodes;
  p->chunk_frames = chunk_of(spec->max_block_frames);
  Build b = {.spec = spec, .isa = pe_registry_isa(registry), .may_bank = pe_registry_has_banks(registry)};
  const PeStatus status = plan_build(&b, registry, p);
  build_free(&b);
  if (status != PE_OK) {
    pe_plan_free(p);
    return status;
  }
  pe_plan_touched(p);
  *plan = p;
  return PE_OK;
}

void pe_plan_free(PePlan *plan) {
  if (plan == NULL) return;
  if (plan->offline_run) plan->offline_free(plan->offline_run);
  free(plan->memory);
  free(plan->states);
  free(plan->buffers);
  free(plan->caches);
  for (uint32_t i = 0; i < plan->n_data; i++) pe_data_release(plan->data[i]);
  free(plan->data);
  free(plan->carries);
  free(plan->sampled_carries);
  free(plan->events);
  free(plan->emitted);
  free(plan);
}

/* ---- what setup code asks of a plan --------------------------------------------------------------- */

typedef struct HandleRow { uint32_t handle, step; } HandleRow;

static int compare_rows(const void *a, const void *b) {
  const HandleRow *x = a, *y = b;
  return (x->handle > y->handle) - (x->handle < y->handle);
}

static PeStatus index_handles(PePlan *p) {
  HandleRow *rows = calloc((size_t)p->n_steps + 1, sizeof *rows);
  if (rows == NULL) return PE_NO_MEMORY;
  for (uint32_t i = 0; i < p->n_steps; i++) rows[i] = (HandleRow){.handle = p->steps[i].handle, .step = i};
  qsort(rows, p->n_steps, sizeof *rows, compare_rows);
  PeStatus status = PE_OK;
  for (uint32_t i = 0; i < p->n_steps; i++) {
    p->by_handle[i] = rows[i].step;
    if (i > 0 && rows[i].handle == rows[i - 1].handle) status = PE_BAD_ARGUMENT;
  }
  free(rows);
  return status;
}

PeStatus pe_plan_set(PePlan *plan, uint32_t handle, uint32_t param, double value) {
  switch (pe_plan_apply(plan, handle, param, value, 1)) {
    case PE_APPLIED: return PE_OK;
    case PE_APPLIED_NOT: return PE_UNKNOWN_NODE;
    case PE_APPLIED_REFUSED: break;
  }
  return PE_BAD_ARGUMENT;
}

uint64_t pe_plan_state_bytes(const PePlan *plan) { return plan->state_bytes; }
uint32_t pe_plan_node_count(const PePlan *plan) { return plan->n_steps; }

uint32_t pe_plan_banked_count(const PePlan *plan) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < plan->n_steps; i++) n += plan->steps[i].bank != PE_NONE;
  return n;
}

uint64_t pe_plan_state_hash(PePlan *plan) {
  pe_plan_settle(plan);
  uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a, 64 bit */
  for (uint64_t i = 0; i < plan->plain_bytes; i++) hash = (hash ^ plan->states[i]) * 0x100000001b3ull;
  for (uint32_t i = 0; i < plan->n_memories; i++) {
    const PeMemory *m = &plan->memories[i];
    const uint64_t count = pe_memory_count(m, plan->states), used = (count < m->slots ? count : m->slots) * m->slot_bytes;
    for (uint64_t k = 0; k < used; k++) hash = (hash ^ plan->states[m->at + k]) * 0x100000001b3ull;
  }
  return hash;
}

static uint32_t memory_of(const PePlan *plan, const PeStep *step) {
  for (uint32_t i = 0; step->memory && i < plan->n_memories; i++)
    if (plan->states + plan->memories[i].at == (const unsigned char *)step->memory) return i;
  return PE_NONE;
}

static uint32_t sampled_place(const PeStep *step, uint32_t param) {
  const PeSampledParam *found = pe_sampled_find(step, param);
  return found ? (uint32_t)(found - step->sampled) : PE_NONE;
}

static void match_sampled(PePlan *plan, const PePlan *before, uint32_t number) {
  const PeStep *to = &plan->steps[number], *from = pe_plan_find(before, to->handle);
  PeSampledCarry c = {.from_step = (uint32_t)(from - before->steps), .to_step = number};
  for (uint32_t i = 0; i < to->n_sampled; i++) {
    c.to = i;
    c.from = sampled_place(from, to->sampled[i].param);
    plan->sampled_carries[plan->n_sampled_carries++] = c;
  }
  c.to = PE_NONE;
  for (c.from = 0; c.from < from->n_sampled; c.from++)
    if (sampled_place(to, from->sampled[c.from].param) == PE_NONE) plan->sampled_carries[plan->n_sampled_carries++] = c;
}

static PeStatus match_all_sampled(PePlan *plan, const PePlan *before) {
  free(plan->sampled_carries);
  plan->n_sampled_carries = 0;
  plan->sampled_carries = calloc((size_t)plan->n_sampled + before->n_sampled + 1, sizeof *plan->sampled_carries);
  if (plan->sampled_carries == NULL) return PE_NO_MEMORY;
  for (uint32_t i = 0; i < plan->n_steps && plan->n_sampled + before->n_sampled > 0; i++)
    if (plan->steps[i].is_carried) match_sampled(plan, before, i);
  return PE_OK;
}

PeStatus pe_plan_match(PePlan *plan, const PePlan *before) {
  free(plan->carries);
  plan->n_carries = 0;
  plan->carries = calloc((size_t)plan->n_steps + 1, sizeof *plan->carries);
  if (plan->carries == NULL) return PE_NO_MEMORY;
  for (uint32_t i = 0; i < plan->n_steps; i++) {
    PeStep *to = &plan->steps[i];
    const PeStep *from = pe_plan_find(before, to->handle);
    to->is_carried = from != NULL && from->module == to->module; /* one registry: equal type is equal state version */
    if (to->is_carried)
      plan->carries[plan->n_carries++] = (PeCarry){.from = from->state_at, .to = to->state_at, .bytes = pe_state_bytes(to->module),
                                                    .from_memory = memory_of(before, from), .to_memory = memory_of(plan, to)};
  }
  return match_all_sampled(plan, before);
}

