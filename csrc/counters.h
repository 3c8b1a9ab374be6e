/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Relaxed 64-bit counters with one writer each: read by anybody, never used to synchronise. */
#ifndef PE_COUNTERS_H
#define PE_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#include "rt.h"

typedef _Atomic uint64_t PeCounter;

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics must be lock-free");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "32-bit atomics must be lock-free");
_Static_assert(sizeof(PeCounter) == 8, "an atomic word is a word");

PE_RT static inline uint64_t pe_counter_get(const PeCounter *c) {
  return atomic_load_explicit(c, memory_order_relaxed); /* a figure, nothing hangs on it */
}

PE_RT static inline void pe_counter_set(PeCounter *c, uint64_t value) {
  atomic_store_explicit(c, value, memory_order_relaxed); /* a figure, nothing hangs on it */
}

/* One writer: load and store instead of a locked add. */
PE_RT static inline void pe_counter_add(PeCounter *c, uint64_t n) { pe_counter_set(c, pe_counter_get(c) + n); }

PE_RT static inline void pe_counter_max(PeCounter *c, uint64_t value) {
  if (value > pe_counter_get(c)) pe_counter_set(c, value);
}

#endif
