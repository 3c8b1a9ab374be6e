/* Tell each step of what a JACK client called CLIENT puts out on its first port: jack_steps CLIENT N_STEPS FILE
 * Writes a line per step, "s VALUE FRAME": the value after it and the frame, and one per cycle, "c FRAME NS": when it began
 * here, on CLOCK_MONOTONIC. (JACK's own time of a frame takes seconds to settle.) Then one line to stdout: steps, xruns.
 * Says "ready" once it is active and "connected" when it listens. */
#include <jack/jack.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_CYCLES 200000u

typedef struct Step {
  float value;
  jack_nframes_t frame;
} Step;

typedef struct Cycle {
  jack_nframes_t frame;
  uint64_t ns;
} Cycle;

static jack_port_t *port;
static Step *steps;
static Cycle cycles[MAX_CYCLES];
static size_t n_wanted, n_got, n_cycles;
static float last;
static atomic_int is_connected, is_done, is_ended, n_xruns;

static int process(jack_nframes_t n_frames, void *client) {
  struct timespec ts;
  if (!atomic_load(&is_connected) || atomic_load(&is_done)) return 0;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  const jack_nframes_t frame = jack_last_frame_time(client);
  if (n_cycles < MAX_CYCLES)
    cycles[n_cycles++] = (Cycle){.frame = frame, .ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec};
  const float *in = jack_port_get_buffer(port, n_frames);
  for (jack_nframes_t f = 0; f < n_frames && n_got < n_wanted; f++) {
    if (in[f] == last) continue;
    last = in[f];
    steps[n_got++] = (Step){.value = last, .frame = frame + f};
  }
  if (n_got == n_wanted) atomic_store(&is_done, 1);
  return 0;
}

static int xrun(void *unused) {
  (void)unused;
  if (atomic_load(&is_connected) && !atomic_load(&is_done)) atomic_fetch_add(&n_xruns, 1);
  return 0;
}

static void end(int unused) {
  (void)unused;
  atomic_store(&is_ended, 1);
}

static int connect_first(jack_client_t *client, const char *name) {
  char pattern[128];
  snprintf(pattern, sizeof pattern, "^%s:", name);
  const char **found = jack_get_ports(client, pattern, JACK_DEFAULT_AUDIO_TYPE, JackPortIsOutput);
  const int ok = found && found[0] && jack_connect(client, found[0], jack_port_name(port)) == 0;
  jack_free(found);
  return ok;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  n_wanted = (size_t)atol(argv[2]);
  steps = calloc(n_wanted ? n_wanted : 1, sizeof *steps);
  jack_client_t *client = NULL;
  for (int i = 0; i < 200 && client == NULL; i++) { /* the server may still be starting */
    client = jack_client_open("steps", JackNoStartServer, NULL);
    if (client == NULL) usleep(50000);
  }
  if (steps == NULL || client == NULL) return 3;
  port = jack_port_register(client, "in", JACK_DEFAULT_AUDIO_TYPE, JackPortIsInput, 0);
  jack_set_process_callback(client, process, client);
  jack_set_xrun_callback(client, xrun, NULL);
  signal(SIGTERM, end);
  if (port == NULL || jack_activate(client)) return 3;
  printf("ready\n");
  fflush(stdout);
  while (!atomic_load(&is_ended) && !connect_first(client, argv[1])) usleep(5000);
  atomic_store(&is_connected, 1);
  printf("connected\n");
  fflush(stdout);
  while (!atomic_load(&is_ended) && !atomic_load(&is_done)) usleep(5000);
  FILE *file = fopen(argv[3], "w");
  if (file == NULL) return 4;
  for (size_t i = 0; i < n_got; i++) fprintf(file, "s %.9g %u\n", (double)steps[i].value, steps[i].frame);
  for (size_t i = 0; i < n_cycles; i++) fprintf(file, "c %u %llu\n", cycles[i].frame, (unsigned long long)cycles[i].ns);
  fclose(file);
  printf("%zu %d\n", n_got, atomic_load(&n_xruns));
  fflush(stdout);
  jack_client_close(client);
  return 0;
}
