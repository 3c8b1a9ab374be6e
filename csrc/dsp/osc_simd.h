/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* osc for one instruction set: the frames one by one, the 32 frames behind a step in vectors made by the compiler. */

#define add_step PE_SIMD_NAME(add_step)
#define add_slope PE_SIMD_NAME(add_slope)
#define wrap PE_SIMD_NAME(wrap)
#define move PE_SIMD_NAME(move)
#define sync_at PE_SIMD_NAME(sync_at)
#define move_synced PE_SIMD_NAME(move_synced)
#define advance PE_SIMD_NAME(advance)
#define waves_of PE_SIMD_NAME(waves_of)
#define advance_steadily PE_SIMD_NAME(advance_steadily)
#define osc_chunk PE_SIMD_NAME(osc_chunk)

/* A step by `jump`, t frames ago, 0 to 1. */
PE_RT static void add_step(float *restrict ahead, double jump, double t) {
  const float size = (float)jump, time = (float)t;
  for (uint32_t k = 0; k < BLEP_FRAMES; k++) {
    float y = blep_step[0][k];
    for (uint32_t p = 1; p < BLEP_POWERS; p++) y = y * time + blep_step[p][k];
    ahead[k] += size * y;
  }
}

/* A change of the slope by `change` per frame, t frames ago, 0 to 1. */
PE_RT static void add_slope(float *restrict ahead, double change, double t) {
  const float size = (float)change, time = (float)t;
  for (uint32_t k = 0; k < BLEP_FRAMES; k++) {
    float y = blep_slope[0][k];
    for (uint32_t p = 1; p < BLEP_POWERS; p++) y = y * time + blep_slope[p][k];
    ahead[k] += size * y;
  }
}

/* Whether a position that went by `distance` to `end` has wrapped on its way: 1 forwards, -1 backwards; and how long
 * before it arrived, at `speed` (without sign, in turns x 2^64 per frame). */
PE_V int wrap(uint64_t end, int64_t distance, double speed, double *t) {
  const uint64_t start = end - (uint64_t)distance;
  const int way = distance > 0 && end < start ? 1 : distance < 0 && end > start ? -1 : 0;
  if (way == 0) return 0;
  const double since = (double)(way > 0 ? end : 0u - end) / speed;
  *t = since < 1.0 ? since : 1.0;
  return way;
}

typedef struct PE_SIMD_NAME(Move) {
  uint64_t end, low_end;          /* positions it ends at */
  int64_t  distance, low_distance; /* how far it went there */
  double   speed, low_speed;      /* per frame, without sign */
  double   t;                     /* frames between its end and the present one */
} PE_SIMD_NAME(Move);
#define Move PE_SIMD_NAME(Move)

/* The steps and corners on the way. */
PE_V void move(float *ahead, uint32_t shape, const Move *m) {
  double t;
  if (shape == SAW || shape == SQUARE) {
    const int way = wrap(m->end, m->distance, m->speed, &t);
    if (way) add_step(ahead, (shape == SAW ? -2.0 : 2.0) * way, t + m->t < 1.0 ? t + m->t : 1.0);
  }
  if (shape == SQUARE) {
    const int way = wrap(m->low_end, m->low_distance, m->low_speed, &t);
    if (way) add_step(ahead, -2.0 * way, t + m->t < 1.0 ? t + m->t : 1.0);
  }
  if (shape == TRIANGLE)
    for (int is_low = 0; is_low < 2; is_low++) {
      const int way = wrap(m->end - (is_low ? 3 * QUARTER_TURN : QUARTER_TURN), m->distance, m->speed, &t);
      if (way) add_slope(ahead, (is_low ? 8.0 : -8.0) * (m->speed * 0x1p-64), t + m->t < 1.0 ? t + m->t : 1.0);
    }
}

/* Part of the way from one frame to the next at which the sync input rises through 0; 1 where it does not. On the cubic
 * through the newest four frames where that is what the signal looks like (backward differences, Newton's method from
 * the straight line's crossing on), otherwise on the straight line through two. */
PE_V double sync_at(const float *before, float now) {
  if (!(before[0] <= 0.0f && now > 0.0f)) return 1.0;
  const double y = (double)now, y1 = (double)before[0], y2 = (double)before[1], y3 = (double)before[2];
  const double d1 = y - y1, d2 = d1 - (y1 - y2), d3 = d2 - ((y1 - y2) - (y2 - y3));
  const double line = y1 / (y1 - y);
  if (!(d3 < 0.5 * d1 && d3 > -0.5 * d1)) return line;
  double x = line - 1.0; /* frames from the present one */
  for (int k = 0; k < 3; k++) {
    const double value = y + x * (d1 + 0.5 * (x + 1.0) * (d2 + (x + 2.0) * d3 * (1.0 / 3.0)));
    const double slope = d1 + 0.5 * ((2.0 * x + 1.0) * d2 + (3.0 * x * x + 6.0 * x + 2.0) * d3 * (1.0 / 3.0));
    x -= value / slope;
  }
  return x > -1.0 && x < 0.0 ? x + 1.0 : line;
}

/* The way from one frame to the next, given as if there were no sync, with one at `part` of it. */
PE_RT static void move_synced(Osc *s, float *ahead, uint32_t shape, Move *m, double part, uint64_t offset, uint64_t width) {
  const double way = (double)m->distance, low_way = (double)m->low_distance, rest = 1.0 - part;
  Move first = *m;
  first.distance = (int64_t)(part * way);
  first.low_distance = (int64_t)(part * low_way);
  first.end = s->position + (uint64_t)first.distance;
  first.low_end = s->low_position + (uint64_t)first.low_distance;
  first.t = rest;
  move(ahead, shape, &first);
  s->phase = (uint64_t)(int64_t)(rest * (double)s->increment);
  m->end = s->phase + offset;
  m->low_end = m->end - width;
  m->distance = (int64_t)(rest * way);
  m->low_distance = (int64_t)(rest * low_way);
  const uint64_t start = m->end - (uint64_t)m->distance, low_start = m->low_end - (uint64_t)m->low_distance;
  add_step(ahead, wave_of(shape, start, low_start) - wave_of(shape, first.end, first.low_end), rest);
  if (shape == TRIANGLE || shape == SINE) add_slope(ahead, (slope_of(shape, start) - slope_of(shape, first.end)) * (way * 0x1p-64), rest);
}

PE_V void advance(Osc *s, float *ahead, uint32_t shape, double part, uint64_t offset, uint64_t width) {
  s->phase += s->increment;
  Move m = {.end = s->phase + offset, .low_end = s->phase + offset - width};
  m.distance = (int64_t)(m.end - s->position);
  m.low_distance = (int64_t)(m.low_end - s->low_position);
  m.speed = (double)m.distance < 0.0 ? -(double)m.distance : (double)m.distance;
  m.low_speed = (double)m.low_distance < 0.0 ? -(double)m.low_distance : (double)m.low_distance;
  if (part < 1.0) move_synced(s, ahead, shape, &m, part, offset, width);
  move(ahead, shape, &m);
  s->position = m.end;
  s->low_position = m.low_end;
}

PE_V void waves_of(uint32_t shape, uint64_t position, uint64_t increment, uint64_t width, float *restrict waves, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    const uint64_t here = position + increment * (i + 1u);
    waves[i] = (float)wave_of(shape, here, here - width);
  }
}

/* n frames in which nothing moves but the phase: what `advance` does, frame by frame, in the same order. */
PE_RT static void advance_steadily(Osc *s, float *ahead, uint32_t shape, uint64_t width, float *waves, uint32_t n) {
  const uint64_t increment = s->increment, position = s->position;
  switch (shape) {
    case SQUARE: waves_of(SQUARE, position, increment, width, waves, n); break;
    case TRIANGLE: waves_of(TRIANGLE, position, increment, width, waves, n); break;
    case SINE: waves_of(SINE, position, increment, width, waves, n); break;
    default: waves_of(SAW, position, increment, width, waves, n); break;
  }
  Move m = {.distance = (int64_t)increment, .low_distance = (int64_t)increment, .speed = (double)(int64_t)increment, .low_speed = (double)(int64_t)increment};
  const uint64_t edge = shape == TRIANGLE ? QUARTER_TURN : 0, other = shape == TRIANGLE ? 3 * QUARTER_TURN : shape == SQUARE ? width : 0;
  for (uint32_t i = 0; shape != SINE && i < n; i++) {
    m.end = position + increment * (i + 1u);
    if (m.end - edge >= increment && m.end - other >= increment) continue; /* neither has wrapped */
    m.low_end = m.end - width;
    move(ahead + i, shape, &m);
  }
  s->phase += increment * n;
  s->position += increment * n;
  s->low_position += increment * n;
}

PE_RT static void osc_chunk(Osc *s, const PeBlock *b, uint32_t at, uint32_t n) {
  const uint32_t shape = pe_whole(b->params, params, SHAPE);
  const float *sync = b->inputs[0] ? b->inputs[0] + at : NULL;
  const int is_pitch_steady = pe_block_param_is_constant(b, FREQ) && pe_block_param_is_constant(b, PITCH) && pe_block_param_is_constant(b, DETUNE);
  const int is_place_steady = pe_block_param_is_constant(b, PHASE) && pe_block_param_is_constant(b, WIDTH);
  float ahead[PE_CHUNK_FRAMES + BLEP_FRAMES] = {0}, waves[PE_CHUNK_FRAMES + BLEP_DELAY], gains[PE_CHUNK_FRAMES];
  memcpy(ahead, s->ahead, sizeof s->ahead);
  memcpy(waves, s->waves, BLEP_DELAY * sizeof *waves);
  uint64_t increment = 0, offset = 0, width = 0;
  uint32_t begin = 0;
  if (!sync) s->syncs[0] = s->syncs[1] = s->syncs[2] = 0.0f;
  if (is_pitch_steady && is_place_steady && !sync && s->has_run) {
    increment = increment_at(s, b, at);
    offset = position_of(param_at(b, PHASE, at));
    width = position_of(param_at(b, WIDTH, at));
    if (increment == s->increment && s->position == s->phase + offset && s->low_position == s->position - width) {
      advance_steadily(s, ahead, shape, width, waves + BLEP_DELAY, n);
      begin = n;
    }
  }
  for (uint32_t i = begin; i < n; i++) {
    if (i == 0 || !is_pitch_steady) increment = increment_at(s, b, at + i);
    if (i == 0 || !is_place_steady) {
      offset = position_of(param_at(b, PHASE, at + i));
      width = position_of(param_at(b, WIDTH, at + i));
    }
    const float now = sync ? pe_taken(sync[i]) : 0.0f;
    if (s->has_run) {
      advance(s, ahead + i, shape, sync_at(s->syncs, now), offset, width);
    } else {
      s->position = offset;
      s->low_position = offset - width;
      s->syncs[0] = s->syncs[1] = now;
    }
    waves[BLEP_DELAY + i] = (float)wave_of(shape, s->position, s->low_position);
    s->syncs[2] = s->syncs[1];
    s->syncs[1] = s->syncs[0];
    s->syncs[0] = now;
    s->increment = increment;
    s->has_run = 1;
  }
  memcpy(s->ahead, ahead + n, sizeof s->ahead);
  memcpy(s->waves, waves + n, BLEP_DELAY * sizeof *waves);
  pe_levels(b, params, GAIN, at, n, gains);
  float *restrict out = b->outputs[0] + at;
  for (uint32_t i = 0; i < n; i++) out[i] = gains[i] * (waves[i] + ahead[i]);
}

PE_RT static void PE_SIMD_NAME(osc_process)(void *state, const PeBlock *b) {
  for (uint32_t at = 0; at < b->n_frames; at += PE_CHUNK_FRAMES) osc_chunk(state, b, at, pe_chunk_at(at, b->n_frames));
}

#undef Move
#undef add_step
#undef add_slope
#undef wrap
#undef move
#undef sync_at
#undef move_synced
#undef advance
#undef waves_of
#undef advance_steadily
#undef osc_chunk
