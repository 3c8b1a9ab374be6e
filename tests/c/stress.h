/* What the stress programs share: a failing check ends the program; a small generator; random patches. */
#ifndef STRESS_H
#define STRESS_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "pe.h"

#define CHECK(condition)                                                              \
  do {                                                                                \
    if (!(condition)) {                                                               \
      fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);   \
      _Exit(1);                                                                       \
    }                                                                                 \
  } while (0)

typedef struct Random { uint64_t state; } Random;

static inline uint64_t random_next(Random *r) { /* splitmix64 */
  uint64_t z = (r->state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

/* 0 .. n - 1 */
static inline uint32_t random_below(Random *r, uint32_t n) { return (uint32_t)(random_next(r) % n); }

static inline void sleep_us(uint32_t us) {
  const struct timespec ts = {.tv_sec = us / 1000000u, .tv_nsec = (long)(us % 1000000u) * 1000};
  nanosleep(&ts, NULL);
}

static inline void *shared_memory(uint64_t bytes) {
  void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(at != MAP_FAILED);
  return at;
}

static inline PeSegment *new_segment(const PeConfig *config) {
  const uint64_t bytes = pe_segment_bytes(config);
  PeSegment *s;
  CHECK(bytes != 0);
  void *memory = shared_memory(bytes);
  CHECK(pe_segment_init(memory, bytes, config) == PE_OK);
  CHECK(pe_segment_attach(memory, bytes, &s) == PE_OK);
  return s;
}

static inline void free_segment(PeSegment *s) {
  PeConfig config;
  pe_segment_config(s, &config);
  munmap(s, pe_segment_bytes(&config));
}

/* A random patch over the shipped modules: 0 sine, 1 adsr, 2 biquad. The module follows from the handle, so that
 * patches drawn one after the other have nodes in common. Cables lead from smaller to greater handles. */
#define PATCH_NODES 12u
#define PATCH_CABLES 40u

typedef struct Patch {
  PeNodeSpec nodes[PATCH_NODES];
  PeCableSpec cables[PATCH_CABLES];
  PePlanSpec spec;
} Patch;

static inline uint32_t cable_param(const PeRegistry *registry, uint32_t module, Random *r, uint32_t *param) {
  PeModuleInfo info;
  CHECK(pe_registry_info(registry, module, &info) == PE_OK);
  *param = random_below(r, info.n_params);
  return !(info.params[*param].flags & PE_PARAM_EVENT);
}

static inline void patch_draw(Patch *p, const PeRegistry *registry, Random *r, uint32_t block_frames, uint32_t n_channels) {
  const uint32_t n = 1 + random_below(r, PATCH_NODES);
  uint32_t n_cables = 0, n_nodes = 0;
  for (uint32_t h = 1; h <= PATCH_NODES && n_nodes < n; h++)
    if (h == 1 || random_below(r, 2)) p->nodes[n_nodes++] = (PeNodeSpec){.handle = h, .module = (h - 1) % 3};
  for (uint32_t dest = 1; dest < n_nodes; dest++)
    for (uint32_t k = random_below(r, 4); k > 0 && n_cables < PATCH_CABLES; k--) {
      uint32_t param;
      const uint32_t module = p->nodes[dest].module, source = random_below(r, dest);
      if (module != 0 && random_below(r, 3))
        p->cables[n_cables++] = (PeCableSpec){.source = source, .dest = dest, .depth = 1.0f};
      else if (cable_param(registry, module, r, &param))
        p->cables[n_cables++] = (PeCableSpec){.source = source, .dest = dest, .dest_port = param, .to_param = 1, .depth = 1.0f};
    }
  p->spec = (PePlanSpec){.sample_rate_hz = 48000.0, .max_block_frames = block_frames, .n_channels = n_channels,
                         .n_nodes = n_nodes, .n_cables = n_cables, .nodes = p->nodes, .cables = p->cables};
}

/* A value in or out of the range; now and then infinite or not a number. */
static inline double random_value(Random *r) {
  static const double odd[] = {0.0, 1.0, -1.0, 1e30, -1e30, 1e-310};
  const uint32_t kind = random_below(r, 40);
  if (kind == 0) return random_below(r, 2) ? (double)INFINITY : (double)NAN;
  if (kind < 7) return odd[kind - 1];
  return (double)random_below(r, 4000) / (kind < 20 ? 1.0 : 1000.0);
}

static inline PeCommand random_param(Random *r, int64_t frame) {
  return (PeCommand){.kind = PE_COMMAND_PARAM, .frame = frame, .handle = 1 + random_below(r, PATCH_NODES),
                     .param = random_below(r, 5), .value = random_value(r),
                     .flags = random_below(r, 4) ? 0 : PE_COMMAND_IMMEDIATE};
}

#endif
