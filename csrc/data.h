/* Bytes that never change, held by plans: samples, patterns. */
#ifndef PE_DATA_H
#define PE_DATA_H

#include <stdatomic.h>

#include "pe.h"
#include "rt.h"

struct PeData {
  const void      *bytes;
  uint64_t         n_bytes;
  uint32_t         is_mapped, reserved;
  _Atomic uint32_t holds;
};

/* One hold more. [setup] */
void pe_data_hold(PeData *data);

#endif
