/* Layout of the SPSC block ring; its interface is in api.h. */
#ifndef PE_RING_H
#define PE_RING_H

#include <stdatomic.h>

#include "pe.h"
#include "rt.h"

#define PE_RING_MAGIC 0x50455247u /* "PERG" */

/* Lives in shared memory: fixed widths, no pointers. Indices run free and are compared by unsigned
 * difference. Each side's index and its cached copy of the other's lie on a cache line of their own. */
struct PeRing {
  uint32_t magic, version;
  uint32_t block_bytes, capacity;
  unsigned char pad0[48];
  _Atomic uint32_t write;   /* by the writer: blocks ever committed */
  uint32_t read_seen;       /* by the writer: the reader's index when last looked at */
  unsigned char pad1[56];
  _Atomic uint32_t read;    /* by the reader: blocks ever released */
  uint32_t write_seen;      /* by the reader: the writer's index when last looked at */
  unsigned char pad2[56];
  unsigned char blocks[];
};

_Static_assert(offsetof(struct PeRing, write) == 64, "the writer has its own cache line");
_Static_assert(offsetof(struct PeRing, read) == 128, "the reader has its own cache line");
_Static_assert(offsetof(struct PeRing, blocks) == 192, "blocks start on a cache line");

#endif
