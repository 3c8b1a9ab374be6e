/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* snare: two tones of a membrane and the noise of the wires, each with its own decay:
 *
 *     y = velocity ((1 - noise) tone_level (0.6 sin(phase 1) + 0.4 sin(phase 2)) + noise noise_level highpass(white))
 *
 * The tones stand as 180 to 330 Hz and begin half an octave higher. The noise goes on from strike to strike, as a function of the seed: no two strikes
 * are equal, and every run is. */
#include "approx.h"
#include "drum.h"
#include "module.h"
#include "registry.h"
#include "values.h"

enum { FREQ, PITCH, TONE_DECAY, DECAY, NOISE, CUTOFF, GAIN, VELOCITY, SEED, GATE, N_PARAMS };

#define SECOND_RATIO (330.0 / 180.0)
#define SWEEP_OCTAVES 0.5
#define SWEEP_MS 6.0 /* to 1/e */
#define FILTER_Q 0.7071067811865476

static const PeParam params[N_PARAMS] = {
  [FREQ] = {.name = "freq", .alias = "frequency", .unit = "Hz", .choices = "", .help = "Frequency of the lower tone",
            .min = 0.0, .max = 0.0, .default_value = 180.0, .ramp_us = 10000,
            .flags = PE_PARAM_RAMPED | PE_PARAM_NYQUIST | PE_PARAM_CABLE},
  [PITCH] = PE_DRUM_PITCH,
  [TONE_DECAY] = {.name = "tone_decay", .alias = "", .unit = "ms", .choices = "", .help = "Time in which the tones fall by 60 dB",
                  .min = 10.0, .max = 20000.0, .default_value = 200.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [DECAY] = {.name = "decay", .alias = "", .unit = "ms", .choices = "", .help = "Time in which the noise falls by 60 dB",
             .min = 10.0, .max = 20000.0, .default_value = 300.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [NOISE] = {.name = "noise", .alias = "", .unit = "", .choices = "", .help = "Part of the noise; the rest are the tones",
             .min = 0.0, .max = 1.0, .default_value = 0.5, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [CUTOFF] = {.name = "cutoff", .alias = "", .unit = "Hz", .choices = "", .help = "Frequency below which the noise has little",
              .min = 10.0, .max = 0.0, .default_value = 1500.0, .ramp_us = 10000,
              .flags = PE_PARAM_RAMPED | PE_PARAM_NYQUIST | PE_PARAM_CABLE},
  [GAIN] = PE_DRUM_GAIN,
  [VELOCITY] = PE_DRUM_VELOCITY,
  [SEED] = PE_DRUM_SEED,
  [GATE] = PE_DRUM_GATE,
};

typedef struct Drum {
  PeDrum   drum;
  PeStrike strike;
  PeDrumNoise noise;
  uint64_t phase[2];  /* of the next frame, in turns x 2^64 */
  double   sweep_keep;
  double   turns_per_hz;                  /* 2^64 / sample rate */
  double   tone_level, noise_level, sweep; /* envelopes at the next frame */
  double   tone_ms, noise_ms, cutoff_hz;  /* what these were computed for: */
  double   tone_keep, noise_keep;
  PeDrumTuning tuning;
  PeDrumFilter filter;
} Drum;
_Static_assert(sizeof(Drum) == sizeof(PeDrum) + 16 + 18 * sizeof(double), "no padding in a state");

static PeStatus snare_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  Drum *s = state;
  (void)max_block_frames;
  *s = (Drum){.drum = pe_drum(sample_rate_hz), .turns_per_hz = 0x1p64 / sample_rate_hz};
  s->sweep_keep = pe_decay_1_e(SWEEP_MS, sample_rate_hz);
  return PE_OK;
}

static void snare_reset(void *state) {
  const Drum *s = state;
  snare_prepare(state, s->drum.sample_rate_hz, 0);
}

PE_RT static void snare_changed(void *state, const PeSmooth *p, uint32_t param, int is_immediate) {
  Drum *s = state;
  (void)is_immediate;
  if (param == GATE) pe_strike_command(&s->strike, p[GATE].target);
}

PE_RT_INLINE void strike(Drum *s, const PeSmooth *p, double velocity) {
  pe_drum_struck(&s->drum, velocity);
  pe_drum_seed(&s->noise, pe_within(p[SEED].target, params[SEED].min, params[SEED].max));
  s->tone_level = s->noise_level = s->sweep = 1.0;
  s->phase[0] = s->phase[1] = 0;
}

PE_RT static void snare_open(void *state, const PeSmooth *p) {
  Drum *s = state;
  s->drum.is_forced = 1;
  strike(s, p, 1.0);
}

PE_RT_INLINE double value_at(const PeBlock *b, uint32_t param, uint32_t i) {
  return pe_block_param(b, param, i, params[param].min, params[param].max);
}

/* Functions of the values alone: what is kept is what would be computed. */
PE_RT_INLINE void keep_settings(Drum *s, const PeBlock *b, uint32_t i) {
  const double tone_ms = value_at(b, TONE_DECAY, i), noise_ms = value_at(b, DECAY, i);
  const double cutoff_hz = pe_block_param(b, CUTOFF, i, params[CUTOFF].min, s->drum.max_hz);
  if (tone_ms != s->tone_ms) s->tone_keep = pe_decay_60_db(tone_ms, s->drum.sample_rate_hz);
  if (noise_ms != s->noise_ms) s->noise_keep = pe_decay_60_db(noise_ms, s->drum.sample_rate_hz);
  if (cutoff_hz != s->cutoff_hz) s->tuning = pe_drum_tuned(cutoff_hz, FILTER_Q, s->drum.sample_rate_hz);
  s->tone_ms = tone_ms;
  s->noise_ms = noise_ms;
  s->cutoff_hz = cutoff_hz;
}

PE_RT_INLINE double frame(Drum *s, const PeBlock *b, uint32_t i) {
  const double octaves = value_at(b, PITCH, i) * (1.0 / 12.0) + SWEEP_OCTAVES * s->sweep;
  const double freq_hz = pe_block_param(b, FREQ, i, params[FREQ].min, s->drum.max_hz) * pe_exp2(octaves);
  const double tones = 0.6 * (double)pe_sin_phase(s->phase[0]) + 0.4 * (double)pe_sin_phase(s->phase[1]);
  const double part = value_at(b, NOISE, i);
  double wires;
  pe_drum_filtered(&s->filter, &s->tuning, pe_noise(&s->noise.next), &wires);
  const double y = s->drum.velocity * ((1.0 - part) * s->tone_level * tones + part * s->noise_level * wires);
  s->phase[0] += pe_drum_increment(&s->drum, freq_hz, s->turns_per_hz);
  s->phase[1] += pe_drum_increment(&s->drum, freq_hz * SECOND_RATIO, s->turns_per_hz);
  s->tone_level *= s->tone_keep;
  s->noise_level *= s->noise_keep;
  s->sweep *= s->sweep_keep;
  return y;
}

PE_RT_INLINE int is_faint(const Drum *s) { return s->tone_level < PE_DRUM_REST && s->noise_level < PE_DRUM_REST; }

PE_RT_INLINE void rest(Drum *s) {
  s->tone_level = s->noise_level = 0.0;
  s->filter = (PeDrumFilter){0.0, 0.0};
}

PE_RT_INLINE void strike_at(Drum *s, const PeBlock *b, uint32_t i) {
  if (pe_strike_at(&s->strike, b->mods[GATE], i)) strike(s, b->params, value_at(b, VELOCITY, i));
}

PE_RT_INLINE uint32_t next_strike(Drum *s, const PeBlock *b, uint32_t i) { return pe_strike_next(&s->strike, b->mods[GATE], i, b->n_frames); }

#include "drum_run.h"

const PeModule pe_module_snare = {
  .name = "snare", .help = "Snare drum: two tones and seeded noise; struck by its gate",
  .inputs = "", .outputs = "out",
  .n_inputs = 0, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 2, .state_bytes = sizeof(Drum), .params = params,
  .prepare = snare_prepare, .reset = snare_reset, .changed = snare_changed, .open = snare_open,
  .process = drum_process,
};
