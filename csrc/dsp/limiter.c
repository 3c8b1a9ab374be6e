/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* limiter: no sample that it puts out is above its ceiling, whatever comes in. It looks ahead, so that the gain is down
 * when a peak comes, and puts the sound out late by that time.
 *
 * For each frame the gain is known that it needs. The smallest one of a window, which rises again no faster than
 * `release` lets it, is averaged over as long a window: so the gain falls and rises in lines without steps, and where a
 * frame is put out every term of the average is at most what that frame needs. What rounding or a moving ceiling leaves
 * above it is cut off. (Smallest, then averaged: Geraint Luff, "Designing a straightforward limiter", Signalsmith 2022.)
 * Gains count in whole parts of 2^-31, rounded down: the sum of a window is exact, always, and 1 is 1: what stays below
 * the ceiling passes bit for bit.
 *
 * With peak "true" the height between samples counts too, as in ITU-R BS.1770 annex 2: interpolated at three places
 * between two frames. It is estimated (within 0.1 dB up to 0.4 of the rate), and the places may miss its top (by less
 * than 0.5 dB up to there); the samples themselves are below the ceiling in any case. */
#include "approx.h"
#include "module.h"
#include "registry.h"
#include "values.h"

enum { CEILING, GAIN, RELEASE, LOOKAHEAD, PEAK, N_PARAMS };
enum { SAMPLE_PEAK, TRUE_PEAK };
enum { LEFT, RIGHT };

#define CAPACITY 2048u /* frames, a power of two: 10 ms up to 204 kHz; above that it looks ahead for as many frames */
#define REACH 6u       /* frames that a peak is known late, since the interpolation looks at them */
#define TAPS 12u
#define ONE 0x80000000u
#define FADE_MS 5.0    /* out and in again when the look-ahead changes */

static const PeParam params[N_PARAMS] = {
  [CEILING] = {.name = "ceiling", .alias = "", .unit = "dB", .choices = "", .help = "Level that no sample is above",
               .min = -60.0, .max = 0.0, .default_value = -1.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [GAIN] = {.name = "gain", .alias = "", .unit = "", .choices = "", .help = "Linear factor of the input, before it is limited",
            .min = 0.0, .max = 16.0, .default_value = 1.0, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [RELEASE] = {.name = "release", .alias = "", .unit = "ms", .choices = "", .help = "Time in which the gain comes back, but for 1/e",
               .min = 1.0, .max = 5000.0, .default_value = 100.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [LOOKAHEAD] = {.name = "lookahead", .alias = "", .unit = "ms", .choices = "",
                 .help = "Time that it sees a peak ahead, and that the sound is late; a change fades out and in",
                 .min = 1.0, .max = 10.0, .default_value = 5.0},
  [PEAK] = {.name = "peak", .alias = "", .unit = "", .choices = "sample,true",
            .help = "What counts: the samples, or also what lies between them (4 x oversampled)",
            .min = 0.0, .max = TRUE_PEAK, .default_value = SAMPLE_PEAK, .flags = PE_PARAM_INTEGER},
};

typedef struct Limiter {
  double   sample_rate_hz;
  double   ceiling_db, release_ms; /* what these were computed for: */
  double   ceiling, release_keep;
  double   smallest_part;          /* what a gain of one frame is of the average, per part */
  double   held;                   /* smallest gain of the window as the release lets it rise, in parts of ONE */
  uint64_t sum;                    /* of `averaged` */
  uint32_t n_window;               /* frames of both windows; 0 before the first frame */
  uint32_t delay_frames;           /* REACH + n_window - 1 */
  uint32_t position;               /* in `delayed`, of the next frame */
  uint32_t in_window;              /* place of the next frame in the window's turn */
  uint32_t newest_smallest;        /* since that turn began */
  int32_t  fade;                   /* below 0 silent, at fade_frames open */
  int32_t  fade_frames;
  uint32_t is_forced;              /* warm-up: puts out without delay, or there would be nothing to hear */
  float    between;                /* peak between the two frames before the one whose gain is due */
  float    ceiling_float;          /* never above `ceiling` */
  float    delayed[2][CAPACITY];
  uint32_t smallest[CAPACITY];     /* of what came in this turn: the gains; behind it: the smallest from there to the end of the turn before */
  uint32_t averaged[CAPACITY];
} Limiter;
_Static_assert(sizeof(Limiter) == 8 * 8 + 10 * 4 + 4 * 4 * CAPACITY, "no padding in a state");

/* The sound goes on in `delayed`: what the new windows know nothing of must not be heard. */
static void restart(Limiter *s, uint32_t delay_frames) {
  s->delay_frames = delay_frames;
  s->n_window = delay_frames - REACH + 1;
  s->smallest_part = 1.0 / ((double)s->n_window * (double)ONE);
  s->held = (double)ONE;
  s->sum = (uint64_t)s->n_window * ONE;
  s->in_window = 0;
  s->newest_smallest = ONE;
  for (uint32_t i = 0; i < CAPACITY; i++) s->smallest[i] = s->averaged[i] = ONE;
}

static PeStatus limiter_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  Limiter *s = state;
  (void)max_block_frames;
  memset(s, 0, sizeof *s);
  s->sample_rate_hz = sample_rate_hz;
  s->ceiling_db = 1.0; /* no ceiling is */
  s->fade = s->fade_frames = (int32_t)(FADE_MS * sample_rate_hz / 1000.0 + 0.5);
  return PE_OK;
}

static void limiter_reset(void *state) {
  const Limiter *s = state;
  limiter_prepare(state, s->sample_rate_hz, 0);
}

PE_RT static void limiter_open(void *state, const PeSmooth *p) {
  Limiter *s = state;
  (void)p;
  s->is_forced = 1;
}

PE_RT_INLINE double value_at(const PeBlock *b, uint32_t param, uint32_t i) {
  return pe_block_param(b, param, i, params[param].min, params[param].max);
}

PE_RT_INLINE uint32_t wanted_delay(const Limiter *s, const PeSmooth *p) {
  const double ms = pe_within(p[LOOKAHEAD].target, params[LOOKAHEAD].min, params[LOOKAHEAD].max);
  const uint32_t frames = (uint32_t)(ms * s->sample_rate_hz / 1000.0 + 0.5);
  return frames < REACH ? REACH : frames < CAPACITY ? frames : CAPACITY - 1;
}

/* Functions of the values alone: what is kept is what would be computed. */
PE_RT_INLINE void keep_settings(Limiter *s, const PeBlock *b, uint32_t i) {
  const double ceiling_db = value_at(b, CEILING, i), release_ms = value_at(b, RELEASE, i);
  if (ceiling_db != s->ceiling_db) {
    s->ceiling = pe_gain_of_db(ceiling_db);
    const float nearest = (float)s->ceiling;
    s->ceiling_float = (double)nearest > s->ceiling ? (float)(s->ceiling * (1.0 - 0x1p-23)) : nearest;
  }
  if (release_ms != s->release_ms) s->release_keep = pe_decay_1_e(release_ms, s->sample_rate_hz);
  s->ceiling_db = ceiling_db;
  s->release_ms = release_ms;
}

/* ---- peaks ------------------------------------------------------------------------------------------ */

/* A quarter and half of the way from frame 5 to frame 6 of twelve: Lawson's algorithm in double, the largest error of
 * the response from 0 to 0.4 of the rate minimised: 0.008 and 0.011. Three quarters are a quarter backwards. */
static const float quarter[TAPS] = {-0.01065576f, 0.02037619f, -0.04006637f, 0.07646287f, -0.16402820f, 0.89314669f,
                                    0.29788554f, -0.11736652f, 0.06274739f, -0.03487711f, 0.01834334f, -0.00982636f};
static const float half[TAPS] = {-0.01442206f, 0.02722616f, -0.05258822f, 0.09720049f, -0.19294578f, 0.62999177f,
                                 0.62999177f, -0.19294578f, 0.09720049f, -0.05258822f, 0.02722616f, -0.01442206f};

PE_RT_INLINE float size_of(float x) { return x < 0.0f ? -x : x; }
PE_RT_INLINE float larger(float a, float b) { return a > b ? a : b; }

/* x: n frames behind the TAPS - 1 before them. peaks[i]: the highest of three places between frames REACH and REACH - 1
 * before frame i, if that is more than is there. */
PE_RT_INLINE void peaks_between(const float *x, uint32_t n, float *peaks) {
  float at[3][PE_CHUNK_FRAMES];
  for (uint32_t i = 0; i < n; i++) at[0][i] = at[1][i] = at[2][i] = 0.0f;
  for (uint32_t k = 0; k < TAPS; k++) {
    for (uint32_t i = 0; i < n; i++) {
      at[0][i] += quarter[k] * x[i + k];
      at[1][i] += half[k] * x[i + k];
      at[2][i] += quarter[TAPS - 1 - k] * x[i + k];
    }
  }
  for (uint32_t i = 0; i < n; i++)
    peaks[i] = larger(peaks[i], larger(size_of(at[0][i]), larger(size_of(at[1][i]), size_of(at[2][i]))));
}

/* ---- frames ----------------------------------------------------------------------------------------- */

/* The smallest of the newest n_window gains, of which `needed` is the newest. Each turn keeps its gains, and when it is over
 * turns them into the smallest from each place on, which the next turn reads ahead of where it writes. */
PE_RT_INLINE uint32_t smallest_with(Limiter *s, uint32_t needed) {
  const uint32_t at = s->in_window, last = s->n_window - 1;
  uint32_t smallest = needed < s->newest_smallest ? needed : s->newest_smallest;
  s->newest_smallest = smallest;
  if (at < last && s->smallest[at + 1] < smallest) smallest = s->smallest[at + 1];
  s->smallest[at] = needed;
  if (at < last) return smallest;
  for (uint32_t i = last; i > 0; i--)
    if (s->smallest[i] < s->smallest[i - 1]) s->smallest[i - 1] = s->smallest[i];
  s->newest_smallest = ONE;
  return smallest;
}

/* The gain for the frame that leaves, from the peak of the one that has just become known. */
PE_RT_INLINE double gain_after(Limiter *s, float peak) {
  const double ceiling = (double)s->ceiling_float;
  const uint32_t needed = (double)peak > ceiling ? (uint32_t)(ceiling / (double)peak * (double)ONE) : ONE;
  const double smallest = (double)smallest_with(s, needed);
  if (smallest <= s->held) {
    s->held = smallest;
  } else {
    s->held = smallest - (smallest - s->held) * s->release_keep;
    if (smallest - s->held < 1.0) s->held = smallest;
  }
  const uint32_t newest = (uint32_t)s->held;
  s->sum += (uint64_t)newest - s->averaged[s->in_window]; /* wraps where it falls, and comes out right */
  s->averaged[s->in_window] = newest;
  s->in_window = s->in_window + 1 < s->n_window ? s->in_window + 1 : 0;
  return (double)s->sum * s->smallest_part;
}

PE_RT_INLINE float below(double v, float ceiling) {
  float x = (float)v;
  x = x < ceiling ? x : ceiling;
  return x > -ceiling ? x : -ceiling;
}

PE_RT_INLINE double fade_with(Limiter *s, uint32_t wanted) {
  if (s->fade == s->fade_frames && wanted == s->delay_frames) return 1.0;
  if (wanted == s->delay_frames) {
    s->fade++;
  } else if (s->fade > 0) {
    s->fade--;
  } else {
    restart(s, wanted);
    s->fade = -(int32_t)wanted; /* until all that is put out has been seen */
  }
  return s->fade > 0 ? (double)s->fade / (double)s->fade_frames : 0.0;
}

/* Up to a chunk of frames. The three steps are each frame by frame: the cut between calls does not show. */
PE_RT static void run(Limiter *s, const PeBlock *b, int is_still, uint32_t from, uint32_t n) {
  const uint32_t wanted = wanted_delay(s, b->params), mask = CAPACITY - 1;
  const int is_true = b->params[PEAK].target >= 0.5;
  float x[2][TAPS - 1 + PE_CHUNK_FRAMES], peaks[PE_CHUNK_FRAMES];
  const float *in[2] = {b->inputs[LEFT], b->inputs[RIGHT] ? b->inputs[RIGHT] : b->inputs[LEFT]};
  const double gain = value_at(b, GAIN, from);
  for (uint32_t c = 0; c < 2; c++) {
    for (uint32_t k = 0; k < TAPS - 1; k++) x[c][k] = s->delayed[c][(s->position - (TAPS - 1) + k) & mask];
    for (uint32_t i = 0; i < n; i++)
      x[c][TAPS - 1 + i] = in[c] ? pe_limited((double)pe_taken(in[c][from + i]) * (is_still ? gain : value_at(b, GAIN, from + i))) : 0.0f;
  }
  for (uint32_t i = 0; i < n; i++) peaks[i] = 0.0f;
  for (uint32_t c = 0; is_true && c < 2; c++) peaks_between(x[c], n, peaks);
  if (is_still) keep_settings(s, b, from);
  for (uint32_t i = 0; i < n; i++) {
    if (!is_still) keep_settings(s, b, from + i);
    const double fade = fade_with(s, wanted);
    const float *left = &x[LEFT][TAPS - 1 + i], *right = &x[RIGHT][TAPS - 1 + i];
    const float peak = larger(larger(size_of(left[-(int)REACH]), size_of(right[-(int)REACH])), larger(s->between, peaks[i]));
    s->between = peaks[i];
    const double level = gain_after(s, peak) * fade;
    const uint32_t now = s->position & mask, then = s->is_forced ? now : (now - s->delay_frames) & mask;
    s->delayed[LEFT][now] = *left;
    s->delayed[RIGHT][now] = *right;
    s->position = (s->position + 1) & mask;
    b->outputs[LEFT][from + i] = below((double)s->delayed[LEFT][then] * level, s->ceiling_float);
    b->outputs[RIGHT][from + i] = below((double)s->delayed[RIGHT][then] * level, s->ceiling_float);
  }
}

PE_RT static void limiter_process(void *state, const PeBlock *b) {
  Limiter *s = state;
  if (b->n_frames == 0) return;
  if (s->n_window == 0) restart(s, wanted_delay(s, b->params));
  const int is_still = pe_block_is_still(b, LOOKAHEAD);
  for (uint32_t at = 0; at < b->n_frames; at += PE_CHUNK_FRAMES)
    run(s, b, is_still, at, b->n_frames - at < PE_CHUNK_FRAMES ? b->n_frames - at : PE_CHUNK_FRAMES);
}

const PeModule pe_module_limiter = {
  .name = "limiter", .help = "Stereo limiter that looks ahead: no sample is ever above the ceiling; late by its look-ahead; right takes left where it has no cable",
  .inputs = "left,right", .outputs = "left,right",
  .n_inputs = 2, .n_outputs = 2, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Limiter), .params = params,
  .prepare = limiter_prepare, .reset = limiter_reset, .open = limiter_open,
  .process = limiter_process,
};
