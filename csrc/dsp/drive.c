/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* drive: a waveshaper at eight times the sample rate, where drive_curves_simd.h keeps the harmonics it makes from being folded
 * back. How loud the loudest alias below 20 kHz is, of a full sine of 1, 4 and 10 kHz, in dB of the loudest harmonic
 * (tests/dsp/test_drive.py holds it to this):
 *
 *             driven by 24 dB       36 dB             60 dB
 *     tanh    -125, -107, -92                         -103, -88, -82
 *     soft    -123, -106, -89                         -102, -88, -82
 *     hard    -121, -106, -87                         -102, -88, -82
 *     fold     -85,  -68, -52       -59, -43, -22     (noise: it folds up to a thousand times a period)
 *
 * Up and down go through three half-band filters each, of 63, 19 and 11 taps (linear phase, by the Remez exchange, for a
 * pass band up to 0.417 x rate: 20 kHz at 48 kHz; 89, 105 and 103 dB in the stop band). Every other tap of such a filter
 * is 0 and the middle one 1/2, so one half of the samples is filtered and the other half only delayed. With two samples at
 * the high rate, one for the triangle of drive_curves_simd.h and one for the filter that makes up for its droop, they make a
 * delay of exactly 37 frames; what does not go through the curve is delayed as much, so that `mix` mixes like with like. */
#include <string.h>

#include "approx.h"
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
  float bent_from, rising; /* the newest sample before the curve; of the line to it, the triangle's rising side */
  float bent[2];           /* the newest samples behind the curve */
  float even_3[TAIL(SIDE_3)], odd_3[SIDE_3];
  float even_2[TAIL(SIDE_2)], odd_2[SIDE_2];
  float even_1[TAIL(SIDE_1)], odd_1[SIDE_1];
} Drive;
_Static_assert(sizeof(Drive) == 4 * (LATENCY + 5 * (SIDE_1 + SIDE_2 + SIDE_3) + 4 - 6), "no padding in a state");

static void drive_reset(void *state) { *(Drive *)state = (Drive){0}; }

#define PE_SIMD_BODY "drive_simd.h"
#include "simd_each.h"

#define ROW(isa) {drive_process_##isa, NULL}
static const PeModuleIsa isa[PE_ISAS] = PE_SIMD_EACH(ROW);

const PeModule pe_module_drive = {
  .name = "drive", .help = "Distortion by a curve, oversampled eight times; 37 frames late", .inputs = "in", .outputs = "out",
  .n_inputs = 1, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 2, .state_bytes = sizeof(Drive), .params = params,
  .prepare = pe_prepare_nothing, .reset = drive_reset, .process = drive_process_base, .isa = isa,
};
