/* Runs one module of the registry as a plan would, and as far as tests/dsp wants to see it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dsp/registry.h"

#include "drive.h"

#define GUARD_BYTES 64u
#define MAX_PORTS 64u

uint32_t drive_count(void) { return pe_n_shipped_modules; }

uint32_t drive_isa_count(void) {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2")) return 1;
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") ? 3 : 2;
#else
  return 1;
#endif
}

void drive_info(uint32_t module, PeModuleInfo *info) {
  const PeModule *m = pe_shipped_modules[module];
  *info = (PeModuleInfo){.name = m->name, .help = m->help, .inputs = m->inputs, .outputs = m->outputs,
                         .params = m->params, .n_inputs = m->n_inputs, .n_outputs = m->n_outputs,
                         .n_params = m->n_params, .state_version = m->state_version, .state_bytes = m->state_bytes};
}

static uint64_t params_bytes(const PeModule *m) {
  return (m->n_params * sizeof(PeSmooth) + 15u) & ~(uint64_t)15u;
}

uint64_t drive_state_bytes(uint32_t module) {
  return params_bytes(pe_shipped_modules[module]) + pe_shipped_modules[module]->state_bytes;
}

/* What a module copies from its stack without having set it shows in the state. */
static __attribute__((noinline)) void stack_fill(uint8_t fill) {
  volatile uint8_t bytes[4096];
  for (uint32_t i = 0; i < sizeof bytes; i++) bytes[i] = fill;
}

static double clamped(const PeParam *p, double v, double sample_rate_hz) {
  const double max = p->flags & PE_PARAM_NYQUIST ? 0.5 * sample_rate_hz - 10.0 : p->max;
  return v < p->min ? p->min : v > max ? max : v;
}

static void apply(const PeModule *m, const DriveRun *run, const DriveCommand *c, PeSmooth *params, void *state) {
  if (c->kind == DRIVE_RESET) {
    m->reset(state);
    for (uint32_t p = 0; p < m->n_params; p++) params[p] = (PeSmooth){.target = m->params[p].default_value};
  } else if (c->kind == DRIVE_OPEN) {
    if (m->open) m->open(state, params);
  } else {
    const PeParam *p = &m->params[c->param];
    const double ramp = (double)p->ramp_us * run->sample_rate_hz / 1e6 + 0.5;
    const int is_immediate = c->is_immediate || !(p->flags & PE_PARAM_RAMPED);
    pe_smooth_set(&params[c->param], clamped(p, c->value, run->sample_rate_hz), is_immediate ? 0 : (uint32_t)ramp);
    if (m->changed) m->changed(state, params, c->param, c->is_immediate != 0);
  }
}

static float *memory; /* of the module that runs */
static uint32_t memory_slots;

static void process(const PeModule *m, const DriveRun *run, uint64_t at, uint32_t n, PeSmooth *params, void *state) {
  const float *inputs[MAX_PORTS], *mods[MAX_PORTS];
  float *outputs[MAX_PORTS];
  for (uint32_t k = 0; k < m->n_inputs; k++) inputs[k] = run->inputs[k] ? run->inputs[k] + at : NULL;
  for (uint32_t k = 0; k < m->n_params; k++) mods[k] = run->mods[k] ? run->mods[k] + at : NULL;
  for (uint32_t k = 0; k < m->n_outputs; k++) outputs[k] = run->outputs[k] + at;
  const PeBlock block = {.n_frames = n, .inputs = inputs, .outputs = outputs, .params = params, .mods = mods,
                         .memory = memory, .memory_slots = memory_slots, .data = run->data, .data_bytes = run->data_bytes};
  stack_fill((uint8_t)run->fill);
  if (m->isa)
    m->isa[run->isa].process(state, &block);
  else
    m->process(state, &block);
  if (m->absorb) m->absorb(state, &block);
  for (uint32_t k = 0; k < m->n_params; k++) pe_smooth_advance(&params[k], n);
}

/* A module that absorbs is given no more than a plan gives it between two absorptions. */
static void process_all(const PeModule *m, const DriveRun *run, uint64_t at, uint64_t end, PeSmooth *params, void *state) {
  const uint64_t most = m->absorb ? PE_CHUNK_FRAMES : end - at;
  for (; at < end; at += most) process(m, run, at, (uint32_t)(end - at < most ? end - at : most), params, state);
}

static void render(const PeModule *m, const DriveRun *run, PeSmooth *params, void *state) {
  uint64_t at = 0;
  for (uint32_t c = 0, split = 0;; split++) {
    for (; c < run->n_commands && run->commands[c].frame <= at; c++) {
      stack_fill((uint8_t)run->fill);
      apply(m, run, &run->commands[c], params, state);
    }
    if (at == run->n_frames) return;
    uint64_t end = at + run->splits[split % run->n_splits];
    if (end > run->n_frames) end = run->n_frames;
    if (c < run->n_commands && end > run->commands[c].frame) end = run->commands[c].frame;
    process_all(m, run, at, end, params, state);
    at = end;
  }
}

static int guards_hold(const uint8_t *memory, uint64_t bytes, uint32_t fill) {
  for (uint32_t i = 0; i < GUARD_BYTES; i++)
    if (memory[i] != (uint8_t)fill || memory[GUARD_BYTES + bytes + i] != (uint8_t)fill) return 0;
  return 1;
}

int drive_run(const DriveRun *run) {
  const PeModule *m = pe_shipped_modules[run->module];
  const uint64_t bytes = drive_state_bytes(run->module);
  memory_slots = m->memory_slots ? m->memory_slots(run->sample_rate_hz) : 0;
  const uint64_t memory_bytes = (uint64_t)memory_slots * m->slot_floats * sizeof(float);
  uint8_t *guarded = malloc(bytes + 2 * GUARD_BYTES), *line = malloc(memory_bytes + 2 * GUARD_BYTES); /* malloc aligns to 16, and so does the guard */
  if (!guarded || !line) return 1;
  memset(guarded, (int)run->fill, bytes + 2 * GUARD_BYTES);
  memset(line, (int)run->fill, memory_bytes + 2 * GUARD_BYTES); /* what was never written may hold anything finite */
  memory = memory_slots ? (float *)(void *)(line + GUARD_BYTES) : NULL;
  uint8_t *inside = guarded + GUARD_BYTES;
  memset(inside, 0, bytes);
  PeSmooth *params = (PeSmooth *)(void *)inside;
  void *state = inside + params_bytes(m);
  const PeFpMode mode = pe_fp_enter();
  stack_fill((uint8_t)run->fill);
  int result = m->prepare(state, run->sample_rate_hz, PE_MAX_BLOCK_FRAMES) == PE_OK ? 0 : 2;
  for (uint32_t p = 0; p < m->n_params; p++) params[p] = (PeSmooth){.target = m->params[p].default_value};
  if (result == 0) render(m, run, params, state);
  pe_fp_leave(mode);
  if (result == 0 && (!guards_hold(guarded, bytes, run->fill) || !guards_hold(line, memory_bytes, run->fill))) result = 3;
  memcpy(run->state, inside, bytes);
  free(guarded);
  free(line);
  return result;
}
