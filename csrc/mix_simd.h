/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Sums over the lanes of banks for one instruction set. */

#define vf_mask PE_SIMD_NAME(vf_mask)
#define add_lanes PE_SIMD_NAME(add_lanes)
#define V4 PE_SIMD_NAME(PeV4)
#define V8 PE_SIMD_NAME(PeV8)
#define V8U PE_SIMD_NAME(PeV8u)

PE_V VI vf_mask(uint32_t lanes) {
  int32_t words[PE_SIMD_LANES];
  VI mask;
  for (uint32_t l = 0; l < PE_SIMD_LANES; l++) words[l] = lanes >> l & 1u ? -1 : 0;
  memcpy(&mask, words, sizeof mask);
  return mask;
}

PE_V void add_lanes(float *acc, const float *x, VI mask, int is_masked, int is_first, uint32_t n_frames) {
  for (uint32_t f = 0; f < n_frames; f++) {
    const size_t at = (size_t)f * PE_LANES;
    const VF v = is_masked ? (VF)((VI)vf_load(x + at) & mask) : vf_load(x + at);
    vf_store(acc + at, is_first ? 0.0f + v : vf_load(acc + at) + v);
  }
}

PE_RT static void PE_SIMD_NAME(accumulate)(float *acc, const float *x, uint32_t lanes, int is_first, uint32_t n_frames) {
  const uint32_t all = (1u << PE_SIMD_LANES) - 1u;
  for (uint32_t l = 0; l < PE_LANES; l += PE_SIMD_LANES) {
    const uint32_t here = lanes >> l & all;
    if (is_first)
      add_lanes(acc + l, x + l, vf_mask(here), 1, 1, n_frames);
    else if (here == all)
      add_lanes(acc + l, x + l, (VI){0}, 0, 0, n_frames);
    else if (here != 0)
      add_lanes(acc + l, x + l, vf_mask(here), 1, 0, n_frames);
  }
}

/* Four accumulators of a frame at a time: 8 and 4 apart first, then four frames are turned over. */
typedef float V4 __attribute__((vector_size(16)));
typedef float V8 __attribute__((vector_size(32)));
typedef uint32_t V8U __attribute__((vector_size(32)));

PE_RT static int PE_SIMD_NAME(finish)(const float *acc, float *out, uint32_t n_frames) {
  int32_t found = 0;
  uint32_t f = 0;
  for (; f + 4 <= n_frames; f += 4) {
    float a[4][4], sums[4];
    for (uint32_t k = 0; k < 4; k++) {
      V4 v[4];
      memcpy(v, acc + (size_t)(f + k) * PE_LANES, sizeof v);
      const V4 four = (v[0] + v[2]) + (v[1] + v[3]);
      memcpy(a[k], &four, sizeof four);
    }
    for (uint32_t k = 0; k < 4; k++) sums[k] = (a[k][0] + a[k][2]) + (a[k][1] + a[k][3]);
    for (uint32_t k = 0; k < 4; k++) found |= sums[k] - sums[k] == 0.0f ? 0 : 1;
    memcpy(out + f, sums, sizeof sums);
  }
  for (; f < n_frames; f++) {
    float a[PE_LANES];
    memcpy(a, acc + (size_t)f * PE_LANES, sizeof a);
    for (uint32_t stride = PE_LANES / 2; stride > 0; stride /= 2)
      for (uint32_t i = 0; i < stride; i++) a[i] += a[i + stride];
    out[f] = a[0];
    found |= a[0] - a[0] == 0.0f ? 0 : 1;
  }
  return found;
}

/* In halves of a vector: so they were stored a moment ago, and a load over two stores waits for both. */
PE_RT static int PE_SIMD_NAME(copy)(const float *x, float *out, uint32_t n_frames) {
  V8U found = {0};
  uint32_t rest = 0;
  uint32_t f = 0;
  for (; f + 8 <= n_frames; f += 8) {
    V8 v;
    memcpy(&v, x + f, sizeof v);
    v = 0.0f + v;
    found |= ((V8U)v & 0x7f800000u) + 0x00800000u; /* an exponent of ones alone carries into the sign */
    memcpy(out + f, &v, sizeof v);
  }
  for (; f < n_frames; f++) {
    out[f] = 0.0f + x[f];
    rest |= out[f] - out[f] == 0.0f ? 0 : 0x80000000u;
  }
  uint32_t words[8];
  memcpy(words, &found, sizeof words);
  for (uint32_t l = 0; l < 8; l++) rest |= words[l];
  return rest >> 31 != 0;
}

#undef vf_mask
#undef add_lanes
#undef V4
#undef V8
#undef V8U
