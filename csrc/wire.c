/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "wire.h"

#include <string.h>

static const uint8_t bundle_head[8] = "#bundle";

static uint32_t padded(uint32_t n) { return (n + 3u) & ~3u; }

static uint32_t read_u32(const uint8_t *b) { return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]; }
static uint64_t read_u64(const uint8_t *b) { return (uint64_t)read_u32(b) << 32 | read_u32(b + 4); }

static void write_u32(uint8_t *b, uint32_t v) {
  b[0] = (uint8_t)(v >> 24);
  b[1] = (uint8_t)(v >> 16);
  b[2] = (uint8_t)(v >> 8);
  b[3] = (uint8_t)v;
}

static int is_same(const void *a, const void *b, uint32_t n) {
  const uint8_t *x = a, *y = b;
  for (uint32_t i = 0; i < n; i++)
    if (x[i] != y[i]) return 0;
  return 1;
}

static int is_bundle(const uint8_t *b, uint32_t n) { return n >= 16 && is_same(b, bundle_head, 8); }

/* Length up to a zero, or n if there is none. */
static uint32_t length(const uint8_t *b, uint32_t n) {
  uint32_t i = 0;
  while (i < n && b[i] != 0) i++;
  return i;
}

/* Length up to `end` or a zero. */
static uint32_t part(const uint8_t *b, uint32_t n, uint8_t end) {
  uint32_t i = 0;
  while (i < n && b[i] != 0 && b[i] != end) i++;
  return i;
}

static int begins(const uint8_t *b, uint32_t n, const char *with, uint32_t n_with) { return n >= n_with && is_same(b, with, n_with); }

static uint32_t find_module(const PeTable *t, const uint8_t *id, uint32_t n) { /* its number + 1, 0 for none */
  if (t->n_modules == 0) return 0;
  uint32_t at = pe_wire_hash(id, n) & t->mask;
  for (uint32_t i = 0; i <= t->mask; i++, at = (at + 1) & t->mask) {
    const uint32_t found = t->places[at];
    if (found == 0) return 0;
    const PeInboxModule *m = &t->modules[found - 1];
    if (m->id_bytes == n && is_same(t->ids + m->id_at, id, n)) return found;
  }
  return 0;
}

static int is_text(const char *text, const uint8_t *b, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    if (text[i] == 0 || (uint8_t)text[i] != b[i]) return 0;
  return text[n] == 0;
}

static const PeParam *find_param(const PeModuleInfo *type, const uint8_t *name, uint32_t n, uint32_t *index) {
  for (uint32_t i = 0; i < type->n_params && n > 0; i++) {
    *index = i;
    if (is_text(type->params[i].name, name, n) || is_text(type->params[i].alias, name, n)) return &type->params[i];
  }
  return NULL;
}

static const PeParam *gate_of(const PeModuleInfo *type, uint32_t *index) {
  for (uint32_t i = 0; i < type->n_params; i++) {
    *index = i;
    if (type->params[i].flags & PE_PARAM_GATE) return &type->params[i];
  }
  return NULL;
}

/* The one number behind the tags ",f", ",d", ",i" or ",h" that end the message. */
static int read_number(const uint8_t *b, uint32_t n, double *value) {
  if (n < 8 || b[0] != ',' || b[2] != 0) return 0;
  const int is_wide = b[1] == 'd' || b[1] == 'h';
  if (n != (is_wide ? 12u : 8u)) return 0;
  if (b[1] == 'f') {
    const uint32_t bits = read_u32(b + 4);
    float f;
    memcpy(&f, &bits, sizeof f);
    *value = f;
  } else if (b[1] == 'd') {
    const uint64_t bits = read_u64(b + 4);
    memcpy(value, &bits, sizeof *value);
  } else if (b[1] == 'i') {
    *value = (int32_t)read_u32(b + 4);
  } else if (b[1] == 'h') {
    *value = (double)(int64_t)read_u64(b + 4);
  } else {
    return 0;
  }
  return 1;
}

static int is_taken(const PeTable *t, const PeParam *p, double value) {
  if (p->flags & PE_PARAM_GATE) return value == 0.0 || value == 1.0;
  const double max = p->flags & PE_PARAM_NYQUIST ? t->nyquist : p->max;
  if (!(value >= p->min && value <= max)) return 0; /* NaN too */
  if (!(p->flags & PE_PARAM_INTEGER)) return value - value == 0.0;
  return value >= -9.0e15 && value <= 9.0e15 && (double)(int64_t)value == value;
}

PE_RT int pe_wire_read(const PeTable *t, const uint8_t *message, uint32_t n_bytes, PeWireSetting *s) {
  if (n_bytes < 16 || n_bytes % 4 != 0 || n_bytes > PE_WIRE_MAX_ADDRESS + 16) return 0;
  const uint32_t n = length(message, n_bytes);
  const uint32_t at = padded(n + 1);
  if (n > PE_WIRE_MAX_ADDRESS || at >= n_bytes) return 0;
  const int is_gate = begins(message, n, "/gate/", 6);
  if (!is_gate && !begins(message, n, "/mod/", 5)) return 0;
  const uint8_t *id = message + (is_gate ? 6 : 5);
  const uint32_t left = n - (is_gate ? 6 : 5), id_bytes = part(id, left, '/');
  if ((id_bytes == left) != is_gate) return 0;
  const uint32_t module = find_module(t, id, id_bytes);
  if (module == 0) return 0;
  const PeModuleInfo *type = &t->types[t->modules[module - 1].type];
  uint32_t index = 0;
  const PeParam *p = is_gate ? gate_of(type, &index) : find_param(type, id + id_bytes + 1, left - id_bytes - 1, &index);
  double value = 0.0;
  if (p == NULL || !read_number(message + at, n_bytes - at, &value) || !is_taken(t, p, value)) return 0;
  if (p->flags & PE_PARAM_GATE) value = value == 1.0 ? 1.0 : 0.0;
  *s = (PeWireSetting){.value = value, .address = message, .address_bytes = n, .module = module - 1, .param = index, .is_gate = (uint32_t)is_gate};
  return 1;
}

PE_RT uint32_t pe_wire_read_all(const PeTable *t, const uint8_t *b, uint32_t n_bytes, PeWireSetting *settings, uint32_t capacity) {
  if (!is_bundle(b, n_bytes)) return capacity > 0 && pe_wire_read(t, b, n_bytes, settings) ? 1 : 0;
  if (read_u64(b + 8) != 1) return 0; /* a time tag */
  uint32_t n = 0, at = 16;
  while (at < n_bytes) {
    if (n_bytes - at < 4 || n == capacity) return 0;
    const uint32_t size = read_u32(b + at);
    if (size > n_bytes - at - 4 || !pe_wire_read(t, b + at + 4, size, &settings[n])) return 0;
    at += 4 + size;
    n++;
  }
  return n;
}

static uint32_t put_text(uint8_t *to, const void *text, uint32_t n) {
  memset(to, 0, padded(n + 1));
  memcpy(to, text, n);
  return padded(n + 1);
}

PE_RT uint32_t pe_wire_reply(const PeWireSetting *s, uint8_t reply[PE_WIRE_REPLY_BYTES]) {
  const float f = (float)s->value;
  const int is_float = (double)f == s->value;
  uint32_t at = put_text(reply, "/done", 5);
  at += put_text(reply + at, s->is_gate ? ",si" : is_float ? ",sf" : ",sd", 3);
  at += put_text(reply + at, s->address, s->address_bytes);
  if (s->is_gate) {
    write_u32(reply + at, s->value == 1.0);
  } else if (is_float) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    write_u32(reply + at, bits);
  } else {
    uint64_t bits;
    memcpy(&bits, &s->value, sizeof bits);
    write_u32(reply + at, (uint32_t)(bits >> 32));
    write_u32(reply + at + 4, (uint32_t)bits);
    return at + 8;
  }
  return at + 4;
}

/* ---- what a datagram speaks of, however wrong it is ------------------------------------------------ */

static int is_pattern(const uint8_t *address, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    if (address[i] == '*' || address[i] == '?' || address[i] == '[' || address[i] == '{') return 1;
  return 0;
}

static void say_id(const uint8_t *m, uint32_t n_bytes, const PeWireIds *ids) {
  const uint32_t n = length(m, n_bytes);
  if (is_pattern(m, n)) {
    ids->any(ids->to);
  } else if (begins(m, n, "/mod/", 5)) {
    ids->say(ids->to, pe_wire_hash(m + 5, part(m + 5, n - 5, '/')));
  } else if (begins(m, n, "/gate/", 6)) {
    ids->say(ids->to, pe_wire_hash(m + 6, part(m + 6, n - 6, '/')));
  } else if (begins(m, n, "/patch/create", 13) || begins(m, n, "/patch/delete", 13) || begins(m, n, "/note/", 6) || begins(m, n, "/seq/", 5)) {
    uint32_t at = padded(n + 1);
    if (at >= n_bytes) return;
    at += padded(length(m + at, n_bytes - at) + 1); /* past the tags */
    if (at < n_bytes) ids->say(ids->to, pe_wire_hash(m + at, length(m + at, n_bytes - at)));
  }
}

typedef struct Span {
  uint32_t at, end;
} Span;

PE_RT void pe_wire_ids(const uint8_t *b, uint32_t n_bytes, const PeWireIds *ids) {
  if (!is_bundle(b, n_bytes)) {
    say_id(b, n_bytes, ids);
    return;
  }
  Span open[PE_WIRE_DEPTH] = {{.at = 16, .end = n_bytes}};
  uint32_t depth = 1;
  while (depth > 0) { /* every turn goes at least 4 bytes on */
    Span *s = &open[depth - 1];
    const uint32_t size = s->end - s->at >= 4 ? read_u32(b + s->at) : UINT32_MAX;
    if (s->end - s->at < 4 || size > s->end - s->at - 4) {
      depth--;
      continue;
    }
    const uint32_t at = s->at + 4;
    s->at = at + size;
    if (!is_bundle(b + at, size))
      say_id(b + at, size, ids);
    else if (depth < PE_WIRE_DEPTH) /* deeper ones are refused */
      open[depth++] = (Span){.at = at + 16, .end = at + size};
  }
}
