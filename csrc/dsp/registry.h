/* The modules that are compiled in. */
#ifndef PE_DSP_REGISTRY_H
#define PE_DSP_REGISTRY_H

#include "module.h"

extern const PeModule pe_module_sine;
extern const PeModule pe_module_adsr;
extern const PeModule pe_module_biquad;
extern const PeModule pe_module_feedback;
extern const PeModule pe_module_clock;
extern const PeModule pe_module_seq;
extern const PeModule pe_module_voices;
extern const PeModule pe_module_gain;
extern const PeModule pe_module_mixer;
extern const PeModule pe_module_pan;
extern const PeModule pe_module_noise;
extern const PeModule pe_module_lfo;
extern const PeModule pe_module_osc;
extern const PeModule pe_module_slew;
extern const PeModule pe_module_sample_hold;
extern const PeModule pe_module_drive;
extern const PeModule pe_module_svf;
extern const PeModule pe_module_kick;
extern const PeModule pe_module_limiter;
extern const PeModule pe_module_delay;
extern const PeModule pe_module_pluck;
extern const PeModule pe_module_reverb;
extern const PeModule pe_module_sampler;
extern const PeModule pe_module_compressor;
extern const PeModule pe_module_snare;
extern const PeModule pe_module_hihat;

extern const PeModule *const pe_shipped_modules[];
extern const uint32_t pe_n_shipped_modules;

#endif
