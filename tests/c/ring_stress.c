/* The SPSC ring: one writer and one reader, two threads or ("fork") two processes; every block's content is checked. */
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress.h"

typedef struct Case {
  PeRing *ring;
  uint32_t block_bytes, capacity, n_blocks, seed;
} Case;

static unsigned char byte_of(uint32_t block, uint32_t i) { return (unsigned char)(block * 37u + (block >> 8) * 11u + i * 101u); }

static void *write_all(void *argument) {
  const Case *c = argument;
  Random r = {c->seed};
  uint32_t block = 0;
  while (block < c->n_blocks) {
    void *place;
    const uint32_t want = 1 + random_below(&r, c->capacity + 2);
    uint32_t n = pe_ring_acquire(c->ring, want, &place);
    CHECK(n <= want && n <= c->capacity && pe_ring_readable(c->ring) <= c->capacity);
    if (n == 0) {
      sched_yield();
      continue;
    }
    n = random_below(&r, n + 1); /* not all that is acquired need be committed */
    if (n > c->n_blocks - block) n = c->n_blocks - block;
    for (uint32_t k = 0; k < n; k++, block++)
      for (uint32_t i = 0; i < c->block_bytes; i++) ((unsigned char *)place)[k * c->block_bytes + i] = byte_of(block, i);
    pe_ring_commit(c->ring, n);
  }
  return NULL;
}

static void *read_all(void *argument) {
  const Case *c = argument;
  Random r = {c->seed + 1};
  uint32_t block = 0;
  while (block < c->n_blocks) {
    void *place;
    const uint32_t want = 1 + random_below(&r, c->capacity + 2);
    uint32_t n = pe_ring_peek(c->ring, want, &place);
    CHECK(n <= want && n <= c->capacity && pe_ring_writable(c->ring) <= c->capacity);
    if (n == 0) {
      sched_yield();
      continue;
    }
    n = random_below(&r, n + 1); /* what is not released comes again */
    for (uint32_t k = 0; k < n; k++, block++)
      for (uint32_t i = 0; i < c->block_bytes; i++)
        CHECK(((const unsigned char *)place)[k * c->block_bytes + i] == byte_of(block, i));
    pe_ring_release(c->ring, n);
  }
  return NULL;
}

static void run(Case *c, int is_fork) {
  const uint64_t bytes = pe_ring_bytes(c->block_bytes, c->capacity);
  void *memory = shared_memory(bytes);
  CHECK(pe_ring_init(memory, bytes, c->block_bytes, c->capacity) == PE_OK);
  CHECK(pe_ring_attach(memory, bytes, &c->ring) == PE_OK);
  if (is_fork) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      write_all(c);
      _exit(0);
    }
    read_all(c);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
  } else {
    pthread_t writer;
    CHECK(pthread_create(&writer, NULL, write_all, c) == 0);
    read_all(c);
    pthread_join(writer, NULL);
  }
  CHECK(pe_ring_readable(c->ring) == 0 && pe_ring_writable(c->ring) == c->capacity);
  munmap(memory, bytes);
}

int main(int argc, char **argv) {
  static const uint32_t sizes[] = {1, 4, 60, 512}, capacities[] = {1, 2, 16, 1024};
  const int is_fork = argc > 1 && strcmp(argv[1], "fork") == 0;
  for (uint32_t i = 0; i < 4; i++)
    for (uint32_t k = 0; k < 4; k++) {
      Case c = {.block_bytes = sizes[i], .capacity = capacities[k], .seed = i * 4 + k};
      c.n_blocks = capacities[k] == 1 ? 5000 : sizes[i] == 512 ? 8000 : 40000;
      run(&c, is_fork);
    }
  return 0;
}
