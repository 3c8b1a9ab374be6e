/* For tests only: a module type with more outputs than the core takes. */
#include "dsp/module.h"

static PeStatus prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  (void)state;
  (void)sample_rate_hz;
  (void)max_block_frames;
  return PE_OK;
}

static void reset(void *state) { (void)state; }

static void process(void *state, const PeBlock *b) {
  (void)state;
  (void)b;
}

static const PeModule wide = {.name = "test_wide", .help = "For tests only", .inputs = "", .outputs = "out", .n_outputs = PE_MODULE_MAX_PORTS + 1,
                              .state_version = 1, .state_bytes = 16, .prepare = prepare, .reset = reset, .process = process};

extern const uint32_t pe_module_abi;
extern const PeModule *const pe_modules[];
const uint32_t pe_module_abi = PE_MODULE_ABI;
const PeModule *const pe_modules[] = {&wide, NULL};
