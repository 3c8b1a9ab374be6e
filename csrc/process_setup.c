#define _GNU_SOURCE
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

PeStatus pe_segment_lock(PeSegment *segment) { return mlock(segment, segment->bytes) == 0 ? PE_OK : PE_BUSY; }

/* Under a finite limit MCL_FUTURE would make a later allocation fail: then only what there is is locked. */
PeStatus pe_process_lock_memory(void) {
  struct rlimit limit;
  const int is_free = geteuid() == 0 || (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY);
  return mlockall(is_free ? MCL_CURRENT | MCL_FUTURE : MCL_CURRENT) == 0 ? PE_OK : PE_BUSY;
}

PeStatus pe_process_die_with_parent(int32_t parent_pid) {
#if defined(__linux__)
  if (prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL) != 0) return PE_BUSY;
#endif
  return getppid() == parent_pid ? PE_OK : PE_STALE; /* it may have died before the call */
}
