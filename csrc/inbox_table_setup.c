/* The inbox's beginning and end, and its table of the modules that play. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inbox.h"

#define NYQUIST_MARGIN_HZ 10.0

/* ---- the table -------------------------------------------------------------------------------------- */

static void *carve(unsigned char **at, size_t n, size_t size) {
  void *place = *at;
  if (*at) *at += (n * size + 15u) & ~(size_t)15u;
  return place;
}

typedef struct Carved {
  PeInboxModule *modules;
  char          *ids;
  uint32_t      *places, *first_value, *fresh_at;
  double        *values;
  uint8_t       *is_fresh;
  PeTaken       *fresh;
} Carved;

static Carved carve_all(unsigned char **at, uint32_t n, uint32_t ids_bytes, uint32_t n_places, size_t n_values) {
  return (Carved){
      .values = carve(at, n_values, sizeof(double)),
      .fresh = carve(at, n_values, sizeof(PeTaken)),
      .modules = carve(at, n, sizeof(PeInboxModule)),
      .places = carve(at, n_places, sizeof(uint32_t)),
      .first_value = carve(at, n, sizeof(uint32_t)),
      .fresh_at = carve(at, n_values, sizeof(uint32_t)),
      .is_fresh = carve(at, n_values, 1),
      .ids = carve(at, ids_bytes, 1),
  };
}

static size_t bytes_of(uint32_t n, uint32_t ids_bytes, uint32_t n_places, size_t n_values) {
  return n_values * (sizeof(double) + sizeof(PeTaken) + sizeof(uint32_t) + 1) + n * (sizeof(PeInboxModule) + sizeof(uint32_t)) +
         n_places * sizeof(uint32_t) + ids_bytes + 8 * 16;
}

static void place_module(const Carved *c, uint32_t mask, uint32_t i) {
  uint32_t at = pe_wire_hash(c->ids + c->modules[i].id_at, c->modules[i].id_bytes) & mask;
  while (c->places[at]) at = (at + 1) & mask;
  c->places[at] = i + 1;
}

PeStatus pe_inbox_publish(PeInbox *b, const PeInboxModule *modules, uint32_t n, const char *ids, uint32_t ids_bytes) {
  size_t n_values = 0;
  uint32_t n_places = 16;
  if (n > PE_MAX_NODES) return PE_TOO_LARGE;
  for (uint32_t i = 0; i < n; i++) {
    const PeInboxModule *m = &modules[i];
    if (m->type >= b->table.n_types || m->id_bytes > ids_bytes || m->id_at > ids_bytes - m->id_bytes) return PE_BAD_ARGUMENT;
    n_values += b->types[m->type].n_params;
  }
  while (n_places < 2 * n) n_places *= 2;
  unsigned char *const memory = calloc(1, bytes_of(n, ids_bytes, n_places, n_values));
  if (memory == NULL) return PE_NO_MEMORY;
  unsigned char *at = memory;
  const Carved c = carve_all(&at, n, ids_bytes, n_places, n_values);
  if (n) memcpy(c.modules, modules, n * sizeof *modules);
  if (ids_bytes) memcpy(c.ids, ids, ids_bytes);
  uint32_t first = 0;
  for (uint32_t i = 0; i < n; i++) {
    c.first_value[i] = first;
    first += b->types[modules[i].type].n_params;
    place_module(&c, n_places - 1, i);
  }
  pthread_mutex_lock(&b->lock);
  void *const before = b->table_memory;
  b->table.modules = c.modules;
  b->table.ids = c.ids;
  b->table.places = c.places;
  b->table.n_modules = n;
  b->table.mask = n_places - 1;
  b->first_value = c.first_value;
  b->values = c.values;
  b->is_fresh = c.is_fresh;
  b->fresh = c.fresh;
  b->fresh_at = c.fresh_at;
  b->n_fresh = 0;
  b->table_memory = memory;
  pe_inbox_pump(b); /* what waited for a module may be for one that plays now */
  pe_inbox_unlock_and_answer(b);
  free(before);
  return PE_OK;
}

/* ---- begin and end ----------------------------------------------------------------------------------- */

static int open_pipe(int ends[2]) {
  if (pipe(ends) != 0) {
    ends[0] = ends[1] = -1;
    return 0;
  }
  for (int i = 0; i < 2; i++) {
    fcntl(ends[i], F_SETFL, O_NONBLOCK);
    fcntl(ends[i], F_SETFD, FD_CLOEXEC);
  }
  return 1;
}

static void close_pipe(const int ends[2]) {
  for (int i = 0; i < 2; i++)
    if (ends[i] >= 0) close(ends[i]);
}

static PeStatus set_up(PeInbox *b, const PeRegistry *registry) {
  const uint32_t n = pe_registry_count(registry);
  b->types = calloc(n ? n : 1, sizeof *b->types);
  b->answers = calloc(PE_INBOX_REPLIES, sizeof *b->answers);
  b->sending = calloc(PE_INBOX_REPLIES, sizeof *b->sending);
  if (b->types == NULL || b->answers == NULL || b->sending == NULL) return PE_NO_MEMORY;
  for (uint32_t i = 0; i < n; i++) {
    const PeStatus status = pe_registry_info(registry, i, &b->types[i]);
    if (status != PE_OK) return status;
  }
  b->table = (PeTable){.types = b->types, .n_types = n, .nyquist = b->segment->config.sample_rate_hz / 2.0 - NYQUIST_MARGIN_HZ};
  if (!open_pipe(b->wake) || !open_pipe(b->stop)) return PE_NO_MEMORY;
  return pe_inbox_publish(b, NULL, 0, "", 0);
}

PeStatus pe_inbox_new(PeSegment *segment, PeOutput *output, const PeRegistry *registry, PeInbox **inbox) {
  *inbox = NULL;
  PeInbox *b = calloc(1, sizeof *b);
  if (b == NULL) return PE_NO_MEMORY;
  b->segment = segment;
  b->output = output;
  b->last = &b->first;
  b->keep = PE_KEEP_ALL;
  b->socket = b->wake[0] = b->wake[1] = b->stop[0] = b->stop[1] = -1;
  pthread_mutex_init(&b->lock, NULL);
  pthread_mutex_init(&b->reply_lock, NULL);
  const PeStatus status = set_up(b, registry);
  if (status != PE_OK) {
    pe_inbox_free(b);
    return status;
  }
  *inbox = b;
  return PE_OK;
}

void pe_inbox_free(PeInbox *b) {
  if (b == NULL) return;
  pe_inbox_stop(b);
  while (b->first) {
    PeWaiting *const w = b->first;
    b->first = w->next;
    free(w);
  }
  close_pipe(b->wake);
  close_pipe(b->stop);
  pthread_mutex_destroy(&b->lock);
  pthread_mutex_destroy(&b->reply_lock);
  free(b->table_memory);
  free(b->types);
  free(b->answers);
  free(b->sending);
  free(b);
}
