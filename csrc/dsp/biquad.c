/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* biquad_filter: the eight second-order filters of the RBJ Audio EQ Cookbook.
 *
 * The transfer functions are the cookbook's; the structure is a state variable filter by the trapezoidal rule
 * (Andrew Simper, "Solving the continuous SVF equations using trapezoidal integration and equivalent currents",
 * Cytomic 2013, SvfLinearTrapOptimised2), which stays stable while its coefficients change from frame to frame:
 * without input the sum of the squares of its two states never grows, for any g > 0, k > 0. In double. */
#include "approx.h"
#include "module.h"
#include "registry.h"

enum { CUTOFF, Q, MODE, GAIN_DB, N_PARAMS };
enum { LOWPASS, HIGHPASS, BANDPASS, NOTCH, PEAK, LOWSHELF, HIGHSHELF, ALLPASS, N_MODES };

#define MODE_FADE_MS 5.0

static const PeParam params[N_PARAMS] = {
  [CUTOFF] = {.name = "cutoff", .alias = "", .unit = "Hz", .choices = "", .help = "Cutoff, centre or corner frequency",
              .min = 10.0, .max = 0.0, .default_value = 2000.0, .ramp_us = 25000,
              .flags = PE_PARAM_RAMPED | PE_PARAM_NYQUIST | PE_PARAM_CABLE},
  [Q] = {.name = "q", .alias = "resonance", .unit = "", .choices = "", .help = "Quality factor; 0.7071 is flat",
         .min = 0.1, .max = 20.0, .default_value = 1.0, .ramp_us = 25000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [MODE] = {.name = "mode", .alias = "filter_mode", .unit = "",
            .choices = "lowpass,highpass,bandpass,notch,peak,lowshelf,highshelf,allpass", .help = "Kind of filter",
            .min = 0.0, .max = N_MODES - 1, .default_value = LOWPASS, .flags = PE_PARAM_INTEGER},
  [GAIN_DB] = {.name = "gain_db", .alias = "", .unit = "dB", .choices = "", .help = "Gain of the peak and of the shelves",
               .min = -40.0, .max = 40.0, .default_value = 0.0, .ramp_us = 5000,
               .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
};

typedef struct Mix {
  double g, k;       /* tan(pi f / rate) and damping, both above 0 once computed */
  double m0, m1, m2; /* parts of input, band-pass and low-pass in the output */
} Mix;

typedef struct Biquad {
  double   state1, state2;              /* of the two integrators */
  double   sample_rate_hz, max_hz;
  double   cutoff_hz, q, gain_db;       /* what target_mix was computed for */
  double   tangent, root_gain;          /* tan(pi cutoff / rate); 10^(gain_db / 80) */
  Mix      target_mix;                  /* that of the parameters */
  Mix      mix;                         /* of the newest frame: target_mix unless the mode fades */
  Mix      fade_mix;                    /* where the fade began */
  uint32_t mode;                        /* of target_mix */
  uint32_t fade_frames, fade_remaining; /* of a change of mode */
  uint32_t is_computed;                 /* target_mix and mix hold something */
} Biquad;
_Static_assert(sizeof(Biquad) == 24 * sizeof(double) + 16, "no padding in a state");

static PeStatus biquad_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  Biquad *s = state;
  (void)max_block_frames;
  *s = (Biquad){.sample_rate_hz = sample_rate_hz, .max_hz = 0.5 * sample_rate_hz - 10.0, .root_gain = 1.0};
  s->fade_frames = (uint32_t)(MODE_FADE_MS * sample_rate_hz / 1000.0 + 0.5);
  return PE_OK;
}

static void biquad_reset(void *state) {
  const Biquad *s = state;
  biquad_prepare(state, s->sample_rate_hz, 0);
}

PE_RT static uint32_t mode_of(const PeSmooth *p) {
  const double v = p[MODE].target;
  return v >= N_MODES - 1 ? N_MODES - 1 : v >= 0.0 ? (uint32_t)(v + 0.5) : 0;
}

/* RBJ Audio EQ Cookbook, all with alpha = sin(w0) / (2 q) and A = 10^(gain_db / 40), bandpass with 0 dB peak gain;
 * mapped to g, k and the mix as in Simper's table. root is sqrt(A). */
PE_RT static Mix mix_of(uint32_t mode, double tangent, double q, double root) {
  const double a = root * root;
  const double k = 1.0 / (mode == PEAK ? q * a : q);
  switch (mode) {
    case HIGHPASS: return (Mix){tangent, k, 1.0, -k, -1.0};
    case BANDPASS: return (Mix){tangent, k, 0.0, k, 0.0};
    case NOTCH: return (Mix){tangent, k, 1.0, -k, 0.0};
    case PEAK: return (Mix){tangent, k, 1.0, k * (a * a - 1.0), 0.0};
    case LOWSHELF: return (Mix){tangent / root, k, 1.0, k * (a - 1.0), a * a - 1.0};
    case HIGHSHELF: return (Mix){tangent * root, k, a * a, k * (1.0 - a) * a, 1.0 - a * a};
    case ALLPASS: return (Mix){tangent, k, 1.0, -2.0 * k, 0.0};
    default: return (Mix){tangent, k, 0.0, 0.0, 1.0}; /* LOWPASS */
  }
}

/* Brings target_mix up to frame i. A function of the values alone: what is kept is what would be computed. */
PE_RT static void target_update(Biquad *s, const PeBlock *b, uint32_t mode, uint32_t i) {
  const double cutoff_hz = pe_block_param(b, CUTOFF, i, params[CUTOFF].min, s->max_hz);
  const double q = pe_block_param(b, Q, i, params[Q].min, params[Q].max);
  const double gain_db = pe_block_param(b, GAIN_DB, i, params[GAIN_DB].min, params[GAIN_DB].max);
  if (s->is_computed && cutoff_hz == s->cutoff_hz && q == s->q && gain_db == s->gain_db && mode == s->mode) return;
  if (cutoff_hz != s->cutoff_hz) s->tangent = pe_tan_pi(cutoff_hz, s->sample_rate_hz);
  if (gain_db != s->gain_db) s->root_gain = pe_exp2(gain_db * 0x1.542a5a12e1c5bp-5); /* log2(10) / 80 */
  s->cutoff_hz = cutoff_hz;
  s->q = q;
  s->gain_db = gain_db;
  s->mode = mode;
  s->target_mix = mix_of(mode, s->tangent, q, s->root_gain);
  s->is_computed = 1;
}

/* Part `t` of the way back to where the fade began. */
PE_RT static Mix mix_between(const Mix *to, const Mix *from, double t) {
  return (Mix){to->g + (from->g - to->g) * t, to->k + (from->k - to->k) * t, to->m0 + (from->m0 - to->m0) * t,
               to->m1 + (from->m1 - to->m1) * t, to->m2 + (from->m2 - to->m2) * t};
}

/* A change fades all of the mix from what it last was, so that neither response nor structure jumps. */
PE_RT static void biquad_changed(void *state, const PeSmooth *p, uint32_t param, int is_immediate) {
  Biquad *s = state;
  if (param != MODE) return;
  if (is_immediate || !s->is_computed) {
    s->fade_remaining = 0;
  } else if (mode_of(p) != s->mode) {
    s->fade_mix = s->mix;
    s->fade_remaining = s->fade_frames;
  }
}

/* n frames with one mix. */
PE_RT static inline void run(Biquad *s, const Mix *mix, const float *in, float *out, uint32_t n) {
  const double limit = (double)PE_SAMPLE_LIMIT;
  const double a1 = 1.0 / (1.0 + mix->g * (mix->g + mix->k)), a2 = mix->g * a1, a3 = mix->g * a2;
  const double m0 = mix->m0, m1 = mix->m1, m2 = mix->m2;
  double state1 = s->state1, state2 = s->state2;
  for (uint32_t i = 0; i < n; i++) {
    const double v0 = in ? (double)in[i] : 0.0;
    const double v3 = v0 - state2;
    const double v1 = a1 * state1 + a2 * v3;
    const double v2 = state2 + (a2 * state1 + a3 * v3);
    state1 = 2.0 * v1 - state1;
    state2 = 2.0 * v2 - state2;
    double v = m0 * v0 + (m1 * v1 + m2 * v2);
    v = v < limit ? v : limit;
    out[i] = (float)(v > -limit ? v : -limit);
  }
  s->state1 = state1;
  s->state2 = state2;
}

PE_RT static void biquad_process(void *state, const PeBlock *b) {
  Biquad *s = state;
  const float *in = b->inputs[0];
  const uint32_t mode = mode_of(b->params);
  const int is_constant = pe_block_param_is_constant(b, CUTOFF) && pe_block_param_is_constant(b, Q) &&
                          pe_block_param_is_constant(b, GAIN_DB);
  uint32_t i = 0;
  while (i < b->n_frames && !(is_constant && s->fade_remaining == 0)) {
    target_update(s, b, mode, i);
    s->mix = s->fade_remaining == 0 ? s->target_mix
                                    : mix_between(&s->target_mix, &s->fade_mix,
                                                  (double)s->fade_remaining / (double)s->fade_frames);
    if (s->fade_remaining > 0) s->fade_remaining--;
    run(s, &s->mix, in ? in + i : NULL, b->outputs[0] + i, 1);
    i++;
  }
  if (i == b->n_frames) return;
  target_update(s, b, mode, i);
  s->mix = s->target_mix;
  run(s, &s->mix, in ? in + i : NULL, b->outputs[0] + i, b->n_frames - i);
}

const PeModule pe_module_biquad = {
  .name = "biquad_filter", .help = "Second-order filter in eight modes, after the RBJ Audio EQ Cookbook",
  .inputs = "in", .outputs = "out",
  .n_inputs = 1, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Biquad), .params = params,
  .prepare = biquad_prepare, .reset = biquad_reset, .changed = biquad_changed, .process = biquad_process,
};
