#include <stdlib.h>
#include <string.h>

#include "plan.h"
#include "registry_setup.h"
#include "segment.h"

/* ---- what is known of the patch while a plan is built ------------------------------------------- */

typedef struct Build {
  const PePlanSpec  *spec;
  const PeModule   **modules;      /* [n_nodes] */
  uint32_t          *first_cable;  /* [n_nodes + 1]: cables into a node, as a range of `into` */
  uint32_t          *into;         /* [n_cables]: cable numbers, grouped by destination, in the patch's order */
  uint32_t          *n_out_cables; /* [n_nodes] */
  uint32_t          *order;        /* [n_nodes]: node numbers in the order they run */
  uint32_t          *first_buffer; /* [n_nodes]: buffer of output 0; the others follow */
  uint32_t          *users;        /* [n_nodes]: cables that have still to read its outputs */
  uint32_t          *free_buffers;
  uint32_t           n_free, n_buffers;
} Build;

static void build_free(Build *b) {
  free(b->modules);
  free(b->first_cable);
  free(b->into);
  free(b->n_out_cables);
  free(b->order);
  free(b->first_buffer);
  free(b->users);
  free(b->free_buffers);
}

static PeStatus build_allocate(Build *b) {
  const size_t n = b->spec->n_nodes, c = b->spec->n_cables;
  b->modules = calloc(n + 1, sizeof *b->modules);
  b->first_cable = calloc(n + 2, sizeof *b->first_cable);
  b->into = calloc(c + 1, sizeof *b->into);
  b->n_out_cables = calloc(n + 1, sizeof *b->n_out_cables);
  b->order = calloc(n + 1, sizeof *b->order);
  b->first_buffer = calloc(n + 1, sizeof *b->first_buffer);
  b->users = calloc(n + 1, sizeof *b->users);
  if (!b->modules || !b->first_cable || !b->into || !b->n_out_cables || !b->order || !b->first_buffer || !b->users)
    return PE_NO_MEMORY;
  return PE_OK;
}

static PeStatus build_check(Build *b, const PeRegistry *registry) {
  const PePlanSpec *spec = b->spec;
  for (uint32_t i = 0; i < spec->n_nodes; i++) {
    b->modules[i] = pe_registry_module(registry, spec->nodes[i].module);
    if (b->modules[i] == NULL) return PE_UNKNOWN_MODULE;
    if (spec->nodes[i].handle == 0) return PE_BAD_ARGUMENT;
  }
  for (uint32_t i = 0; i < spec->n_cables; i++) {
    const PeCableSpec *c = &spec->cables[i];
    if (c->source >= spec->n_nodes || c->dest >= spec->n_nodes) return PE_UNKNOWN_NODE;
    const PeModule *from = b->modules[c->source], *to = b->modules[c->dest];
    if (c->source_port >= from->n_outputs) return PE_BAD_PORT;
    if (c->dest_port >= (c->to_param ? to->n_params : to->n_inputs)) return PE_BAD_PORT;
    if (c->to_param && !(to->params[c->dest_port].flags & PE_PARAM_CABLE)) return PE_BAD_PORT;
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

/* ---- laying the plan out ------------------------------------------------------------------------ */

static uint64_t align_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

static uint64_t state_bytes_of(const PeModule *m) {
  return align_up(m->n_params * sizeof(PeSmooth), 16) + align_up(m->state_bytes, 16);
}

typedef struct Arena { /* bump allocation over one block; a null block only measures */
  unsigned char *memory;
  uint64_t       used;
} Arena;

static void *arena_take(Arena *a, uint64_t bytes) {
  void *at = a->memory ? a->memory + a->used : NULL;
  a->used += align_up(bytes, 16);
  return at;
}

static uint32_t take_buffers(Build *b, uint32_t n) {
  if (n == 1 && b->n_free > 0) return b->free_buffers[--b->n_free];
  b->n_buffers += n;
  return b->n_buffers - n;
}

static void give_buffer(Build *b, uint32_t buffer) { b->free_buffers[b->n_free++] = buffer; }

static float *buffer_at(const PePlan *p, uint32_t buffer) { return p->buffers + (size_t)buffer * p->max_block_frames; }

/* Sources of one destination port, in the patch's order; returns how many. */
static uint32_t gather(const Build *b, const PePlan *p, uint32_t node, uint32_t port, uint32_t to_param, const float **sources) {
  uint32_t n = 0;
  for (uint32_t i = b->first_cable[node]; i < b->first_cable[node + 1]; i++) {
    const PeCableSpec *c = &b->spec->cables[b->into[i]];
    if (c->dest_port != port || c->to_param != to_param) continue;
    if (sources) sources[n] = buffer_at(p, b->first_buffer[c->source] + c->source_port);
    n++;
  }
  return n;
}

/* Where a port reads: nothing, one output as it is, or a sum made before the step. */
static const float *wire(Build *b, PePlan *p, Arena *a, PeStep *step, uint32_t node, uint32_t port, uint32_t to_param,
                         uint32_t *sum_buffers, uint32_t *n_sum_buffers) {
  const uint32_t n = gather(b, p, node, port, to_param, NULL);
  if (n == 0) return NULL;
  const float **sources = arena_take(a, n * sizeof *sources);
  const int is_real = a->memory != NULL;
  if (is_real) gather(b, p, node, port, to_param, sources);
  if (n == 1) return is_real ? sources[0] : NULL;
  const uint32_t buffer = take_buffers(b, 1);
  sum_buffers[(*n_sum_buffers)++] = buffer;
  if (!is_real) return NULL;
  step->sums[step->n_sums++] = (PeSum){.dest = buffer_at(p, buffer), .sources = sources, .n_sources = n};
  return buffer_at(p, buffer);
}

static void lay_step(Build *b, PePlan *p, Arena *a, PeStep *step, uint32_t node) {
  const PeModule *m = b->modules[node];
  const uint32_t n_ports = m->n_inputs + m->n_params;
  uint32_t n_sum_buffers = 0;
  step->module = m;
  step->handle = b->spec->nodes[node].handle;
  step->state_at = p->state_bytes;
  step->own_at = p->state_bytes + align_up(m->n_params * sizeof(PeSmooth), 16);
  p->state_bytes += state_bytes_of(m);
  step->inputs = arena_take(a, m->n_inputs * sizeof *step->inputs);
  step->outputs = arena_take(a, m->n_outputs * sizeof *step->outputs);
  step->mods = arena_take(a, m->n_params * sizeof *step->mods);
  step->sums = arena_take(a, n_ports * sizeof *step->sums);
  uint32_t *sum_buffers = arena_take(a, n_ports * sizeof *sum_buffers);
  uint32_t measured[PE_MODULE_MAX_PORTS]; /* while only measuring */
  if (sum_buffers == NULL) sum_buffers = measured;
  step->n_sums = 0;
  for (uint32_t i = 0; i < n_ports; i++) {
    const uint32_t to_param = i >= m->n_inputs;
    const uint32_t port = to_param ? i - m->n_inputs : i;
    const float *from = wire(b, p, a, step, node, port, to_param, sum_buffers, &n_sum_buffers);
    if (a->memory == NULL) continue;
    if (to_param)
      step->mods[port] = from;
    else
      step->inputs[port] = from;
  }
  b->first_buffer[node] = take_buffers(b, m->n_outputs);
  if (a->memory)
    for (uint32_t i = 0; i < m->n_outputs; i++) step->outputs[i] = buffer_at(p, b->first_buffer[node] + i);
  /* Outputs were taken before inputs are given back: no step writes where it reads. */
  for (uint32_t i = 0; i < n_sum_buffers; i++) give_buffer(b, sum_buffers[i]);
  for (uint32_t i = b->first_cable[node]; i < b->first_cable[node + 1]; i++) {
    const uint32_t source = b->spec->cables[b->into[i]].source;
    if (--b->users[source] > 0) continue;
    for (uint32_t k = 0; k < b->modules[source]->n_outputs; k++) give_buffer(b, b->first_buffer[source] + k);
  }
}

/* Every node without an outgoing cable, in the patch's order. */
static void lay_output(Build *b, PePlan *p, Arena *a) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < b->spec->n_nodes; i++) n += b->n_out_cables[i] == 0 ? b->modules[i]->n_outputs : 0;
  p->output.n_sources = n;
  p->output.sources = arena_take(a, n * sizeof *p->output.sources);
  if (a->memory == NULL) return;
  n = 0;
  for (uint32_t i = 0; i < b->spec->n_nodes; i++)
    if (b->n_out_cables[i] == 0)
      for (uint32_t k = 0; k < b->modules[i]->n_outputs; k++) p->output.sources[n++] = buffer_at(p, b->first_buffer[i] + k);
}

/* Run twice: once to measure (arena without memory), once to fill in. */
static void lay_out(Build *b, PePlan *p, Arena *a) {
  PeStep scratch;
  b->n_free = b->n_buffers = 0;
  p->state_bytes = 0;
  memcpy(b->users, b->n_out_cables, b->spec->n_nodes * sizeof *b->users);
  p->steps = arena_take(a, b->spec->n_nodes * sizeof *p->steps);
  p->by_handle = arena_take(a, b->spec->n_nodes * sizeof *p->by_handle);
  for (uint32_t i = 0; i < b->spec->n_nodes; i++) lay_step(b, p, a, p->steps ? &p->steps[i] : &scratch, b->order[i]);
  lay_output(b, p, a);
}

static PeStatus index_handles(PePlan *p);

static PeStatus plan_prepare(PePlan *p) {
  for (uint32_t i = 0; i < p->n_steps; i++) {
    const PeStep *step = &p->steps[i];
    PeSmooth *params = (PeSmooth *)(void *)(p->states + step->state_at);
    for (uint32_t k = 0; k < step->module->n_params; k++) {
      params[k].target = step->module->params[k].default_value;
      const double max = p->sample_rate_hz * 0.5 - 10.0;
      if ((step->module->params[k].flags & PE_PARAM_NYQUIST) && params[k].target > max) params[k].target = max;
    }
    const PeStatus status = step->module->prepare(p->states + step->own_at, p->sample_rate_hz, p->max_block_frames);
    if (status != PE_OK) return status;
  }
  return PE_OK;
}

static PeStatus plan_allocate(Build *b, PePlan *p) {
  Arena measure = {NULL, 0};
  size_t n_most = (size_t)b->spec->n_cables + 1; /* sums */
  for (uint32_t i = 0; i < b->spec->n_nodes; i++) n_most += b->modules[i]->n_outputs;
  b->free_buffers = calloc(n_most, sizeof *b->free_buffers);
  if (b->free_buffers == NULL) return PE_NO_MEMORY;
  lay_out(b, p, &measure);
  if (p->state_bytes > (1u << 30)) return PE_TOO_LARGE;
  const uint64_t states = align_up(p->state_bytes + 64, 64);
  const uint64_t buffers = align_up(((uint64_t)b->n_buffers + 1) * p->max_block_frames * sizeof(float), 64);
  p->memory = calloc(1, measure.used + 64);
  if (p->memory == NULL) return PE_NO_MEMORY;
  p->states = aligned_alloc(64, states);
  p->buffers = aligned_alloc(64, buffers);
  if (p->states == NULL || p->buffers == NULL) return PE_NO_MEMORY;
  memset(p->states, 0, states);
  memset(p->buffers, 0, buffers);
  Arena fill = {p->memory, 0};
  lay_out(b, p, &fill);
  return PE_OK;
}

static PeStatus plan_build(Build *b, const PeRegistry *registry, PePlan *p) {
  PeStatus status = build_allocate(b);
  if (status == PE_OK) status = build_check(b, registry);
  if (status == PE_OK) status = build_group(b);
  if (status == PE_OK) status = build_order(b);
  if (status == PE_OK) status = plan_allocate(b, p);
  if (status == PE_OK) status = index_handles(p);
  if (status == PE_OK) status = plan_prepare(p);
  return status;
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
  Build b = {.spec = spec};
  const PeStatus status = plan_build(&b, registry, p);
  build_free(&b);
  if (status != PE_OK) {
    pe_plan_free(p);
    return status;
  }
  *plan = p;
  return PE_OK;
}

void pe_plan_free(PePlan *plan) {
  if (plan == NULL) return;
  free(plan->memory);
  free(plan->states);
  free(plan->buffers);
  free(plan->carries);
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

uint64_t pe_plan_state_hash(const PePlan *plan) {
  uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a, 64 bit */
  for (uint64_t i = 0; i < plan->state_bytes; i++) hash = (hash ^ plan->states[i]) * 0x100000001b3ull;
  return hash;
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
      plan->carries[plan->n_carries++] = (PeCarry){.from = from->state_at, .to = to->state_at, .bytes = state_bytes_of(to->module)};
  }
  return PE_OK;
}

/* ---- warm-up --------------------------------------------------------------------------------------- */

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
      plan->steps[i].module->open(plan->states + plan->steps[i].own_at, (const PeSmooth *)(const void *)(plan->states + plan->steps[i].state_at));
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
    memcpy(kept, plan->states, plan->state_bytes);
    open_all(plan);
    const PeFpMode mode = pe_fp_enter();
    uint32_t i = 0;
    for (; i < n_blocks && !(i > 0 && *stop); i++) {
      const uint64_t start = pe_thread_cpu_ns();
      pe_plan_run(plan, planes, block_frames, marker);
      ns[i] = pe_thread_cpu_ns() - start;
      for (uint32_t c = 0; c < plan->n_channels; c++) measure_block(planes[c], block_frames, result);
    }
    pe_fp_leave(mode);
    memcpy(plan->states, kept, plan->state_bytes);
    plan->has_run = had_run;
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
