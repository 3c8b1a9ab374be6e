/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* simple_sine for one instruction set: vectors over time for one voice, over voices for a bank. */

#include "param_simd.h"
#include "phase_simd.h"

#define scaled PE_SIMD_NAME(scaled)
#define sine_steady PE_SIMD_NAME(sine_steady)
#define sine_moving PE_SIMD_NAME(sine_moving)

/* By what comes behind it, in its order: of what the gain makes. */
PE_V VF scaled(VF v, const PeBlock *b, int is_scaled) { return is_scaled ? b->scale * v + 0.0f : v; }

/* Steady: frame i has phase + i x increment, exactly, as these are integers. */
PE_V uint64_t sine_steady(uint64_t phase, uint64_t increment, float gain, const PeBlock *b, int is_scaled) {
  float *out = b->outputs[0];
  const uint32_t n_frames = b->n_frames;
  VU v, w;
  vu_lane_multiples(increment, &v, &w);
  v += phase + SINE_QUARTER_TURN;
  w += phase + SINE_QUARTER_TURN;
  uint32_t i = 0;
  for (; i + PE_SIMD_LANES <= n_frames; i += PE_SIMD_LANES) {
    vf_store(out + i, scaled(gain * vf_sin_phase(v, w), b, is_scaled));
    v += increment * PE_SIMD_LANES;
    w += increment * PE_SIMD_LANES;
  }
  if (i < n_frames) {
    float rest[PE_SIMD_LANES];
    vf_store(rest, scaled(gain * vf_sin_phase(v, w), b, is_scaled));
    for (uint32_t l = 0; i + l < n_frames; l++) out[i + l] = rest[l];
  }
  return phase + increment * n_frames;
}

PE_RT static uint64_t sine_moving(const Sine *s, const PeBlock *b, float *out) {
  uint64_t phase = s->phase + SINE_QUARTER_TURN;
  for (uint32_t i = 0; i < b->n_frames; i += PE_SIMD_LANES) {
    const uint32_t n = b->n_frames - i < PE_SIMD_LANES ? b->n_frames - i : PE_SIMD_LANES;
    uint64_t phases[PE_SIMD_LANES];
    double freqs_hz[PE_SIMD_LANES] = {0}, gains[PE_SIMD_LANES] = {0};
    float sines[PE_SIMD_LANES];
    for (uint32_t h = 0; h < n; h += PE_SIMD_LANES / 2) {
      vd_store(freqs_hz + h, vd_param(b, FREQ, i + h, n - h, params[FREQ].min, s->max_hz));
      vd_store(gains + h, vd_param(b, GAIN, i + h, n - h, params[GAIN].min, params[GAIN].max));
    }
    for (uint32_t l = 0; l < PE_SIMD_LANES; l++) {
      phases[l] = phase;
      if (l < n) phase += increment_of(s, freqs_hz[l]);
    }
    VU v, w;
    vu_load(phases, &v, &w);
    vf_store(sines, scaled(vf_of_doubles(vd_load(gains), vd_load(gains + PE_SIMD_LANES / 2)) * vf_sin_phase(v, w), b, b->is_scaled != 0));
    memcpy(out + i, sines, n * sizeof *sines);
  }
  return phase - SINE_QUARTER_TURN;
}

PE_RT static void PE_SIMD_NAME(sine_process)(void *state, const PeBlock *b) {
  Sine *s = state;
  if (b->n_frames == 0) return;
  const int is_steady = b->is_unchanged || (pe_block_param_is_constant(b, FREQ) && pe_block_param_is_constant(b, GAIN));
  if (!b->is_unchanged) {
    s->increment = increment_at(s, b, b->n_frames - 1);
    s->gain = gain_at(b, b->n_frames - 1);
  }
  if (!is_steady)
    s->phase = sine_moving(s, b, b->outputs[0]);
  else if (b->is_scaled)
    s->phase = sine_steady(s->phase, s->increment, s->gain, b, 1);
  else
    s->phase = sine_steady(s->phase, s->increment, s->gain, b, 0);
}

PE_RT static void PE_SIMD_NAME(sine_process_bank)(const PeBankBlock *b) {
  SineBank *bank = b->cache;
  const uint64_t quarter = SINE_QUARTER_TURN;
  if (!b->is_resident) sine_load(bank, b->lanes, b->states);
  for (uint32_t l = 0; l < PE_LANES; l += PE_SIMD_LANES) {
    if (!(b->lanes >> l & ((1u << PE_SIMD_LANES) - 1u))) continue;
    VU v, w, dv, dw;
    vu_load(bank->phase + l, &v, &w);
    vu_load(bank->increment + l, &dv, &dw);
    v += quarter;
    w += quarter;
    const VF gain = vf_load(bank->gain + l);
    float *out = b->outputs[0] + l;
    for (uint32_t i = 0; i < b->n_frames; i++) {
      vf_store(out + (size_t)i * PE_LANES, gain * vf_sin_phase(v, w));
      v += dv;
      w += dw;
    }
    vu_store(bank->phase + l, v - quarter, w - quarter);
  }
  if (!b->is_resident) sine_store(bank, b->lanes, b->states);
}

#undef scaled
#undef sine_steady
#undef sine_moving
