/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* drive: a waveshaper at eight times the sample rate, so that the harmonics it makes alias little.
 *
 * Up and down go through three half-band filters each, of 63, 19 and 11 taps (linear phase, by the Remez exchange, for a
 * pass band up to 0.417 x rate: 20 kHz at 48 kHz; 89, 105 and 103 dB in the stop band). Every other tap of such a filter
 * is 0 and the middle one 1/2, so one half of the samples is filtered and the other half only delayed. Together they and
 * two more samples at the high rate make a delay of exactly 37 frames; what does not go through the curve is delayed as
 * much, so that `mix` mixes like with like. */
#include <string.h>

#include "levels.h"
#include "module.h"
#include "registry.h"
#include "values.h"

enum { DRIVE, CURVE, MIX, GAIN, N_PARAMS };
enum { TANH, SOFT, HARD, FOLD, N_CURVES };

static const PeParam params[N_PARAMS] = {
  [DRIVE] = {.name = "drive", .alias = "", .unit = "dB", .choices = "", .help = "Gain into the curve, which leaves quiet sounds as they are",
             .min = -20.0, .max = 60.0, .default_value = 12.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [CURVE] = {.name = "curve", .alias = "", .unit = "", .choices = "tanh,soft,hard,fold", .help = "What becomes of loud sounds: three ways to stay within 1, and one to be folded back at 1",
             .min = 0.0, .max = N_CURVES - 1, .default_value = TANH, .flags = PE_PARAM_INTEGER},
  [MIX] = {.name = "mix", .alias = "", .unit = "", .choices = "", .help = "Part of the output that went through the curve; the rest is the input, 37 frames late",
           .min = 0.0, .max = 1.0, .default_value = 1.0, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [GAIN] = {.name = "gain", .alias = "", .unit = "", .choices = "", .help = "Linear factor of the output",
            .min = 0.0, .max = 16.0, .default_value = 1.0, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
};

/* Half of the taps that are not 0, twice their size; the other half mirrors them. */
#define SIDE_1 16u
#define SIDE_2 5u
#define SIDE_3 3u
static const float taps_1[SIDE_1] = {-0.000139205796f, 0.000370821316f, -0.000834003816f, 0.00163869115f, -0.00293821036f, 0.00492472974f,
                                     -0.00783625257f, 0.0119716216f, -0.0177221434f, 0.0256423995f, -0.0366085346f, 0.052203388f,
                                     -0.0757764847f, 0.116061753f, -0.205271745f, 0.634277879f};
static const float taps_2[SIDE_2] = {0.00142792698f, -0.0110307136f, 0.0462712533f, -0.149248695f, 0.612585132f};
static const float taps_3[SIDE_3] = {0.0133976277f, -0.102427312f, 0.589035775f};

#define LATENCY 37u
#define TAIL(side) (2u * (side) - 1u) /* samples before the present one that a filter needs, of those it filters */

typedef struct Drive { /* the newest samples, as far as they are needed again */
  float dry[LATENCY];
  float up_1[TAIL(SIDE_1)], up_2[TAIL(SIDE_2)], up_3[TAIL(SIDE_3)];
  float even_3[TAIL(SIDE_3) + 1], odd_3[SIDE_3 + 1]; /* one pair more: the two samples */
  float even_2[TAIL(SIDE_2)], odd_2[SIDE_2];
  float even_1[TAIL(SIDE_1)], odd_1[SIDE_1];
} Drive;
_Static_assert(sizeof(Drive) == 4 * (LATENCY + 5 * (SIDE_1 + SIDE_2 + SIDE_3) + 2 - 6), "no padding in a state");

static PeStatus drive_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  (void)state;
  (void)sample_rate_hz;
  (void)max_block_frames;
  return PE_OK;
}

static void drive_reset(void *state) { *(Drive *)state = (Drive){0}; }

/* ---- curves: each is 0 at 0, and its slope there is 1 -------------------------------------------------- */

/* (1 - e) / (1 + e), e = 2^(-2 |u| log2(e)): 2^r of the part below the point by its series, off by 1e-7 at most; the
 * whole part into the exponent. */
PE_RT_INLINE float curve_tanh(float u) {
  const float size = u < 0.0f ? -u : u;
  const float x = -2.88539008f * (size < 10.0f ? size : 10.0f);
  const float whole = (x + 0x1.8p23f) - 0x1.8p23f, r = x - whole;
  float p = 1.52527338e-5f;
  p = p * r + 1.54035304e-4f;
  p = p * r + 1.33335581e-3f;
  p = p * r + 9.61812911e-3f;
  p = p * r + 5.55041087e-2f;
  p = p * r + 0.240226507f;
  p = p * r + 0.693147181f;
  p = p * r + 1.0f;
  const uint32_t exponent = (uint32_t)((int32_t)whole + 127) << 23;
  float scale;
  memcpy(&scale, &exponent, sizeof scale);
  const float e = p * scale, y = (1.0f - e) / (1.0f + e);
  return u < 0.0f ? -y : y;
}

PE_RT_INLINE float within(float u, float most) {
  u = u < most ? u : most;
  return u > -most ? u : -most;
}

/* A cubic up to 3/2, where it is level. */
PE_RT_INLINE float curve_soft(float u) {
  u = within(u, 1.5f);
  return u - u * u * u * (4.0f / 27.0f);
}

PE_RT_INLINE float curve_hard(float u) { return within(u, 1.0f); }

/* A triangle wave of period 4; |u| below 2^23. */
PE_RT_INLINE float curve_fold(float u) {
  const float periods = (0.25f * u + 0x1.8p23f) - 0x1.8p23f;
  const float r = u - 4.0f * periods;
  return r > 1.0f ? 2.0f - r : r < -1.0f ? -2.0f - r : r;
}

#define PE_SIMD_BODY "drive_simd.h"
#include "simd_each.h"

#define ROW(isa) {drive_process_##isa, NULL}
static const PeModuleIsa isa[PE_ISAS] = PE_SIMD_EACH(ROW);

const PeModule pe_module_drive = {
  .name = "drive", .help = "Distortion by a curve, oversampled eight times; 37 frames late", .inputs = "in", .outputs = "out",
  .n_inputs = 1, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Drive), .params = params,
  .prepare = drive_prepare, .reset = drive_reset, .process = drive_process_base, .isa = isa,
};
