/* Offline rendering: the run of render.c, with commands at known frames and no clock. */
#include <stdlib.h>

#include "render.h"

static void interleave(const float *planar, uint32_t stride, uint32_t n_channels, uint32_t n_frames, float *out) {
  for (uint32_t c = 0; c < n_channels; c++)
    for (uint32_t f = 0; f < n_frames; f++) out[(size_t)f * n_channels + c] = planar[(size_t)c * stride + f];
}

typedef struct Offline { /* kept with the plan: making it anew costs as much as some ten blocks */
  PeRun *run;
  float *planar; /* [n_channels][max_block_frames] */
} Offline;

static void offline_free(void *memory) {
  Offline *o = memory;
  if (o->run) o->run->plan = NULL; /* it belongs to whoever frees it */
  pe_run_free(o->run);
  free(o->planar);
  free(o);
}

static PeStatus offline_of(PePlan *plan, Offline **offline) {
  *offline = plan->offline_run;
  if (*offline) return PE_OK;
  Offline *o = calloc(1, sizeof *o);
  if (o == NULL) return PE_NO_MEMORY;
  o->planar = calloc((size_t)plan->n_channels * plan->max_block_frames, sizeof *o->planar);
  const PeStatus status = o->planar ? pe_run_new(plan, 0, &o->run) : PE_NO_MEMORY;
  if (status != PE_OK) {
    offline_free(o);
    return status;
  }
  plan->offline_run = *offline = o;
  plan->offline_free = offline_free;
  return PE_OK;
}

PeStatus pe_render_offline(PePlan *plan, const PeCommand *commands, uint32_t n_commands, uint64_t n_frames,
                           uint32_t block_frames, float *out) {
  if (block_frames == 0 || block_frames > plan->max_block_frames || n_frames > INT64_MAX) return PE_BAD_ARGUMENT;
  Offline *offline;
  const PeStatus status = offline_of(plan, &offline);
  if (status != PE_OK) return status;
  PeRun *run = offline->run;
  float *planar = offline->planar, *planes[PE_MAX_CHANNELS];
  _Atomic uint32_t marker = 0;
  for (uint32_t c = 0; c < plan->n_channels; c++) planes[c] = planar + (size_t)c * block_frames;
  uint32_t taken = 0;
  const PeFpMode mode = pe_fp_enter(); /* once for all blocks */
  for (uint64_t at = 0, edge = block_frames; at < n_frames;) {
    uint64_t end = edge < n_frames ? edge : n_frames;
    for (; taken < n_commands && commands[taken].frame < (int64_t)end; taken++) {
      if (commands[taken].frame > (int64_t)at && run->schedule.n == PE_SCHEDULE_SIZE) break;
      PeCommand command = commands[taken];
      command.seq = taken + 1; /* their order here is their order of effect */
      pe_run_take(run, &command, (int64_t)at);
    }
    if (taken < n_commands && commands[taken].frame < (int64_t)end) end = (uint64_t)commands[taken].frame; /* the schedule is full */
    if (plan->n_channels == 1) planes[0] = out + at;
    pe_run_render(run, (int64_t)at, (uint32_t)(end - at), planes, &marker);
    if (plan->n_channels > 1) interleave(planar, block_frames, plan->n_channels, (uint32_t)(end - at), out + at * plan->n_channels);
    at = end;
    if (at == edge) edge += block_frames;
  }
  pe_fp_leave(mode);
  return PE_OK;
}
