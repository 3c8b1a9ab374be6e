/* Replay: the runs of render.c and the declick of swap.c outside any engine, for a session log. */
#include <stdlib.h>
#include <string.h>

#include "render.h"
#include "swap.h"

struct PeReplay {
  PeRun *run;
  float *planes; /* [n_channels][max_block_frames] */
};

struct PeReplayOut {
  PeDeclick declick;
  uint32_t  n_channels;
};

PeStatus pe_replay_new(PePlan *plan, uint64_t generation, PeReplay **replay) {
  *replay = NULL;
  PeReplay *r = calloc(1, sizeof *r);
  float *planes = calloc((size_t)plan->n_channels * plan->max_block_frames, sizeof *planes);
  PeRun *run = NULL;
  const PeStatus status = r && planes ? pe_run_new(plan, generation, &run) : PE_NO_MEMORY;
  if (status != PE_OK) {
    free(planes);
    free(r);
    pe_plan_free(plan);
    return status;
  }
  plan->generation = generation;
  r->run = run;
  r->planes = planes;
  *replay = r;
  return PE_OK;
}

void pe_replay_free(PeReplay *r) {
  if (r == NULL) return;
  pe_run_free(r->run);
  free(r->planes);
  free(r);
}

PeStatus pe_replay_load(PeReplay *r, const void *image, uint64_t bytes) {
  PeRun *run = r->run;
  const unsigned char *at = image;
  PeCheckpointInfo info;
  uint32_t counts[2]; /* scheduled commands; has it run */
  if (bytes < sizeof info + sizeof counts) return PE_BAD_CHECKPOINT;
  memcpy(&info, at, sizeof info);
  memcpy(counts, at + sizeof info, sizeof counts);
  at += sizeof info + sizeof counts;
  const uint64_t schedule_bytes = (uint64_t)counts[0] * sizeof(PeCommand);
  if (counts[0] > PE_SCHEDULE_SIZE || info.state_bytes != run->plan->state_bytes || run->fading ||
      bytes != sizeof info + sizeof counts + schedule_bytes + info.state_bytes)
    return PE_BAD_CHECKPOINT;
  run->schedule.n = counts[0];
  memcpy(run->schedule.heap, at, (size_t)schedule_bytes);
  memcpy(run->plan->states, at + schedule_bytes, (size_t)info.state_bytes);
  run->plan->has_run = counts[1] != 0;
  pe_plan_touched(run->plan);
  run->applied = info.seq;
  return PE_OK;
}

static PeStatus copy_states(PePlan *to, PePlan *from) {
  if (to->state_bytes != from->state_bytes || to->n_steps != from->n_steps) return PE_BAD_ARGUMENT;
  for (uint32_t i = 0; i < to->n_steps; i++)
    if (to->steps[i].handle != from->steps[i].handle || to->steps[i].module != from->steps[i].module) return PE_BAD_ARGUMENT;
  for (uint32_t i = 0; i < to->n_steps; i++) to->steps[i].is_carried = from->steps[i].is_carried;
  pe_plan_settle(from);
  memcpy(to->states, from->states, (size_t)from->state_bytes);
  to->has_run = from->has_run;
  pe_plan_touched(to);
  return PE_OK;
}

PeStatus pe_replay_copy(PeReplay *r, const PeReplay *from) {
  if (from->run->fading || r->run->fading) return PE_BUSY;
  const PeStatus status = copy_states(r->run->plan, from->run->plan);
  if (status != PE_OK) return status;
  r->run->schedule = from->run->schedule;
  r->run->applied = from->run->applied;
  return PE_OK;
}

PeStatus pe_replay_restart(PeReplay *r, const PeReplay *from, uint64_t base) {
  const PeStatus status = pe_replay_copy(r, from);
  if (status != PE_OK) return status;
  r->run->schedule.n = 0;
  r->run->applied = base;
  return PE_OK;
}

void pe_replay_take(PeReplay *r, const PeCommand *commands, uint32_t n, int64_t first_frame) {
  for (uint32_t i = 0; i < n; i++) {
    if (commands[i].seq <= r->run->applied) continue;
    if (commands[i].kind != PE_COMMAND_SWITCH) pe_run_take(r->run, &commands[i], first_frame);
    r->run->applied = commands[i].seq;
  }
}

PeStatus pe_replay_turn(PeReplay *r, PePlan *plan, uint64_t generation, uint32_t fade_frames) {
  const PePlan *before = r->run->plan;
  const int fits = plan->n_channels == before->n_channels && plan->max_block_frames == before->max_block_frames;
  const PeStatus status = fits ? pe_plan_match(plan, before) : PE_BAD_ARGUMENT;
  if (status != PE_OK) {
    pe_plan_free(plan);
    return status;
  }
  plan->generation = generation;
  plan->fade_frames = fade_frames;
  pe_plan_free(pe_run_turn(r->run, plan));
  return PE_OK;
}

void pe_replay_render(PeReplay *r, int64_t first_frame, uint64_t n_frames, PeReplayOut *heard, float *out) {
  const uint32_t stride = r->run->plan->max_block_frames, n_channels = r->run->plan->n_channels;
  float *planes[PE_MAX_CHANNELS];
  _Atomic uint32_t marker = 0;
  for (uint32_t c = 0; c < n_channels; c++) planes[c] = r->planes + (size_t)c * stride;
  for (uint64_t at = 0; at < n_frames;) {
    const uint32_t n = n_frames - at < stride ? (uint32_t)(n_frames - at) : stride;
    pe_plan_free(pe_run_render(r->run, first_frame + (int64_t)at, n, planes, &marker));
    if (heard) pe_declick_put(&heard->declick, r->planes, stride, n_channels, n, out + at * n_channels);
    at += n;
  }
}

PeStatus pe_replay_out_new(double sample_rate_hz, uint32_t n_channels, PeReplayOut **out) {
  *out = NULL;
  if (n_channels == 0 || n_channels > PE_MAX_CHANNELS || !(sample_rate_hz > 0.0)) return PE_BAD_ARGUMENT;
  PeReplayOut *o = calloc(1, sizeof *o);
  if (o == NULL) return PE_NO_MEMORY;
  o->n_channels = n_channels;
  o->declick.length = (uint32_t)(PE_DECLICK_MS * sample_rate_hz / 1000.0 + 0.5); /* as in pe_output_new */
  *out = o;
  return PE_OK;
}

void pe_replay_out_free(PeReplayOut *o) { free(o); }

void pe_replay_out_declick(PeReplayOut *o) { o->declick.is_due = 1; }

void pe_replay_out_silence(PeReplayOut *o, uint64_t n_frames, float *out) {
  for (uint64_t at = 0; at < n_frames;) {
    const uint32_t n = n_frames - at < PE_MAX_BLOCK_FRAMES ? (uint32_t)(n_frames - at) : PE_MAX_BLOCK_FRAMES;
    pe_declick_put(&o->declick, NULL, 0, o->n_channels, n, out + at * o->n_channels);
    at += n;
  }
}
