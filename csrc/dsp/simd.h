/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Vectors of PE_SIMD_LANES floats for the instruction set of this turn of simd_each.h. Included once a turn.
 *
 * Arithmetic is the compiler's own on vector types (+ - * / and comparison, each the IEEE operation per lane); here
 * are the loads, the conversions, and what has no operator. Everything is per lane and exact or correctly rounded, so
 * no operation depends on the width. */
#ifndef PE_DSP_SIMD_H
#define PE_DSP_SIMD_H

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "../rt.h"

/* Four floats, whatever the instruction set: for what goes side by side in fours. */
typedef float   PeQuad __attribute__((vector_size(16)));
typedef int32_t PeQuadMask __attribute__((vector_size(16)));

PE_RT_INLINE PeQuad pe_quad_load(const float *p) {
  PeQuad v;
  memcpy(&v, p, sizeof v);
  return v;
}

PE_RT_INLINE void pe_quad_store(float *p, PeQuad v) { memcpy(p, &v, sizeof v); }

/* 0 where the mask is 0. */
PE_RT_INLINE PeQuad pe_quad_masked(PeQuad v, PeQuadMask mask) { return (PeQuad)((PeQuadMask)v & mask); }

PE_RT_INLINE PeQuad pe_quad_size(PeQuad v) { return pe_quad_masked(v, 0x7fffffff - (PeQuadMask){0}); }

/* Within +-most; NaN gives `most`. */
PE_RT_INLINE PeQuad pe_quad_within(PeQuad v, float most) {
  const PeQuad limit = most - (PeQuad){0};
#if defined(__x86_64__)
  return (PeQuad)_mm_max_ps(_mm_min_ps((__m128)v, (__m128)limit), (__m128)(-limit));
#else
  const PeQuadMask is_less = v < limit, is_more = v > -limit;
  v = (PeQuad)(((PeQuadMask)v & is_less) | ((PeQuadMask)limit & ~is_less));
  return (PeQuad)(((PeQuadMask)v & is_more) | ((PeQuadMask)(-limit) & ~is_more));
#endif
}

/* Rows become columns. */
PE_RT_INLINE void pe_quads_turn(PeQuad q[4]) {
#if defined(__x86_64__)
  const __m128 a = _mm_unpacklo_ps((__m128)q[0], (__m128)q[1]), b = _mm_unpacklo_ps((__m128)q[2], (__m128)q[3]);
  const __m128 c = _mm_unpackhi_ps((__m128)q[0], (__m128)q[1]), d = _mm_unpackhi_ps((__m128)q[2], (__m128)q[3]);
  q[0] = (PeQuad)_mm_movelh_ps(a, b);
  q[1] = (PeQuad)_mm_movehl_ps(b, a);
  q[2] = (PeQuad)_mm_movelh_ps(c, d);
  q[3] = (PeQuad)_mm_movehl_ps(d, c);
#else
  const PeQuad x = q[0], y = q[1], z = q[2], w = q[3];
  for (uint32_t k = 0; k < 4; k++) q[k] = (PeQuad){x[k], y[k], z[k], w[k]};
#endif
}

#endif

#undef VF
#undef VI
#undef VD
#undef VU
#undef VW
#define VF PE_SIMD_NAME(PeVf)   /* float  [PE_SIMD_LANES] */
#define VI PE_SIMD_NAME(PeVi)   /* int32  [PE_SIMD_LANES] */
#define VD PE_SIMD_NAME(PeVd)   /* double [PE_SIMD_LANES / 2] */
#define VW PE_SIMD_NAME(PeVw)   /* uint32 [PE_SIMD_LANES]: what may overflow */
#define VU PE_SIMD_NAME(PeVu)   /* uint64 [PE_SIMD_LANES / 2] */
typedef float    VF __attribute__((vector_size(4 * PE_SIMD_LANES)));
typedef int32_t  VI __attribute__((vector_size(4 * PE_SIMD_LANES)));
typedef double   VD __attribute__((vector_size(4 * PE_SIMD_LANES)));
typedef uint32_t VW __attribute__((vector_size(4 * PE_SIMD_LANES)));
typedef uint64_t VU __attribute__((vector_size(4 * PE_SIMD_LANES)));

#undef PE_V
#define PE_V PE_RT static inline __attribute__((always_inline, unused))

#undef vf_load
#undef vf_store
#undef vf_load_pairs
#undef vd_load
#undef vd_store
#undef vf_all
#undef vf_where
#undef vf_size
#undef vd_all
#undef vd_where
#undef vf_min
#undef vf_max
#undef vi_abs
#undef vi_any
#undef vd_min
#undef vd_max
#undef vf_of_ints
#undef vd_of_floats
#undef vf_of_doubles
#undef vu_load
#undef vu_store
#undef vi_high_halves
#undef vu_lane_numbers
#undef vu_lane_multiples
#define vf_load PE_SIMD_NAME(pe_vf_load)
#define vf_store PE_SIMD_NAME(pe_vf_store)
#define vf_load_pairs PE_SIMD_NAME(pe_vf_load_pairs)
#define vd_load PE_SIMD_NAME(pe_vd_load)
#define vd_store PE_SIMD_NAME(pe_vd_store)
#define vf_all PE_SIMD_NAME(pe_vf_all)
#define vf_where PE_SIMD_NAME(pe_vf_where)
#define vf_size PE_SIMD_NAME(pe_vf_size)
#define vd_all PE_SIMD_NAME(pe_vd_all)
#define vd_where PE_SIMD_NAME(pe_vd_where)
#define vf_min PE_SIMD_NAME(pe_vf_min)
#define vf_max PE_SIMD_NAME(pe_vf_max)
#define vi_abs PE_SIMD_NAME(pe_vi_abs)
#define vi_any PE_SIMD_NAME(pe_vi_any)
#define vd_min PE_SIMD_NAME(pe_vd_min)
#define vd_max PE_SIMD_NAME(pe_vd_max)
#define vf_of_ints PE_SIMD_NAME(pe_vf_of_ints)
#define vd_of_floats PE_SIMD_NAME(pe_vd_of_floats)
#define vf_of_doubles PE_SIMD_NAME(pe_vf_of_doubles)
#define vu_load PE_SIMD_NAME(pe_vu_load)
#define vu_store PE_SIMD_NAME(pe_vu_store)
#define vi_high_halves PE_SIMD_NAME(pe_vi_high_halves)
#define vu_lane_numbers PE_SIMD_NAME(pe_vu_lane_numbers)
#define vu_lane_multiples PE_SIMD_NAME(pe_vu_lane_multiples)

PE_V VF vf_load(const float *p) {
  VF v;
  memcpy(&v, p, sizeof v);
  return v;
}

PE_V void vf_store(float *p, VF v) { memcpy(p, &v, sizeof v); }

/* Of PE_SIMD_LANES pairs the first ones and the second ones. */
PE_V void vf_load_pairs(const float *p, VF *first, VF *second) {
  const VF low = vf_load(p), high = vf_load(p + PE_SIMD_LANES);
#if PE_SIMD_LANES == 16
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  *first = (VF)_mm512_permutex2var_ps((__m512)low, even, (__m512)high);
  *second = (VF)_mm512_permutex2var_ps((__m512)low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), (__m512)high);
#elif PE_SIMD_LANES == 8
  const __m256 near = _mm256_permute2f128_ps((__m256)low, (__m256)high, 0x20), far = _mm256_permute2f128_ps((__m256)low, (__m256)high, 0x31);
  *first = (VF)_mm256_shuffle_ps(near, far, 0x88);  /* halves 0 and 2, 1 and 3: so that what the shuffle does */
  *second = (VF)_mm256_shuffle_ps(near, far, 0xdd); /* half by half comes out in order */
#elif defined(__x86_64__)
  *first = (VF)_mm_shuffle_ps((__m128)low, (__m128)high, 0x88);
  *second = (VF)_mm_shuffle_ps((__m128)low, (__m128)high, 0xdd);
#else
  *first = (VF){low[0], low[2], high[0], high[2]};
  *second = (VF){low[1], low[3], high[1], high[3]};
#endif
}

PE_V VD vd_load(const double *p) {
  VD v;
  memcpy(&v, p, sizeof v);
  return v;
}

PE_V void vd_store(double *p, VD v) { memcpy(p, &v, sizeof v); }

PE_V VF vf_all(float x) { return x - (VF){0}; } /* x - 0 is x, -0 too */
PE_V VD vd_all(double x) { return x - (VD){0}; }

/* Lane by lane a where the mask is all ones, b where it is 0. */
PE_V VF vf_where(VI mask, VF a, VF b) { return (VF)(((VI)a & mask) | ((VI)b & ~mask)); }
PE_V VD vd_where(VU mask, VD a, VD b) { return (VD)(((VU)a & mask) | ((VU)b & ~mask)); }

PE_V VF vf_size(VF v) { return (VF)((VI)v & 0x7fffffff); }

/* v < limit ? v : limit, so NaN gives the limit. */
PE_V VF vf_min(VF v, VF limit) {
#if PE_SIMD_LANES == 16
  return (VF)_mm512_min_ps((__m512)v, (__m512)limit);
#elif PE_SIMD_LANES == 8
  return (VF)_mm256_min_ps((__m256)v, (__m256)limit);
#elif defined(__x86_64__)
  return (VF)_mm_min_ps((__m128)v, (__m128)limit);
#else
  const VI is_less = v < limit;
  return (VF)(((VI)v & is_less) | ((VI)limit & ~is_less));
#endif
}

/* v > limit ? v : limit. */
PE_V VF vf_max(VF v, VF limit) {
#if PE_SIMD_LANES == 16
  return (VF)_mm512_max_ps((__m512)v, (__m512)limit);
#elif PE_SIMD_LANES == 8
  return (VF)_mm256_max_ps((__m256)v, (__m256)limit);
#elif defined(__x86_64__)
  return (VF)_mm_max_ps((__m128)v, (__m128)limit);
#else
  const VI is_more = v > limit;
  return (VF)(((VI)v & is_more) | ((VI)limit & ~is_more));
#endif
}

/* The same of doubles. */
PE_V VD vd_min(VD v, VD limit) {
#if PE_SIMD_LANES == 16
  return (VD)_mm512_min_pd((__m512d)v, (__m512d)limit);
#elif PE_SIMD_LANES == 8
  return (VD)_mm256_min_pd((__m256d)v, (__m256d)limit);
#elif defined(__x86_64__)
  return (VD)_mm_min_pd((__m128d)v, (__m128d)limit);
#else
  const VU is_less = (VU)(v < limit);
  return (VD)(((VU)v & is_less) | ((VU)limit & ~is_less));
#endif
}

PE_V VD vd_max(VD v, VD limit) {
#if PE_SIMD_LANES == 16
  return (VD)_mm512_max_pd((__m512d)v, (__m512d)limit);
#elif PE_SIMD_LANES == 8
  return (VD)_mm256_max_pd((__m256d)v, (__m256d)limit);
#elif defined(__x86_64__)
  return (VD)_mm_max_pd((__m128d)v, (__m128d)limit);
#else
  const VU is_more = (VU)(v > limit);
  return (VD)(((VU)v & is_more) | ((VU)limit & ~is_more));
#endif
}

/* -2^31 stays as it is. */
PE_V VI vi_abs(VI v) {
#if PE_SIMD_LANES == 16
  return (VI)_mm512_abs_epi32((__m512i)v);
#elif PE_SIMD_LANES == 8
  return (VI)_mm256_abs_epi32((__m256i)v);
#else
  const VW sign = (VW)(v >> 31);
  return (VI)(((VW)v ^ sign) - sign);
#endif
}

/* Whether one lane of a mask, of all ones or 0 each, is set. */
PE_V int vi_any(VI mask) {
#if PE_SIMD_LANES == 16
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif PE_SIMD_LANES == 8
  return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__x86_64__)
  return _mm_movemask_ps((__m128)mask) != 0;
#else
  return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
#endif
}

PE_V VF vf_of_ints(VI v) { return __builtin_convertvector(v, VF); }

/* The lower or (half = 1) the upper half of PE_SIMD_LANES floats. */
PE_V VD vd_of_floats(const float *p, int half) {
#if PE_SIMD_LANES == 16
  return (VD)_mm512_cvtps_pd(_mm256_loadu_ps(p + 8 * half));
#elif PE_SIMD_LANES == 8
  return (VD)_mm256_cvtps_pd(_mm_loadu_ps(p + 4 * half));
#else
  return (VD){(double)p[2 * half], (double)p[2 * half + 1]};
#endif
}

PE_V VF vf_of_doubles(VD low, VD high) {
#if PE_SIMD_LANES == 16
  return (VF)_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps((__m512d)low)), _mm512_cvtpd_ps((__m512d)high), 1);
#elif PE_SIMD_LANES == 8
  return (VF)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps((__m256d)low)), _mm256_cvtpd_ps((__m256d)high), 1);
#elif defined(__x86_64__)
  return (VF)_mm_movelh_ps(_mm_cvtpd_ps((__m128d)low), _mm_cvtpd_ps((__m128d)high));
#else
  return (VF){(float)low[0], (float)low[1], (float)high[0], (float)high[1]};
#endif
}

/* PE_SIMD_LANES 64-bit words, in an order of our own in which vi_high_halves is cheap. */
PE_V void vu_load(const uint64_t *p, VU *a, VU *b) {
#if PE_SIMD_LANES == 8
  const __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)p), high = _mm256_loadu_si256((const __m256i *)(const void *)(p + 4));
  *a = (VU)_mm256_permute2x128_si256(low, high, 0x20);
  *b = (VU)_mm256_permute2x128_si256(low, high, 0x31);
#else
  memcpy(a, p, sizeof *a);
  memcpy(b, p + PE_SIMD_LANES / 2, sizeof *b);
#endif
}

PE_V void vu_store(uint64_t *p, VU a, VU b) {
#if PE_SIMD_LANES == 8
  _mm256_storeu_si256((__m256i *)(void *)p, _mm256_permute2x128_si256((__m256i)a, (__m256i)b, 0x20));
  _mm256_storeu_si256((__m256i *)(void *)(p + 4), _mm256_permute2x128_si256((__m256i)a, (__m256i)b, 0x31));
#else
  memcpy(p, &a, sizeof a);
  memcpy(p + PE_SIMD_LANES / 2, &b, sizeof b);
#endif
}

/* 0, 1, 2 ... in the same order. */
PE_V void vu_lane_numbers(VU *a, VU *b) {
#if PE_SIMD_LANES == 16
  *a = (VU){0, 1, 2, 3, 4, 5, 6, 7};
  *b = (VU){8, 9, 10, 11, 12, 13, 14, 15};
#elif PE_SIMD_LANES == 8
  *a = (VU){0, 1, 4, 5};
  *b = (VU){2, 3, 6, 7};
#else
  *a = (VU){0, 1};
  *b = (VU){2, 3};
#endif
}

/* 0, 1, 2 ... times x in the same order, by the bits of the lanes' numbers: a product of 64 bits takes a vector long. */
PE_V void vu_lane_multiples(uint64_t x, VU *a, VU *b) {
  VU n, m;
  vu_lane_numbers(&n, &m);
  *a = *b = (VU){0};
  for (uint32_t bit = 0; 1u << bit < PE_SIMD_LANES; bit++) {
    const VU all = (x << bit) - (VU){0};
    *a += all & (VU)((n >> bit & 1u) != 0);
    *b += all & (VU)((m >> bit & 1u) != 0);
  }
}

/* The upper 32 bits of each word. */
PE_V VI vi_high_halves(VU a, VU b) {
#if PE_SIMD_LANES == 16
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  return (VI)_mm512_permutex2var_epi32((__m512i)a, odd, (__m512i)b);
#elif PE_SIMD_LANES == 8
  return (VI)_mm256_shuffle_ps((__m256)a, (__m256)b, 0xdd);
#elif defined(__x86_64__)
  return (VI)_mm_shuffle_ps((__m128)a, (__m128)b, 0xdd);
#else
  return (VI){(int32_t)(a[0] >> 32), (int32_t)(a[1] >> 32), (int32_t)(b[0] >> 32), (int32_t)(b[1] >> 32)};
#endif
}
