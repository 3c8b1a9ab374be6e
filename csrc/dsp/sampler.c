/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* sampler: plays a recording, which lies at the engine's rate in the node's data. Up to four heads read it: the newest
 * strike's, and those that it and the ones before have cut off, which fade out beside it: so no strike clicks.
 *
 * Places are frames x 2^32. Where a head moves by more than a frame a frame, what it reads would be folded back: it is read
 * through a low-pass that narrows as the pitch rises, as said below. Its kernel is as wide as the pitch
 * asks for at each frame, so nothing is switched when the pitch moves; from a step of 1 to WIDE_FROM it takes over from
 * the taps for lower pitches, which at a step of 1 give the very samples. */
#include "approx.h"
#include "gate.h"
#include "levels.h"
#include "module.h"
#include "registry.h"
#include "sampler_read.h"

enum { GATE, PITCH, RATE, START, VELOCITY, GAIN, MODE, RELEASE, LOOP, LOOP_START, LOOP_END, LOOP_FADE, N_PARAMS };
enum { ONESHOT, GATED };
enum { OFF, ON, INSIDE, LOOPED }; /* heads: before or behind the loop, in it, once round */

#define N_HEADS 4u
#define CUT_MS 2.0          /* of a head that is struck again, of a beginning within the sound, and at its end */
#define MOST_STEP ((double)WIDE_MOST)
#define LEAST_LOOP_FRAMES 32

static const PeParam params[N_PARAMS] = {
  [GATE] = {.name = "gate", .alias = "", .unit = "", .choices = "", .help = "Setting it to 1 plays from the start, and so does a cable that rises to 0.5",
            .min = 0.0, .max = 1.0, .default_value = 0.0, .flags = PE_PARAM_GATE | PE_PARAM_CABLE},
  [PITCH] = {.name = "pitch", .alias = "", .unit = "semitones", .choices = "", .help = "Moves the pitch, and the speed with it",
             .min = -60.0, .max = 60.0, .default_value = 0.0, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [RATE] = {.name = "rate", .alias = "speed", .unit = "", .choices = "", .help = "Speed, and the pitch with it; below 0 it plays backwards, from the end",
            .min = -8.0, .max = 8.0, .default_value = 1.0, .ramp_us = 10000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [START] = {.name = "start", .alias = "", .unit = "", .choices = "", .help = "Where it begins, as a part of the whole; as it is when it is struck",
             .min = 0.0, .max = 1.0, .default_value = 0.0, .flags = PE_PARAM_CABLE},
  [VELOCITY] = {.name = "velocity", .alias = "", .unit = "", .choices = "", .help = "How hard it is struck, as a linear factor; as it is when it is struck",
                .min = 0.0, .max = 1.0, .default_value = 1.0, .flags = PE_PARAM_CABLE},
  [GAIN] = {.name = "gain", .alias = "", .unit = "", .choices = "", .help = "Linear factor of the output",
            .min = 0.0, .max = 16.0, .default_value = 1.0, .ramp_us = 5000, .flags = PE_PARAM_RAMPED | PE_PARAM_CABLE},
  [MODE] = {.name = "mode", .alias = "", .unit = "", .choices = "oneshot,gate", .help = "oneshot plays to the end; gate stops when the gate closes",
            .min = 0.0, .max = 1.0, .default_value = ONESHOT, .flags = PE_PARAM_INTEGER},
  [RELEASE] = {.name = "release", .alias = "", .unit = "ms", .choices = "", .help = "From the gate's closing to silence, in mode gate",
               .min = 1.0, .max = 10000.0, .default_value = 10.0, .flags = 0},
  [LOOP] = {.name = "loop", .alias = "", .unit = "", .choices = "off,on", .help = "Goes round between loop_start and loop_end",
            .min = 0.0, .max = 1.0, .default_value = 0.0, .flags = PE_PARAM_INTEGER},
  [LOOP_START] = {.name = "loop_start", .alias = "", .unit = "", .choices = "", .help = "As a part of the whole",
                  .min = 0.0, .max = 1.0, .default_value = 0.0, .flags = 0},
  [LOOP_END] = {.name = "loop_end", .alias = "", .unit = "", .choices = "", .help = "As a part of the whole; at least 32 frames behind loop_start",
                .min = 0.0, .max = 1.0, .default_value = 1.0, .flags = 0},
  [LOOP_FADE] = {.name = "loop_fade", .alias = "", .unit = "ms", .choices = "", .help = "Crossfade from the end of the loop to what lies in front of its start; 0 joins them as they are",
                 .min = 0.0, .max = 1000.0, .default_value = 5.0, .flags = 0},
};

typedef struct Head {
  int64_t  at, step;       /* FRAME is one frame */
  float    velocity;
  float    level, slope;   /* of a fade, and what it changes by a frame; 0: none */
  uint32_t is_on;
} Head;

typedef struct Sampler {
  double   sample_rate_hz;
  PeStrike strike;
  uint32_t is_opened;      /* by the warm-up */
  uint32_t is_jumped[2];   /* the ramp of pitch and of rate is passed over: it was struck meanwhile */
  uint32_t reserved;
  Head     heads[N_HEADS]; /* the newest strike's first */
} Sampler;
_Static_assert(sizeof(Sampler) == 32 + N_HEADS * 32, "no padding in a state");

static PeStatus sampler_prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  (void)max_block_frames;
  *(Sampler *)state = (Sampler){.sample_rate_hz = sample_rate_hz};
  return PE_OK;
}

static void sampler_reset(void *state) { sampler_prepare(state, ((const Sampler *)state)->sample_rate_hz, 0); }

static void sampler_changed(void *state, const PeSmooth *p, uint32_t param, int is_immediate) {
  (void)is_immediate;
  if (param == GATE) pe_strike_command(&((Sampler *)state)->strike, p[GATE].target);
}

static void sampler_open(void *state, const PeSmooth *p) {
  Sampler *s = state;
  (void)p;
  s->strike.is_asked = 1;
  s->is_opened = 1;
}

/* ---- the loop -------------------------------------------------------------------------------------- */

PE_RT static Loop loop_of(const Sampler *s, const PeBlock *b, const PeSample *sample) {
  if (b->params[LOOP].target < 0.5 || sample->n_frames < LEAST_LOOP_FRAMES) return (Loop){.end = 0};
  const double n = (double)sample->n_frames;
  int64_t start = (int64_t)(b->params[LOOP_START].target * n), end = (int64_t)(b->params[LOOP_END].target * n);
  if (end < start + LEAST_LOOP_FRAMES) end = start + LEAST_LOOP_FRAMES;
  if (end > sample->n_frames) {
    end = sample->n_frames;
    start = start < end - LEAST_LOOP_FRAMES ? start : end - LEAST_LOOP_FRAMES;
  }
  int64_t fade = (int64_t)(b->params[LOOP_FADE].target * s->sample_rate_hz / 1000.0);
  fade = fade < end - start ? fade : end - start;
  return (Loop){.start = start * FRAME, .end = end * FRAME, .fade = fade * FRAME};
}

/* ---- heads ----------------------------------------------------------------------------------------- */

PE_RT_INLINE float cut_slope(const Sampler *s) { return (float)(1000.0 / (CUT_MS * s->sample_rate_hz)); }

/* How far it is to where a head that does not loop ends, as a part of the last 2 ms, at most 1. */
PE_RT_INLINE float end_level(const Sampler *s, const PeSample *sample, const Head *h) {
  const double fade = CUT_MS * s->sample_rate_hz / 1000.0, most = (double)sample->n_frames / 8.0;
  const double left = (double)(h->step < 0 ? h->at : sample->n_frames * FRAME - h->at) * 0x1p-32;
  const double level = left / (fade < most ? fade : most);
  return level < 1.0 ? (float)level : 1.0f;
}

PE_RT_INLINE int loops(const Loop *loop, const Head *h) {
  return loop->end != 0 && (h->step < 0 ? h->at >= loop->start : h->at < loop->end);
}

/* What a head reads: crossfaded where its loop nears its end, faded where the sample does. */
PE_RT_INLINE void head_read(const Sampler *s, WideRead *wide, WideKernel *kernel, const PeSample *sample, const Loop *loop, const Head *h, float out[2]) {
  const int64_t length = loop->end - loop->start;
  read_at(wide, kernel, sample, loop, &(Place){h->at, h->step, h->is_on == LOOPED}, out);
  if (!loops(loop, h)) {
    const float level = end_level(s, sample, h);
    out[0] *= level;
    out[1] *= level;
    return;
  }
  const int64_t into = h->step < 0 ? loop->start + loop->fade - h->at : h->at - (loop->end - loop->fade);
  if (loop->fade == 0 || into <= 0 || into > loop->fade) return;
  const float t = (float)((double)into / (double)loop->fade);
  float other[2] = {0.0f, 0.0f};
  read_at(wide, kernel, sample, loop, &(Place){h->step < 0 ? h->at + length : h->at - length, h->step, 0}, other);
  for (uint32_t c = 0; c < 2; c++) out[c] += t * (other[c] - out[c]);
}

PE_RT_INLINE void head_advance(const PeSample *sample, const Loop *loop, Head *h) {
  const int had_loop = loops(loop, h);
  const int64_t length = loop->end - loop->start;
  h->at += h->step;
  if (had_loop && !loops(loop, h)) { /* once round, or more at a great speed */
    const int64_t beyond = h->step < 0 ? loop->start - h->at - 1 : h->at - loop->end;
    h->at = h->step < 0 ? loop->end - 1 - beyond % length : loop->start + beyond % length;
    h->is_on = LOOPED;
  } else if (h->is_on == ON && loop->end != 0 && h->at >= loop->start && h->at < loop->end) {
    h->is_on = INSIDE;
  }
  if (h->at < 0 || h->at >= sample->n_frames * FRAME) h->is_on = OFF;
  h->level += h->slope;
  if (h->level >= 1.0f && h->slope > 0.0f) {
    h->level = 1.0f;
    h->slope = 0.0f;
  }
  if (h->level <= 0.0f && h->slope < 0.0f) h->is_on = OFF;
}

PE_RT_INLINE void head_release(Head *h, float slope) {
  if (h->slope < 0.0f && -h->slope > slope) return; /* it falls faster */
  h->slope = -slope;
}

/* The newest head fades out from now on, and its place is free; where all are at work the oldest is cut off. */
PE_RT static void cut(Sampler *s) {
  if (!s->heads[0].is_on) return;
  uint32_t free = 1;
  while (free < N_HEADS - 1 && s->heads[free].is_on) free++;
  for (; free > 0; free--) s->heads[free] = s->heads[free - 1];
  head_release(&s->heads[1], cut_slope(s));
  s->heads[0] = (Head){.is_on = OFF};
}

PE_RT_INLINE double passed_over(uint32_t *is_jumped, const PeBlock *b, uint32_t param, uint32_t i) {
  const PeSmooth *p = &b->params[param];
  if (i >= p->remaining) *is_jumped = 0;
  double v = *is_jumped ? p->target : pe_smooth_at(p, i);
  if (b->mods[param]) v += (double)b->mods[param][i];
  v = v > params[param].min ? v : params[param].min; /* NaN too */
  return v < params[param].max ? v : params[param].max;
}

PE_RT_INLINE int64_t step_at(Sampler *s, const PeBlock *b, uint32_t i) {
  const double pitch = passed_over(&s->is_jumped[0], b, PITCH, i), rate = passed_over(&s->is_jumped[1], b, RATE, i);
  const double step = rate * pe_exp2(pitch / 12.0);
  return (int64_t)((step > MOST_STEP ? MOST_STEP : step < -MOST_STEP ? -MOST_STEP : step) * 0x1p32);
}

PE_RT static void strike(Sampler *s, const PeBlock *b, const PeSample *sample, uint32_t i) {
  s->is_jumped[0] = s->is_jumped[1] = 1;
  cut(s);
  const int64_t step = step_at(s, b, i), last = sample->n_frames - 1;
  int64_t from = (int64_t)(pe_block_param(b, START, i, 0.0, 1.0) * (double)sample->n_frames);
  from = from < last ? from : last;
  if (s->is_opened) from = step < 0 ? last - sample->loud_frame : sample->loud_frame;
  const int is_inside_sound = from > 0 || step < 0;
  const float slope = cut_slope(s);
  s->heads[0] = (Head){.at = (step < 0 ? last - from : from) * FRAME, .step = step, .velocity = pe_level_at(b, params, VELOCITY, i),
                       .level = is_inside_sound ? slope : 1.0f, .slope = is_inside_sound ? slope : 0.0f, .is_on = ON};
}

/* The loop was moved away from where the newest head is: it goes on within it. */
PE_RT static void rejoin(Sampler *s, const Loop *loop) {
  const Head h = s->heads[0];
  if (h.is_on < INSIDE || loop->end == 0 || (h.at >= loop->start && h.at < loop->end)) return;
  const int64_t length = loop->end - loop->start, beyond = (h.at - loop->start) % length;
  const float slope = cut_slope(s);
  cut(s);
  s->heads[0] = (Head){.at = loop->start + (beyond < 0 ? beyond + length : beyond), .step = h.step, .velocity = h.velocity,
                       .level = slope, .slope = h.slope < 0.0f ? h.slope : slope, .is_on = LOOPED};
}

/* ---- all of it ------------------------------------------------------------------------------------- */

PE_RT_INLINE int is_closed(const PeBlock *b, uint32_t i) {
  return b->mods[GATE] ? !pe_gate_is_high(b->mods[GATE][i]) : b->params[GATE].target < 0.5;
}

PE_RT_INLINE int is_sounding(const Sampler *s) {
  uint32_t any = 0;
  for (uint32_t k = 0; k < N_HEADS; k++) any |= s->heads[k].is_on;
  return any != 0;
}

PE_RT_INLINE void sampler_run(Sampler *s, const PeBlock *b, WideRead *wide) {
  const PeSample sample = pe_sample(b->data, b->data_bytes);
  const Loop loop = loop_of(s, b, &sample);
  const int is_gated = b->params[MODE].target >= 0.5 && !s->is_opened;
  const float release = (float)(1000.0 / (b->params[RELEASE].target * s->sample_rate_hz));
  const int is_still = pe_block_param_is_constant(b, PITCH) && pe_block_param_is_constant(b, RATE);
  WideKernel kernel;
  kernel.width = 0.0f;
  rejoin(s, &loop);
  for (uint32_t i = 0, next; i < b->n_frames; i = next) {
    if (pe_strike_at(&s->strike, b->mods[GATE], i) && sample.frames) strike(s, b, &sample, i);
    next = pe_strike_next(&s->strike, b->mods[GATE], i, b->n_frames);
    if (!is_sounding(s)) {
      s->heads[0].step = 0;
      for (; i < next; i++) b->outputs[0][i] = b->outputs[1][i] = 0.0f;
      continue;
    }
    int64_t step = step_at(s, b, i);
    for (; i < next; i++) {
      if (!is_still && is_sounding(s)) step = step_at(s, b, i);
      if (is_gated && s->heads[0].is_on && is_closed(b, i)) head_release(&s->heads[0], release);
      s->heads[0].step = s->heads[0].is_on ? step : 0;
      float out[2] = {0.0f, 0.0f};
      for (uint32_t k = 0; k < N_HEADS && sample.frames; k++) {
        Head *h = &s->heads[k];
        if (!h->is_on) continue;
        float x[2] = {0.0f, 0.0f};
        head_read(s, wide, &kernel, &sample, &loop, h, x);
        const float level = h->velocity * h->level;
        out[0] += level * x[0];
        out[1] += level * x[1];
        head_advance(&sample, &loop, h);
      }
      const float gain = pe_level_at(b, params, GAIN, i);
      b->outputs[0][i] = pe_bounded(gain * out[0]);
      b->outputs[1][i] = pe_bounded(gain * out[1]);
    }
  }
}

#define PE_SIMD_BODY "sampler_simd.h"
#include "simd_each.h"

#define ROW(isa) {sampler_process_##isa, NULL}
static const PeModuleIsa isa[PE_ISAS] = PE_SIMD_EACH(ROW);

const PeModule pe_module_sampler = {
  .name = "sampler", .help = "Plays a recording: a WAV or FLAC file", .inputs = "", .outputs = "left,right",
  .n_inputs = 0, .n_outputs = 2, .n_params = N_PARAMS,
  .state_version = 1, .state_bytes = sizeof(Sampler), .params = params, .data = "sample",
  .prepare = sampler_prepare, .reset = sampler_reset, .changed = sampler_changed, .open = sampler_open, .process = sampler_process_base, .isa = isa,
};
