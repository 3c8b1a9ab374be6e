/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* The few kinds of OSC message that need no Python: /mod/ID/PARAM with a number and /gate/ID with a number, for a module
 * that plays. Whatever else there is, malformed or not, is not for here: pyengine/osc.py has the last word on it. */
#ifndef PE_WIRE_H
#define PE_WIRE_H

#include "pe.h"
#include "rt.h"

#define PE_WIRE_MAX_ADDRESS 255u
#define PE_WIRE_REPLY_BYTES 288u /* "/done", tags, the address and a double, each padded to 4 */
#define PE_WIRE_DEPTH 8u         /* of bundles in bundles */

typedef struct PeTable { /* the modules that play, by id */
  const PeModuleInfo    *types;
  const PeInboxModule   *modules;
  const char            *ids;
  const uint32_t        *places; /* hash -> module + 1; an open table of a power of two */
  uint32_t               n_types, n_modules, mask;
  double                 nyquist; /* the highest value of a parameter that ends there */
} PeTable;

typedef struct PeWireSetting { /* one message that was understood */
  double         value;
  const uint8_t *address; /* in the message, ends with a zero */
  uint32_t       address_bytes, module, param, is_gate;
} PeWireSetting;

PE_RT static inline uint32_t pe_wire_hash(const void *bytes, uint32_t n) {
  const uint8_t *b = bytes;
  uint32_t h = 2166136261u;
  for (uint32_t i = 0; i < n; i++) h = (h ^ b[i]) * 16777619u;
  return h ^ (h >> 15);
}

/* 1 if a message is a setting of a module in the table, in range and well formed to the last byte. */
PE_RT int pe_wire_read(const PeTable *table, const uint8_t *message, uint32_t n_bytes, PeWireSetting *setting);

/* The settings of a datagram, if it is one, or an immediate bundle of nothing else: how many, at most `capacity`; 0 for
 * anything else. */
PE_RT uint32_t pe_wire_read_all(const PeTable *table, const uint8_t *datagram, uint32_t n_bytes, PeWireSetting *settings, uint32_t capacity);

/* The /done of a setting; its bytes. */
PE_RT uint32_t pe_wire_reply(const PeWireSetting *setting, uint8_t reply[PE_WIRE_REPLY_BYTES]);

/* Hand the hash of each module id that a datagram speaks of, whether it is well formed or not, to `say`: those of /mod,
 * /gate, /note, /seq, /patch/create and /patch/delete; `any` instead for an address that is a pattern, which may mean every module.
 * The same datagram gives the same ids. */
typedef struct PeWireIds {
  void (*say)(void *to, uint32_t hash);
  void (*any)(void *to);
  void *to;
} PeWireIds;

PE_RT void pe_wire_ids(const uint8_t *datagram, uint32_t n_bytes, const PeWireIds *ids);

#endif
