/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* compressor: feed-forward, in decibels (D. Giannoulis, M. Massberg, J. D. Reiss, "Digital Dynamic Range Compressor
 * Design - A Tutorial and Analysis", JAES 60 (6), 2012): the level is the peak of both sides, or of the side chain; the
 * static curve has a quadratic knee (their eq. 4); what it takes away passes a smooth decoupled peak detector (eq. 17),
 * which falls by `release` and then follows by `attack`, both to 1/e; both sides get the same gain. */
#include "approx.h"
#include "module.h"
#include "registry.h"
#include "values.h"

enum { THRESHOLD, RATIO, KNEE, ATTACK, RELEASE, MAKEUP, MIX, N_PARAMS };
enum { LEFT, RIGHT, SIDECHAIN };

#define DB_PER_OCTAVE 6.020599913279624 /* 20 log10(2) */
#define LEAST_DB 1e-7                   /* a gain within this of none is none */

static const PeParam params[N_PARAMS] = {
  [THRESHOLD] = {.name = "threshold", .alias = "", .unit = "dB", .choices = "", .help = "Level above which it compresses",
                 .min = -80.0, .max = 20.0, .default_value = -18.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [RATIO] = {.name = "ratio", .alias = "", .unit = "", .choices = "", .help = "By how many dB the input rises for 1 dB of the output",
             .min = 1.0, .max = 100.0, .default_value = 4.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [KNEE] = {.name = "knee", .alias = "", .unit = "dB", .choices = "", .help = "Width around the threshold in which the ratio comes in",
            .min = 0.0, .max = 48.0, .default_value = 6.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [ATTACK] = {.name = "attack", .alias = "", .unit = "ms", .choices = "", .help = "Time in which the gain goes down, but for 1/e",
              .min = 0.0, .max = 1000.0, .default_value = 10.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [RELEASE] = {.name = "release", .alias = "", .unit = "ms", .choices = "", .help = "Time in which it comes back, but for 1/e",
               .min = 1.0, .max = 5000.0, .default_value = 100.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [MAKEUP] = {.name = "makeup", .alias = "", .unit = "dB", .choices = "", .help = "Gain behind it",
              .min = -24.0, .max = 48.0, .default_value = 0.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [MIX] = {.name = "mix", .alias = "", .unit = "", .choices = "", .help = "Part of the compressed sound; the rest is the input",
           .min = 0.0, .max = 1.0, .default_value = 1.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
};

typedef struct Compressor {
  double sample_rate_hz;
  double peak_db, taken_db;  /* of the detector: before and behind the attack */
  double threshold_db, knee_db, attack_ms, release_ms, makeup_db; /* what these were computed for: */
  double least;              /* peaks below it are below the knee */
  double attack_keep, release_keep, makeup;
} Compressor;
_Static_assert(sizeof(Compressor) == 12 * sizeof(double), "no padding in a state");

static PeStatus compressor_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  Compressor *s = state;
  (void)max_block_frames;
  *s = (Compressor){.sample_rate_hz = sample_rate_hz, .knee_db = -1.0, .attack_ms = -1.0, .release_ms = -1.0, .makeup_db = -1000.0};
  return PE_OK;
}

static void compressor_reset(void *state) {
  const Compressor *s = state;
  compressor_prepare(state, s->sample_rate_hz, 0);
}

PE_RT_INLINE double value_at(const PeBlock *b, uint32_t param, uint32_t i) {
  return pe_block_param(b, param, i, params[param].min, params[param].max);
}

typedef struct Settings { /* of one frame, beside what the state keeps */
  double slope, mix;
} Settings;

/* Functions of the values alone: what is kept is what would be computed. */
PE_RT_INLINE Settings keep_settings(Compressor *s, const PeBlock *b, uint32_t i) {
  const double threshold_db = value_at(b, THRESHOLD, i), knee_db = value_at(b, KNEE, i), makeup_db = value_at(b, MAKEUP, i);
  const double attack_ms = value_at(b, ATTACK, i), release_ms = value_at(b, RELEASE, i);
  if (threshold_db != s->threshold_db || knee_db != s->knee_db) s->least = pe_gain_of_db(threshold_db - 0.5 * knee_db);
  if (attack_ms != s->attack_ms) s->attack_keep = attack_ms > 0.0 ? pe_decay_1_e(attack_ms, s->sample_rate_hz) : 0.0;
  if (release_ms != s->release_ms) s->release_keep = pe_decay_1_e(release_ms, s->sample_rate_hz);
  if (makeup_db != s->makeup_db) s->makeup = pe_gain_of_db(makeup_db);
  s->threshold_db = threshold_db;
  s->knee_db = knee_db;
  s->attack_ms = attack_ms;
  s->release_ms = release_ms;
  s->makeup_db = makeup_db;
  return (Settings){.slope = 1.0 - 1.0 / value_at(b, RATIO, i), .mix = value_at(b, MIX, i)};
}

/* What the static curve takes from a peak, in dB. */
PE_RT_INLINE double curve_db(const Compressor *s, double slope, double peak) {
  if (peak <= s->least) return 0.0;
  const double over = DB_PER_OCTAVE * pe_log2(peak) - s->threshold_db, into_knee = over + 0.5 * s->knee_db;
  if (over + over < s->knee_db) return into_knee > 0.0 ? slope * (into_knee * into_knee) / (2.0 * s->knee_db) : 0.0;
  return over > 0.0 ? slope * over : 0.0;
}

PE_RT_INLINE double detected(double now, double before, double keep) {
  const double v = now + (before - now) * keep;
  return v > LEAST_DB ? v : 0.0;
}

/* The gain of the next frame. */
PE_RT_INLINE double gain_after(Compressor *s, const Settings *set, double peak) {
  const double now_db = curve_db(s, set->slope, peak), released_db = detected(now_db, s->peak_db, s->release_keep);
  s->peak_db = now_db > released_db ? now_db : released_db;
  s->taken_db = detected(s->peak_db, s->taken_db, s->attack_keep);
  const double gain = s->taken_db > 0.0 ? s->makeup * pe_gain_of_db(-s->taken_db) : s->makeup;
  return 1.0 + (gain - 1.0) * set->mix;
}

PE_RT_INLINE double size_of(float x) { return (double)(x < 0.0f ? -x : x); }

PE_RT static void compressor_process(void *state, const PeBlock *b) {
  Compressor *s = state;
  const float *in_left = b->inputs[LEFT], *in_right = b->inputs[RIGHT] ? b->inputs[RIGHT] : in_left, *side = b->inputs[SIDECHAIN];
  const int is_still = pe_block_is_still(b, N_PARAMS);
  Settings set = {0.0, 0.0};
  for (uint32_t i = 0; i < b->n_frames; i++) {
    if (!is_still || i == 0) set = keep_settings(s, b, i);
    const float left = in_left ? pe_taken(in_left[i]) : 0.0f, right = in_right ? pe_taken(in_right[i]) : 0.0f;
    const double of_left = size_of(left), of_right = size_of(right);
    const double peak = side ? size_of(pe_taken(side[i])) : of_left > of_right ? of_left : of_right;
    const double gain = gain_after(s, &set, peak);
    b->outputs[LEFT][i] = pe_limited((double)left * gain);
    b->outputs[RIGHT][i] = pe_limited((double)right * gain);
  }
}

const PeModule pe_module_compressor = {
  .name = "compressor", .help = "Stereo compressor; what goes into sidechain decides the gain, or else the louder side; right takes left where it has no cable",
  .inputs = "left,right,sidechain", .outputs = "left,right",
  .n_inputs = 3, .n_outputs = 2, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Compressor), .params = params,
  .prepare = compressor_prepare, .reset = compressor_reset,
  .process = compressor_process,
};
