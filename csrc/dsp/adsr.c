/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* adsr: an envelope of straight lines, exact to the frame. It multiplies its input; without one it puts out the
 * envelope itself.
 *
 * Every segment takes its full time from the level it starts at. One begun at frame f that takes n frames is at
 * its start level at f and exactly at its end level at f + n, where the next one begins. */
#include "gate.h"
#include "module.h"
#include "registry.h"

enum { ATTACK, DECAY, SUSTAIN, RELEASE, GATE, N_PARAMS };
enum { STAGE_CLOSED, STAGE_ATTACK, STAGE_DECAY, STAGE_SUSTAIN, STAGE_RELEASE };

#define SUSTAIN_RAMP_US 5000

static const PeParam params[N_PARAMS] = {
  [ATTACK] = {.name = "attack", .alias = "", .unit = "ms", .choices = "", .help = "Time to full level",
              .min = 0.0, .max = 60000.0, .default_value = 10.0},
  [DECAY] = {.name = "decay", .alias = "", .unit = "ms", .choices = "", .help = "Time from there to the sustain level",
             .min = 0.0, .max = 60000.0, .default_value = 50.0},
  [SUSTAIN] = {.name = "sustain", .alias = "", .unit = "", .choices = "", .help = "Level held while the gate is open",
               .min = 0.0, .max = 1.0, .default_value = 0.7, .ramp_us = SUSTAIN_RAMP_US, .flags = PE_PARAM_RAMPED},
  [RELEASE] = {.name = "release", .alias = "", .unit = "ms", .choices = "", .help = "Time to silence after the gate closes",
               .min = 0.0, .max = 60000.0, .default_value = 200.0},
  [GATE] = {.name = "gate", .alias = "", .unit = "", .choices = "", .help = "Opens at 1, closes at 0; 1 again starts the attack anew; with a cable it follows that alone: open from 0.5",
            .min = 0.0, .max = 1.0, .default_value = 1.0, .flags = PE_PARAM_GATE | PE_PARAM_CABLE},
};

typedef struct Adsr {
  PeSmooth level;          /* the running segment */
  double   sample_rate_hz;
  uint32_t stage;          /* STAGE_... ; its segment may just have ended */
  uint32_t is_open;        /* the gate as last seen */
  uint32_t is_retriggered; /* a command opened the gate since the last frame */
  uint32_t is_forced;      /* warm-up: open, whatever the gate says */
} Adsr;
_Static_assert(sizeof(Adsr) == sizeof(PeSmooth) + 24, "no padding in a state");

static PeStatus adsr_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  Adsr *s = state;
  (void)max_block_frames;
  s->sample_rate_hz = sample_rate_hz;
  return PE_OK;
}

static void adsr_reset(void *state) {
  Adsr *s = state;
  *s = (Adsr){.sample_rate_hz = s->sample_rate_hz};
}

PE_RT_INLINE double within(double v, double min, double max) {
  v = v > min ? v : min;
  return v < max ? v : max;
}

PE_RT_INLINE uint32_t segment_frames(const Adsr *s, double ms) {
  ms = within(ms, params[ATTACK].min, params[ATTACK].max);
  return (uint32_t)(ms * s->sample_rate_hz / 1000.0 + 0.5);
}

/* Not pe_smooth_set: a segment between equal levels takes its time too. */
PE_RT_INLINE void segment_start(Adsr *s, uint32_t stage, double end_level, uint32_t n_frames) {
  const double now = pe_smooth_now(&s->level);
  s->stage = stage;
  s->level = (PeSmooth){.target = end_level,
                        .step = n_frames ? (end_level - now) / (double)n_frames : 0.0,
                        .remaining = n_frames};
}

PE_RT_INLINE double sustain_level(const PeSmooth *p) {
  return within(p[SUSTAIN].target, params[SUSTAIN].min, params[SUSTAIN].max);
}

PE_RT_INLINE void gate_open(Adsr *s, const PeSmooth *p) {
  segment_start(s, STAGE_ATTACK, 1.0, segment_frames(s, p[ATTACK].target));
}

PE_RT_INLINE void gate_close(Adsr *s, const PeSmooth *p) {
  segment_start(s, STAGE_RELEASE, 0.0, segment_frames(s, p[RELEASE].target));
}

PE_RT_INLINE void gate_follow(Adsr *s, const PeSmooth *p, int is_high, int is_retriggered) {
  if (is_high && (!s->is_open || is_retriggered)) gate_open(s, p);
  if (!is_high && s->is_open) gate_close(s, p);
  s->is_open = is_high ? 1u : 0u;
}

/* Leaves segments that have ended. Done before a frame and not after the one before it, so that a command at the
 * very frame still sets the time of the segment that begins there. */
PE_RT_INLINE void stage_settle(Adsr *s, const PeSmooth *p) {
  if (s->stage == STAGE_ATTACK && s->level.remaining == 0)
    segment_start(s, STAGE_DECAY, sustain_level(p), segment_frames(s, p[DECAY].target));
  if (s->stage == STAGE_DECAY && s->level.remaining == 0) s->stage = STAGE_SUSTAIN;
  if (s->stage == STAGE_RELEASE && s->level.remaining == 0) s->stage = STAGE_CLOSED;
}

/* The parameter's own ramp goes unused: the level heads for the target itself. */
PE_RT static void sustain_changed(Adsr *s, double sustain, int is_immediate) {
  if (s->stage == STAGE_DECAY && s->level.remaining > 0) {
    segment_start(s, STAGE_DECAY, sustain, s->level.remaining);
  } else if (s->stage == STAGE_DECAY || s->stage == STAGE_SUSTAIN) {
    segment_start(s, STAGE_SUSTAIN, sustain, is_immediate ? 0 : segment_frames(s, SUSTAIN_RAMP_US / 1000.0));
  }
}

PE_RT static void adsr_changed(void *state, const PeSmooth *p, uint32_t param, int is_immediate) {
  Adsr *s = state;
  if (param == GATE) s->is_retriggered = p[GATE].target >= 0.5;
  if (param == SUSTAIN && !s->is_forced) sustain_changed(s, sustain_level(p), is_immediate);
}

PE_RT static void adsr_open(void *state, const PeSmooth *p) {
  Adsr *s = state;
  segment_start(s, STAGE_SUSTAIN, sustain_level(p) > 0.0 ? sustain_level(p) : 1.0, 0);
  s->is_open = 1;
  s->is_forced = 1;
}

PE_RT static int adsr_is_closed(const void *state, const PeSmooth *p) {
  const Adsr *s = state;
  (void)p;
  return s->stage == STAGE_CLOSED && s->level.target == 0.0 && s->level.remaining == 0 && !s->is_open && !s->is_retriggered;
}

/* One level, until something is set. */
PE_RT_INLINE int is_held(const Adsr *s) { return s->level.remaining == 0 && (s->stage == STAGE_SUSTAIN || s->stage == STAGE_CLOSED); }

PE_RT static int adsr_holds(const void *state, float *level) {
  const Adsr *s = state;
  *level = (float)s->level.target;
  return is_held(s);
}

/* ---- banks ---------------------------------------------------------------------------------------- */

/* Level i frames from now: target - step x (remaining - i). */
typedef struct AdsrBank {
  double   target[PE_LANES], step[PE_LANES], remaining[PE_LANES];
  float    level[PE_LANES]; /* where step is 0 */
  uint32_t moving, closed;  /* lanes in a segment; lanes whose gate is closed and level 0 */
} AdsrBank;

PE_RT static uint32_t adsr_refresh(void *cache, uint32_t lane, void *state, const PeSmooth *p, const PeBankTime *time) {
  AdsrBank *bank = cache;
  Adsr *s = state;
  const uint32_t bit = 1u << lane;
  if (!s->is_forced) gate_follow(s, p, p[GATE].target >= 0.5, s->is_retriggered != 0);
  s->is_retriggered = 0;
  stage_settle(s, p); /* from here on nothing remains only where the level stands still */
  bank->target[lane] = s->level.target;
  bank->step[lane] = s->level.step;
  bank->remaining[lane] = (double)s->level.remaining;
  bank->level[lane] = (float)s->level.target;
  bank->moving = s->level.remaining > 0 ? bank->moving | bit : bank->moving & ~bit;
  bank->closed = s->stage == STAGE_CLOSED && s->level.target == 0.0 ? bank->closed | bit : bank->closed & ~bit;
  if (s->level.remaining == 0) return PE_LANE_STEADY;
  return s->level.remaining < time->n_frames ? PE_LANE_ALONE : PE_LANE_BANKED; /* one that ends on the way goes alone */
}

PE_RT static uint32_t adsr_silent(const void *cache, uint32_t silent_inputs) {
  (void)silent_inputs; /* silence times a level that moves is silent too, but the level has to move */
  return ((const AdsrBank *)cache)->closed;
}

PE_RT static void adsr_skip(const PeBankBlock *b) {
  const AdsrBank *bank = b->cache;
  for (uint32_t m = b->lanes & bank->moving; m; m &= m - 1) pe_smooth_advance(&((Adsr *)b->states[pe_lowest_lane(m)])->level, b->n_frames);
}

#define PE_SIMD_BODY "adsr_simd.h"
#include "simd_each.h"

static const PeBankOps bank = {.cache_bytes = sizeof(AdsrBank), .is_free = 1, .refresh = adsr_refresh, .silent = adsr_silent, .skip = adsr_skip};
#define ROW(isa) {adsr_process_##isa, adsr_process_bank_##isa}
static const PeModuleIsa isa[PE_ISAS] = PE_SIMD_EACH(ROW);

const PeModule pe_module_adsr = {
  .name = "adsr", .help = "Envelope of straight lines: multiplies its input, or puts out the envelope itself",
  .inputs = "in", .outputs = "out",
  .n_inputs = 1, .n_outputs = 1, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Adsr), .params = params,
  .prepare = adsr_prepare, .reset = adsr_reset, .changed = adsr_changed, .open = adsr_open,
  .process = adsr_process_base, .isa = isa, .bank = &bank, .is_closed = adsr_is_closed, .holds = adsr_holds,
};
