/* Between a device's thread, which may outlive its device, and the output, which has one caller at a time. */
#ifndef PE_PORT_H
#define PE_PORT_H

#include "output.h"

#define PE_PORT_WAITING 0u
#define PE_PORT_OPEN 1u
#define PE_PORT_CLOSED 2u /* for good */

struct PePort {
  PeOutput  *output;
  uint32_t   frame_bytes;
  _Atomic uint32_t state, is_busy;
  _Atomic uint64_t calls;
};

#endif
