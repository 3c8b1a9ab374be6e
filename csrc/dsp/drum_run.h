/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* `process` of a drum, to be included where it has said, as
 *
 *     Drum                       its state, which begins with a PeDrum `drum`; VELOCITY: the first parameter that moves nothing
 *     strike_at(s, b, i)         look at the gates of frame i, and strike where they say so
 *     next_strike(s, b, i)       first frame behind i at which one rises, or b->n_frames
 *     keep_settings(s, b, i)     what the parameters of frame i come to
 *     frame(s, b, i)             the next frame, before its gain and without what fades of the strike before; envelopes move on
 *     is_faint(s)                whether its envelopes are all below PE_DRUM_REST
 *     rest(s)                    what is left of the strike is nothing
 *
 * what it does with one frame. */
#include <string.h>

/* From frame i to frame `end`, between two strikes. */
PE_RT static void run(Drum *s, const PeBlock *b, int is_still, uint32_t i, uint32_t end) {
  float *out = b->outputs[0];
  if (s->drum.is_sounding && is_still) keep_settings(s, b, i);
  for (; i < end && s->drum.is_sounding; i++) {
    if (!is_still) keep_settings(s, b, i);
    out[i] = pe_limited(value_at(b, GAIN, i) * pe_drum_sum(&s->drum, frame(s, b, i)));
    if (is_faint(s) && pe_is_near_0(s->drum.tail)) {
      pe_drum_rest(&s->drum);
      rest(s);
    }
  }
  if (i < end) memset(out + i, 0, (end - i) * sizeof *out);
}

PE_RT static void drum_process(void *state, const PeBlock *b) {
  Drum *s = state;
  const int is_still = pe_block_is_still(b, VELOCITY);
  for (uint32_t i = 0, end; i < b->n_frames; i = end) {
    strike_at(s, b, i);
    end = next_strike(s, b, i);
    run(s, b, is_still, i, end);
  }
}
