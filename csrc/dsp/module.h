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

enum { PE_RAMPED, PE_AT_ONCE, PE_RETUNED }; /* how a parameter is set: on its ramp, without one, for a note on a voice that sounds */

#define PE_SAMPLE_LIMIT 1.0e6f /* no output leaves +-this (120 dB over full scale), so that sums stay finite */

typedef struct PeBlock {
  uint32_t            n_frames;
  const float *const *inputs;  /* [n_inputs]; NULL where nothing is connected */
  float *const       *outputs; /* [n_outputs]; never aliases an input */
  PeSmooth           *params;  /* [n_params]; the plan advances them after process returns */
  const float *const *mods;    /* [n_params]; what cables add to a parameter, NULL where none does */
  float              *memory;  /* [memory_slots][slot_floats], NULL without; see PeModule */
  const void         *data;    /* of data_bytes, which never change; NULL where the node has none */
  uint64_t            data_bytes;
  uint32_t            memory_slots;
  float               zero; /* what a module that `finishes` adds to all it puts out: -0, which changes nothing, or +0 */
  float               scale; /* what a module that `scales` multiplies all it puts out by, and adds +0; only where is_scaled */
  uint32_t            is_scaled;
  uint32_t            is_unchanged; /* a hint: since the last call no parameter was set, none moves, and no cable drives one */
} PeBlock;

/* ---- banks: one node of PE_LANES equal voices at once -------------------------------------------------------
 * Voice l is lane l. Audio is [frame][lane]. A module that has PeBankOps may be rendered so where no cable goes to a
 * parameter; its states stay where they are, one per voice. In `cache` it keeps what it derives from parameters and
 * states while they do not change: `refresh` is called for a lane before each run until it answers PE_LANE_STEADY,
 * and again after any change. While all lanes are steady their moving parts live in the cache too (`load`, `store`).
 * Positions and lengths of runs are multiples of PE_CELL_FRAMES. */

#define PE_LANES 16u            /* also the accumulators of a sum: DESIGN.md, same bits */
#define PE_CHUNK_FRAMES 64u     /* most frames in one run; a plan renders in steps of it */
#define PE_CELL_FRAMES 8u

/* Instruction sets that one binary holds, the plainest first. Their order is that of simd_each.h. */
#if defined(__x86_64__)
#define PE_ISAS 3u
#else
#define PE_ISAS 1u
#endif

#define PE_LANE_ALONE 0u        /* cannot be rendered in the bank this time: `process` does it */
#define PE_LANE_BANKED 1u       /* can this time; ask again next time */
#define PE_LANE_STEADY 2u       /* can, and from now on until something is changed */

PE_RT_INLINE uint32_t pe_lowest_lane(uint32_t lanes) { return (uint32_t)__builtin_ctz(lanes); }

typedef struct PeBankBlock {
  uint32_t            n_frames; /* PE_CELL_FRAMES to PE_CHUNK_FRAMES */
  uint32_t            lanes;    /* to be rendered; outputs of others may hold anything afterwards */
  uint32_t            is_bounded; /* what comes in lies within +-PE_SAMPLE_LIMIT */
  uint32_t            is_resident; /* all lanes' states are in the cache, and stay there */
  const float *const *inputs;   /* [n_inputs]; NULL where nothing is connected */
  float *const       *outputs;  /* [n_outputs]; never aliases an input */
  void *const        *states;   /* [PE_LANES], the modules' own */
  void               *cache;    /* cache_bytes, 64-byte aligned, zeroed at the start */
} PeBankBlock;

typedef struct PeBankTime { /* of a chunk, in frames of the plan's count */
  uint32_t position, n_frames, chunk_frames; /* the run lies between two multiples of chunk_frames, which divides PE_CHUNK_FRAMES */
} PeBankTime;

typedef struct PeBankOps {
  uint32_t cache_bytes;
  uint32_t is_free; /* `skip` may stand for any lane that nobody hears; otherwise only for silent ones */
  uint32_t (*refresh)(void *cache, uint32_t lane, void *state, const PeSmooth *params, const PeBankTime *time); /* PE_LANE_...; [rt] */
  uint32_t (*silent)(const void *cache, uint32_t silent_inputs); /* lanes that put out nothing but +0, given those whose inputs are +0 throughout; [rt] */
  void (*skip)(const PeBankBlock *block);                        /* advance lanes without output, by any number of frames; [rt & active] */
  void (*told)(void *cache, uint32_t lane, const void *state);   /* a steady lane was rendered by `process`; may be NULL; [rt] */
  void (*load)(void *cache, uint32_t lanes, void *const *states);  /* into the cache what changes from frame to frame; NULL where nothing does; [rt] */
  void (*store)(void *cache, uint32_t lanes, void *const *states); /* and back; [rt] */
} PeBankOps;

typedef struct PeModuleIsa { /* a module for one instruction set */
  void (*process)(void *state, const PeBlock *block);  /* [rt & active] */
  void (*process_bank)(const PeBankBlock *block);      /* NULL without PeBankOps; [rt & active] */
} PeModuleIsa;

typedef struct PeEventOps PeEventOps; /* event.h */

typedef struct PeModule {
  const char        *name;    /* "biquad_filter": the name patches and OSC use */
  const char        *help;    /* one sentence for listings */
  const char        *inputs;  /* port names separated by commas; "" for none */
  const char        *outputs;
  uint32_t           n_inputs, n_outputs, n_params;
  uint32_t           state_version;
  uint32_t           state_bytes;
  const PeParam     *params;
  const char        *data;    /* what a node may be given: "sample", "pattern"; NULL for nothing */
  PeStatus (*prepare)(void *state, double sample_rate_hz, uint32_t max_block_frames); /* fills zeroed memory; [setup] */
  void (*reset)(void *state);                                                       /* as after prepare; [rt] */
  void (*changed)(void *state, const PeSmooth *params, uint32_t param, int is_immediate); /* after a command set a parameter, also to the same value; may be NULL; [rt] */
  void (*open)(void *state, const PeSmooth *params);                                /* warm-up: gate open, envelope at sustain; may be NULL; [rt] */
  void (*process)(void *state, const PeBlock *block);                               /* [rt & active] */
  const PeModuleIsa *isa;                                                           /* [PE_ISAS]: process for each instruction set, the same bits; may be NULL */
  const PeBankOps   *bank;                                                          /* may be NULL */

  /* A memory too large for a state: a ring of slots, a power of two of them, NULL for none. The state begins with
   * `uint64_t count`, slots written so far; slot c lies at memory[c % slots * slot_floats] and is written once, in order.
   * What was never written may hold anything: it counts as 0. So a checkpoint copies no more than what is new. */
  uint32_t (*memory_slots)(double sample_rate_hz);                                  /* [setup] */
  uint32_t           slot_floats;

  /* Takes the inputs when all nodes have run, which then close no cycle. May be NULL. [rt & active] */
  void (*absorb)(void *state, const PeBlock *block);

  uint32_t           finishes; /* it has one output, adds PeBlock.zero to it, and puts out nothing that is not finite: where nothing else is heard it is the sum */
  uint32_t           scales;   /* it has one output, which stays within +-PE_SAMPLE_LIMIT, no input, and heeds PeBlock.is_scaled */
  /* Does it, for as long as nothing is set and no cable drives a parameter, do nothing but multiply its only input, limited to
   * +-PE_SAMPLE_LIMIT, by *scale and add +0, in any number of frames? Then a node that `scales` may do it. May be NULL. [rt] */
  int (*holds)(const void *state, float *scale);
  const PeEventOps  *events; /* it has no audio and no ports, but sets other nodes' parameters; `process` is not called; may be NULL */

  /* Does it put out nothing but +0 whatever comes in, for as long as its state stays as it is? NULL: never. [rt] */
  int (*is_closed)(const void *state, const PeSmooth *params);
} PeModule;

/* `prepare` of a module that is ready as it is zeroed. */
__attribute__((unused)) static PeStatus pe_prepare_nothing(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  (void)state;
  (void)sample_rate_hz;
  (void)max_block_frames;
  return PE_OK;
}

/* Value of a parameter i frames into the block, cables included, within [min, max]. NaN gives min. */
PE_RT_INLINE double pe_block_param(const PeBlock *b, uint32_t param, uint32_t i, double min, double max) {
  double v = pe_smooth_at(&b->params[param], i);
  if (b->mods[param]) v += (double)b->mods[param][i];
  v = v > min ? v : min; /* NaN too */
  return v < max ? v : max;
}

PE_RT_INLINE int pe_block_param_is_constant(const PeBlock *b, uint32_t param) {
  return !b->mods[param] && pe_smooth_is_settled(&b->params[param]);
}

/* A shared object that pe_registry_load takes exports this symbol:
 *     const PeModule *const pe_modules[] = { &my_module, NULL };
 * built against the same PE_MODULE_ABI, which it exports too as `const uint32_t pe_module_abi`. */
#define PE_MODULE_ABI 5u
#define PE_MODULE_MAX_PORTS 64u /* inputs and parameters together; and outputs */

#endif
