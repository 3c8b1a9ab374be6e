/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Parameters and the functions of approx.h over PE_SIMD_LANES / 2 frames, for one instruction set: the same operations
 * in the same order as for one frame, so the same bits. Included once a turn, behind simd.h. */

#undef vd_select
#undef vd_param
#undef vd_sin_pi
#undef vd_cos_pi
#undef vd_tan_pi
#undef vd_exp2
#define vd_select PE_SIMD_NAME(pe_vd_select)
#define vd_param PE_SIMD_NAME(pe_vd_param)
#define vd_sin_pi PE_SIMD_NAME(pe_vd_sin_pi)
#define vd_cos_pi PE_SIMD_NAME(pe_vd_cos_pi)
#define vd_tan_pi PE_SIMD_NAME(pe_vd_tan_pi)
#define vd_exp2 PE_SIMD_NAME(pe_vd_exp2)

/* a where all bits of the lane are set, otherwise b. */
PE_V VD vd_select(VU mask, VD a, VD b) { return (VD)(((VU)a & mask) | ((VU)b & ~mask)); }

/* pe_block_param of frames i and after, of which n are there; lanes behind them hold anything.
 * Vectors that are not loaded from numbers just stored one by one: such a load waits for all the stores. */
PE_V VD vd_param(const PeBlock *b, uint32_t param, uint32_t i, uint32_t n, double min, double max) {
  static const double numbers[] = {0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0};
  const PeSmooth *s = &b->params[param];
  const VD left = ((double)s->remaining - (double)i) - vd_load(numbers); /* frames to the ramp's end: whole numbers, exact */
  VD v = s->target - s->step * vd_max(left, vd_all(0.0));
  if (b->mods[param] && n >= PE_SIMD_LANES / 2) {
    v += vd_of_floats(b->mods[param] + i, 0);
  } else if (b->mods[param]) {
    double mods[PE_SIMD_LANES / 2] = {0};
    for (uint32_t l = 0; l < n; l++) mods[l] = (double)b->mods[param][i + l];
    v += vd_load(mods);
  }
  return vd_min(vd_max(v, vd_all(min)), vd_all(max));
}

PE_V VD vd_sin_pi(VD y) {
  const VD z = y * y;
  VD p = vd_all(PE_SIN_PI_FIRST);
  PE_SIN_PI_REST(p, z)
  return p * y;
}

PE_V VD vd_cos_pi(VD y) {
  const VD z = y * y;
  VD p = vd_all(PE_COS_PI_FIRST);
  PE_COS_PI_REST(p, z)
  return p * z + 1.0;
}

PE_V VD vd_tan_pi(VD part, double whole) {
  const VU is_upper = (VU)(part > 0.25 * whole);
  const VD y = vd_select(is_upper, 0.5 * whole - part, part) / whole;
  const VD s = vd_sin_pi(y), c = vd_cos_pi(y);
  return vd_select(is_upper, c, s) / vd_select(is_upper, s, c);
}

/* The sum with 1.5 x 2^52 holds the whole number in its lowest bits: these become the exponent. */
PE_V VD vd_exp2(VD x) {
  const VD shifted = x + 0x1.8p52;
  const VD r = x - (shifted - 0x1.8p52);
  VD p = vd_all(PE_EXP2_FIRST);
  PE_EXP2_REST(p, r)
  return p * (VD)(((VU)shifted + 1023u) << 52);
}
