/* One kind of queue between two sides, for bench/ring.c: a table of the loops over it, per shape of block. The loops are
 * made by RING_LOOPS in the kind's own source, so that what is a template or inline is compiled into them. */
#ifndef BENCH_QUEUES_H
#define BENCH_QUEUES_H

#include <stdint.h>
#include <string.h>

#define N_SHAPES 3u /* 64-byte record, 64-frame mono block, 256-frame stereo block, float32 */
#define SHAPES(X) X(64) X(256) X(2048)
#define CAPACITY 256u          /* blocks; pyengine's audio rings have so many */
#define QUEUE_BYTES (1u << 20) /* memory for one queue: shared, page-aligned, with whatever was there before */

typedef struct RingLoops {
  void (*init)(void *memory);
  void (*done)(void *memory);                               /* or NULL */
  void (*write)(void *memory, uint64_t n);                  /* n blocks, numbered from 0 */
  uint64_t (*read)(void *memory, uint64_t n);               /* returns how many were not the ones expected */
  void (*echo)(void *there, void *back, uint64_t n);        /* sends n blocks back */
  uint64_t (*bounce)(void *there, void *back, uint64_t n, uint32_t *ns); /* times n round trips; as read */
} RingLoops;

typedef struct RingKind {
  const char *name;
  int is_for_processes; /* everything of it lies in the memory it is given */
  RingLoops loops[N_SHAPES];
} RingKind;

#ifdef __cplusplus
extern "C" {
#endif
extern const RingKind boost_kind, moodycamel_kind;
void ring_wait(uint32_t *n_waits); /* between two looks at a queue that is full or empty */
uint64_t ring_now_ns(void);
#ifdef __cplusplus
}
#endif

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* A block carries its number in its first and last word, and something in between that depends on it. */
static ALWAYS_INLINE void block_stamp(unsigned char *block, uint32_t bytes, uint64_t number) {
  memcpy(block, &number, sizeof number);
  memcpy(block + bytes / 2, &number, sizeof number);
  memcpy(block + bytes - sizeof number, &number, sizeof number);
}

static ALWAYS_INLINE uint64_t block_differs(const unsigned char *block, uint32_t bytes, uint64_t number) {
  uint64_t a, b, c;
  memcpy(&a, block, sizeof a);
  memcpy(&b, block + bytes / 2, sizeof b);
  memcpy(&c, block + bytes - sizeof c, sizeof c);
  return (a != number) | (b != number) | (c != number);
}

/* put(memory, block, bytes), get(memory, block, bytes): copy one block in or out, 0 where there is no room or no block. */
#define RING_LOOPS(kind, bytes, put, get)                                                   \
  static void kind##_write_##bytes(void *memory, uint64_t n) {                              \
    unsigned char block[bytes] __attribute__((aligned(64))) = {0};                          \
    for (uint64_t i = 0; i < n; i++) {                                                      \
      uint32_t n_waits = 0;                                                                 \
      block_stamp(block, bytes, i);                                                         \
      while (!put(memory, block, bytes)) ring_wait(&n_waits);                               \
    }                                                                                       \
  }                                                                                         \
  static uint64_t kind##_read_##bytes(void *memory, uint64_t n) {                           \
    unsigned char block[bytes] __attribute__((aligned(64))) = {0};                          \
    uint64_t n_wrong = 0;                                                                   \
    for (uint64_t i = 0; i < n; i++) {                                                      \
      uint32_t n_waits = 0;                                                                 \
      while (!get(memory, block, bytes)) ring_wait(&n_waits);                               \
      n_wrong += block_differs(block, bytes, i);                                            \
    }                                                                                       \
    return n_wrong;                                                                         \
  }                                                                                         \
  static void kind##_echo_##bytes(void *there, void *back, uint64_t n) {                    \
    unsigned char block[bytes] __attribute__((aligned(64))) = {0};                          \
    for (uint64_t i = 0; i < n; i++) {                                                      \
      uint32_t n_waits = 0;                                                                 \
      while (!get(there, block, bytes)) ring_wait(&n_waits);                                \
      while (!put(back, block, bytes)) ring_wait(&n_waits);                                 \
    }                                                                                       \
  }                                                                                         \
  static uint64_t kind##_bounce_##bytes(void *there, void *back, uint64_t n, uint32_t *ns) { \
    unsigned char block[bytes] __attribute__((aligned(64))) = {0};                          \
    uint64_t n_wrong = 0;                                                                   \
    for (uint64_t i = 0; i < n; i++) {                                                      \
      uint32_t n_waits = 0;                                                                 \
      const uint64_t start = ring_now_ns();                                                 \
      block_stamp(block, bytes, i);                                                         \
      while (!put(there, block, bytes)) ring_wait(&n_waits);                                \
      while (!get(back, block, bytes)) ring_wait(&n_waits);                                 \
      ns[i] = (uint32_t)(ring_now_ns() - start);                                            \
      n_wrong += block_differs(block, bytes, i);                                            \
    }                                                                                       \
    return n_wrong;                                                                         \
  }

#define RING_LOOPS_OF(kind, bytes, init, done) {init, done, kind##_write_##bytes, kind##_read_##bytes, kind##_echo_##bytes, kind##_bounce_##bytes}

#endif
