/* Layout of the SPSC block ring, and its four verbs in line; its interface is in api.h. The core's own C uses these:
 * pe_ring_* are the same behind a call. A call puts stores of its own between the block's and the index's, and another
 * processor sees the index later for it: measured in bench/test_ring.py. */
#ifndef PE_RING_H
#define PE_RING_H

#include <stdatomic.h>

#include "pe.h"
#include "rt.h"

#define PE_RING_MAGIC 0x50455247u /* "PERG" */

/* Lives in shared memory: fixed widths, no pointers. Indices run free and are compared by unsigned difference. Four
 * cache lines: each side's index, which the other one looks at, and what each side alone looks at, its copy of the other's
 * index and of the sizes: so that a look at a queue that is neither full nor empty finds its own line where it left it. */
struct PeRing {
  uint32_t magic, version;
  uint32_t block_bytes, capacity;
  unsigned char pad0[48];
  _Atomic uint32_t write;   /* by the writer: blocks ever committed */
  unsigned char pad1[60];
  uint32_t read_seen;       /* by the writer: the reader's index when last looked at */
  uint32_t writer_block_bytes, writer_capacity;
  unsigned char pad2[52];
  _Atomic uint32_t read;    /* by the reader: blocks ever released */
  unsigned char pad3[60];
  uint32_t write_seen;      /* by the reader: the writer's index when last looked at */
  uint32_t reader_block_bytes, reader_capacity;
  unsigned char pad4[52];
  unsigned char blocks[];
};

_Static_assert(offsetof(struct PeRing, write) == 64, "the writer's index has a cache line of its own");
_Static_assert(offsetof(struct PeRing, read_seen) == 128, "what only the writer looks at has one");
_Static_assert(offsetof(struct PeRing, read) == 192, "the reader's index has one");
_Static_assert(offsetof(struct PeRing, write_seen) == 256, "what only the reader looks at has one");
_Static_assert(offsetof(struct PeRing, blocks) == 320, "blocks start on a cache line");

/* At most `n` blocks from `index` on before the memory wraps, and at most `want`. One, the usual case, never wraps. */
static inline uint32_t ring_span(uint32_t capacity, uint32_t index, uint32_t n, uint32_t want) {
  const uint32_t to_end = capacity - (index & (capacity - 1));
  n = n < want ? n : want;
  return n <= 1 || n < to_end ? n : to_end;
}

PE_RT static inline uint32_t ring_acquire(PeRing *r, uint32_t want, void **blocks) {
  const uint32_t w = atomic_load_explicit(&r->write, memory_order_relaxed); /* own index: only we write it */
  const uint32_t capacity = r->writer_capacity;
  uint32_t n = capacity - (w - r->read_seen);
  *blocks = r->blocks + (size_t)(w & (capacity - 1)) * r->writer_block_bytes;
  if (n < want) {
    r->read_seen = atomic_load_explicit(&r->read, memory_order_acquire); /* the reader's reads ended before it moved */
    n = capacity - (w - r->read_seen);
    if (n == 0) return 0;
  }
  return ring_span(capacity, w, n, want);
}

PE_RT static inline void ring_commit(PeRing *r, uint32_t n) {
  const uint32_t w = atomic_load_explicit(&r->write, memory_order_relaxed); /* own index: only we write it */
  atomic_store_explicit(&r->write, w + n, memory_order_release); /* the blocks are filled before they are seen */
}

PE_RT static inline uint32_t ring_peek(PeRing *r, uint32_t want, void **blocks) {
  const uint32_t rd = atomic_load_explicit(&r->read, memory_order_relaxed); /* own index: only we write it */
  const uint32_t capacity = r->reader_capacity;
  uint32_t n = r->write_seen - rd;
  *blocks = r->blocks + (size_t)(rd & (capacity - 1)) * r->reader_block_bytes;
  if (n < want) {
    r->write_seen = atomic_load_explicit(&r->write, memory_order_acquire); /* see the blocks filled before it moved */
    n = r->write_seen - rd;
    if (n == 0) return 0;
  }
  return ring_span(capacity, rd, n, want);
}

PE_RT static inline void ring_release(PeRing *r, uint32_t n) {
  const uint32_t rd = atomic_load_explicit(&r->read, memory_order_relaxed); /* own index: only we write it */
  atomic_store_explicit(&r->read, rd + n, memory_order_release); /* our reads end before the blocks are reused */
}

#endif
