/* Set a parameter to a new value at random times: osc_values PORT ADDRESS N SCALE SEED
 * Message i carries the float (i + 1) / SCALE, 1.5 to 4.5 ms after the one before. Writes to stdout, a line each, when it
 * was given to the kernel (ns on CLOCK_MONOTONIC, read right before the call). C, so that between that look at
 * the clock and the kernel there is no interpreter that has just been woken up. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#define MOST_BYTES 256
#define SHORTEST_NS 1500000u
#define SPREAD_NS 3000000u

static uint64_t now_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint32_t random_u32(uint64_t *state) { /* PCG */
  const uint64_t s = *state;
  *state = s * 6364136223846793005u + 1442695040888963407u;
  const uint32_t x = (uint32_t)(((s >> 18) ^ s) >> 27), turn = (uint32_t)(s >> 59);
  return x >> turn | x << (-turn & 31);
}

static void put_u32(uint8_t *to, uint32_t v) {
  v = htonl(v);
  memcpy(to, &v, 4);
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  const uint16_t port = (uint16_t)atoi(argv[1]);
  const char *address = argv[2];
  const size_t n = strtoul(argv[3], NULL, 10);
  const float scale = strtof(argv[4], NULL);
  uint64_t random = strtoull(argv[5], NULL, 10);
  const uint32_t n_address = ((uint32_t)strlen(address) + 4u) & ~3u;
  uint8_t datagram[MOST_BYTES] = {0};
  uint64_t *sent_ns = calloc(n ? n : 1, sizeof *sent_ns);
  if (sent_ns == NULL || n_address + 8 > MOST_BYTES) return 3;
  memcpy(datagram, address, strlen(address));
  memcpy(datagram + n_address, ",f", 2);
  const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  const int out = socket(AF_INET, SOCK_DGRAM, 0);
  if (out < 0 || connect(out, (const struct sockaddr *)&to, sizeof to)) return 4;
  prctl(PR_SET_TIMERSLACK, 1);
  for (size_t i = 0; i < n; i++) {
    const float value = (float)(i + 1) / scale;
    uint32_t bits;
    memcpy(&bits, &value, 4);
    put_u32(datagram + n_address + 4, bits);
    const uint64_t wait_ns = SHORTEST_NS + (uint64_t)random_u32(&random) * SPREAD_NS / UINT32_MAX;
    nanosleep(&(struct timespec){.tv_nsec = (long)wait_ns}, NULL);
    sent_ns[i] = now_ns();
    if (send(out, datagram, n_address + 8, 0) != (ssize_t)(n_address + 8)) return 5;
  }
  for (size_t i = 0; i < n; i++) printf("%llu\n", (unsigned long long)sent_ns[i]);
  return 0;
}
