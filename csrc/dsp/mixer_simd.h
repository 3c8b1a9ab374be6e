/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* mixer for one instruction set. Plain loops: the compiler makes vectors of them, as each frame stands alone. */

#define mix_chunk PE_SIMD_NAME(mix_chunk)

/* An input that is not connected would add +0, as an absent cable does: that changes no bit of what starts as +0. */
PE_RT static void mix_chunk(const PeBlock *b, uint32_t at, uint32_t n) {
  float sums[N_INPUTS][PE_CHUNK_FRAMES], levels[PE_CHUNK_FRAMES];
  uint32_t present = 0;
  for (uint32_t k = 0; k < N_INPUTS; k++) {
    if (!b->inputs[k]) continue;
    const float *in = b->inputs[k] + at;
    present |= 1u << k;
    pe_levels(b, params, LEVEL1 + k, at, n, levels);
    for (uint32_t i = 0; i < n; i++) sums[k][i] = 0.0f + levels[i] * in[i];
  }
  for (uint32_t stride = N_INPUTS / 2; stride > 0; stride /= 2)
    for (uint32_t k = 0; k < stride; k++) {
      if (!(present >> (k + stride) & 1u)) continue;
      if (present >> k & 1u)
        for (uint32_t i = 0; i < n; i++) sums[k][i] += sums[k + stride][i];
      else
        memcpy(sums[k], sums[k + stride], n * sizeof(float));
      present |= 1u << k;
    }
  float *restrict out = b->outputs[0] + at;
  if (!present) {
    memset(out, 0, n * sizeof(float));
    return;
  }
  pe_levels(b, params, GAIN, at, n, levels);
  for (uint32_t i = 0; i < n; i++) out[i] = pe_bounded(sums[0][i] * levels[i]);
}

PE_RT static void PE_SIMD_NAME(mixer_process)(void *state, const PeBlock *b) {
  (void)state;
  for (uint32_t at = 0; at < b->n_frames; at += PE_CHUNK_FRAMES) mix_chunk(b, at, pe_chunk_at(at, b->n_frames));
}

#undef mix_chunk
