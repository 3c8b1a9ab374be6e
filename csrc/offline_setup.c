/* Offline rendering: the run of render.c, with commands at known frames and no clock. */
#include <stdlib.h>

#include "render.h"

static void interleave(const float *planar, uint32_t stride, uint32_t n_channels, uint32_t n_frames, float *out) {
  for (uint32_t c = 0; c < n_channels; c++)
    for (uint32_t f = 0; f < n_frames; f++) out[(size_t)f * n_channels + c] = planar[(size_t)c * stride + f];
}

PeStatus pe_render_offline(PePlan *plan, const PeCommand *commands, uint32_t n_commands, uint64_t n_frames,
                           uint32_t block_frames, float *out) {
  if (block_frames == 0 || block_frames > plan->max_block_frames || n_frames > INT64_MAX) return PE_BAD_ARGUMENT;
  PeRun *run;
  const PeStatus status = pe_run_new(plan, 0, &run);
  if (status != PE_OK) return status;
  float *planar = calloc((size_t)plan->n_channels * block_frames, sizeof *planar);
  float *planes[PE_MAX_CHANNELS];
  _Atomic uint32_t marker = 0;
  for (uint32_t c = 0; planar && c < plan->n_channels; c++) planes[c] = planar + (size_t)c * block_frames;
  uint32_t taken = 0;
  const PeFpMode mode = pe_fp_enter(); /* once for all blocks */
  for (uint64_t at = 0; planar && at < n_frames;) {
    const uint64_t edge = (at / block_frames + 1) * block_frames;
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
  }
  pe_fp_leave(mode);
  run->plan = NULL; /* the caller's */
  pe_run_free(run);
  free(planar);
  return planar ? PE_OK : PE_NO_MEMORY;
}
