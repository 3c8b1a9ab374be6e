/* What is known of a patch while a plan is built from it. */
#ifndef PE_PLAN_SETUP_H
#define PE_PLAN_SETUP_H

#include <string.h>

#include "plan.h"
#include "registry_setup.h"

typedef struct BankShape { /* up to PE_LANES equal trees: a root and all that feeds it alone */
  uint32_t first_member;   /* in Build.members: [n_nodes][PE_LANES] nodes, PE_NONE for an empty lane */
  uint32_t n_nodes;
  uint32_t group;          /* of the output's sources, 16 to a group; PE_NONE where its root is not heard itself */
} BankShape;

typedef struct Build {
  const PePlanSpec  *spec;
  const PeModule   **modules;      /* [n_nodes] */
  uint32_t          *first_cable;  /* [n_nodes + 1]: cables into a node, as a range of `into` */
  uint32_t          *into;         /* [n_cables]: cable numbers, grouped by destination, in the patch's order */
  uint32_t          *n_out_cables; /* [n_nodes]: but for those into nodes that absorb */
  uint8_t           *is_kept;      /* [n_nodes]: absorbed when all has run, its outputs are kept until then */
  uint32_t          *order;        /* [n_nodes]: node numbers, sources before what they feed */
  uint32_t           isa;
  int                may_bank;

  /* banks and the order of running */
  uint32_t          *unit_of;      /* [n_nodes]: a bank, or n_banks + node */
  uint32_t          *node_of;      /* [n_nodes]: number in the bank */
  uint32_t          *lane_of;      /* [n_nodes] */
  BankShape         *shapes;       /* [n_banks] */
  uint32_t          *members;
  uint32_t           n_banks;
  uint32_t          *units;        /* [n_units] unit numbers in the order they run */
  uint32_t           n_units;

  /* buffers of one chunk */
  uint32_t          *first_buffer; /* [n_nodes]: buffer of output 0; the others follow */
  uint32_t          *users;        /* [n_nodes]: cables that have still to read its outputs */
  uint32_t          *free_buffers;
  uint32_t           n_free, n_buffers, n_bank_buffers;
} Build;

static inline uint32_t pe_bank_of(const Build *b, uint32_t node) {
  return b->unit_of[node] < b->n_banks ? b->unit_of[node] : PE_NONE;
}

static inline uint64_t pe_align_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

static inline uint64_t pe_params_bytes(const PeModule *m) { return pe_align_up(m->n_params * sizeof(PeSmooth), 32); }
static inline uint64_t pe_state_bytes(const PeModule *m) { return pe_params_bytes(m) + pe_align_up(m->state_bytes, 32); }

/* 0 for an output named left, 1 for one named right. */
static inline uint32_t pe_side_named(const PeModule *m, uint32_t port) {
  const char *at = m->outputs;
  for (; port > 0 && at != NULL; port--) at = (at = strchr(at, ',')) ? at + 1 : NULL;
  const size_t n = at ? strcspn(at, ",") : 0;
  if (n == 4 && strncmp(at, "left", n) == 0) return 0;
  return n == 5 && strncmp(at, "right", n) == 0 ? 1 : PE_NONE;
}

/* The channel that alone an output is heard in: of ports named left and right, where there are channels for both. */
static inline uint32_t pe_side_of(const Build *b, uint32_t node, uint32_t port) {
  return b->spec->n_channels < 2 ? PE_NONE : pe_side_named(b->modules[node], port);
}

/* Of a node without an outgoing cable that output is heard which its name alone means: the first, or left and right. */
static inline int pe_is_heard(const Build *b, uint32_t node, uint32_t port) {
  return b->n_out_cables[node] == 0 && (port == 0 || pe_side_named(b->modules[node], port) != PE_NONE);
}

/* How many of a node's outputs are heard in all channels. */
static inline uint32_t pe_outputs_for_all(const Build *b, uint32_t node) {
  uint32_t n = 0;
  for (uint32_t k = 0; k < b->modules[node]->n_outputs; k++) n += pe_is_heard(b, node, k) && pe_side_of(b, node, k) == PE_NONE;
  return n;
}

/* Does the plan look at the cable in steps, and set the parameter? */
static inline int pe_is_sampled(const Build *b, const PeCableSpec *c) {
  return c->to_param && !(b->modules[c->dest]->params[c->dest_port].flags & PE_PARAM_CABLE);
}

/* What comes in through its cables closes no cycle: it runs before them, and takes it when all has run. */
static inline int pe_is_late(const PeModule *m) { return m->absorb != NULL || m->events != NULL; }

static inline int pe_is_scaled(const PeCableSpec *c) { return c->depth != 1.0f || c->offset != 0.0f; }

/* Find equal trees, put them into banks, and order banks and single nodes. [setup] */
PeStatus pe_banks_find(Build *b);

/* Lists the event nodes of a plan whose handles are known, checks what they read and makes room for what they put out. [setup] */
PeStatus pe_events_prepare(const Build *b, PePlan *p);

/* Allocate and fill in steps, banks, buffers and the output. [setup] */
PeStatus pe_plan_lay_out(Build *b, PePlan *p);

#endif
