/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* biquad_filter: the eight second-order filters of the RBJ Audio EQ Cookbook, in double.
 *
 * The transfer functions are the cookbook's. While a parameter moves, the structure is a state variable filter by the
 * trapezoidal rule (Andrew Simper, "Solving the continuous SVF equations using trapezoidal integration and equivalent
 * currents", Cytomic 2013, SvfLinearTrapOptimised2), which stays stable while its coefficients change from frame to
 * frame: without input the sum of the squares of its two states never grows, for any g > 0, k > 0.
 *
 * While nothing moves, the same filter runs in cells of 8 frames, as a cell depends on the one before through two
 * numbers only (look-ahead in the recursion; K. K. Parhi, "VLSI Digital Signal Processing Systems", ch. 10):
 *     w[n] = x[n] + c1 w[n-1] + c2 w[n-2],  c1 = 2 (a1 - a3),  c2 = 1 - 2 (a1 + a3)
 *     low-pass = a3 (w[n] + 2 w[n-1] + w[n-2]),  band-pass = a2 (w[n] - w[n-2])
 * With g[k] the response of w to a single x = 1, and w' those of the two frames before,
 *     w[k] = sum of g[k-i] x[i] for i = 0 .. k + g[k+1] w'[-1] + c2 g[k] w'[-2]
 * Frames 0 to 3 are computed so. For frames 4 to 7 the sums of both halves are put together first, the first half's last
 * two through g and c2 g as if they were w'; then w' itself at once: it is all that a cell waits for. The two structures
 * have the same states in other words:
 *     s1 = 2 a2 (w[n-1] - w[n-2]),  s2 = 2 a3 (w[n-1] + w[n-2])
 * A low-pass adds and scales its pairs of w as floats: they are near each other where it lets anything through.
 * Cells begin at frames 0, 8, 16 ... of the module's own count, and what a cell was given is kept until it is whole: so
 * the bits do not depend on how frames are split into calls, and a voice alone (vectors over the cell) has the bits
 * of one in a bank (vectors over voices). */
#include "approx.h"
#include "module.h"
#include "registry.h"
#include "values.h"

enum { CUTOFF, Q, MODE, GAIN_DB, N_PARAMS };
enum { LOWPASS, HIGHPASS, BANDPASS, NOTCH, PEAK, LOWSHELF, HIGHSHELF, ALLPASS, N_MODES };

#define MODE_FADE_MS 5.0
#define GAIN_DB_TO_ROOT 0x1.542a5a12e1c5bp-5 /* log2(10) / 80 */

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

#define CELL PE_CELL_FRAMES
#define HALF (CELL / 2u)
#define REST_FRAMES PE_CHUNK_FRAMES /* every so many frames of the count, states below REST_LEVEL become 0 */
#define REST_LEVEL 1e-20 /* -400 dB */
#define MAX_LEVEL 1e30

typedef struct Cell { /* coefficients of one cell; the sums are in biquad_simd.h */
  double a2, a3;       /* parts of band-pass and low-pass */
  double c1, c2;       /* what the others are made of */
  double padded_g[3 + CELL + 1]; /* behind three zeros, for vectors that begin there: w[k] from x[0]; g[0] is 1 */
  double b[CELL];      /* w[k] from w'[-2]; from w'[-1] it is g[k + 1] */
  double m0, m1, m2;   /* parts of x, of w[n] - w[n-2] and of the low-pass in the output */
} Cell;

typedef struct Biquad {
  double   state1, state2;              /* of the two integrators; in a cell, w of the two frames before it */
  uint32_t count;                       /* frames so far, modulo REST_FRAMES */
  uint32_t mode;                        /* of target_mix */
  uint16_t is_computed;                 /* target_mix and mix hold something */
  uint16_t is_cellular;                 /* state1 and state2 are w: the present cell is one */
  uint32_t is_cell_computed;            /* cell is that of target_mix */
  double   sample_rate_hz, max_hz;
  double   cutoff_hz, q, gain_db;       /* what target_mix was computed for */
  double   tangent, root_gain;          /* tan(pi cutoff / rate); 10^(gain_db / 80) */
  Mix      target_mix;                  /* that of the parameters */
  Mix      mix;                         /* of the newest frame: target_mix unless the mode fades */
  Mix      fade_mix;                    /* where the fade began */
  Cell     cell;                        /* target_mix when the present cell began */
  double   cell_x[CELL], cell_w[CELL];  /* the first frames of the present cell, 0 at its start */
  uint32_t fade_frames, fade_remaining; /* of a change of mode */
} Biquad;
_Static_assert(sizeof(Biquad) == 67 * sizeof(double) + 24, "no padding in a state");

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

PE_RT_INLINE uint32_t mode_of(const PeSmooth *p) { return pe_whole(p, params, MODE); }

/* RBJ Audio EQ Cookbook, all with alpha = sin(w0) / (2 q) and A = 10^(gain_db / 40), bandpass with 0 dB peak gain;
 * mapped to g, k and the mix as in Simper's table. root is sqrt(A). */
PE_RT_INLINE Mix mix_of(uint32_t mode, double tangent, double q, double root) {
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
PE_RT_INLINE void target_update(Biquad *s, const PeBlock *b, uint32_t mode, uint32_t i) {
  const double cutoff_hz = pe_block_param(b, CUTOFF, i, params[CUTOFF].min, s->max_hz);
  const double q = pe_block_param(b, Q, i, params[Q].min, params[Q].max);
  const double gain_db = pe_block_param(b, GAIN_DB, i, params[GAIN_DB].min, params[GAIN_DB].max);
  if (s->is_computed && cutoff_hz == s->cutoff_hz && q == s->q && gain_db == s->gain_db && mode == s->mode) return;
  if (cutoff_hz != s->cutoff_hz) s->tangent = pe_tan_pi(cutoff_hz, s->sample_rate_hz);
  if (gain_db != s->gain_db) s->root_gain = pe_exp2(gain_db * GAIN_DB_TO_ROOT);
  s->cutoff_hz = cutoff_hz;
  s->q = q;
  s->gain_db = gain_db;
  s->mode = mode;
  s->target_mix = mix_of(mode, s->tangent, q, s->root_gain);
  s->is_computed = 1;
  s->is_cell_computed = 0;
}

/* Part `t` of the way back to where the fade began. */
PE_RT_INLINE Mix mix_between(const Mix *to, const Mix *from, double t) {
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

/* ---- cells ---------------------------------------------------------------------------------------- */

PE_RT_INLINE const double *g_of(const Cell *c) { return c->padded_g + 3; }

/* 1 / (1 + g (g + k)) and its products with g and g^2, as the integrators use them. */
PE_RT_INLINE double damping_of(const Mix *mix) { return 1.0 / (1.0 + mix->g * (mix->g + mix->k)); }

PE_RT_INLINE void cell_compute(Biquad *s) {
  const Mix *mix = &s->target_mix;
  const double a1 = damping_of(mix), a2 = mix->g * a1, a3 = mix->g * a2;
  const double c1 = 2.0 * (a1 - a3), c2 = 1.0 - 2.0 * (a1 + a3);
  Cell *c = &s->cell;
  c->a2 = a2;
  c->a3 = a3;
  c->c1 = c1;
  c->c2 = c2;
  double *g = c->padded_g + 3;
  g[0] = 1.0;
  g[1] = c1;
  for (uint32_t k = 2; k <= CELL; k++) g[k] = c1 * g[k - 1] + c2 * g[k - 2];
  for (uint32_t k = 0; k < CELL; k++) c->b[k] = c2 * g[k];
  c->m0 = mix->m0;
  c->m1 = mix->m1 * a2;
  c->m2 = mix->m2 * a3;
  s->is_cell_computed = 1;
}

/* w of the frame before the k-th of the present cell, and of the one before that. */
PE_RT_INLINE double w_before(const Biquad *s, uint32_t k) { return k == 0 ? s->state1 : s->cell_w[(k - 1) % CELL]; }
PE_RT_INLINE double w_before_that(const Biquad *s, uint32_t k) {
  return k == 0 ? s->state2 : k == 1 ? s->state1 : s->cell_w[(k - 2) % CELL];
}

/* From cells to integrators, wherever in the present cell. */
PE_RT_INLINE void cell_leave(Biquad *s) {
  const uint32_t k = s->count % CELL;
  const double w1 = w_before(s, k), w2 = w_before_that(s, k);
  s->state1 = 2.0 * s->cell.a2 * (w1 - w2);
  s->state2 = 2.0 * s->cell.a3 * (w1 + w2);
  for (uint32_t i = 0; i < CELL; i++) s->cell_x[i] = s->cell_w[i] = 0.0;
  s->is_cellular = 0;
}

/* From integrators to cells, at a cell's start. */
PE_RT_INLINE void cell_enter(Biquad *s) {
  if (!s->is_cell_computed) cell_compute(s);
  const double difference = s->state1 / s->cell.a2, sum = s->state2 / s->cell.a3;
  s->state1 = 0.25 * (sum + difference);
  s->state2 = 0.25 * (sum - difference);
  s->is_cellular = 1;
}

static const float silence[REST_FRAMES]; /* in place of an input: no cell has to ask */

/* Not what has died away, nor what is not finite: a filter gets over a NaN that it was fed, once nothing moves. */
PE_RT_INLINE int is_kept(double w) {
  const double size = __builtin_fabs(w);
  return size >= REST_LEVEL && size < MAX_LEVEL;
}

PE_RT_INLINE double kept(double w) { return is_kept(w) ? w : 0.0; }

/* n frames have been rendered, none of them beyond the next multiple of REST_FRAMES. */
PE_RT_INLINE void count_frames(Biquad *s, uint32_t n) {
  s->count = (s->count + n) % REST_FRAMES;
  if (s->count != 0 || !s->is_cellular) return;
  if (!is_kept(s->state1)) s->state1 = 0.0;
  if (!is_kept(s->state2)) s->state2 = 0.0;
}

PE_RT_INLINE float limited_float(float v) {
  const float low = v < PE_SAMPLE_LIMIT ? v : PE_SAMPLE_LIMIT;
  return low > -PE_SAMPLE_LIMIT ? low : -PE_SAMPLE_LIMIT;
}

PE_RT_INLINE float limited(double v) { return limited_float((float)v); }

/* One frame of the integrators; a1, a2, a3 of its g and k. */
PE_RT_INLINE float integrate_with(Biquad *s, double a1, double a2, double a3, double m0, double m1, double m2, double v0) {
  const double v3 = v0 - s->state2;
  const double v1 = a1 * s->state1 + a2 * v3;
  const double v2 = s->state2 + (a2 * s->state1 + a3 * v3);
  s->state1 = 2.0 * v1 - s->state1;
  s->state2 = 2.0 * v2 - s->state2;
  return limited(m0 * v0 + (m1 * v1 + m2 * v2));
}

PE_RT_INLINE float integrate(Biquad *s, const Mix *mix, double v0) {
  const double a1 = damping_of(mix), a2 = mix->g * a1, a3 = mix->g * a2;
  return integrate_with(s, a1, a2, a3, mix->m0, mix->m1, mix->m2, v0);
}

/* Output of a frame with w, and w of the two frames before. */
PE_RT_INLINE float cell_output(const Cell *c, int is_lowpass, double x, double w, double w1, double w2) {
  const double pair = w + w1, pair_before = w1 + w2;
  if (is_lowpass) return limited_float((float)c->a3 * ((float)pair + (float)pair_before));
  return limited(c->m0 * x + (c->m1 * (w - w2) + c->m2 * (pair + pair_before)));
}

/* Sum over the inputs of a half up to frame k of it, in their order. */
PE_RT_INLINE double half_sum(const Cell *c, const double *u, uint32_t k) {
  const double *g = g_of(c);
  double sum = g[k] * u[0];
  for (uint32_t i = 1; i <= k; i++) sum += g[k - i] * u[i];
  return sum;
}

/* One frame of a cell. */
PE_RT_INLINE float cell_frame(Biquad *s, double x) {
  const Cell *c = &s->cell;
  const double *u = s->cell_x, *g = g_of(c);
  const uint32_t k = s->count % CELL, j = k % HALF;
  s->cell_x[k] = x;
  double sum = half_sum(c, u + (k - j), j);
  if (k >= HALF) sum = sum + (g[j + 1] * half_sum(c, u, 3) + c->b[j] * half_sum(c, u, 2));
  const double new_w = sum + (g[k + 1] * s->state1 + c->b[k] * s->state2);
  s->cell_w[k] = new_w;
  const double w1 = w_before(s, k), w2 = w_before_that(s, k);
  if (k + 1 == CELL) {
    s->state1 = new_w;
    s->state2 = w1;
    for (uint32_t i = 0; i < CELL; i++) s->cell_x[i] = s->cell_w[i] = 0.0;
  }
  return cell_output(c, s->mode == LOWPASS, x, new_w, w1, w2);
}

/* First frame from which on nothing moves any more; n_frames where something does up to the end. */
PE_RT_INLINE uint32_t first_steady(const Biquad *s, const PeBlock *b) {
  uint32_t first = s->fade_remaining;
  for (uint32_t p = 0; p < N_PARAMS; p++) {
    if (b->mods[p]) return b->n_frames;
    if (p != MODE && b->params[p].remaining > first) first = b->params[p].remaining;
  }
  return first < b->n_frames ? first : b->n_frames;
}

/* Frame i while something moves. */
PE_RT_INLINE float frame_moving(Biquad *s, const PeBlock *b, uint32_t mode, uint32_t i, double x) {
  if (s->is_cellular) cell_leave(s);
  target_update(s, b, mode, i);
  s->mix = s->fade_remaining == 0 ? s->target_mix
                                  : mix_between(&s->target_mix, &s->fade_mix,
                                                (double)s->fade_remaining / (double)s->fade_frames);
  if (s->fade_remaining > 0) s->fade_remaining--;
  const float y = integrate(s, &s->mix, x);
  count_frames(s, 1);
  return y;
}

/* Frame i while nothing moves: of a cell, or (until the next one begins) of the integrators. */
PE_RT_INLINE float frame_steady(Biquad *s, double x) {
  if (!s->is_cellular && s->count % CELL == 0) cell_enter(s);
  const float y = s->is_cellular ? cell_frame(s, x) : integrate(s, &s->mix, x);
  count_frames(s, 1);
  return y;
}

/* The parameters of frame i, which nothing moves, take effect; a cell that was begun with others is left. */
PE_RT_INLINE void settle(Biquad *s, const PeBlock *b, uint32_t mode, uint32_t i) {
  const double g = s->mix.g, k = s->mix.k;
  target_update(s, b, mode, i);
  s->mix = s->target_mix;
  if (!s->is_cellular || s->is_cell_computed) return;
  if (g == s->mix.g && k == s->mix.k)
    cell_compute(s); /* another mix of the same */
  else
    cell_leave(s);
}

/* ---- banks ---------------------------------------------------------------------------------------- */

typedef struct BiquadBank {
  double   w1[PE_LANES], w2[PE_LANES]; /* while they are there, as are the counts */
  uint32_t count[PE_LANES];            /* when they came */
  uint32_t passed, is_uniform;         /* frames since; whether all lanes counted the same */
  double   c1[PE_LANES], c2[PE_LANES];
  float    scale[PE_LANES];
  double   m0[PE_LANES], m1[PE_LANES], m2[PE_LANES];
  uint32_t lowpass; /* lanes in this mode */
  uint32_t zero;    /* lanes whose states are +0 */
} BiquadBank;

PE_RT_INLINE int is_plus_0(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits == 0;
}

PE_RT static void tell_zero(void *cache, uint32_t lane, const void *state) {
  BiquadBank *bank = cache;
  const Biquad *s = state;
  const uint32_t bit = 1u << lane;
  bank->zero = is_plus_0(s->state1) && is_plus_0(s->state2) ? bank->zero | bit : bank->zero & ~bit;
}

PE_RT static uint32_t biquad_refresh(void *cache, uint32_t lane, void *state, const PeSmooth *p, const PeBankTime *time) {
  static const float *const no_cables[N_PARAMS];
  BiquadBank *bank = cache;
  Biquad *s = state;
  const PeBlock b = {.n_frames = time->n_frames, .params = (PeSmooth *)(uintptr_t)p, .mods = no_cables};
  if (s->count % CELL != 0 || s->count + time->n_frames > REST_FRAMES || first_steady(s, &b) > 0) return PE_LANE_ALONE;
  settle(s, &b, mode_of(p), 0);
  if (!s->is_cellular) cell_enter(s);
  const Cell *c = &s->cell;
  bank->scale[lane] = (float)c->a3;
  bank->c1[lane] = c->c1;
  bank->c2[lane] = c->c2;
  bank->m0[lane] = c->m0;
  bank->m1[lane] = c->m1;
  bank->m2[lane] = c->m2;
  bank->lowpass = s->mode == LOWPASS ? bank->lowpass | 1u << lane : bank->lowpass & ~(1u << lane);
  tell_zero(bank, lane, s);
  return (s->count - time->position) % time->chunk_frames == 0 ? PE_LANE_STEADY : PE_LANE_BANKED; /* not in step with the plan: it may not fit next time */
}

PE_RT static uint32_t biquad_silent(const void *cache, uint32_t silent_inputs) {
  return ((const BiquadBank *)cache)->zero & silent_inputs;
}

PE_RT static void biquad_skip(const PeBankBlock *b) {
  for (uint32_t m = b->lanes; m; m &= m - 1) count_frames(b->states[pe_lowest_lane(m)], b->n_frames);
}

PE_RT static void biquad_load(void *cache, uint32_t lanes, void *const *states) {
  BiquadBank *bank = cache;
  const uint32_t first = ((const Biquad *)states[pe_lowest_lane(lanes)])->count;
  bank->passed = 0;
  bank->is_uniform = 1;
  for (uint32_t m = lanes; m; m &= m - 1) {
    const uint32_t l = pe_lowest_lane(m);
    const Biquad *s = states[l];
    bank->w1[l] = s->state1;
    bank->w2[l] = s->state2;
    bank->count[l] = s->count;
    bank->is_uniform &= s->count == first;
  }
}

PE_RT_INLINE uint32_t bank_count(const BiquadBank *bank, uint32_t lane) { return (bank->count[lane] + bank->passed) % REST_FRAMES; }

PE_RT static void biquad_store(void *cache, uint32_t lanes, void *const *states) {
  BiquadBank *bank = cache;
  for (uint32_t m = lanes; m; m &= m - 1) {
    const uint32_t l = pe_lowest_lane(m);
    Biquad *s = states[l];
    s->state1 = bank->w1[l];
    s->state2 = bank->w2[l];
    s->count = bank_count(bank, l);
    tell_zero(bank, l, s);
  }
}

/* count_frames for lanes that do not count the same; otherwise the vectors have done it. */
PE_RT_INLINE void bank_rest(BiquadBank *bank, uint32_t lanes) {
  for (uint32_t m = bank->is_uniform ? 0 : lanes; m; m &= m - 1) {
    const uint32_t l = pe_lowest_lane(m);
    if (bank_count(bank, l) != 0) continue;
    bank->w1[l] = kept(bank->w1[l]);
    bank->w2[l] = kept(bank->w2[l]);
  }
}

#define PE_SIMD_BODY "biquad_simd.h"
#include "simd_each.h"

static const PeBankOps bank = {.cache_bytes = sizeof(BiquadBank), .refresh = biquad_refresh, .silent = biquad_silent, .skip = biquad_skip,
                               .told = tell_zero, .load = biquad_load, .store = biquad_store};
#define ROW(isa) {biquad_process_##isa, biquad_process_bank_##isa}
static const PeModuleIsa isa[PE_ISAS] = PE_SIMD_EACH(ROW);

const PeModule pe_module_biquad = {
  .name = "biquad_filter", .help = "Second-order filter in eight modes, after the RBJ Audio EQ Cookbook",
  .inputs = "in", .outputs = "out",
  .n_inputs = 1, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Biquad), .params = params,
  .prepare = biquad_prepare, .reset = biquad_reset, .changed = biquad_changed,
  .process = biquad_process_base, .isa = isa, .bank = &bank, .finishes = 1,
};
