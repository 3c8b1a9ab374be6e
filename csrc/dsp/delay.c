/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* delay: an echo, from a tenth of a millisecond to 2.5 s. Mono, as its memory is what it costs: two of them with two
 * times make a stereo delay, and one behind another a ping-pong.
 *
 * Where it reads follows `time` to the sample, between samples too, while it moves by at most half a frame a frame:
 * so a cable makes vibrato, chorus and flanging. What moves faster, such as a new time that is set, is crossfaded to in
 * 20 ms, from one echo to the other, without a change of pitch. */
#include "levels.h"
#include "line.h"
#include "module.h"
#include "registry.h"

enum { TIME, FEEDBACK, DAMPING, MIX, N_PARAMS };

#define MOST_MS 2500.0
#define FADE_MS 20.0
#define LEAST_FRAMES 3.0    /* what the taps need */
#define MOST_STEP_FRAMES 0.5

static const PeParam params[N_PARAMS] = {
  [TIME] = {.name = "time", .alias = "", .unit = "ms", .choices = "", .help = "From the input to its first echo; a cable moves it without clicks, a new value is crossfaded to",
            .min = 0.1, .max = MOST_MS, .default_value = 350.0, .flags = PE_PARAM_CABLE},
  [FEEDBACK] = {.name = "feedback", .alias = "", .unit = "", .choices = "", .help = "Of each echo to the one before it",
                .min = 0.0, .max = 0.99, .default_value = 0.4, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [DAMPING] = {.name = "damping", .alias = "", .unit = "", .choices = "", .help = "Low-pass in the feedback: 0 none, 0.5 from 640 Hz, 1 from 160 Hz",
               .min = 0.0, .max = 1.0, .default_value = 0.2, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [MIX] = {.name = "mix", .alias = "", .unit = "", .choices = "", .help = "0 is the input alone, 1 the echoes alone",
           .min = 0.0, .max = 1.0, .default_value = 0.5, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
};

typedef struct Delay {
  uint64_t count;         /* slots written so far */
  uint64_t n_silent;      /* of them the newest that hold 0 */
  double   sample_rate_hz;
  double   at, next;      /* frames ago that are read, and are faded to; 0 before the first frame */
  uint32_t n_fade, faded; /* frames of a crossfade; done of this one, 0: there is none */
  float    low;           /* the low-pass */
  uint32_t reserved;
  uint64_t reserved2;
} Delay;
_Static_assert(sizeof(Delay) == 64, "no padding in a state");

static uint32_t delay_slots(double sample_rate_hz) { return pe_line_slots(MOST_MS * sample_rate_hz / 1000.0); }

static PeStatus delay_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  (void)max_block_frames;
  const double fade = FADE_MS * sample_rate_hz / 1000.0;
  *(Delay *)state = (Delay){.sample_rate_hz = sample_rate_hz, .n_fade = (uint32_t)fade};
  return PE_OK;
}

static void delay_reset(void *state) { delay_prepare(state, ((const Delay *)state)->sample_rate_hz, 0); }

PE_RT_INLINE double target_at(const Delay *s, const PeBlock *b, uint32_t i) {
  const double frames = pe_block_param(b, TIME, i, params[TIME].min, params[TIME].max) * s->sample_rate_hz / 1000.0;
  return frames > LEAST_FRAMES ? frames : LEAST_FRAMES;
}

/* A resistor and a capacitor by the backward Euler method: exact at 0, and no gain above 1. */
PE_RT_INLINE float low_pass_at(const Delay *s, const PeBlock *b, uint32_t i) {
  const double damping = pe_block_param(b, DAMPING, i, params[DAMPING].min, params[DAMPING].max);
  return (float)(1.0 / (1.0 + damping * damping * s->sample_rate_hz / 1000.0));
}

/* Follow the time of frame i, or begin to fade to it. */
PE_RT_INLINE void follow(Delay *s, double target) {
  const double step = target - s->at;
  if (s->at == 0.0 || (step <= MOST_STEP_FRAMES && step >= -MOST_STEP_FRAMES)) {
    s->at = target;
  } else {
    s->next = target;
    s->faded = 1;
  }
}

PE_RT_INLINE float faded(Delay *s, const PeLine *line, float wet) {
  const PeTap6 other = pe_tap6(s->next);
  const float t = (float)s->faded / (float)s->n_fade;
  wet += t * t * (3.0f - 2.0f * t) * (pe_line_read6(line, &other) - wet);
  if (++s->faded > s->n_fade) {
    s->faded = 0;
    s->at = s->next;
  }
  return wet;
}

typedef struct Knobs { float feedback, low_pass, mix; } Knobs;

PE_RT_INLINE Knobs knobs_at(const Delay *s, const PeBlock *b, uint32_t i) {
  return (Knobs){.feedback = pe_level_at(b, params, FEEDBACK, i), .low_pass = low_pass_at(s, b, i), .mix = pe_level_at(b, params, MIX, i)};
}

PE_RT_INLINE void frame(Delay *s, const PeBlock *b, uint32_t i, float x, float wet, const Knobs *k) {
  s->low += k->low_pass * (wet - s->low);
  s->low = pe_line_taken(s->low);
  const float in = pe_line_taken(x + k->feedback * s->low);
  b->memory[(uint32_t)s->count & (b->memory_slots - 1)] = in;
  s->count++;
  s->n_silent = in == 0.0f && s->low == 0.0f ? s->n_silent + 1 : 0;
  b->outputs[0][i] = pe_bounded(x * (1.0f - k->mix) + wet * k->mix);
}

PE_RT static void delay_process(void *state, const PeBlock *b) {
  Delay *s = state;
  const int has_time = pe_block_param_is_constant(b, TIME);
  const int has_knobs = pe_block_param_is_constant(b, FEEDBACK) && pe_block_param_is_constant(b, DAMPING) && pe_block_param_is_constant(b, MIX);
  double target = target_at(s, b, 0), of_tap = 0.0;
  Knobs k = knobs_at(s, b, 0);
  PeTap6 tap = {0};
  for (uint32_t i = 0; i < b->n_frames; i++) {
    const float x = b->inputs[0] ? pe_line_taken(b->inputs[0][i]) : 0.0f;
    if (!has_time) target = target_at(s, b, i);
    if (x == 0.0f && s->n_silent >= b->memory_slots) { /* nothing is in it and nothing comes: nothing is written */
      s->at = target;
      s->faded = 0;
      b->outputs[0][i] = 0.0f;
      continue;
    }
    if (!has_knobs) k = knobs_at(s, b, i);
    if (s->faded == 0 && s->at != target) follow(s, target);
    if (of_tap != s->at) tap = pe_tap6(of_tap = s->at);
    const PeLine line = pe_line(b, s->count, 0, 1);
    const float wet = pe_line_read6(&line, &tap);
    frame(s, b, i, x, s->faded > 0 ? faded(s, &line, wet) : wet, &k);
  }
}

const PeModule pe_module_delay = {
  .name = "delay", .help = "Echo with feedback and damping; a cable on its time makes vibrato, chorus or flanging",
  .inputs = "in", .outputs = "out",
  .n_inputs = 1, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Delay), .params = params,
  .prepare = delay_prepare, .reset = delay_reset, .process = delay_process,
  .memory_slots = delay_slots, .slot_floats = 1,
};
