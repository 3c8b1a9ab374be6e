/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* The curves of drive, and what they are on average between two samples.
 *
 * A curve makes harmonics far above even eight times the sample rate, and sampling folds them back. So it is not looked at
 * in single points: what comes in is taken as straight lines from sample to sample, and what the curve makes of them is
 * weighted with a triangle two samples wide, exactly ("antiderivative anti-aliasing" of second order: Parker, Zavalishin,
 * Le Bivic, "Reducing the aliasing of nonlinear waveshaping using continuous-time convolution", DAFx 2016; Bilbao,
 * Esqueda, Parker, Valimaki, IEEE SPL 24 (7), 2017). The triangle's response has double zeros at all multiples of
 * the high rate, where lies what would be folded into the audible band: 52 dB less at 20 kHz, more below.
 *
 * Of each line from a to b are needed its mean, the integral of f(a + t (b - a)) for t from 0 to 1, and its share of the
 * triangle's rising side, the integral of t f(a + t (b - a)). The usual quotients of antiderivatives lose all digits where
 * a and b are near; the forms here add up pieces that do not. Errors are those of float32 arithmetic, but for tanh. */
#ifndef PE_DSP_DRIVE_CURVES_H
#define PE_DSP_DRIVE_CURVES_H

#include <string.h>

#include "approx.h"

typedef struct PeLineMean {
  float mean, rising;
} PeLineMean;

PE_RT_INLINE float pe_curve_within(float u, float most) {
  u = u < most ? u : most;
  return u > -most ? u : -most;
}

/* ---- curves: each is 0 at 0, and its slope there is 1 -------------------------------------------------- */

/* (1 - e) / (1 + e), e = 2^(-2 |u| log2(e)): 2^r of the part below the point by its series, off by 1e-7 at most; the
 * whole part into the exponent. */
PE_RT_INLINE float pe_curve_tanh(float u) {
  const float size = u < 0.0f ? -u : u;
  const float x = -2.88539008f * (size < 10.0f ? size : 10.0f);
  const float whole = (x + 0x1.8p23f) - 0x1.8p23f, r = x - whole;
  float p = 1.52527338e-5f;
  p = p * r + 1.54035304e-4f;
  p = p * r + 1.33335581e-3f;
  p = p * r + 9.61812911e-3f;
  p = p * r + 5.55041087e-2f;
  p = p * r + 0.240226507f;
  p = p * r + 0.693147181f;
  p = p * r + 1.0f;
  const uint32_t exponent = (uint32_t)((int32_t)whole + 127) << 23;
  float scale;
  memcpy(&scale, &exponent, sizeof scale);
  const float e = p * scale, y = (1.0f - e) / (1.0f + e);
  return u < 0.0f ? -y : y;
}

#define PE_SOFT_LIMIT 1.5f /* where the cubic is level */
PE_RT_INLINE float pe_curve_soft(float u) { return u - u * u * u * (4.0f / 27.0f); }

/* ---- lines ------------------------------------------------------------------------------------------- */

/* The part of a line that lies within +-limit: from a to b, between t = from and t = to; outside a curve stays at its end. */
typedef struct PeLinePart {
  float a, b, from, to;
} PeLinePart;

PE_RT_INLINE float pe_part_of_1(float t) {
  t = t < 1.0f ? t : 1.0f;
  return t > 0.0f ? t : 0.0f;
}

PE_RT_INLINE PeLinePart pe_line_part(float a, float b, float limit) {
  const float d = b - a, inner_a = pe_curve_within(a, limit), inner_b = pe_curve_within(b, limit);
  const int is_level = d < 1e-30f && d > -1e-30f;
  const float per_d = 1.0f / (is_level ? 1.0f : d);
  const float from = pe_part_of_1((inner_a - a) * per_d), to = pe_part_of_1((inner_b - a) * per_d);
  return (PeLinePart){inner_a, inner_b, is_level ? 0.0f : from, is_level ? 1.0f : to};
}

/* A line whose inner part has a mean and a rising share of its own, and whose ends stay at f(a) and f(b). */
PE_RT_INLINE PeLineMean pe_line_joined(PeLinePart part, float fa, float fb, float mean, float rising) {
  const float width = part.to - part.from;
  return (PeLineMean){fa * part.from + width * mean + fb * (1.0f - part.to),
                      0.5f * fa * part.from * part.from + width * (part.from * mean + width * rising) + 0.5f * fb * (1.0f - part.to * part.to)};
}

PE_RT_INLINE PeLineMean pe_line_hard(float a, float b) {
  const PeLinePart p = pe_line_part(a, b, 1.0f);
  return pe_line_joined(p, p.a, p.b, 0.5f * (p.a + p.b), p.a * (1.0f / 6.0f) + p.b * (1.0f / 3.0f));
}

/* Of the cubic, from p to q, by Boole's rule with values at quarters: exact up to the fifth power. */
PE_RT_INLINE PeLineMean pe_line_soft(float a, float b) {
  const PeLinePart p = pe_line_part(a, b, PE_SOFT_LIMIT);
  const float step = 0.25f * (p.b - p.a), middle = 0.5f * (p.a + p.b);
  const float f0 = pe_curve_soft(p.a), f1 = pe_curve_soft(p.a + step), f2 = pe_curve_soft(middle), f3 = pe_curve_soft(p.b - step), f4 = pe_curve_soft(p.b);
  const float mean = (7.0f * (f0 + f4) + 32.0f * (f1 + f3) + 12.0f * f2) * (1.0f / 90.0f);
  const float rising = (7.0f * f4 + (8.0f * f1 + 24.0f * f3) + 6.0f * f2) * (1.0f / 90.0f);
  return pe_line_joined(p, f0, f4, mean, rising);
}

/* Of |u|. */
PE_RT_INLINE PeLineMean pe_line_size(float a, float b) {
  const float size_a = a < 0.0f ? -a : a, size_b = b < 0.0f ? -b : b, sum = size_a + size_b;
  const float at = size_a / (sum > 1e-30f ? sum : 1.0f), rest = 1.0f - at; /* where it is 0, if it is */
  const float crossed = 0.5f * (size_a * at + size_b * rest);
  const float crossed_rising = size_a * at * at * (1.0f / 6.0f) + size_b * rest * (0.5f * at + rest * (1.0f / 3.0f));
  const int is_crossed = (a < 0.0f) != (b < 0.0f);
  return (PeLineMean){is_crossed ? crossed : 0.5f * sum, is_crossed ? crossed_rising : size_a * (1.0f / 6.0f) + size_b * (1.0f / 3.0f)};
}

PE_RT_INLINE float pe_rounded(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; } /* to the nearest whole number; |x| below 2^22 */

/* Antiderivatives of the triangle wave, of mean 0, for |r| up to 2. */
PE_RT_INLINE float pe_fold_integral(float r) {
  const float size = r < 0.0f ? -r : r, q = 2.0f - size;
  return size < 1.0f ? 0.5f * (size * size - 1.0f) : 0.5f * (1.0f - q * q);
}

PE_RT_INLINE float pe_fold_integral_2(float r) {
  const float size = r < 0.0f ? -r : r, q = size - 2.0f;
  const float y = size < 1.0f ? size * (size * size * (1.0f / 6.0f) - 0.5f) : q * (0.5f - q * q * (1.0f / 6.0f));
  return r < 0.0f ? -y : y;
}

/* A triangle wave of period 4. A line at most 2 long meets one corner, at the odd number nearest to its middle; of a longer
 * one the antiderivatives, which stay within 1/2, lose nothing. */
PE_RT_INLINE PeLineMean pe_line_fold(float a, float b) {
  const float d = b - a, pairs = pe_rounded(0.25f * (a + b) - 0.5f), corner = 2.0f * pairs + 1.0f;
  const float odd = 0.5f * pairs - pe_rounded(0.5f * pairs), sign = odd != 0.0f ? -1.0f : 1.0f;
  const PeLineMean size = pe_line_size(a - corner, b - corner);
  const int is_long = d > 2.0f || d < -2.0f;
  const float per_d = 1.0f / (is_long ? d : 1.0f);
  const float at_a = a - 4.0f * pe_rounded(0.25f * a), at_b = b - 4.0f * pe_rounded(0.25f * b), end = pe_fold_integral(at_b);
  const float mean = (end - pe_fold_integral(at_a)) * per_d;
  const float rising = (end - (pe_fold_integral_2(at_b) - pe_fold_integral_2(at_a)) * per_d) * per_d;
  return (PeLineMean){is_long ? mean : sign * (1.0f - size.mean), is_long ? rising : sign * (0.5f - size.rising)};
}

/* tanh counts as +-1 beyond 9, which is off by 3e-8. */
#define PE_TANH_LIMIT 9.0f
#define PE_TANH_SHORT 0.3f

/* Of a line at most PE_TANH_SHORT long within +-PE_TANH_LIMIT, fa and fb being its ends: Hermite's polynomial of fifth
 * degree through values and two derivatives, f' = 1 - f^2 and f'' = -2 f f'. Off by 5e-7 at most. */
PE_RT_INLINE PeLineMean pe_line_tanh_short(float a, float b, float fa, float fb) {
  const float d = pe_curve_within(b, PE_TANH_LIMIT) - pe_curve_within(a, PE_TANH_LIMIT);
  const float sa = d * (1.0f - fa * fa), sb = d * (1.0f - fb * fb), ca = -2.0f * d * fa * sa, cb = -2.0f * d * fb * sb;
  return (PeLineMean){0.5f * (fa + fb) + 0.1f * (sa - sb) + (1.0f / 120.0f) * (ca + cb),
                      (fa * (1.0f / 7.0f) + fb * (5.0f / 14.0f)) + (sa * (4.0f / 105.0f) - sb * (13.0f / 210.0f)) + (ca * (1.0f / 280.0f) + cb * (1.0f / 210.0f))};
}

/* The antiderivatives ln(2 cosh u) and its own, of e = exp(-2 |u|): |u| + ln(1 + e), and, for u > 0, u^2 / 2 + pi^2 / 24 +
 * Li2(-e) / 2. Both of e from 0 to 1 by Chebyshev's polynomials: off by 5.3e-10 and 3.0e-11. */
PE_RT_INLINE void pe_tanh_integrals(double u, double *once, double *twice) {
  const double size = u < 0.0 ? -u : u, x = -2.8853900817779268 * size;
  const double shifted = x + 0x1.8p52, r = x - (shifted - 0x1.8p52); /* its low bits are the whole number */
  double p = PE_EXP2_FIRST, log = 0.0020376905156942924, li2 = -0.0001235251271794407, scale;
  PE_EXP2_REST(p, r)
  uint64_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 1023) << 52;
  memcpy(&scale, &bits, sizeof scale);
  const double e = p * scale;
  log = log * e - 0.013444831053308983;
  log = log * e + 0.04155762266182446;
  log = log * e - 0.08253533221543821;
  log = log * e + 0.12425102938625011;
  log = log * e - 0.16108631932672274;
  log = log * e + 0.19891537478711546;
  log = log * e - 0.24987392751435222;
  log = log * e + 0.3333256918212515;
  log = log * e - 0.499999817244886;
  log = log * e + 0.9999999992714393;
  li2 = li2 * e + 0.0008337088573620073;
  li2 = li2 * e - 0.0026699337178871046;
  li2 = li2 * e + 0.005609929456183526;
  li2 = li2 * e - 0.009220316271853986;
  li2 = li2 * e + 0.013590008061272953;
  li2 = li2 * e - 0.01994138193506766;
  li2 = li2 * e + 0.031243141741186475;
  li2 = li2 * e - 0.055555137817615154;
  li2 = li2 * e + 0.12499998997163286;
  li2 = li2 * e - 0.49999999995990974;
  const double of_half = 0.5 * size * size + (0.41123351671205660912 + li2 * e);
  *once = size + log * e;
  *twice = u < 0.0 ? -of_half : of_half;
}

PE_RT_INLINE int pe_line_is_long_for_tanh(float a, float b) {
  const float d = pe_curve_within(b, PE_TANH_LIMIT) - pe_curve_within(a, PE_TANH_LIMIT);
  return d > PE_TANH_SHORT || d < -PE_TANH_SHORT;
}

/* Of a longer one. */
PE_RT_INLINE PeLineMean pe_line_tanh_long(float a, float b) {
  const PeLinePart p = pe_line_part(a, b, PE_TANH_LIMIT);
  double once_a, once_b, twice_a, twice_b;
  pe_tanh_integrals((double)p.a, &once_a, &twice_a);
  pe_tanh_integrals((double)p.b, &once_b, &twice_b);
  const double d = (double)p.b - (double)p.a, per_d = 1.0 / (d > 0.1 || d < -0.1 ? d : 1.0);
  const float mean = (float)((once_b - once_a) * per_d), rising = (float)((once_b - (twice_b - twice_a) * per_d) * per_d);
  return pe_line_joined(p, p.a < 0.0f ? -1.0f : 1.0f, p.b < 0.0f ? -1.0f : 1.0f, mean, rising);
}

#endif
