/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* sample_hold: takes the value of its input where the trigger rises through 0.5, and where its own clock ticks, and
 * holds it. The clock ticks first at the very frame at which it is given a rate. It begins at 0. */
#include "gate.h"
#include "module.h"
#include "registry.h"
#include "values.h"

enum { IN, TRIGGER, N_INPUTS };
enum { RATE, N_PARAMS };

static const PeParam params[N_PARAMS] = {
  [RATE] = {.name = "rate", .alias = "", .unit = "Hz", .choices = "", .help = "Values per second by its own clock; none at 0",
            .min = 0.0, .max = 0.0, .default_value = 0.0, .flags = PE_PARAM_NYQUIST | PE_PARAM_CABLE},
};

typedef struct SampleHold {
  uint64_t phase;        /* of the clock at the next frame, in turns x 2^64 */
  double   turns_per_hz; /* 2^64 / sample rate */
  double   max_hz;
  float    held;
  uint32_t has_ticked;   /* the clock runs: it ticks again where its phase wraps */
  uint32_t is_due;       /* its phase has wrapped */
  uint32_t is_high;      /* the trigger at the newest frame */
} SampleHold;
_Static_assert(sizeof(SampleHold) == 40, "no padding in a state");

static PeStatus sample_hold_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  SampleHold *s = state;
  (void)max_block_frames;
  s->turns_per_hz = 0x1p64 / sample_rate_hz;
  s->max_hz = 0.5 * sample_rate_hz - 10.0;
  return PE_OK;
}

static void sample_hold_reset(void *state) {
  SampleHold *s = state;
  *s = (SampleHold){.turns_per_hz = s->turns_per_hz, .max_hz = s->max_hz};
}

/* Whether the clock ticks at this frame. */
PE_RT_INLINE int clock_ticks(SampleHold *s, double rate_hz) {
  if (!(rate_hz > 0.0)) {
    s->has_ticked = s->is_due = 0;
    s->phase = 0;
    return 0;
  }
  const int ticks = !s->has_ticked || s->is_due;
  const uint64_t increment = (uint64_t)(int64_t)(rate_hz * s->turns_per_hz);
  s->phase += increment;
  s->is_due = s->phase < increment ? 1u : 0u;
  s->has_ticked = 1;
  return ticks;
}

PE_RT_INLINE int trigger_rises(SampleHold *s, float trigger) {
  const uint32_t was_high = s->is_high;
  s->is_high = pe_gate_is_high(trigger) ? 1u : 0u;
  return s->is_high && !was_high;
}

PE_RT static void sample_hold_process(void *state, const PeBlock *b) {
  SampleHold *s = state;
  const float *in = b->inputs[IN], *trigger = b->inputs[TRIGGER];
  float *restrict out = b->outputs[0];
  if (b->n_frames == 0) return;
  const int is_steady = b->is_unchanged || pe_block_param_is_constant(b, RATE);
  double rate_hz = pe_block_param(b, RATE, 0, params[RATE].min, s->max_hz);
  for (uint32_t i = 0; i < b->n_frames; i++) {
    if (!is_steady) rate_hz = pe_block_param(b, RATE, i, params[RATE].min, s->max_hz);
    const int ticks = clock_ticks(s, rate_hz);
    const int rises = trigger_rises(s, trigger ? trigger[i] : 0.0f);
    if (ticks || rises) s->held = in ? pe_taken(in[i]) : 0.0f;
    out[i] = s->held;
  }
}

const PeModule pe_module_sample_hold = {
  .name = "sample_hold", .help = "Takes the value of its input when triggered, or by its own clock, and holds it",
  .inputs = "in,trigger", .outputs = "out",
  .n_inputs = N_INPUTS, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(SampleHold), .params = params,
  .prepare = sample_hold_prepare, .reset = sample_hold_reset, .process = sample_hold_process,
};
