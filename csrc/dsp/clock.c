/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* clock: the beat that sequences follow. */
#include "beat.h"

#include "event.h"
#include "registry.h"

enum { BPM, SWING, RUNNING, POSITION, N_PARAMS };

#define DEFAULT_BPM 120.0

static const PeParam params[N_PARAMS] = {
  [BPM] = {.name = "bpm", .alias = "tempo", .unit = "bpm", .choices = "", .help = "Beats a minute; a change keeps the beat where it is",
           .min = 20.0, .max = 999.0, .default_value = DEFAULT_BPM},
  [SWING] = {.name = "swing", .alias = "", .unit = "", .choices = "", .help = "How late every second step of a sequence comes, as a share of a step, where two or more make a beat",
             .min = 0.0, .max = 0.75, .default_value = 0.0},
  [RUNNING] = {.name = "running", .alias = "", .unit = "", .choices = "", .help = "0 holds the beat, 1 lets it go on from there",
               .min = 0.0, .max = 1.0, .default_value = 1.0, .flags = PE_PARAM_GATE},
  [POSITION] = {.name = "position", .alias = "", .unit = "beats", .choices = "", .help = "Go to this beat now; a deed, not a value that is kept",
                .min = 0.0, .max = 1.0e6, .default_value = 0.0, .flags = PE_PARAM_EVENT},
};

_Static_assert(sizeof(PeBeat) == 6 * 8 + 4 * 4, "no padding in a state");

static uint64_t exact_bpm(double bpm) { return (uint64_t)(bpm * 281474976710656.0); } /* 2^48: see beat.h */

static PeStatus clock_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  PeBeat *c = state;
  (void)max_block_frames;
  *c = (PeBeat){.rate = (uint64_t)(sample_rate_hz * 960.0 + 0.5), .bpm = exact_bpm(DEFAULT_BPM), .is_running = 1};
  return PE_OK;
}

static void clock_reset(void *state) {
  PeBeat *c = state;
  *c = (PeBeat){.rate = c->rate, .bpm = exact_bpm(DEFAULT_BPM), .is_running = 1};
}

static void anchor(PeBeat *c, int64_t frame) {
  c->anchor_beat = pe_beat_at(c, frame);
  c->anchor_frame = frame;
}

PE_RT static void set_bpm(PeBeat *c, uint64_t bpm, int64_t now) {
  if (bpm == c->bpm) return; /* an anchor less is a rounding less */
  anchor(c, now);
  c->bpm = bpm;
}

PE_RT static void clock_told(void *state, const PeEmit *e, uint32_t param) {
  PeBeat *c = state;
  const int64_t now = c->frames + e->at;
  const double value = e->params[param].target;
  if (param == BPM) set_bpm(c, exact_bpm(value), now);
  if (param == SWING) c->swing = (uint64_t)(value * PE_BEAT_PARTS + 0.5);
  if (param == RUNNING && (value >= 0.5) != (c->is_running != 0)) {
    anchor(c, now);
    c->is_running = value >= 0.5;
  }
  if (param == POSITION) {
    c->anchor_frame = now;
    c->anchor_beat = (int64_t)(value * PE_BEAT_PARTS + 0.5);
    c->jumps++;
  }
  c->changes++;
}

static void clock_advance(void *state, uint32_t n_frames) { ((PeBeat *)state)->frames += n_frames; }

/* The beat, in 2^-32, + 1; whether it runs. */
PE_RT static void clock_show(const void *state, const PeEmit *e, uint64_t shown[2]) {
  const PeBeat *c = state;
  (void)e;
  shown[0] = (uint64_t)pe_beat_at(c, c->frames) + 1;
  shown[1] = c->is_running;
}

static const PeEventOps events = {.order = PE_EVENTS_CLOCK, .told = clock_told, .show = clock_show, .advance = clock_advance};

const PeModule pe_module_clock = {
  .name = "clock", .help = "The beat that sequences follow",
  .inputs = "", .outputs = "", .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(PeBeat), .params = params,
  .prepare = clock_prepare, .reset = clock_reset, .events = &events,
};
