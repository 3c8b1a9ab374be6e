/* The inbox under load: inbox_stress N
 * Senders flood a real socket with settings of their own modules, numbered, now and then one that needs Python; a thread in the
 * place of Python fetches those and sends their records itself, publishes other tables, holds and releases, and fetches values;
 * a thread in the place of a worker reads the stream. Nothing may be lost, and of each sender nothing may be overtaken. */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "inbox.h"
#include "stress.h"

#define N_SENDERS 3u

static PeSegment *segment;
static PeInbox *inbox;
static uint32_t n_each, sine;
static atomic_uint n_read, is_over;
static uint32_t newest[N_SENDERS];
static int sockets[N_SENDERS];
static const char all_ids[] = "osc0osc1osc2";

static uint32_t put(uint8_t *to, uint32_t sender, uint32_t number, int is_long) {
  char address[32];
  snprintf(address, sizeof address, "/mod/osc%u/%s", sender, is_long ? "wrong" : "freq");
  uint32_t n = ((uint32_t)strlen(address) + 4u) & ~3u;
  memset(to, 0, 64);
  memcpy(to, address, strlen(address));
  memcpy(to + n, ",i", 2);
  for (uint32_t i = 0; i < 4; i++) to[n + 4 + i] = (uint8_t)(number >> (24 - 8 * i));
  return n + 8;
}

static uint32_t number_in(const uint8_t *bytes, uint32_t n) {
  return (uint32_t)bytes[n - 4] << 24 | (uint32_t)bytes[n - 3] << 16 | (uint32_t)bytes[n - 2] << 8 | bytes[n - 1];
}

static void *sends(void *which) {
  const uint32_t sender = (uint32_t)(uintptr_t)which;
  Random r = {sender + 1};
  uint8_t message[64], answer[512];
  for (uint32_t i = 1; i <= n_each; i++) {
    const uint32_t n = put(message, sender, i, random_below(&r, 50) == 0);
    while (send(sockets[sender], message, n, 0) < 0) sleep_us(100);
    if (i % 16 == 0) sleep_us(300); /* the kernel is to drop nothing */
    while (recv(sockets[sender], answer, sizeof answer, MSG_DONTWAIT) > 0) {}
  }
  return NULL;
}

static void publish(uint32_t left_out) {
  PeInboxModule modules[N_SENDERS];
  uint32_t n = 0;
  for (uint32_t i = 0; i < N_SENDERS; i++)
    if (i != left_out) modules[n++] = (PeInboxModule){.handle = i + 1, .type = sine, .id_at = 4 * i, .id_bytes = 4};
  CHECK(pe_inbox_publish(inbox, modules, n, all_ids, 12) == PE_OK);
}

static void handle_letters(uint8_t *bytes) {
  PeLetter letter;
  while (pe_inbox_next(inbox, &letter, bytes)) {
    const uint32_t sender = bytes[8] - '0';
    CHECK(sender < N_SENDERS);
    const PeCommand c = {.kind = PE_COMMAND_PARAM, .handle = sender + 1, .frame = letter.frame, .value = number_in(bytes, letter.n_bytes)};
    while (pe_inbox_send(inbox, &c, 1, 1, 0) == 0) sleep_us(50);
  }
}

static void *is_python(void *unused) {
  static uint8_t bytes[65536];
  static PeTaken taken[64];
  Random r = {77};
  while (!atomic_load(&is_over)) {
    struct pollfd fd = {.fd = pe_inbox_fd(inbox), .events = POLLIN};
    poll(&fd, 1, 1);
    handle_letters(bytes);
    if (random_below(&r, 20) == 0) {
      pe_inbox_hold(inbox);
      while (pe_inbox_taken(inbox, taken, 64) == 64) {}
      publish(random_below(&r, N_SENDERS + 1));
      pe_inbox_release(inbox);
    }
    if (random_below(&r, 10) == 0) {
      const uint32_t n = pe_inbox_taken(inbox, taken, 64);
      CHECK(n <= N_SENDERS);
    }
  }
  return unused;
}

static void *is_worker(void *unused) {
  PeSeatShared *seat = &segment->seats[0];
  uint64_t at = 0;
  while (atomic_load(&n_read) < N_SENDERS * n_each) {
    const uint64_t end = pe_stream_newest(segment);
    for (; at < end; at++) {
      const PeCommand *c = pe_stream_record(segment, at + 1);
      CHECK(c->seq == at + 1 && c->handle >= 1 && c->handle <= N_SENDERS);
      CHECK((uint32_t)c->value == newest[c->handle - 1] + 1); /* nothing lost, nothing overtaken */
      newest[c->handle - 1]++;
      atomic_fetch_add(&n_read, 1);
    }
    atomic_store_explicit(&seat->applied, at, memory_order_release);
    sleep_us(500);
  }
  return unused;
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  n_each = (uint32_t)atoi(argv[1]);
  const PeConfig config = {.sample_rate_hz = 48000.0, .block_frames = 64, .n_channels = 2, .lead_blocks = 2, .n_commands = 8192, .n_journal = 1024,
                           .tap_frames = 1024, .checkpoint_bytes = 4096};
  void *memory = shared_memory(pe_segment_bytes(&config));
  CHECK(pe_segment_init(memory, pe_segment_bytes(&config), &config) == PE_OK && pe_segment_attach(memory, pe_segment_bytes(&config), &segment) == PE_OK);
  pe_slot_set_alive(segment, 0, 1);
  PeRegistry *registry;
  PeOutput *output;
  PeModuleInfo info;
  CHECK(pe_registry_new(&registry) == PE_OK && pe_output_new(segment, &output) == PE_OK);
  while (pe_registry_info(registry, sine, &info) == PE_OK && strcmp(info.name, "simple_sine") != 0) sine++;
  CHECK(pe_inbox_new(segment, output, registry, &inbox) == PE_OK);
  pe_inbox_latency(inbox, PE_LATENCY_ASAP, 0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof to;
  const int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 8 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  CHECK(bind(fd, (struct sockaddr *)&to, sizeof to) == 0 && getsockname(fd, (struct sockaddr *)&to, &size) == 0);
  publish(N_SENDERS);
  CHECK(pe_inbox_listen(inbox, fd) == PE_OK && pe_inbox_listen(inbox, fd) == PE_BUSY);
  pthread_t threads[N_SENDERS], python, worker;
  CHECK(pthread_create(&python, NULL, is_python, NULL) == 0 && pthread_create(&worker, NULL, is_worker, NULL) == 0);
  for (uint32_t i = 0; i < N_SENDERS; i++) {
    sockets[i] = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(connect(sockets[i], (struct sockaddr *)&to, sizeof to) == 0);
    CHECK(pthread_create(&threads[i], NULL, sends, (void *)(uintptr_t)i) == 0);
  }
  for (uint32_t i = 0; i < N_SENDERS; i++) pthread_join(threads[i], NULL);
  pthread_join(worker, NULL);
  atomic_store(&is_over, 1);
  pthread_join(python, NULL);
  PeInboxCounts counts;
  pe_inbox_counts(inbox, &counts);
  CHECK(counts.datagrams == (uint64_t)N_SENDERS * n_each && counts.dropped == 0 && counts.lost == 0);
  CHECK(counts.short_requests > 0 && counts.short_requests < counts.datagrams);
  pe_inbox_stop(inbox);
  pe_inbox_stop(inbox);
  pe_inbox_free(inbox);
  pe_output_free(output);
  pe_registry_free(registry);
  close(fd);
  for (uint32_t i = 0; i < N_SENDERS; i++) close(sockets[i]);
  printf("datagrams=%llu short=%llu\n", (unsigned long long)counts.datagrams, (unsigned long long)counts.short_requests);
  return 0;
}
