/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* How the sampler reads its recording: at any place, at any speed, round a loop. For sampler.c alone. */
#ifndef PE_DSP_SAMPLER_READ_H
#define PE_DSP_SAMPLER_READ_H

#include "module.h"
#include "sample.h"

#define FRAME ((int64_t)1 << 32)

/* The low-pass: a sinc of WIDE_CUTOFF with a window that is a polynomial of the square of the place, found by least squares
 * iterated to a minimax. Of the rate of the output: flat within 0.001 dB up to 0.45, and -102 dB from 0.583 on, which is
 * what would be heard folded back below 20 kHz at 48 kHz. It reaches over 24 frames of the output to each side. */
#define WIDE_CUTOFF 0.5165f
#define WIDE_REACH 24.0f
#define WIDE_GROUP 16
#define WIDE_FROM 1.06f /* a semitone: from here on the low-pass alone is heard */
#define WIDE_MOST 64u   /* frames a frame, the fastest */
#define WIDE_MOST_TAPS (2u * 24u * WIDE_MOST + 2u)

typedef struct Loop { /* of one call */
  int64_t start, end, fade; /* FRAME is one frame; end 0: there is none */
} Loop;

typedef struct Place { /* that a head reads at, on its way */
  int64_t at, step;
  uint32_t is_looped; /* it has been once round */
} Place;

/* Frame i; beyond its ends a sample is silent. A loop without a crossfade goes on at its other end. */
PE_RT static int64_t frame_at(const Loop *loop, int64_t i, int is_looped) {
  if (loop->end == 0 || loop->fade > 0) return i;
  const int64_t start = loop->start / FRAME, end = loop->end / FRAME;
  if (i >= end && i < end + PE_SAMPLE_TAPS) return i - (end - start);
  if (i < start && i >= start - PE_SAMPLE_TAPS && is_looped) return i + (end - start);
  return i;
}

PE_RT_INLINE int is_inside(const PeSample *sample, const Loop *loop, int64_t first) {
  const int64_t behind = first + PE_SAMPLE_TAPS;
  if (first < 0 || behind > sample->n_frames) return 0;
  return loop->end == 0 || loop->fade > 0 || (first >= loop->start / FRAME && behind <= loop->end / FRAME);
}

/* Taps of the low-pass, in groups: frame by frame, in a loop without a crossfade round its ends. */
typedef struct Taps {
  int64_t at, from; /* the next tap; the frame that it reads */
  int     is_round_start, is_round_end;
} Taps;

PE_RT static Taps taps_from(const Loop *loop, const Place *place, int64_t first) {
  if (loop->end == 0 || loop->fade > 0) return (Taps){.at = first, .from = first};
  const int64_t start = loop->start / FRAME, end = loop->end / FRAME, length = end - start;
  const int is_backwards = place->step < 0;
  const int is_round_start = place->at >= loop->start && (place->is_looped || is_backwards);
  const int is_round_end = place->at < loop->end && (place->is_looped || !is_backwards);
  const int64_t beyond = (first - start) % length, round = start + (beyond < 0 ? beyond + length : beyond);
  const int is_round = first < start ? is_round_start : first >= end && is_round_end;
  return (Taps){.at = first, .from = is_round ? round : first, .is_round_start = is_round_start, .is_round_end = is_round_end};
}

PE_RT static const float *taps_next(Taps *taps, const PeSample *sample, const Loop *loop, float near[2 * WIDE_GROUP]) {
  const uint32_t n = sample->n_channels;
  const int64_t behind = taps->from + WIDE_GROUP, end = loop->end / FRAME, start = loop->start / FRAME;
  const int has_turns = taps->is_round_start || taps->is_round_end;
  if (taps->from >= 0 && behind <= sample->n_frames && (!has_turns || behind < end)) {
    const float *x = sample->frames + taps->from * n;
    taps->at += WIDE_GROUP;
    taps->from = behind;
    return x;
  }
  for (uint32_t k = 0; k < WIDE_GROUP; k++) {
    const int is_there = taps->from >= 0 && taps->from < sample->n_frames;
    for (uint32_t c = 0; c < n; c++) near[k * n + c] = is_there ? sample->frames[taps->from * n + c] : 0.0f;
    taps->at++;
    taps->from++;
    if (has_turns && taps->from == end && (taps->is_round_end || taps->at <= start)) taps->from = start;
  }
  return near;
}

typedef struct WideKernel { /* the weights of a speed and of a place between two frames */
  float width, part; /* width 0: none yet */
  float weights[(WIDE_MOST_TAPS + WIDE_GROUP - 1) / WIDE_GROUP * WIDE_GROUP];
} WideKernel;

typedef void WideRead(WideKernel *kernel, const PeSample *sample, const Loop *loop, const Place *place, float width, float out[2]);

/* Both channels at a place, with all that lies between frames there. */
PE_RT_INLINE void near_read(const PeSample *sample, const Loop *loop, int64_t at, int is_looped, float out[2]) {
  float weights[PE_SAMPLE_TAPS], near[2 * PE_SAMPLE_TAPS];
  const uint32_t n = sample->n_channels;
  const int64_t i = at >> 32, first = i - PE_SAMPLE_BEFORE;
  const uint32_t part = (uint32_t)at;
  const int is_plain = is_inside(sample, loop, first);
  if (part == 0 && is_plain) {
    out[0] = sample->frames[i * n];
    out[1] = sample->frames[i * n + n - 1];
    return;
  }
  const float *x = near;
  if (is_plain) {
    x = sample->frames + first * n;
  } else {
    for (int64_t k = 0; k < PE_SAMPLE_TAPS; k++) {
      const int64_t from = frame_at(loop, first + k, is_looped);
      const int is_there = from >= 0 && from < sample->n_frames;
      for (uint32_t c = 0; c < n; c++) near[k * n + c] = is_there ? sample->frames[from * n + c] : 0.0f;
    }
  }
  if (part == 0) {
    out[0] = x[PE_SAMPLE_BEFORE * n];
    out[1] = x[PE_SAMPLE_BEFORE * n + n - 1];
    return;
  }
  pe_sample_taps((float)part * 0x1p-32f, weights);
  out[0] = pe_sample_sum(x, n, weights);
  out[1] = n > 1 ? pe_sample_sum(x + 1, n, weights) : out[0];
}

/* Both channels at a place, without what its step would fold back. */
PE_RT_INLINE void read_at(WideRead *wide, WideKernel *kernel, const PeSample *sample, const Loop *loop, const Place *place, float out[2]) {
  const float step = (float)((double)place->step * 0x1p-32), width = step < 0.0f ? -step : step;
  float other[2] = {0.0f, 0.0f};
  if (width < WIDE_FROM) near_read(sample, loop, place->at, (int)place->is_looped, out);
  if (width <= 1.0f) return;
  wide(kernel, sample, loop, place, width, other);
  const float t = width < WIDE_FROM ? (width - 1.0f) * (1.0f / (WIDE_FROM - 1.0f)) : 1.0f;
  for (uint32_t c = 0; c < 2; c++) out[c] = t < 1.0f ? out[c] + t * (other[c] - out[c]) : other[c];
}

#endif
