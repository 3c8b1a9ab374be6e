/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Notes and frequencies: 69 is A4, 440 Hz, twelve to an octave, fractions allowed. */
#ifndef PE_DSP_NOTE_H
#define PE_DSP_NOTE_H

#include "approx.h"

PE_RT_INLINE double pe_note_hz(double note) { return 440.0 * pe_exp2((note - 69.0) / 12.0); }

#endif
