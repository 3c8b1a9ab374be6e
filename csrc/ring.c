/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "ring.h"

static unsigned char *ring_block(PeRing *r, uint32_t index) {
  return r->blocks + (size_t)(index & (r->capacity - 1)) * r->block_bytes;
}

/* At most `n` blocks from `index` on before the memory wraps, and at most `want`. */
static uint32_t ring_span(const PeRing *r, uint32_t index, uint32_t n, uint32_t want) {
  const uint32_t to_end = r->capacity - (index & (r->capacity - 1));
  n = n < want ? n : want;
  return n < to_end ? n : to_end;
}

PE_RT uint32_t pe_ring_acquire(PeRing *r, uint32_t want, void **blocks) {
  const uint32_t w = atomic_load_explicit(&r->write, memory_order_relaxed); /* own index: only we write it */
  if (r->capacity - (w - r->read_seen) < want)
    r->read_seen = atomic_load_explicit(&r->read, memory_order_acquire); /* the reader's reads ended before it moved */
  *blocks = ring_block(r, w);
  return ring_span(r, w, r->capacity - (w - r->read_seen), want);
}

PE_RT void pe_ring_commit(PeRing *r, uint32_t n) {
  const uint32_t w = atomic_load_explicit(&r->write, memory_order_relaxed); /* own index: only we write it */
  atomic_store_explicit(&r->write, w + n, memory_order_release); /* the blocks are filled before they are seen */
}

PE_RT uint32_t pe_ring_peek(PeRing *r, uint32_t want, void **blocks) {
  const uint32_t rd = atomic_load_explicit(&r->read, memory_order_relaxed); /* own index: only we write it */
  if (r->write_seen - rd < want)
    r->write_seen = atomic_load_explicit(&r->write, memory_order_acquire); /* see the blocks filled before it moved */
  *blocks = ring_block(r, rd);
  return ring_span(r, rd, r->write_seen - rd, want);
}

PE_RT void pe_ring_release(PeRing *r, uint32_t n) {
  const uint32_t rd = atomic_load_explicit(&r->read, memory_order_relaxed); /* own index: only we write it */
  atomic_store_explicit(&r->read, rd + n, memory_order_release); /* our reads end before the blocks are reused */
}

PE_RT uint32_t pe_ring_readable(const PeRing *r) {
  const uint32_t rd = atomic_load_explicit(&r->read, memory_order_acquire);  /* not newer than the write index below */
  const uint32_t w = atomic_load_explicit(&r->write, memory_order_acquire); /* pairs with the commit */
  const uint32_t n = w - rd;
  return n < r->capacity ? n : r->capacity;
}

PE_RT uint32_t pe_ring_writable(const PeRing *r) { return r->capacity - pe_ring_readable(r); }

PE_RT uint32_t pe_ring_capacity(const PeRing *r) { return r->capacity; }

PE_RT uint32_t pe_ring_block_bytes(const PeRing *r) { return r->block_bytes; }
