/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* gain for one instruction set. Plain loops: the compiler makes vectors of them, as each frame stands alone. */

#define amplify PE_SIMD_NAME(amplify)

/* +0 for silence also where the cv is negative. */
PE_V float amplify(float in, float gain, float cv) { return pe_bounded(in * gain * cv) + 0.0f; }

PE_RT static void PE_SIMD_NAME(gain_process)(void *state, const PeBlock *b) {
  (void)state;
  if (!b->inputs[IN]) {
    memset(b->outputs[0], 0, b->n_frames * sizeof(float));
    return;
  }
  for (uint32_t at = 0; at < b->n_frames; at += PE_CHUNK_FRAMES) {
    const uint32_t n = pe_chunk_at(at, b->n_frames);
    const float *in = b->inputs[IN] + at, *cv = b->inputs[CV] ? b->inputs[CV] + at : NULL;
    float *restrict out = b->outputs[0] + at;
    float gains[PE_CHUNK_FRAMES];
    pe_levels(b, params, GAIN, at, n, gains);
    if (cv)
      for (uint32_t i = 0; i < n; i++) out[i] = amplify(in[i], gains[i], cv[i]);
    else
      for (uint32_t i = 0; i < n; i++) out[i] = amplify(in[i], gains[i], 1.0f);
  }
}

PE_RT static void PE_SIMD_NAME(gain_process_bank)(const PeBankBlock *b) {
  const GainBank *bank = b->cache;
  const float *in = b->inputs[IN], *cv = b->inputs[CV];
  if (!in) {
    memset(b->outputs[0], 0, (size_t)b->n_frames * PE_LANES * sizeof(float));
    return;
  }
  for (uint32_t l = 0; l < PE_LANES; l += PE_SIMD_LANES) {
    if (!(b->lanes >> l & ((1u << PE_SIMD_LANES) - 1u))) continue;
    const VF gain = vf_load(bank->gain + l), most = vf_all(PE_SAMPLE_LIMIT), least = vf_all(-PE_SAMPLE_LIMIT);
    for (uint32_t i = 0; i < b->n_frames; i++) {
      const size_t at = (size_t)i * PE_LANES + l;
      const VF product = vf_load(in + at) * gain * (cv ? vf_load(cv + at) : vf_all(1.0f));
      vf_store(b->outputs[0] + at, vf_max(vf_min(product, most), least) + 0.0f);
    }
  }
}

#undef amplify
