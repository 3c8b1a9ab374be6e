#include <string.h>

#include "ring.h"

uint64_t pe_ring_bytes(uint32_t block_bytes, uint32_t capacity) {
  if (block_bytes == 0 || capacity == 0 || capacity > (1u << 30) || (capacity & (capacity - 1)) != 0) return 0;
  const uint64_t bytes = sizeof(PeRing) + (uint64_t)block_bytes * capacity;
  return (bytes + 63u) & ~(uint64_t)63u;
}

PeStatus pe_ring_init(void *memory, uint64_t bytes, uint32_t block_bytes, uint32_t capacity) {
  const uint64_t need = pe_ring_bytes(block_bytes, capacity);
  if (memory == NULL || need == 0 || ((uintptr_t)memory & 63u) != 0) return PE_BAD_ARGUMENT;
  if (bytes < need) return PE_BAD_SIZE;
  PeRing *r = memory;
  memset(r, 0, sizeof *r);
  r->block_bytes = r->writer_block_bytes = r->reader_block_bytes = block_bytes;
  r->capacity = r->writer_capacity = r->reader_capacity = capacity;
  r->version = PE_LAYOUT_VERSION;
  r->magic = PE_RING_MAGIC;
  return PE_OK;
}

PeStatus pe_ring_attach(void *memory, uint64_t bytes, PeRing **ring) {
  *ring = NULL;
  if (memory == NULL || ((uintptr_t)memory & 63u) != 0) return PE_BAD_ARGUMENT;
  if (bytes < sizeof(PeRing)) return PE_BAD_SIZE;
  PeRing *r = memory;
  if (r->magic != PE_RING_MAGIC) return PE_BAD_MAGIC;
  if (r->version != PE_LAYOUT_VERSION) return PE_BAD_VERSION;
  const uint64_t need = pe_ring_bytes(r->block_bytes, r->capacity);
  if (need == 0 || bytes < need) return PE_BAD_SIZE;
  if (r->writer_block_bytes != r->block_bytes || r->reader_block_bytes != r->block_bytes) return PE_BAD_SIZE;
  if (r->writer_capacity != r->capacity || r->reader_capacity != r->capacity) return PE_BAD_SIZE;
  *ring = r;
  return PE_OK;
}
