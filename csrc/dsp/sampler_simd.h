/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Reading faster than the recording was made, for one instruction set: vectors over taps. A sum is WIDE_GROUP sums, of
 * every WIDE_GROUPth tap, added up by halves: the same order whatever the width of a vector. */

#define PARTS (WIDE_GROUP / PE_SIMD_LANES)
#define wide_weights PE_SIMD_NAME(wide_weights)
#define wide_kernel PE_SIMD_NAME(wide_kernel)
#define wide_add PE_SIMD_NAME(wide_add)
#define wide_sum PE_SIMD_NAME(wide_sum)
#define wide_read PE_SIMD_NAME(wide_read)

/* The weights of taps at x, in frames of the output from the place. */
PE_V VF wide_weights(VF x) {
  const VF round_to_whole = vf_all(0x1.8p23f), one = vf_all(1.0f);
  const VF turns = 2.0f * WIDE_CUTOFF * x, shifted = turns + round_to_whole, n = shifted - round_to_whole;
  const VF y = 2.0f * (turns - n), z = y * y;
  VF sine = vf_all(PE_SIN_PHASE_FIRST);
  PE_SIN_PHASE_REST(sine, z)
  sine = sine * y + y;                               /* sin(pi (turns - n)) */
  sine = (VF)((VW)sine ^ (VW)shifted << 31);         /* the lowest bit of `shifted` is that of n */
  const VF u = x * x * (1.0f / (WIDE_REACH * WIDE_REACH));
  VF window = vf_all(1.0308366f);
  window = window * u - 4.579998f;
  window = window * u + 9.4287863f;
  window = window * u - 11.83633f;
  window = window * u + 9.5615654f;
  window = window * u - 4.6028819f;
  window = window * u + 0.99997377f;
  const VI is_middle = (x < 1e-4f) & (x > -1e-4f), is_within = u < one;
  const VF top = vf_where(is_middle, vf_all(2.0f * WIDE_CUTOFF), sine), over = vf_where(is_middle, one, 3.14159265f * x);
  return (VF)((VI)(window * (top / over)) & is_within);
}

/* All weights, unless they are those of the last time: at whole octaves a place lies between frames as the last one did. */
PE_V void wide_kernel(WideKernel *kernel, float part, float width, float per_width, int32_t first, uint32_t n_taps) {
  if (kernel->width == width && kernel->part == part) return;
  static const float numbers[WIDE_GROUP] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  for (uint32_t k = 0; k < n_taps; k += WIDE_GROUP) {
    const VF from = vf_all((float)(first + (int32_t)k) - part);
    for (uint32_t j = 0; j < WIDE_GROUP; j += PE_SIMD_LANES)
      vf_store(kernel->weights + k + j, wide_weights((from + vf_load(numbers + j)) * per_width));
  }
  kernel->width = width;
  kernel->part = part;
}

/* A group's products go to the sums of each channel. */
PE_V void wide_add(const float *weights, const float *x, uint32_t n_channels, VF sums[2][PARTS]) {
  for (uint32_t j = 0; j < PARTS; j++) {
    const VF weight = vf_load(weights + j * PE_SIMD_LANES);
    if (n_channels == 1) {
      sums[0][j] += weight * vf_load(x + j * PE_SIMD_LANES);
    } else {
      VF left, right;
      vf_load_pairs(x + 2 * j * PE_SIMD_LANES, &left, &right);
      sums[0][j] += weight * left;
      sums[1][j] += weight * right;
    }
  }
}

PE_V float wide_sum(const VF sums[PARTS]) {
  float s[WIDE_GROUP];
  for (uint32_t j = 0; j < PARTS; j++) vf_store(s + j * PE_SIMD_LANES, sums[j]);
  for (uint32_t half = WIDE_GROUP / 2; half > 0; half /= 2)
    for (uint32_t k = 0; k < half; k++) s[k] += s[k + half];
  return s[0];
}

/* Both channels at a place, of what lies below half the rate at which they are put out. */
PE_RT static void wide_read(WideKernel *kernel, const PeSample *sample, const Loop *loop, const Place *place, float width, float out[2]) {
  const float per_width = 1.0f / width, part = (float)(uint32_t)place->at * 0x1p-32f;
  const int64_t i = place->at >> 32, reach = (int64_t)(WIDE_REACH * width);
  const uint32_t n_taps = 2 * (uint32_t)reach + 2, n = sample->n_channels;
  float near[2 * WIDE_GROUP];
  VF sums[2][PARTS] = {{{0.0f}}};
  Taps taps = taps_from(loop, place, i - reach);
  wide_kernel(kernel, part, width, per_width, -(int32_t)reach, n_taps);
  if (n == 1)
    for (uint32_t k = 0; k < n_taps; k += WIDE_GROUP) wide_add(kernel->weights + k, taps_next(&taps, sample, loop, near), 1, sums);
  else
    for (uint32_t k = 0; k < n_taps; k += WIDE_GROUP) wide_add(kernel->weights + k, taps_next(&taps, sample, loop, near), 2, sums);
  out[0] = wide_sum(sums[0]) * per_width;
  out[1] = n > 1 ? wide_sum(sums[1]) * per_width : out[0];
}

PE_RT static void PE_SIMD_NAME(sampler_process)(void *state, const PeBlock *b) { sampler_run(state, b, wide_read); }

#undef PARTS
#undef wide_weights
#undef wide_kernel
#undef wide_add
#undef wide_sum
#undef wide_read
