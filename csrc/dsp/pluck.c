/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* pluck: a plucked string, by Karplus and Strong, extended: Jaffe and Smith, "Extensions of the Karplus-Strong
 * Plucked-String Algorithm", Computer Music Journal 7:2, 1983.
 *
 * A period of noise goes round a delay line. The low-pass in the loop has three taps and is symmetric: it delays every
 * frequency by one frame, so that the rest of the period is the line's, and the tuning is exact. What it takes from the
 * fundamental, the loop's factor gives back, so that the fundamental falls by 60 dB in `decay`; where that would need a
 * factor above 1, the low-pass is made weaker instead. */
#include "approx.h"
#include "gate.h"
#include "levels.h"
#include "line.h"
#include "module.h"
#include "random.h"
#include "registry.h"

enum { FREQ, VELOCITY, DECAY, DAMPING, BRIGHTNESS, POSITION, GAIN, SEED, GATE, N_PARAMS };

#define LEAST_HZ 20.0
#define LEAST_PERIOD_FRAMES 8.0 /* of the highest string */
#define FINGER 0.3f             /* what is left of what sounds when it is struck again */

static const PeParam params[N_PARAMS] = {
  [FREQ] = {.name = "freq", .alias = "frequency", .unit = "Hz", .choices = "", .help = "Frequency; above an eighth of the sample rate the string stays there",
            .min = LEAST_HZ, .max = 0.0, .default_value = 220.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_NYQUIST | PE_PARAM_CABLE},
  [VELOCITY] = {.name = "velocity", .alias = "", .unit = "", .choices = "", .help = "How hard it is struck: louder and brighter; as it is when it is struck",
                .min = 0.0, .max = 1.0, .default_value = 0.8, .flags = PE_PARAM_CABLE},
  [DECAY] = {.name = "decay", .alias = "", .unit = "ms", .choices = "", .help = "The fundamental falls by 60 dB in it",
             .min = 10.0, .max = 60000.0, .default_value = 4000.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [DAMPING] = {.name = "damping", .alias = "", .unit = "", .choices = "", .help = "How much faster overtones die away: 0 as the fundamental",
               .min = 0.0, .max = 1.0, .default_value = 0.5, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [BRIGHTNESS] = {.name = "brightness", .alias = "", .unit = "", .choices = "", .help = "Of the pick: 0 is a thumb, 1 a plectrum; as it is when it is struck",
                  .min = 0.0, .max = 1.0, .default_value = 0.7, .flags = PE_PARAM_CABLE},
  [POSITION] = {.name = "position", .alias = "", .unit = "", .choices = "", .help = "Where it is plucked, from the bridge on, as a part of the string; as it is when it is struck",
                .min = 0.02, .max = 0.5, .default_value = 0.2, .flags = PE_PARAM_CABLE},
  [GAIN] = {.name = "gain", .alias = "", .unit = "", .choices = "", .help = "Linear factor of the output",
            .min = 0.0, .max = 16.0, .default_value = 0.5, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [SEED] = {.name = "seed", .alias = "", .unit = "", .choices = "", .help = "Of the noise, with the number of the strike",
            .min = 0.0, .max = 65535.0, .default_value = 1.0, .flags = PE_PARAM_INTEGER},
  [GATE] = {.name = "gate", .alias = "", .unit = "", .choices = "", .help = "Setting it to 1 plucks, and so does a cable that rises to 0.5",
            .min = 0.0, .max = 1.0, .default_value = 0.0, .flags = PE_PARAM_GATE | PE_PARAM_CABLE},
};

typedef struct Pluck {
  uint64_t count;     /* slots written so far */
  uint64_t n_silent;  /* of them the newest that hold 0 */
  double   sample_rate_hz;
  float    taps[2];   /* read one and two frames ago */
  PeStrike strike;
  uint64_t noise;     /* seed and number of the strike */
  uint32_t n_strikes;
  uint32_t burst;     /* frames to come of what the pick does */
  uint32_t n_burst;   /* all of them: those of the noise and of its echo */
  uint32_t n_noise;
  float    pick, pick_low_pass, velocity;
  uint32_t is_jumped; /* the ramp of the frequency is passed over: it was struck meanwhile */
} Pluck;
_Static_assert(sizeof(Pluck) == 80, "no padding in a state");

static uint32_t pluck_slots(double sample_rate_hz) { return pe_line_slots(sample_rate_hz / LEAST_HZ); }

static PeStatus pluck_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  (void)max_block_frames;
  *(Pluck *)state = (Pluck){.sample_rate_hz = sample_rate_hz};
  return PE_OK;
}

static void pluck_reset(void *state) { pluck_prepare(state, ((const Pluck *)state)->sample_rate_hz, 0); }

static void pluck_changed(void *state, const PeSmooth *p, uint32_t param, int is_immediate) {
  (void)is_immediate;
  if (param == GATE) pe_strike_command(&((Pluck *)state)->strike, p[GATE].target);
}

static void pluck_open(void *state, const PeSmooth *p) {
  (void)p;
  ((Pluck *)state)->strike.is_asked = 1;
}

/* ---- the string ------------------------------------------------------------------------------------ */

typedef struct Loop { /* of one frame */
  PeTap6 tap;
  float  side, middle; /* the low-pass, with the loop's factor */
} Loop;

PE_RT_INLINE double freq_at(Pluck *s, const PeBlock *b, uint32_t i) {
  const PeSmooth *p = &b->params[FREQ];
  if (i >= p->remaining) s->is_jumped = 0;
  double v = s->is_jumped ? p->target : pe_smooth_at(p, i);
  if (b->mods[FREQ]) v += (double)b->mods[FREQ][i];
  const double most = s->sample_rate_hz / LEAST_PERIOD_FRAMES;
  v = v > LEAST_HZ ? v : LEAST_HZ; /* NaN too */
  return v < most ? v : most;
}

PE_RT_INLINE Loop loop_of(const Pluck *s, const PeBlock *b, uint32_t i, double freq_hz) {
  const double decay_s = pe_block_param(b, DECAY, i, params[DECAY].min, params[DECAY].max) / 1000.0;
  const double damping = pe_block_param(b, DAMPING, i, params[DAMPING].min, params[DAMPING].max);
  const double kept = pe_exp2(-9.965784284662087 / (freq_hz * decay_s)); /* log2(1000): 60 dB */
  const double drop = 2.0 * (1.0 - pe_cos_pi(2.0 * freq_hz / s->sample_rate_hz)); /* of the low-pass, by its side tap */
  const double rate = s->sample_rate_hz / 48000.0; /* at a low frequency its loss goes with 1 / rate^2 */
  double side = 0.25 * damping * rate * rate;
  side = side < 0.25 ? side : 0.25;
  const double most = (1.0 - kept) / drop;
  side = side < most ? side : most;
  const double factor = kept / (1.0 - side * drop);
  return (Loop){.tap = pe_tap6(s->sample_rate_hz / freq_hz - 1.0), .side = (float)(factor * side), .middle = (float)(factor * (1.0 - 2.0 * side))};
}

/* ---- the pick -------------------------------------------------------------------------------------- */

PE_RT static void strike(Pluck *s, const PeBlock *b, uint32_t i) {
  s->is_jumped = 1;
  const double period = s->sample_rate_hz / freq_at(s, b, i);
  const double dark = 1.0 - pe_block_param(b, BRIGHTNESS, i, 0.0, 1.0) * (0.3 + 0.7 * pe_block_param(b, VELOCITY, i, 0.0, 1.0));
  s->n_noise = (uint32_t)period;
  s->n_burst = s->n_noise + (uint32_t)(0.5 + period * pe_block_param(b, POSITION, i, params[POSITION].min, params[POSITION].max));
  s->burst = s->n_burst;
  s->noise = pe_random_start((uint64_t)b->params[SEED].target << 32 | s->n_strikes);
  s->n_strikes++;
  s->pick = 0.0f;
  s->pick_low_pass = (float)(1.0 / (1.0 + dark * dark * s->sample_rate_hz / 4000.0));
  s->velocity = pe_level_at(b, params, VELOCITY, i);
}

/* The next frame of the pick's: noise, and behind it the same from the bridge, turned over. */
PE_RT_INLINE float pick(Pluck *s) {
  const uint32_t n = s->n_burst - s->burst--, echo = s->n_burst - s->n_noise;
  float x = n < s->n_noise ? pe_random_bipolar(s->noise, n) : 0.0f;
  if (n >= echo) x -= pe_random_bipolar(s->noise, n - echo);
  s->pick += s->pick_low_pass * (x - s->pick);
  return s->velocity * s->pick;
}

PE_RT_INLINE float frame(Pluck *s, const PeBlock *b, const Loop *loop) {
  const PeLine line = pe_line(b, s->count, 0, 1);
  const float now = pe_line_read6(&line, &loop->tap);
  float x = loop->side * (now + s->taps[1]) + loop->middle * s->taps[0];
  s->taps[1] = s->taps[0];
  s->taps[0] = pe_line_taken(now);
  if (s->burst > s->n_burst - s->n_noise) x *= FINGER;
  if (s->burst > 0) x += pick(s);
  x = pe_line_taken(x);
  b->memory[(uint32_t)s->count & (b->memory_slots - 1)] = x;
  s->count++;
  s->n_silent = x == 0.0f ? s->n_silent + 1 : 0;
  return x;
}

PE_RT static void pluck_process(void *state, const PeBlock *b) {
  Pluck *s = state;
  const float *gate = b->mods[GATE];
  const int is_still = pe_block_param_is_constant(b, FREQ) && pe_block_param_is_constant(b, DECAY) && pe_block_param_is_constant(b, DAMPING);
  int is_known = 0;
  Loop loop = {0};
  uint32_t next = 0;
  for (uint32_t i = 0; i < b->n_frames; i++) {
    if (i == next) {
      if (pe_strike_at(&s->strike, gate, i)) strike(s, b, i);
      next = pe_strike_next(&s->strike, gate, i, b->n_frames);
    }
    if (s->burst == 0 && s->n_silent >= b->memory_slots) { /* at rest: nothing is written */
      if (i >= b->params[FREQ].remaining) s->is_jumped = 0;
      b->outputs[0][i] = 0.0f;
      continue;
    }
    if (!is_still || !is_known) loop = loop_of(s, b, i, freq_at(s, b, i));
    is_known = 1;
    b->outputs[0][i] = pe_bounded(pe_level_at(b, params, GAIN, i) * frame(s, b, &loop));
  }
}

const PeModule pe_module_pluck = {
  .name = "pluck", .help = "A plucked string", .inputs = "", .outputs = "out",
  .n_inputs = 0, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Pluck), .params = params,
  .prepare = pluck_prepare, .reset = pluck_reset, .changed = pluck_changed, .open = pluck_open, .process = pluck_process,
  .memory_slots = pluck_slots, .slot_floats = 1,
};
