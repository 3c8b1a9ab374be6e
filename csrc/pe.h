/* The surface of api.h for the compiler, and the checks on every layout that leaves the process. */
#ifndef PE_PE_H
#define PE_PE_H

#include <stddef.h>
#include <stdint.h>

#include "api.h"

_Static_assert(sizeof(PeCommand) == 64, "a command is one cache line");
_Static_assert(offsetof(PeCommand, reserved) == 48, "no padding in a command");
_Static_assert(sizeof(PeEvent) == 64, "an event is one cache line");
_Static_assert(offsetof(PeEvent, reserved) == 48, "no padding in an event");
_Static_assert(sizeof(PeCheckpointInfo) == 48, "no padding in a checkpoint's head");
_Static_assert(sizeof(PeConfig) == 56, "no padding in a config");

#endif
