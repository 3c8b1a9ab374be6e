/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* lfo: a slow oscillator for cables to parameters: offset + depth x shape. Its shapes have corners and steps, as a
 * control should; osc is the one to be heard.
 *
 * Sine and triangle begin at 0, rising; saw rises from the lowest to the highest value; square is high in the first half
 * of a cycle. Random takes a new value for each cycle; smooth goes from one such value to the next along 3t^2 - 2t^3. */
#include "approx.h"
#include "gate.h"
#include "levels.h"
#include "module.h"
#include "random.h"
#include "registry.h"
#include "values.h"

enum { SHAPE, FREQ, PHASE, DEPTH, OFFSET, UNIPOLAR, SYNC, SEED, N_PARAMS };
enum { SINE, TRIANGLE, SAW, SQUARE, RANDOM, SMOOTH, N_SHAPES };

static const PeParam params[N_PARAMS] = {
  [SHAPE] = {.name = "shape", .alias = "", .unit = "", .choices = "sine,triangle,saw,square,random,smooth", .help = "Form of a cycle",
             .min = 0.0, .max = N_SHAPES - 1, .default_value = SINE, .flags = PE_PARAM_INTEGER},
  [FREQ] = {.name = "freq", .alias = "frequency", .unit = "Hz", .choices = "", .help = "Cycles per second",
            .min = 0.001, .max = 200.0, .default_value = 1.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [PHASE] = {.name = "phase", .alias = "", .unit = "turns", .choices = "", .help = "How far ahead of its cycle the output is",
             .min = 0.0, .max = 1.0, .default_value = 0.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [DEPTH] = {.name = "depth", .alias = "", .unit = "", .choices = "", .help = "Factor of the shape, in the unit of what it drives",
             .min = 0.0, .max = 20000.0, .default_value = 1.0, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [OFFSET] = {.name = "offset", .alias = "", .unit = "", .choices = "", .help = "Added to the output, in the unit of what it drives",
              .min = -20000.0, .max = 20000.0, .default_value = 0.0, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [UNIPOLAR] = {.name = "unipolar", .alias = "", .unit = "", .choices = "off,on", .help = "Shape from -1 to 1 (off), or from 0 to 1 (on)",
                .min = 0.0, .max = 1.0, .default_value = 0.0, .flags = PE_PARAM_INTEGER},
  [SYNC] = {.name = "sync", .alias = "", .unit = "", .choices = "", .help = "Starts a new cycle at each 1, and where a cable rises through 0.5",
            .min = 0.0, .max = 1.0, .default_value = 0.0, .flags = PE_PARAM_GATE | PE_PARAM_CABLE},
  [SEED] = {.name = "seed", .alias = "", .unit = "", .choices = "", .help = "Equal seeds make equal random values",
            .min = 0.0, .max = 16777215.0, .default_value = 0.0, .flags = PE_PARAM_INTEGER},
};

typedef struct Lfo {
  uint64_t phase;        /* of the next frame, in turns x 2^64 */
  uint64_t cycle;        /* cycles begun before it */
  double   turns_per_hz; /* 2^64 / sample rate */
  PeStrike sync;
} Lfo;
_Static_assert(sizeof(Lfo) == 32, "no padding in a state");

static PeStatus lfo_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  Lfo *s = state;
  (void)max_block_frames;
  s->turns_per_hz = 0x1p64 / sample_rate_hz;
  return PE_OK;
}

static void lfo_reset(void *state) {
  Lfo *s = state;
  *s = (Lfo){.turns_per_hz = s->turns_per_hz};
}

PE_RT static void lfo_changed(void *state, const PeSmooth *p, uint32_t param, int is_immediate) {
  Lfo *s = state;
  (void)is_immediate;
  if (param == SYNC) pe_strike_command(&s->sync, p[SYNC].target);
}

/* -1 to 1. */
PE_RT_INLINE double shape_of(uint32_t shape, uint64_t start, uint64_t phase, uint64_t cycle) {
  const double turns = (double)(phase >> 11) * 0x1p-53;
  switch (shape) {
    case TRIANGLE: return turns < 0.25 ? 4.0 * turns : turns < 0.75 ? 2.0 - 4.0 * turns : 4.0 * turns - 4.0;
    case SAW: return 2.0 * turns - 1.0;
    case SQUARE: return turns < 0.5 ? 1.0 : -1.0;
    case RANDOM: return (double)pe_random_bipolar(start, cycle);
    case SMOOTH: {
      const double from = (double)pe_random_bipolar(start, cycle), to = (double)pe_random_bipolar(start, cycle + 1);
      return from + (to - from) * (turns * turns * (3.0 - 2.0 * turns));
    }
    default: return (double)pe_sin_phase(phase);
  }
}

PE_RT_INLINE double param_at(const PeBlock *b, uint32_t param, uint32_t i) {
  return pe_block_param(b, param, i, params[param].min, params[param].max);
}

PE_RT static void lfo_process(void *state, const PeBlock *b) {
  Lfo *s = state;
  const uint32_t shape = pe_whole(b->params, params, SHAPE), is_unipolar = pe_whole(b->params, params, UNIPOLAR);
  const uint64_t start = pe_random_start(pe_whole(b->params, params, SEED));
  const int is_steady = b->is_unchanged || (pe_block_param_is_constant(b, FREQ) && pe_block_param_is_constant(b, PHASE) &&
                                            pe_block_param_is_constant(b, DEPTH) && pe_block_param_is_constant(b, OFFSET));
  uint32_t next = 0; /* frame to be asked about sync */
  uint64_t increment = 0, ahead = 0;
  double depth = 0.0, offset = 0.0;
  for (uint32_t i = 0; i < b->n_frames; i++) {
    if (i == next) {
      if (pe_strike_at(&s->sync, b->mods[SYNC], i)) {
        s->cycle += s->phase != 0;
        s->phase = 0;
      }
      next = pe_strike_next(&s->sync, b->mods[SYNC], i, b->n_frames);
    }
    if (i == 0 || !is_steady) {
      increment = (uint64_t)(int64_t)(param_at(b, FREQ, i) * s->turns_per_hz);
      ahead = (uint64_t)(int64_t)(param_at(b, PHASE, i) * 0x1p62) << 2; /* a whole turn is 0 */
      depth = param_at(b, DEPTH, i);
      offset = param_at(b, OFFSET, i);
    }
    const uint64_t phase = s->phase + ahead;
    const double y = shape_of(shape, start, phase, s->cycle + (phase < ahead));
    b->outputs[0][i] = (float)(offset + depth * (is_unipolar ? 0.5 + 0.5 * y : y));
    s->phase += increment;
    s->cycle += s->phase < increment;
  }
}

const PeModule pe_module_lfo = {
  .name = "lfo", .help = "Slow oscillator for cables to parameters: offset + depth x shape", .inputs = "", .outputs = "out",
  .n_inputs = 0, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Lfo), .params = params,
  .prepare = lfo_prepare, .reset = lfo_reset, .changed = lfo_changed, .process = lfo_process,
};
