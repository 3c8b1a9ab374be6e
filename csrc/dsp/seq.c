/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* seq: a track. At each step of its grid it looks at its pattern: a hit takes the next note and velocity, opens the gates of
 * its targets and closes them a share of a step later; lanes set a parameter with every step.
 *
 * All that it puts out is a function of the step's number: its place in the pattern, how many hits came before it since
 * step 0, and whether the dice let it pass (a hash of seed and number). So a pattern can be changed while it plays, and
 * the beat stays where it is. */
#include "beat.h"
#include "event.h"
#include "note.h"
#include "registry.h"
#include "polyphony.h"

enum { MUTE, PROBABILITY, SEED, LENGTH, VELOCITY, ACCENT, NOTE, TRANSPOSE, N_PARAMS };

static const PeParam params[N_PARAMS] = {
  [MUTE] = {.name = "mute", .alias = "", .unit = "", .choices = "off,on", .help = "On: it goes on silently",
            .min = 0.0, .max = 1.0, .default_value = 0.0, .flags = PE_PARAM_INTEGER},
  [PROBABILITY] = {.name = "probability", .alias = "chance", .unit = "", .choices = "", .help = "Share of the hits that are played",
                   .min = 0.0, .max = 1.0, .default_value = 1.0},
  [SEED] = {.name = "seed", .alias = "", .unit = "", .choices = "", .help = "Which hits those are",
            .min = 0.0, .max = 4294967295.0, .default_value = 0.0, .flags = PE_PARAM_INTEGER},
  [LENGTH] = {.name = "length", .alias = "", .unit = "", .choices = "", .help = "How long a gate stays open, as a share of the step, or of the last one it is tied to",
              .min = 0.01, .max = 1.0, .default_value = 0.5},
  [VELOCITY] = {.name = "velocity", .alias = "", .unit = "", .choices = "", .help = "Of hits without one of their own",
                .min = 0.0, .max = 1.0, .default_value = 0.8},
  [ACCENT] = {.name = "accent", .alias = "", .unit = "", .choices = "", .help = "What the velocity of an accent is multiplied by",
              .min = 0.0, .max = 4.0, .default_value = 1.25},
  [NOTE] = {.name = "note", .alias = "", .unit = "", .choices = "", .help = "Played by hits where no notes are given (69 is A4)",
            .min = 0.0, .max = 127.0, .default_value = 60.0},
  [TRANSPOSE] = {.name = "transpose", .alias = "", .unit = "semitones", .choices = "", .help = "Added to all notes",
                 .min = -48.0, .max = 48.0, .default_value = 0.0},
};

/* ---- what a pattern is compiled to: pyengine/sequence.py writes it ---------------------------------- */

#define MAGIC 0x31716573u /* "seq1" */
#define MOST_NOTES 8u
#define MOST_STEPS 4096u

enum { TARGET_FREQ, TARGET_VELOCITY, TARGET_GATE, TARGET_VOICES }; /* in the order they are set */
enum { STEP_REST, STEP_HIT, STEP_ACCENT };

typedef struct Head {
  uint32_t magic, clock, num, den; /* num / den steps to a beat */
  uint32_t n_steps, n_hits, n_chords, n_velocities;
  uint32_t n_lanes, n_targets, n_values, reserved;
} Head;

typedef struct Chord {
  double n, notes[MOST_NOTES];
} Chord;

typedef struct Lane { /* sets one parameter of n_handles nodes in a row */
  uint32_t handle, n_handles, param;
  uint32_t first, n_values, reserved; /* in the values; NaN: leave it */
} Lane;

typedef struct Target {
  uint32_t kind, handle, param, reserved;
} Target;

typedef struct Step {
  uint32_t kind;
  uint32_t ties;        /* steps it is held for beyond its own */
  uint32_t hits_before; /* in the pattern */
  float    velocity;    /* of its own; below 0: none */
} Step;

typedef struct Pattern {
  const Head   *head;
  const Chord  *chords;     /* one for each hit in turn */
  const double *velocities; /* the same */
  const double *values;
  const Lane   *lanes;
  const Target *targets;
  const Step   *steps;
} Pattern;

PE_RT_INLINE uint64_t pattern_bytes(const Head *h) {
  return sizeof(Head) + h->n_chords * sizeof(Chord) + ((uint64_t)h->n_velocities + h->n_values) * sizeof(double) +
         h->n_lanes * sizeof(Lane) + h->n_targets * sizeof(Target) + h->n_steps * sizeof(Step);
}

PE_RT_INLINE Pattern pattern_of(const void *data) {
  Pattern p = {.head = data};
  p.chords = (const Chord *)(const void *)(p.head + 1);
  p.velocities = (const double *)(const void *)(p.chords + p.head->n_chords);
  p.values = p.velocities + p.head->n_velocities;
  p.lanes = (const Lane *)(const void *)(p.values + p.head->n_values);
  p.targets = (const Target *)(const void *)(p.lanes + p.head->n_lanes);
  p.steps = (const Step *)(const void *)(p.targets + p.head->n_targets);
  return p;
}

static PeStatus seq_check(const void *data, uint64_t data_bytes) {
  const Head *h = data;
  if (data == NULL) return PE_OK;
  if (data_bytes < sizeof *h || h->magic != MAGIC || h->num == 0 || h->num > 64 || h->den == 0 || h->den > 64) return PE_BAD_ARGUMENT;
  if (h->n_steps > MOST_STEPS || h->n_hits > h->n_steps || data_bytes != pattern_bytes(h)) return PE_BAD_ARGUMENT;
  const Pattern p = pattern_of(data);
  for (uint32_t i = 0; i < h->n_chords; i++)
    if (!(p.chords[i].n >= 0.0 && p.chords[i].n <= MOST_NOTES)) return PE_BAD_ARGUMENT;
  for (uint32_t i = 0; i < h->n_lanes; i++)
    if (p.lanes[i].n_values == 0 || p.lanes[i].first > h->n_values || p.lanes[i].n_values > h->n_values - p.lanes[i].first) return PE_BAD_ARGUMENT;
  return PE_OK;
}

static uint32_t seq_follows(const void *data) { return data ? ((const Head *)data)->clock : 0; }

/* ---- state ------------------------------------------------------------------------------------------ */

typedef struct Seq {
  int64_t  frames;      /* since it began, when the chunk starts */
  int64_t  step;        /* the next one */
  int64_t  onset;       /* its frame, in the clock's count */
  int64_t  off_frame;   /* at which the gates close, in our count; below 0: they are closed */
  double   held[MOST_NOTES]; /* notes that sound in voices */
  uint32_t n_held;
  uint32_t clock, num, den, changes, jumps; /* as they were when `step` and `onset` were found */
} Seq;
_Static_assert(sizeof(Seq) == 4 * 8 + MOST_NOTES * 8 + 6 * 4, "no padding in a state");

static PeStatus seq_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  (void)sample_rate_hz;
  (void)max_block_frames;
  *(Seq *)state = (Seq){.off_frame = -1};
  return PE_OK;
}

static void seq_reset(void *state) { *(Seq *)state = (Seq){.off_frame = -1}; }

PE_RT static int64_t onset_of(const PeBeat *c, const Head *h, int64_t step) {
  return pe_beat_frame(c, pe_beat_step(c, step, h->num, h->den), h->num, h->den);
}

/* The first step that is not over yet. */
PE_RT static void find_step(Seq *s, const PeBeat *c, const Head *h, int64_t now) {
  const int64_t from = c->is_running ? now : c->anchor_frame;
  const int64_t place = pe_floor_div((PeWide)pe_beat_at(c, now) * h->num, (PeWide)h->den * 4294967296);
  s->step = place > 2 ? place - 2 : 0;
  for (uint32_t i = 0; i < 8 && onset_of(c, h, s->step) < from; i++) s->step++;
}

/* Bring the next onset up to date with the clock and the grid. */
PE_RT static void follow(Seq *s, const PeEmit *e, const Head *h) {
  const PeBeat *c = e->clock;
  const int is_elsewhere = s->clock != e->clock_handle || s->jumps != c->jumps || s->num != h->num || s->den != h->den;
  if (!is_elsewhere && s->changes == c->changes) return;
  if (is_elsewhere) find_step(s, c, h, c->frames + e->at);
  s->onset = onset_of(c, h, s->step);
  s->clock = e->clock_handle;
  s->num = h->num;
  s->den = h->den;
  s->changes = c->changes;
  s->jumps = c->jumps;
}

PE_RT_INLINE int is_playing(const PeEmit *e) { return e->data && e->clock && ((const PeBeat *)e->clock)->is_running; }

PE_RT_INLINE uint32_t within_chunk(int64_t frame, uint32_t at) {
  if (frame <= (int64_t)at) return at;
  return frame < (int64_t)PE_NEVER ? (uint32_t)frame : PE_NEVER;
}

PE_RT static uint32_t seq_next(void *state, const PeEmit *e) {
  Seq *s = state;
  uint32_t next = s->off_frame >= 0 ? within_chunk(s->off_frame - s->frames, e->at) : PE_NEVER;
  if (!is_playing(e)) return next;
  follow(s, e, e->data);
  const uint32_t onset = within_chunk(s->onset - ((const PeBeat *)e->clock)->frames, e->at);
  return onset < next ? onset : next;
}

/* ---- notes ------------------------------------------------------------------------------------------ */

PE_RT static void close_gates(Seq *s, const PeEmit *e, const Pattern *p) {
  for (uint32_t i = 0; i < p->head->n_targets; i++) {
    const Target *t = &p->targets[i];
    if (t->kind == TARGET_GATE) e->put(e, t->handle, t->param, 0.0, PE_RAMPED);
    for (uint32_t k = 0; k < s->n_held && t->kind == TARGET_VOICES; k++) e->put(e, t->handle, PE_VOICES_NOTE_OFF, s->held[k], PE_AT_ONCE);
  }
  s->n_held = 0;
  s->off_frame = -1;
}

/* splitmix64 of a counter: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. */
PE_RT_INLINE double dice(uint64_t seed, uint64_t step) {
  uint64_t x = (seed << 32 ^ seed) + (step + 1) * 0x9e3779b97f4a7c15ull;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ x >> 27) * 0x94d049bb133111ebull;
  x ^= x >> 31;
  return (double)(x >> 11) * 0x1p-53;
}

PE_RT_INLINE double limited(double v, double min, double max) {
  v = v > min ? v : min;
  return v < max ? v : max;
}

PE_RT static void play(Seq *s, const PeEmit *e, const Pattern *p, const Step *step, uint64_t hit) {
  const Head *h = p->head;
  const PeSmooth *v = e->params;
  double velocity = h->n_velocities ? p->velocities[hit % h->n_velocities] : v[VELOCITY].target;
  if (step->velocity >= 0.0f) velocity = (double)step->velocity;
  if (step->kind == STEP_ACCENT) velocity *= v[ACCENT].target;
  velocity = limited(velocity, 0.0, 1.0);
  const Chord without = {.n = 1.0, .notes = {v[NOTE].target}};
  const Chord *chord = h->n_chords ? &p->chords[hit % h->n_chords] : &without;
  const uint32_t n = (uint32_t)chord->n;
  if (n == 0) return;
  for (uint32_t k = 0; k < n; k++) s->held[k] = limited(chord->notes[k] + v[TRANSPOSE].target, 0.0, 127.0);
  s->n_held = n;
  for (uint32_t i = 0; i < h->n_targets; i++) {
    const Target *t = &p->targets[i];
    if (t->kind == TARGET_FREQ) e->put(e, t->handle, t->param, pe_note_hz(s->held[0]), PE_AT_ONCE);
    if (t->kind == TARGET_VELOCITY) e->put(e, t->handle, t->param, velocity, PE_RAMPED);
    if (t->kind == TARGET_GATE) e->put(e, t->handle, t->param, 1.0, PE_RAMPED);
    for (uint32_t k = 0; k < n && t->kind == TARGET_VOICES; k++) {
      e->put(e, t->handle, PE_VOICES_VELOCITY, velocity, PE_AT_ONCE);
      e->put(e, t->handle, PE_VOICES_NOTE_ON, s->held[k], PE_AT_ONCE);
    }
  }
  const PeBeat *c = e->clock;
  const PeWide from = pe_beat_step(c, s->step + step->ties, h->num, h->den), to = pe_beat_step(c, s->step + step->ties + 1, h->num, h->den);
  const PeWide end = from + (int64_t)(v[LENGTH].target * (double)(int64_t)(to - from));
  const int64_t frames = pe_beat_frame(c, end, h->num, h->den) - c->frames - e->at;
  s->off_frame = s->frames + e->at + (frames > 0 ? frames : 1);
}

PE_RT static void seq_emit(void *state, const PeEmit *e) {
  Seq *s = state;
  if (e->data == NULL) {
    s->off_frame = -1;
    return;
  }
  const Pattern p = pattern_of(e->data);
  const Head *h = p.head;
  const PeBeat *c = e->clock;
  if (s->off_frame >= 0 && s->off_frame - s->frames <= (int64_t)e->at) close_gates(s, e, &p);
  if (!is_playing(e) || s->onset - c->frames > (int64_t)e->at) return;
  const int is_muted = e->params[MUTE].target >= 0.5;
  for (uint32_t i = 0; i < h->n_lanes && !is_muted; i++) {
    const Lane *lane = &p.lanes[i];
    const double value = p.values[lane->first + (uint64_t)s->step % lane->n_values];
    for (uint32_t k = 0; k < lane->n_handles; k++) e->put(e, lane->handle + k, lane->param, value, PE_RAMPED); /* NaN is left out */
  }
  const Step *step = h->n_steps ? &p.steps[(uint64_t)s->step % h->n_steps] : NULL;
  if (step && step->kind != STEP_REST && !is_muted && dice((uint64_t)e->params[SEED].target, (uint64_t)s->step) < e->params[PROBABILITY].target) {
    if (s->off_frame >= 0 && s->n_held > 0) close_gates(s, e, &p); /* the tempo has risen meanwhile */
    play(s, e, &p, step, (uint64_t)s->step / h->n_steps * h->n_hits + step->hits_before);
  }
  s->step++;
  s->onset = onset_of(c, h, s->step);
}

/* Notes that sound are ended if those who play them are others from now on. */
static void seq_end(void *state, const PeEmit *e, const void *data) {
  Seq *s = state;
  if (e->data == NULL || s->off_frame < 0) return;
  const Pattern before = pattern_of(e->data);
  int is_same = data != NULL;
  if (data) {
    const Pattern now = pattern_of(data);
    is_same = now.head->n_targets == before.head->n_targets;
    for (uint32_t i = 0; is_same && i < now.head->n_targets; i++)
      is_same = now.targets[i].kind == before.targets[i].kind && now.targets[i].handle == before.targets[i].handle && now.targets[i].param == before.targets[i].param;
  }
  if (!is_same) close_gates(s, e, &before);
}

/* The number of the next step; 1, and 2 besides while a gate is open that it opened. */
PE_RT static void seq_show(const void *state, const PeEmit *e, uint64_t shown[2]) {
  const Seq *s = state;
  (void)e;
  shown[0] = (uint64_t)s->step;
  shown[1] = 1u | (s->off_frame >= 0 ? 2u : 0u);
}

static void seq_advance(void *state, uint32_t n_frames) { ((Seq *)state)->frames += n_frames; }

static const PeEventOps events = {.order = PE_EVENTS_SEQUENCE, .check = seq_check, .follows = seq_follows, .next = seq_next,
                                  .emit = seq_emit, .end = seq_end, .show = seq_show, .advance = seq_advance};

const PeModule pe_module_seq = {
  .name = "seq", .help = "A track: plays its pattern on other modules, in step with a clock",
  .inputs = "", .outputs = "", .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Seq), .params = params, .data = "pattern",
  .prepare = seq_prepare, .reset = seq_reset, .events = &events,
};
