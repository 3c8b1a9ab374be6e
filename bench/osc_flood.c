/* Send numbers to parameters of an engine at a steady rate: osc_flood PORT N RATE BUNDLE < ADDRESSES
 * The addresses, one a line, are sent to in turn; message i carries the float (i / number of addresses) modulo 997 plus 1,
 * divided by 1000. BUNDLE messages go in one datagram (1: without a bundle). Writes to stdout: messages sent, seconds
 * it took, datagrams refused by the kernel, answers that came. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define MOST_ADDRESSES 16384
#define BATCH 64
#define MOST_BYTES 16384

static char addresses[MOST_ADDRESSES][128];
static uint8_t datagrams[BATCH][MOST_BYTES];
static struct mmsghdr messages[BATCH];
static struct iovec places[BATCH];

static uint64_t now_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void put_u32(uint8_t *to, uint32_t v) {
  v = htonl(v);
  memcpy(to, &v, 4);
}

static uint32_t put_message(uint8_t *to, const char *address, float value) {
  uint32_t n = ((uint32_t)strlen(address) + 4u) & ~3u, bits;
  memset(to, 0, n + 8);
  memcpy(to, address, strlen(address));
  memcpy(to + n, ",f", 2);
  memcpy(&bits, &value, 4);
  put_u32(to + n + 4, bits);
  return n + 8;
}

static uint32_t put_datagram(uint8_t *to, uint64_t first, uint64_t bundle, uint64_t n_addresses) {
  uint32_t at = 0;
  if (bundle > 1) {
    memcpy(to, "#bundle\0\0\0\0\0\0\0\0\1", 16);
    at = 16;
  }
  for (uint64_t i = first; i < first + bundle; i++) {
    const float value = (float)(i / n_addresses % 997 + 1) / 1000.0f;
    const uint32_t n = put_message(to + at + (bundle > 1 ? 4 : 0), addresses[i % n_addresses], value);
    if (bundle > 1) put_u32(to + at, n);
    at += n + (bundle > 1 ? 4 : 0);
  }
  return at;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  const uint64_t n = strtoull(argv[2], NULL, 10), bundle = strtoull(argv[4], NULL, 10);
  const double rate = strtod(argv[3], NULL);
  uint64_t n_addresses = 0, sent = 0, n_refused = 0, n_answers = 0;
  while (n_addresses < MOST_ADDRESSES && scanf("%127s", addresses[n_addresses]) == 1) n_addresses++;
  if (n_addresses == 0 || bundle == 0 || bundle * 160 > MOST_BYTES) return 2;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) return 3;
  const uint64_t start = now_ns();
  while (sent < n) {
    uint64_t due = (uint64_t)((double)(now_ns() - start) * 1.0e-9 * rate) + bundle;
    if (due > n) due = n;
    int n_batch = 0;
    for (; n_batch < BATCH && sent + bundle <= due; n_batch++, sent += bundle) {
      places[n_batch] = (struct iovec){.iov_base = datagrams[n_batch], .iov_len = put_datagram(datagrams[n_batch], sent, bundle, n_addresses)};
      messages[n_batch].msg_hdr = (struct msghdr){.msg_iov = &places[n_batch], .msg_iovlen = 1};
    }
    for (int at = 0; at < n_batch;) {
      const int some = sendmmsg(fd, messages + at, (unsigned)(n_batch - at), 0);
      if (some < 0) n_refused++;
      at += some < 0 ? 1 : some;
    }
    if (n_batch < BATCH) nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
  }
  const double took_s = 1.0e-9 * (double)(now_ns() - start);
  uint8_t answer[512];
  while (recv(fd, answer, sizeof answer, MSG_DONTWAIT) > 0) n_answers++;
  printf("%llu %.6f %llu %llu\n", (unsigned long long)sent, took_s, (unsigned long long)n_refused, (unsigned long long)n_answers);
  return 0;
}
