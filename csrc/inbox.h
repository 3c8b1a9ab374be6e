/* The state of the inbox: what came in, what waits, what was sent. All of it is under `lock`, but for the answers that
 * are being sent, which are under `reply_lock`. */
#ifndef PE_INBOX_H
#define PE_INBOX_H

#include <netinet/in.h>
#include <pthread.h>

#include "output.h"
#include "wire.h"

#define PE_INBOX_FILTER 4096u            /* counts of what waits, by the hash of a sender or an id */
#define PE_INBOX_MOST_BYTES (16u << 20)  /* of datagrams that wait; beyond that the socket is left to fill */
#define PE_INBOX_REPLIES 8192u
#define PE_INBOX_DUE 8192u               /* frames at which stamped records wait in the schedules */
#define PE_INBOX_MOST_DUE (PE_SCHEDULE_SIZE / 4 * 3) /* stamped records there; the rest is for time tags */
#define PE_STAMP_MARGIN_US 250u          /* from arrival to the record's being sent, and the jitter of the callback */

typedef struct PeWaiting { /* a datagram that waits */
  struct PeWaiting *next;
  PeLetter letter;
  uint8_t  bytes[];
} PeWaiting;

typedef struct PeAnswer {
  struct sockaddr_in to;
  uint32_t n_bytes;
  uint8_t  bytes[PE_WIRE_REPLY_BYTES];
} PeAnswer;

typedef struct PeDue { /* records that take effect at a frame */
  int64_t  frame;
  uint32_t n;
} PeDue;

struct PeInbox {
  PeSegment *segment;
  PeOutput  *output;
  pthread_mutex_t lock, reply_lock;

  PeModuleInfo *types;
  PeTable       table;
  void         *table_memory;
  uint32_t     *first_value; /* of each module: where its parameters' values are */
  double       *values;
  uint8_t      *is_fresh;    /* not fetched yet; in `fresh` too */
  PeTaken      *fresh;       /* handle and parameter; the value is in `values` */
  uint32_t     *fresh_at;
  uint32_t      n_fresh;

  PeWaiting *first, **last;
  uint64_t   n_waiting, n_waiting_bytes;
  uint32_t   waiting_ids[PE_INBOX_FILTER], waiting_senders[PE_INBOX_FILTER];
  uint32_t   waiting_patterns; /* addresses that may mean any module */
  uint32_t   n_holds;
  int        is_in_hand;   /* Python has the first one */
  int        is_behind;    /* groups of Python wait for room: nothing goes before them */
  int        has_no_room;  /* the first one waits for room */
  int        is_woken;
  int        wake[2];      /* pipe to Python's loop */

  uint32_t   latency, wanted_frames;
  int64_t    newest_stamp;
  uint64_t   keep;
  PeDue      due[PE_INBOX_DUE];
  uint64_t   due_first, due_end;
  uint32_t   n_due;
  PeInboxCounts counts;

  PeWireSetting  settings[PE_COMMAND_BUDGET];
  PeCommand  records[PE_COMMAND_BUDGET];
  PeAnswer  *answers, *sending;
  uint32_t   n_answers;

  int        socket;
  int        may_segment; /* under reply_lock: several answers go in one call of the kernel's */
  int        stop[2];
  pthread_t  thread;
  int        is_listening;
};

/* Take a datagram: send it, or let it wait. Under the lock. */
void pe_inbox_take(PeInbox *inbox, uint32_t host, uint32_t port, uint64_t arrival_ns, const uint8_t *datagram, uint32_t n_bytes);
/* Send what waits and may go now. Under the lock. */
void pe_inbox_pump(PeInbox *inbox);
/* Give the lock back and send the answers that have piled up, after those that are being sent. */
void pe_inbox_unlock_and_answer(PeInbox *inbox);
/* Send n answers; how many could not be. */
uint64_t pe_inbox_answer(PeInbox *inbox, const PeAnswer *answers, uint32_t n);
void *pe_inbox_main(void *inbox);

#endif
