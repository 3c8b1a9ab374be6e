/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* reverb: a room, by eight delay lines that feed each other through an orthogonal matrix (Jot and Chaigne, "Digital delay
 * networks for designing artificial reverberators", AES 1991): the matrix loses nothing, so that each line's factor alone
 * makes the decay, and nothing can grow. In front of them two all-passes a side (Schroeder 1962) make echoes dense, and
 * the lines are a little modulated against ringing.
 *
 * All lines share the memory as lanes of a slot: 83 ms of them, 229 kB at 48 kHz. A longer predelay is a `delay` in front. */
#include <string.h>

#include "approx.h"
#include "levels.h"
#include "line.h"
#include "module.h"
#include "registry.h"

enum { DECAY, SIZE, DAMPING, PREDELAY, MODULATION, MIX, N_PARAMS };
enum { LEFT, RIGHT, N_SIDES };

#define GROUP 16u
#define N_LINES 8u
#define N_LFOS 4u
#define N_DIFFUSERS 4u
#define PRE_LANE 0u
#define DIFFUSER_LANE 2u
#define LINE_LANE 6u
#define N_LANES 14u
#define MOST_MS 83.0
#define LEAST_SCALE 0.15
#define GLIDE_FRAMES 0.25 /* a frame: how fast the longest line, and the predelay, follow a change */
#define WOBBLE_MS 0.17
#define DIFFUSION 0.62f
#define DAMPING_MS 0.5
#define NORMAL 0.35355339f /* 1 / sqrt(8) */

static const PeParam params[N_PARAMS] = {
  [DECAY] = {.name = "decay", .alias = "", .unit = "ms", .choices = "", .help = "What sounds falls by 60 dB in it, at low frequencies",
             .min = 100.0, .max = 60000.0, .default_value = 2000.0, .ramp_us = 20000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [SIZE] = {.name = "size", .alias = "", .unit = "", .choices = "", .help = "Of the room; glides to a new value",
            .min = 0.0, .max = 1.0, .default_value = 0.6, .flags = PE_PARAM_CABLE},
  [DAMPING] = {.name = "damping", .alias = "", .unit = "", .choices = "", .help = "How much faster high frequencies die away",
               .min = 0.0, .max = 1.0, .default_value = 0.3, .ramp_us = 20000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [PREDELAY] = {.name = "predelay", .alias = "", .unit = "ms", .choices = "", .help = "Before the room answers; glides to a new value",
                .min = 0.0, .max = 80.0, .default_value = 10.0, .flags = PE_PARAM_CABLE},
  [MODULATION] = {.name = "modulation", .alias = "", .unit = "", .choices = "", .help = "How much the room moves",
                  .min = 0.0, .max = 1.0, .default_value = 0.3, .ramp_us = 20000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [MIX] = {.name = "mix", .alias = "", .unit = "", .choices = "", .help = "0 is the input alone, 1 the room alone",
           .min = 0.0, .max = 1.0, .default_value = 0.3, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
};

/* Lengths without a common measure; of the lines at size 1. */
static const double line_ms[N_LINES] = {29.73, 34.57, 40.13, 46.19, 52.43, 59.93, 67.61, 77.71};
static const double line_roots[N_LINES] = {0.763, 0.823, 0.887, 0.951, 1.014, 1.084, 1.151, 1.234}; /* of their ratios to the mean */
static const double diffuser_ms[N_DIFFUSERS] = {4.77, 12.73, 5.31, 11.17}; /* left, left, right, right */
static const double lfo_hz[N_LFOS] = {0.41, 0.53, 0.67, 0.83};

typedef struct Reverb {
  uint64_t count;     /* slots written so far */
  uint64_t n_silent;  /* of them the newest that hold 0 */
  uint64_t phases[N_LFOS], steps[N_LFOS]; /* in turns x 2^64 */
  double   sample_rate_hz;
  double   scale;     /* of the lines, 0 before the first frame */
  double   predelay;  /* frames */
  float    low[N_LINES];
  uint32_t diffusers[N_DIFFUSERS]; /* frames */
  uint64_t reserved;
} Reverb;
_Static_assert(sizeof(Reverb) == 160, "no padding in a state");

static uint32_t reverb_slots(double sample_rate_hz) { return pe_line_slots(MOST_MS * sample_rate_hz / 1000.0); }

static PeStatus reverb_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  Reverb *s = state;
  (void)max_block_frames;
  *s = (Reverb){.sample_rate_hz = sample_rate_hz};
  for (uint32_t k = 0; k < N_LFOS; k++) s->steps[k] = (uint64_t)(lfo_hz[k] * 0x1p64 / sample_rate_hz);
  for (uint32_t k = 0; k < N_DIFFUSERS; k++) s->diffusers[k] = (uint32_t)(diffuser_ms[k] * sample_rate_hz / 1000.0) + 1;
  return PE_OK;
}

static void reverb_reset(void *state) { reverb_prepare(state, ((const Reverb *)state)->sample_rate_hz, 0); }

PE_RT_INLINE double value_at(const PeBlock *b, uint32_t param, uint32_t i) {
  return pe_block_param(b, param, i, params[param].min, params[param].max);
}

/* ---- what parameters mean -------------------------------------------------------------------------- */

#define N_PLACES (N_LINES + 1u) /* the lines, and the predelay */

typedef struct Room { /* of up to GROUP frames */
  uint32_t whole[N_PLACES]; /* slots ago */
  float    part[N_PLACES];
  float    wobble[GROUP];   /* slots */
  float    low_pass[GROUP][N_LINES]; /* a resistor and a capacitor by the backward Euler method */
  float    factors[GROUP][N_LINES];
  uint32_t is_wobbling, has_factors; /* has_factors: those of frame 0 are those of all */
  uint32_t is_known;
} Room;

PE_RT_INLINE double near(double now, double target, double step) {
  const double up = now + step, down = now - step;
  return target > up ? up : target < down ? down : target;
}

PE_RT_INLINE double scale_target(const PeBlock *b, uint32_t i) { return LEAST_SCALE + (1.0 - LEAST_SCALE) * value_at(b, SIZE, i); }

PE_RT_INLINE double predelay_target(const Reverb *s, const PeBlock *b, uint32_t i) { return 2.0 + value_at(b, PREDELAY, i) * s->sample_rate_hz / 1000.0; }

PE_RT_INLINE double longest_frames(const Reverb *s) { return line_ms[N_LINES - 1] * s->sample_rate_hz / 1000.0; }

PE_RT static void glide(Reverb *s, const PeBlock *b, uint32_t i, int is_at_once) {
  const double scale = scale_target(b, i), predelay = predelay_target(s, b, i);
  is_at_once |= s->scale == 0.0;
  s->scale = is_at_once ? scale : near(s->scale, scale, GLIDE_FRAMES / longest_frames(s));
  s->predelay = is_at_once ? predelay : near(s->predelay, predelay, GLIDE_FRAMES);
}

PE_RT static void place(Room *room, uint32_t k, double frames) {
  const double taken = frames > 2.0 + N_PLACES ? frames : 2.0 + N_PLACES; /* far enough for the wobble at any rate */
  room->whole[k] = (uint32_t)taken;
  room->part[k] = (float)(taken - (double)room->whole[k]);
}

PE_RT static void find_places(const Reverb *s, Room *room) {
  const double frames_per_ms = s->sample_rate_hz / 1000.0;
  for (uint32_t k = 0; k < N_LINES; k++) place(room, k, line_ms[k] * frames_per_ms * s->scale);
  room->whole[N_LINES] = (uint32_t)s->predelay;
  room->part[N_LINES] = (float)(s->predelay - (double)(uint32_t)s->predelay);
}

PE_RT static void find_factors(const Reverb *s, const PeBlock *b, uint32_t i, float low_pass[N_LINES], float factors[N_LINES]) {
  const double frames_per_ms = s->sample_rate_hz / 1000.0;
  const double octaves = -9.965784284662087 / (value_at(b, DECAY, i) * frames_per_ms); /* log2(1000): 60 dB */
  const double damping = value_at(b, DAMPING, i), capacity = damping * damping * DAMPING_MS * frames_per_ms;
  for (uint32_t k = 0; k < N_LINES; k++) {
    const double delayed = capacity * line_roots[k]; /* frames, by the low-pass, at low frequencies */
    low_pass[k] = (float)(1.0 / (1.0 + delayed));
    factors[k] = (float)pe_exp2(octaves * (line_ms[k] * frames_per_ms * s->scale + delayed));
  }
}

PE_RT_INLINE int is_moving(const Reverb *s, const PeBlock *b, uint32_t i) {
  return s->scale != scale_target(b, i) || s->predelay != predelay_target(s, b, i) || b->mods[SIZE] || b->mods[PREDELAY];
}

/* ---- how many frames at once ------------------------------------------------------------------------ */

PE_RT_INLINE uint32_t fewer(uint32_t a, uint32_t b) { return a < b ? a : b; }

PE_RT static Room room_of(const PeBlock *b) {
  return (Room){.has_factors = pe_block_param_is_constant(b, DECAY) && pe_block_param_is_constant(b, DAMPING),
                .is_wobbling = !pe_block_param_is_constant(b, MODULATION) || value_at(b, MODULATION, 0) != 0.0};
}

/* Of n frames, how many from the first on find all silent and add nothing to it. */
PE_RT static uint32_t frames_at_rest(const Reverb *s, const PeBlock *b, uint32_t n, const float *left, const float *right) {
  uint32_t n_rest = 0;
  if (s->n_silent < b->memory_slots) return 0;
  while (n_rest < n && left[n_rest] == 0.0f && right[n_rest] == 0.0f) n_rest++;
  return n_rest;
}

PE_RT static void glide_at_rest(Reverb *s, const PeBlock *b, uint32_t i) { glide(s, b, i, 1); }

/* Makes the room ready for up to n frames from `at` on, and returns for how many: one while it glides, as many as reach
 * to a rest, and none that would read a slot written with them or write over one that is still to be read. */
PE_RT static uint32_t room_prepared(Reverb *s, const PeBlock *b, uint32_t at, uint32_t n, Room *room) {
  const int moves = is_moving(s, b, at); /* always before the first frame */
  if (moves) glide(s, b, at, 0);
  if (moves || !room->is_known) find_places(s, room);
  const double frames_per_ms = s->sample_rate_hz / 1000.0;
  uint32_t most = b->memory_slots - room->whole[N_LINES] - 4, shortest = room->whole[0];
  for (uint32_t k = 1; k < N_LINES; k++) shortest = fewer(shortest, room->whole[k]);
  const uint32_t wobble = (uint32_t)(WOBBLE_MS * frames_per_ms) + 3;
  most = fewer(most, shortest > wobble ? shortest - wobble : 1);
  for (uint32_t k = 0; k < N_DIFFUSERS; k++) most = fewer(most, s->diffusers[k]);
  if (s->n_silent < b->memory_slots) most = fewer(most, b->memory_slots - (uint32_t)s->n_silent);
  n = moves ? 1 : fewer(n, most > 1 ? most : 1);
  if (moves || !room->is_known || !room->has_factors)
    for (uint32_t i = 0; i < (room->has_factors ? 1 : n); i++) find_factors(s, b, at + i, room->low_pass[i], room->factors[i]);
  if (room->is_wobbling)
    for (uint32_t i = 0; i < n; i++) room->wobble[i] = (float)(value_at(b, MODULATION, at + i) * WOBBLE_MS * s->sample_rate_hz / 1000.0);
  room->is_known = 1;
  return n;
}

#define PE_SIMD_BODY "reverb_simd.h"
#include "simd_each.h"

#define ROW(isa) {reverb_process_##isa, NULL}
static const PeModuleIsa isa[PE_ISAS] = PE_SIMD_EACH(ROW);

const PeModule pe_module_reverb = {
  .name = "reverb", .help = "A room, in stereo; with nothing in right, left comes from both sides", .inputs = "left,right", .outputs = "left,right",
  .n_inputs = N_SIDES, .n_outputs = N_SIDES, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Reverb), .params = params,
  .prepare = reverb_prepare, .reset = reverb_reset, .process = reverb_process_base, .isa = isa,
  .memory_slots = reverb_slots, .slot_floats = N_LANES,
};
