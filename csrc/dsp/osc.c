/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* osc: a band-limited oscillator. The wave is computed as it is, and delayed by 3 frames; each of its steps and corners,
 * wherever between two frames it lies, adds to the 32 frames from there on what a low-pass makes of it (see
 * blep_table.h and tests/dsp/blep_design.py). What aliases is 83 dB below what it comes from wherever it falls below
 * 0.417 x rate (20 kHz at 48 kHz); a harmonic is 0.1 dB low at 0.4375 x rate (21 kHz).
 *
 * All shapes are made of ramps that wrap: saw s(p) = 2p - 1; square s(p - width) - s(p), whose mean is 0 at any width;
 * triangle, whose corners are where p - 1/4 and p - 3/4 wrap. Between two frames each position moves in a straight line,
 * the short way around, forwards or backwards: so frequency, phase and width may be driven by anything. */
#include <string.h>

#include "approx.h"
#include "blep_table.h"
#include "levels.h"
#include "module.h"
#include "registry.h"
#include "values.h"

enum { SHAPE, FREQ, PITCH, DETUNE, WIDTH, PHASE, GAIN, N_PARAMS };
enum { SAW, SQUARE, TRIANGLE, SINE, N_SHAPES };

static const PeParam params[N_PARAMS] = {
  [SHAPE] = {.name = "shape", .alias = "", .unit = "", .choices = "saw,square,triangle,sine", .help = "Form of a cycle",
             .min = 0.0, .max = N_SHAPES - 1, .default_value = SAW, .flags = PE_PARAM_INTEGER},
  [FREQ] = {.name = "freq", .alias = "frequency", .unit = "Hz", .choices = "", .help = "Frequency",
            .min = 0.0, .max = 0.0, .default_value = 440.0, .ramp_us = 10000, .flags = PE_PARAM_TUNES | PE_PARAM_RAMPED | PE_PARAM_NYQUIST | PE_PARAM_CABLE},
  [PITCH] = {.name = "pitch", .alias = "", .unit = "semitones", .choices = "", .help = "Moves the frequency: 12 doubles it",
             .min = -120.0, .max = 120.0, .default_value = 0.0, .ramp_us = 10000, .flags = PE_PARAM_TUNES | PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [DETUNE] = {.name = "detune", .alias = "", .unit = "cents", .choices = "", .help = "Moves the frequency by hundredths of a semitone",
              .min = -1200.0, .max = 1200.0, .default_value = 0.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [WIDTH] = {.name = "width", .alias = "", .unit = "", .choices = "", .help = "Part of a cycle for which the square is high; silent at 0 and 1",
             .min = 0.0, .max = 1.0, .default_value = 0.5, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [PHASE] = {.name = "phase", .alias = "", .unit = "turns", .choices = "", .help = "How far ahead of its cycle the output is; a cable to it modulates the phase",
             .min = -4.0, .max = 4.0, .default_value = 0.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [GAIN] = {.name = "gain", .alias = "", .unit = "", .choices = "", .help = "Linear factor of the output",
            .min = 0.0, .max = 16.0, .default_value = 0.2, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
};

#define TURN 0x1p64
#define QUARTER_TURN 0x4000000000000000u
#define PI 0x1.921fb54442d18p+1

typedef struct Osc {
  uint64_t phase;          /* of the newest frame, without the parameter's, in turns x 2^64 */
  uint64_t position;       /* of the newest frame, with it */
  uint64_t low_position;   /* the same less the width */
  uint64_t increment;      /* of the phase, from the newest frame to the next */
  double   turns_per_hz;   /* 2^64 / sample rate */
  double   max_hz;
  float    syncs[3];       /* input at the newest frames, the newest one first */
  uint32_t has_run;        /* there is a newest frame */
  float    waves[BLEP_DELAY + 1]; /* of the newest frames, not yet put out; the last one is not used */
  float    ahead[BLEP_FRAMES]; /* what steps and corners have added to the frames to come */
} Osc;
_Static_assert(sizeof(Osc) == 64 + 4 * (BLEP_DELAY + 1 + BLEP_FRAMES), "no padding in a state");

static PeStatus osc_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  Osc *s = state;
  (void)max_block_frames;
  s->turns_per_hz = TURN / sample_rate_hz;
  s->max_hz = 0.5 * sample_rate_hz - 10.0;
  return PE_OK;
}

static void osc_reset(void *state) {
  Osc *s = state;
  *s = (Osc){.turns_per_hz = s->turns_per_hz, .max_hz = s->max_hz};
}

PE_RT_INLINE double param_at(const PeBlock *b, uint32_t param, uint32_t i) {
  return pe_block_param(b, param, i, params[param].min, params[param].max);
}

PE_RT_INLINE uint64_t increment_at(const Osc *s, const PeBlock *b, uint32_t i) {
  const double octaves = (param_at(b, PITCH, i) * 100.0 + param_at(b, DETUNE, i)) * (1.0 / 1200.0);
  const double hz = pe_block_param(b, FREQ, i, params[FREQ].min, s->max_hz) * pe_exp2(octaves);
  return (uint64_t)(int64_t)((hz < s->max_hz ? hz : s->max_hz) * s->turns_per_hz);
}

/* Of -4 to 4 turns; whole ones are 0. */
PE_RT_INLINE uint64_t position_of(double turns) { return (uint64_t)(int64_t)(turns * 0x1p60) << 4; }

PE_RT_INLINE double turns_of(uint64_t position) { return (double)(position >> 11) * 0x1p-53; }

/* ---- the waves, without what becomes of their steps and corners -------------------------------------- */

PE_RT_INLINE double triangle_of(uint64_t position) {
  const double t = turns_of(position + QUARTER_TURN); /* 0 at the lowest value, 1/2 at the highest */
  return t < 0.5 ? 4.0 * t - 1.0 : 3.0 - 4.0 * t;
}

PE_RT_INLINE double wave_of(uint32_t shape, uint64_t position, uint64_t low_position) {
  switch (shape) {
    case SQUARE: return 2.0 * (turns_of(low_position) - turns_of(position));
    case TRIANGLE: return triangle_of(position);
    case SINE: return (double)pe_sin_phase(position);
    default: return 2.0 * turns_of(position) - 1.0; /* SAW */
  }
}

/* Per turn, for what is synced; that of a square is the same everywhere. */
PE_RT_INLINE double slope_of(uint32_t shape, uint64_t position) {
  if (shape == TRIANGLE) return position + QUARTER_TURN < 2 * QUARTER_TURN ? 4.0 : -4.0;
  return shape == SINE ? 2.0 * PI * (double)pe_sin_phase(position + QUARTER_TURN) : 0.0;
}

#define PE_SIMD_BODY "osc_simd.h"
#include "simd_each.h"

#define ROW(isa) {osc_process_##isa, NULL}
static const PeModuleIsa isa[PE_ISAS] = PE_SIMD_EACH(ROW);

const PeModule pe_module_osc = {
  .name = "osc", .help = "Band-limited oscillator: saw, square, triangle or sine, begun anew where the signal at sync rises through 0",
  .inputs = "sync", .outputs = "out",
  .n_inputs = 1, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Osc), .params = params,
  .prepare = osc_prepare, .reset = osc_reset, .process = osc_process_base, .isa = isa,
};
