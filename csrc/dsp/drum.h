/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* What drums share: noise, saturation, and what is left over of the strike before. */
#ifndef PE_DSP_DRUM_H
#define PE_DSP_DRUM_H

#include "gate.h"
#include "values.h"

#define PE_DRUM_REST 1e-8    /* -160 dB: a drum whose envelopes are below it is at rest */
#define PE_DRUM_TAIL_MS 1.0  /* what sounds when a strike comes falls to 1/e in this time */

/* Parameters that drums have alike. */
#define PE_DRUM_PITCH \
  {.name = "pitch", .alias = "", .unit = "semitones", .choices = "", .help = "Moves the frequency: 12 doubles it", \
   .min = -120.0, .max = 120.0, .default_value = 0.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE}
#define PE_DRUM_GAIN \
  {.name = "gain", .alias = "", .unit = "", .choices = "", .help = "Linear factor of the output", \
   .min = 0.0, .max = 16.0, .default_value = 0.5, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE}
#define PE_DRUM_VELOCITY \
  {.name = "velocity", .alias = "", .unit = "", .choices = "", .help = "Linear factor of a strike, taken when it comes", \
   .min = 0.0, .max = 1.0, .default_value = 1.0, .flags = PE_PARAM_CABLE}
#define PE_DRUM_SEED \
  {.name = "seed", .alias = "", .unit = "", .choices = "", .help = "Where the noise begins; a change shows with the next strike", \
   .min = 0.0, .max = 65535.0, .default_value = 0.0, .flags = PE_PARAM_INTEGER}
#define PE_DRUM_GATE \
  {.name = "gate", .alias = "", .unit = "", .choices = "", .help = "Strikes at each command 1, and at each rise of a cable to 0.5", \
   .min = 0.0, .max = 1.0, .default_value = 0.0, .flags = PE_PARAM_GATE | PE_PARAM_CABLE}

/* What the state of each begins with. */
typedef struct PeDrum {
  double   sample_rate_hz, max_hz, tail_keep;
  double   velocity;     /* of the strike */
  double   newest, tail; /* the newest frame before its gain; what fades of the strike before */
  uint32_t is_sounding;
  uint32_t is_forced;    /* warm-up: strikes are heard, whatever the velocity */
} PeDrum;

PE_RT_INLINE PeDrum pe_drum(double sample_rate_hz) {
  return (PeDrum){.sample_rate_hz = sample_rate_hz, .max_hz = 0.5 * sample_rate_hz - 10.0, .tail_keep = pe_decay_1_e(PE_DRUM_TAIL_MS, sample_rate_hz)};
}

PE_RT_INLINE void pe_drum_struck(PeDrum *d, double velocity) {
  d->velocity = d->is_forced ? 1.0 : velocity;
  d->tail = d->newest;
  d->is_sounding = 1;
}

/* x, a frame of the strike, with what fades of the one before. */
PE_RT_INLINE double pe_drum_sum(PeDrum *d, double x) {
  d->newest = x + d->tail;
  d->tail *= d->tail_keep;
  return d->newest;
}

PE_RT_INLINE void pe_drum_rest(PeDrum *d) {
  d->newest = d->tail = 0.0;
  d->is_sounding = 0;
}

/* How far a phase of 2^64 to the turn moves in a frame; turns_per_hz: 2^64 / sample rate. */
PE_RT_INLINE uint64_t pe_drum_increment(const PeDrum *d, double freq_hz, double turns_per_hz) {
  return (uint64_t)(int64_t)(pe_within(freq_hz, 0.0, d->max_hz) * turns_per_hz);
}

/* White noise, evenly spread over -1 to 1. Numerical Recipes, ch. 7.1, "ranqd1": all 2^32 states in one cycle. */
PE_RT_INLINE double pe_noise(uint32_t *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return (double)(int32_t)*seed * 0x1p-31;
}

/* Noise that goes on from strike to strike. */
typedef struct PeDrumNoise {
  uint32_t next;
  uint32_t begun_with; /* 1 + the seed, 0 before the first strike */
} PeDrumNoise;

/* At a strike: begins anew where the seed has changed. */
PE_RT_INLINE void pe_drum_seed(PeDrumNoise *n, double seed) {
  const uint32_t wanted = 1u + (uint32_t)seed;
  if (wanted == n->begun_with) return;
  n->begun_with = wanted;
  n->next = wanted * 0x9e3779b9u; /* far apart for seeds that are near: 2^32 / the golden ratio */
}

/* x within +-1 through a curve that keeps 0 and +-1 and is `drive` + 1 times as steep at 0; drive 0 leaves it as it is. */
PE_RT_INLINE double pe_driven(double x, double drive) { return x * (1.0 + drive) / (1.0 + drive * (x < 0.0 ? -x : x)); }

/* One state variable filter (csrc/dsp/svf.c says of what kind) for one output. */
typedef struct PeDrumFilter {
  double state1, state2;
} PeDrumFilter;

typedef struct PeDrumTuning { /* for a cutoff and a k = 1 / q */
  double k, a1, a2, a3;
} PeDrumTuning;

PE_RT_INLINE PeDrumTuning pe_drum_tuned(double cutoff_hz, double q, double sample_rate_hz) {
  const double g = pe_tan_pi(cutoff_hz, sample_rate_hz), k = 1.0 / q, a1 = 1.0 / (1.0 + g * (g + k)), a2 = g * a1;
  return (PeDrumTuning){k, a1, a2, g * a2};
}

/* Returns the band-pass, 0 dB at its peak; *high: the high-pass. */
PE_RT_INLINE double pe_drum_filtered(PeDrumFilter *f, const PeDrumTuning *t, double x, double *high) {
  const double v3 = x - f->state2, v1 = t->a1 * f->state1 + t->a2 * v3, v2 = f->state2 + (t->a2 * f->state1 + t->a3 * v3);
  f->state1 = 2.0 * v1 - f->state1;
  f->state2 = 2.0 * v2 - f->state2;
  *high = x - t->k * v1 - v2;
  return t->k * v1;
}

PE_RT_INLINE int pe_is_near_0(double x) { return x < PE_DRUM_REST && x > -PE_DRUM_REST; }

#endif
