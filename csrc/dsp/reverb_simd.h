/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* reverb for one instruction set: up to GROUP frames at once, as no line is so short that it would read what they write.
 * Vectors over time, whatever lies behind frame n of a group being worked out with it and left; of the low-passes over four
 * lines. Each frame's sums have the same order wherever in a group it stands. */
#include "phase_simd.h"

#define taken PE_SIMD_NAME(taken)
#define lane_read PE_SIMD_NAME(lane_read)
#define taps_find PE_SIMD_NAME(taps_find)
#define place_read PE_SIMD_NAME(place_read)
#define diffuse PE_SIMD_NAME(diffuse)
#define lines_low PE_SIMD_NAME(lines_low)
#define lfos_find PE_SIMD_NAME(lfos_find)
#define lines_read PE_SIMD_NAME(lines_read)
#define lines_mix PE_SIMD_NAME(lines_mix)
#define wet_and_dry PE_SIMD_NAME(wet_and_dry)
#define group_written PE_SIMD_NAME(group_written)
#define group PE_SIMD_NAME(group)

#define EACH(i, n) for (uint32_t i = 0; i < (n); i += PE_SIMD_LANES)

/* pe_line_taken of PE_SIMD_LANES samples. */
PE_V VF taken(VF x) {
  x = (VF)((VI)x & (x == x));
  x = vf_max(vf_min(x, vf_all(PE_SAMPLE_LIMIT)), vf_all(-PE_SAMPLE_LIMIT));
  return (VF)((VI)x & (vf_size(x) > PE_LINE_SNAP));
}

/* n slots of a lane in order of time, the first written `ago` slots ago. */
PE_V void lane_read(const Reverb *s, const PeBlock *b, uint32_t lane, uint32_t ago, uint32_t n, float *restrict to) {
  const uint32_t mask = b->memory_slots - 1, at = (uint32_t)(s->count - ago) & mask;
  if (ago > s->count) {
    for (uint32_t i = 0; i < n; i++) to[i] = ago - i <= s->count || i >= ago ? b->memory[(size_t)((at + i) & mask) * N_LANES + lane] : 0.0f;
  } else if (at + n <= b->memory_slots) {
    const float *from = b->memory + (size_t)at * N_LANES + lane;
    for (uint32_t i = 0; i < n; i++) to[i] = from[i * N_LANES];
  } else {
    for (uint32_t i = 0; i < n; i++) to[i] = b->memory[(size_t)((at + i) & mask) * N_LANES + lane];
  }
}

/* Four taps for a place of a whole number of slots and a part of one, which may be below 0 or above 1: Lagrange's
 * polynomial, as line.h has it of six. The nearest tap is 1 slot ago at least, from a place of 2 on. */
typedef struct PE_SIMD_NAME(Taps) { /* for each frame */
  int32_t  first[GROUP];
  float    weights[4][GROUP];
  uint32_t are_in_order; /* `first` is the same for all */
} PE_SIMD_NAME(Taps);
#define Taps PE_SIMD_NAME(Taps)

PE_V void taps_find(uint32_t whole, const float *part, uint32_t n, Taps *taps) {
  static const int32_t numbers[GROUP] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const int32_t steps_of_first = (int32_t)(part[0] + 256.0f) - 256;
  VI differ = {0};
  EACH(i, n) {
    const VF v = vf_load(part + i);
    const VI steps = __builtin_convertvector(v + 256.0f, VI) - 256; /* towards minus infinity */
    const VF c = v - vf_of_ints(steps), p = c + 1.0f, d = c - 1.0f, e = c - 2.0f;
    const VI first = steps + ((int32_t)whole - 1);
    VI number;
    memcpy(&number, numbers + i, sizeof number);
    memcpy(taps->first + i, &first, sizeof first);
    vf_store(taps->weights[0] + i, c * d * e * (-1.0f / 6.0f));
    vf_store(taps->weights[1] + i, p * d * e * 0.5f);
    vf_store(taps->weights[2] + i, p * c * e * -0.5f);
    vf_store(taps->weights[3] + i, p * c * d * (1.0f / 6.0f));
    differ |= (steps != steps_of_first) & (number < (int32_t)n);
  }
  taps->are_in_order = !vi_any(differ);
}

PE_V void place_read(const Reverb *s, const PeBlock *b, uint32_t lane, const Taps *taps, uint32_t n, float *restrict to) {
  float near[GROUP + 3];
  if (taps->are_in_order) {
    for (uint32_t i = n + 3; i < GROUP + 3; i++) near[i] = 0.0f;
    lane_read(s, b, lane, (uint32_t)taps->first[0] + 3, n + 3, near);
    EACH(i, n) {
      VF sum = vf_all(0.0f);
      for (uint32_t j = 0; j < 4; j++) sum += vf_load(taps->weights[j] + i) * vf_load(near + i + 3 - j);
      vf_store(to + i, sum);
    }
    return;
  }
  for (uint32_t i = n; i < GROUP; i++) to[i] = 0.0f;
  for (uint32_t i = 0; i < n; i++) {
    float sum = 0.0f;
    lane_read(s, b, lane, (uint32_t)taps->first[i] + 3 - i, 4, near);
    for (uint32_t j = 0; j < 4; j++) sum += taps->weights[j][i] * near[3 - j];
    to[i] = sum;
  }
}

/* x goes through an all-pass; what it keeps goes to `kept`. */
PE_V void diffuse(const Reverb *s, const PeBlock *b, uint32_t k, uint32_t n, float *restrict x, float *restrict kept) {
  float before[GROUP];
  for (uint32_t i = n; i < GROUP; i++) before[i] = 0.0f;
  lane_read(s, b, DIFFUSER_LANE + k, s->diffusers[k], n, before);
  EACH(i, n) {
    const VF late = vf_load(before + i), keeps = taken(vf_load(x + i) + DIFFUSION * late);
    vf_store(kept + i, keeps);
    vf_store(x + i, late - DIFFUSION * keeps);
  }
}

PE_V void lfos_find(const Reverb *s, const Room *room, uint32_t n, float lfos[N_LFOS][GROUP]) {
  for (uint32_t k = 0; k < N_LFOS; k++) {
    VU first, second;
    vu_lane_multiples(s->steps[k], &first, &second);
    EACH(i, n) {
      const uint64_t phase = s->phases[k] + s->steps[k] * i + PE_QUARTER_TURN;
      vf_store(lfos[k] + i, vf_load(room->wobble + i) * vf_sin_phase(first + phase, second + phase));
    }
  }
}

PE_V void lines_read(const Reverb *s, const PeBlock *b, const Room *room, uint32_t n, float v[N_LINES][GROUP]) {
  float lfos[N_LFOS][GROUP], parts[GROUP];
  Taps taps;
  if (room->is_wobbling) lfos_find(s, room, n, lfos);
  for (uint32_t k = 0; k < N_LINES; k++) {
    EACH(i, n) {
      VF part = vf_all(room->part[k]);
      if (room->is_wobbling) part = k < N_LFOS ? part + vf_load(lfos[k] + i) : part - vf_load(lfos[k - N_LFOS] + i);
      vf_store(parts + i, part);
    }
    taps_find(room->whole[k], parts, n, &taps);
    place_read(s, b, LINE_LANE + k, &taps, n, v[k]);
  }
}

/* A step of four low-passes. What comes in is of a memory, so that no NaN comes out; and what is below the snap stays so
 * within the limits: so it need not wait for them. */
PE_RT_INLINE PeQuad PE_SIMD_NAME(low_step)(PeQuad low, PeQuad pass, PeQuad x) {
  const PeQuad y = low + pass * (x - low);
  return pe_quad_masked(pe_quad_within(y, PE_SAMPLE_LIMIT), pe_quad_size(y) > PE_LINE_SNAP);
}

/* Each line through its low-pass. */
PE_V void lines_low(Reverb *s, const Room *room, uint32_t n, float v[N_LINES][GROUP]) {
  PeQuad low[2] = {pe_quad_load(s->low), pe_quad_load(s->low + 4)};
  for (uint32_t i = 0; i < n; i += 4) {
    PeQuad x[2][4];
    for (uint32_t h = 0; h < 2; h++) {
      for (uint32_t k = 0; k < 4; k++) x[h][k] = pe_quad_load(v[4 * h + k] + i);
      pe_quads_turn(x[h]);
    }
    for (uint32_t j = 0; j < 4 && i + j < n; j++) {
      const float *pass = room->low_pass[room->has_factors ? 0 : i + j];
      for (uint32_t h = 0; h < 2; h++) x[h][j] = low[h] = PE_SIMD_NAME(low_step)(low[h], pe_quad_load(pass + 4 * h), x[h][j]);
    }
    for (uint32_t h = 0; h < 2; h++) {
      pe_quads_turn(x[h]);
      for (uint32_t k = 0; k < 4; k++) pe_quad_store(v[4 * h + k] + i, x[h][k]);
    }
  }
  for (uint32_t h = 0; h < 2; h++) pe_quad_store(s->low + 4 * h, low[h]);
}

/* What is heard of the lines; and what goes back to them, by Hadamard's matrix of 8 rows, which loses nothing once it is
 * divided by sqrt(8). `heard` collects the bits of what they keep. */
PE_V void lines_mix(const Room *room, uint32_t n, float lines[N_LINES][GROUP], float in[N_SIDES][GROUP], float wet[N_SIDES][GROUP],
                    float lanes[N_LANES][GROUP], int32_t *restrict heard) {
  EACH(i, n) {
    VF v[N_LINES];
    VI bits = {0};
    for (uint32_t k = 0; k < N_LINES; k++) {
      v[k] = vf_load(lines[k] + i);
      bits |= (VI)v[k];
    }
    vf_store(wet[LEFT] + i, NORMAL * (((v[0] + v[1]) - (v[2] + v[3])) + ((v[4] + v[5]) - (v[6] + v[7]))));
    vf_store(wet[RIGHT] + i, NORMAL * (((v[0] - v[1]) + (v[2] - v[3])) + ((v[4] - v[5]) + (v[6] - v[7]))));
    for (uint32_t k = 0; k < N_LINES; k++) {
      float factors[PE_SIMD_LANES];
      for (uint32_t j = 0; j < PE_SIMD_LANES; j++) factors[j] = room->factors[room->has_factors ? 0 : i + j][k];
      v[k] *= room->has_factors ? vf_all(room->factors[0][k]) : vf_load(factors);
    }
    for (uint32_t half = 1; half < N_LINES; half *= 2)
      for (uint32_t k = 0; k < N_LINES; k++)
        if (!(k & half)) {
          const VF x = v[k], y = v[k + half];
          v[k] = x + y;
          v[k + half] = x - y;
        }
    for (uint32_t k = 0; k < N_LINES; k++)
      vf_store(lanes[LINE_LANE + k] + i, taken(NORMAL * v[k] + (k & 2 ? -0.5f : 0.5f) * vf_load(in[k & 1] + i)));
    for (uint32_t k = 0; k < N_LANES; k++) bits |= (VI)vf_load(lanes[k] + i);
    bits &= 0x7fffffff; /* -0 is silent too */
    memcpy(heard + i, &bits, sizeof bits);
  }
}

/* All lanes go to the memory, PRE_LANE's again. */
PE_V void group_written(Reverb *s, const PeBlock *b, uint32_t n, float lanes[N_LANES][GROUP], const int32_t *heard) {
  for (uint32_t i = 0; i < n; i += 4) {
    PeQuad x[4][4] = {{{0.0f}}};
    for (uint32_t k = 0; k < N_LANES; k++) x[k / 4][k % 4] = pe_quad_load(lanes[k] + i);
    for (uint32_t h = 0; h < 4; h++) pe_quads_turn(x[h]);
    for (uint32_t j = 0; j < 4 && i + j < n; j++) {
      float *const to = b->memory + (size_t)((uint32_t)(s->count + i + j) & (b->memory_slots - 1)) * N_LANES;
      for (uint32_t h = 0; h < N_LANES / 4; h++) pe_quad_store(to + 4 * h, x[h][j]);
      memcpy(to + N_LANES / 4 * 4, &x[N_LANES / 4][j], N_LANES % 4 * sizeof *to);
    }
  }
  uint32_t n_silent = 0; /* at the end */
  while (n_silent < n && heard[n - 1 - n_silent] == 0) n_silent++;
  s->n_silent = n_silent < n ? n_silent : s->n_silent + n;
  s->count += n;
  for (uint32_t k = 0; k < N_LFOS; k++) s->phases[k] += s->steps[k] * n;
}

PE_V void group(Reverb *s, const PeBlock *b, const Room *room, uint32_t n, float x[N_SIDES][GROUP], float wet[N_SIDES][GROUP]) {
  float lanes[N_LANES][GROUP], v[N_LINES][GROUP], in[N_SIDES][GROUP], parts[GROUP];
  int32_t heard[GROUP];
  Taps taps;
  if (n == 0) __builtin_unreachable(); /* room_prepared is never for none */
  for (uint32_t i = 0; i < n; i++) {
    float *const to = b->memory + (size_t)((uint32_t)(s->count + i) & (b->memory_slots - 1)) * N_LANES;
    for (uint32_t side = 0; side < N_SIDES; side++) to[PRE_LANE + side] = x[side][i];
  }
  EACH(i, n) {
    for (uint32_t side = 0; side < N_SIDES; side++) vf_store(lanes[PRE_LANE + side] + i, vf_load(x[side] + i));
    vf_store(parts + i, vf_all(room->part[N_LINES]));
  }
  taps_find(room->whole[N_LINES], parts, n, &taps);
  for (uint32_t side = 0; side < N_SIDES; side++) {
    place_read(s, b, PRE_LANE + side, &taps, n, in[side]);
    for (uint32_t k = 2 * side; k < 2 * side + 2; k++) diffuse(s, b, k, n, in[side], lanes[DIFFUSER_LANE + k]);
  }
  lines_read(s, b, room, n, v);
  lines_low(s, room, n, v);
  lines_mix(room, n, v, in, wet, lanes, heard);
  group_written(s, b, n, lanes, heard);
}

/* x and wet are of GROUP frames, out of n. */
PE_V void wet_and_dry(const float *x, const float *wet, const float *mixes, uint32_t n, float *restrict out) {
  float mixed[GROUP];
  EACH(i, n) {
    const VF mix = vf_load(mixes + i), v = vf_load(x + i) * (1.0f - mix) + vf_load(wet + i) * mix;
    vf_store(mixed + i, vf_max(vf_min(v, vf_all(PE_SAMPLE_LIMIT)), vf_all(-PE_SAMPLE_LIMIT)));
  }
  memcpy(out, mixed, n * sizeof *out);
}

PE_RT static void PE_SIMD_NAME(reverb_process)(void *state, const PeBlock *b) {
  Reverb *s = state;
  const float *const left = b->inputs[LEFT], *const right = b->inputs[RIGHT] ? b->inputs[RIGHT] : left;
  Room room = room_of(b);
  float x[N_SIDES][GROUP] = {{0.0f}}, wet[N_SIDES][GROUP], mixes[GROUP] = {0.0f};
  for (uint32_t at = 0, n; at < b->n_frames; at += n) {
    n = b->n_frames - at < GROUP ? b->n_frames - at : GROUP;
    if (left) memcpy(x[LEFT], left + at, n * sizeof *left);
    if (right) memcpy(x[RIGHT], right + at, n * sizeof *right);
    for (uint32_t side = 0; side < N_SIDES; side++) EACH(i, n) vf_store(x[side] + i, taken(vf_load(x[side] + i)));
    const uint32_t n_rest = frames_at_rest(s, b, n, x[LEFT], x[RIGHT]);
    if (n_rest > 0) {
      n = n_rest;
      glide_at_rest(s, b, at + n - 1);
      room.is_known = 0;
      for (uint32_t side = 0; side < N_SIDES; side++) memset(b->outputs[side] + at, 0, n * sizeof(float));
      continue;
    }
    n = room_prepared(s, b, at, n, &room);
    if (n == GROUP)
      group(s, b, &room, GROUP, x, wet);
    else
      group(s, b, &room, n, x, wet);
    pe_levels(b, params, MIX, at, n, mixes);
    for (uint32_t side = 0; side < N_SIDES; side++) wet_and_dry(x[side], wet[side], mixes, n, b->outputs[side] + at);
  }
}

#undef EACH
#undef taken
#undef lane_read
#undef taps_find
#undef place_read
#undef diffuse
#undef lines_low
#undef lfos_find
#undef lines_read
#undef lines_mix
#undef wet_and_dry
#undef group_written
#undef group
#undef Taps
