/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Reading faster than the recording was made, for one instruction set. Plain loops: the compiler makes vectors of them,
 * over taps; a sum has the same order whatever their width. */

#define wide_weights PE_SIMD_NAME(wide_weights)
#define wide_read PE_SIMD_NAME(wide_read)

/* The weights of WIDE_GROUP taps; the first stands `from` frames behind the place, `per_width` is 1 / width. */
PE_V void wide_weights(float from, float per_width, float *restrict weights) {
  for (uint32_t k = 0; k < WIDE_GROUP; k++) {
    const float x = (from + (float)k) * per_width, turns = 2.0f * WIDE_CUTOFF * x;
    const float n = (turns + 0x1.8p23f) - 0x1.8p23f, half = 0.5f * n, odd = half - ((half + 0x1.8p23f) - 0x1.8p23f);
    const float y = 2.0f * (turns - n), z = y * y;
    float sine = PE_SIN_PHASE_FIRST;
    PE_SIN_PHASE_REST(sine, z)
    sine = sine * y + y; /* sin(pi (turns - n)) */
    const float u = x * x * (1.0f / (WIDE_REACH * WIDE_REACH));
    float window = 1.0308366f;
    window = window * u - 4.579998f;
    window = window * u + 9.4287863f;
    window = window * u - 11.83633f;
    window = window * u + 9.5615654f;
    window = window * u - 4.6028819f;
    window = window * u + 0.99997377f;
    const int is_middle = x < 1e-4f && x > -1e-4f;
    const float sinc = (odd != 0.0f ? -sine : sine) / (is_middle ? 1.0f : 3.14159265f * x);
    weights[k] = u < 1.0f ? window * (is_middle ? 2.0f * WIDE_CUTOFF : sinc) : 0.0f;
  }
}

/* Both channels at a place, of what lies below half the rate at which they are put out. */
PE_RT static void wide_read(const PeSample *sample, const Loop *loop, const Place *place, float width, float out[2]) {
  const uint32_t n = sample->n_channels;
  const float half = WIDE_REACH * width, per_width = 1.0f / width;
  const int64_t i = place->at >> 32, first = i - (int64_t)half, last = i + (int64_t)half + 1;
  const float part = (float)(uint32_t)place->at * 0x1p-32f;
  float sums[2][WIDE_GROUP] = {{0.0f}}, weights[WIDE_GROUP], near[2 * WIDE_GROUP];
  Taps taps = taps_from(loop, place, first);
  for (int64_t at = first; at <= last; at += WIDE_GROUP) {
    const float *x = taps_next(&taps, sample, loop, near);
    wide_weights((float)(at - i) - part, per_width, weights);
    for (uint32_t k = 0; k < WIDE_GROUP; k++) {
      sums[0][k] += weights[k] * x[k * n];
      if (n > 1) sums[1][k] += weights[k] * x[k * n + 1];
    }
  }
  for (uint32_t c = 0; c < n; c++) {
    float *s = sums[c];
    for (uint32_t half_group = WIDE_GROUP / 2; half_group > 0; half_group /= 2)
      for (uint32_t k = 0; k < half_group; k++) s[k] += s[k + half_group];
    out[c] = s[0] * per_width;
  }
  if (n == 1) out[1] = out[0];
}

PE_RT static void PE_SIMD_NAME(sampler_process)(void *state, const PeBlock *b) { sampler_run(state, b, wide_read); }

#undef wide_weights
#undef wide_read
