#define _GNU_SOURCE
#include "inbox.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIGNALS_A_RING 8u /* the supervisor is told so often that the command ring fills */

/* ---- stamps ---------------------------------------------------------------------------------------- */

static int64_t blocks(const PeInbox *b, uint64_t n) { return (int64_t)(n * b->segment->config.block_frames); }

/* Beyond the lead and a request, which the workers may have decided on the moment a request is made. */
static uint32_t delay_of(const PeInbox *b) {
  if (b->latency == PE_LATENCY_ASAP) return 0;
  const PeConfig *c = &b->segment->config;
  const uint32_t request = pe_gate_largest_request(b->segment);
  const uint32_t request_blocks = (request + c->block_frames - 1) / c->block_frames;
  const uint32_t margin = (uint32_t)(c->sample_rate_hz * PE_STAMP_MARGIN_US * 1.0e-6 + 1.0);
  const uint32_t least = (pe_gate_effective_lead(b->segment) + request_blocks) * c->block_frames + margin;
  return least > b->wanted_frames ? least : b->wanted_frames;
}

/* Never before what arrived before it. */
static int64_t stamp_of(PeInbox *b, uint64_t arrival_ns) {
  if (b->latency == PE_LATENCY_ASAP) return -1;
  const int64_t now = pe_timeline_frame(&b->output->timeline, arrival_ns);
  if (now < 0) return -1;
  const int64_t stamp = now + delay_of(b);
  if (stamp > b->newest_stamp) b->newest_stamp = stamp;
  return b->newest_stamp;
}

/* The block that is rendered next by whoever is ahead: decisions are the same for all. */
static uint64_t head_of(const PeInbox *b) {
  uint64_t head = 0;
  for (uint32_t slot = 0; slot < PE_SLOTS; slot++) {
    const uint64_t its = pe_seat_render_head(b->segment, pe_slot_seat(b->segment, slot));
    if (its > head) head = its;
  }
  return head;
}

/* The block that is played next: of a clock that rests, by the time. */
static uint64_t due_block(const PeInbox *b) {
  const uint64_t play = pe_gate_play_block(b->segment);
  if (!atomic_load_explicit(&b->segment->clock_rests, memory_order_acquire)) return play; /* a flag, nothing else */
  const int64_t now = pe_timeline_frame(&b->output->timeline, pe_now_ns());
  const uint64_t due = now < 0 ? 0 : (uint64_t)now / b->segment->config.block_frames + 1;
  return due > play ? due : play;
}

static int is_rest(const PeInbox *b) { return pe_gate_slot_rests(b->segment, 0) || pe_gate_slot_rests(b->segment, 1); }

/* The first frame that nobody has decided on yet: behind the block that may be rendered just now, if any may. Workers
 * that rest take what comes into account before they are as far ahead as always. */
static int64_t first_open(const PeInbox *b) {
  const uint64_t head = head_of(b), end = due_block(b) + pe_gate_effective_lead(b->segment);
  return blocks(b, head >= end ? head : is_rest(b) ? end : head + 1);
}

/* ---- room ------------------------------------------------------------------------------------------ */

/* Forget what the schedules hold no more. */
static void count_due(PeInbox *b) {
  const uint64_t head = head_of(b);
  for (; b->due_first < b->due_end; b->due_first++) {
    const PeDue *due = &b->due[b->due_first % PE_INBOX_DUE];
    if (due->frame >= blocks(b, head)) return;
    b->n_due -= due->n;
  }
}

/* May so many stamped records go into the schedules? More than they hold go past them, when they are empty. */
static int fits_schedule(PeInbox *b, uint32_t n) {
  if (b->n_due + n <= PE_INBOX_MOST_DUE / 2 && b->due_end - b->due_first < PE_INBOX_DUE) return 1;
  count_due(b);
  if (b->due_end - b->due_first >= PE_INBOX_DUE) return 0;
  return n > PE_INBOX_MOST_DUE ? b->n_due == 0 : b->n_due + n <= PE_INBOX_MOST_DUE;
}

static int has_room(const PeInbox *b, uint32_t n) {
  const uint64_t newest = pe_stream_newest(b->segment);
  if (b->keep != PE_KEEP_ALL && newest + n > b->keep + b->segment->config.n_commands) return 0; /* the session log has not read them */
  return pe_stream_space(b->segment) >= n;
}

static void note_due(PeInbox *b, int64_t frame, uint32_t n) {
  PeDue *last = &b->due[(b->due_end - 1) % PE_INBOX_DUE];
  b->n_due += n;
  if (b->due_end > b->due_first && last->frame >= frame)
    last->n += n;
  else
    b->due[b->due_end++ % PE_INBOX_DUE] = (PeDue){.frame = frame, .n = n};
}

static uint64_t publish(PeInbox *b, const PeCommand *records, uint32_t n) {
  const uint64_t newest = pe_stream_send(b->segment, records, n);
  const uint64_t part = b->segment->config.n_commands / SIGNALS_A_RING;
  if (newest && newest / part != (newest - n) / part) pe_signal_raise(b->segment); /* checkpoints make room */
  return newest;
}

/* The frame that a stamped group gets now: later where it comes too late, none where it is too large to wait. */
static int64_t settle(PeInbox *b, int64_t frame, uint32_t n) {
  if (frame < 0 || n > PE_INBOX_MOST_DUE) return -1;
  const int64_t open = first_open(b);
  if (frame >= open) return frame;
  b->counts.stamps_raised++;
  return open;
}

/* What is for a frame that has passed, or is about to, would find a block that is passed as silence: it takes effect where
 * somebody who renders would have taken it. */
static void keep_clear_of_rest(PeInbox *b, uint32_t n) {
  if (!is_rest(b)) return;
  const int64_t open = first_open(b);
  for (uint32_t i = 0; i < n; i++)
    if (b->records[i].frame >= 0 && b->records[i].frame < open) b->records[i].frame = open;
}

int64_t pe_inbox_open_frame(PeInbox *b) { return first_open(b); }

uint64_t pe_inbox_send(PeInbox *b, const PeCommand *records, uint32_t n, uint32_t is_stamped, uint32_t n_behind) {
  uint64_t newest = 0;
  if (n == 0 || n > PE_COMMAND_BUDGET) return 0;
  pthread_mutex_lock(&b->lock);
  if (has_room(b, n) && (!is_stamped || fits_schedule(b, n))) {
    memcpy(b->records, records, n * sizeof *records);
    int64_t frame = -1;
    uint32_t n_stamped = 0;
    for (uint32_t i = 0; i < n && is_stamped; i++) {
      if (records[i].frame < 0) continue; /* a mark */
      if (n_stamped++ == 0) frame = settle(b, records[i].frame, n);
      b->records[i].frame = frame;
    }
    if (frame >= 0) note_due(b, frame, n_stamped);
    if (!is_stamped) keep_clear_of_rest(b, n);
    newest = publish(b, b->records, n);
  }
  b->is_behind = newest == 0 || n_behind > 0;
  if (!b->is_behind) pe_inbox_pump(b);
  pe_inbox_unlock_and_answer(b);
  return newest;
}

/* ---- the short way --------------------------------------------------------------------------------- */

static void note_value(PeInbox *b, const PeWireSetting *s) {
  const uint32_t at = b->first_value[s->module] + s->param;
  b->values[at] = s->value;
  if (b->is_fresh[at]) return;
  b->is_fresh[at] = 1;
  b->fresh[b->n_fresh] = (PeTaken){.handle = b->table.modules[s->module].handle, .param = s->param};
  b->fresh_at[b->n_fresh++] = at;
}

static void answer(PeInbox *b, const PeWireSetting *s, const PeLetter *to) {
  if (to->port == 0) return; /* from inside */
  if (b->n_answers == PE_INBOX_REPLIES) {
    b->counts.replies_lost++;
    return;
  }
  PeAnswer *a = &b->answers[b->n_answers++];
  a->to = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)to->port), .sin_addr = {.s_addr = htonl(to->host)}};
  a->n_bytes = pe_wire_reply(s, a->bytes);
}

/* From a connection, which has no address: Python answers it, whatever it asks for. */
static int is_from_stream(const PeLetter *letter) { return letter->host == 0 && letter->port != 0; }

typedef enum Way { WAY_SENT, WAY_LONG, WAY_NO_ROOM } Way;

static Way send_short(PeInbox *b, const PeLetter *letter, const uint8_t *bytes) {
  if (is_from_stream(letter)) return WAY_LONG;
  const uint32_t n = pe_wire_read_all(&b->table, bytes, letter->n_bytes, b->settings, PE_COMMAND_BUDGET);
  if (n == 0) return WAY_LONG;
  if (!has_room(b, n) || (letter->frame >= 0 && !fits_schedule(b, n))) return WAY_NO_ROOM;
  const int64_t frame = settle(b, letter->frame, n);
  for (uint32_t i = 0; i < n; i++) {
    const PeWireSetting *s = &b->settings[i];
    b->records[i] = (PeCommand){.kind = PE_COMMAND_PARAM, .frame = frame, .value = s->value, .handle = b->table.modules[s->module].handle, .param = s->param};
  }
  if (frame >= 0) note_due(b, frame, n);
  publish(b, b->records, n);
  for (uint32_t i = 0; i < n; i++) {
    note_value(b, &b->settings[i]);
    answer(b, &b->settings[i], letter);
  }
  b->counts.short_requests += n;
  return WAY_SENT;
}

/* ---- what waits ------------------------------------------------------------------------------------ */

typedef struct Count {
  uint32_t *counts, *patterns, step, n_found;
} Count;

static void count_id(void *to, uint32_t hash) {
  Count *c = to;
  uint32_t *place = &c->counts[hash % PE_INBOX_FILTER];
  c->n_found += *place > 0;
  *place += c->step;
}

static void count_pattern(void *to) {
  Count *c = to;
  *c->patterns += c->step;
}

static uint32_t sender_of(const PeLetter *l) {
  const uint32_t key[2] = {l->host, l->port};
  return pe_wire_hash(key, sizeof key) % PE_INBOX_FILTER;
}

static void count_waiting(PeInbox *b, const PeWaiting *w, uint32_t step) { /* 1 or, as unsigned, -1 */
  Count c = {.counts = b->waiting_ids, .patterns = &b->waiting_patterns, .step = step};
  pe_wire_ids(w->bytes, w->letter.n_bytes, &(PeWireIds){.say = count_id, .any = count_pattern, .to = &c});
  b->waiting_senders[sender_of(&w->letter)] += step;
  b->n_waiting += (uint64_t)(int64_t)(int32_t)step;
  b->n_waiting_bytes += (uint64_t)(int64_t)(int32_t)step * (sizeof *w + w->letter.n_bytes);
}

/* Is there something before it that it must not overtake? */
static int must_wait(PeInbox *b, const PeLetter *letter, const uint8_t *bytes) {
  if (b->n_holds || b->is_behind || b->has_no_room) return 1;
  if (b->first == NULL) return 0;
  Count c = {.counts = b->waiting_ids, .patterns = &b->waiting_patterns, .step = 0};
  if (b->waiting_senders[sender_of(letter)] || b->waiting_patterns) return 1;
  pe_wire_ids(bytes, letter->n_bytes, &(PeWireIds){.say = count_id, .any = count_pattern, .to = &c});
  return c.n_found > 0;
}

static void wait_for_turn(PeInbox *b, const PeLetter *letter, const uint8_t *bytes) {
  PeWaiting *w = malloc(sizeof *w + letter->n_bytes);
  if (w == NULL) {
    b->counts.lost++;
    return;
  }
  *w = (PeWaiting){.letter = *letter};
  memcpy(w->bytes, bytes, letter->n_bytes);
  *b->last = w;
  b->last = &w->next;
  count_waiting(b, w, 1);
}

static void drop_first(PeInbox *b) {
  PeWaiting *w = b->first;
  b->first = w->next;
  if (b->first == NULL) b->last = &b->first;
  count_waiting(b, w, (uint32_t)-1);
  free(w);
}

static void wake_python(PeInbox *b) {
  if (b->is_woken) return;
  b->is_woken = 1;
  const ssize_t n = write(b->wake[1], "", 1);
  (void)n; /* a pipe that is full wakes it anyway */
}

/* Send what waits and may go. 1: what is first now is for Python. */
static int pump(PeInbox *b) {
  b->has_no_room = 0;
  while (b->first && !b->is_in_hand && b->n_holds == 0) {
    Way way = WAY_NO_ROOM;
    if (!b->is_behind || is_from_stream(&b->first->letter) ||
        pe_wire_read_all(&b->table, b->first->bytes, b->first->letter.n_bytes, b->settings, PE_COMMAND_BUDGET) == 0)
      way = send_short(b, &b->first->letter, b->first->bytes);
    if (way == WAY_SENT) {
      drop_first(b);
      continue;
    }
    b->has_no_room = way == WAY_NO_ROOM;
    return way == WAY_LONG;
  }
  return 0;
}

void pe_inbox_pump(PeInbox *b) {
  if (pump(b)) wake_python(b);
}

void pe_inbox_take(PeInbox *b, uint32_t host, uint32_t port, uint64_t arrival_ns, const uint8_t *bytes, uint32_t n_bytes) {
  const PeLetter letter = {.frame = stamp_of(b, arrival_ns), .arrival_ns = arrival_ns, .host = host, .port = port, .n_bytes = n_bytes};
  b->counts.datagrams += !is_from_stream(&letter);
  if (!must_wait(b, &letter, bytes) && send_short(b, &letter, bytes) == WAY_SENT) return;
  const int is_first = b->first == NULL;
  wait_for_turn(b, &letter, bytes);
  if (is_first) pe_inbox_pump(b); /* Python is woken, or it is known that there is no room */
}

void pe_inbox_put(PeInbox *b, uint32_t host, uint32_t port, uint64_t arrival_ns, const void *datagram, uint32_t n_bytes) {
  pthread_mutex_lock(&b->lock);
  pe_inbox_take(b, host, port, arrival_ns, datagram, n_bytes);
  pe_inbox_unlock_and_answer(b);
}

/* ---- what Python asks ------------------------------------------------------------------------------- */

uint32_t pe_inbox_next(PeInbox *b, PeLetter *letter, void *bytes) {
  uint32_t is_one = 0;
  pthread_mutex_lock(&b->lock);
  if (b->is_woken) { /* what comes from now on wakes it again */
    char byte;
    b->is_woken = read(b->wake[0], &byte, 1) < 0;
  }
  if (b->is_in_hand) {
    b->is_in_hand = 0;
    drop_first(b);
  }
  if (pump(b)) {
    is_one = 1;
    b->is_in_hand = 1;
    *letter = b->first->letter;
    memcpy(bytes, b->first->bytes, letter->n_bytes);
  }
  pe_inbox_unlock_and_answer(b); /* the answers of those before it go before its own */
  return is_one;
}

void pe_inbox_wake(PeInbox *b) {
  pthread_mutex_lock(&b->lock);
  wake_python(b);
  pthread_mutex_unlock(&b->lock);
}

void pe_inbox_hold(PeInbox *b) {
  pthread_mutex_lock(&b->lock);
  b->n_holds++;
  pthread_mutex_unlock(&b->lock);
}

void pe_inbox_release(PeInbox *b) {
  pthread_mutex_lock(&b->lock);
  if (--b->n_holds == 0) pe_inbox_pump(b);
  pe_inbox_unlock_and_answer(b);
}

uint32_t pe_inbox_taken(PeInbox *b, PeTaken *taken, uint32_t capacity) {
  pthread_mutex_lock(&b->lock);
  uint32_t n = 0;
  while (n < capacity && b->n_fresh > 0) {
    const uint32_t i = --b->n_fresh, at = b->fresh_at[i];
    taken[n] = b->fresh[i];
    taken[n++].value = b->values[at];
    b->is_fresh[at] = 0;
  }
  pthread_mutex_unlock(&b->lock);
  return n;
}

void pe_inbox_keep(PeInbox *b, uint64_t seq) {
  pthread_mutex_lock(&b->lock);
  b->keep = seq;
  pe_inbox_pump(b);
  pe_inbox_unlock_and_answer(b);
}

void pe_inbox_latency(PeInbox *b, uint32_t kind, uint32_t frames) {
  pthread_mutex_lock(&b->lock);
  b->latency = kind == PE_LATENCY_ASAP ? PE_LATENCY_ASAP : PE_LATENCY_CONSTANT;
  b->wanted_frames = frames;
  pthread_mutex_unlock(&b->lock);
}

uint32_t pe_inbox_delay(PeInbox *b) {
  pthread_mutex_lock(&b->lock);
  const uint32_t delay = delay_of(b);
  pthread_mutex_unlock(&b->lock);
  return delay;
}

int64_t pe_inbox_stamp(PeInbox *b, uint64_t arrival_ns) {
  pthread_mutex_lock(&b->lock);
  const int64_t stamp = stamp_of(b, arrival_ns);
  pthread_mutex_unlock(&b->lock);
  return stamp;
}

void pe_inbox_counts(PeInbox *b, PeInboxCounts *counts) {
  pthread_mutex_lock(&b->lock);
  *counts = b->counts;
  counts->waiting = b->n_waiting;
  counts->newest = pe_stream_newest(b->segment);
  pthread_mutex_unlock(&b->lock);
}

int32_t pe_inbox_fd(const PeInbox *b) { return b->wake[0]; }

void pe_inbox_unlock_and_answer(PeInbox *b) {
  pthread_mutex_lock(&b->reply_lock); /* those before are on their way first */
  PeAnswer *const answers = b->answers;
  const uint32_t n = b->n_answers;
  b->answers = b->sending;
  b->sending = answers;
  b->n_answers = 0;
  pthread_mutex_unlock(&b->lock);
  const uint64_t n_lost = n ? pe_inbox_answer(b, answers, n) : 0;
  pthread_mutex_unlock(&b->reply_lock);
  if (n_lost == 0) return;
  pthread_mutex_lock(&b->lock);
  b->counts.replies_lost += n_lost;
  pthread_mutex_unlock(&b->lock);
}
