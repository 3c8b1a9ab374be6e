/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* mixer: eight inputs, each with a level. They are summed in the order in which a plan sums cables (PE_ACCUMULATORS):
 * with all levels 1 it puts out the bits that eight cables to one input make. */
#include <string.h>

#include "levels.h"
#include "module.h"
#include "registry.h"

#define N_INPUTS 8u
enum { LEVEL1, GAIN = N_INPUTS, N_PARAMS };

#define LEVEL(number) \
  [LEVEL1 + number - 1] = {.name = "level" #number, .alias = "", .unit = "", .choices = "", .help = "Linear factor of in" #number, \
                           .min = 0.0, .max = 16.0, .default_value = 1.0, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE}

static const PeParam params[N_PARAMS] = {
  LEVEL(1), LEVEL(2), LEVEL(3), LEVEL(4), LEVEL(5), LEVEL(6), LEVEL(7), LEVEL(8),
  [GAIN] = {.name = "gain", .alias = "", .unit = "", .choices = "", .help = "Linear factor of the sum",
            .min = 0.0, .max = 16.0, .default_value = 1.0, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
};

static void mixer_reset(void *state) { (void)state; }

#define PE_SIMD_BODY "mixer_simd.h"
#include "simd_each.h"

#define ROW(isa) {mixer_process_##isa, NULL}
static const PeModuleIsa isa[PE_ISAS] = PE_SIMD_EACH(ROW);

const PeModule pe_module_mixer = {
  .name = "mixer", .help = "Mixer of eight inputs, each with a level",
  .inputs = "in1,in2,in3,in4,in5,in6,in7,in8", .outputs = "out",
  .n_inputs = N_INPUTS, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = 0, .params = params,
  .prepare = pe_prepare_nothing, .reset = mixer_reset, .process = mixer_process_base, .isa = isa,
};
