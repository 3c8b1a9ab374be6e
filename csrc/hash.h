/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* A fast hash of bytes: four interleaved 64-bit lanes of multiply and rotate. Every bit counts; no secret. */
#ifndef PE_HASH_H
#define PE_HASH_H

#include <stdint.h>
#include <string.h>

#include "rt.h"

PE_RT static inline uint64_t pe_hash(const void *memory, uint64_t n) {
  const unsigned char *bytes = memory;
  uint64_t lane[4] = {0x9e3779b97f4a7c15ull, 0xbf58476d1ce4e5b9ull, 0x94d049bb133111ebull, n};
  uint64_t at = 0;
  for (; at + 32 <= n; at += 32)
    for (uint32_t i = 0; i < 4; i++) {
      uint64_t word;
      memcpy(&word, bytes + at + 8 * i, 8);
      lane[i] = (lane[i] ^ word) * 0x9fb21c651e98df25ull;
      lane[i] = (lane[i] << 29) | (lane[i] >> 35);
    }
  for (; at < n; at++) lane[at & 3] = (lane[at & 3] ^ bytes[at]) * 0x100000001b3ull;
  uint64_t sum = lane[0] ^ (lane[1] * 3) ^ (lane[2] * 5) ^ (lane[3] * 7);
  sum ^= sum >> 32;
  return sum;
}

#endif
