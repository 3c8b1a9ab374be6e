/* The thread that does nothing but take datagrams off the socket and see to them, in the normal class. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <netinet/udp.h>
#include <sys/syscall.h>
#if !defined(UDP_SEGMENT)
#define UDP_SEGMENT 103
#endif
#endif

#include "inbox.h"
#include "thread_setup.h"

#define BATCH 64u
#define DATAGRAM_BYTES 65536u
#define CONTROL_BYTES 128u
#define NICE (-10)
#define SLICE_NS 100000u /* the shortest there is */
#define MOST_SEGMENTS 64u
#define THICK_NS 100000u /* from one wake to the next */
#define GATHER_NS 50000
#if defined(__linux__) && !defined(SOL_UDP)
#define SOL_UDP 17
#endif

#if defined(__linux__)
typedef struct mmsghdr Message;
#else /* one at a time */
typedef struct Message {
  struct msghdr msg_hdr;
  unsigned int  msg_len;
} Message;

static int recvmmsg(int fd, Message *messages, unsigned int n, int flags, void *timeout) {
  (void)timeout;
  unsigned int got = 0;
  for (; got < n; got++) {
    const ssize_t size = recvmsg(fd, &messages[got].msg_hdr, flags);
    if (size < 0) break;
    messages[got].msg_len = (unsigned int)size;
  }
  return got ? (int)got : -1;
}

static int sendmmsg(int fd, Message *messages, unsigned int n, int flags) {
  unsigned int sent = 0;
  while (sent < n && sendmsg(fd, &messages[sent].msg_hdr, flags) >= 0) sent++;
  return sent ? (int)sent : -1;
}
#endif

typedef struct Desk { /* where a batch is put */
  uint8_t            (*bytes)[DATAGRAM_BYTES];
  Message            messages[BATCH];
  struct iovec       places[BATCH];
  struct sockaddr_in senders[BATCH];
  _Alignas(struct cmsghdr) uint8_t control[BATCH][CONTROL_BYTES];
} Desk;

static void clear(Desk *d, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    d->places[i] = (struct iovec){.iov_base = d->bytes[i], .iov_len = DATAGRAM_BYTES};
    d->messages[i].msg_hdr = (struct msghdr){.msg_name = &d->senders[i], .msg_namelen = sizeof d->senders[i], .msg_iov = &d->places[i],
                                             .msg_iovlen = 1, .msg_control = d->control[i], .msg_controllen = CONTROL_BYTES};
  }
}

/* The kernel tells by the wall clock when a datagram came; `apart_ns`: CLOCK_MONOTONIC less that. A clock that was set
 * meanwhile shows, as it lies in the future or long ago. */
static uint64_t arrival_of(PeInbox *b, struct msghdr *m, uint64_t now_ns, int64_t apart_ns) {
  uint64_t arrival_ns = now_ns;
  (void)b;
  (void)apart_ns;
#if defined(__linux__)
  for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
    if (c->cmsg_level != SOL_SOCKET) continue;
    if (c->cmsg_type == SCM_TIMESTAMPNS) {
      struct timespec ts;
      memcpy(&ts, CMSG_DATA(c), sizeof ts);
      const uint64_t told = (uint64_t)((int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec + apart_ns);
      if (told <= now_ns && now_ns - told < 1000000000u) arrival_ns = told;
    } else if (c->cmsg_type == SO_RXQ_OVFL) {
      uint32_t dropped; /* since the start, modulo 2^32 */
      memcpy(&dropped, CMSG_DATA(c), sizeof dropped);
      b->counts.dropped += dropped - (uint32_t)b->counts.dropped;
    }
  }
#else
  (void)m;
#endif
  return arrival_ns;
}

static int64_t clocks_apart(uint64_t *now_ns) {
  struct timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  *now_ns = pe_now_ns();
  return (int64_t)*now_ns - ((int64_t)wall.tv_sec * 1000000000 + wall.tv_nsec);
}

static void take_batch(PeInbox *b, Desk *d, uint32_t n) {
  uint64_t now_ns;
  const int64_t apart_ns = clocks_apart(&now_ns);
  for (uint32_t i = 0; i < n; i++) {
    struct msghdr *m = &d->messages[i].msg_hdr;
    const uint64_t arrival_ns = arrival_of(b, m, now_ns, apart_ns);
    pe_inbox_take(b, ntohl(d->senders[i].sin_addr.s_addr), ntohs(d->senders[i].sin_port), arrival_ns, d->bytes[i], d->messages[i].msg_len);
  }
}

/* 0: it is to end. Where what waits lacks room, it looks again soon. Where datagrams come thick and fast it lets some of
 * them come together, well within the margin of their stamps: each wake costs more than a datagram. */
static int wait_for_more(PeInbox *b, int may_read, int is_short_of_room, uint64_t *woken_ns) {
  struct pollfd ends[2] = {{.fd = b->stop[0], .events = POLLIN}, {.fd = b->socket, .events = POLLIN}};
  poll(ends, may_read ? 2 : 1, is_short_of_room || !may_read ? 1 : 1000);
  if (pe_now_ns() - *woken_ns < THICK_NS) nanosleep(&(struct timespec){.tv_nsec = GATHER_NS}, NULL);
  *woken_ns = pe_now_ns();
  return (ends[0].revents & (POLLIN | POLLHUP | POLLERR)) == 0;
}

/* In the normal class, but soon after a datagram has come: short slices (which a scheduler by deadlines, Linux from 6.12 on,
 * serves first) and, where it is allowed, a better nice value. Refused: as any other thread. */
static void ask_for_promptness(void) {
#if defined(__linux__) && defined(SYS_sched_setattr)
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t  nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } wish = {.size = 48, .policy = SCHED_OTHER, .nice = NICE, .runtime = SLICE_NS};
  if (syscall(SYS_sched_setattr, 0, &wish, 0) == 0) return;
  wish.nice = 0;
  syscall(SYS_sched_setattr, 0, &wish, 0);
#endif
}

void *pe_inbox_main(void *inbox) {
  PeInbox *b = inbox;
  ask_for_promptness();
  Desk *d = calloc(1, sizeof *d);
  if (d) d->bytes = malloc((size_t)BATCH * DATAGRAM_BYTES);
  if (d == NULL || d->bytes == NULL) {
    free(d);
    return NULL;
  }
  uint64_t woken_ns = 0;
  for (int is_on = 1, may_read = 1, is_short_of_room = 0; is_on;) {
    clear(d, BATCH);
    const int got = may_read ? recvmmsg(b->socket, d->messages, BATCH, MSG_DONTWAIT, NULL) : 0;
    pthread_mutex_lock(&b->lock);
    if (b->has_no_room) pe_inbox_pump(b);
    if (got > 0) take_batch(b, d, (uint32_t)got);
    may_read = b->n_waiting_bytes < PE_INBOX_MOST_BYTES;
    is_short_of_room = b->has_no_room;
    if (got == (int)BATCH && may_read && b->n_answers < PE_INBOX_REPLIES / 2) { /* first what may be lost */
      pthread_mutex_unlock(&b->lock);
      continue;
    }
    pe_inbox_unlock_and_answer(b);
    if (got < (int)BATCH) is_on = wait_for_more(b, may_read, is_short_of_room, &woken_ns);
  }
  free(d->bytes);
  free(d);
  return NULL;
}

/* Several answers of one size to one sender, the last perhaps shorter, are one call of the kernel's (UDP_SEGMENT), which
 * makes datagrams of them again. How many of these n that is. */
static uint32_t segments_of(const PeAnswer *answers, uint32_t n) {
  uint32_t k = 1;
  while (k < n && k < MOST_SEGMENTS && answers[k - 1].n_bytes == answers[0].n_bytes && answers[k].n_bytes <= answers[0].n_bytes &&
         answers[k].to.sin_port == answers[0].to.sin_port && answers[k].to.sin_addr.s_addr == answers[0].to.sin_addr.s_addr)
    k++;
  return k;
}

typedef struct Envelopes {
  Message      messages[BATCH];
  struct iovec places[BATCH];
  uint32_t     n_answers[BATCH];
  _Alignas(struct cmsghdr) uint8_t control[BATCH][64];
} Envelopes;

static void ask_for_segments(Envelopes *e, uint32_t i, uint32_t n_bytes) {
#if defined(__linux__) && defined(UDP_SEGMENT)
  struct msghdr *m = &e->messages[i].msg_hdr;
  const uint16_t size = (uint16_t)n_bytes;
  memset(e->control[i], 0, sizeof e->control[i]);
  m->msg_control = e->control[i];
  m->msg_controllen = CMSG_SPACE(sizeof size);
  struct cmsghdr *c = CMSG_FIRSTHDR(m);
  c->cmsg_level = SOL_UDP;
  c->cmsg_type = UDP_SEGMENT;
  c->cmsg_len = CMSG_LEN(sizeof size);
  memcpy(CMSG_DATA(c), &size, sizeof size);
#else
  (void)e;
  (void)i;
  (void)n_bytes;
#endif
}

/* Envelopes for at most BATCH of n answers; how many envelopes. */
static uint32_t fill(Envelopes *e, const PeAnswer *answers, uint32_t n, int may_segment) {
  uint32_t n_envelopes = 0;
  for (uint32_t at = 0; at < n && at < BATCH; n_envelopes++) {
    const uint32_t left = n < BATCH ? n - at : BATCH - at, k = may_segment ? segments_of(answers + at, left) : 1;
    for (uint32_t i = at; i < at + k; i++) e->places[i] = (struct iovec){.iov_base = (void *)(uintptr_t)answers[i].bytes, .iov_len = answers[i].n_bytes};
    e->n_answers[n_envelopes] = k;
    e->messages[n_envelopes].msg_hdr = (struct msghdr){.msg_name = (void *)(uintptr_t)&answers[at].to, .msg_namelen = sizeof answers[at].to,
                                                       .msg_iov = &e->places[at], .msg_iovlen = k};
    if (k > 1) ask_for_segments(e, n_envelopes, answers[at].n_bytes);
    at += k;
  }
  return n_envelopes;
}

uint64_t pe_inbox_answer(PeInbox *b, const PeAnswer *answers, uint32_t n) {
  Envelopes e;
  uint64_t n_lost = 0;
  if (b->socket < 0) return 0;
  for (uint32_t at = 0; at < n;) {
    const uint32_t n_envelopes = fill(&e, answers + at, n - at, b->may_segment);
    const int sent = sendmmsg(b->socket, e.messages, n_envelopes, MSG_DONTWAIT);
    for (int i = 0; i < sent; i++) at += e.n_answers[i];
    if (sent > 0) continue;
    if (e.n_answers[0] > 1) { /* not here, or not to there: one by one from now on */
      b->may_segment = 0;
    } else {
      n_lost++; /* the one that could not be sent is passed over */
      at++;
    }
  }
  return n_lost;
}

PeStatus pe_inbox_listen(PeInbox *b, int32_t socket) {
  int is_realtime;
  if (b->is_listening) return PE_BUSY;
#if defined(__linux__)
  const int on = 1; /* refused: the time at which it is read has to do, and what the kernel drops is not told */
  setsockopt(socket, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
  setsockopt(socket, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
#endif
  b->socket = socket;
#if defined(__linux__)
  b->may_segment = 1;
#endif
  b->is_listening = pe_thread_start(&b->thread, pe_inbox_main, b, "pe-inbox", 0, &is_realtime);
  if (!b->is_listening) b->socket = -1;
  return b->is_listening ? PE_OK : PE_NO_THREAD;
}

void pe_inbox_stop(PeInbox *b) {
  if (!b->is_listening) return;
  const ssize_t n = write(b->stop[1], "", 1);
  (void)n; /* never full: it is written once */
  pthread_join(b->thread, NULL);
  b->is_listening = 0;
  pthread_mutex_lock(&b->lock);
  b->socket = -1;
  pthread_mutex_unlock(&b->lock);
}
