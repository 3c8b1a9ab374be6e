/* Marker of the real-time functions, and the floating-point mode every rendering call runs in. */
#ifndef PE_RT_H
#define PE_RT_H

#include <stdint.h>

#if defined(__clang__) && __clang_major__ >= 20
#define PE_RT __attribute__((nonblocking))
#else
#define PE_RT
#endif

/* What code for one instruction set calls in a sample's way: part of it, so that it is of that instruction set too.
 * A call from AVX code into SSE code costs some processors 70 ns each way. */
#define PE_RT_INLINE PE_RT static inline __attribute__((always_inline, unused))

/* What happens seldom: not in the way of what happens in each block. */
#define PE_RT_APART PE_RT __attribute__((noinline))

/* Flush-to-zero and denormals-are-zero from enter to leave. Live and offline alike, so that both
 * give the same bits. */
#if defined(__SSE2__)
#include <xmmintrin.h>
typedef uint32_t PeFpMode;
static inline PeFpMode pe_fp_enter(void) {
  const PeFpMode old = _mm_getcsr(), ours = (old | 0x8040u) & ~0x6000u; /* FZ | DAZ, round to nearest */
  if (old != ours) _mm_setcsr(ours); /* costs as much as a few frames: not again within a loop that has entered */
  return old;
}
static inline void pe_fp_leave(PeFpMode old) {
  if ((old & 0xe040u) != 0x8040u) _mm_setcsr(old);
}
#elif defined(__aarch64__)
typedef uint64_t PeFpMode;
static inline PeFpMode pe_fp_enter(void) {
  PeFpMode old;
  __asm__ volatile("mrs %0, fpcr" : "=r"(old));
  __asm__ volatile("msr fpcr, %0" : : "r"((old | (1ull << 24)) & ~(3ull << 22))); /* FZ, round to nearest */
  return old;
}
static inline void pe_fp_leave(PeFpMode old) { __asm__ volatile("msr fpcr, %0" : : "r"(old)); }
#else
#error "say here how this processor flushes denormals: without that the same patch has other bits on it"
#endif

#endif
