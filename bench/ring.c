/* Our ring beside others: one writer, one reader, two threads or two processes. See bench/test_ring.py.
 *
 *   ring threads|processes SHAPE ROUNDS N     for each round, in turn: NAME, ns a block over N blocks, median and 99 % of
 *                                             the round trips of one block in ns
 *
 * Every block's number is looked at in the first, middle and last word, in every run; a queue that hands over another is an error
 * (exit code 1). Both sides copy: a rendered block in, a block for the device out.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../csrc/ring.h"
#include "queues.h"

#define N_TRIPS 2000u
#define N_PLACES 16u /* how long a cache line is on its way depends on where it lies: every kind has been in all of them */

/* ---- ours ---------------------------------------------------------------------------------------- */

#define OURS_INIT(bytes)                                                                             \
  static void ours_init_##bytes(void *memory) {                                                      \
    if (pe_ring_init(memory, QUEUE_BYTES, bytes, CAPACITY) != PE_OK) abort();                        \
  }
SHAPES(OURS_INIT)

static ALWAYS_INLINE int ours_put(void *memory, const unsigned char *block, uint32_t bytes) {
  void *place;
  if (ring_acquire(memory, 1, &place) == 0) return 0;
  memcpy(place, block, bytes);
  ring_commit(memory, 1);
  return 1;
}

static ALWAYS_INLINE int ours_get(void *memory, unsigned char *block, uint32_t bytes) {
  void *place;
  if (ring_peek(memory, 1, &place) == 0) return 0;
  memcpy(block, place, bytes);
  ring_release(memory, 1);
  return 1;
}

static ALWAYS_INLINE int called_put(void *memory, const unsigned char *block, uint32_t bytes) {
  void *place;
  if (pe_ring_acquire(memory, 1, &place) == 0) return 0;
  memcpy(place, block, bytes);
  pe_ring_commit(memory, 1);
  return 1;
}

static ALWAYS_INLINE int called_get(void *memory, unsigned char *block, uint32_t bytes) {
  void *place;
  if (pe_ring_peek(memory, 1, &place) == 0) return 0;
  memcpy(block, place, bytes);
  pe_ring_release(memory, 1);
  return 1;
}

#define OURS_LOOPS(bytes) RING_LOOPS(ours, bytes, ours_put, ours_get) RING_LOOPS(called, bytes, called_put, called_get)
#define OURS_ROW(bytes) RING_LOOPS_OF(ours, bytes, ours_init_##bytes, NULL),
#define CALLED_ROW(bytes) RING_LOOPS_OF(called, bytes, ours_init_##bytes, NULL),
SHAPES(OURS_LOOPS)
static const RingKind ours_kind = {"pyengine", 1, {SHAPES(OURS_ROW)}};
static const RingKind called_kind = {"pyengine, pe_ring_* by call", 1, {SHAPES(CALLED_ROW)}};

/* ---- a reference, written for this bench ------------------------------------------------------------
 * The well-known design that the README of rigtorp::SPSCQueue describes, not its code (which Debian does not package):
 * elements on cache lines of their own, one more than the capacity, each side's index and its copy of the other's on a
 * cache line of their own, the copy read anew only when the queue seems full or empty. All of it inline. */

typedef struct Reference {
  alignas(64) _Atomic size_t write;
  size_t read_seen;
  alignas(64) _Atomic size_t read;
  size_t write_seen;
  alignas(64) unsigned char elements[];
} Reference;

static void reference_init(void *memory) { memset(memory, 0, sizeof(Reference)); }

static ALWAYS_INLINE int reference_put(void *memory, const unsigned char *block, uint32_t bytes) {
  Reference *q = memory;
  const size_t w = atomic_load_explicit(&q->write, memory_order_relaxed);
  const size_t next = w == CAPACITY ? 0 : w + 1;
  if (next == q->read_seen) {
    q->read_seen = atomic_load_explicit(&q->read, memory_order_acquire);
    if (next == q->read_seen) return 0;
  }
  memcpy(q->elements + w * bytes, block, bytes);
  atomic_store_explicit(&q->write, next, memory_order_release);
  return 1;
}

static ALWAYS_INLINE int reference_get(void *memory, unsigned char *block, uint32_t bytes) {
  Reference *q = memory;
  const size_t r = atomic_load_explicit(&q->read, memory_order_relaxed);
  if (r == q->write_seen) {
    q->write_seen = atomic_load_explicit(&q->write, memory_order_acquire);
    if (r == q->write_seen) return 0;
  }
  memcpy(block, q->elements + r * bytes, bytes);
  atomic_store_explicit(&q->read, r == CAPACITY ? 0 : r + 1, memory_order_release);
  return 1;
}

#define REFERENCE_LOOPS(bytes) RING_LOOPS(reference, bytes, reference_put, reference_get)
#define REFERENCE_ROW(bytes) RING_LOOPS_OF(reference, bytes, reference_init, NULL),
SHAPES(REFERENCE_LOOPS)
static const RingKind reference_kind = {"reference (cached indices)", 1, {SHAPES(REFERENCE_ROW)}};

/* ---- PortAudio's ----------------------------------------------------------------------------------
 * Debian has it in the static library of portaudio19-dev, without its header: what is used of it is declared here. */

#ifdef WITH_PORTAUDIO
typedef struct PaUtilRingBuffer PaUtilRingBuffer;
long PaUtil_InitializeRingBuffer(PaUtilRingBuffer *ring, long element_bytes, long n_elements, void *data);
long PaUtil_WriteRingBuffer(PaUtilRingBuffer *ring, const void *data, long n_elements);
long PaUtil_ReadRingBuffer(PaUtilRingBuffer *ring, void *data, long n_elements);

#define PORTAUDIO_INIT(bytes)                                                                                      \
  static void portaudio_init_##bytes(void *memory) {                                                               \
    if (PaUtil_InitializeRingBuffer(memory, bytes, CAPACITY, (unsigned char *)memory + 4096) != 0) abort();        \
  }
SHAPES(PORTAUDIO_INIT)

#define PORTAUDIO_PUT(memory, block, bytes) (PaUtil_WriteRingBuffer(memory, block, 1) == 1)
#define PORTAUDIO_GET(memory, block, bytes) (PaUtil_ReadRingBuffer(memory, block, 1) == 1)
#define PORTAUDIO_LOOPS(bytes) RING_LOOPS(portaudio, bytes, PORTAUDIO_PUT, PORTAUDIO_GET)
#define PORTAUDIO_ROW(bytes) RING_LOOPS_OF(portaudio, bytes, portaudio_init_##bytes, NULL),
SHAPES(PORTAUDIO_LOOPS)
static const RingKind portaudio_kind = {"PortAudio's ring", 1, {SHAPES(PORTAUDIO_ROW)}};
#endif

static const RingKind *const kinds[] = {
    &ours_kind, &called_kind, &reference_kind,
#ifdef WITH_BOOST
    &boost_kind,
#endif
#ifdef WITH_MOODYCAMEL
    &moodycamel_kind,
#endif
#ifdef WITH_PORTAUDIO
    &portaudio_kind,
#endif
};
#define N_KINDS (sizeof kinds / sizeof *kinds)

/* ---- two sides ------------------------------------------------------------------------------------- */

typedef struct Shared {
  _Atomic uint32_t waiting;
} Shared;

typedef struct Run {
  const RingLoops *loops;
  Shared *shared;
  void *there, *back;
  uint64_t n;
  int is_trip;
} Run;

void ring_wait(uint32_t *n_waits) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
  if (++*n_waits % 4096 == 0) sched_yield(); /* the other side may be waiting for this processor */
}

uint64_t ring_now_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Keeps the calling thread on the k-th of the processors that the process may use. */
static void pin(uint32_t k) {
  static cpu_set_t allowed;
  static int is_known;
  cpu_set_t one;
  if (!is_known && sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  is_known = 1;
  CPU_ZERO(&one);
  for (uint32_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &allowed) && k-- == 0) {
      CPU_SET(cpu, &one);
      sched_setaffinity(0, sizeof one, &one);
      return;
    }
}

static void meet(Shared *shared) {
  uint32_t n_waits = 0;
  atomic_fetch_sub_explicit(&shared->waiting, 1, memory_order_acq_rel);
  while (atomic_load_explicit(&shared->waiting, memory_order_acquire) > 0) ring_wait(&n_waits);
}

/* A process that was just forked has none of the shared pages in its tables: not what is to be timed. */
static void touch(void *queue) {
  volatile unsigned char *at = queue;
  for (uint32_t i = 0; i < QUEUE_BYTES; i += 4096) at[i] = at[i];
}

static void *other_side(void *argument) {
  const Run *run = argument;
  pin(1);
  touch(run->there), touch(run->back);
  meet(run->shared);
  if (run->is_trip)
    run->loops->echo(run->there, run->back, run->n);
  else
    run->loops->write(run->there, run->n);
  return NULL;
}

/* Returns the ns that this side took. */
static uint64_t play(const char *name, Run *run, int is_process, uint32_t *trips) {
  pthread_t thread;
  pid_t child = 0;
  run->loops->init(run->there);
  run->loops->init(run->back);
  atomic_store(&run->shared->waiting, 2);
  if (is_process && (child = fork()) == 0) {
    other_side(run);
    _exit(0);
  }
  if (child < 0 || (!is_process && pthread_create(&thread, NULL, other_side, run) != 0)) {
    perror("ring: cannot start the other side");
    exit(2);
  }
  meet(run->shared);
  const uint64_t start = ring_now_ns();
  const uint64_t n_wrong =
      run->is_trip ? run->loops->bounce(run->there, run->back, run->n, trips) : run->loops->read(run->there, run->n);
  const uint64_t took = ring_now_ns() - start;
  if (is_process)
    waitpid(child, NULL, 0);
  else
    pthread_join(thread, NULL);
  if (run->loops->done) run->loops->done(run->there), run->loops->done(run->back);
  if (n_wrong > 0) {
    fprintf(stderr, "ring: %s handed over %llu wrong blocks of %llu\n", name, (unsigned long long)n_wrong, (unsigned long long)run->n);
    exit(1);
  }
  return took;
}

static int compare(const void *a, const void *b) {
  const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* Each queue begins with zeroes, as shared memory does. */
static void *new_queue(void) {
  void *at = mmap(NULL, QUEUE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) {
    perror("ring: no memory");
    exit(2);
  }
  return at;
}

/* What no queue can be faster than: the same copies in and out of the same memory by one side, without any order. */
static uint64_t copy_ns(unsigned char *memory, uint32_t bytes, uint64_t n) {
  static unsigned char in[2048], out[2048];
  const uint64_t start = ring_now_ns();
  for (uint64_t i = 0; i < n; i++) {
    unsigned char *place = memory + i % CAPACITY * bytes;
    block_stamp(in, bytes, i);
    memcpy(place, in, bytes);
    __asm__ volatile("" ::: "memory");
    memcpy(out, place, bytes);
    if (block_differs(out, bytes, i)) exit(1);
  }
  return ring_now_ns() - start;
}

int main(int argc, char **argv) {
  static const uint32_t shapes[N_SHAPES] = {64, 256, 2048};
  static uint32_t trips[N_TRIPS];
  if (argc != 5) return 2;
  const int is_process = strcmp(argv[1], "processes") == 0;
  const uint32_t shape = (uint32_t)atoi(argv[2]), n_rounds = (uint32_t)atoi(argv[3]);
  const uint64_t n = (uint64_t)atoll(argv[4]);
  if (shape >= N_SHAPES || n == 0) return 2;
  void *places[N_PLACES][2];
  Shared *shared = new_queue();
  for (uint32_t i = 0; i < N_PLACES; i++) places[i][0] = new_queue(), places[i][1] = new_queue();
  pin(0);
  for (uint32_t round = 0; round < n_rounds + N_PLACES; round++) { /* the first ones touch the memory */
    void *const *queues = places[round % N_PLACES];
    const int is_told = round >= N_PLACES;
    const uint64_t plain_ns = copy_ns(queues[0], shapes[shape], n);
    if (is_told) printf("copies by one side\t%.3f\t0\t0\n", (double)plain_ns / (double)n);
    for (uint32_t k = 0; k < N_KINDS; k++) {
      const uint32_t i = (round + k) % N_KINDS; /* none is always the first */
      const RingKind *kind = kinds[i];
      if (is_process && !kind->is_for_processes) continue;
      Run run = {.loops = &kind->loops[shape], .shared = shared, .there = queues[0], .back = queues[1], .n = n};
      const uint64_t took = play(kind->name, &run, is_process, NULL);
      run.is_trip = 1, run.n = N_TRIPS;
      play(kind->name, &run, is_process, trips);
      qsort(trips, N_TRIPS, sizeof *trips, compare);
      if (is_told) printf("%s\t%.3f\t%u\t%u\n", kind->name, (double)took / (double)n, trips[N_TRIPS / 2], trips[N_TRIPS * 99 / 100]);
    }
  }
  return 0;
}
