/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* drive for one instruction set. The filters are plain loops: the compiler makes vectors of them, over time; each sample's
 * sum has the same order wherever in a block it stands. */
#include "drive_curves_simd.h"

#define filtered PE_SIMD_NAME(filtered)
#define up PE_SIMD_NAME(up)
#define down PE_SIMD_NAME(down)
#define bend PE_SIMD_NAME(bend)
#define tanh_lines PE_SIMD_NAME(tanh_lines)
#define drive_chunk PE_SIMD_NAME(drive_chunk)
#define FRAMES PE_CHUNK_FRAMES

/* The symmetric half of a half-band filter; x begins TAIL(side) samples before the first output's. */
PE_V void filtered(const float *taps, uint32_t side, const float *x, uint32_t n, float *restrict y) {
  for (uint32_t i = 0; i < n; i++) y[i] = taps[0] * (x[i + TAIL(side)] + x[i]);
  for (uint32_t j = 1; j < side; j++)
    for (uint32_t i = 0; i < n; i++) y[i] += taps[j] * (x[i + TAIL(side) - j] + x[i + j]);
}

/* n samples become 2n. `x` has room for its tail before them; the tail's new state is left in it. */
PE_V void up(const float *taps, uint32_t side, float *tail, float *x, uint32_t n, float *restrict y) {
  float even[4 * FRAMES];
  memcpy(x, tail, TAIL(side) * sizeof *x);
  filtered(taps, side, x, n, even);
  for (uint32_t i = 0; i < n; i++) {
    y[2 * i] = even[i];
    y[2 * i + 1] = x[i + side];
  }
  memcpy(tail, x + n, TAIL(side) * sizeof *x);
}

/* 2n samples become n. */
PE_V void down(const float *taps, uint32_t side, float *even_tail, float *odd_tail, const float *x, uint32_t n, float *restrict y) {
  float even[4 * FRAMES + TAIL(SIDE_1)], odd[4 * FRAMES + SIDE_1];
  memcpy(even, even_tail, TAIL(side) * sizeof *even);
  memcpy(odd, odd_tail, side * sizeof *odd);
  for (uint32_t i = 0; i < n; i++) {
    even[TAIL(side) + i] = x[2 * i];
    odd[side + i] = x[2 * i + 1];
  }
  filtered(taps, side, even, n, y);
  for (uint32_t i = 0; i < n; i++) y[i] = 0.5f * (y[i] + odd[i]);
  memcpy(even_tail, even + n, TAIL(side) * sizeof *even);
  memcpy(odd_tail, odd + n, side * sizeof *odd);
}

/* Lines between n + 1 samples, PE_SIMD_LANES at once: up to PE_SIMD_LANES - 1 more are read and written behind them. A macro,
 * so that the loop knows its curve. */
#define LINES(line) \
  for (uint32_t i = 0; i < n; i += PE_SIMD_LANES) { \
    const LineMean m = line(vf_load(u + i), vf_load(u + i + 1)); \
    vf_store(rising + i, m.rising); \
    vf_store(falling + i, m.mean - m.rising); \
  }

PE_V void tanh_lines(const float *u, uint32_t n, float *restrict rising, float *restrict falling) {
  float f[8 * FRAMES + 2 * PE_SIMD_LANES];
  for (uint32_t i = 0; i <= n; i += PE_SIMD_LANES) vf_store(f + i, curve_tanh(vf_load(u + i)));
  for (uint32_t i = 0; i < n; i += PE_SIMD_LANES) {
    const VF a = vf_load(u + i), b = vf_load(u + i + 1), d = within(b, TANH_LIMIT) - within(a, TANH_LIMIT);
    const VI is_long = (d > TANH_SHORT) | (d < -TANH_SHORT);
    LineMean m = line_tanh_short(d, vf_load(f + i), vf_load(f + i + 1));
    if (vi_any(is_long)) {
      const LineMean of_long = line_tanh_long(a, b);
      m.mean = vf_where(is_long, of_long.mean, m.mean);
      m.rising = vf_where(is_long, of_long.rising, m.rising);
    }
    vf_store(rising + i, m.rising);
    vf_store(falling + i, m.mean - m.rising);
  }
}

/* n samples, a multiple of 8, from u[1] on become what the curve makes of them, two samples late. Behind the triangle, a
 * filter lifts what that and the lines take from the curve's linear part, to within 0.003 dB at 20 kHz. */
PE_V void bend(Drive *s, uint32_t curve, float *u, uint32_t n, float *restrict y) {
  float rising_of[8 * FRAMES + PE_SIMD_LANES], falling[8 * FRAMES + PE_SIMD_LANES], bent_of[8 * FRAMES + 2];
  float *const rising = rising_of + 1, *const bent = bent_of + 2;
  u[0] = s->bent_from;
  memset(u + n + 1, 0, 2 * PE_SIMD_LANES * sizeof *u);
  rising_of[0] = s->rising;
  memcpy(bent_of, s->bent, sizeof s->bent);
  switch (curve) {
    case SOFT:
      LINES(line_soft)
      break;
    case HARD:
      LINES(line_hard)
      break;
    case FOLD:
      for (uint32_t i = 1; i <= n; i += PE_SIMD_LANES) vf_store(u + i, within(vf_load(u + i), PE_SAMPLE_LIMIT));
      LINES(line_fold)
      break;
    default: /* TANH */
      tanh_lines(u, n, rising, falling);
      break;
  }
  for (uint32_t i = 0; i < n; i++) bent[i] = rising_of[i] + falling[i];
  for (uint32_t i = 0; i < n; i++) y[i] = (4.0f / 3.0f) * bent_of[i + 1] - (1.0f / 6.0f) * (bent_of[i] + bent_of[i + 2]);
  s->bent_from = u[n];
  s->rising = rising_of[n];
  memcpy(s->bent, bent_of + n, sizeof s->bent);
}

PE_RT static void drive_chunk(Drive *s, const PeBlock *b, uint32_t at, uint32_t n) {
  const float *in = b->inputs[0] ? b->inputs[0] + at : NULL;
  float dry[LATENCY + FRAMES], x_1[TAIL(SIDE_1) + FRAMES], x_2[TAIL(SIDE_2) + 2 * FRAMES], x_3[TAIL(SIDE_3) + 4 * FRAMES];
  float high[1 + 8 * FRAMES + 2 * PE_SIMD_LANES], shaped[8 * FRAMES], middle[4 * FRAMES], low[2 * FRAMES], wet[FRAMES], mixes[FRAMES], gains[FRAMES];
  memcpy(dry, s->dry, sizeof s->dry);
  for (uint32_t i = 0; i < n; i++) dry[LATENCY + i] = in ? pe_taken(in[i]) : 0.0f;
  if (pe_block_param_is_constant(b, DRIVE)) {
    const float gain = (float)pe_gain_of_db(pe_block_param(b, DRIVE, at, params[DRIVE].min, params[DRIVE].max));
    for (uint32_t i = 0; i < n; i++) x_1[TAIL(SIDE_1) + i] = pe_bounded(gain * dry[LATENCY + i]);
  } else {
    for (uint32_t i = 0; i < n; i++) {
      const double db = pe_block_param(b, DRIVE, at + i, params[DRIVE].min, params[DRIVE].max);
      x_1[TAIL(SIDE_1) + i] = pe_bounded((float)pe_gain_of_db(db) * dry[LATENCY + i]);
    }
  }
  up(taps_1, SIDE_1, s->up_1, x_1, n, x_2 + TAIL(SIDE_2));
  up(taps_2, SIDE_2, s->up_2, x_2, 2 * n, x_3 + TAIL(SIDE_3));
  up(taps_3, SIDE_3, s->up_3, x_3, 4 * n, high + 1);
  bend(s, pe_whole(b->params, params, CURVE), high, 8 * n, shaped);
  down(taps_3, SIDE_3, s->even_3, s->odd_3, shaped, 4 * n, middle);
  down(taps_2, SIDE_2, s->even_2, s->odd_2, middle, 2 * n, low);
  down(taps_1, SIDE_1, s->even_1, s->odd_1, low, n, wet);
  pe_levels(b, params, MIX, at, n, mixes);
  pe_levels(b, params, GAIN, at, n, gains);
  float *restrict out = b->outputs[0] + at;
  for (uint32_t i = 0; i < n; i++) out[i] = pe_bounded(gains[i] * (dry[i] + mixes[i] * (wet[i] - dry[i])));
  memcpy(s->dry, dry + n, sizeof s->dry);
}

PE_RT static void PE_SIMD_NAME(drive_process)(void *state, const PeBlock *b) {
  for (uint32_t at = 0; at < b->n_frames; at += FRAMES) drive_chunk(state, b, at, pe_chunk_at(at, b->n_frames));
}

#undef filtered
#undef up
#undef down
#undef bend
#undef tanh_lines
#undef LINES
#undef drive_chunk
#undef FRAMES
#undef LineMean
#undef LinePart
#undef within
#undef rounded
#undef curve_tanh
#undef curve_soft
#undef line_part
#undef line_joined
#undef line_hard
#undef line_soft
#undef line_size
#undef fold_integral
#undef fold_integral_2
#undef line_fold
#undef line_tanh_short
#undef tanh_integrals
#undef line_tanh_long
#undef SOFT_LIMIT
#undef TANH_LIMIT
#undef TANH_SHORT
