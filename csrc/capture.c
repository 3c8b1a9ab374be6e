/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "capture.h"

#include <string.h>

#include "hash.h"

/* Of one piece, at its place: pieces that change places change the sum. */
static uint64_t mixed(uint64_t hash, uint64_t piece) {
  uint64_t x = (hash ^ (piece + 1) * 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull;
  x ^= x >> 31;
  return x * 0x94d049bb133111ebull;
}

static uint64_t bytes_of(uint64_t piece, uint64_t bytes) {
  const uint64_t at = piece * PE_PIECE_BYTES;
  return bytes - at < PE_PIECE_BYTES ? bytes - at : PE_PIECE_BYTES;
}

static uint64_t hash_of(const unsigned char *from, uint64_t piece, uint64_t bytes) {
  return mixed(pe_hash(from + piece * PE_PIECE_BYTES, bytes_of(piece, bytes)), piece);
}

PE_RT uint64_t pe_capture_hash(const unsigned char *from, uint64_t bytes) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < pe_capture_pieces(bytes); i++) sum += hash_of(from, i, bytes);
  return sum;
}

PE_RT void pe_capture_begin(PeCapture *c, const unsigned char *from, uint64_t bytes, unsigned char *to) {
  c->from = from;
  c->to = to;
  c->bytes = bytes;
  c->hash = 0;
  c->next = 0;
  c->n_left = (uint32_t)pe_capture_pieces(bytes);
  memset(c->is_taken, 0, c->n_left);
}

static void take(PeCapture *c, uint64_t piece) {
  const uint64_t at = piece * PE_PIECE_BYTES;
  c->is_taken[piece] = 1;
  c->n_left--;
  c->hash += hash_of(c->from, piece, c->bytes);
  if (c->to) memcpy(c->to + at, c->from + at, bytes_of(piece, c->bytes));
}

PE_RT void pe_capture_touch(PeCapture *c, uint64_t at, uint64_t bytes) {
  if (c->n_left == 0 || bytes == 0) return;
  for (uint64_t i = at / PE_PIECE_BYTES; i <= (at + bytes - 1) / PE_PIECE_BYTES; i++)
    if (!c->is_taken[i]) take(c, i);
}

PE_RT int pe_capture_take(PeCapture *c, uint64_t n_pieces) {
  for (; c->n_left > 0 && n_pieces > 0; c->next++) {
    if (c->is_taken[c->next]) continue;
    take(c, c->next);
    n_pieces--;
  }
  return c->n_left == 0;
}
