/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Time-tagged commands that wait for their frame: a heap of fixed size, ordered by (frame, number).
 * Plain data without pointers: it is part of a checkpoint. */
#ifndef PE_SCHEDULE_H
#define PE_SCHEDULE_H

#include "pe.h"
#include "rt.h"

typedef struct PeSchedule {
  uint32_t  n, reserved;
  PeCommand heap[PE_SCHEDULE_SIZE];
} PeSchedule;

PE_RT static inline int pe_schedule_before(const PeCommand *a, const PeCommand *b) {
  return a->frame != b->frame ? a->frame < b->frame : a->seq < b->seq;
}

/* 0 when it is full. */
PE_RT static inline int pe_schedule_add(PeSchedule *s, const PeCommand *command) {
  if (s->n == PE_SCHEDULE_SIZE) return 0;
  uint32_t at = s->n++;
  while (at > 0 && pe_schedule_before(command, &s->heap[(at - 1) / 2])) {
    s->heap[at] = s->heap[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  s->heap[at] = *command;
  return 1;
}

/* The earliest one, or NULL. */
PE_RT static inline const PeCommand *pe_schedule_first(const PeSchedule *s) { return s->n ? &s->heap[0] : 0; }

PE_RT static inline void pe_schedule_drop_first(PeSchedule *s) {
  const PeCommand last = s->heap[--s->n];
  uint32_t at = 0;
  for (;;) { /* at most log2(size) steps */
    uint32_t child = 2 * at + 1;
    if (child >= s->n) break;
    if (child + 1 < s->n && pe_schedule_before(&s->heap[child + 1], &s->heap[child])) child++;
    if (!pe_schedule_before(&s->heap[child], &last)) break;
    s->heap[at] = s->heap[child];
    at = child;
  }
  if (s->n) s->heap[at] = last;
}

#endif
