/* The timeline against simulated devices: jitter stays out, periods left out are followed, time stands still with the
 * output. Then a reader beside a writer, for the sanitizer. */
#include <pthread.h>
#include <stdatomic.h>

#include "stress.h"
#include "timeline.h"

#define RATE_HZ 48000.0
#define N_FRAMES 64u
#define PERIOD_NS (1.0e9 * N_FRAMES / RATE_HZ)

static double frames_off(const PeTimeline *t, double true_ns, int64_t true_frame) {
  return (double)(pe_timeline_frame(t, (uint64_t)true_ns) - true_frame);
}

/* Every request is late by 0 to 200 us, one in 50 by 5 ms; the device runs 100 ppm fast. */
static void jitter(uint64_t seed) {
  PeTimeline t;
  Random random = {seed};
  const double period_ns = PERIOD_NS * (1.0 - 100.0e-6), start = 1.0e12;
  double least = 1.0e9, most = -1.0e9;
  pe_timeline_init(&t, RATE_HZ);
  CHECK(pe_timeline_frame(&t, (uint64_t)start) == -1);
  for (int64_t k = 0; k < 20000; k++) {
    const double late = random_below(&random, 50) == 0 ? 5.0e6 : 1000.0 * random_below(&random, 200);
    pe_timeline_update(&t, (uint64_t)(start + period_ns * (double)k + late), N_FRAMES, k * N_FRAMES);
    if (k < 2000) continue;
    const double off = frames_off(&t, start + period_ns * ((double)k + 0.5), k * N_FRAMES + N_FRAMES / 2);
    if (off < least) least = off;
    if (off > most) most = off;
  }
  CHECK(most - least <= 2.0);            /* 40 us, of a jitter of 5 ms */
  CHECK(least >= -9.0 && most <= 0.0);   /* late by the mean of what they are late, 0.1 ms, and never early */
}

/* A device that leaves out periods comes back to the line within 8 requests, and is never taken to be ahead meanwhile. */
static void missed_periods(void) {
  PeTimeline t;
  double ns = 1.0e12;
  pe_timeline_init(&t, RATE_HZ);
  for (int64_t k = 0; k < 5000; k++) {
    ns += PERIOD_NS * (double)(k % 500 == 499 ? 1 + k / 500 : 1);
    pe_timeline_update(&t, (uint64_t)ns, N_FRAMES, k * N_FRAMES);
    const double off = frames_off(&t, ns + PERIOD_NS / 2, k * N_FRAMES + N_FRAMES / 2);
    CHECK(off >= -2.0);
    if (k % 500 >= 8 && k % 500 < 499) CHECK(off <= 2.0);
  }
}

/* An output that makes no requests any more: the frame that is put out stays where it is, whatever the time. */
static void standstill(void) {
  PeTimeline t;
  pe_timeline_init(&t, RATE_HZ);
  for (int64_t k = 0; k < 100; k++) pe_timeline_update(&t, (uint64_t)(1.0e12 + PERIOD_NS * (double)k), N_FRAMES, k * N_FRAMES);
  CHECK(pe_timeline_frame(&t, UINT64_C(1000000000000) + UINT64_C(60000000000)) == 101 * N_FRAMES);
  CHECK(pe_timeline_frame(&t, 1) == 0);
  pe_timeline_update(&t, UINT64_C(1000000000000) + UINT64_C(60000000000), N_FRAMES, 100 * N_FRAMES); /* and goes on from there */
  CHECK(pe_timeline_frame(&t, UINT64_C(1000000000000) + UINT64_C(60000000000)) == 100 * N_FRAMES);
}

/* Engine time stands still in an underrun, the device's does not. */
static void underrun(void) {
  PeTimeline t;
  int64_t frame = 0;
  pe_timeline_init(&t, RATE_HZ);
  for (int64_t k = 0; k < 1000; k++) {
    const double ns = 1.0e12 + PERIOD_NS * (double)k;
    pe_timeline_update(&t, (uint64_t)ns, N_FRAMES, frame);
    CHECK(frames_off(&t, ns + 1.0, frame) <= 1.0 && frames_off(&t, ns + 1.0, frame) >= -1.0);
    if (k < 500 || k > 510) frame += N_FRAMES;
  }
}

/* Requests of all sizes, as some sound servers make them. */
static void sizes(uint64_t seed) {
  PeTimeline t;
  Random random = {seed};
  int64_t frame = 0;
  pe_timeline_init(&t, RATE_HZ);
  for (int k = 0; k < 5000; k++) {
    const uint32_t n = 1 + random_below(&random, 2048);
    const double ns = 1.0e12 + 1.0e9 / RATE_HZ * (double)frame;
    pe_timeline_update(&t, (uint64_t)ns, n, frame);
    const double off = frames_off(&t, ns + 1.0, frame);
    CHECK(off >= -1.0 && off <= 1.0);
    frame += n;
  }
}

static PeTimeline shared;
static atomic_int is_over;

static void *writes(void *unused) {
  for (int64_t k = 0; k < 200000; k++) pe_timeline_update(&shared, (uint64_t)(1.0e12 + PERIOD_NS * (double)k), N_FRAMES, k * N_FRAMES);
  atomic_store(&is_over, 1);
  return unused;
}

static void reader_beside_a_writer(void) {
  pthread_t thread;
  int64_t before = -1;
  pe_timeline_init(&shared, RATE_HZ);
  CHECK(pthread_create(&thread, NULL, writes, NULL) == 0);
  while (!atomic_load(&is_over)) {
    const int64_t frame = pe_timeline_frame(&shared, UINT64_C(2000000000000)); /* in the far future: as far as it may be drawn */
    CHECK(frame >= before && (frame < 0 || frame % N_FRAMES == 0));
    before = frame;
  }
  pthread_join(thread, NULL);
}

int main(void) {
  for (uint64_t seed = 1; seed <= 5; seed++) {
    jitter(seed);
    sizes(seed);
  }
  missed_periods();
  standstill();
  underrun();
  reader_beside_a_writer();
  return 0;
}
