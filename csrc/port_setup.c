#include <stdlib.h>

#include "port.h"

PeStatus pe_port_new(PeOutput *output, PePort **port) {
  *port = NULL;
  PePort *p = calloc(1, sizeof *p);
  if (p == NULL) return PE_NO_MEMORY;
  p->output = output;
  p->frame_bytes = output->segment->config.n_channels * (uint32_t)sizeof(float);
  *port = p;
  return PE_OK;
}

void pe_port_free(PePort *p) { free(p); }

uint32_t pe_port_open(PePort *p) {
  uint32_t waiting = PE_PORT_WAITING;
  return (uint32_t)atomic_compare_exchange_strong_explicit(&p->state, &waiting, PE_PORT_OPEN, memory_order_seq_cst, /* what the last caller left is seen */
                                                           memory_order_seq_cst);
}

uint32_t pe_port_close(PePort *p) {
  atomic_store_explicit(&p->state, PE_PORT_CLOSED, memory_order_seq_cst); /* before the look at is_busy, see port.c */
  return atomic_load_explicit(&p->is_busy, memory_order_seq_cst) == 0;    /* and all that its thread did */
}

uint64_t pe_port_calls(const PePort *p) {
  return atomic_load_explicit(&p->calls, memory_order_relaxed); /* a figure */
}
