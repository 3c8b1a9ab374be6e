/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Random numbers as a function of a seed and a count: no state to carry, any of them at any time. */
#ifndef PE_DSP_RANDOM_H
#define PE_DSP_RANDOM_H

#include <stdint.h>

#include "../rt.h"

/* SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, with the constants of
 * Stafford's variant 13). Each seed starts at a place of its own in the one sequence of 2^64. */
PE_RT_INLINE uint64_t pe_random_mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

PE_RT_INLINE uint64_t pe_random_start(uint64_t seed) { return pe_random_mix((seed + 1u) * 0xd1342543de82ef95u); }

PE_RT_INLINE uint64_t pe_random_bits(uint64_t start, uint64_t count) {
  return pe_random_mix(start + count * 0x9e3779b97f4a7c15u);
}

/* Uniform between -1 and 1, neither of them: an odd number of 2^-24, so of mean 0 and exact in a float. */
PE_RT_INLINE float pe_random_bipolar(uint64_t start, uint64_t count) {
  const int32_t odd = (int32_t)(pe_random_bits(start, count) >> 39) | 1;
  return (float)(odd - 0x1000000) * 0x1p-24f;
}

#endif
