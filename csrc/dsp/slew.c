/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* slew: follows its input, no faster than it may. Linear: by at most 1 in the time `rise` upwards, `fall` downwards.
 * Exponential: by the same part of what is left in each frame, to 1/e of it in that time. At 0 ms it is there at once.
 * It begins at 0. */
#include "module.h"
#include "registry.h"
#include "values.h"

enum { RISE, FALL, SHAPE, N_PARAMS };
enum { EXPONENTIAL, LINEAR, N_SHAPES };

#define TIME(which, way) \
  {.name = which, .alias = "", .unit = "ms", .choices = "", .help = "Time " way ": to 1/e of the way left (exponential), or for a change by 1 (linear)", \
   .min = 0.0, .max = 60000.0, .default_value = 10.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE}

static const PeParam params[N_PARAMS] = {
  [RISE] = TIME("rise", "upwards"),
  [FALL] = TIME("fall", "downwards"),
  [SHAPE] = {.name = "shape", .alias = "", .unit = "", .choices = "exponential,linear", .help = "Way it takes",
             .min = 0.0, .max = N_SHAPES - 1, .default_value = EXPONENTIAL, .flags = PE_PARAM_INTEGER},
};

typedef struct Slew {
  double value; /* of the newest frame */
  double sample_rate_hz;
  double ms[2];   /* what the steps below were made for, as far as `shape` says so */
  double step[2]; /* linear: most per frame; exponential: part of what is left */
  uint32_t shape, has_steps;
} Slew;
_Static_assert(sizeof(Slew) == 56, "no padding in a state");

static PeStatus slew_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  Slew *s = state;
  (void)max_block_frames;
  s->sample_rate_hz = sample_rate_hz;
  return PE_OK;
}

static void slew_reset(void *state) {
  Slew *s = state;
  *s = (Slew){.sample_rate_hz = s->sample_rate_hz};
}

PE_RT_INLINE double step_of(const Slew *s, double ms) {
  const double frames = ms * s->sample_rate_hz * (1.0 / 1000.0);
  if (s->shape == EXPONENTIAL) return frames > 0.02 ? 1.0 - pe_exp2(-1.4426950408889634 / frames) : 1.0; /* at 0.02, e^-50 */
  return frames > 1e-6 ? 1.0 / frames : 1e6;
}

/* A function of the values alone: what is kept is what would be computed. */
PE_RT_INLINE void follow_times(Slew *s, const PeBlock *b, uint32_t i) {
  for (uint32_t p = RISE; p <= FALL; p++) {
    const double ms = pe_block_param(b, p, i, params[p].min, params[p].max);
    if (s->has_steps && ms == s->ms[p]) continue;
    s->ms[p] = ms;
    s->step[p] = step_of(s, ms);
  }
  s->has_steps = 1;
}

PE_RT_INLINE double next_of(uint32_t shape, double rise, double fall, double value, double target) {
  const double way = target - value, step = way > 0.0 ? rise : fall;
  if (shape == EXPONENTIAL) return step < 1.0 ? value + step * way : target;
  return way > step ? value + step : way < -step ? value - step : target;
}

PE_RT static void slew_process(void *state, const PeBlock *b) {
  Slew *s = state;
  if (b->n_frames == 0) return;
  const int is_steady = b->is_unchanged || (pe_block_param_is_constant(b, RISE) && pe_block_param_is_constant(b, FALL));
  const uint32_t shape = b->params[SHAPE].target >= 0.5 ? LINEAR : EXPONENTIAL;
  if (shape != s->shape) s->has_steps = 0;
  s->shape = shape;
  const float *in = b->inputs[0];
  float *restrict out = b->outputs[0];
  double value = s->value;
  follow_times(s, b, 0);
  double rise = s->step[RISE], fall = s->step[FALL];
  for (uint32_t i = 0; i < b->n_frames; i++) {
    if (!is_steady) {
      follow_times(s, b, i);
      rise = s->step[RISE];
      fall = s->step[FALL];
    }
    value = next_of(shape, rise, fall, value, in ? (double)pe_taken(in[i]) : 0.0);
    out[i] = (float)value;
  }
  s->value = value;
}

const PeModule pe_module_slew = {
  .name = "slew", .help = "Follows its input no faster than it may: for glides, and to smooth what jumps", .inputs = "in", .outputs = "out",
  .n_inputs = 1, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Slew), .params = params,
  .prepare = slew_prepare, .reset = slew_reset, .process = slew_process,
};
