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
 * a and b are near; the forms here add up pieces that do not. Errors are those of float32 arithmetic, but for tanh.
 *
 * Vectors of lines, for one instruction set; what depends on a sample is worked out both ways and chosen. */

#define LineMean PE_SIMD_NAME(LineMean)
#define LinePart PE_SIMD_NAME(LinePart)
#define within PE_SIMD_NAME(within)
#define rounded PE_SIMD_NAME(rounded)
#define curve_tanh PE_SIMD_NAME(curve_tanh)
#define curve_soft PE_SIMD_NAME(curve_soft)
#define line_part PE_SIMD_NAME(line_part)
#define line_joined PE_SIMD_NAME(line_joined)
#define line_hard PE_SIMD_NAME(line_hard)
#define line_soft PE_SIMD_NAME(line_soft)
#define line_size PE_SIMD_NAME(line_size)
#define fold_integral PE_SIMD_NAME(fold_integral)
#define fold_integral_2 PE_SIMD_NAME(fold_integral_2)
#define line_fold PE_SIMD_NAME(line_fold)
#define line_tanh_short PE_SIMD_NAME(line_tanh_short)
#define tanh_integrals PE_SIMD_NAME(tanh_integrals)
#define line_tanh_long PE_SIMD_NAME(line_tanh_long)

typedef struct LineMean {
  VF mean, rising;
} LineMean;

PE_V VF within(VF u, float most) { return vf_max(vf_min(u, vf_all(most)), vf_all(-most)); }

PE_V VF rounded(VF x) { return (x + 0x1.8p23f) - 0x1.8p23f; } /* to the nearest whole number; |x| below 2^22 */

/* ---- curves: each is 0 at 0, and its slope there is 1 -------------------------------------------------- */

/* (1 - e) / (1 + e), e = 2^(-2 |u| log2(e)): 2^r of the part below the point by its series, off by 1e-7 at most; the
 * whole part into the exponent. */
PE_V VF curve_tanh(VF u) {
  const VF x = -2.88539008f * vf_min(vf_size(u), vf_all(10.0f));
  const VF shifted = x + 0x1.8p23f, r = x - (shifted - 0x1.8p23f); /* its low bits are the whole part */
  VF p = vf_all(1.52527338e-5f);
  p = p * r + 1.54035304e-4f;
  p = p * r + 1.33335581e-3f;
  p = p * r + 9.61812911e-3f;
  p = p * r + 5.55041087e-2f;
  p = p * r + 0.240226507f;
  p = p * r + 0.693147181f;
  p = p * r + 1.0f;
  const VF e = p * (VF)(((VW)shifted + 127u) << 23), y = (1.0f - e) / (1.0f + e);
  return vf_where(u < 0.0f, -y, y);
}

#define SOFT_LIMIT 1.5f /* where the cubic is level */
PE_V VF curve_soft(VF u) { return u - u * u * u * (4.0f / 27.0f); }

/* ---- lines ------------------------------------------------------------------------------------------- */

/* The part of a line that lies within +-limit: from a to b, between t = from and t = to; outside a curve stays at its end. */
typedef struct LinePart {
  VF a, b, from, to;
} LinePart;

PE_V LinePart line_part(VF a, VF b, float limit) {
  const VF zero = vf_all(0.0f), one = vf_all(1.0f), d = b - a, inner_a = within(a, limit), inner_b = within(b, limit);
  const VI is_level = (d < 1e-30f) & (d > -1e-30f);
  const VF per_d = 1.0f / vf_where(is_level, one, d);
  const VF from = vf_max(vf_min((inner_a - a) * per_d, one), zero), to = vf_max(vf_min((inner_b - a) * per_d, one), zero);
  return (LinePart){inner_a, inner_b, vf_where(is_level, zero, from), vf_where(is_level, one, to)};
}

/* A line whose inner part has a mean and a rising share of its own, and whose ends stay at f(a) and f(b). */
PE_V LineMean line_joined(LinePart part, VF fa, VF fb, VF mean, VF rising) {
  const VF width = part.to - part.from;
  return (LineMean){fa * part.from + width * mean + fb * (1.0f - part.to),
                    0.5f * fa * part.from * part.from + width * (part.from * mean + width * rising) + 0.5f * fb * (1.0f - part.to * part.to)};
}

PE_V LineMean line_hard(VF a, VF b) {
  const LinePart p = line_part(a, b, 1.0f);
  return line_joined(p, p.a, p.b, 0.5f * (p.a + p.b), p.a * (1.0f / 6.0f) + p.b * (1.0f / 3.0f));
}

/* Of the cubic, from p to q, by Boole's rule with values at quarters: exact up to the fifth power. */
PE_V LineMean line_soft(VF a, VF b) {
  const LinePart p = line_part(a, b, SOFT_LIMIT);
  const VF step = 0.25f * (p.b - p.a), middle = 0.5f * (p.a + p.b);
  const VF f0 = curve_soft(p.a), f1 = curve_soft(p.a + step), f2 = curve_soft(middle), f3 = curve_soft(p.b - step), f4 = curve_soft(p.b);
  const VF mean = (7.0f * (f0 + f4) + 32.0f * (f1 + f3) + 12.0f * f2) * (1.0f / 90.0f);
  const VF rising = (7.0f * f4 + (8.0f * f1 + 24.0f * f3) + 6.0f * f2) * (1.0f / 90.0f);
  return line_joined(p, f0, f4, mean, rising);
}

/* Of |u|. */
PE_V LineMean line_size(VF a, VF b) {
  const VF size_a = vf_size(a), size_b = vf_size(b), sum = size_a + size_b;
  const VF at = size_a / vf_where(sum > 1e-30f, sum, vf_all(1.0f)), rest = 1.0f - at; /* where it is 0, if it is */
  const VF crossed = 0.5f * (size_a * at + size_b * rest);
  const VF crossed_rising = size_a * at * at * (1.0f / 6.0f) + size_b * rest * (0.5f * at + rest * (1.0f / 3.0f));
  const VI is_crossed = (a < 0.0f) ^ (b < 0.0f);
  return (LineMean){vf_where(is_crossed, crossed, 0.5f * sum), vf_where(is_crossed, crossed_rising, size_a * (1.0f / 6.0f) + size_b * (1.0f / 3.0f))};
}

/* Antiderivatives of the triangle wave, of mean 0, for |r| up to 2. */
PE_V VF fold_integral(VF r) {
  const VF size = vf_size(r), q = 2.0f - size;
  return vf_where(size < 1.0f, 0.5f * (size * size - 1.0f), 0.5f * (1.0f - q * q));
}

PE_V VF fold_integral_2(VF r) {
  const VF size = vf_size(r), q = size - 2.0f;
  const VF y = vf_where(size < 1.0f, size * (size * size * (1.0f / 6.0f) - 0.5f), q * (0.5f - q * q * (1.0f / 6.0f)));
  return vf_where(r < 0.0f, -y, y);
}

/* A triangle wave of period 4. A line at most 2 long meets one corner, at the odd number nearest to its middle; of a longer
 * one the antiderivatives, which stay within 1/2, lose nothing. */
PE_V LineMean line_fold(VF a, VF b) {
  const VF d = b - a, pairs = rounded(0.25f * (a + b) - 0.5f), corner = 2.0f * pairs + 1.0f;
  const VF odd = 0.5f * pairs - rounded(0.5f * pairs), sign = vf_where(odd != 0.0f, vf_all(-1.0f), vf_all(1.0f));
  const LineMean size = line_size(a - corner, b - corner);
  const VI is_long = (d > 2.0f) | (d < -2.0f);
  const VF per_d = 1.0f / vf_where(is_long, d, vf_all(1.0f));
  const VF at_a = a - 4.0f * rounded(0.25f * a), at_b = b - 4.0f * rounded(0.25f * b), end = fold_integral(at_b);
  const VF mean = (end - fold_integral(at_a)) * per_d;
  const VF rising = (end - (fold_integral_2(at_b) - fold_integral_2(at_a)) * per_d) * per_d;
  return (LineMean){vf_where(is_long, mean, sign * (1.0f - size.mean)), vf_where(is_long, rising, sign * (0.5f - size.rising))};
}

/* tanh counts as +-1 beyond 9, which is off by 3e-8. */
#define TANH_LIMIT 9.0f
#define TANH_SHORT 0.3f

/* Of a line at most TANH_SHORT long within +-TANH_LIMIT, d its length there, fa and fb its ends: Hermite's polynomial of fifth
 * degree through values and two derivatives, f' = 1 - f^2 and f'' = -2 f f'. Off by 5e-7 at most. */
PE_V LineMean line_tanh_short(VF d, VF fa, VF fb) {
  const VF sa = d * (1.0f - fa * fa), sb = d * (1.0f - fb * fb), ca = -2.0f * d * fa * sa, cb = -2.0f * d * fb * sb;
  return (LineMean){0.5f * (fa + fb) + 0.1f * (sa - sb) + (1.0f / 120.0f) * (ca + cb),
                    (fa * (1.0f / 7.0f) + fb * (5.0f / 14.0f)) + (sa * (4.0f / 105.0f) - sb * (13.0f / 210.0f)) + (ca * (1.0f / 280.0f) + cb * (1.0f / 210.0f))};
}

/* The antiderivatives ln(2 cosh u) and its own, of e = exp(-2 |u|): |u| + ln(1 + e), and, for u > 0, u^2 / 2 + pi^2 / 24 +
 * Li2(-e) / 2. Both of e from 0 to 1 by Chebyshev's polynomials: off by 5.3e-10 and 3.0e-11. */
PE_V void tanh_integrals(VD u, VD *once, VD *twice) {
  const VU is_below = (VU)(u < 0.0);
  const VD size = vd_where(is_below, -u, u), x = -2.8853900817779268 * size;
  const VD shifted = x + 0x1.8p52, r = x - (shifted - 0x1.8p52); /* its low bits are the whole number */
  VD p = vd_all(PE_EXP2_FIRST), log = vd_all(0.0020376905156942924), li2 = vd_all(-0.0001235251271794407);
  PE_EXP2_REST(p, r)
  const VD e = p * (VD)(((VU)shifted + 1023u) << 52);
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
  const VD of_half = 0.5 * size * size + (0.41123351671205660912 + li2 * e);
  *once = size + log * e;
  *twice = vd_where(is_below, -of_half, of_half);
}

/* Of longer ones. */
PE_V LineMean line_tanh_long(VF a, VF b) {
  const LinePart p = line_part(a, b, TANH_LIMIT);
  float from[PE_SIMD_LANES], to[PE_SIMD_LANES];
  VD mean[2], rising[2];
  vf_store(from, p.a);
  vf_store(to, p.b);
  for (int half = 0; half < 2; half++) {
    const VD inner_a = vd_of_floats(from, half), inner_b = vd_of_floats(to, half), d = inner_b - inner_a;
    VD once_a, once_b, twice_a, twice_b;
    tanh_integrals(inner_a, &once_a, &twice_a);
    tanh_integrals(inner_b, &once_b, &twice_b);
    const VD per_d = 1.0 / vd_where((VU)((d > 0.1) | (d < -0.1)), d, vd_all(1.0));
    mean[half] = (once_b - once_a) * per_d;
    rising[half] = (once_b - (twice_b - twice_a) * per_d) * per_d;
  }
  const VF one = vf_all(1.0f);
  return line_joined(p, vf_where(p.a < 0.0f, -one, one), vf_where(p.b < 0.0f, -one, one), vf_of_doubles(mean[0], mean[1]), vf_of_doubles(rising[0], rising[1]));
}
