/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* svf for one instruction set. */
#include "param_simd.h"

#define Coefficients PE_SIMD_NAME(Coefficients)
#define coefficients PE_SIMD_NAME(coefficients)
#define frame PE_SIMD_NAME(frame)
#define put PE_SIMD_NAME(put)
#define steady PE_SIMD_NAME(steady)
#define moving PE_SIMD_NAME(moving)

typedef struct Coefficients { /* of up to a chunk of frames; vectors may reach behind it */
  double k[PE_CHUNK_FRAMES + PE_SIMD_LANES], a1[PE_CHUNK_FRAMES + PE_SIMD_LANES];
  double a2[PE_CHUNK_FRAMES + PE_SIMD_LANES], a3[PE_CHUNK_FRAMES + PE_SIMD_LANES];
} Coefficients;

PE_RT static void coefficients(const Svf *s, const PeBlock *b, uint32_t at, uint32_t n, Coefficients *c) {
  for (uint32_t i = 0; i < n; i += PE_SIMD_LANES / 2) {
    const VD cutoff_hz = vd_param(b, CUTOFF, at + i, n - i, params[CUTOFF].min, s->max_hz);
    const VD shift = vd_param(b, SHIFT, at + i, n - i, -SHIFT_OCTAVES, SHIFT_OCTAVES);
    const VD k = 1.0 / vd_param(b, Q, at + i, n - i, params[Q].min, params[Q].max);
    const VD shifted_hz = vd_min(vd_max(cutoff_hz * vd_exp2(shift), vd_all(params[CUTOFF].min)), vd_all(s->max_hz));
    const VD g = vd_tan_pi(shifted_hz, s->sample_rate_hz);
    const VD a1 = 1.0 / (1.0 + g * (g + k)), a2 = g * a1;
    vd_store(c->k + i, k);
    vd_store(c->a1 + i, a1);
    vd_store(c->a2 + i, a2);
    vd_store(c->a3 + i, g * a2);
  }
}

/* One frame of the integrators: band-pass in *v1, low-pass in *v2. */
PE_RT_INLINE void frame(double *s1, double *s2, double a1, double a2, double a3, double x, double *v1, double *v2) {
  const double v3 = x - *s2;
  *v1 = a1 * *s1 + a2 * v3;
  *v2 = *s2 + (a2 * *s1 + a3 * v3);
  *s1 = 2.0 * *v1 - *s1;
  *s2 = 2.0 * *v2 - *s2;
}

/* The four responses of frame i, from x, band-pass (times k: 0 dB at its peak) and low-pass. */
PE_RT_INLINE void put(const PeBlock *b, uint32_t i, double x, double band, double low) {
  const double notch = x - band;
  b->outputs[LOW][i] = pe_limited(low);
  b->outputs[BAND][i] = pe_limited(band);
  b->outputs[HIGH][i] = pe_limited(notch - low);
  b->outputs[NOTCH][i] = pe_limited(notch);
}

PE_RT static void steady(Svf *s, const PeBlock *b, uint32_t at, uint32_t n) {
  double x[PE_CHUNK_FRAMES], v1[PE_CHUNK_FRAMES], v2[PE_CHUNK_FRAMES];
  const double k = s->k, a1 = s->a1, a2 = s->a2, a3 = s->a3;
  double s1 = s->state1, s2 = s->state2;
  for (uint32_t i = 0; i < n; i++) x[i] = b->inputs[0] ? (double)pe_taken(b->inputs[0][at + i]) : 0.0;
  for (uint32_t i = 0; i < n; i++) frame(&s1, &s2, a1, a2, a3, x[i], &v1[i], &v2[i]);
  for (uint32_t i = 0; i < n; i++) put(b, at + i, x[i], k * v1[i], v2[i]);
  s->state1 = s1;
  s->state2 = s2;
}

PE_RT static void moving(Svf *s, const PeBlock *b, uint32_t at, uint32_t n) {
  Coefficients c;
  double x[PE_CHUNK_FRAMES], v1[PE_CHUNK_FRAMES], v2[PE_CHUNK_FRAMES];
  double s1 = s->state1, s2 = s->state2;
  coefficients(s, b, at, n, &c);
  for (uint32_t i = 0; i < n; i++) x[i] = b->inputs[0] ? (double)pe_taken(b->inputs[0][at + i]) : 0.0;
  for (uint32_t i = 0; i < n; i++) frame(&s1, &s2, c.a1[i], c.a2[i], c.a3[i], x[i], &v1[i], &v2[i]);
  for (uint32_t i = 0; i < n; i++) put(b, at + i, x[i], c.k[i] * v1[i], v2[i]);
  s->state1 = s1;
  s->state2 = s2;
  s->k = c.k[n - 1];
  s->a1 = c.a1[n - 1];
  s->a2 = c.a2[n - 1];
  s->a3 = c.a3[n - 1];
}

PE_RT static void PE_SIMD_NAME(svf_process)(void *state, const PeBlock *b) {
  Svf *s = state;
  if (b->n_frames == 0) return;
  const int is_still = pe_block_is_still(b, N_PARAMS);
  if (is_still && !(b->is_unchanged && s->k > 0.0)) settle(s, b);
  for (uint32_t at = 0; at < b->n_frames; at += PE_CHUNK_FRAMES) {
    const uint32_t n = b->n_frames - at < PE_CHUNK_FRAMES ? b->n_frames - at : PE_CHUNK_FRAMES;
    if (is_still)
      steady(s, b, at, n);
    else
      moving(s, b, at, n);
  }
}

#undef Coefficients
#undef coefficients
#undef frame
#undef put
#undef steady
#undef moving
