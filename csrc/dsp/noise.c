/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* noise: white, pink or brown. White is a function of the seed and of the number of frames so far; the others are
 * filters of it, at rest when their colour or the seed was chosen. All have the RMS of the white one: gain / sqrt(3).
 *
 * Pink: a sum of one-pole filters, within 0.02 dB of 1/f from rate / 8192 (5.9 Hz at 48 kHz) to 0.48 x rate. Poles and
 * zeros of a cascade were fitted to the logarithm of 1/f by least squares, weighted anew towards equal ripple, and the
 * cascade was expanded into partial fractions.
 * Brown: (1 + 0.19 / z) / (1 - p / z), within 0.4 dB of 1/f^2 from rate / 1024 to 0.46 x rate. It leaks below rate / 4096
 * (11.7 Hz at 48 kHz), or it would wander off; the zero makes up for what the sampled integrator lacks near Nyquist. */
#include <string.h>

#include "levels.h"
#include "module.h"
#include "random.h"
#include "registry.h"
#include "values.h"

enum { COLOR, SEED, GAIN, N_PARAMS };
enum { WHITE, PINK, BROWN, N_COLORS };

static const PeParam params[N_PARAMS] = {
  [COLOR] = {.name = "color", .alias = "colour", .unit = "", .choices = "white,pink,brown", .help = "Spectrum: flat, -3 or -6 dB per octave",
             .min = 0.0, .max = N_COLORS - 1, .default_value = WHITE, .flags = PE_PARAM_INTEGER},
  [SEED] = {.name = "seed", .alias = "", .unit = "", .choices = "", .help = "Equal seeds make equal noise; another one starts it anew",
            .min = 0.0, .max = 16777215.0, .default_value = 0.0, .flags = PE_PARAM_INTEGER},
  [GAIN] = {.name = "gain", .alias = "", .unit = "", .choices = "", .help = "Linear factor of the output",
            .min = 0.0, .max = 16.0, .default_value = 0.2, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
};

#define N_POLES 8u
static const double pink_pole[N_POLES] = {0.9995235143255174, 0.9977425852659011, 0.9916896411554434, 0.9692780600273161,
                                          0.8892877413427926, 0.6412699913166067, 0.12165897158414118, -0.6358314347238516};
static const double pink_part[N_POLES] = {0.010696920691206289, 0.011655316060006546, 0.0214569290436566, 0.04131635311655484,
                                          0.07868802949368156, 0.146608140364297, 0.41756412307104157, -0.01013120003763662};
#define PINK_DIRECT -0.2001376240459153

#define BROWN_POLE 0.9984671951592728
#define BROWN_ZERO 0.19023
#define BROWN_PART 0.04651044119651841 /* sqrt((1 - pole^2) / (1 + zero^2 + 2 pole zero)): the RMS of what comes in */

typedef struct Noise {
  uint64_t count;          /* frames since the seed was set */
  uint32_t seed, color;    /* as last seen */
  double   memory[N_POLES]; /* of the filters; brown: its newest output, and the white it came from */
} Noise;
_Static_assert(sizeof(Noise) == 16 + 8 * N_POLES, "no padding in a state");

static void noise_reset(void *state) { *(Noise *)state = (Noise){0}; }

PE_RT_INLINE void noise_follow(Noise *s, const PeSmooth *p) {
  const uint32_t seed = pe_whole(p, params, SEED), color = pe_whole(p, params, COLOR);
  if (seed != s->seed || color != s->color) memset(s->memory, 0, sizeof s->memory);
  if (seed != s->seed) s->count = 0;
  s->seed = seed;
  s->color = color;
}

#define PE_SIMD_BODY "noise_simd.h"
#include "simd_each.h"

#define ROW(isa) {noise_process_##isa, NULL}
static const PeModuleIsa isa[PE_ISAS] = PE_SIMD_EACH(ROW);

const PeModule pe_module_noise = {
  .name = "noise", .help = "White, pink or brown noise, the same for the same seed", .inputs = "", .outputs = "out",
  .n_inputs = 0, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Noise), .params = params,
  .prepare = pe_prepare_nothing, .reset = noise_reset, .process = noise_process_base, .isa = isa,
};
