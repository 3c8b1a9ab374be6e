/* The table of descriptors: one row per module, nothing else. */
#include "registry.h"

const PeModule *const pe_shipped_modules[] = {
  &pe_module_sine,
  &pe_module_adsr,
  &pe_module_biquad,
  &pe_module_feedback,
  &pe_module_clock,
  &pe_module_seq,
  &pe_module_voices,
  &pe_module_gain,
  &pe_module_mixer,
  &pe_module_pan,
  &pe_module_noise,
  &pe_module_lfo,
  &pe_module_osc,
  &pe_module_slew,
  &pe_module_sample_hold,
  &pe_module_drive,
  &pe_module_svf,
  &pe_module_kick,
  &pe_module_limiter,
  &pe_module_delay,
  &pe_module_pluck,
  &pe_module_reverb,
  &pe_module_sampler,
  &pe_module_compressor,
  &pe_module_snare,
  &pe_module_hihat,
};

const uint32_t pe_n_shipped_modules = sizeof pe_shipped_modules / sizeof pe_shipped_modules[0];
