/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* pe_sin_phase of vectors, for one instruction set. */

#undef vf_sin_phase
#define vf_sin_phase PE_SIMD_NAME(pe_vf_sin_phase)
#define PE_QUARTER_TURN ((uint64_t)1 << 62)

/* Of phases that a quarter turn was added to, in the order of simd.h. The same operations in the same order. */
PE_V VF vf_sin_phase(VU a, VU b) {
  const VI folded = (VI)((VW)vi_abs(vi_high_halves(a, b)) - 0x40000000u);
  const VF y = vf_of_ints(folded) * 0x1p-30f;
  const VF z = y * y;
  VF p = vf_all(PE_SIN_PHASE_FIRST);
  PE_SIN_PHASE_REST(p, z)
  return p * y + y;
}
