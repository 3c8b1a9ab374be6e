/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* pan for one instruction set. Plain loops: the compiler makes vectors of them, as each frame stands alone. */

#define pan_at PE_SIMD_NAME(pan_at)
#define pan_chunk PE_SIMD_NAME(pan_chunk)

/* The angle is (position + 1) / 4 half turns. Beyond the middle sine and cosine of its complement change places, so that
 * both polynomials are used where they hold, and the far side gets exactly 0. */
PE_V void pan_at(const PeBlock *b, uint32_t i, float *left, float *right) {
  const double angle = 0.25 * (pe_block_param(b, POSITION, i, params[POSITION].min, params[POSITION].max) + 1.0);
  const int is_left = angle <= 0.25;
  const double y = is_left ? angle : 0.5 - angle;
  const float s = (float)pe_sin_pi(y), c = (float)pe_cos_pi(y);
  *left = is_left ? c : s;
  *right = is_left ? s : c;
}

PE_RT static void pan_chunk(const PeBlock *b, uint32_t at, uint32_t n) {
  const float *in = b->inputs[0] + at;
  float *restrict left = b->outputs[LEFT] + at, *restrict right = b->outputs[RIGHT] + at;
  float lefts[PE_CHUNK_FRAMES], rights[PE_CHUNK_FRAMES];
  for (uint32_t i = 0; i < n; i++) pan_at(b, at + i, &lefts[i], &rights[i]);
  for (uint32_t i = 0; i < n; i++) left[i] = pe_bounded(in[i] * lefts[i]);
  for (uint32_t i = 0; i < n; i++) right[i] = pe_bounded(in[i] * rights[i]);
}

PE_RT static void PE_SIMD_NAME(pan_process)(void *state, const PeBlock *b) {
  const float *in = b->inputs[0];
  (void)state;
  if (!in) {
    for (uint32_t k = 0; k < N_OUTPUTS; k++) memset(b->outputs[k], 0, b->n_frames * sizeof(float));
  } else if (pe_block_param_is_constant(b, POSITION)) {
    float *restrict left = b->outputs[LEFT], *restrict right = b->outputs[RIGHT], l = 0.0f, r = 0.0f;
    if (b->n_frames) pan_at(b, 0, &l, &r);
    for (uint32_t i = 0; i < b->n_frames; i++) left[i] = pe_bounded(in[i] * l);
    for (uint32_t i = 0; i < b->n_frames; i++) right[i] = pe_bounded(in[i] * r);
  } else {
    for (uint32_t at = 0; at < b->n_frames; at += PE_CHUNK_FRAMES) pan_chunk(b, at, pe_chunk_at(at, b->n_frames));
  }
}

#undef pan_at
#undef pan_chunk
