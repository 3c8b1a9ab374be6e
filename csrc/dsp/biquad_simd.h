/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* biquad_filter for one instruction set: vectors over a cell's frames for one voice, over voices for a bank. */

#include "param_simd.h"

#define Mixes PE_SIMD_NAME(Mixes)
#define mixes_of PE_SIMD_NAME(mixes_of)
#define Targets PE_SIMD_NAME(Targets)
#define targets_of PE_SIMD_NAME(targets_of)
#define targets_keep PE_SIMD_NAME(targets_keep)
#define frames_moving PE_SIMD_NAME(frames_moving)
#define frames_steady PE_SIMD_NAME(frames_steady)
#define cells PE_SIMD_NAME(cells)
#define sums_of PE_SIMD_NAME(sums_of)
#define plus_two PE_SIMD_NAME(plus_two)
#define BankHalf PE_SIMD_NAME(BankHalf)
#define half_load PE_SIMD_NAME(half_load)
#define half_cell PE_SIMD_NAME(half_cell)
#define half_other PE_SIMD_NAME(half_other)
#define kept_of PE_SIMD_NAME(kept_of)
#define half_store PE_SIMD_NAME(half_store)
#define bank_cells PE_SIMD_NAME(bank_cells)

#define MOVING_FRAMES (PE_SIMD_LANES / 2)

typedef struct Mixes {
  VD g, k, m0, m1, m2;
} Mixes;

/* mix_of, frame by frame. */
PE_V Mixes mixes_of(uint32_t mode, VD tangent, VD q, VD root) {
  const VD zero = vd_all(0.0), one = vd_all(1.0), a = root * root;
  const VD k = 1.0 / (mode == PEAK ? q * a : q);
  switch (mode) {
    case HIGHPASS: return (Mixes){tangent, k, one, -k, -one};
    case BANDPASS: return (Mixes){tangent, k, zero, k, zero};
    case NOTCH: return (Mixes){tangent, k, one, -k, zero};
    case PEAK: return (Mixes){tangent, k, one, k * (a * a - 1.0), zero};
    case LOWSHELF: return (Mixes){tangent / root, k, one, k * (a - 1.0), a * a - 1.0};
    case HIGHSHELF: return (Mixes){tangent * root, k, a * a, k * (1.0 - a) * a, 1.0 - a * a};
    case ALLPASS: return (Mixes){tangent, k, one, -2.0 * k, zero};
    default: return (Mixes){tangent, k, zero, zero, one}; /* LOWPASS */
  }
}

/* What target_update keeps, frame by frame. */
typedef struct Targets {
  VD cutoff_hz, q, gain_db, tangent, root;
  Mixes mixes;
} Targets;

/* target_update of n frames from i on. What stands still was brought up to date before. */
PE_V Targets targets_of(const Biquad *s, const PeBlock *b, uint32_t mode, uint32_t i, uint32_t n) {
  Targets t = {.tangent = vd_all(s->tangent), .root = vd_all(s->root_gain)};
  t.cutoff_hz = vd_param(b, CUTOFF, i, n, params[CUTOFF].min, s->max_hz);
  t.q = vd_param(b, Q, i, n, params[Q].min, params[Q].max);
  t.gain_db = vd_param(b, GAIN_DB, i, n, params[GAIN_DB].min, params[GAIN_DB].max);
  if (!pe_block_param_is_constant(b, CUTOFF)) t.tangent = vd_tan_pi(t.cutoff_hz, s->sample_rate_hz);
  if (!pe_block_param_is_constant(b, GAIN_DB)) t.root = vd_exp2(t.gain_db * GAIN_DB_TO_ROOT);
  t.mixes = mixes_of(mode, t.tangent, t.q, t.root);
  return t;
}

#define last_of PE_SIMD_NAME(last_of)
PE_V double last_of(VD v, uint32_t n) {
  double values[MOVING_FRAMES];
  vd_store(values, v);
  return values[n - 1];
}

/* What target_update would have kept at the last of n frames. */
PE_V void targets_keep(Biquad *s, const Targets *t, uint32_t n) {
  const Mixes *m = &t->mixes;
  s->cutoff_hz = last_of(t->cutoff_hz, n);
  s->q = last_of(t->q, n);
  s->gain_db = last_of(t->gain_db, n);
  s->tangent = last_of(t->tangent, n);
  s->root_gain = last_of(t->root, n);
  s->target_mix = (Mix){last_of(m->g, n), last_of(m->k, n), last_of(m->m0, n), last_of(m->m1, n), last_of(m->m2, n)};
  s->mix = s->target_mix;
  s->is_cell_computed = 0;
}

/* frame_moving of frames i to `end`, at least one, in which no mode fades. */
PE_RT static void frames_moving(Biquad *s, const PeBlock *b, uint32_t mode, uint32_t i, uint32_t end, const float *in, float *out) {
  double a1[MOVING_FRAMES], a2[MOVING_FRAMES], a3[MOVING_FRAMES], m0[MOVING_FRAMES], m1[MOVING_FRAMES], m2[MOVING_FRAMES];
  if (s->is_cellular) cell_leave(s);
  target_update(s, b, mode, i);
  s->count = (s->count + end - i) % REST_FRAMES; /* the integrators are not looked at for rest */
  while (i < end) {
    const uint32_t n = end - i < MOVING_FRAMES ? end - i : MOVING_FRAMES;
    const Targets t = targets_of(s, b, mode, i, n);
    const VD first = 1.0 / (1.0 + t.mixes.g * (t.mixes.g + t.mixes.k)), second = t.mixes.g * first;
    vd_store(a1, first);
    vd_store(a2, second);
    vd_store(a3, t.mixes.g * second);
    vd_store(m0, t.mixes.m0);
    vd_store(m1, t.mixes.m1);
    vd_store(m2, t.mixes.m2);
    for (uint32_t l = 0; l < n; l++)
      out[i + l] = integrate_with(s, a1[l], a2[l], a3[l], m0[l], m1[l], m2[l], in ? (double)in[i + l] : 0.0) + b->zero;
    i += n;
    if (i == end) targets_keep(s, &t, n);
  }
}

/* n frames, whole cells: the operations of cell_frame. */
#if PE_SIMD_LANES == 16
#define shifted(now, before, n) _mm512_castsi512_pd(_mm512_alignr_epi64(_mm512_castpd_si512(now), _mm512_castpd_si512(before), n))

typedef struct CellRun { /* what goes from cell to cell, and what all have in common */
  __m512d g0, g1, g2, from_3, from_2; /* both halves the same: g[0] .. g[3], and those one and two places on */
  __m512d from_w1, from_w2;
  __m512d w1, w2, before; /* of the two frames before, in all lanes; w of the cell before */
} CellRun;

PE_V CellRun cells_begin(const Biquad *s) {
  const double *g = g_of(&s->cell), *b = s->cell.b;
  const __m512d w1 = _mm512_set1_pd(s->state1), w2 = _mm512_set1_pd(s->state2);
  return (CellRun){.g0 = _mm512_broadcast_f64x4(_mm256_loadu_pd(g)), .g1 = _mm512_broadcast_f64x4(_mm256_loadu_pd(g - 1)), .g2 = _mm512_broadcast_f64x4(_mm256_loadu_pd(g - 2)),
                   .from_3 = _mm512_broadcast_f64x4(_mm256_loadu_pd(g + 1)), .from_2 = _mm512_broadcast_f64x4(_mm256_loadu_pd(b)),
                   .from_w1 = _mm512_loadu_pd(g + 1), .from_w2 = _mm512_loadu_pd(b), .w1 = w1, .w2 = w2, .before = _mm512_mask_mov_pd(w2, 0x80, w1)};
}

/* w of the next cell. Both halves at once: a permutation by a number stays within four. */
PE_V __m512d cell_next(CellRun *r, __m512d x) {
  __m512d sum = _mm512_mul_pd(r->g0, _mm512_permutex_pd(x, 0x00));
  sum = _mm512_mask_add_pd(sum, 0xee, sum, _mm512_mul_pd(r->g1, _mm512_permutex_pd(x, 0x55)));
  sum = _mm512_mask_add_pd(sum, 0xcc, sum, _mm512_mul_pd(r->g2, _mm512_permutex_pd(x, 0xaa)));
  sum = _mm512_mask_add_pd(sum, 0x88, sum, x);
  const __m512d sum3 = _mm512_permutexvar_pd(_mm512_set1_epi64(3), sum), sum2 = _mm512_permutexvar_pd(_mm512_set1_epi64(2), sum);
  const __m512d both = _mm512_mask_add_pd(sum, 0xf0, sum, _mm512_add_pd(_mm512_mul_pd(r->from_3, sum3), _mm512_mul_pd(r->from_2, sum2)));
  __m512d w = _mm512_add_pd(both, _mm512_add_pd(_mm512_mul_pd(r->from_w1, r->w1), _mm512_mul_pd(r->from_w2, r->w2)));
  r->w1 = _mm512_permutexvar_pd(_mm512_set1_epi64(7), w); /* all that the next cell waits for */
  r->w2 = _mm512_permutexvar_pd(_mm512_set1_epi64(6), w);
  __asm__("" : "+v"(w), "+v"(r->w1), "+v"(r->w2)); /* before what else there is to do with w: one port has it all */
  return w;
}

PE_V __m512d cell_input(const float *in, uint32_t i) { return _mm512_cvtps_pd(_mm256_loadu_ps(in + i)); }

/* Sums of neighbours of the next cell. */
PE_V __m256 cell_pairs(CellRun *r, __m512d x) {
  const __m512d w = cell_next(r, x), before = r->before;
  r->before = w;
  return _mm512_cvtpd_ps(_mm512_add_pd(w, shifted(w, before, 7)));
}

PE_V __m512 cells_lowpass(__m512 pairs, __m512 pairs_before, float scale, float zero) {
  const __m512 earlier = _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(pairs), _mm512_castps_si512(pairs_before), 15));
  const __m512 y = _mm512_mul_ps(_mm512_set1_ps(scale), _mm512_add_ps(pairs, earlier));
  return _mm512_add_ps(_mm512_max_ps(_mm512_min_ps(y, _mm512_set1_ps(PE_SAMPLE_LIMIT)), _mm512_set1_ps(-PE_SAMPLE_LIMIT)), _mm512_set1_ps(zero));
}

/* Floats of two cells at a time. */
PE_V void cells_of_lowpass(CellRun *r, float scale, const float *in, float *out, uint32_t n, float zero) {
  __m512 before = _mm512_insertf32x8(_mm512_setzero_ps(), _mm512_cvtpd_ps(_mm512_add_pd(r->w1, r->w2)), 1);
  uint32_t i = 0;
  for (; i + 2 * CELL <= n; i += 2 * CELL) {
    const __m256 first = cell_pairs(r, cell_input(in, i)), second = cell_pairs(r, cell_input(in, i + CELL));
    const __m512 now = _mm512_insertf32x8(_mm512_castps256_ps512(first), second, 1);
    _mm512_storeu_ps(out + i, cells_lowpass(now, before, scale, zero));
    before = now;
  }
  if (i < n) _mm256_storeu_ps(out + i, _mm512_castps512_ps256(cells_lowpass(_mm512_castps256_ps512(cell_pairs(r, cell_input(in, i))), before, scale, zero)));
}

PE_V void cells_of_others(CellRun *r, const Cell *c, const float *in, float *out, uint32_t n, float zero) {
  const __m512d m0 = _mm512_set1_pd(c->m0), m1 = _mm512_set1_pd(c->m1), m2 = _mm512_set1_pd(c->m2);
  const __m256 max = _mm256_set1_ps(PE_SAMPLE_LIMIT), min = _mm256_set1_ps(-PE_SAMPLE_LIMIT), last = _mm256_set1_ps(zero);
  __m512d pairs = _mm512_add_pd(r->w1, r->w2);
  for (uint32_t i = 0; i < n; i += CELL) {
    const __m512d x = cell_input(in, i), w = cell_next(r, x), now = _mm512_add_pd(w, shifted(w, r->before, 7));
    const __m512d band = _mm512_sub_pd(w, shifted(w, r->before, 6)), low = _mm512_add_pd(now, shifted(now, pairs, 7));
    const __m256 y = _mm512_cvtpd_ps(_mm512_add_pd(_mm512_mul_pd(m0, x), _mm512_add_pd(_mm512_mul_pd(m1, band), _mm512_mul_pd(m2, low))));
    _mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_max_ps(_mm256_min_ps(y, max), min), last));
    r->before = w;
    pairs = now;
  }
}

PE_RT static void cells(Biquad *s, const float *in, float *out, uint32_t n, float zero) {
  CellRun r = cells_begin(s);
  if (s->mode == LOWPASS)
    cells_of_lowpass(&r, (float)s->cell.a3, in, out, n, zero);
  else
    cells_of_others(&r, &s->cell, in, out, n, zero);
  s->state1 = _mm512_cvtsd_f64(r.w1);
  s->state2 = _mm512_cvtsd_f64(r.w2);
}
#elif PE_SIMD_LANES == 8
PE_V __m256d sums_of(__m256d x, __m256d g0, __m256d g1, __m256d g2) {
  __m256d sum = _mm256_mul_pd(g0, _mm256_permute4x64_pd(x, 0x00));
  sum = _mm256_blend_pd(sum, _mm256_add_pd(sum, _mm256_mul_pd(g1, _mm256_permute4x64_pd(x, 0x55))), 0xe); /* frame 0 knows no x[1] */
  sum = _mm256_blend_pd(sum, _mm256_add_pd(sum, _mm256_mul_pd(g2, _mm256_permute4x64_pd(x, 0xaa))), 0xc);
  return _mm256_blend_pd(sum, _mm256_add_pd(sum, x), 0x8);
}

PE_V __m256d plus_two(__m256d sum, __m256d a, __m256d x, __m256d b, __m256d y) {
  return _mm256_add_pd(sum, _mm256_add_pd(_mm256_mul_pd(a, x), _mm256_mul_pd(b, y)));
}

PE_RT static void cells(Biquad *s, const float *in, float *out, uint32_t n, float zero) {
  const Cell *c = &s->cell;
  const double *g = g_of(c), *b = c->b;
  const int is_lowpass = s->mode == LOWPASS;
  const __m256d g0 = _mm256_loadu_pd(g);
  const __m256d g1 = _mm256_loadu_pd(g - 1), g2 = _mm256_loadu_pd(g - 2);
  const __m256d from_1 = _mm256_loadu_pd(g + 1), from_2 = _mm256_loadu_pd(b); /* a half from the two frames before it */
  const __m256d far_1 = _mm256_loadu_pd(g + 5), far_2 = _mm256_loadu_pd(b + 4);
  const __m256d m[3] = {_mm256_set1_pd(c->m0), _mm256_set1_pd(c->m1), _mm256_set1_pd(c->m2)};
  const __m128 max = _mm_set1_ps(PE_SAMPLE_LIMIT), min = _mm_set1_ps(-PE_SAMPLE_LIMIT), scale = _mm_set1_ps((float)c->a3), last = _mm_set1_ps(zero);
  __m256d w1 = _mm256_set1_pd(s->state1), w2 = _mm256_set1_pd(s->state2);
  __m256d before = _mm256_blend_pd(w2, w1, 0x8);
  __m128 floats = _mm256_cvtpd_ps(_mm256_add_pd(w1, w2)); /* sums of neighbours */
  for (uint32_t i = 0; i < n; i += CELL) {
    __m256d x[2], w[2];
    for (uint32_t h = 0; h < 2; h++) x[h] = _mm256_cvtps_pd(_mm_loadu_ps(in + i + h * HALF));
    const __m256d low = sums_of(x[0], g0, g1, g2), high = sums_of(x[1], g0, g1, g2);
    const __m256d both = plus_two(high, from_1, _mm256_permute4x64_pd(low, 0xff), from_2, _mm256_permute4x64_pd(low, 0xaa));
    w[0] = plus_two(low, from_1, w1, from_2, w2);
    w[1] = plus_two(both, far_1, w1, far_2, w2);
    w1 = _mm256_permute4x64_pd(w[1], 0xff); /* all that the next cell waits for */
    w2 = _mm256_permute4x64_pd(w[1], 0xaa);
    for (uint32_t h = 0; h < 2; h++) {
      const __m256d earlier2 = _mm256_permute2f128_pd(before, w[h], 0x21); /* w[-2], w[-1], w[0], w[1] */
      const __m256d earlier1 = _mm256_shuffle_pd(earlier2, w[h], 0x5);     /* w[-1], w[0], w[1], w[2] */
      const __m256d pairs = _mm256_add_pd(w[h], earlier1);
      const __m128 floats_now = _mm256_cvtpd_ps(pairs);
      const __m128 floats_before = _mm_castsi128_ps(_mm_alignr_epi8(_mm_castps_si128(floats_now), _mm_castps_si128(floats), 12));
      __m128 y = _mm_mul_ps(scale, _mm_add_ps(floats_now, floats_before));
      if (!is_lowpass) {
        const __m256d band = _mm256_sub_pd(w[h], earlier2), low = _mm256_add_pd(pairs, _mm256_add_pd(earlier1, earlier2));
        y = _mm256_cvtpd_ps(_mm256_add_pd(_mm256_mul_pd(m[0], x[h]), _mm256_add_pd(_mm256_mul_pd(m[1], band), _mm256_mul_pd(m[2], low))));
      }
      _mm_storeu_ps(out + i + h * HALF, _mm_add_ps(_mm_max_ps(_mm_min_ps(y, max), min), last));
      floats = floats_now;
      before = w[h];
    }
  }
  s->state1 = _mm256_cvtsd_f64(w1);
  s->state2 = _mm256_cvtsd_f64(w2);
}
#else
PE_RT static void cells(Biquad *s, const float *in, float *out, uint32_t n, float zero) {
  const Cell c = s->cell;
  const double *g = g_of(&c), *b = c.b;
  const int is_lowpass = s->mode == LOWPASS;
  double w1 = s->state1, w2 = s->state2;
  for (uint32_t i = 0; i < n; i += CELL) {
    double x[CELL], sum[CELL], w[CELL + 2] = {w2, w1};
    for (uint32_t k = 0; k < CELL; k++) x[k] = (double)in[i + k];
    for (uint32_t h = 0; h < CELL; h += HALF) {
      sum[h] = x[h];
      sum[h + 1] = g[1] * x[h] + x[h + 1];
      sum[h + 2] = (g[2] * x[h] + g[1] * x[h + 1]) + x[h + 2];
      sum[h + 3] = ((g[3] * x[h] + g[2] * x[h + 1]) + g[1] * x[h + 2]) + x[h + 3];
    }
    for (uint32_t k = 0; k < HALF; k++) w[k + 2] = sum[k] + (g[k + 1] * w1 + b[k] * w2);
    for (uint32_t k = 0; k < HALF; k++) w[k + 6] = (sum[k + 4] + (g[k + 1] * sum[3] + b[k] * sum[2])) + (g[k + 5] * w1 + b[k + 4] * w2);
    for (uint32_t k = 0; k < CELL; k++) out[i + k] = cell_output(&c, is_lowpass, x[k], w[k + 2], w[k + 1], w[k]) + zero;
    w1 = w[9];
    w2 = w[8];
  }
  s->state1 = w1;
  s->state2 = w2;
}
#endif

/* n frames in which nothing moves; the parameters have taken effect. */
PE_RT static void frames_steady(Biquad *s, const float *in, float *out, uint32_t n_frames, float zero) {
  for (uint32_t i = 0; i < n_frames;) {
    const uint32_t left = n_frames - i, to_rest = REST_FRAMES - s->count;
    const uint32_t n = (left < to_rest ? left : to_rest) & ~(CELL - 1u);
    if (n == 0 || s->count % CELL != 0) {
      out[i] = frame_steady(s, in ? (double)in[i] : 0.0) + zero;
      i++;
      continue;
    }
    if (!s->is_cellular) cell_enter(s);
    const float *from = in ? in + i : silence;
    __asm__("" : "+r"(from)); /* one loop for both */
    cells(s, from, out + i, n, zero);
    count_frames(s, n);
    i += n;
  }
}

PE_RT static void PE_SIMD_NAME(biquad_process)(void *state, const PeBlock *b) {
  Biquad *s = state;
  const float *in = b->inputs[0];
  float *out = b->outputs[0];
  uint32_t i = 0;
  if (!b->is_unchanged || !s->is_cellular) {
    const uint32_t mode = mode_of(b->params), first = first_steady(s, b);
    for (; i < first && s->fade_remaining > 0; i++) out[i] = frame_moving(s, b, mode, i, in ? (double)in[i] : 0.0) + b->zero;
    if (i < first) frames_moving(s, b, mode, i, first, in, out);
    i = first;
    if (i == b->n_frames) return;
    settle(s, b, mode, i);
  }
  frames_steady(s, in ? in + i : NULL, out + i, b->n_frames - i, b->zero);
}

/* ---- banks: half of a vector of floats is a vector of doubles --------------------------------------- */

typedef struct BankHalf {
  VD g1, g2, g3, g4, g5, g6, g7, g8, b0, b1, b2, b3, b4, b5, b6, b7, m0, m1, m2, w1, w2;
} BankHalf;

/* The sums of cell_compute, in vectors: fewer numbers to be fetched for each bank. */
PE_V BankHalf half_load(const BiquadBank *k, uint32_t l) {
  const VD c1 = vd_load(k->c1 + l), c2 = vd_load(k->c2 + l);
  const VD g2 = c1 * c1 + c2;
  const VD g3 = c1 * g2 + c2 * c1;
  const VD g4 = c1 * g3 + c2 * g2;
  const VD g5 = c1 * g4 + c2 * g3;
  const VD g6 = c1 * g5 + c2 * g4;
  const VD g7 = c1 * g6 + c2 * g5;
  return (BankHalf){.g1 = c1, .g2 = g2, .g3 = g3, .g4 = g4, .g5 = g5, .g6 = g6, .g7 = g7, .g8 = c1 * g7 + c2 * g6,
                    .b0 = c2, .b1 = c2 * c1, .b2 = c2 * g2, .b3 = c2 * g3, .b4 = c2 * g4, .b5 = c2 * g5, .b6 = c2 * g6, .b7 = c2 * g7,
                    .m0 = vd_load(k->m0 + l), .m1 = vd_load(k->m1 + l), .m2 = vd_load(k->m2 + l),
                    .w1 = vd_load(k->w1 + l), .w2 = vd_load(k->w2 + l)};
}

/* One cell: w[0], w[1] are those of the two frames before, w[2] to w[9] its own. */
PE_V void half_cell(BankHalf *h, const VD *x, VD *w) {
  VD sum[CELL];
  for (uint32_t k = 0; k < CELL; k += HALF) {
    sum[k] = x[k];
    sum[k + 1] = h->g1 * x[k] + x[k + 1];
    sum[k + 2] = (h->g2 * x[k] + h->g1 * x[k + 1]) + x[k + 2];
    sum[k + 3] = ((h->g3 * x[k] + h->g2 * x[k + 1]) + h->g1 * x[k + 2]) + x[k + 3];
  }
  w[0] = h->w2;
  w[1] = h->w1;
  w[2] = sum[0] + (h->g1 * w[1] + h->b0 * w[0]);
  w[3] = sum[1] + (h->g2 * w[1] + h->b1 * w[0]);
  w[4] = sum[2] + (h->g3 * w[1] + h->b2 * w[0]);
  w[5] = sum[3] + (h->g4 * w[1] + h->b3 * w[0]);
  w[6] = (sum[4] + (h->g1 * sum[3] + h->b0 * sum[2])) + (h->g5 * w[1] + h->b4 * w[0]);
  w[7] = (sum[5] + (h->g2 * sum[3] + h->b1 * sum[2])) + (h->g6 * w[1] + h->b5 * w[0]);
  w[8] = (sum[6] + (h->g3 * sum[3] + h->b2 * sum[2])) + (h->g7 * w[1] + h->b6 * w[0]);
  w[9] = (sum[7] + (h->g4 * sum[3] + h->b3 * sum[2])) + (h->g8 * w[1] + h->b7 * w[0]);
  h->w1 = w[9];
  h->w2 = w[8];
}

/* Frame k of the cell, of what is no low-pass. */
PE_V VD half_other(const BankHalf *h, const VD *x, const VD *w, uint32_t k) {
  const VD low = (w[k + 2] + w[k + 1]) + (w[k + 1] + w[k]);
  return h->m0 * x[k] + (h->m1 * (w[k + 2] - w[k]) + h->m2 * low);
}

/* kept, in vectors. */
PE_V VD kept_of(VD w) {
  const VD size = (VD)((VU)w & 0x7fffffffffffffffu);
  return (VD)((VU)w & (VU)(size >= REST_LEVEL) & (VU)(size < MAX_LEVEL));
}

PE_V void half_store(BiquadBank *bank, uint32_t l, const BankHalf *h, int is_rest) {
  vd_store(bank->w1 + l, is_rest ? kept_of(h->w1) : h->w1);
  vd_store(bank->w2 + l, is_rest ? kept_of(h->w2) : h->w2);
}

PE_V void bank_cells(BiquadBank *bank, uint32_t l, uint32_t lanes, int all_low, const float *in, float *out, uint32_t n) {
  BankHalf low = half_load(bank, l), high = half_load(bank, l + PE_SIMD_LANES / 2);
  const VF scale = vf_load(bank->scale + l), max = vf_all(PE_SAMPLE_LIMIT), min = vf_all(-PE_SAMPLE_LIMIT);
  int32_t words[PE_SIMD_LANES];
  VI is_low;
  for (uint32_t k = 0; k < PE_SIMD_LANES; k++) words[k] = bank->lowpass >> (l + k) & 1u ? -1 : 0;
  memcpy(&is_low, words, sizeof is_low);
  VF pairs_before = vf_of_doubles(low.w1 + low.w2, high.w1 + high.w2);
  for (uint32_t i = 0; i < n; i += CELL) {
    VD x_low[CELL], x_high[CELL], w_low[CELL + 2], w_high[CELL + 2];
    for (uint32_t k = 0; k < CELL; k++) {
      x_low[k] = in ? vd_of_floats(in + (size_t)(i + k) * PE_LANES + l, 0) : vd_all(0.0);
      x_high[k] = in ? vd_of_floats(in + (size_t)(i + k) * PE_LANES + l, 1) : vd_all(0.0);
    }
    half_cell(&low, x_low, w_low);
    half_cell(&high, x_high, w_high);
    for (uint32_t k = 0; k < CELL; k++) {
      const VF pairs = vf_of_doubles(w_low[k + 2] + w_low[k + 1], w_high[k + 2] + w_high[k + 1]);
      VF y = scale * (pairs + pairs_before);
      if (!all_low) {
        const VF other = vf_of_doubles(half_other(&low, x_low, w_low, k), half_other(&high, x_high, w_high, k));
        y = (VF)(((VI)y & is_low) | ((VI)other & ~is_low));
      }
      vf_store(out + (size_t)(i + k) * PE_LANES + l, vf_max(vf_min(y, max), min));
      pairs_before = pairs;
    }
  }
  const int is_rest = bank->is_uniform && bank_count(bank, pe_lowest_lane(lanes)) == 0;
  half_store(bank, l, &low, is_rest);
  half_store(bank, l + PE_SIMD_LANES / 2, &high, is_rest);
}

PE_RT static void PE_SIMD_NAME(biquad_process_bank)(const PeBankBlock *b) {
  BiquadBank *bank = b->cache;
  if (!b->is_resident) biquad_load(bank, b->lanes, b->states);
  bank->passed += b->n_frames;
  for (uint32_t l = 0; l < PE_LANES; l += PE_SIMD_LANES) {
    const uint32_t here = b->lanes & ((1u << PE_SIMD_LANES) - 1u) << l;
    if (!here) continue;
    if ((bank->lowpass & here) == here)
      bank_cells(bank, l, here, 1, b->inputs[0], b->outputs[0], b->n_frames);
    else
      bank_cells(bank, l, here, 0, b->inputs[0], b->outputs[0], b->n_frames);
  }
  bank_rest(bank, b->lanes);
  if (!b->is_resident) biquad_store(bank, b->lanes, b->states);
}

#undef Mixes
#undef mixes_of
#undef Targets
#undef targets_of
#undef targets_keep
#undef last_of
#undef frames_moving
#undef MOVING_FRAMES
#undef frames_steady
#undef cells
#undef sums_of
#undef plus_two
#undef BankHalf
#undef half_load
#undef half_cell
#undef half_other
#undef kept_of
#undef half_store
#undef bank_cells
