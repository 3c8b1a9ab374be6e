/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* The bytes of one moment, taken piece by piece while they go on being written: whoever is about to write to some takes
 * their pieces first, and what nobody writes to is taken when there is time. A piece is hashed as it is taken, and the
 * sum of all does not depend on their order. */
#ifndef PE_CAPTURE_H
#define PE_CAPTURE_H

#include "pe.h"
#include "rt.h"

typedef struct PeCapture {
  const unsigned char *from;
  unsigned char       *to;       /* NULL: only the hash is wanted */
  uint64_t             bytes, hash;
  uint8_t             *is_taken; /* [pe_capture_pieces] */
  uint32_t             n_left, next; /* pieces not taken; none below `next` */
} PeCapture;

PE_RT static inline uint64_t pe_capture_pieces(uint64_t bytes) { return (bytes + PE_PIECE_BYTES - 1) / PE_PIECE_BYTES; }

/* The hash of all pieces. [rt] */
PE_RT uint64_t pe_capture_hash(const unsigned char *from, uint64_t bytes);

/* What lies there now is what is captured; `is_taken` has room for it. One that is under way is given up. [rt] */
PE_RT void pe_capture_begin(PeCapture *c, const unsigned char *from, uint64_t bytes, unsigned char *to);

/* Some bytes of it are about to be written to. [rt] */
PE_RT void pe_capture_touch(PeCapture *c, uint64_t at, uint64_t bytes);

/* Take so many pieces more; returns whether all are taken. [rt] */
PE_RT int pe_capture_take(PeCapture *c, uint64_t n_pieces);

/* Give it up. [rt] */
PE_RT static inline void pe_capture_drop(PeCapture *c) { c->n_left = 0; }

#endif
