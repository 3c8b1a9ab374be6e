/* Finds what can be rendered together: trees of nodes that are equal but for their parameters.
 *
 * A node belongs to the tree of the node it feeds if that is all it feeds. Trees are equal if their modules are, cable
 * by cable; each gets a number for its shape. Only trees of one level (the longest way from any source outside) share
 * a bank, so that no bank waits for itself. A tree that is heard keeps to the lane that its place in the output's sum
 * has, so that a bank's lanes are the accumulators'. */
#include <stdlib.h>
#include <string.h>

#include "plan_setup.h"

#define LEAST_LANES 6u     /* fewer are single nodes: cheaper one by one */
#define MOST_SOURCES 16u   /* of one input of a node in a bank */

typedef struct Tree {
  uint32_t shape, level, n_nodes;
  uint8_t  can, is_absorbed; /* may be in a bank; belongs to another's tree */
} Tree;

typedef struct Root {
  uint32_t node, shape, level, place; /* place: in the output's sum, or in the order */
  uint32_t is_heard;
} Root;

typedef struct Shapes { /* shapes by their words: module, then port and shape + 1 (0: from outside) of each cable */
  uint32_t *words, *first, *table;
  uint32_t  n_words, n, mask;
} Shapes;

/* ---- shapes ---------------------------------------------------------------------------------------- */

static PeStatus shapes_allocate(Shapes *s, const PePlanSpec *spec) {
  uint32_t size = 64;
  while (size < 2 * spec->n_nodes) size *= 2;
  s->mask = size - 1;
  s->words = malloc(((size_t)spec->n_nodes + 2 * (size_t)spec->n_cables + 1) * sizeof *s->words);
  s->first = malloc(((size_t)spec->n_nodes + 2) * sizeof *s->first);
  s->table = malloc(size * sizeof *s->table);
  if (!s->words || !s->first || !s->table) return PE_NO_MEMORY;
  memset(s->table, 0xff, size * sizeof *s->table);
  s->first[0] = 0;
  return PE_OK;
}

static void shapes_free(Shapes *s) {
  free(s->words);
  free(s->first);
  free(s->table);
}

/* The number of the shape whose n words were written behind the others; a new one, or that of an equal one. */
static uint32_t shapes_number(Shapes *s, uint32_t n) {
  const uint32_t *words = s->words + s->n_words;
  uint32_t hash = 2166136261u;
  for (uint32_t i = 0; i < n; i++) hash = (hash ^ words[i]) * 16777619u;
  for (uint32_t at = hash ^ hash >> 15;; at++) {
    uint32_t *place = &s->table[at & s->mask];
    if (*place == PE_NONE) {
      *place = s->n++;
      s->n_words += n;
      s->first[s->n] = s->n_words;
      return *place;
    }
    const uint32_t first = s->first[*place];
    if (s->first[*place + 1] - first == n && memcmp(s->words + first, words, n * sizeof *words) == 0) return *place;
  }
}

/* ---- trees ----------------------------------------------------------------------------------------- */

static int can_bank(const Build *b, uint32_t node) {
  const PeModule *m = b->modules[node];
  uint32_t n_sources[PE_MODULE_MAX_PORTS] = {0};
  if (!b->may_bank || !m->bank || !m->isa || !m->isa[b->isa].process_bank || m->n_outputs != 1 || b->is_kept[node]) return 0;
  for (uint32_t i = b->first_cable[node]; i < b->first_cable[node + 1]; i++) {
    const PeCableSpec *c = &b->spec->cables[b->into[i]];
    if (c->to_param || pe_is_scaled(c) || ++n_sources[c->dest_port] > MOST_SOURCES) return 0;
  }
  return 1;
}

/* May the tree of a cable's source be part of the tree of what it feeds? */
static int joins(const Build *b, const Tree *trees, const PeCableSpec *c) {
  const Tree *to = &trees[c->dest], *from = &trees[c->source];
  return to->can && from->can && b->n_out_cables[c->source] == 1 && to->n_nodes + from->n_nodes <= PE_BANK_NODES;
}

/* Sources come before what they feed, so their shapes are known. */
static void give_shape(const Build *b, Shapes *shapes, Tree *trees, uint32_t node) {
  Tree *t = &trees[node];
  t->can = (uint8_t)can_bank(b, node);
  t->n_nodes = 1;
  uint32_t *words = shapes->words + shapes->n_words, n = 0;
  words[n++] = b->spec->nodes[node].module;
  for (uint32_t i = b->first_cable[node]; i < b->first_cable[node + 1]; i++) {
    const PeCableSpec *c = &b->spec->cables[b->into[i]];
    words[n++] = c->dest_port;
    words[n++] = joins(b, trees, c) ? trees[c->source].shape + 1 : 0;
    if (joins(b, trees, c)) t->n_nodes += trees[c->source].n_nodes;
  }
  t->shape = shapes_number(shapes, n);
}

/* Only what is there often enough keeps a tree together: where a root is alone, what feeds it may still be many.
 * Equal trees have equal parts, so nothing that stays loses a part. */
static void grow_tree(const Build *b, Tree *trees, const uint32_t *n_of_shape, uint32_t node) {
  Tree *t = &trees[node];
  t->can = t->can && n_of_shape[t->shape] >= LEAST_LANES;
  t->n_nodes = 1;
  for (uint32_t i = b->first_cable[node]; i < b->first_cable[node + 1]; i++) {
    const PeCableSpec *c = &b->spec->cables[b->into[i]];
    Tree *from = &trees[c->source];
    const int is_part = joins(b, trees, c);
    const uint32_t level = pe_is_late(b->modules[node]) ? 0 : from->level + (is_part ? 0 : 1);
    if (is_part) {
      from->is_absorbed = 1;
      t->n_nodes += from->n_nodes;
    }
    if (level > t->level) t->level = level;
  }
}

/* The nodes of a tree, sources before what they feed: the same order in equal trees. */
static void list_tree(const Build *b, const Tree *trees, uint32_t root, uint32_t *nodes) {
  uint32_t stack[PE_BANK_NODES], n = trees[root].n_nodes, depth = 0;
  stack[depth++] = root;
  while (depth > 0) { /* a node before its sources, written from the end */
    const uint32_t node = stack[--depth];
    nodes[--n] = node;
    for (uint32_t i = b->first_cable[node]; i < b->first_cable[node + 1]; i++) {
      const uint32_t source = b->spec->cables[b->into[i]].source;
      if (trees[source].is_absorbed) stack[depth++] = source;
    }
  }
}

/* ---- banks ----------------------------------------------------------------------------------------- */

static int compare_roots(const void *a, const void *b) {
  const Root *x = a, *y = b;
  if (x->is_heard != y->is_heard) return x->is_heard < y->is_heard ? -1 : 1;
  if (x->shape != y->shape) return x->shape < y->shape ? -1 : 1;
  if (x->level != y->level) return x->level < y->level ? -1 : 1;
  return (x->place > y->place) - (x->place < y->place);
}

static int is_together(const Root *first, const Root *other, uint32_t n) {
  if (first->is_heard != other->is_heard || first->shape != other->shape || first->level != other->level) return 0;
  return first->is_heard ? first->place / PE_LANES == other->place / PE_LANES : n < PE_LANES;
}

static void add_bank(Build *b, const Tree *trees, const Root *roots, uint32_t n, uint32_t *n_members) {
  const uint32_t n_nodes = trees[roots->node].n_nodes;
  BankShape *shape = &b->shapes[b->n_banks];
  *shape = (BankShape){.first_member = *n_members, .n_nodes = n_nodes, .group = roots->is_heard ? roots->place / PE_LANES : PE_NONE};
  uint32_t *members = b->members + *n_members;
  memset(members, 0xff, (size_t)n_nodes * PE_LANES * sizeof *members);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t nodes[PE_BANK_NODES];
    const uint32_t lane = roots[i].is_heard ? roots[i].place % PE_LANES : i;
    list_tree(b, trees, roots[i].node, nodes);
    for (uint32_t k = 0; k < n_nodes; k++) {
      members[k * PE_LANES + lane] = nodes[k];
      b->unit_of[nodes[k]] = b->n_banks;
      b->node_of[nodes[k]] = k;
      b->lane_of[nodes[k]] = lane;
    }
  }
  *n_members += n_nodes * PE_LANES;
  b->n_banks++;
}

static void make_banks(Build *b, const Tree *trees, Root *roots) {
  const PePlanSpec *spec = b->spec;
  uint32_t n_roots = 0, n_members = 0, n_heard = 0;
  for (uint32_t node = 0; node < spec->n_nodes; node++) {
    const int is_heard = b->n_out_cables[node] == 0;
    if (trees[node].can && !trees[node].is_absorbed)
      roots[n_roots++] = (Root){.node = node, .shape = trees[node].shape, .level = trees[node].level, .place = is_heard ? n_heard : node, .is_heard = (uint32_t)is_heard};
    if (is_heard) n_heard += pe_outputs_for_all(b, node);
  }
  qsort(roots, n_roots, sizeof *roots, compare_roots);
  for (uint32_t i = 0; i < n_roots;) {
    uint32_t n = 1;
    while (i + n < n_roots && is_together(&roots[i], &roots[i + n], n)) n++;
    if (n >= LEAST_LANES) add_bank(b, trees, &roots[i], n, &n_members);
    i += n;
  }
}

/* ---- the order of running -------------------------------------------------------------------------- */

typedef struct Walk {
  uint32_t *stack; /* unit x 2 + 1 when what it needs has been put on top of it */
  uint8_t  *state; /* 1: its needs are on the stack, 2: in the order */
  uint32_t  depth;
} Walk;

static void need_sources(const Build *b, Walk *w, uint32_t node) {
  if (pe_is_late(b->modules[node])) return; /* what feeds it runs whenever it likes */
  for (uint32_t i = b->first_cable[node]; i < b->first_cable[node + 1]; i++) {
    const uint32_t unit = b->unit_of[b->spec->cables[b->into[i]].source];
    if (unit != b->unit_of[node] && w->state[unit] == 0) w->stack[w->depth++] = unit * 2;
  }
}

static void need(const Build *b, Walk *w, uint32_t unit) {
  if (unit >= b->n_banks) {
    need_sources(b, w, unit - b->n_banks);
    return;
  }
  const BankShape *shape = &b->shapes[unit];
  for (uint32_t i = 0; i < shape->n_nodes * PE_LANES; i++)
    if (b->members[shape->first_member + i] != PE_NONE) need_sources(b, w, b->members[shape->first_member + i]);
}

/* Depth first in the order of the nodes, so that chains stay together; banks that are heard come by their group. */
static void order_units(Build *b, Walk *w) {
  const uint32_t n = b->spec->n_nodes;
  for (uint32_t i = 0; i < n; i++) {
    w->stack[w->depth++] = b->unit_of[b->order[i]] * 2;
    while (w->depth > 0) {
      const uint32_t entry = w->stack[--w->depth], unit = entry / 2;
      if (entry % 2 && w->state[unit] == 1) {
        w->state[unit] = 2;
        b->units[b->n_units++] = unit;
      } else if (entry % 2 == 0 && w->state[unit] == 0) {
        w->state[unit] = 1;
        w->stack[w->depth++] = entry + 1;
        need(b, w, unit);
      }
    }
  }
}

static PeStatus find(Build *b, Shapes *shapes, Tree *trees, Root *roots, Walk *w) {
  const size_t n = b->spec->n_nodes;
  b->unit_of = malloc((n + 1) * sizeof *b->unit_of);
  b->node_of = calloc(n + 1, sizeof *b->node_of);
  b->lane_of = calloc(n + 1, sizeof *b->lane_of);
  b->shapes = calloc(n / LEAST_LANES + 1, sizeof *b->shapes);
  b->members = malloc((n * PE_LANES / LEAST_LANES + 1) * sizeof *b->members);
  b->units = malloc((n + 1) * sizeof *b->units);
  if (!b->unit_of || !b->node_of || !b->lane_of || !b->shapes || !b->members || !b->units) return PE_NO_MEMORY;
  memset(b->unit_of, 0xff, (n + 1) * sizeof *b->unit_of);
  uint32_t *n_of_shape = calloc(n + 1, sizeof *n_of_shape);
  if (n_of_shape == NULL) return PE_NO_MEMORY;
  for (uint32_t i = 0; i < n; i++) give_shape(b, shapes, trees, b->order[i]);
  for (uint32_t i = 0; i < n; i++) n_of_shape[trees[i].shape]++;
  for (uint32_t i = 0; i < n; i++) grow_tree(b, trees, n_of_shape, b->order[i]);
  free(n_of_shape);
  make_banks(b, trees, roots);
  for (uint32_t i = 0; i < n; i++)
    if (b->unit_of[i] == PE_NONE) b->unit_of[i] = b->n_banks + i;
  order_units(b, w);
  return PE_OK;
}

PeStatus pe_banks_find(Build *b) {
  const size_t n = b->spec->n_nodes, c = b->spec->n_cables;
  Shapes shapes = {0};
  Tree *trees = calloc(n + 1, sizeof *trees);
  Root *roots = calloc(n + 1, sizeof *roots);
  Walk walk = {.stack = malloc((2 * n + c + 2) * sizeof *walk.stack), .state = calloc(2 * n + 2, 1)};
  PeStatus status = trees && roots && walk.stack && walk.state ? shapes_allocate(&shapes, b->spec) : PE_NO_MEMORY;
  if (status == PE_OK) status = find(b, &shapes, trees, roots, &walk);
  shapes_free(&shapes);
  free(trees);
  free(roots);
  free(walk.stack);
  free(walk.state);
  return status;
}
