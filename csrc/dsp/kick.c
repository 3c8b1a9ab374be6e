/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* kick: a bass drum. A sine falls from `sweep` octaves above its pitch and fades, with a click in front:
 *
 *     y = velocity (driven(sin(phase) level) + click noise click_level)
 *     frequency = freq 2^(pitch / 12 + sweep sweep_level),  each level exponential from 1 at the strike
 *
 * (the circuit of the TR-808 in its outline: Werner, Abel, Smith, "A physically-informed, circuit-bendable, digital
 * model of the Roland TR-808 bass drum circuit", DAFx 2014). A strike begins at phase 0; what sounded just before is
 * not cut off but fades within some milliseconds, so that striking again makes no click of its own. */
#include "approx.h"
#include "drum.h"
#include "module.h"
#include "registry.h"
#include "values.h"

enum { FREQ, PITCH, SWEEP, SWEEP_TIME, DECAY, CLICK, DRIVE, GAIN, VELOCITY, GATE, N_PARAMS };

#define CLICK_MS 2.0 /* to 1/e */

static const PeParam params[N_PARAMS] = {
  [FREQ] = {.name = "freq", .alias = "frequency", .unit = "Hz", .choices = "", .help = "Frequency it comes to rest at",
            .min = 0.0, .max = 0.0, .default_value = 50.0, .ramp_us = 10000,
            .flags = PE_PARAM_TUNES | PE_PARAM_RAMPED | PE_PARAM_NYQUIST | PE_PARAM_CABLE},
  [PITCH] = {.name = "pitch", .alias = "", .unit = "semitones", .choices = "", .help = "Moves the frequency: 12 doubles it",
             .min = -120.0, .max = 120.0, .default_value = 0.0, .ramp_us = 10000, .flags = PE_PARAM_TUNES | PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [SWEEP] = {.name = "sweep", .alias = "", .unit = "octaves", .choices = "", .help = "How far above it begins",
             .min = 0.0, .max = 10.0, .default_value = 2.5, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [SWEEP_TIME] = {.name = "sweep_time", .alias = "", .unit = "ms", .choices = "", .help = "Time in which the sweep falls to 1/e",
                  .min = 1.0, .max = 1000.0, .default_value = 25.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [DECAY] = {.name = "decay", .alias = "", .unit = "ms", .choices = "", .help = "Time in which the sound falls by 60 dB",
             .min = 10.0, .max = 20000.0, .default_value = 500.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [CLICK] = {.name = "click", .alias = "", .unit = "", .choices = "", .help = "Level of the noise that the strike begins with",
             .min = 0.0, .max = 1.0, .default_value = 0.2, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [DRIVE] = {.name = "drive", .alias = "", .unit = "dB", .choices = "", .help = "Saturation: how much is added to the quiet parts",
             .min = 0.0, .max = 40.0, .default_value = 6.0, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [GAIN] = PE_DRUM_GAIN,
  [VELOCITY] = PE_DRUM_VELOCITY,
  [GATE] = PE_DRUM_GATE,
};

typedef struct Drum {
  PeDrum   drum;
  PeStrike strike;
  uint32_t seed;      /* of the click's noise, anew with each strike */
  uint32_t reserved;
  uint64_t phase;     /* of the next frame, in turns x 2^64 */
  double   click_keep;
  double   turns_per_hz;                  /* 2^64 / sample rate */
  double   level, sweep, click;           /* envelopes at the next frame */
  double   decay_ms, sweep_ms, drive_db;  /* what these were computed for: */
  double   level_keep, sweep_keep, drive;
} Drum;
_Static_assert(sizeof(Drum) == sizeof(PeDrum) + 24 + 11 * sizeof(double), "no padding in a state");

static PeStatus kick_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  Drum *s = state;
  (void)max_block_frames;
  *s = (Drum){.drum = pe_drum(sample_rate_hz), .turns_per_hz = 0x1p64 / sample_rate_hz, .drive_db = -1.0};
  s->click_keep = pe_decay_1_e(CLICK_MS, sample_rate_hz);
  return PE_OK;
}

static void kick_reset(void *state) {
  const Drum *s = state;
  kick_prepare(state, s->drum.sample_rate_hz, 0);
}

PE_RT static void kick_changed(void *state, const PeSmooth *p, uint32_t param, int is_immediate) {
  Drum *s = state;
  (void)is_immediate;
  if (param == GATE) pe_strike_command(&s->strike, p[GATE].target);
}

PE_RT_INLINE void strike(Drum *s, double velocity) {
  pe_drum_struck(&s->drum, velocity);
  s->level = s->sweep = s->click = 1.0;
  s->phase = 0;
  s->seed = 0;
}

PE_RT static void kick_open(void *state, const PeSmooth *p) {
  Drum *s = state;
  (void)p;
  s->drum.is_forced = 1;
  strike(s, 1.0);
}

PE_RT_INLINE double value_at(const PeBlock *b, uint32_t param, uint32_t i) {
  return pe_block_param(b, param, i, params[param].min, params[param].max);
}

/* Functions of the values alone: what is kept is what would be computed. */
PE_RT_INLINE void keep_settings(Drum *s, const PeBlock *b, uint32_t i) {
  const double decay_ms = value_at(b, DECAY, i), sweep_ms = value_at(b, SWEEP_TIME, i), drive_db = value_at(b, DRIVE, i);
  if (decay_ms != s->decay_ms) s->level_keep = pe_decay_60_db(decay_ms, s->drum.sample_rate_hz);
  if (sweep_ms != s->sweep_ms) s->sweep_keep = pe_decay_1_e(sweep_ms, s->drum.sample_rate_hz);
  if (drive_db != s->drive_db) s->drive = pe_gain_of_db(drive_db) - 1.0;
  s->decay_ms = decay_ms;
  s->sweep_ms = sweep_ms;
  s->drive_db = drive_db;
}

PE_RT_INLINE double frame(Drum *s, const PeBlock *b, uint32_t i) {
  const double freq_hz = pe_block_param(b, FREQ, i, params[FREQ].min, s->drum.max_hz);
  const double octaves = value_at(b, PITCH, i) * (1.0 / 12.0) + value_at(b, SWEEP, i) * s->sweep;
  const double body = pe_driven((double)pe_sin_phase(s->phase) * s->level, s->drive);
  const double click = value_at(b, CLICK, i) * s->click * pe_noise(&s->seed);
  s->phase += pe_drum_increment(&s->drum, freq_hz * pe_exp2(octaves), s->turns_per_hz);
  s->level *= s->level_keep;
  s->sweep *= s->sweep_keep;
  s->click *= s->click_keep;
  return s->drum.velocity * (body + click);
}

PE_RT_INLINE int is_faint(const Drum *s) { return s->level < PE_DRUM_REST && s->click < PE_DRUM_REST; }

PE_RT_INLINE void rest(Drum *s) { s->level = 0.0; }

PE_RT_INLINE void strike_at(Drum *s, const PeBlock *b, uint32_t i) {
  if (pe_strike_at(&s->strike, b->mods[GATE], i)) strike(s, value_at(b, VELOCITY, i));
}

PE_RT_INLINE uint32_t next_strike(Drum *s, const PeBlock *b, uint32_t i) { return pe_strike_next(&s->strike, b->mods[GATE], i, b->n_frames); }

#include "drum_run.h"

const PeModule pe_module_kick = {
  .name = "kick", .help = "Bass drum: a sine that falls and fades, with a click; struck by its gate",
  .inputs = "", .outputs = "out",
  .n_inputs = 0, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 2, .state_bytes = sizeof(Drum), .params = params,
  .prepare = kick_prepare, .reset = kick_reset, .changed = kick_changed, .open = kick_open,
  .process = drum_process,
};
