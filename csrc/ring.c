/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "ring.h"

PE_RT uint32_t pe_ring_acquire(PeRing *r, uint32_t want, void **blocks) { return ring_acquire(r, want, blocks); }

PE_RT void pe_ring_commit(PeRing *r, uint32_t n) { ring_commit(r, n); }

PE_RT uint32_t pe_ring_peek(PeRing *r, uint32_t want, void **blocks) { return ring_peek(r, want, blocks); }

PE_RT void pe_ring_release(PeRing *r, uint32_t n) { ring_release(r, n); }

PE_RT uint32_t pe_ring_readable(const PeRing *r) {
  const uint32_t rd = atomic_load_explicit(&r->read, memory_order_acquire);  /* not newer than the write index below */
  const uint32_t w = atomic_load_explicit(&r->write, memory_order_acquire); /* pairs with the commit */
  const uint32_t n = w - rd;
  return n < r->capacity ? n : r->capacity;
}

PE_RT uint32_t pe_ring_writable(const PeRing *r) { return r->capacity - pe_ring_readable(r); }

PE_RT uint32_t pe_ring_capacity(const PeRing *r) { return r->capacity; }

PE_RT uint32_t pe_ring_block_bytes(const PeRing *r) { return r->block_bytes; }
