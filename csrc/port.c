/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "port.h"

#include <string.h>

#define PA_CONTINUE 0
#define PA_ABORT 2
#define PA_OUTPUT_UNDERFLOW 4u

/* Either this thread sees that the port is closed, or whoever closed it sees that it is busy: two words, each
 * written by one side before it reads the other's, all four in the one order of seq_cst. */
int pe_portaudio_callback(const void *input, void *output, unsigned long n_frames, const void *time_info,
                          unsigned long flags, void *user) {
  (void)input;
  (void)time_info;
  PePort *p = user;
  atomic_store_explicit(&p->is_busy, 1, memory_order_seq_cst); /* before the look at the state */
  const uint32_t state = atomic_load_explicit(&p->state, memory_order_seq_cst); /* and all that was done before it was opened */
  if (state == PE_PORT_OPEN) {
    if (flags & PA_OUTPUT_UNDERFLOW) pe_counter_add(&p->output->segment->counters[PE_COUNT_DEVICE_UNDERFLOWS], 1);
    pe_output_process(p->output, output, (uint32_t)n_frames);
  } else {
    memset(output, 0, (size_t)n_frames * p->frame_bytes);
  }
  atomic_fetch_add_explicit(&p->calls, 1, memory_order_relaxed); /* a figure */
  atomic_store_explicit(&p->is_busy, 0, memory_order_release);   /* after all that was done to the output */
  return state == PE_PORT_CLOSED ? PA_ABORT : PA_CONTINUE;
}
