/* What a journal decision costs: ns a call, median and worst of chunks of 256 calls. See bench/test_redundancy.py. */
#include <pthread.h>
#include <stdatomic.h>

#include "journal.h"
#include "rt.h"
#include "stress.h"

#define N_BLOCKS (1u << 19) /* half the journal of an engine */
#define CHUNK 256u
#define N_CHUNKS (N_BLOCKS / CHUNK)

typedef struct Turn {
  PeSegment *segment;
  uint64_t first; /* block */
  _Atomic uint32_t *waiting;
  double ns[N_CHUNKS]; /* for one call */
} Turn;

static uint64_t now_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void *decide(void *argument) {
  Turn *t = argument;
  uint64_t applied = 0;
  atomic_fetch_sub(t->waiting, 1);
  while (atomic_load(t->waiting) > 0) {}
  for (uint32_t i = 0; i < N_CHUNKS; i++) {
    const uint64_t start = now_ns(), first = t->first + (uint64_t)i * CHUNK;
    for (uint64_t block = first; block < first + CHUNK; block++) applied = pe_journal_decide(t->segment, block, applied);
    t->ns[i] = (double)(now_ns() - start) / CHUNK;
  }
  CHECK(applied == 0);
  return NULL;
}

static int compare(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void tell(const char *name, Turn *t) {
  qsort(t->ns, N_CHUNKS, sizeof(double), compare);
  printf("%s %.1f %.1f\n", name, t->ns[N_CHUNKS / 2], t->ns[N_CHUNKS - 1]);
}

int main(void) {
  static Turn turns[2];
  _Atomic uint32_t waiting;
  const PeConfig config = {.sample_rate_hz = 48000.0, .block_frames = 64, .n_channels = 1, .lead_blocks = 2,
                           .n_commands = 2 * PE_COMMAND_BUDGET, .n_journal = 2 * N_BLOCKS, .tap_frames = 64, .checkpoint_bytes = 64};
  PeSegment *s = new_segment(&config);
  pthread_t thread;
  for (uint32_t i = 0; i < 2; i++) turns[i] = (Turn){.segment = s, .waiting = &waiting};
  for (uint32_t lap = 0; lap < 2; lap++) { /* the first one touches the memory */
    const uint64_t first = (uint64_t)lap * 2 * N_BLOCKS;
    turns[0].first = turns[1].first = first;
    atomic_store(&waiting, 1);
    decide(&turns[0]);
    if (lap == 1) tell("first", &turns[0]);
    atomic_store(&waiting, 1);
    decide(&turns[0]);
    if (lap == 1) tell("second", &turns[0]);
    turns[0].first = turns[1].first = first + N_BLOCKS;
    atomic_store(&waiting, 2);
    CHECK(pthread_create(&thread, NULL, decide, &turns[1]) == 0);
    decide(&turns[0]);
    pthread_join(thread, NULL);
    if (lap == 1) tell("together", &turns[0]);
  }
  free_segment(s);
  return 0;
}
