/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Up to PE_LANES equal voices at once, one lane each. What cannot be vectorised in a chunk (a parameter on its ramp, a
 * command in the middle, the end of an envelope's segment) is rendered for its lane alone, with the same bits; what
 * nobody hears is not rendered at all. */
#include <string.h>

#include "plan.h"

#define MOST_IDLE_FRAMES (1u << 30)
#define LOW_LANES 0xffu /* the half of a bank that a vector of half the width can do */

/* Up to three lanes are rendered one by one: cheaper than the bank. */
static int are_few(uint32_t lanes) {
  lanes &= lanes - 1u;
  lanes &= lanes - 1u;
  return (lanes & (lanes - 1u)) == 0;
}

/* Lanes of a node whose inputs are +0 throughout: nothing is connected, or every source is silent. */
static uint32_t silent_inputs(const PeBank *bank, const PeBankNode *node) {
  uint32_t silent = bank->lanes;
  for (uint32_t p = 0; p < node->module->n_inputs; p++)
    for (uint32_t i = 0; i < node->ports[p].n_sources; i++) {
      const uint32_t child = node->ports[p].children[i];
      silent &= child == PE_NONE ? 0 : bank->nodes[child].silent;
    }
  return silent;
}

/* Do cells of the voices begin and end with the chunk? */
static int is_whole(const PePlan *plan, uint32_t n_frames) { return ((plan->position | n_frames) & (PE_CELL_FRAMES - 1u)) == 0; }

/* Sources before what they feed: what is banked, what is silent. */
static void prepare(PePlan *plan, PeBank *bank, uint32_t n_frames) {
  const PeBankTime time = {.position = plan->position, .n_frames = n_frames, .chunk_frames = plan->chunk_frames};
  for (uint32_t k = 0; k < bank->n_nodes; k++) {
    PeBankNode *node = &bank->nodes[k];
    const PeBankOps *ops = node->module->bank;
    node->alone = is_whole(plan, n_frames) ? node->due : bank->lanes;
    for (uint32_t m = node->changed & ~node->alone; m; m &= m - 1) {
      const uint32_t l = pe_lowest_lane(m);
      const uint32_t answer = ops->refresh(node->cache, l, node->states[l], node->steps[l]->params, &time);
      if (answer == PE_LANE_ALONE) node->alone |= 1u << l;
      if (answer == PE_LANE_STEADY && !node->steps[l]->is_moving) node->changed &= ~(1u << l);
    }
    node->silent = ops->silent(node->cache, silent_inputs(bank, node)) & bank->lanes & ~node->alone;
    node->due = 0;
  }
}

/* What is fed before its sources: what has to be rendered. */
static void choose(PeBank *bank) {
  PeBankNode *root = &bank->nodes[bank->n_nodes - 1];
  for (uint32_t k = 0; k < bank->n_nodes; k++) bank->nodes[k].rendered = 0;
  bank->heard = root->rendered = bank->lanes & ~root->silent;
  for (uint32_t k = bank->n_nodes; k-- > 0;) {
    PeBankNode *node = &bank->nodes[k];
    if (!node->module->bank->is_free) node->rendered |= bank->lanes & ~node->silent; /* its state needs its input */
    node->rendered |= node->alone;
    for (uint32_t p = 0; p < node->module->n_inputs; p++)
      for (uint32_t i = 0; i < node->ports[p].n_sources; i++)
        if (node->ports[p].children[i] != PE_NONE) bank->nodes[node->ports[p].children[i]].rendered |= node->rendered;
  }
}

static void gather_outside(PeBankPort *port, uint32_t n_frames) {
  for (uint32_t i = 0; i < port->n_sources; i++) {
    if (port->children[i] != PE_NONE) continue;
    float *to = port->gathered[i];
    const float *const *lanes = port->outside + (size_t)i * PE_LANES;
    for (uint32_t l = 0; l < PE_LANES; l++)
      for (uint32_t f = 0; f < n_frames; f++) to[(size_t)f * PE_LANES + l] = lanes[l] ? lanes[l][f] : 0.0f;
  }
}

static void fetch_inputs(PeBankNode *node, uint32_t n_frames) {
  for (uint32_t p = 0; p < node->module->n_inputs; p++) {
    PeBankPort *port = &node->ports[p];
    if (port->n_sources == 0) continue;
    gather_outside(port, n_frames);
    if (port->n_sources == 1) continue;
    const PeSum sum = {.sources = port->sources, .n_sources = port->n_sources};
    pe_sum(&sum, port->dest, n_frames * PE_LANES);
  }
}

static float *mono_of(const PePlan *plan, uint32_t node) { return plan->alone + (size_t)node * PE_CHUNK_FRAMES; }

static void to_lane(const float *mono, float *lanes, uint32_t lane, uint32_t n_frames) {
  for (uint32_t f = 0; f < n_frames; f++) lanes[(size_t)f * PE_LANES + lane] = mono[f];
}

/* One lane of one node by the module's process; what feeds it was rendered for all lanes. */
static void run_lane(PePlan *plan, PeBank *bank, uint32_t k, uint32_t lane, uint32_t n_frames, const PeDue *due, uint32_t at) {
  PeBankNode *node = &bank->nodes[k];
  for (uint32_t p = 0; p < node->module->n_inputs; p++)
    for (uint32_t i = 0; i < node->ports[p].n_sources; i++) {
      const uint32_t child = node->ports[p].children[i];
      if (child == PE_NONE) continue;
      float *to = mono_of(plan, child);
      for (uint32_t f = 0; f < n_frames; f++) to[f] = bank->nodes[child].output[(size_t)f * PE_LANES + lane];
    }
  pe_step_run(plan, node->steps[lane], n_frames, due, at);
  to_lane(mono_of(plan, k), node->output, lane, n_frames);
}

/* Ramps that a module leaves unused go on all the same. */
static void advance_params(PeBankNode *node, uint32_t lanes, uint32_t n_frames) {
  for (uint32_t m = lanes & node->changed; m; m &= m - 1) {
    PeStep *step = node->steps[pe_lowest_lane(m)];
    if (step->is_moving) pe_step_advance(step, n_frames);
  }
}

static void skip(PeBankNode *node, uint32_t lanes, uint32_t n_frames) {
  const PeBankBlock block = {.n_frames = n_frames, .lanes = lanes, .states = node->states, .cache = node->cache};
  if (lanes) node->module->bank->skip(&block);
}

static void measure(PePlan *plan, const PeBankNode *node, uint32_t lanes, uint32_t n_frames) {
  float peaks[PE_LANES], squares[PE_LANES];
  if (!pe_meter_wants(plan->meter, (uint32_t)(node->steps[pe_lowest_lane(lanes)] - plan->steps))) return;
  pe_meter_lanes(node->output, n_frames, peaks, squares);
  for (uint32_t m = lanes; m; m &= m - 1) {
    const uint32_t l = pe_lowest_lane(m);
    pe_meter_put(plan->meter, (uint32_t)(node->steps[l] - plan->steps), node->steps[l]->handle, peaks[l], squares[l]);
  }
}

static void run_together(PePlan *plan, PeBankNode *node, uint32_t lanes, uint32_t is_resident, uint32_t n_frames) {
  float *const outputs[1] = {node->output};
  const PeBankBlock block = {.n_frames = n_frames, .lanes = lanes, .is_bounded = !node->is_fed, .is_resident = is_resident, .inputs = node->inputs, .outputs = outputs,
                             .states = node->states, .cache = node->cache};
  const int is_half = (lanes & LOW_LANES) == 0 || (lanes & ~LOW_LANES) == 0;
  if (node->is_fed) fetch_inputs(node, n_frames);
  if (is_half)
    node->process_half(&block);
  else
    node->process(&block);
  if (plan->meter) measure(plan, node, lanes, n_frames);
}

static void run_node(PePlan *plan, PeBank *bank, uint32_t k, uint32_t n_frames, const PeDue *due, uint32_t at) {
  PeBankNode *node = &bank->nodes[k];
  const uint32_t together = node->rendered & ~node->alone;
  if (together) run_together(plan, node, together, 0, n_frames);
  for (uint32_t m = node->alone; m; m &= m - 1) run_lane(plan, bank, k, pe_lowest_lane(m), n_frames, due, at);
  advance_params(node, bank->lanes & ~node->alone, n_frames);
  node->changed |= node->alone;
  skip(node, bank->lanes & ~node->rendered, n_frames);
}

/* Few lanes: each from its first node to its root by itself. */
static void run_few(PePlan *plan, PeBank *bank, uint32_t lanes, uint32_t n_frames, const PeDue *due, uint32_t at) {
  for (uint32_t m = lanes; m; m &= m - 1) {
    const uint32_t l = pe_lowest_lane(m);
    for (uint32_t k = 0; k < bank->n_nodes; k++) {
      PeBankNode *node = &bank->nodes[k];
      pe_step_run(plan, node->steps[l], n_frames, due, at);
      if (node->alone >> l & 1u)
        node->changed |= 1u << l;
      else if (node->module->bank->told)
        node->module->bank->told(node->cache, l, node->states[l]);
    }
    to_lane(mono_of(plan, bank->n_nodes - 1), bank->nodes[bank->n_nodes - 1].output, l, n_frames);
  }
  for (uint32_t k = 0; k < bank->n_nodes; k++) {
    advance_params(&bank->nodes[k], bank->lanes & ~lanes, n_frames);
    skip(&bank->nodes[k], bank->lanes & ~lanes, n_frames);
  }
  bank->heard |= lanes;
}

static void scatter_root(const PeBank *bank, uint32_t n_frames) {
  const float *from = bank->nodes[bank->n_nodes - 1].output;
  for (uint32_t m = bank->lanes; m; m &= m - 1) {
    const uint32_t l = pe_lowest_lane(m);
    if (bank->heard >> l & 1u)
      for (uint32_t f = 0; f < n_frames; f++) bank->out[l][f] = from[(size_t)f * PE_LANES + l];
    else
      memset(bank->out[l], 0, n_frames * sizeof(float));
  }
}

/* All lanes of it are about to change. */
static void touch(PePlan *plan, const PeBank *bank) {
  if (plan->capture.n_left == 0) return;
  for (uint32_t k = 0; k < bank->n_nodes; k++)
    for (uint32_t m = bank->lanes; m; m &= m - 1) pe_step_touch(plan, bank->nodes[k].steps[pe_lowest_lane(m)]);
}

/* The states as of now; it may be resident all the same. */
static void write_states(PeBank *bank) {
  if (bank->idle_frames == 0 && !bank->is_resident) return;
  for (uint32_t k = 0; k < bank->n_nodes; k++) {
    PeBankNode *node = &bank->nodes[k];
    if (bank->idle_frames > 0) skip(node, bank->lanes, bank->idle_frames);
    if (bank->is_resident && node->module->bank->store) node->module->bank->store(node->cache, bank->lanes, node->states);
  }
  bank->idle_frames = 0;
}

PE_RT void pe_bank_settle(PePlan *plan, PeBank *bank) {
  if (bank->idle_frames == 0 && !bank->is_resident) return;
  touch(plan, bank);
  write_states(bank);
  bank->is_resident = 0;
}

PE_RT void pe_plan_capture(PePlan *plan, unsigned char *to) {
  pe_capture_drop(&plan->capture);
  for (uint32_t i = 0; i < plan->n_banks; i++) write_states(&plan->banks[i]);
  pe_capture_begin(&plan->capture, plan->states, plan->plain_bytes, to);
}

static void make_resident(PeBank *bank) {
  for (uint32_t k = 0; k < bank->n_nodes; k++) {
    PeBankNode *node = &bank->nodes[k];
    if (node->module->bank->load) node->module->bank->load(node->cache, bank->lanes, node->states);
  }
  bank->is_resident = 1;
}

/* What this chunk says of the next ones, as long as nothing is touched. Where nothing was silent, nothing that is fed
 * becomes so: a filter dies away only behind an envelope at rest. One without an input is rendered on, for nothing. */
static void foresee(PeBank *bank, uint32_t lanes) {
  uint32_t changed = 0, lacking = 0;
  for (uint32_t k = 0; k < bank->n_nodes; k++) {
    changed |= bank->nodes[k].changed;
    lacking |= bank->lanes & ~(bank->nodes[k].rendered & ~bank->nodes[k].silent);
  }
  bank->is_idle = lanes == 0 && changed == 0;
  bank->is_steady = lacking == 0 && changed == 0 && !are_few(lanes);
}

static uint32_t lanes_at_work(const PeBank *bank) {
  uint32_t lanes = 0;
  for (uint32_t k = 0; k < bank->n_nodes; k++) lanes |= bank->nodes[k].rendered;
  return lanes;
}

static void run_any(PePlan *plan, PeBank *bank, uint32_t n_frames, const PeDue *due, uint32_t at) {
  pe_bank_settle(plan, bank);
  touch(plan, bank);
  bank->is_touched = 0;
  prepare(plan, bank, n_frames);
  choose(bank);
  const uint32_t lanes = lanes_at_work(bank);
  if (are_few(lanes))
    run_few(plan, bank, lanes, n_frames, due, at);
  else
    for (uint32_t k = 0; k < bank->n_nodes; k++) run_node(plan, bank, k, n_frames, due, at);
  foresee(bank, lanes);
}

PE_RT void pe_bank_run(PePlan *plan, PeBank *bank, uint32_t n_frames, const PeDue *due, uint32_t at, _Atomic uint32_t *marker) {
  const uint32_t handle = bank->nodes[0].steps[pe_lowest_lane(bank->lanes)]->handle;
  atomic_store_explicit(marker, handle, memory_order_relaxed); /* read after a death only */
  if (bank->is_idle && !bank->is_touched && bank->idle_frames < MOST_IDLE_FRAMES) {
    bank->idle_frames += n_frames;
  } else if (bank->is_steady && !bank->is_touched && is_whole(plan, n_frames)) {
    if (!bank->is_resident) make_resident(bank);
    bank->heard = bank->lanes;
    for (uint32_t k = 0; k < bank->n_nodes; k++) run_together(plan, &bank->nodes[k], bank->lanes, 1, n_frames);
  } else {
    run_any(plan, bank, n_frames, due, at);
  }
  if (bank->out) scatter_root(bank, n_frames);
}
