/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* The functions of libm that a sample may depend on, as our own polynomials: the same operations in the same
 * order everywhere, so that every machine gives the same bits (compile with -ffp-contract=off).
 *
 * All coefficients: minimax by the Remez exchange in 50-digit arithmetic (n coefficients, n + 1 alternating extrema
 * of the weighted error, iterated until these agree to 1e-4), then rounded to the nearest double or float.
 * "Fit" is the polynomial's own error, "max" the largest measured one of the function, rounding included. */
#ifndef PE_DSP_APPROX_H
#define PE_DSP_APPROX_H

#include <stdint.h>
#include <string.h>

#include "../rt.h"

/* The polynomials, by Horner from the second coefficient on: of numbers here, of vectors in param_simd.h and
 * sine_simd.h, the same operations in the same order. */
#define PE_SIN_PI_FIRST 0x1.e3eed5d067092p-12
#define PE_SIN_PI_REST(p, z) \
  p = p * z - 0x1.e30063a02fddap-8; \
  p = p * z + 0x1.50782fca38c05p-4; \
  p = p * z - 0x1.32d2cce2d5361p-1; \
  p = p * z + 0x1.466bc67758700p+1; \
  p = p * z - 0x1.4abbce625be41p+2; \
  p = p * z + 0x1.921fb54442d18p+1;

#define PE_COS_PI_FIRST -0x1.b263c34f1bd5ap-14
#define PE_COS_PI_REST(p, z) \
  p = p * z + 0x1.f9cc40acb9222p-10; \
  p = p * z - 0x1.a6d1ec7e0b97dp-6; \
  p = p * z + 0x1.e1f5068367b21p-3; \
  p = p * z - 0x1.55d3c7e3c9280p+0; \
  p = p * z + 0x1.03c1f081b5aaep+2; \
  p = p * z - 0x1.3bd3cc9be45dep+2;

#define PE_EXP2_FIRST 0x1.e79bb2c58cbeap-32
#define PE_EXP2_REST(p, z) \
  p = p * z + 0x1.e61b4f84266bbp-28; \
  p = p * z + 0x1.b5267ce271c23p-24; \
  p = p * z + 0x1.62bfc79d5939dp-20; \
  p = p * z + 0x1.ffcbfba97fd94p-17; \
  p = p * z + 0x1.4309130ed8c73p-13; \
  p = p * z + 0x1.5d87fe78cd6d2p-10; \
  p = p * z + 0x1.3b2ab6fba011ap-7; \
  p = p * z + 0x1.c6b08d7049fe8p-5; \
  p = p * z + 0x1.ebfbdff82c5a4p-3; \
  p = p * z + 0x1.62e42fefa39efp-1; \
  p = p * z + 1.0;

#define PE_SIN_PHASE_FIRST 0x1.3aede4p-13f
#define PE_SIN_PHASE_REST(p, z) \
  p = p * z - 0x1.32225ep-8f; \
  p = p * z + 0x1.46671cp-4f; \
  p = p * z - 0x1.4abbb8p-1f; \
  p = p * z + 0x1.243f6ap-1f;

/* sin(pi y), |y| <= 1/4. y * P6(y^2), relative error minimised: fit 3.4e-18, max 2.4e-16. */
PE_RT_INLINE double pe_sin_pi(double y) {
  const double z = y * y;
  double p = PE_SIN_PI_FIRST;
  PE_SIN_PI_REST(p, z)
  return p * y;
}

/* cos(pi y), |y| <= 1/4. 1 + z P6(z), z = y^2, relative error minimised: fit 3.9e-20, max 2.0e-16; exact at 0. */
PE_RT_INLINE double pe_cos_pi(double y) {
  const double z = y * y;
  double p = PE_COS_PI_FIRST;
  PE_COS_PI_REST(p, z)
  return p * z + 1.0;
}

/* tan(pi part / whole), 0 <= part < whole / 2. Above whole / 4 the complement is folded by an exact subtraction, so
 * that the relative error stays small up to the pole: max 5.0e-16. */
PE_RT_INLINE double pe_tan_pi(double part, double whole) {
  const int    is_upper = part > 0.25 * whole;
  const double y = (is_upper ? 0.5 * whole - part : part) / whole;
  const double s = pe_sin_pi(y), c = pe_cos_pi(y);
  return (is_upper ? c : s) / (is_upper ? s : c);
}

/* 2^x, |x| <= 1000; exact for whole x. x = n + r with |r| <= 1/2; 1 + r P10(r), relative error minimised:
 * fit 3.4e-18, max 1.9e-16; n goes into the exponent. */
PE_RT_INLINE double pe_exp2(double x) {
  const double round_to_whole = 0x1.8p52; /* adding it leaves no bits below the point */
  const double n = (x + round_to_whole) - round_to_whole;
  const double r = x - n;
  double p = PE_EXP2_FIRST;
  PE_EXP2_REST(p, r)
  const uint64_t exponent = (uint64_t)((int64_t)n + 1023) << 52;
  double scale;
  memcpy(&scale, &exponent, sizeof scale);
  return p * scale;
}

/* log2(x) of a positive, finite x that is not denormal; exact for powers of two. x = 2^n m, sqrt(1/2) <= m < sqrt(2);
 * with s = (m - 1) / (m + 1), log2(m) = s P7(s^2), relative error minimised: fit 1.1e-18, max 3.5e-16 of the result, and
 * 1.8e-16 absolute from 1/2 to 2. */
PE_RT_INLINE double pe_log2(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint64_t from_root = bits - 0x3fe6a09e667f3bcdu; /* the bits of sqrt(1/2) */
  const int64_t  n = (int64_t)(from_root >> 52) - (from_root >> 63 ? 4096 : 0);
  const uint64_t mantissa = bits - ((uint64_t)n << 52);
  double m;
  memcpy(&m, &mantissa, sizeof m);
  const double s = (m - 1.0) / (m + 1.0), z = s * s;
  double p = 0x1.b599068f395a4p-3;
  p = p * z + 0x1.c46d70db9f9dbp-3;
  p = p * z + 0x1.0ca163b071cdfp-2;
  p = p * z + 0x1.484afb697055cp-2;
  p = p * z + 0x1.a61762d6c046fp-2;
  p = p * z + 0x1.2776c50ee381bp-1;
  p = p * z + 0x1.ec709dc3a047dp-1;
  p = p * z + 0x1.71547652b82fep+1;
  return p * s + (double)n;
}

/* sin(2 pi phase / 2^64) in float32. The phase is folded to a quarter turn in integers, exactly:
 * sin(x) = -cos(x + 1/4 turn) = sin(|x + 1/4| - 1/4). Then y + y P4(y^2), y = +-1 at the peaks, relative error
 * minimised; here each coefficient was rounded to float in turn and the rest fitted again. Fit 1.1e-8, max 1.2e-7
 * absolute, -150 dB rms below a full sine. Never beyond +-1. */
PE_RT_INLINE float pe_sin_phase(uint64_t phase) {
  const uint32_t shifted = (uint32_t)(phase >> 32) + 0x40000000u;
  const uint32_t sign = 0u - (shifted >> 31);
  const int32_t  folded = (int32_t)(((shifted ^ sign) - sign) - 0x40000000u);
  const float    y = (float)folded * 0x1p-30f;
  const float    z = y * y;
  float p = PE_SIN_PHASE_FIRST;
  PE_SIN_PHASE_REST(p, z)
  return p * y + y;
}

#endif
