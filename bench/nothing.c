/* Module types for bench/test_plan.py, loaded through PYENGINE_MODULES. They cost nothing themselves:
 *   bench_nothing  does nothing                 bench_params   does nothing, and has four parameters at rest
 *   bench_one_more puts out its input plus 1: how a plan of them is checked */
#include "dsp/module.h"

#define PARAM(NAME) {.name = NAME, .alias = "", .unit = "", .choices = "", .help = "Nothing", .max = 1.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED}
static const PeParam params[] = {PARAM("a"), PARAM("b"), PARAM("c"), PARAM("d")};

static PeStatus prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  (void)state;
  (void)sample_rate_hz;
  (void)max_block_frames;
  return PE_OK;
}

static void reset(void *state) { (void)state; }

static void nothing(void *state, const PeBlock *block) {
  (void)state;
  (void)block;
}

static void one_more(void *state, const PeBlock *block) {
  (void)state;
  for (uint32_t i = 0; i < block->n_frames; i++)
    block->outputs[0][i] = 1.0f + (block->inputs[0] ? block->inputs[0][i] : 0.0f);
}

#define MODULE(NAME, PARAMS, N_PARAMS, PROCESS)                                                                    \
  {.name = NAME, .help = "For benches only", .inputs = "in", .outputs = "out", .n_inputs = 1, .n_outputs = 1,       \
   .n_params = N_PARAMS, .params = PARAMS, .state_version = 1, .state_bytes = 16, .prepare = prepare,               \
   .reset = reset, .process = PROCESS}

static const PeModule nothing_module = MODULE("bench_nothing", NULL, 0, nothing);
static const PeModule params_module = MODULE("bench_params", params, 4, nothing);
static const PeModule one_more_module = MODULE("bench_one_more", NULL, 0, one_more);

extern const uint32_t pe_module_abi;
extern const PeModule *const pe_modules[];
const uint32_t pe_module_abi = PE_MODULE_ABI;
const PeModule *const pe_modules[] = {&nothing_module, &params_module, &one_more_module, NULL};
