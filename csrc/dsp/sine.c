/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* simple_sine: a sine oscillator. */
#include "approx.h"
#include "module.h"
#include "registry.h"

enum { FREQ, GAIN, N_PARAMS };

static const PeParam params[N_PARAMS] = {
  [FREQ] = {.name = "freq", .alias = "frequency", .unit = "Hz", .choices = "", .help = "Frequency",
            .min = 0.0, .max = 0.0, .default_value = 440.0, .ramp_us = 10000,
            .flags = PE_PARAM_TUNES | PE_PARAM_RAMPED | PE_PARAM_NYQUIST | PE_PARAM_CABLE},
  [GAIN] = {.name = "gain", .alias = "", .unit = "", .choices = "", .help = "Linear factor of the output",
            .min = 0.0, .max = 16.0, .default_value = 0.2, .ramp_us = 5000,
            .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
};

typedef struct Sine {
  uint64_t phase;        /* of the next frame, in turns x 2^64 */
  double   turns_per_hz; /* 2^64 / sample rate */
  double   max_hz;
  float    gain;         /* both of the newest frame: what stands is not computed again */
  uint32_t reserved;
  uint64_t increment;
  uint64_t reserved2;
} Sine;
_Static_assert(sizeof(Sine) == 48, "no padding in a state");

static PeStatus sine_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  Sine *s = state;
  (void)max_block_frames;
  s->turns_per_hz = 0x1p64 / sample_rate_hz;
  s->max_hz = 0.5 * sample_rate_hz - 10.0;
  return PE_OK;
}

static void sine_reset(void *state) {
  Sine *s = state;
  *s = (Sine){.turns_per_hz = s->turns_per_hz, .max_hz = s->max_hz};
}

/* Below 2^63, as the frequency is below Nyquist. 53 bits of it count: off by 1e-16 of the frequency at most. */
PE_RT_INLINE uint64_t increment_of(const Sine *s, double freq_hz) { return (uint64_t)(int64_t)(freq_hz * s->turns_per_hz); }

PE_RT_INLINE uint64_t increment_at(const Sine *s, const PeBlock *b, uint32_t i) {
  return increment_of(s, pe_block_param(b, FREQ, i, params[FREQ].min, s->max_hz));
}

PE_RT_INLINE float gain_at(const PeBlock *b, uint32_t i) {
  return (float)pe_block_param(b, GAIN, i, params[GAIN].min, params[GAIN].max);
}

/* ---- banks ---------------------------------------------------------------------------------------- */

#define SINE_QUARTER_TURN 0x4000000000000000u

typedef struct SineBank {
  uint64_t phase[PE_LANES]; /* while it is there */
  uint64_t increment[PE_LANES];
  float    gain[PE_LANES];
} SineBank;

PE_RT static uint32_t sine_refresh(void *cache, uint32_t lane, void *state, const PeSmooth *p, const PeBankTime *time) {
  SineBank *bank = cache;
  static const float *const no_cables[N_PARAMS];
  const PeBlock b = {.n_frames = time->n_frames, .params = (PeSmooth *)(uintptr_t)p, .mods = no_cables};
  if (!pe_block_param_is_constant(&b, FREQ) || !pe_block_param_is_constant(&b, GAIN)) return PE_LANE_ALONE;
  Sine *s = state;
  bank->increment[lane] = s->increment = increment_at(s, &b, 0);
  bank->gain[lane] = s->gain = gain_at(&b, 0);
  return PE_LANE_STEADY;
}

PE_RT static uint32_t sine_silent(const void *cache, uint32_t silent_inputs) {
  (void)cache;
  (void)silent_inputs;
  return 0; /* gain 0 puts out -0 too */
}

PE_RT static void sine_skip(const PeBankBlock *b) {
  const SineBank *bank = b->cache;
  for (uint32_t m = b->lanes; m; m &= m - 1) {
    const uint32_t l = pe_lowest_lane(m);
    ((Sine *)b->states[l])->phase += bank->increment[l] * b->n_frames;
  }
}

PE_RT static void sine_load(void *cache, uint32_t lanes, void *const *states) {
  SineBank *bank = cache;
  for (uint32_t m = lanes; m; m &= m - 1) {
    const uint32_t l = pe_lowest_lane(m);
    bank->phase[l] = ((const Sine *)states[l])->phase;
  }
}

PE_RT static void sine_store(void *cache, uint32_t lanes, void *const *states) {
  const SineBank *bank = cache;
  for (uint32_t m = lanes; m; m &= m - 1) {
    const uint32_t l = pe_lowest_lane(m);
    ((Sine *)states[l])->phase = bank->phase[l];
  }
}

#define PE_SIMD_BODY "sine_simd.h"
#include "simd_each.h"

static const PeBankOps bank = {.cache_bytes = sizeof(SineBank), .is_free = 1, .refresh = sine_refresh, .silent = sine_silent, .skip = sine_skip,
                               .load = sine_load, .store = sine_store};
#define ROW(isa) {sine_process_##isa, sine_process_bank_##isa}
static const PeModuleIsa isa[PE_ISAS] = PE_SIMD_EACH(ROW);
const PeModule pe_module_sine = {
  .name = "simple_sine", .help = "Sine oscillator", .inputs = "", .outputs = "out",
  .n_inputs = 0, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Sine), .params = params,
  .prepare = sine_prepare, .reset = sine_reset, .process = sine_process_base, .isa = isa, .bank = &bank, .scales = 1,
};
