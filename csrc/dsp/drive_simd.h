/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* drive for one instruction set. Plain loops: the compiler makes vectors of them, over time; each sample's sum has the
 * same order wherever in a block it stands. */

#define filtered PE_SIMD_NAME(filtered)
#define up PE_SIMD_NAME(up)
#define down PE_SIMD_NAME(down)
#define bend PE_SIMD_NAME(bend)
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

/* 2n samples become n, `late` pairs later than they have to. */
PE_V void down(const float *taps, uint32_t side, uint32_t late, float *even_tail, float *odd_tail, const float *x, uint32_t n, float *restrict y) {
  float even[4 * FRAMES + TAIL(SIDE_1)], odd[4 * FRAMES + SIDE_1];
  memcpy(even, even_tail, (TAIL(side) + late) * sizeof *even);
  memcpy(odd, odd_tail, (side + late) * sizeof *odd);
  for (uint32_t i = 0; i < n; i++) {
    even[TAIL(side) + late + i] = x[2 * i];
    odd[side + late + i] = x[2 * i + 1];
  }
  filtered(taps, side, even, n, y);
  for (uint32_t i = 0; i < n; i++) y[i] = 0.5f * (y[i] + odd[i]);
  memcpy(even_tail, even + n, (TAIL(side) + late) * sizeof *even);
  memcpy(odd_tail, odd + n, (side + late) * sizeof *odd);
}

PE_V void bend(uint32_t curve, float *x, uint32_t n) {
  switch (curve) {
    case SOFT:
      for (uint32_t i = 0; i < n; i++) x[i] = curve_soft(x[i]);
      break;
    case HARD:
      for (uint32_t i = 0; i < n; i++) x[i] = curve_hard(x[i]);
      break;
    case FOLD:
      for (uint32_t i = 0; i < n; i++) x[i] = curve_fold(within(x[i], PE_SAMPLE_LIMIT));
      break;
    default: /* TANH */
      for (uint32_t i = 0; i < n; i++) x[i] = curve_tanh(x[i]);
      break;
  }
}

PE_RT static void drive_chunk(Drive *s, const PeBlock *b, uint32_t at, uint32_t n) {
  const float *in = b->inputs[0] ? b->inputs[0] + at : NULL;
  const double curve = b->params[CURVE].target;
  float dry[LATENCY + FRAMES], x_1[TAIL(SIDE_1) + FRAMES], x_2[TAIL(SIDE_2) + 2 * FRAMES], x_3[TAIL(SIDE_3) + 4 * FRAMES];
  float high[8 * FRAMES], middle[4 * FRAMES], low[2 * FRAMES], wet[FRAMES], mixes[FRAMES], gains[FRAMES];
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
  up(taps_3, SIDE_3, s->up_3, x_3, 4 * n, high);
  bend(curve >= N_CURVES - 1 ? N_CURVES - 1 : curve >= 0.0 ? (uint32_t)(curve + 0.5) : TANH, high, 8 * n);
  down(taps_3, SIDE_3, 1, s->even_3, s->odd_3, high, 4 * n, middle);
  down(taps_2, SIDE_2, 0, s->even_2, s->odd_2, middle, 2 * n, low);
  down(taps_1, SIDE_1, 0, s->even_1, s->odd_1, low, n, wet);
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
#undef drive_chunk
#undef FRAMES
