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
  [PITCH] = {.name = "pitch", .alias = "", .unit = "semitones", .choices = "", .help = "Moves the frequency: 12 doubles it",
             .min = -120.0, .max = 120.0, .default_value = 0.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [TONE_DECAY] = {.name = "tone_decay", .alias = "", .unit = "ms", .choices = "", .help = "Time in which the tones fall by 60 dB",
                  .min = 10.0, .max = 20000.0, .default_value = 200.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [DECAY] = {.name = "decay", .alias = "", .unit = "ms", .choices = "", .help = "Time in which the noise falls by 60 dB",
             .min = 10.0, .max = 20000.0, .default_value = 300.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [NOISE] = {.name = "noise", .alias = "", .unit = "", .choices = "", .help = "Part of the noise; the rest are the tones",
             .min = 0.0, .max = 1.0, .default_value = 0.5, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [CUTOFF] = {.name = "cutoff", .alias = "", .unit = "Hz", .choices = "", .help = "Frequency below which the noise has little",
              .min = 10.0, .max = 0.0, .default_value = 1500.0, .ramp_us = 10000,
              .flags = PE_PARAM_RAMPED | PE_PARAM_NYQUIST | PE_PARAM_CABLE},
  [GAIN] = {.name = "gain", .alias = "", .unit = "", .choices = "", .help = "Linear factor of the output",
            .min = 0.0, .max = 16.0, .default_value = 0.5, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [VELOCITY] = {.name = "velocity", .alias = "", .unit = "", .choices = "", .help = "Linear factor of a strike, taken when it comes",
                .min = 0.0, .max = 1.0, .default_value = 1.0, .flags = PE_PARAM_CABLE},
  [SEED] = {.name = "seed", .alias = "", .unit = "", .choices = "", .help = "Where the noise begins; a change shows with the next strike",
            .min = 0.0, .max = 65535.0, .default_value = 0.0, .flags = PE_PARAM_INTEGER},
  [GATE] = {.name = "gate", .alias = "", .unit = "", .choices = "", .help = "Strikes at each command 1, and at each rise of a cable to 0.5",
            .min = 0.0, .max = 1.0, .default_value = 0.0, .flags = PE_PARAM_GATE | PE_PARAM_CABLE},
};

typedef struct Snare {
  PeStrike strike;
  uint32_t is_sounding;
  uint32_t is_forced; /* warm-up: strikes are heard, whatever the velocity */
  PeDrumNoise noise;
  uint64_t phase[2];  /* of the next frame, in turns x 2^64 */
  double   sample_rate_hz, max_hz, tail_keep, sweep_keep;
  double   turns_per_hz;                  /* 2^64 / sample rate */
  double   velocity, tone_level, noise_level, sweep; /* of the strike; envelopes at the next frame */
  double   newest, tail;                  /* the newest frame before its gain; what fades of the strike before */
  double   tone_ms, noise_ms, cutoff_hz;  /* what these were computed for: */
  double   tone_keep, noise_keep;
  PeDrumTuning tuning;
  PeDrumFilter filter;
} Snare;
_Static_assert(sizeof(Snare) == 24 + 16 + 22 * sizeof(double), "no padding in a state");

static PeStatus snare_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  Snare *s = state;
  (void)max_block_frames;
  *s = (Snare){.sample_rate_hz = sample_rate_hz, .max_hz = 0.5 * sample_rate_hz - 10.0, .turns_per_hz = 0x1p64 / sample_rate_hz};
  s->tail_keep = pe_decay_1_e(PE_DRUM_TAIL_MS, sample_rate_hz);
  s->sweep_keep = pe_decay_1_e(SWEEP_MS, sample_rate_hz);
  return PE_OK;
}

static void snare_reset(void *state) {
  const Snare *s = state;
  snare_prepare(state, s->sample_rate_hz, 0);
}

PE_RT static void snare_changed(void *state, const PeSmooth *p, uint32_t param, int is_immediate) {
  Snare *s = state;
  (void)is_immediate;
  if (param == GATE) pe_strike_command(&s->strike, p[GATE].target);
}

PE_RT_INLINE void strike(Snare *s, const PeSmooth *p, double velocity) {
  pe_drum_seed(&s->noise, pe_within(p[SEED].target, params[SEED].min, params[SEED].max));
  s->velocity = s->is_forced ? 1.0 : velocity;
  s->tone_level = s->noise_level = s->sweep = 1.0;
  s->phase[0] = s->phase[1] = 0;
  s->tail = s->newest;
  s->is_sounding = 1;
}

PE_RT static void snare_open(void *state, const PeSmooth *p) {
  Snare *s = state;
  s->is_forced = 1;
  strike(s, p, 1.0);
}

PE_RT_INLINE double value_at(const PeBlock *b, uint32_t param, uint32_t i) {
  return pe_block_param(b, param, i, params[param].min, params[param].max);
}

/* Functions of the values alone: what is kept is what would be computed. */
PE_RT_INLINE void keep_settings(Snare *s, const PeBlock *b, uint32_t i) {
  const double tone_ms = value_at(b, TONE_DECAY, i), noise_ms = value_at(b, DECAY, i);
  const double cutoff_hz = pe_block_param(b, CUTOFF, i, params[CUTOFF].min, s->max_hz);
  if (tone_ms != s->tone_ms) s->tone_keep = pe_decay_60_db(tone_ms, s->sample_rate_hz);
  if (noise_ms != s->noise_ms) s->noise_keep = pe_decay_60_db(noise_ms, s->sample_rate_hz);
  if (cutoff_hz != s->cutoff_hz) s->tuning = pe_drum_tuned(cutoff_hz, FILTER_Q, s->sample_rate_hz);
  s->tone_ms = tone_ms;
  s->noise_ms = noise_ms;
  s->cutoff_hz = cutoff_hz;
}

PE_RT_INLINE uint64_t increment_of(const Snare *s, double freq_hz) {
  return (uint64_t)(int64_t)(pe_within(freq_hz, 0.0, s->max_hz) * s->turns_per_hz);
}

PE_RT_INLINE float frame(Snare *s, const PeBlock *b, uint32_t i) {
  const double octaves = value_at(b, PITCH, i) * (1.0 / 12.0) + SWEEP_OCTAVES * s->sweep;
  const double freq_hz = pe_block_param(b, FREQ, i, params[FREQ].min, s->max_hz) * pe_exp2(octaves);
  const double tones = 0.6 * (double)pe_sin_phase(s->phase[0]) + 0.4 * (double)pe_sin_phase(s->phase[1]);
  const double part = value_at(b, NOISE, i);
  double wires;
  pe_drum_filtered(&s->filter, &s->tuning, pe_noise(&s->noise.next), &wires);
  s->newest = s->velocity * ((1.0 - part) * s->tone_level * tones + part * s->noise_level * wires) + s->tail;
  s->phase[0] += increment_of(s, freq_hz);
  s->phase[1] += increment_of(s, freq_hz * SECOND_RATIO);
  s->tone_level *= s->tone_keep;
  s->noise_level *= s->noise_keep;
  s->sweep *= s->sweep_keep;
  s->tail *= s->tail_keep;
  return pe_limited(value_at(b, GAIN, i) * s->newest);
}

PE_RT_INLINE void rest(Snare *s) {
  s->is_sounding = 0;
  s->newest = s->tail = s->tone_level = s->noise_level = 0.0;
  s->filter = (PeDrumFilter){0.0, 0.0};
}

/* From frame i to frame `end`, between two strikes. */
PE_RT static void run(Snare *s, const PeBlock *b, int is_still, uint32_t i, uint32_t end) {
  float *out = b->outputs[0];
  if (s->is_sounding && is_still) keep_settings(s, b, i);
  for (; i < end && s->is_sounding; i++) {
    if (!is_still) keep_settings(s, b, i);
    out[i] = frame(s, b, i);
    if (s->tone_level < PE_DRUM_REST && s->noise_level < PE_DRUM_REST && pe_is_near_0(s->tail)) rest(s);
  }
  if (i < end) memset(out + i, 0, (end - i) * sizeof *out);
}

PE_RT static void snare_process(void *state, const PeBlock *b) {
  Snare *s = state;
  const float *gate = b->mods[GATE];
  const int is_still = pe_block_is_still(b, VELOCITY);
  for (uint32_t i = 0, end; i < b->n_frames; i = end) {
    if (pe_strike_at(&s->strike, gate, i)) strike(s, b->params, value_at(b, VELOCITY, i));
    end = pe_strike_next(&s->strike, gate, i, b->n_frames);
    run(s, b, is_still, i, end);
  }
}

const PeModule pe_module_snare = {
  .name = "snare", .help = "Snare drum: two tones and seeded noise; struck by its gate",
  .inputs = "", .outputs = "out",
  .n_inputs = 0, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Snare), .params = params,
  .prepare = snare_prepare, .reset = snare_reset, .changed = snare_changed, .open = snare_open,
  .process = snare_process,
};
