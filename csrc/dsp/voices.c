/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* voices: gives each note a voice, that is, one copy of the nodes it owns.
 *
 * A note takes, in this order: the voice that has the same note; one at rest, the longest first; one that was released, the
 * longest ago first; one that the pedal alone holds, the oldest first; the oldest that is held. A voice is at rest that was
 * never played, or released longer than `tail` ago. One that may still be heard is tuned in PE_RETUNE_US where a
 * phase goes on (an oscillator's frequency), by its ramp elsewhere (a filter's), and its envelope starts from the level it
 * is at: nothing clicks, and nothing glides. */
#include "polyphony.h"

#include "event.h"
#include "note.h"
#include "registry.h"

#define MOST_VOICES 64u
#define MAGIC 0x31636f76u /* "voc1" */

static const PeParam params[PE_VOICES_PARAMS] = {
  [PE_VOICES_VELOCITY] = {.name = "velocity", .alias = "", .unit = "", .choices = "", .help = "Of the notes to come",
                          .min = 0.0, .max = 1.0, .default_value = 0.8},
  [PE_VOICES_NOTE_ON] = {.name = "note_on", .alias = "", .unit = "", .choices = "", .help = "Play this note (69 is A4; fractions are heard); a deed, not a value that is kept",
                         .min = 0.0, .max = 127.0, .default_value = 60.0, .flags = PE_PARAM_EVENT},
  [PE_VOICES_NOTE_OFF] = {.name = "note_off", .alias = "", .unit = "", .choices = "", .help = "Release this note; a deed, not a value that is kept",
                          .min = 0.0, .max = 127.0, .default_value = 60.0, .flags = PE_PARAM_EVENT},
  [PE_VOICES_ALL_OFF] = {.name = "all_off", .alias = "", .unit = "", .choices = "", .help = "Release all notes, whatever the value; a deed, not a value that is kept",
                         .min = 0.0, .max = 1.0, .default_value = 0.0, .flags = PE_PARAM_EVENT},
  [PE_VOICES_SUSTAIN] = {.name = "sustain", .alias = "pedal", .unit = "", .choices = "off,on", .help = "On: released notes go on until it is off",
                         .min = 0.0, .max = 1.0, .default_value = 0.0, .flags = PE_PARAM_INTEGER},
  [PE_VOICES_BEND] = {.name = "bend", .alias = "", .unit = "semitones", .choices = "", .help = "Added to all notes, also to those that sound",
                      .min = -48.0, .max = 48.0, .default_value = 0.0},
  [PE_VOICES_TAIL] = {.name = "tail", .alias = "", .unit = "ms", .choices = "", .help = "How long a released voice may still be heard; a note that takes one tunes its oscillators in 1 ms, all else by its ramp",
                      .min = 0.0, .max = 60000.0, .default_value = 1000.0},
};

/* ---- what the patch is compiled to: pyengine/polyphony.py writes it ------------------------------- */

enum { BIND_FREQ, BIND_NOTE, BIND_VELOCITY, BIND_GATE }; /* in the order they are set */

typedef struct Head {
  uint32_t magic, n_voices, n_bindings, reserved;
} Head;

typedef struct Binding { /* of voice k: node `handle` + k */
  uint32_t kind, handle, param, reserved;
  double   depth, offset;
} Binding;

static PeStatus voices_check(const void *data, uint64_t data_bytes) {
  const Head *h = data;
  if (data == NULL) return PE_OK;
  if (data_bytes < sizeof *h || h->magic != MAGIC || h->n_voices == 0 || h->n_voices > MOST_VOICES) return PE_BAD_ARGUMENT;
  return data_bytes == sizeof *h + h->n_bindings * sizeof(Binding) ? PE_OK : PE_BAD_ARGUMENT;
}

/* ---- state ------------------------------------------------------------------------------------------ */

enum { NEVER_PLAYED, RELEASED, PEDALLED, HELD };

typedef struct Voice {
  double   note;
  int64_t  since;   /* frame at which it became what it is */
  uint64_t is;      /* NEVER_PLAYED, ... */
} Voice;

typedef struct Voices {
  int64_t frames;   /* since it began, when the chunk starts */
  double  sample_rate_hz;
  Voice   voices[MOST_VOICES];
} Voices;
_Static_assert(sizeof(Voices) == 16 + MOST_VOICES * 24, "no padding in a state");

static PeStatus voices_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  (void)max_block_frames;
  *(Voices *)state = (Voices){.sample_rate_hz = sample_rate_hz};
  return PE_OK;
}

static void voices_reset(void *state) {
  Voices *s = state;
  *s = (Voices){.sample_rate_hz = s->sample_rate_hz};
}

/* ---- notes ------------------------------------------------------------------------------------------ */

PE_RT static void set(const PeEmit *e, uint32_t kinds, uint32_t voice, double note, double gate, uint32_t how) {
  const Head *h = e->data;
  const Binding *b = (const Binding *)(const void *)(h + 1);
  const double pitch = note + e->params[PE_VOICES_BEND].target;
  for (uint32_t i = 0; i < h->n_bindings; i++) {
    if (!(kinds >> b[i].kind & 1u)) continue;
    double value = gate;
    if (b[i].kind == BIND_FREQ) value = pe_note_hz(pitch);
    if (b[i].kind == BIND_NOTE) value = pitch;
    if (b[i].kind == BIND_VELOCITY) value = e->params[PE_VOICES_VELOCITY].target;
    e->put(e, b[i].handle + voice, b[i].param, value * b[i].depth + b[i].offset, how);
  }
}

#define PITCH (1u << BIND_FREQ | 1u << BIND_NOTE)
#define STRENGTH (1u << BIND_VELOCITY)
#define GATE (1u << BIND_GATE)

PE_RT static int is_at_rest(const Voices *s, const PeEmit *e, const Voice *v) {
  if (v->is == NEVER_PLAYED) return 1;
  const double tail_frames = e->params[PE_VOICES_TAIL].target * s->sample_rate_hz / 1000.0;
  return v->is == RELEASED && (double)(s->frames + e->at - v->since) >= tail_frames;
}

PE_RT static uint32_t choose(const Voices *s, const PeEmit *e, uint32_t n_voices, double note) {
  uint32_t best = 0;
  uint64_t best_rank = UINT64_MAX;
  for (uint32_t i = 0; i < n_voices; i++) {
    const Voice *v = &s->voices[i];
    if (v->is != NEVER_PLAYED && v->note == note) return i;
    const uint64_t class = is_at_rest(s, e, v) ? 0 : v->is;
    const uint64_t rank = class << 60 | (v->is == NEVER_PLAYED ? 0 : (uint64_t)v->since + 1);
    if (rank >= best_rank) continue;
    best_rank = rank;
    best = i;
  }
  return best;
}

PE_RT static void become(Voices *s, const PeEmit *e, uint32_t voice, uint64_t what) {
  s->voices[voice].is = what;
  s->voices[voice].since = s->frames + e->at;
}

PE_RT static void note_on(Voices *s, const PeEmit *e, uint32_t n_voices, double note) {
  const uint32_t voice = choose(s, e, n_voices, note);
  const uint32_t how = is_at_rest(s, e, &s->voices[voice]) ? PE_AT_ONCE : PE_RETUNED;
  s->voices[voice].note = note;
  become(s, e, voice, HELD);
  set(e, PITCH | STRENGTH, voice, note, 0.0, how);
  set(e, GATE, voice, note, 1.0, PE_RAMPED);
}

PE_RT static void release(Voices *s, const PeEmit *e, uint32_t voice) {
  become(s, e, voice, RELEASED);
  set(e, GATE, voice, 0.0, 0.0, PE_RAMPED);
}

PE_RT static void voices_told(void *state, const PeEmit *e, uint32_t param) {
  Voices *s = state;
  if (e->data == NULL) return;
  const uint32_t n = ((const Head *)e->data)->n_voices;
  const double value = e->params[param].target;
  const int is_pedalled = e->params[PE_VOICES_SUSTAIN].target >= 0.5;
  if (param == PE_VOICES_NOTE_ON) note_on(s, e, n, value);
  for (uint32_t i = 0; i < n && param != PE_VOICES_NOTE_ON; i++) {
    Voice *v = &s->voices[i];
    if (param == PE_VOICES_NOTE_OFF && v->is == HELD && v->note == value) {
      if (is_pedalled)
        become(s, e, i, PEDALLED);
      else
        release(s, e, i);
    }
    if (param == PE_VOICES_ALL_OFF && v->is >= PEDALLED) release(s, e, i);
    if (param == PE_VOICES_SUSTAIN && !is_pedalled && v->is == PEDALLED) release(s, e, i);
    if (param == PE_VOICES_BEND && v->is != NEVER_PLAYED) set(e, PITCH, i, v->note, 0.0, is_at_rest(s, e, v) ? PE_AT_ONCE : PE_RAMPED);
  }
}

/* Voices that are no more have never been played if they come back. */
static void voices_end(void *state, const PeEmit *e, const void *data) {
  Voices *s = state;
  (void)e;
  const uint32_t n = data ? ((const Head *)data)->n_voices : 0;
  for (uint32_t i = n; i < MOST_VOICES; i++) s->voices[i] = (Voice){0};
}

/* A bit for each note that is held, by its nearest number. */
PE_RT static void voices_show(const void *state, const PeEmit *e, uint64_t shown[2]) {
  const Voices *s = state;
  const uint32_t n = e->data ? ((const Head *)e->data)->n_voices : 0;
  for (uint32_t i = 0; i < n; i++) {
    const uint32_t note = (uint32_t)(s->voices[i].note + 0.5);
    if (s->voices[i].is >= PEDALLED) shown[note >> 6 & 1u] |= 1ull << (note & 63u);
  }
}

static void voices_advance(void *state, uint32_t n_frames) { ((Voices *)state)->frames += n_frames; }

static const PeEventOps events = {.order = PE_EVENTS_VOICES, .check = voices_check, .told = voices_told, .end = voices_end, .show = voices_show, .advance = voices_advance};

const PeModule pe_module_voices = {
  .name = "voices", .help = "Plays notes on copies of the modules it owns, one copy for each note that sounds",
  .inputs = "", .outputs = "freq,note,velocity,gate", .n_params = PE_VOICES_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Voices), .params = params, .data = "voices",
  .prepare = voices_prepare, .reset = voices_reset, .events = &events,
};
