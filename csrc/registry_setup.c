#include "registry_setup.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "dsp/event.h"
#include "dsp/registry.h"

struct PeRegistry {
  const PeModule **modules;
  uint32_t         n_modules, isa;
  int              has_banks;
};

/* ---- instruction sets, in the order of simd_each.h ------------------------------------------------ */

#if defined(__x86_64__)
static const char *const isa_names[PE_ISAS] = {"sse2", "avx2", "avx512"};

static int has_isa(uint32_t isa) {
  __builtin_cpu_init();
  if (isa == 1) return __builtin_cpu_supports("avx2");
  if (isa == 2)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw");
  return 1;
}
#else
static const char *const isa_names[PE_ISAS] = {"base"};
static int has_isa(uint32_t isa) { return isa == 0; }
#endif

uint32_t pe_isa_count(void) {
  uint32_t n = 0;
  while (n < PE_ISAS && has_isa(n)) n++; /* each one comes with those before it */
  return n;
}

const char *pe_isa_name(uint32_t isa) { return isa < pe_isa_count() ? isa_names[isa] : NULL; }

static PeStatus isa_choose(uint32_t *isa) {
  const char *wanted = getenv("PYENGINE_ISA");
  *isa = pe_isa_count() - 1;
  if (wanted == NULL || *wanted == 0) return PE_OK;
  for (uint32_t i = 0; i < pe_isa_count(); i++)
    if (strcmp(wanted, isa_names[i]) == 0) {
      *isa = i;
      return PE_OK;
    }
  return PE_UNKNOWN_ISA;
}

uint32_t pe_registry_isa(const PeRegistry *registry) { return registry->isa; }

int pe_registry_has_banks(const PeRegistry *registry) { return registry->has_banks; }

/* ---- modules --------------------------------------------------------------------------------------- */

static PeStatus registry_add(PeRegistry *r, const PeModule *const *modules, uint32_t n) {
  const PeModule **grown = realloc(r->modules, (r->n_modules + n) * sizeof *grown);
  if (grown == NULL) return PE_NO_MEMORY;
  r->modules = grown;
  for (uint32_t i = 0; i < n; i++) r->modules[r->n_modules++] = modules[i];
  return PE_OK;
}

PeStatus pe_registry_new(PeRegistry **registry) {
  *registry = NULL;
  PeRegistry *r = calloc(1, sizeof *r);
  if (r == NULL) return PE_NO_MEMORY;
  const char *banks = getenv("PYENGINE_BANKS");
  r->has_banks = !(banks && strcmp(banks, "0") == 0);
  PeStatus status = isa_choose(&r->isa);
  if (status == PE_OK) status = registry_add(r, pe_shipped_modules, pe_n_shipped_modules);
  if (status != PE_OK) {
    free(r);
    return status;
  }
  *registry = r;
  return PE_OK;
}

PeStatus pe_registry_load(PeRegistry *registry, const char *path) {
  void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* stays loaded: descriptors point into it */
  if (object == NULL) return PE_NOT_LOADABLE;
  const uint32_t *abi = dlsym(object, "pe_module_abi");
  const PeModule *const *modules = dlsym(object, "pe_modules");
  if (abi == NULL || *abi != PE_MODULE_ABI || modules == NULL) {
    dlclose(object);
    return PE_NOT_LOADABLE;
  }
  uint32_t n = 0;
  for (; modules[n] != NULL; n++)
    if (modules[n]->n_inputs + modules[n]->n_params > PE_MODULE_MAX_PORTS || modules[n]->n_outputs > PE_MODULE_MAX_PORTS) return PE_NOT_LOADABLE;
  return registry_add(registry, modules, n);
}

void pe_registry_free(PeRegistry *registry) {
  if (registry == NULL) return;
  free(registry->modules);
  free(registry);
}

uint32_t pe_registry_count(const PeRegistry *registry) { return registry->n_modules; }

const PeModule *pe_registry_module(const PeRegistry *registry, uint32_t index) {
  return index < registry->n_modules ? registry->modules[index] : NULL;
}

PeStatus pe_registry_info(const PeRegistry *registry, uint32_t index, PeModuleInfo *info) {
  const PeModule *m = pe_registry_module(registry, index);
  if (m == NULL) return PE_UNKNOWN_MODULE;
  *info = (PeModuleInfo){.name = m->name, .help = m->help, .inputs = m->inputs, .outputs = m->outputs, .params = m->params,
                         .n_inputs = m->n_inputs, .n_outputs = m->n_outputs, .n_params = m->n_params,
                         .state_version = m->state_version, .state_bytes = m->state_bytes, .data = m->data ? m->data : "", .absorbs = m->absorb != NULL,
                         .events = m->events ? m->events->order : PE_EVENTS_NONE};
  return PE_OK;
}
