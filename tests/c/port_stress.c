/* Two devices whose threads never stop calling, and an output that is handed from one to the other all the while:
 * at no time are both in it, and nobody comes back through a closed port. Run under ThreadSanitizer.
 *
 * port_stress HANDOVERS */
#include <pthread.h>
#include <stdlib.h>

#include "port.h"
#include "stress.h"

#define BLOCK_FRAMES 32u
#define N_CHANNELS 2u
#define N_DEVICES 2u

static PeOutput *output;
static _Atomic(PePort *) ports[N_DEVICES];
static _Atomic uint64_t n_kept[N_DEVICES]; /* calls after which the device may go on */
static _Atomic int is_over;

static void *device(void *argument) {
  static _Thread_local float out[3 * BLOCK_FRAMES * N_CHANNELS];
  const size_t i = *(const size_t *)argument;
  Random r = {i};
  while (!atomic_load(&is_over)) {
    PePort *port = atomic_load(&ports[i]);
    const uint32_t n = 1 + random_below(&r, 3 * BLOCK_FRAMES);
    for (uint32_t f = 0; f < n * N_CHANNELS; f++) out[f] = 1.0f;
    const int is_abort = pe_portaudio_callback(NULL, out, n, NULL, random_below(&r, 2) ? 4u : 0u, port) == 2;
    for (uint32_t f = 0; f < n * N_CHANNELS; f++) CHECK(out[f] == 0.0f); /* no slot plays: silence from either side */
    if (!is_abort) atomic_fetch_add(&n_kept[i], 1);
  }
  return NULL;
}

int main(int argc, char **argv) {
  const uint64_t n_handovers = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
  const PeConfig config = {.sample_rate_hz = 48000.0, .block_frames = BLOCK_FRAMES, .n_channels = N_CHANNELS, .lead_blocks = 2,
                           .n_commands = 2 * PE_COMMAND_BUDGET, .n_journal = 1024, .tap_frames = 64, .checkpoint_bytes = 64};
  PeSegment *segment = new_segment(&config);
  PePort **all = calloc(n_handovers + N_DEVICES, sizeof *all); /* a closed one is still called: none is freed before the end */
  size_t index[N_DEVICES] = {0, 1};
  pthread_t threads[N_DEVICES];
  CHECK(all != NULL && pe_output_new(segment, &output) == PE_OK);
  for (size_t i = 0; i < N_DEVICES; i++) {
    CHECK(pe_port_new(output, &all[i]) == PE_OK);
    atomic_store(&ports[i], all[i]);
    CHECK(pthread_create(&threads[i], NULL, device, &index[i]) == 0);
  }
  PePort *open = all[0];
  CHECK(pe_port_open(open));
  for (uint64_t k = 0; k < n_handovers; k++) {
    const size_t old = k % N_DEVICES, new = (k + 1) % N_DEVICES;
    if (k % 16 == 0) { /* now and then, somebody is surely in there */
      const uint64_t before = pe_port_calls(open);
      while (pe_port_calls(open) == before) sleep_us(10);
    }
    while (!pe_port_close(open)) sleep_us(1);
    const uint64_t frames = pe_output_frames(output);
    CHECK(pe_port_open(open) == 0); /* for good */
    PePort *next;
    CHECK(pe_port_new(output, &next) == PE_OK);
    all[N_DEVICES + k] = next;
    CHECK(pe_output_frames(output) == frames); /* nobody is in there */
    CHECK(pe_port_open(atomic_load(&ports[new])));
    open = atomic_load(&ports[new]);
    atomic_store(&ports[old], next); /* the device opens anew, and waits */
  }
  while (!pe_port_close(open)) sleep_us(1);
  atomic_store(&is_over, 1);
  for (size_t i = 0; i < N_DEVICES; i++) {
    pthread_join(threads[i], NULL);
    CHECK(atomic_load(&n_kept[i]) > 0);
  }
  CHECK(pe_output_frames(output) == pe_counter(segment, PE_COUNT_FRAMES_REQUESTED));
  CHECK(pe_output_frames(output) == pe_counter(segment, PE_COUNT_FRAMES_UNDERRUN));
  printf("callbacks=%llu\n", (unsigned long long)pe_counter(segment, PE_COUNT_CALLBACKS));
  for (uint64_t k = 0; k < n_handovers + N_DEVICES; k++) pe_port_free(all[k]);
  free(all);
  pe_output_free(output);
  free_segment(segment);
  return 0;
}
