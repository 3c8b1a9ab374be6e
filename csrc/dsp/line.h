/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Delay lines in a module's memory: slot by slot, one a frame, several lines side by side as lanes of a slot. What was
 * never written counts as 0, whatever the memory holds. */
#ifndef PE_DSP_LINE_H
#define PE_DSP_LINE_H

#include <stdint.h>

#include "../rt.h"
#include "module.h"

#define PE_LINE_MARGIN 8u     /* slots beyond the longest delay: taps around it, and the one being written */
#define PE_LINE_SNAP 1.0e-20f /* -400 dB: below it a line takes 0, so that echoes come to an end */

/* The smallest power of two that holds a delay of `frames`. */
PE_RT_INLINE uint32_t pe_line_slots(double frames) {
  uint32_t slots = 16;
  while ((double)slots < frames + PE_LINE_MARGIN) slots *= 2;
  return slots;
}

typedef struct PeLine { /* one lane */
  const float *memory;
  uint64_t     count; /* slots written so far */
  uint32_t     mask, stride;
} PeLine;

PE_RT_INLINE PeLine pe_line(const PeBlock *b, uint64_t count, uint32_t lane, uint32_t slot_floats) {
  return (PeLine){.memory = b->memory + lane, .count = count, .mask = b->memory_slots - 1, .stride = slot_floats};
}

/* What was written n slots ago: 1 is the newest. n is below the number of slots. */
PE_RT_INLINE float pe_line_at(const PeLine *line, uint32_t n) {
  return n <= line->count ? line->memory[(size_t)((uint32_t)(line->count - n) & line->mask) * line->stride] : 0.0f;
}

/* A sample as a line takes it: bounded, 0 for NaN and below -400 dB. */
PE_RT_INLINE float pe_line_taken(float x) {
  x = x == x ? x : 0.0f;
  x = x < PE_SAMPLE_LIMIT ? x : PE_SAMPLE_LIMIT;
  x = x > -PE_SAMPLE_LIMIT ? x : -PE_SAMPLE_LIMIT;
  return x > PE_LINE_SNAP || x < -PE_LINE_SNAP ? x : 0.0f;
}

/* Between slots: Lagrange's polynomial through taps around the place, exact at whole numbers. In the middle between two
 * slots, where it is worst, six taps are down 0.002 dB at a tenth of the sample rate, 0.13 dB at a fifth and 3 dB at
 * 0.36; four taps 0.03 dB, 0.46 dB, and 3 dB at 0.33. Never above 0 dB. */
typedef struct PeTap6 {
  uint32_t first; /* slots ago of the nearest tap */
  uint32_t is_whole;
  float    weights[6];
} PeTap6;

/* delay: 3 frames at least. */
PE_RT_INLINE PeTap6 pe_tap6(double delay) {
  const uint32_t n = (uint32_t)delay;
  const double c = delay - (double)n, a = c + 2.0, b = c + 1.0, d = c - 1.0, e = c - 2.0, g = c - 3.0;
  const double left = a * b, mid = c * d, right = e * g;
  return (PeTap6){.first = n - 2, .is_whole = c == 0.0,
                  .weights = {(float)(b * mid * right * (-1.0 / 120.0)), (float)(a * mid * right * (1.0 / 24.0)),
                              (float)(left * d * right * (-1.0 / 12.0)), (float)(left * c * right * (1.0 / 12.0)),
                              (float)(left * mid * g * (-1.0 / 24.0)), (float)(left * mid * e * (1.0 / 120.0))}};
}

/* Of a line of one lane. The ways differ in speed alone: no line holds -0. */
PE_RT_INLINE float pe_line_read6(const PeLine *line, const PeTap6 *tap) {
  if (tap->is_whole) return pe_line_at(line, tap->first + 2);
  const uint32_t last = (uint32_t)(line->count - tap->first - 5) & line->mask;
  float sum = 0.0f;
  if (tap->first + 5 <= line->count && last + 5 <= line->mask) {
    const float *x = line->memory + last;
    for (uint32_t k = 0; k < 6; k++) sum += tap->weights[k] * x[5 - k];
    return sum;
  }
  for (uint32_t k = 0; k < 6; k++) sum += tap->weights[k] * pe_line_at(line, tap->first + k);
  return sum;
}

#endif
