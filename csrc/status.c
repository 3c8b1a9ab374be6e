/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "pe.h"

const char *pe_strerror(PeStatus status) {
  switch (status) { /* no default: the compiler names the case that is forgotten */
    case PE_OK: return "all is well";
    case PE_NO_MEMORY: return "there is not enough memory";
    case PE_BAD_ARGUMENT: return "an argument is outside its range";
    case PE_BAD_SIZE: return "the memory given has not the size needed";
    case PE_BAD_MAGIC: return "the memory is not what it was taken for";
    case PE_BAD_VERSION: return "the layout is of another version of pyengine";
    case PE_UNKNOWN_MODULE: return "there is no such module type";
    case PE_UNKNOWN_NODE: return "there is no such node in the plan";
    case PE_BAD_PORT: return "a cable names a port or parameter that its node has not";
    case PE_CYCLE: return "the cables form a cycle";
    case PE_TOO_LARGE: return "the patch is larger than a plan may be";
    case PE_NO_THREAD: return "a thread could not be started";
    case PE_NOT_LOADABLE: return "the shared object has no modules for this version of pyengine";
    case PE_NO_CHECKPOINT: return "there is no checkpoint of that generation";
    case PE_BAD_CHECKPOINT: return "the checkpoint does not fit the plan or was changed while it was read";
    case PE_STALE: return "it came too late";
    case PE_BUSY: return "another one is still on its way";
    case PE_UNKNOWN_ISA: return "PYENGINE_ISA names no instruction set that this machine has";
    case PE_STATUS_COUNT: break;
  }
  return "unknown status";
}
