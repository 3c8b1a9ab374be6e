/* The event pass: before a chunk's audio, event nodes put out the commands that take effect in it. */
#ifndef PE_EVENTS_H
#define PE_EVENTS_H

#include "dsp/event.h"
#include "plan.h"

/* Ask the event nodes for the next n_frames, from frame `at` of what is rendered, and tell them the commands due[first, last) that are
 * for them; what they put out is in plan->emitted, in order of frame. [rt & active] */
PE_RT void pe_events_run(PePlan *plan, uint32_t n_frames, const PeDue *due, uint32_t first, uint32_t last, uint32_t at, _Atomic uint32_t *marker);

/* A parameter of an event node is set between two blocks; what it puts out takes effect at once. [rt] */
PE_RT void pe_events_set(PePlan *plan, PeStep *step, uint32_t param, double value);

/* Event nodes of the plan before that are gone, or have other data, end what they began. [rt] */
PE_RT void pe_events_carry(PePlan *plan, PePlan *before);

#endif
