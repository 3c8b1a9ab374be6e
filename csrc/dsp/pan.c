/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* pan: places a signal between left and right with equal power: left = cos a, right = sin a, a from 0 to a quarter
 * turn; so 1 and 0 at the sides, and -3.01 dB on both sides in the middle. */
#include <string.h>

#include "approx.h"
#include "levels.h"
#include "module.h"
#include "registry.h"

enum { POSITION, N_PARAMS };
enum { LEFT, RIGHT, N_OUTPUTS };

static const PeParam params[N_PARAMS] = {
  [POSITION] = {.name = "position", .alias = "pan", .unit = "", .choices = "", .help = "Place between left (-1) and right (1)",
                .min = -1.0, .max = 1.0, .default_value = 0.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
};

static void pan_reset(void *state) { (void)state; }

#define PE_SIMD_BODY "pan_simd.h"
#include "simd_each.h"

#define ROW(isa) {pan_process_##isa, NULL}
static const PeModuleIsa isa[PE_ISAS] = PE_SIMD_EACH(ROW);

const PeModule pe_module_pan = {
  .name = "pan", .help = "Places its input between left and right, with equal power",
  .inputs = "in", .outputs = "left,right",
  .n_inputs = 1, .n_outputs = N_OUTPUTS, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = 0, .params = params,
  .prepare = pe_prepare_nothing, .reset = pan_reset, .process = pan_process_base, .isa = isa,
};
