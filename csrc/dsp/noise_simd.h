/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* noise for one instruction set. Plain loops: the compiler makes vectors of them, over time or over poles. */

#define pink PE_SIMD_NAME(pink)
#define brown PE_SIMD_NAME(brown)
#define noise_chunk PE_SIMD_NAME(noise_chunk)

PE_RT static void pink(double *memory, float *x, uint32_t n) {
  double m[N_POLES], part[N_POLES];
  memcpy(m, memory, sizeof m);
  for (uint32_t i = 0; i < n; i++) {
    const double white = (double)x[i];
    for (uint32_t k = 0; k < N_POLES; k++) m[k] = pink_pole[k] * m[k] + white;
    for (uint32_t k = 0; k < N_POLES; k++) part[k] = pink_part[k] * m[k];
    const double low = (part[0] + part[1]) + (part[2] + part[3]), high = (part[4] + part[5]) + (part[6] + part[7]);
    x[i] = (float)((low + high) + PINK_DIRECT * white);
  }
  memcpy(memory, m, sizeof m);
}

PE_RT static void brown(double *memory, float *x, uint32_t n) {
  double y = memory[0], before = memory[1];
  for (uint32_t i = 0; i < n; i++) {
    const double white = (double)x[i];
    y = BROWN_POLE * y + BROWN_PART * (white + BROWN_ZERO * before);
    before = white;
    x[i] = (float)y;
  }
  memory[0] = y;
  memory[1] = before;
}

PE_RT static void noise_chunk(Noise *s, const PeBlock *b, uint32_t at, uint32_t n) {
  const uint64_t start = pe_random_start(s->seed);
  float x[PE_CHUNK_FRAMES], gains[PE_CHUNK_FRAMES];
  float *restrict out = b->outputs[0] + at;
  for (uint32_t i = 0; i < n; i++) x[i] = pe_random_bipolar(start, s->count + i);
  s->count += n;
  if (s->color == PINK) pink(s->memory, x, n);
  if (s->color == BROWN) brown(s->memory, x, n);
  pe_levels(b, params, GAIN, at, n, gains);
  for (uint32_t i = 0; i < n; i++) out[i] = x[i] * gains[i];
}

PE_RT static void PE_SIMD_NAME(noise_process)(void *state, const PeBlock *b) {
  Noise *s = state;
  if (b->n_frames > 0) noise_follow(s, b->params);
  for (uint32_t at = 0; at < b->n_frames; at += PE_CHUNK_FRAMES) noise_chunk(s, b, at, pe_chunk_at(at, b->n_frames));
}

#undef pink
#undef brown
#undef noise_chunk
