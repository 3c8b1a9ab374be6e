/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* svf: a state variable filter with four outputs, made to be modulated at every sample.
 *
 * Trapezoidal integrators without a delay in the loop (Vadim Zavalishin, "The Art of VA Filter Design", ch. 4; here in
 * the form of Andrew Simper, "Solving the continuous SVF equations using trapezoidal integration and equivalent
 * currents", Cytomic 2013). Its responses are those of the analogue filter by the bilinear transform, the cutoff
 * prewarped. Without input the sum of the squares of its two states never grows, whatever g > 0 and k > 0 do from
 * frame to frame: so it stays stable however fast it is modulated.
 *
 * While something moves, the coefficients are computed in vectors over time, the recursion frame by frame behind it. */
#include "approx.h"
#include "module.h"
#include "registry.h"
#include "values.h"

enum { CUTOFF, SHIFT, Q, N_PARAMS };
enum { LOW, BAND, HIGH, NOTCH };

#define SHIFT_OCTAVES 10.0

static const PeParam params[N_PARAMS] = {
  [CUTOFF] = {.name = "cutoff", .alias = "", .unit = "Hz", .choices = "", .help = "Corner or centre frequency",
              .min = 10.0, .max = 0.0, .default_value = 1000.0, .ramp_us = 10000,
              .flags = PE_PARAM_RAMPED | PE_PARAM_NYQUIST | PE_PARAM_CABLE},
  [SHIFT] = {.name = "shift", .alias = "", .unit = "octaves", .choices = "", .help = "Moves the cutoff: 1 doubles it, -1 halves it",
             .min = -SHIFT_OCTAVES, .max = SHIFT_OCTAVES, .default_value = 0.0, .ramp_us = 10000,
             .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [Q] = {.name = "q", .alias = "resonance", .unit = "", .choices = "", .help = "Quality factor: 0.7071 is flat, 20 rings, 40 sings",
         .min = 0.1, .max = 40.0, .default_value = 0.7071067811865476, .ramp_us = 25000,
         .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
};

typedef struct Svf {
  double state1, state2; /* of the two integrators */
  double sample_rate_hz, max_hz;
  double k, a1, a2, a3;  /* of the newest frame; k is 0 before the first */
} Svf;
_Static_assert(sizeof(Svf) == 8 * sizeof(double), "no padding in a state");

static PeStatus svf_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  Svf *s = state;
  (void)max_block_frames;
  *s = (Svf){.sample_rate_hz = sample_rate_hz, .max_hz = 0.5 * sample_rate_hz - 10.0};
  return PE_OK;
}

static void svf_reset(void *state) {
  const Svf *s = state;
  svf_prepare(state, s->sample_rate_hz, 0);
}

/* The same operations as coefficients() of svf_simd.h. */
PE_RT static void settle(Svf *s, const PeBlock *b) {
  const double cutoff_hz = pe_block_param(b, CUTOFF, 0, params[CUTOFF].min, s->max_hz);
  const double shift = pe_block_param(b, SHIFT, 0, -SHIFT_OCTAVES, SHIFT_OCTAVES);
  const double k = 1.0 / pe_block_param(b, Q, 0, params[Q].min, params[Q].max);
  const double g = pe_tan_pi(pe_within(cutoff_hz * pe_exp2(shift), params[CUTOFF].min, s->max_hz), s->sample_rate_hz);
  s->k = k;
  s->a1 = 1.0 / (1.0 + g * (g + k));
  s->a2 = g * s->a1;
  s->a3 = g * s->a2;
}

#define PE_SIMD_BODY "svf_simd.h"
#include "simd_each.h"

#define ROW(isa) {svf_process_##isa, NULL}
static const PeModuleIsa isa[PE_ISAS] = PE_SIMD_EACH(ROW);

const PeModule pe_module_svf = {
  .name = "svf", .help = "State variable filter with low-pass, band-pass, high-pass and notch at once, for modulation at every sample; its name alone means the low-pass",
  .inputs = "in", .outputs = "low,band,high,notch",
  .n_inputs = 1, .n_outputs = 4, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Svf), .params = params,
  .prepare = svf_prepare, .reset = svf_reset,
  .process = svf_process_base, .isa = isa,
};
