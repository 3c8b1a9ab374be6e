/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* gain: an amplifier, controlled by a number and by a signal: out = in x gain x cv. */
#include <string.h>

#include "levels.h"
#include "module.h"
#include "registry.h"

enum { IN, CV, N_INPUTS };
enum { GAIN, N_PARAMS };

static const PeParam params[N_PARAMS] = {
  [GAIN] = {.name = "gain", .alias = "", .unit = "", .choices = "", .help = "Linear factor of the output",
            .min = 0.0, .max = 16.0, .default_value = 1.0, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
};

static void gain_reset(void *state) { (void)state; }

/* ---- banks ---------------------------------------------------------------------------------------- */

typedef struct GainBank {
  float gain[PE_LANES];
} GainBank;

PE_RT static uint32_t gain_refresh(void *cache, uint32_t lane, void *state, const PeSmooth *p, const PeBankTime *time) {
  GainBank *bank = cache;
  static const float *const no_cables[N_PARAMS];
  const PeBlock b = {.n_frames = time->n_frames, .params = (PeSmooth *)(uintptr_t)p, .mods = no_cables};
  (void)state;
  if (!pe_block_param_is_constant(&b, GAIN)) return PE_LANE_ALONE;
  bank->gain[lane] = pe_level_at(&b, params, GAIN, 0);
  return PE_LANE_STEADY;
}

PE_RT static uint32_t gain_silent(const void *cache, uint32_t silent_inputs) {
  (void)cache;
  return silent_inputs;
}

PE_RT static void gain_skip(const PeBankBlock *b) { (void)b; }

#define PE_SIMD_BODY "gain_simd.h"
#include "simd_each.h"

static const PeBankOps bank = {.cache_bytes = sizeof(GainBank), .is_free = 1, .refresh = gain_refresh, .silent = gain_silent, .skip = gain_skip};
#define ROW(isa) {gain_process_##isa, gain_process_bank_##isa}
static const PeModuleIsa isa[PE_ISAS] = PE_SIMD_EACH(ROW);

const PeModule pe_module_gain = {
  .name = "gain", .help = "Amplifier: multiplies its input by a number, and by the signal at cv where something is connected there",
  .inputs = "in,cv", .outputs = "out",
  .n_inputs = N_INPUTS, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = 0, .params = params,
  .prepare = pe_prepare_nothing, .reset = gain_reset, .process = gain_process_base, .isa = isa, .bank = &bank,
};
