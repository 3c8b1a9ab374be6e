/* Record, sample by sample, what a JACK client called CLIENT puts out: jack_capture CLIENT N_PORTS N_FRAMES FILE
 * Writes raw interleaved float32, then one line to stdout: frames captured, xruns seen, 1 if the frame times were
 * without a gap. Says "ready" once it is active; connects to the client's ports as they appear. */
#include <jack/jack.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_PORTS 8

static jack_port_t *ports[MAX_PORTS];
static size_t n_ports, n_wanted, n_got;
static float *samples;
static jack_nframes_t expected;
static atomic_int is_connected, is_done, n_xruns, n_gaps, is_gone, is_ended;

static int process(jack_nframes_t n_frames, void *client) {
  if (!atomic_load(&is_connected) || atomic_load(&is_done)) return 0;
  const jack_nframes_t at = jack_last_frame_time(client);
  if (n_got > 0 && at != expected) atomic_fetch_add(&n_gaps, 1);
  expected = at + n_frames;
  size_t n = n_wanted - n_got < n_frames ? n_wanted - n_got : n_frames;
  for (size_t p = 0; p < n_ports; p++) {
    const float *in = jack_port_get_buffer(ports[p], n_frames);
    for (size_t f = 0; f < n; f++) samples[(n_got + f) * n_ports + p] = in[f];
  }
  n_got += n;
  if (n_got == n_wanted) atomic_store(&is_done, 1);
  return 0;
}

static int xrun(void *unused) {
  (void)unused;
  if (atomic_load(&is_connected) && !atomic_load(&is_done)) atomic_fetch_add(&n_xruns, 1);
  return 0;
}

static void gone(void *unused) {
  (void)unused;
  atomic_store(&is_gone, 1);
}

static void end(int signal_number) {
  (void)signal_number;
  atomic_store(&is_ended, 1);
}

static int connect_all(jack_client_t *client, const char *name) {
  char pattern[128];
  snprintf(pattern, sizeof pattern, "^%s:", name);
  const char **found = jack_get_ports(client, pattern, JACK_DEFAULT_AUDIO_TYPE, JackPortIsOutput);
  size_t n = 0;
  while (found && found[n]) n++;
  int ok = n >= n_ports;
  for (size_t p = 0; ok && p < n_ports; p++) ok = jack_connect(client, found[p], jack_port_name(ports[p])) == 0;
  jack_free(found);
  return ok;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  n_ports = (size_t)atoi(argv[2]);
  n_wanted = (size_t)atol(argv[3]);
  if (n_ports == 0 || n_ports > MAX_PORTS) return 2;
  samples = calloc(n_wanted * n_ports, sizeof *samples);
  jack_client_t *client = NULL;
  for (int i = 0; i < 200 && client == NULL; i++) { /* the server may still be starting */
    client = jack_client_open("capture", JackNoStartServer, NULL);
    if (client == NULL) usleep(50000);
  }
  if (samples == NULL || client == NULL) return 3;
  for (size_t p = 0; p < n_ports; p++) {
    char port[16];
    snprintf(port, sizeof port, "in_%d", (int)p);
    ports[p] = jack_port_register(client, port, JACK_DEFAULT_AUDIO_TYPE, JackPortIsInput, 0);
  }
  jack_set_process_callback(client, process, client);
  jack_set_xrun_callback(client, xrun, NULL);
  jack_on_shutdown(client, gone, NULL);
  signal(SIGTERM, end); /* the server waits long for a client that just vanishes */
  if (jack_activate(client)) return 3;
  printf("ready\n");
  fflush(stdout);
  while (!atomic_load(&is_gone) && !atomic_load(&is_ended) && !connect_all(client, argv[1])) usleep(5000);
  atomic_store(&is_connected, 1);
  printf("connected\n");
  fflush(stdout);
  while (!atomic_load(&is_gone) && !atomic_load(&is_ended) && !atomic_load(&is_done)) usleep(5000);
  printf("%zu %d %d\n", n_got, atomic_load(&n_xruns), atomic_load(&n_gaps));
  fflush(stdout);
  FILE *file = fopen(argv[4], "wb");
  if (file == NULL || fwrite(samples, sizeof *samples * n_ports, n_got, file) != n_got) return 4;
  fclose(file);
  if (!atomic_load(&is_gone)) jack_client_close(client);
  return 0;
}
