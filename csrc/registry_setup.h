/* The modules one engine knows: the shipped ones, and those of shared objects it was told to load. */
#ifndef PE_REGISTRY_SETUP_H
#define PE_REGISTRY_SETUP_H

#include "dsp/module.h"

/* NULL when the index is outside the registry. [setup] */
const PeModule *pe_registry_module(const PeRegistry *registry, uint32_t index);

/* May its plans have banks? [setup] */
int pe_registry_has_banks(const PeRegistry *registry);

#endif
