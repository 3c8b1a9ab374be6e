/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* reverb for one instruction set: up to GROUP frames at once, as no line is so short that it would read what they write.
 * Plain loops: the compiler makes vectors of them, over time, and of the low-passes over the lines. Each frame's sums have
 * the same order wherever in a group it stands. */

#define lane_read PE_SIMD_NAME(lane_read)
#define taps_find PE_SIMD_NAME(taps_find)
#define place_read PE_SIMD_NAME(place_read)
#define diffuse PE_SIMD_NAME(diffuse)
#define lines_low PE_SIMD_NAME(lines_low)
#define lines_mix PE_SIMD_NAME(lines_mix)
#define group_written PE_SIMD_NAME(group_written)
#define group PE_SIMD_NAME(group)

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
  uint32_t first[GROUP];
  float    weights[4][GROUP];
} PE_SIMD_NAME(Taps);
#define Taps PE_SIMD_NAME(Taps)

PE_V void taps_find(uint32_t whole, const float *part, uint32_t n, Taps *taps) {
  for (uint32_t i = 0; i < n; i++) {
    const int32_t steps = (int32_t)(part[i] + 256.0f) - 256; /* towards minus infinity */
    const float c = part[i] - (float)steps, p = c + 1.0f, d = c - 1.0f, e = c - 2.0f;
    taps->first[i] = (uint32_t)((int32_t)whole + steps - 1);
    taps->weights[0][i] = c * d * e * (-1.0f / 6.0f);
    taps->weights[1][i] = p * d * e * 0.5f;
    taps->weights[2][i] = p * c * e * -0.5f;
    taps->weights[3][i] = p * c * d * (1.0f / 6.0f);
  }
}

PE_V void place_read(const Reverb *s, const PeBlock *b, uint32_t lane, const Taps *taps, uint32_t n, float *restrict to) {
  float near[GROUP + 3];
  uint32_t n_same = 1;
  while (n_same < n && taps->first[n_same] == taps->first[0]) n_same++;
  if (n_same == n) {
    lane_read(s, b, lane, taps->first[0] + 3, n + 3, near);
    for (uint32_t i = 0; i < n; i++) {
      float sum = 0.0f;
      for (uint32_t j = 0; j < 4; j++) sum += taps->weights[j][i] * near[i + 3 - j];
      to[i] = sum;
    }
    return;
  }
  for (uint32_t i = 0; i < n; i++) {
    float sum = 0.0f;
    lane_read(s, b, lane, taps->first[i] + 3 - i, 4, near);
    for (uint32_t j = 0; j < 4; j++) sum += taps->weights[j][i] * near[3 - j];
    to[i] = sum;
  }
}

/* x goes through an all-pass; what it keeps goes to `kept`. */
PE_V void diffuse(const Reverb *s, const PeBlock *b, uint32_t k, uint32_t n, float *restrict x, float *restrict kept) {
  float before[GROUP];
  lane_read(s, b, DIFFUSER_LANE + k, s->diffusers[k], n, before);
  for (uint32_t i = 0; i < n; i++) {
    kept[i] = pe_line_taken(x[i] + DIFFUSION * before[i]);
    x[i] = before[i] - DIFFUSION * kept[i];
  }
}

/* Each line through its low-pass; `heard` collects the bits of what they keep. */
PE_V void lines_low(Reverb *s, const Room *room, uint32_t n, float v[N_LINES][GROUP], uint32_t *restrict heard) {
  float low[N_LINES], at[GROUP][N_LINES];
  memcpy(low, s->low, sizeof low);
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < N_LINES; k++) at[i][k] = v[k][i];
  for (uint32_t i = 0; i < n; i++) {
    const float *pass = room->low_pass[room->has_factors ? 0 : i];
    for (uint32_t k = 0; k < N_LINES; k++) low[k] = pe_line_taken(low[k] + pass[k] * (at[i][k] - low[k]));
    memcpy(at[i], low, sizeof low);
  }
  memcpy(s->low, low, sizeof low);
  for (uint32_t i = 0; i < n; i++) {
    heard[i] = 0;
    for (uint32_t k = 0; k < N_LINES; k++) {
      v[k][i] = at[i][k];
      heard[i] |= at[i][k] != 0.0f ? 1u : 0u;
    }
  }
}

/* Hadamard's matrix of 8 rows, which loses nothing once it is divided by sqrt(8). */
PE_V void lines_mix(uint32_t n, float v[N_LINES][GROUP]) {
  for (uint32_t half = 1; half < N_LINES; half *= 2)
    for (uint32_t k = 0; k < N_LINES; k++)
      if (!(k & half))
        for (uint32_t i = 0; i < n; i++) {
          const float x = v[k][i], y = v[k + half][i];
          v[k][i] = x + y;
          v[k + half][i] = x - y;
        }
}

/* All lanes but PRE_LANE's go to the memory. */
PE_V void group_written(Reverb *s, const PeBlock *b, uint32_t n, float lanes[N_LANES][GROUP], const uint32_t *heard) {
  for (uint32_t i = 0; i < n; i++) {
    float *const to = b->memory + (size_t)((uint32_t)(s->count + i) & (b->memory_slots - 1)) * N_LANES;
    uint32_t is_heard = heard[i];
    for (uint32_t k = 0; k < N_LANES; k++) {
      to[k] = lanes[k][i];
      is_heard |= lanes[k][i] != 0.0f ? 1u : 0u;
    }
    s->n_silent = is_heard ? 0 : s->n_silent + 1;
  }
  s->count += n;
  for (uint32_t k = 0; k < N_LFOS; k++) s->phases[k] += s->steps[k] * n;
}

PE_V void group(Reverb *s, const PeBlock *b, const Room *room, uint32_t n, float x[N_SIDES][GROUP], float wet[N_SIDES][GROUP]) {
  float lanes[N_LANES][GROUP], v[N_LINES][GROUP], in[N_SIDES][GROUP], parts[GROUP];
  uint32_t heard[GROUP];
  Taps taps;
  for (uint32_t i = 0; i < n; i++) {
    float *const to = b->memory + (size_t)((uint32_t)(s->count + i) & (b->memory_slots - 1)) * N_LANES;
    for (uint32_t side = 0; side < N_SIDES; side++) to[PRE_LANE + side] = lanes[PRE_LANE + side][i] = x[side][i];
  }
  for (uint32_t i = 0; i < n; i++) parts[i] = room->part[N_LINES];
  taps_find(room->whole[N_LINES], parts, n, &taps);
  for (uint32_t side = 0; side < N_SIDES; side++) {
    place_read(s, b, PRE_LANE + side, &taps, n, in[side]);
    for (uint32_t k = 2 * side; k < 2 * side + 2; k++) diffuse(s, b, k, n, in[side], lanes[DIFFUSER_LANE + k]);
  }
  for (uint32_t k = 0; k < N_LINES; k++) {
    const uint64_t phase = s->phases[k % N_LFOS], step = s->steps[k % N_LFOS];
    if (room->is_wobbling) {
      for (uint32_t i = 0; i < n; i++) {
        const float lfo = room->wobble[i] * pe_sin_phase(phase + step * i);
        parts[i] = k < N_LFOS ? room->part[k] + lfo : room->part[k] - lfo;
      }
    } else {
      for (uint32_t i = 0; i < n; i++) parts[i] = room->part[k];
    }
    taps_find(room->whole[k], parts, n, &taps);
    place_read(s, b, LINE_LANE + k, &taps, n, v[k]);
  }
  lines_low(s, room, n, v, heard);
  for (uint32_t i = 0; i < n; i++) {
    wet[LEFT][i] = NORMAL * (((v[0][i] + v[1][i]) - (v[2][i] + v[3][i])) + ((v[4][i] + v[5][i]) - (v[6][i] + v[7][i])));
    wet[RIGHT][i] = NORMAL * (((v[0][i] - v[1][i]) + (v[2][i] - v[3][i])) + ((v[4][i] - v[5][i]) + (v[6][i] - v[7][i])));
  }
  for (uint32_t k = 0; k < N_LINES; k++)
    for (uint32_t i = 0; i < n; i++) v[k][i] *= room->factors[room->has_factors ? 0 : i][k];
  lines_mix(n, v);
  for (uint32_t k = 0; k < N_LINES; k++)
    for (uint32_t i = 0; i < n; i++) lanes[LINE_LANE + k][i] = pe_line_taken(NORMAL * v[k][i] + (k & 2 ? -0.5f : 0.5f) * in[k & 1][i]);
  group_written(s, b, n, lanes, heard);
}

PE_RT static void PE_SIMD_NAME(reverb_process)(void *state, const PeBlock *b) {
  Reverb *s = state;
  const float *const left = b->inputs[LEFT], *const right = b->inputs[RIGHT] ? b->inputs[RIGHT] : left;
  Room room = room_of(b);
  float x[N_SIDES][GROUP], wet[N_SIDES][GROUP], mixes[GROUP];
  for (uint32_t at = 0, n; at < b->n_frames; at += n) {
    n = b->n_frames - at < GROUP ? b->n_frames - at : GROUP;
    for (uint32_t i = 0; i < n; i++) {
      x[LEFT][i] = left ? pe_line_taken(left[at + i]) : 0.0f;
      x[RIGHT][i] = right ? pe_line_taken(right[at + i]) : 0.0f;
    }
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
    for (uint32_t side = 0; side < N_SIDES; side++) {
      float *restrict out = b->outputs[side] + at;
      for (uint32_t i = 0; i < n; i++) out[i] = pe_bounded(x[side][i] * (1.0f - mixes[i]) + wet[side][i] * mixes[i]);
    }
  }
}

#undef lane_read
#undef taps_find
#undef place_read
#undef diffuse
#undef lines_low
#undef lines_mix
#undef group_written
#undef group
#undef Taps
