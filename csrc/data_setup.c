#include "data.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static PeStatus data_make(const void *bytes, uint64_t n_bytes, uint32_t is_mapped, PeData **data) {
  PeData *d = calloc(1, sizeof *d);
  if (d == NULL) return PE_NO_MEMORY;
  d->bytes = bytes;
  d->n_bytes = n_bytes;
  d->is_mapped = is_mapped;
  atomic_init(&d->holds, 1);
  *data = d;
  return PE_OK;
}

PeStatus pe_data_new(const void *bytes, uint64_t n_bytes, PeData **data) {
  *data = NULL;
  if (n_bytes == 0 || n_bytes > PE_MAX_DATA_BYTES) return n_bytes ? PE_TOO_LARGE : PE_BAD_ARGUMENT;
  void *copy = aligned_alloc(64, (n_bytes + 63) / 64 * 64);
  if (copy == NULL) return PE_NO_MEMORY;
  memcpy(copy, bytes, n_bytes);
  const PeStatus status = data_make(copy, n_bytes, 0, data);
  if (status != PE_OK) free(copy);
  return status;
}

PeStatus pe_data_map(int descriptor, uint64_t n_bytes, PeData **data) {
  *data = NULL;
  if (n_bytes == 0 || n_bytes > PE_MAX_DATA_BYTES) return n_bytes ? PE_TOO_LARGE : PE_BAD_ARGUMENT;
#ifdef MAP_POPULATE
  const int flags = MAP_SHARED | MAP_POPULATE; /* read by the render thread: no page of it is fetched there */
#else
  const int flags = MAP_SHARED;
#endif
  void *bytes = mmap(NULL, n_bytes, PROT_READ, flags, descriptor, 0);
  if (bytes == MAP_FAILED) return PE_NO_MEMORY;
  const PeStatus status = data_make(bytes, n_bytes, 1, data);
  if (status != PE_OK) munmap(bytes, n_bytes);
  return status;
}

void pe_data_hold(PeData *data) { atomic_fetch_add_explicit(&data->holds, 1, memory_order_relaxed); /* a count */ }

void pe_data_release(PeData *data) {
  if (data == NULL || atomic_fetch_sub_explicit(&data->holds, 1, memory_order_acq_rel) > 1) return; /* all reads ended before it is freed */
  if (data->is_mapped)
    munmap((void *)(uintptr_t)data->bytes, data->n_bytes);
  else
    free((void *)(uintptr_t)data->bytes);
  free(data);
}

const void *pe_data_bytes(const PeData *data) { return data->bytes; }
uint64_t pe_data_size(const PeData *data) { return data->n_bytes; }
