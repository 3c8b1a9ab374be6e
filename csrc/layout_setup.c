/* Lays a plan out in memory: the states in the order of the nodes, buffers of one chunk that are given back as soon as
 * nothing reads them any more, and the pointers between them. */
#include <stdlib.h>
#include <string.h>

#include "data.h"
#include "plan_setup.h"

typedef struct Arena { /* bump allocation over one block; a null block only measures */
  unsigned char *memory;
  uint64_t       used;
} Arena;

static void *arena_take(Arena *a, uint64_t bytes) {
  void *at = a->memory ? a->memory + a->used : NULL;
  a->used += pe_align_up(bytes, 16);
  return at;
}

typedef struct Layout {
  Build   *b;
  PePlan  *p;
  Arena    steps, caches;
  uint64_t memory_bytes;
  uint32_t *bank_buffer; /* [n_nodes]: of a node in a bank */
  uint32_t *free_bank_buffers;
  uint32_t  n_free_bank_buffers;
} Layout;

static int is_real(const Layout *l) { return l->steps.memory != NULL; }

/* ---- buffers --------------------------------------------------------------------------------------- */

static uint32_t take_buffers(Build *b, uint32_t n) {
  if (n == 1 && b->n_free > 0) return b->free_buffers[--b->n_free];
  b->n_buffers += n;
  return b->n_buffers - n;
}

static void give_buffer(Build *b, uint32_t buffer) { b->free_buffers[b->n_free++] = buffer; }

static float *buffer_at(const PePlan *p, uint32_t buffer) { return p->buffers + (size_t)buffer * PE_CHUNK_FRAMES; }

static uint32_t take_bank_buffer(Layout *l) {
  return l->n_free_bank_buffers > 0 ? l->free_bank_buffers[--l->n_free_bank_buffers] : l->b->n_bank_buffers++;
}

static void give_bank_buffer(Layout *l, uint32_t buffer) { l->free_bank_buffers[l->n_free_bank_buffers++] = buffer; }

static float *bank_buffer_at(const Layout *l, uint32_t buffer) {
  return l->p->bank_buffers + (size_t)buffer * PE_CHUNK_FRAMES * PE_LANES;
}

/* A node's outputs were read by one cable more. */
static void release(Build *b, uint32_t source) {
  if (--b->users[source] > 0) return;
  for (uint32_t k = 0; k < b->modules[source]->n_outputs; k++) give_buffer(b, b->first_buffer[source] + k);
}

/* ---- single nodes ---------------------------------------------------------------------------------- */

/* Sources of one destination port, in the patch's order; returns how many. */
static uint32_t gather(const Layout *l, uint32_t node, uint32_t port, uint32_t to_param, const float **sources, PeScale *scales) {
  const Build *b = l->b;
  uint32_t n = 0;
  for (uint32_t i = b->first_cable[node]; i < b->first_cable[node + 1]; i++) {
    const PeCableSpec *c = &b->spec->cables[b->into[i]];
    if (c->dest_port != port || c->to_param != to_param) continue;
    if (sources) sources[n] = buffer_at(l->p, b->first_buffer[c->source] + c->source_port);
    if (scales) scales[n] = (PeScale){.depth = c->depth, .offset = c->offset};
    n++;
  }
  return n;
}

static int has_scales(const Layout *l, uint32_t node, uint32_t port, uint32_t to_param) {
  const Build *b = l->b;
  for (uint32_t i = b->first_cable[node]; i < b->first_cable[node + 1]; i++) {
    const PeCableSpec *c = &b->spec->cables[b->into[i]];
    if (c->dest_port == port && c->to_param == to_param && pe_is_scaled(c)) return 1;
  }
  return 0;
}

/* Where a port reads: nothing, one output as it is, or a sum made before the step. */
static const float *wire(Layout *l, PeStep *step, uint32_t node, uint32_t port, uint32_t to_param, uint32_t *sum_buffers, uint32_t *n_sum_buffers) {
  const uint32_t n = gather(l, node, port, to_param, NULL, NULL);
  if (n == 0) return NULL;
  const int is_scaled = has_scales(l, node, port, to_param);
  const float **sources = arena_take(&l->steps, n * sizeof *sources);
  PeScale *scales = is_scaled ? arena_take(&l->steps, n * sizeof *scales) : NULL;
  if (n == 1 && !is_scaled) {
    if (is_real(l)) gather(l, node, port, to_param, sources, NULL);
    return is_real(l) ? sources[0] : NULL;
  }
  const uint32_t buffer = take_buffers(l->b, 1);
  sum_buffers[(*n_sum_buffers)++] = buffer;
  if (!is_real(l)) return NULL;
  gather(l, node, port, to_param, sources, scales);
  step->sums[step->n_sums++] = (PeSum){.dest = buffer_at(l->p, buffer), .sources = sources, .scales = scales, .n_sources = n};
  return buffer_at(l->p, buffer);
}

static void lay_memory(Layout *l, PeStep *step) {
  const PeModule *m = step->module;
  PePlan *p = l->p;
  if (m->memory_slots == NULL) return;
  const uint32_t slots = m->memory_slots(p->sample_rate_hz);
  const uint64_t slot_bytes = m->slot_floats * sizeof(float), at = p->plain_bytes + l->memory_bytes; /* plain_bytes: measured before */
  l->memory_bytes += pe_align_up(slots * slot_bytes, 64);
  if (is_real(l)) {
    p->memories[p->n_memories] = (PeMemory){.count_at = step->state_at + pe_params_bytes(m), .at = at, .slots = slots, .slot_bytes = slot_bytes};
    step->memory = (float *)(void *)(p->states + at);
    step->memory_slots = slots;
  }
  p->n_memories++;
}

/* Bit p: cables set parameter p in steps. */
static uint64_t sampled_params(const Build *b, uint32_t node) {
  uint64_t params = 0;
  for (uint32_t i = b->first_cable[node]; i < b->first_cable[node + 1]; i++) {
    const PeCableSpec *c = &b->spec->cables[b->into[i]];
    if (pe_is_sampled(b, c)) params |= 1ull << c->dest_port;
  }
  return params;
}

static void lay_sampled(Layout *l, PeStep *step, uint32_t node) {
  PePlan *p = l->p;
  uint64_t left = sampled_params(l->b, node);
  const uint32_t n = (uint32_t)__builtin_popcountll(left);
  if (n == 0) return;
  const uint64_t at = p->state_bytes;
  p->state_bytes += pe_align_up(n * sizeof(PeSampled), 32);
  p->n_sampled += n;
  step->sampled = arena_take(&l->steps, n * sizeof *step->sampled);
  if (!is_real(l)) return;
  for (; left; left &= left - 1) {
    PeSampledParam *s = &step->sampled[step->n_sampled];
    *s = (PeSampledParam){.param = (uint32_t)__builtin_ctzll(left), .state = (PeSampled *)(void *)(p->states + at) + step->n_sampled};
    step->n_sampled++;
    for (uint32_t i = l->b->first_cable[node]; i < l->b->first_cable[node + 1]; i++) {
      const PeCableSpec *c = &l->b->spec->cables[l->b->into[i]];
      if (c->to_param && c->dest_port == s->param) s->rest += c->offset;
    }
  }
}

static void lay_state(Layout *l, PeStep *step, uint32_t node) {
  const PeModule *m = l->b->modules[node];
  PePlan *p = l->p;
  *step = (PeStep){.module = m, .handle = l->b->spec->nodes[node].handle, .state_at = p->state_bytes,
                   .process = m->isa ? m->isa[l->b->isa].process : m->process,
                   .bank = PE_NONE, .first_due = PE_NONE, .last_due = PE_NONE};
  p->state_bytes += pe_state_bytes(m);
  lay_sampled(l, step, node);
  step->state_bytes = p->state_bytes - step->state_at;
  lay_memory(l, step);
  step->inputs = arena_take(&l->steps, m->n_inputs * sizeof *step->inputs);
  step->outputs = arena_take(&l->steps, m->n_outputs * sizeof *step->outputs);
  step->mods = arena_take(&l->steps, m->n_params * sizeof *step->mods);
  step->sums = arena_take(&l->steps, (m->n_inputs + m->n_params) * sizeof *step->sums);
  if (!is_real(l)) return;
  step->params = (PeSmooth *)(void *)(p->states + step->state_at);
  step->own = p->states + step->state_at + pe_params_bytes(m);
  const uint32_t data = l->b->spec->nodes[node].data;
  step->data = data ? l->b->spec->data[data - 1] : NULL;
  step->block = (PeBlock){.inputs = step->inputs, .outputs = step->outputs, .params = step->params, .mods = step->mods,
                          .memory = step->memory, .memory_slots = step->memory_slots,
                          .data = step->data ? step->data->bytes : NULL, .data_bytes = step->data ? step->data->n_bytes : 0, .zero = -0.0f};
}

static void lay_step(Layout *l, PeStep *step, uint32_t node) {
  Build *b = l->b;
  const PeModule *m = b->modules[node];
  uint32_t sum_buffers[PE_MODULE_MAX_PORTS], n_sum_buffers = 0;
  const uint32_t n_cables = b->first_cable[node + 1] - b->first_cable[node];
  for (uint32_t i = 0; i < m->n_inputs + m->n_params; i++) {
    const uint32_t to_param = i >= m->n_inputs;
    const uint32_t port = to_param ? i - m->n_inputs : i;
    const float *from = wire(l, step, node, port, to_param, sum_buffers, &n_sum_buffers);
    if (!is_real(l)) continue;
    PeSampledParam *sampled = to_param ? pe_sampled_find(step, port) : NULL;
    if (sampled) {
      sampled->cable = from;
    } else if (to_param) {
      step->mods[port] = from;
      step->has_mods |= from != NULL;
    } else
      step->inputs[port] = from;
  }
  b->first_buffer[node] = take_buffers(b, m->n_outputs);
  for (uint32_t i = 0; is_real(l) && i < m->n_outputs; i++) step->outputs[i] = buffer_at(l->p, b->first_buffer[node] + i);
  /* Outputs were taken before inputs are given back: no step writes where it reads. */
  if (m->absorb || (m->events && n_cables > 0)) { /* reads all of it when all has run */
    if (is_real(l)) l->p->absorbing[l->p->n_absorbing] = (uint32_t)(step - l->p->steps);
    l->p->n_absorbing++;
    return;
  }
  for (uint32_t i = 0; i < n_sum_buffers; i++) give_buffer(b, sum_buffers[i]);
  for (uint32_t i = b->first_cable[node]; i < b->first_cable[node + 1]; i++) release(b, b->spec->cables[b->into[i]].source);
}

/* ---- banks ------------------------------------------------------------------------------------------ */

/* The node of lane `lane` that stands where `node` does in its own lane. */
static uint32_t twin(const Build *b, const BankShape *shape, uint32_t k, uint32_t lane) {
  return b->members[shape->first_member + k * PE_LANES + lane];
}

/* Source number i of a port in lane `lane`, its buffer; NULL for an empty lane. Equal trees have their cables in one order. */
static const float *outside_of(const Layout *l, uint32_t node, uint32_t port, uint32_t i) {
  const Build *b = l->b;
  for (uint32_t at = b->first_cable[node]; at < b->first_cable[node + 1]; at++) {
    const PeCableSpec *c = &b->spec->cables[b->into[at]];
    if (c->dest_port == port && i-- == 0) return buffer_at(l->p, b->first_buffer[c->source] + c->source_port);
  }
  return NULL;
}

static void lay_port(Layout *l, const BankShape *shape, uint32_t k, uint32_t node, uint32_t port, PeBankPort *to, uint32_t *taken, uint32_t *n_taken) {
  const Build *b = l->b;
  const uint32_t bank = b->unit_of[node];
  PeBankPort scratch = {0};
  PeBankPort *q = is_real(l) ? to : &scratch;
  q->n_sources = gather(l, node, port, 0, NULL, NULL);
  q->sources = arena_take(&l->steps, q->n_sources * sizeof *q->sources);
  q->children = arena_take(&l->steps, q->n_sources * sizeof *q->children);
  q->gathered = arena_take(&l->steps, q->n_sources * sizeof *q->gathered);
  q->outside = arena_take(&l->steps, (uint64_t)q->n_sources * PE_LANES * sizeof *q->outside);
  uint32_t i = 0;
  for (uint32_t at = b->first_cable[node]; at < b->first_cable[node + 1]; at++) {
    const PeCableSpec *c = &b->spec->cables[b->into[at]];
    if (c->dest_port != port) continue;
    const int is_child = b->unit_of[c->source] == bank;
    const uint32_t buffer = is_child ? l->bank_buffer[c->source] : take_bank_buffer(l);
    taken[(*n_taken)++] = buffer; /* a child feeds nothing else */
    if (is_real(l)) {
      q->children[i] = is_child ? b->node_of[c->source] : PE_NONE;
      q->gathered[i] = bank_buffer_at(l, buffer);
      q->sources[i] = q->gathered[i];
      for (uint32_t lane = 0; !is_child && lane < PE_LANES; lane++) {
        const uint32_t other = twin(b, shape, k, lane);
        q->outside[i * PE_LANES + lane] = other == PE_NONE ? NULL : outside_of(l, other, port, i);
      }
    }
    i++;
  }
  if (q->n_sources < 2) return;
  const uint32_t buffer = take_bank_buffer(l);
  taken[(*n_taken)++] = buffer;
  if (is_real(l)) q->dest = bank_buffer_at(l, buffer);
}

static float *mono_of(const PePlan *p, uint32_t node) { return p->alone + (size_t)node * PE_CHUNK_FRAMES; }

/* A lane alone runs as single nodes do, but that each node of a bank has a buffer for whichever lane it is. */
static void lay_alone(Layout *l, PeStep *step, uint32_t node, uint32_t bank) {
  const Build *b = l->b;
  for (uint32_t port = 0; port < step->module->n_inputs; port++) {
    const uint32_t n = gather(l, node, port, 0, NULL, NULL);
    const float **sources = arena_take(&l->steps, n * sizeof *sources);
    float *sum = n > 1 ? arena_take(&l->steps, PE_CHUNK_FRAMES * sizeof *sum) : NULL;
    if (!is_real(l) || n == 0) continue;
    gather(l, node, port, 0, sources, NULL);
    uint32_t i = 0;
    for (uint32_t at = b->first_cable[node]; at < b->first_cable[node + 1]; at++) {
      const PeCableSpec *c = &b->spec->cables[b->into[at]];
      if (c->dest_port != port) continue;
      if (b->unit_of[c->source] == bank) sources[i] = mono_of(l->p, b->node_of[c->source]);
      i++;
    }
    if (n > 1) step->sums[step->n_sums++] = (PeSum){.dest = sum, .sources = sources, .n_sources = n};
    step->inputs[port] = n > 1 ? sum : sources[0];
  }
  if (is_real(l)) step->outputs[0] = mono_of(l->p, b->node_of[node]);
}

static void lay_members(Layout *l, const BankShape *shape, uint32_t k, PeBankNode *node, uint32_t bank, const uint32_t *step_of) {
  PeStep scratch;
  for (uint32_t lane = 0; lane < PE_LANES; lane++) {
    const uint32_t member = twin(l->b, shape, k, lane);
    if (member == PE_NONE) continue;
    scratch.module = l->b->modules[member];
    PeStep *step = is_real(l) ? &l->p->steps[step_of[member]] : &scratch;
    lay_alone(l, step, member, bank);
    if (!is_real(l)) continue;
    step->bank = bank;
    step->node = k;
    step->lane = lane;
    node->steps[lane] = step;
    node->states[lane] = step->own;
    l->p->banks[bank].lanes |= 1u << lane;
  }
}

static uint32_t first_member(const Build *b, const BankShape *shape, uint32_t k) {
  uint32_t lane = 0;
  while (twin(b, shape, k, lane) == PE_NONE) lane++;
  return twin(b, shape, k, lane);
}

static void lay_bank_node(Layout *l, uint32_t bank, uint32_t k, PeBankNode *to, const uint32_t *step_of) {
  const BankShape *shape = &l->b->shapes[bank];
  const uint32_t node = first_member(l->b, shape, k);
  const PeModule *m = l->b->modules[node];
  uint32_t taken[PE_MODULE_MAX_PORTS * 17], n_taken = 0; /* MOST_SOURCES and their sum for each port */
  PeBankPort *ports = arena_take(&l->steps, m->n_inputs * sizeof *ports);
  const float **inputs = arena_take(&l->steps, m->n_inputs * sizeof *inputs);
  void *cache = arena_take(&l->caches, pe_align_up(m->bank->cache_bytes, 64));
  for (uint32_t i = 0; i < m->n_inputs; i++) {
    lay_port(l, shape, k, node, i, ports ? &ports[i] : NULL, taken, &n_taken);
    if (ports) inputs[i] = ports[i].n_sources == 0 ? NULL : ports[i].n_sources == 1 ? ports[i].sources[0] : ports[i].dest;
  }
  l->bank_buffer[node] = take_bank_buffer(l);
  for (uint32_t lane = 0; lane < PE_LANES; lane++)
    if (twin(l->b, shape, k, lane) != PE_NONE) l->bank_buffer[twin(l->b, shape, k, lane)] = l->bank_buffer[node];
  while (n_taken > 0) give_bank_buffer(l, taken[--n_taken]);
  uint32_t is_fed = 0;
  for (uint32_t i = 0; ports && i < m->n_inputs; i++) is_fed |= ports[i].n_sources > 1 || (ports[i].n_sources == 1 && ports[i].children[0] == PE_NONE);
  if (is_real(l))
    *to = (PeBankNode){.module = m, .process = m->isa[l->b->isa].process_bank,
                     .process_half = m->isa[l->b->isa > 0 ? l->b->isa - 1 : 0].process_bank, .cache = cache, .ports = ports, .inputs = inputs,
                       .output = bank_buffer_at(l, l->bank_buffer[node]), .is_fed = is_fed};
  lay_members(l, shape, k, to, bank, step_of);
}

/* What the bank reads from outside may be given back when it has run. */
static void release_outside(Layout *l, uint32_t bank) {
  Build *b = l->b;
  const BankShape *shape = &b->shapes[bank];
  for (uint32_t i = 0; i < shape->n_nodes * PE_LANES; i++) {
    const uint32_t node = b->members[shape->first_member + i];
    for (uint32_t at = node == PE_NONE ? 0 : b->first_cable[node]; node != PE_NONE && at < b->first_cable[node + 1]; at++) {
      const uint32_t source = b->spec->cables[b->into[at]].source;
      if (b->unit_of[source] != bank) release(b, source);
    }
  }
}

static void lay_bank(Layout *l, uint32_t bank, const uint32_t *step_of) {
  Build *b = l->b;
  const BankShape *shape = &b->shapes[bank];
  PeBankNode *nodes = arena_take(&l->steps, shape->n_nodes * sizeof *nodes);
  l->n_free_bank_buffers = 0; /* banks run one after the other: each may have them all */
  for (uint32_t i = b->n_bank_buffers; i-- > 0;) give_bank_buffer(l, i);
  for (uint32_t k = 0; k < shape->n_nodes; k++) lay_bank_node(l, bank, k, nodes ? &nodes[k] : NULL, step_of);
  float **out = shape->group == PE_NONE ? arena_take(&l->steps, PE_LANES * sizeof *out) : NULL;
  for (uint32_t lane = 0; shape->group == PE_NONE && lane < PE_LANES; lane++) {
    const uint32_t root = twin(b, shape, shape->n_nodes - 1, lane);
    if (root == PE_NONE) continue;
    b->first_buffer[root] = take_buffers(b, 1);
    if (is_real(l)) out[lane] = buffer_at(l->p, b->first_buffer[root]);
  }
  release_outside(l, bank);
  if (!is_real(l)) return;
  l->p->banks[bank].nodes = nodes;
  l->p->banks[bank].n_nodes = shape->n_nodes;
  l->p->banks[bank].out = out;
}

/* ---- the output ------------------------------------------------------------------------------------- */

/* Every node without an outgoing cable, in the patch's order; a bank in the place of its first lane. */
static void lay_output(Layout *l) {
  const Build *b = l->b;
  PePlan *p = l->p;
  uint32_t n = 0, n_in_banks = 0, n_heard = 0;
  for (uint32_t i = 0; i < b->spec->n_nodes; i++) {
    if (b->n_out_cables[i] != 0) continue;
    n += pe_outputs_for_all(b, i);
    n_in_banks += pe_bank_of(b, i) != PE_NONE;
  }
  p->output.n_sources = n_in_banks ? 0 : n;
  p->output.sources = arena_take(&l->steps, n * sizeof *p->output.sources);
  p->heard = n_in_banks ? arena_take(&l->steps, n * sizeof *p->heard) : NULL;
  if (!is_real(l)) return;
  uint32_t place = 0, newest_group = PE_NONE;
  uint32_t first_of_group = 0;
  for (uint32_t i = 0; i < b->spec->n_nodes; i++) {
    if (b->n_out_cables[i] != 0) continue;
    const uint32_t bank = pe_bank_of(b, i);
    for (uint32_t k = 0; k < b->modules[i]->n_outputs; k++) {
      if (!pe_is_heard(b, i, k) || pe_side_of(b, i, k) != PE_NONE) continue;
      const uint32_t here = place++;
      if (!n_in_banks) {
        p->output.sources[here] = buffer_at(p, b->first_buffer[i] + k);
        continue;
      }
      if (here / PE_LANES != newest_group) first_of_group = n_heard;
      newest_group = here / PE_LANES;
      int is_there = 0;
      for (uint32_t at = first_of_group; bank != PE_NONE && at < n_heard; at++) is_there |= p->heard[at].bank == bank;
      if (is_there) continue;
      p->heard[n_heard++] = bank != PE_NONE ? (PeHeardSource){.bank = bank}
                                            : (PeHeardSource){.bank = PE_NONE, .lane = here % PE_LANES, .mono = buffer_at(p, b->first_buffer[i] + k)};
    }
  }
  p->n_heard = n_heard;
}

/* Where one node is all that is heard, it may put it out itself. What takes part in a cycle reads that later. */
static void lay_finisher(Layout *l, const uint32_t *step_of) {
  const Build *b = l->b;
  PePlan *p = l->p;
  if (!is_real(l) || p->n_banks > 0 || p->output.n_sources != 1 || p->sides || p->n_absorbing > 0) return;
  for (uint32_t i = 0; i < b->spec->n_nodes; i++) {
    if (b->n_out_cables[i] != 0 || !b->modules[i]->finishes) continue;
    p->finisher = &p->steps[step_of[i]];
    p->finisher->block.zero = 0.0f;
  }
}

/* Can the second do what there is to do for both? The first reads no buffer, so it may write where the second does. */
static int may_scale(const PeStep *step, const PeStep *by) {
  return step->module->scales && by->module->holds && step->is_plain && by->is_plain && !step->has_mods && !by->has_mods &&
         by->inputs[0] == step->outputs[0];
}

/* Where no bank is: which nodes are behind one that can multiply in their place. */
static void lay_straight(Layout *l, const uint32_t *step_of) {
  const Build *b = l->b;
  PePlan *p = l->p;
  uint32_t n_scaling = 0, n_events = 0;
  for (uint32_t i = 0; i < b->spec->n_nodes; i++) {
    n_scaling += b->n_banks == 0 && b->modules[i]->scales;
    n_events += b->modules[i]->events != NULL;
  }
  PeScaled *scaled = arena_take(&l->steps, n_scaling * sizeof *scaled);
  if (!is_real(l) || p->finisher == NULL || n_events > 0) return;
  p->is_straight = 1;
  for (uint32_t i = 0; i < p->n_steps; i++) p->steps[i].is_plain = p->steps[i].n_sums == 0 && p->steps[i].n_sampled == 0;
  for (uint32_t i = 0; i + 1 < p->n_units; i++) {
    PeStep *step = &p->steps[p->units[i].step], *by = &p->steps[p->units[i + 1].step];
    if (!may_scale(step, by)) continue;
    step->scaled = scaled++;
    *step->scaled = (PeScaled){.by = by, .block = step->block};
    step->scaled->block.outputs = by->outputs;
    step->scaled->block.is_scaled = 1;
  }
  for (uint32_t i = 0; i < b->spec->n_nodes; i++)
    if (b->n_out_cables[i] != 1 || b->is_kept[i]) p->steps[step_of[i]].scaled = NULL; /* somebody else reads it too */
}

/* What is heard in one channel alone, in the patch's order. */
static void lay_sides(Layout *l) {
  const Build *b = l->b;
  PePlan *p = l->p;
  uint32_t n = 0;
  for (uint32_t i = 0; i < b->spec->n_nodes; i++)
    for (uint32_t k = 0; k < b->modules[i]->n_outputs; k++) n += pe_is_heard(b, i, k) && pe_side_of(b, i, k) != PE_NONE;
  p->sides = n ? arena_take(&l->steps, p->n_channels * sizeof *p->sides) : NULL;
  for (uint32_t c = 0; n && c < 2; c++) {
    const float **sources = arena_take(&l->steps, n * sizeof *sources);
    if (!is_real(l)) continue;
    p->sides[c].sources = sources;
    for (uint32_t i = 0; i < b->spec->n_nodes; i++)
      for (uint32_t k = 0; k < b->modules[i]->n_outputs; k++)
        if (pe_is_heard(b, i, k) && pe_side_of(b, i, k) == c) sources[p->sides[c].n_sources++] = buffer_at(p, b->first_buffer[i] + k);
  }
}

/* ---- what feeds what ------------------------------------------------------------------------------- */

static void lay_feeds(Layout *l, const uint32_t *step_of) {
  const Build *b = l->b;
  PePlan *p = l->p;
  const uint32_t n = b->spec->n_nodes;
  p->feeds = arena_take(&l->steps, (uint64_t)b->spec->n_cables * sizeof *p->feeds);
  p->roots = arena_take(&l->steps, n * sizeof *p->roots);
  p->visits = arena_take(&l->steps, n * sizeof *p->visits);
  p->is_visited = arena_take(&l->steps, n * sizeof *p->is_visited);
  p->n_roots = 0;
  for (uint32_t i = 0; is_real(l) && i < n; i++) {
    PeStep *step = &p->steps[step_of[i]];
    step->first_feed = b->first_cable[i];
    step->n_feeds = b->first_cable[i + 1] - b->first_cable[i];
    for (uint32_t at = b->first_cable[i]; at < b->first_cable[i + 1]; at++) {
      const PeCableSpec *c = &b->spec->cables[b->into[at]];
      p->feeds[at] = (PeFeed){.step = step_of[c->source], .to_param = c->to_param};
    }
    if (b->n_out_cables[i] == 0 || b->modules[i]->events) p->roots[p->n_roots++] = step_of[i];
  }
}

/* ---- all of it -------------------------------------------------------------------------------------- */

/* Run twice: once to measure (arena without memory), once to fill in. */
static void lay_out(Layout *l, uint32_t *step_of) {
  Build *b = l->b;
  PePlan *p = l->p;
  const uint32_t n = b->spec->n_nodes;
  PeStep scratch;
  b->n_free = b->n_buffers = b->n_bank_buffers = 0;
  p->state_bytes = l->memory_bytes = 0;
  p->n_units = p->n_memories = p->n_absorbing = p->n_sampled = 0;
  for (uint32_t i = 0; i < n; i++) b->users[i] = b->n_out_cables[i] + b->is_kept[i]; /* a kept one is never given back */
  p->steps = arena_take(&l->steps, n * sizeof *p->steps);
  p->by_handle = arena_take(&l->steps, n * sizeof *p->by_handle);
  p->units = arena_take(&l->steps, n * sizeof *p->units);
  p->banks = arena_take(&l->steps, b->n_banks * sizeof *p->banks);
  p->memories = arena_take(&l->steps, n * sizeof *p->memories);
  p->absorbing = arena_take(&l->steps, n * sizeof *p->absorbing);
  p->next_due = arena_take(&l->steps, (PE_SCHEDULE_SIZE + PE_EMIT_SIZE) * sizeof *p->next_due);
  for (uint32_t i = 0; i < n; i++) {
    step_of[b->order[i]] = i;
    lay_state(l, p->steps ? &p->steps[i] : &scratch, b->order[i]);
  }
  for (uint32_t heard = 0; heard < 2; heard++) /* first what is run before the output, then the banks that it runs */
    for (uint32_t i = 0; i < b->n_units; i++) {
      const uint32_t unit = b->units[i];
      const int is_bank = unit < b->n_banks, is_heard = is_bank && b->shapes[unit].group != PE_NONE;
      if (is_heard != (int)heard) continue;
      const uint32_t step = is_bank ? PE_NONE : step_of[unit - b->n_banks];
      if (is_bank)
        lay_bank(l, unit, step_of);
      else
        lay_step(l, p->steps ? &p->steps[step] : &scratch, unit - b->n_banks);
      const int is_silent = !is_bank && b->modules[unit - b->n_banks]->events != NULL; /* it runs before all audio */
      if (is_real(l) && !is_heard && !is_silent) p->units[p->n_units++] = (PeUnit){.step = step, .bank = is_bank ? unit : PE_NONE};
    }
  lay_output(l);
  lay_sides(l);
  lay_finisher(l, step_of);
  lay_straight(l, step_of);
  p->plain_bytes = l->memory_bytes ? pe_align_up(p->state_bytes, 64) : p->state_bytes;
  p->state_bytes = p->plain_bytes + l->memory_bytes;
  lay_feeds(l, step_of);
  p->capture.is_taken = arena_take(&l->steps, pe_capture_pieces(p->plain_bytes));
  p->mark = p->plain_bytes <= PE_MARK_BYTES ? arena_take(&l->steps, p->plain_bytes) : NULL;
}

static PeStatus allocate(Layout *l) {
  Build *b = l->b;
  PePlan *p = l->p;
  if (p->state_bytes > (1u << 30)) return PE_TOO_LARGE;
  const uint64_t states = pe_align_up(p->state_bytes + 64, 64);
  const uint64_t single = (uint64_t)(b->n_buffers + 1) * PE_CHUNK_FRAMES * sizeof(float);
  const uint64_t in_banks = (uint64_t)b->n_bank_buffers * PE_CHUNK_FRAMES * PE_LANES * sizeof(float);
  const uint64_t accumulators = PE_CHUNK_FRAMES * PE_ACCUMULATORS * sizeof(float);
  const uint64_t alone = PE_BANK_NODES * PE_CHUNK_FRAMES * sizeof(float);
  const uint64_t caches = pe_align_up(l->caches.used + 64, 64);
  p->memory = calloc(1, l->steps.used + 64);
  p->states = aligned_alloc(64, states);
  p->buffers = aligned_alloc(64, single + in_banks + accumulators + alone);
  p->caches = aligned_alloc(64, caches);
  if (!p->memory || !p->states || !p->buffers || !p->caches) return PE_NO_MEMORY;
  memset(p->states, 0, states);
  memset(p->buffers, 0, single + in_banks + accumulators + alone);
  memset(p->caches, 0, caches);
  p->bank_buffers = p->buffers + single / sizeof(float);
  p->accumulators = p->bank_buffers + in_banks / sizeof(float);
  p->alone = p->accumulators + accumulators / sizeof(float);
  l->steps = (Arena){.memory = p->memory};
  l->caches = (Arena){.memory = p->caches};
  return PE_OK;
}

PeStatus pe_plan_lay_out(Build *b, PePlan *p) {
  const size_t n = b->spec->n_nodes;
  size_t n_most = (size_t)b->spec->n_cables + 1; /* buffers of sums, one of which has a cable at least, and of outputs */
  for (size_t i = 0; i < n; i++) n_most += b->modules[i]->n_outputs;
  uint32_t *step_of = calloc(n + 1, sizeof *step_of);
  Layout l = {.b = b, .p = p, .bank_buffer = calloc(n + 1, sizeof *l.bank_buffer),
              .free_bank_buffers = calloc(n_most + n, sizeof *l.free_bank_buffers)};
  b->free_buffers = calloc(n_most, sizeof *b->free_buffers);
  p->n_banks = b->n_banks;
  p->mix = &pe_mix[b->isa];
  PeStatus status = step_of && l.bank_buffer && l.free_bank_buffers && b->free_buffers ? PE_OK : PE_NO_MEMORY;
  if (status == PE_OK) lay_out(&l, step_of);
  if (status == PE_OK) status = allocate(&l);
  if (status == PE_OK) lay_out(&l, step_of);
  free(step_of);
  free(l.bank_buffer);
  free(l.free_bank_buffers);
  return status;
}
