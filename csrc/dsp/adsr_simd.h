/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* adsr for one instruction set: vectors over time for one voice, over voices for a bank. */

#define applied PE_SIMD_NAME(applied)
#define put PE_SIMD_NAME(put)
#define put_some PE_SIMD_NAME(put_some)
#define at_most PE_SIMD_NAME(at_most)
#define hold PE_SIMD_NAME(hold)
#define move PE_SIMD_NAME(move)
#define run PE_SIMD_NAME(run)
#define bank_hold PE_SIMD_NAME(bank_hold)
#define bank_move PE_SIMD_NAME(bank_move)

/* A level of 0 makes +0, whatever comes in. */
PE_V VF applied(VF level, VF in, int is_bounded) {
  if (!is_bounded) in = vf_max(vf_min(in, vf_all(PE_SAMPLE_LIMIT)), vf_all(-PE_SAMPLE_LIMIT)); /* otherwise the same */
  return level * in + 0.0f;
}

PE_V void put(VF levels, const float *in, float *out, uint32_t n) {
  float some[PE_SIMD_LANES] = {0};
  if (n == PE_SIMD_LANES) {
    vf_store(out, in ? applied(levels, vf_load(in), 0) : levels);
    return;
  }
  if (in) memcpy(some, in, n * sizeof *some);
  vf_store(some, in ? applied(levels, vf_load(some), 0) : levels);
  memcpy(out, some, n * sizeof *some);
}

PE_V uint32_t at_most(uint32_t n) { return n < PE_SIMD_LANES ? n : PE_SIMD_LANES; }

PE_RT_APART static void put_some(VF levels, const float *in, float *out, uint32_t n) { put(levels, in, out, n); }

/* n frames at one level. */
PE_RT static void hold(float level, const float *in, float *out, uint32_t n_frames) {
  const VF levels = vf_all(level);
  uint32_t i = 0;
  if (in)
    for (; i + PE_SIMD_LANES <= n_frames; i += PE_SIMD_LANES) vf_store(out + i, applied(levels, vf_load(in + i), 0));
  else
    for (; i + PE_SIMD_LANES <= n_frames; i += PE_SIMD_LANES) vf_store(out + i, levels);
  if (i < n_frames) put_some(levels, in ? in + i : NULL, out + i, n_frames - i);
}

/* n frames within one segment. */
PE_RT static void move(const PeSmooth *level, const float *in, float *out, uint32_t n_frames) {
  double left[PE_SIMD_LANES]; /* frames to the segment's end: whole numbers, exact */
  for (uint32_t l = 0; l < PE_SIMD_LANES; l++) left[l] = (double)level->remaining - (double)l;
  VD low = vd_load(left), high = vd_load(left + PE_SIMD_LANES / 2);
  for (uint32_t i = 0; i < n_frames; i += PE_SIMD_LANES) {
    const VF levels = vf_of_doubles(level->target - level->step * low, level->target - level->step * high);
    put(levels, in ? in + i : NULL, out + i, at_most(n_frames - i));
    low -= (double)PE_SIMD_LANES;
    high -= (double)PE_SIMD_LANES;
  }
}

/* From frame i to frame `end`, between two changes of the gate. */
PE_RT static void run(Adsr *s, const PeBlock *b, uint32_t i, uint32_t end) {
  while (i < end) {
    stage_settle(s, b->params);
    const uint32_t left = end - i, remaining = s->level.remaining;
    const uint32_t n = remaining > 0 && remaining < left ? remaining : left;
    const float *in = b->inputs[0] ? b->inputs[0] + i : NULL;
    if (remaining == 0)
      hold((float)s->level.target, in, b->outputs[0] + i, n);
    else
      move(&s->level, in, b->outputs[0] + i, n);
    pe_smooth_advance(&s->level, n);
    i += n;
  }
}

PE_RT static void PE_SIMD_NAME(adsr_process)(void *state, const PeBlock *b) {
  Adsr *s = state;
  const float *gate = b->mods[GATE];
  if (b->n_frames == 0) return;
  if (b->is_unchanged && is_held(s)) {
    hold((float)s->level.target, b->inputs[0], b->outputs[0], b->n_frames);
    return;
  }
  const int is_retriggered = s->is_retriggered != 0;
  s->is_retriggered = 0;
  if (s->is_forced || !gate) {
    if (!s->is_forced) gate_follow(s, b->params, b->params[GATE].target >= 0.5, is_retriggered);
    run(s, b, 0, b->n_frames);
    return;
  }
  for (uint32_t i = 0; i < b->n_frames;) { /* a cable decides alone */
    const uint32_t end = pe_gate_run_end(gate, i, b->n_frames);
    gate_follow(s, b->params, pe_gate_is_high(gate[i]), 0);
    run(s, b, i, end);
    i = end;
  }
}

PE_V void bank_hold(const AdsrBank *bank, uint32_t l, int is_bounded, const float *in, float *out, uint32_t n_frames) {
  const VF level = vf_load(bank->level + l);
  for (uint32_t i = 0; i < n_frames; i++) {
    const size_t at = (size_t)i * PE_LANES + l;
    vf_store(out + at, in ? applied(level, vf_load(in + at), is_bounded) : level);
  }
}

PE_V void bank_move(const AdsrBank *bank, uint32_t l, int is_bounded, const float *in, float *out, uint32_t n_frames) {
  const uint32_t h = l + PE_SIMD_LANES / 2;
  const VD target_low = vd_load(bank->target + l), target_high = vd_load(bank->target + h);
  const VD step_low = vd_load(bank->step + l), step_high = vd_load(bank->step + h);
  VD low = vd_load(bank->remaining + l), high = vd_load(bank->remaining + h);
  for (uint32_t i = 0; i < n_frames; i++) {
    const size_t at = (size_t)i * PE_LANES + l;
    const VF level = vf_of_doubles(target_low - step_low * low, target_high - step_high * high);
    vf_store(out + at, in ? applied(level, vf_load(in + at), is_bounded) : level);
    low -= 1.0;
    high -= 1.0;
  }
}

PE_RT static void PE_SIMD_NAME(adsr_process_bank)(const PeBankBlock *b) {
  const AdsrBank *bank = b->cache;
  for (uint32_t l = 0; l < PE_LANES; l += PE_SIMD_LANES) {
    const uint32_t here = ((1u << PE_SIMD_LANES) - 1u) << l;
    if (!(b->lanes & here)) continue;
    if (b->lanes & bank->moving & here)
      bank_move(bank, l, b->is_bounded != 0, b->inputs[0], b->outputs[0], b->n_frames);
    else if (b->is_bounded)
      bank_hold(bank, l, 1, b->inputs[0], b->outputs[0], b->n_frames);
    else
      bank_hold(bank, l, 0, b->inputs[0], b->outputs[0], b->n_frames);
  }
  adsr_skip(b);
}

#undef applied
#undef put
#undef put_some
#undef at_most
#undef hold
#undef move
#undef run
#undef bank_hold
#undef bank_move
