#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include "segment.h"

PeStatus pe_process_guard(uint32_t soft_us, uint32_t hard_us) {
#if defined(RLIMIT_RTTIME)
  const struct rlimit limit = {.rlim_cur = soft_us, .rlim_max = hard_us};
  return setrlimit(RLIMIT_RTTIME, &limit) == 0 ? PE_OK : PE_BUSY;
#else
  (void)soft_us;
  (void)hard_us;
  return PE_BUSY;
#endif
}

/* ---- memory ------------------------------------------------------------------------------------
 * A checkpoint may have tens of megabytes, of which a small patch needs some kilobytes. So the pages of its states are
 * not there until a plan needs them: they are left out of what is locked, and made by pe_seat_reserve. */

#define N_PLACES (2u * PE_SEATS)

static uint64_t page_bytes(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }

/* The whole pages of one place's states; how many bytes. */
static uint64_t whole_pages(PeSegment *s, uint32_t place, unsigned char **from) {
  const uint64_t page = page_bytes();
  const uintptr_t at = (uintptr_t)pe_segment_states(s, place / 2, place % 2);
  const uintptr_t first = (at + page - 1) / page * page, end = (at + s->config.checkpoint_bytes) / page * page;
  *from = (unsigned char *)first;
  return end > first ? end - first : 0;
}

PeStatus pe_segment_lock(PeSegment *s) {
  unsigned char *from = (unsigned char *)s, *states;
  for (uint32_t i = 0; i < N_PLACES; i++) {
    const uint64_t bytes = whole_pages(s, i, &states);
    if (bytes == 0) continue;
    if (mlock(from, (size_t)(states - from)) != 0) return PE_BUSY;
    from = states + bytes;
  }
  return mlock(from, (size_t)((unsigned char *)s + s->bytes - from)) == 0 ? PE_OK : PE_BUSY;
}

/* mlockall makes all pages that may be accessed. Those it passes over are locked too, once they are there. */
static int lock_all(PeSegment *s, int flags) {
  unsigned char *states;
  for (uint32_t i = 0; i < N_PLACES; i++) {
    const uint64_t bytes = whole_pages(s, i, &states);
    if (bytes > 0) mprotect(states, bytes, PROT_NONE); /* where that fails they are made, and nothing is wrong */
  }
  int is_done = mlockall(flags) == 0;
  for (uint32_t i = 0; i < N_PLACES; i++) {
    const uint64_t bytes = whole_pages(s, i, &states);
    if (bytes > 0) is_done = mprotect(states, bytes, PROT_READ | PROT_WRITE) == 0 && is_done;
  }
  return is_done;
}

/* Under a finite limit MCL_FUTURE would make a later allocation fail: then only what there is is locked. */
PeStatus pe_process_lock_memory(PeSegment *segment) {
  struct rlimit limit;
  const int is_free = geteuid() == 0 || (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY);
  return lock_all(segment, is_free ? MCL_CURRENT | MCL_FUTURE : MCL_CURRENT) ? PE_OK : PE_BUSY;
}

/* Make the pages, and map them for writing; what is in them stays. */
static PeStatus make_pages(unsigned char *from, uint64_t bytes, uint64_t page) {
#if defined(MADV_POPULATE_WRITE)
  if (madvise(from, bytes, MADV_POPULATE_WRITE) == 0) return PE_OK;
  if (errno != EINVAL) return PE_NO_MEMORY; /* EINVAL: a kernel that does not know it */
#endif
  for (uint64_t at = 0; at < bytes; at += page) { /* a write that changes nothing, whoever else writes there */
    _Atomic unsigned char *byte = (_Atomic unsigned char *)(void *)(from + at);
    atomic_fetch_or_explicit(byte, 0, memory_order_relaxed); /* nothing is ordered by it */
  }
  return PE_OK;
}

PeStatus pe_seat_reserve(PeSegment *s, uint32_t seat, uint64_t state_bytes) {
  if (seat >= PE_SEATS) return PE_BAD_ARGUMENT;
  if (state_bytes > s->config.checkpoint_bytes) return PE_TOO_LARGE;
  const uint64_t page = page_bytes();
  PeStatus status = PE_OK;
  for (uint32_t k = 0; k < 2 && status == PE_OK && state_bytes > 0; k++) {
    const uintptr_t at = (uintptr_t)pe_segment_states(s, seat, k);
    const uintptr_t first = at / page * page, end = (at + state_bytes + page - 1) / page * page;
    status = make_pages((unsigned char *)first, end - first, page);
  }
  return status;
}

PeStatus pe_process_die_with_parent(int32_t parent_pid) {
#if defined(__linux__)
  if (prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL) != 0) return PE_BUSY;
#endif
  return getppid() == parent_pid ? PE_OK : PE_STALE; /* it may have died before the call */
}
