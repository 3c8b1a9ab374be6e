/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* hihat: six squares that have no pitch together, and noise, through two band-passes, fading:
 *
 *     y = velocity level bandpass(bandpass(LOUDNESS (1 - noise) sum of squares / 6 + noise white))
 *
 * The squares stand to each other as those of the TR-808 cymbal (205.3, 304.4, 369.6, 522.7, 540 and 800 Hz: Werner,
 * Abel, Smith, "The TR-808 cymbal: a physically-informed, circuit-bendable, digital model", ICMC 2014); their edges are
 * rounded by a polynomial over two frames (polyBLEP: Valimaki, Huovilainen, "Antialiasing oscillators in subtractive
 * synthesis", IEEE SPM 24 (2), 2007). One voice: whatever strikes last is heard, so `gate`, the closed one, chokes what
 * `open` struck. The squares and the noise stand still at rest and go on from strike to strike. */
#include "approx.h"
#include "drum.h"
#include "module.h"
#include "registry.h"
#include "values.h"

enum { FREQ, PITCH, DECAY, OPEN_DECAY, NOISE, CUTOFF, Q, GAIN, VELOCITY, SEED, GATE, OPEN, N_PARAMS };

#define N_SQUARES 6u
#define LOWEST_HZ 205.3
#define LOUDNESS 6.0 /* so that squares and noise are about as loud behind the band-passes at their defaults */

static const double ratios[N_SQUARES] = {1.0, 304.4 / LOWEST_HZ, 369.6 / LOWEST_HZ, 522.7 / LOWEST_HZ, 540.0 / LOWEST_HZ, 800.0 / LOWEST_HZ};

static const PeParam params[N_PARAMS] = {
  [FREQ] = {.name = "freq", .alias = "frequency", .unit = "Hz", .choices = "", .help = "Frequency of the lowest of the six squares",
            .min = 0.0, .max = 0.0, .default_value = LOWEST_HZ, .ramp_us = 10000,
            .flags = PE_PARAM_RAMPED | PE_PARAM_NYQUIST | PE_PARAM_CABLE},
  [PITCH] = PE_DRUM_PITCH,
  [DECAY] = {.name = "decay", .alias = "", .unit = "ms", .choices = "", .help = "Time in which it falls by 60 dB, closed",
             .min = 5.0, .max = 20000.0, .default_value = 120.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [OPEN_DECAY] = {.name = "open_decay", .alias = "", .unit = "ms", .choices = "", .help = "Time in which it falls by 60 dB, open",
                  .min = 5.0, .max = 20000.0, .default_value = 900.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [NOISE] = {.name = "noise", .alias = "", .unit = "", .choices = "", .help = "Part of the noise; the rest are the squares",
             .min = 0.0, .max = 1.0, .default_value = 0.3, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [CUTOFF] = {.name = "cutoff", .alias = "", .unit = "Hz", .choices = "", .help = "Centre of the band-passes",
              .min = 10.0, .max = 0.0, .default_value = 9000.0, .ramp_us = 10000,
              .flags = PE_PARAM_RAMPED | PE_PARAM_NYQUIST | PE_PARAM_CABLE},
  [Q] = {.name = "q", .alias = "resonance", .unit = "", .choices = "", .help = "Quality factor of each band-pass",
         .min = 0.3, .max = 20.0, .default_value = 1.0, .ramp_us = 25000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [GAIN] = PE_DRUM_GAIN,
  [VELOCITY] = PE_DRUM_VELOCITY,
  [SEED] = PE_DRUM_SEED,
  [GATE] = {.name = "gate", .alias = "", .unit = "", .choices = "",
            .help = "Strikes it closed, and chokes it, at each command 1 and at each rise of a cable to 0.5",
            .min = 0.0, .max = 1.0, .default_value = 0.0, .flags = PE_PARAM_GATE | PE_PARAM_CABLE},
  [OPEN] = {.name = "open", .alias = "", .unit = "", .choices = "",
            .help = "Strikes it open in the same way; with both at one frame it is closed",
            .min = 0.0, .max = 1.0, .default_value = 0.0, .flags = PE_PARAM_GATE | PE_PARAM_CABLE},
};

typedef struct Drum {
  PeDrum   drum;
  PeStrike closed, open;
  uint32_t is_open;
  uint32_t reserved;
  PeDrumNoise noise;
  uint32_t phase[N_SQUARES];    /* of the next frame, in turns x 2^32 */
  uint32_t increment[N_SQUARES];
  double   level;               /* the envelope at the next frame */
  double   freq_hz, pitch, decay_ms, open_ms, cutoff_hz, q; /* what these were computed for: */
  double   closed_keep, open_keep;
  PeDrumTuning tuning;
  PeDrumFilter first, second;
} Drum;
_Static_assert(sizeof(Drum) == sizeof(PeDrum) + 32 + 48 + 17 * sizeof(double), "no padding in a state");

static PeStatus hihat_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  Drum *s = state;
  (void)max_block_frames;
  *s = (Drum){.drum = pe_drum(sample_rate_hz), .freq_hz = -1.0};
  for (uint32_t k = 0; k < N_SQUARES; k++) s->phase[k] = k * 0x9e3779b9u; /* not all edges at once */
  return PE_OK;
}

static void hihat_reset(void *state) {
  const Drum *s = state;
  hihat_prepare(state, s->drum.sample_rate_hz, 0);
}

PE_RT static void hihat_changed(void *state, const PeSmooth *p, uint32_t param, int is_immediate) {
  Drum *s = state;
  (void)is_immediate;
  if (param == GATE) pe_strike_command(&s->closed, p[GATE].target);
  if (param == OPEN) pe_strike_command(&s->open, p[OPEN].target);
}

PE_RT_INLINE void strike(Drum *s, const PeSmooth *p, double velocity, uint32_t is_open) {
  pe_drum_struck(&s->drum, velocity);
  pe_drum_seed(&s->noise, pe_within(p[SEED].target, params[SEED].min, params[SEED].max));
  s->level = 1.0;
  s->is_open = is_open;
}

PE_RT static void hihat_open(void *state, const PeSmooth *p) {
  Drum *s = state;
  s->drum.is_forced = 1;
  strike(s, p, 1.0, 1);
}

PE_RT_INLINE double value_at(const PeBlock *b, uint32_t param, uint32_t i) {
  return pe_block_param(b, param, i, params[param].min, params[param].max);
}

PE_RT static void tune_squares(Drum *s) {
  const double lowest_hz = s->freq_hz * pe_exp2(s->pitch * (1.0 / 12.0));
  for (uint32_t k = 0; k < N_SQUARES; k++)
    s->increment[k] = (uint32_t)(pe_within(lowest_hz * ratios[k], 0.0, s->drum.max_hz) / s->drum.sample_rate_hz * 0x1p32);
}

/* Functions of the values alone: what is kept is what would be computed. */
PE_RT_INLINE void keep_settings(Drum *s, const PeBlock *b, uint32_t i) {
  const double freq_hz = pe_block_param(b, FREQ, i, params[FREQ].min, s->drum.max_hz), pitch = value_at(b, PITCH, i);
  const double cutoff_hz = pe_block_param(b, CUTOFF, i, params[CUTOFF].min, s->drum.max_hz), q = value_at(b, Q, i);
  const double decay_ms = value_at(b, DECAY, i), open_ms = value_at(b, OPEN_DECAY, i);
  const int is_tuned = freq_hz == s->freq_hz && pitch == s->pitch, is_filter_tuned = cutoff_hz == s->cutoff_hz && q == s->q;
  s->freq_hz = freq_hz;
  s->pitch = pitch;
  s->cutoff_hz = cutoff_hz;
  s->q = q;
  if (!is_tuned) tune_squares(s);
  if (!is_filter_tuned) s->tuning = pe_drum_tuned(cutoff_hz, q, s->drum.sample_rate_hz);
  if (decay_ms != s->decay_ms) s->closed_keep = pe_decay_60_db(decay_ms, s->drum.sample_rate_hz);
  if (open_ms != s->open_ms) s->open_keep = pe_decay_60_db(open_ms, s->drum.sample_rate_hz);
  s->decay_ms = decay_ms;
  s->open_ms = open_ms;
}

/* What rounds an edge from -1 to 1 that came `turns` ago, or comes in 1 - turns; a frame is `per_frame` turns. */
PE_RT_INLINE double rounding(uint32_t turns, uint32_t per_frame) {
  if (turns < per_frame) {
    const double x = (double)turns / (double)per_frame;
    return x + x - x * x - 1.0;
  }
  const uint32_t to_come = 0u - turns;
  if (to_come <= per_frame && to_come != 0) {
    const double x = (double)to_come / (double)per_frame;
    return x * x - x - x + 1.0;
  }
  return 0.0;
}

PE_RT_INLINE double squares(Drum *s) {
  double sum = 0.0;
  for (uint32_t k = 0; k < N_SQUARES; k++) {
    const uint32_t phase = s->phase[k], per_frame = s->increment[k];
    sum += (phase < 0x80000000u ? 1.0 : -1.0) + rounding(phase, per_frame) - rounding(phase + 0x80000000u, per_frame);
    s->phase[k] = phase + per_frame;
  }
  return sum * (1.0 / N_SQUARES);
}

PE_RT_INLINE double frame(Drum *s, const PeBlock *b, uint32_t i) {
  const double part = value_at(b, NOISE, i), metal = squares(s);
  double high;
  double x = LOUDNESS * (1.0 - part) * metal + part * pe_noise(&s->noise.next);
  x = pe_drum_filtered(&s->first, &s->tuning, x, &high);
  x = pe_drum_filtered(&s->second, &s->tuning, x, &high);
  const double y = s->drum.velocity * s->level * x;
  s->level *= s->is_open ? s->open_keep : s->closed_keep;
  return y;
}

PE_RT_INLINE int is_faint(const Drum *s) { return s->level < PE_DRUM_REST; }

PE_RT_INLINE void rest(Drum *s) {
  s->level = 0.0;
  s->first = s->second = (PeDrumFilter){0.0, 0.0};
}

PE_RT_INLINE void strike_at(Drum *s, const PeBlock *b, uint32_t i) {
  const int is_closed = pe_strike_at(&s->closed, b->mods[GATE], i), is_open = pe_strike_at(&s->open, b->mods[OPEN], i);
  if (is_closed || is_open) strike(s, b->params, value_at(b, VELOCITY, i), is_closed ? 0 : 1);
}

PE_RT_INLINE uint32_t next_strike(Drum *s, const PeBlock *b, uint32_t i) {
  return pe_strike_next_of_2(&s->closed, b->mods[GATE], &s->open, b->mods[OPEN], i, b->n_frames);
}

#include "drum_run.h"

const PeModule pe_module_hihat = {
  .name = "hihat", .help = "Hi-hat: metal and noise through band-passes; struck closed by gate, which chokes, and open by open",
  .inputs = "", .outputs = "out",
  .n_inputs = 0, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 2, .state_bytes = sizeof(Drum), .params = params,
  .prepare = hihat_prepare, .reset = hihat_reset, .changed = hihat_changed, .open = hihat_open,
  .process = drum_process,
};
