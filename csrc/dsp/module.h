/* A module type is one PeModule: a constant descriptor and a few functions over memory it is given.
 *
 * A node's state is plain data without pointers, laid out by the plan as
 *     PeSmooth params[n_params];  then  unsigned char state[state_bytes];
 * both 16-byte aligned and zeroed. The plan copies, hashes, checkpoints and carries it as bytes: leave no
 * padding uninitialised, hold nothing in it that is not a function of what was rendered so far.
 *
 * The same bits for any split: process(64 frames) must equal 64 x process(1 frame). */
#ifndef PE_DSP_MODULE_H
#define PE_DSP_MODULE_H

#include "../pe.h"
#include "../rt.h"
#include "smooth.h"

#define PE_SAMPLE_LIMIT 1.0e6f /* no output leaves +-this (120 dB over full scale), so that sums stay finite */

typedef struct PeBlock {
  uint32_t            n_frames;
  const float *const *inputs;  /* [n_inputs]; NULL where nothing is connected */
  float *const       *outputs; /* [n_outputs]; never aliases an input */
  PeSmooth           *params;  /* [n_params]; the plan advances them after process returns */
  const float *const *mods;    /* [n_params]; what cables add to a parameter, NULL where none does */
} PeBlock;

typedef struct PeModule {
  const char        *name;    /* "biquad_filter": the name patches and OSC use */
  const char        *help;    /* one sentence for listings */
  const char        *inputs;  /* port names separated by commas; "" for none */
  const char        *outputs;
  uint32_t           n_inputs, n_outputs, n_params;
  uint32_t           state_version;
  uint32_t           state_bytes;
  const PeParam     *params;
  PeStatus (*prepare)(void *state, double sample_rate_hz, uint32_t max_block_frames); /* fills zeroed memory; [setup] */
  void (*reset)(void *state);                                                       /* as after prepare; [rt] */
  void (*changed)(void *state, const PeSmooth *params, uint32_t param, int is_immediate); /* after a command set a parameter, also to the same value; may be NULL; [rt] */
  void (*open)(void *state, const PeSmooth *params);                                /* warm-up: gate open, envelope at sustain; may be NULL; [rt] */
  void (*process)(void *state, const PeBlock *block);                               /* [rt & active] */
} PeModule;

/* Value of a parameter i frames into the block, cables included, within [min, max]. NaN gives min. */
PE_RT static inline double pe_block_param(const PeBlock *b, uint32_t param, uint32_t i, double min, double max) {
  double v = pe_smooth_at(&b->params[param], i);
  if (b->mods[param]) v += (double)b->mods[param][i];
  v = v > min ? v : min; /* NaN too */
  return v < max ? v : max;
}

PE_RT static inline int pe_block_param_is_constant(const PeBlock *b, uint32_t param) {
  return !b->mods[param] && pe_smooth_is_settled(&b->params[param]);
}

/* A shared object that pe_registry_load takes exports this symbol:
 *     const PeModule *const pe_modules[] = { &my_module, NULL };
 * built against the same PE_MODULE_ABI, which it exports too as `const uint32_t pe_module_abi`. */
#define PE_MODULE_ABI 1u
#define PE_MODULE_MAX_PORTS 64u /* inputs and parameters together */

#endif
