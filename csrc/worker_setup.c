#include <stdlib.h>

#include "checkpoint.h"
#include "thread_setup.h"
#include "worker.h"

#define RETIRED_CAPACITY 64u
#define WATCH_NS 150000u /* how long a hand-over is watched before it is slept for */

static PeStatus worker_fill(PeWorker *w) {
  const PeConfig *c = &w->segment->config;
  w->scratch = calloc((size_t)c->block_frames * c->n_channels, sizeof *w->scratch);
  const uint64_t bytes = pe_ring_bytes(sizeof(PeRetired), RETIRED_CAPACITY);
  w->retired_memory = aligned_alloc(64, bytes);
  if (w->scratch == NULL || w->retired_memory == NULL) return PE_NO_MEMORY;
  const PeStatus status = pe_ring_init(w->retired_memory, bytes, sizeof(PeRetired), RETIRED_CAPACITY);
  return status == PE_OK ? pe_ring_attach(w->retired_memory, bytes, &w->retired) : status;
}

PeStatus pe_worker_new(PeSegment *segment, uint32_t seat, PeWorker **worker) {
  *worker = NULL;
  if (seat >= PE_SEATS) return PE_BAD_ARGUMENT;
  PeWorker *w = calloc(1, sizeof *w);
  if (w == NULL) return PE_NO_MEMORY;
  w->segment = segment;
  w->shared = &segment->seats[seat];
  w->seat = seat;
  pe_meter_init(&w->meter, segment, seat);
  pe_pace_init(&w->pace, segment->config.sample_rate_hz, segment->config.block_frames, segment->config.lead_blocks);
  const PeStatus status = worker_fill(w);
  if (status != PE_OK) {
    pe_worker_free(w);
    return status;
  }
  *worker = w;
  return PE_OK;
}

PeStatus pe_worker_start(PeWorker *w, int32_t priority, uint32_t *is_realtime) {
  if (w->is_started) return PE_BUSY;
  w->checkpoint_served = atomic_load_explicit(&w->shared->checkpoint_request, memory_order_acquire); /* a predecessor's */
  atomic_store_explicit(&w->shared->marker, 0, memory_order_relaxed);                 /* ordered by render_head */
  atomic_store_explicit(&w->shared->build_marker, 0, memory_order_relaxed);           /* ordered by render_head */
  atomic_store_explicit(&w->shared->generation, 0, memory_order_relaxed);             /* ordered by render_head */
  atomic_store_explicit(&w->shared->applied, 0, memory_order_release);                /* nothing yet: before we are taken for alive */
  atomic_store_explicit(&w->shared->render_head, 0, memory_order_release);            /* nothing yet: before we are taken for alive */
  pe_rest_end(w->segment, w->seat); /* a predecessor's */
  for (uint32_t i = 0; i < PE_SLOT_COUNTERS; i++) pe_counter_set(&w->shared->counters[i], 0);
  if (!pe_thread_start(&w->thread, pe_worker_main, w, "pe-render", priority, &w->is_realtime)) return PE_NO_THREAD;
  w->is_started = 1;
  *is_realtime = (uint32_t)w->is_realtime;
  return PE_OK;
}

void pe_worker_stop(PeWorker *w) {
  if (!w->is_started) return;
  pe_seat_set_shutdown(w->segment, w->seat, 1);
  pthread_join(w->thread, NULL);
  w->is_started = 0;
}

void pe_worker_collect(PeWorker *w) {
  void *place;
  while (w->retired && pe_ring_peek(w->retired, 1, &place) == 1) {
    const PeRetired r = *(const PeRetired *)place;
    pe_ring_release(w->retired, 1);
    pe_plan_free(r.plan);
    pe_run_free(r.run);
    pe_join_free(r.join);
  }
}

void pe_worker_free(PeWorker *w) {
  if (w == NULL) return;
  pe_worker_stop(w);
  pe_worker_collect(w);
  pe_plan_free(atomic_exchange_explicit(&w->armed, NULL, memory_order_acq_rel)); /* no render thread any more */
  pe_join_free(atomic_exchange_explicit(&w->joining, NULL, memory_order_acq_rel));  /* no render thread any more */
  pe_run_free(w->run);
  free(w->scratch);
  free(w->retired_memory);
  free(w);
}

/* Nothing else is on its way to the render thread, and everything in flight finds room in the ring of what is to be freed. */
static int is_free(PeWorker *w) {
  pe_worker_collect(w);
  return pe_ring_writable(w->retired) >= RETIRED_CAPACITY / 2 &&
         atomic_load_explicit(&w->armed, memory_order_acquire) == NULL &&   /* and see the plan that is run now */
         atomic_load_explicit(&w->joining, memory_order_acquire) == NULL;   /* and see the run that is run now */
}

/* Buffers and scratch memory are sized for the segment's blocks. */
static int fits(const PeWorker *w, const PePlan *plan) {
  const PeConfig *c = &w->segment->config;
  return plan->max_block_frames == c->block_frames && plan->n_channels == c->n_channels && plan->sample_rate_hz == c->sample_rate_hz;
}

PeStatus pe_worker_arm(PeWorker *w, PePlan *plan, uint64_t generation, uint32_t fade_frames) {
  PeStatus status = !fits(w, plan) ? PE_BAD_ARGUMENT : !is_free(w) ? PE_BUSY : PE_OK;
  /* The running plan changes only by arming or joining, and both come through this thread: it may be read here. */
  if (status == PE_OK) status = w->run ? pe_plan_match(plan, w->run->plan) : PE_BUSY;
  if (status != PE_OK) {
    pe_plan_free(plan);
    return status;
  }
  plan->generation = generation;
  plan->fade_frames = fade_frames;
  atomic_store_explicit(&w->armed, plan, memory_order_release); /* whole before it is seen */
  return PE_OK;
}

void pe_worker_disarm(PeWorker *w) {
  PePlan *plan = atomic_load_explicit(&w->armed, memory_order_acquire); /* what we stored */
  if (plan == pe_turning(w)) return;
  if (atomic_compare_exchange_strong_explicit(&w->armed, &plan, NULL, memory_order_acq_rel, /* ours again */
                                              memory_order_acquire))                       /* it is turned to */
    pe_plan_free(plan);
}

PeStatus pe_worker_warmup(PeWorker *w, PePlan *plan, uint32_t n_blocks, const volatile uint32_t *stop, PeWarmup *result) {
  return pe_plan_measure(plan, n_blocks, w->segment->config.block_frames, stop, &w->shared->build_marker, result);
}

/* ---- joining ---------------------------------------------------------------------------------- */

PeStatus pe_join_new(PePlan *plan, uint64_t generation, PeJoin **join) {
  *join = calloc(1, sizeof **join);
  const PeStatus status = *join ? pe_run_new(plan, generation, &(*join)->run) : PE_NO_MEMORY;
  if (status == PE_OK) {
    plan->generation = generation;
    return PE_OK;
  }
  pe_plan_free(plan);
  free(*join);
  *join = NULL;
  return status;
}

PeStatus pe_join_load(PeJoin *join, PeSegment *segment, uint64_t generation, uint64_t below, uint64_t last_block) {
  return pe_checkpoint_load(segment, generation, below, last_block, join->run, &join->block);
}

PeStatus pe_join_restart(PeJoin *join, PeSegment *segment, uint64_t block, uint64_t base) {
  /* Before it may propose for a block, a worker must have obeyed the one before: decisions never go back. */
  const uint64_t before = block > 0 ? pe_journal_read(segment, block - 1) : 0;
  if (before == PE_JOURNAL_STALE) return PE_STALE;
  join->run->applied = before > base ? before : base;
  join->run->schedule.n = 0;
  join->block = block;
  return PE_OK;
}

PeStatus pe_join_then(PeJoin *join, PePlan *plan, uint64_t generation, uint32_t fade_frames) {
  PePlan **then = realloc(join->then, sizeof *then * (join->n_then + 1));
  if (then == NULL) {
    pe_plan_free(plan);
    return PE_NO_MEMORY;
  }
  plan->generation = generation;
  plan->fade_frames = fade_frames;
  join->then = then;
  join->then[join->n_then++] = plan;
  return PE_OK;
}

uint64_t pe_join_block(const PeJoin *join) { return join->block; }

double pe_join_value(const PeJoin *join, uint32_t handle, uint32_t param) {
  const PePlan *plan = join->run->plan;
  const PeStep *step = pe_plan_find(plan, handle);
  if (step == NULL || param >= step->module->n_params) return 0.0;
  const PeSampledParam *sampled = pe_sampled_find(step, param);
  return sampled ? sampled->state->set : step->params[param].target;
}

void pe_join_free(PeJoin *join) {
  if (join == NULL) return;
  pe_run_free(join->run);
  for (uint32_t i = join->at_then; i < join->n_then; i++) pe_plan_free(join->then[i]);
  free(join->then);
  free(join);
}

/* At a SWITCH record: to the next plan, if it is the one that is meant. A commit that was refused has none. */
static PeStatus turn_join(PeJoin *join, uint64_t generation) {
  if (join->at_then == join->n_then || join->then[join->at_then]->generation != generation) return PE_OK;
  PePlan *plan = join->then[join->at_then];
  const PeStatus status = pe_plan_match(plan, join->run->plan);
  if (status != PE_OK) return status;
  join->at_then++;
  pe_plan_free(pe_run_turn(join->run, plan));
  return PE_OK;
}

static PeStatus take_join(PeSegment *s, PeJoin *join, uint64_t upto, int64_t first_frame) {
  PeRun *run = join->run;
  PeStatus status = PE_OK;
  for (; status == PE_OK && run->applied < upto; run->applied++) {
    const PeCommand *c = pe_stream_record(s, run->applied + 1);
    if (c->seq != run->applied + 1) return PE_STALE;
    if (c->kind == PE_COMMAND_SWITCH)
      status = turn_join(join, c->arg);
    else
      pe_run_take(run, c, first_frame);
  }
  return status;
}

/* Is there a block to be caught up with? With a running plan: all that it has rendered; without: all that was played. */
static int lags(const PeWorker *w, const PeJoin *join) {
  const PeSegment *s = w->segment;
  if (w->run) return join->block < atomic_load_explicit(&w->shared->render_head, memory_order_acquire); /* decided up to there */
  return join->block < atomic_load_explicit(&s->play_block, memory_order_acquire); /* decided up to there */
}

/* Render the joining run up to the present, from decisions that stand already. */
static PeStatus catch_up(PeWorker *w, PeJoin *join, uint64_t deadline_ns) {
  PeSegment *s = w->segment;
  const uint32_t n_frames = s->config.block_frames;
  float *data = calloc((size_t)n_frames * s->config.n_channels, sizeof *data);
  if (data == NULL) return PE_NO_MEMORY;
  float *planes[PE_MAX_CHANNELS];
  for (uint32_t c = 0; c < s->config.n_channels; c++) planes[c] = data + (size_t)c * n_frames;
  PeStatus status = PE_OK;
  while (status == PE_OK && lags(w, join)) {
    const int64_t first_frame = (int64_t)(join->block * n_frames);
    const uint64_t upto = pe_journal_read(s, join->block);
    status = upto == PE_JOURNAL_STALE || pe_now_ns() > deadline_ns ? PE_STALE : take_join(s, join, upto, first_frame);
    if (status != PE_OK) break;
    pe_plan_free(pe_run_render(join->run, first_frame, n_frames, planes, &w->shared->build_marker));
    join->block++;
  }
  free(data);
  return status;
}

/* Was the SWITCH to this plan sent, though the run has not come to it? */
static int is_on_its_way(PeSegment *s, const PeRun *run, uint64_t generation) {
  const uint64_t newest = atomic_load_explicit(&s->newest, memory_order_acquire); /* and the records up to it */
  for (uint64_t seq = run->applied + 1; seq <= newest; seq++) {
    const PeCommand *c = pe_stream_record(s, seq);
    if (c->seq == seq && c->kind == PE_COMMAND_SWITCH && c->arg == generation) return 1;
  }
  return 0;
}

/* All of the chain was met on the way; or all but the last plan, whose SWITCH lies at a block that is due or was not
 * played yet: then the render thread, which has nothing else to turn to, turns to it there. */
static PeStatus finish_chain(PeWorker *w, PeJoin *join) {
  if (join->at_then == join->n_then) return PE_OK;
  PePlan *plan = join->then[join->at_then];
  if (w->run || join->n_then - join->at_then > 1 || !is_on_its_way(w->segment, join->run, plan->generation)) return PE_STALE;
  const PeStatus status = pe_plan_match(plan, join->run->plan);
  if (status != PE_OK) return status;
  join->at_then++;
  atomic_store_explicit(&w->armed, plan, memory_order_release); /* whole before the run is there that turns to it */
  return PE_OK;
}

static int is_handed_over(PeWorker *w, const PeJoin *join) { return atomic_load_explicit(&w->joining, memory_order_acquire) != join; /* taken */ }

/* The render thread takes it within microseconds, if it is not in a block: sooner than this thread would go to sleep and be woken. */
static void watch(PeWorker *w, const PeJoin *join) {
  const uint64_t until = pe_now_ns() + WATCH_NS;
  while (!is_handed_over(w, join) && pe_now_ns() < until) {}
}

static PeStatus hand_over(PeWorker *w, PeJoin *join, uint64_t deadline_ns) {
  atomic_store_explicit(&w->joining, join, memory_order_release); /* whole before it is seen; theirs from here on */
  pe_wake(&w->segment->work);
  watch(w, join);
  while (!is_handed_over(w, join)) {
    const uint32_t seen = pe_wake_seen(&w->segment->signal);
    pe_wake(&w->segment->work);
    if (is_handed_over(w, join)) break; /* between the two looks */
    const int is_over = atomic_load_explicit(&w->shared->shutdown, memory_order_acquire) != 0; /* nobody takes it any more */
    if (is_over || pe_now_ns() > deadline_ns) return PE_BUSY; /* it stays handed over: the render thread may be in it */
    pe_wake_wait(&w->segment->signal, seen, 1000000u);
  }
  return join->is_stale ? PE_STALE : PE_OK; /* only pe_worker_collect frees it, in this thread */
}

PeStatus pe_worker_join(PeWorker *w, PeJoin *join, uint32_t timeout_ms) {
  const uint64_t deadline_ns = pe_now_ns() + (uint64_t)timeout_ms * 1000000u;
  PeStatus status = !is_free(w) ? PE_BUSY : !fits(w, join->run->plan) ? PE_BAD_ARGUMENT : PE_OK;
  for (uint32_t i = 0; i < join->n_then && status == PE_OK; i++) status = fits(w, join->then[i]) ? PE_OK : PE_BAD_ARGUMENT;
  if (status == PE_OK) status = catch_up(w, join, deadline_ns);
  if (status == PE_OK) status = finish_chain(w, join);
  if (status == PE_OK) return hand_over(w, join, deadline_ns);
  pe_join_free(join);
  return status;
}

PeStatus pe_worker_park(PeWorker *w, uint32_t timeout_ms) {
  if (!is_free(w)) return PE_BUSY;
  PeJoin *join = calloc(1, sizeof *join);
  if (join == NULL) return PE_NO_MEMORY;
  return hand_over(w, join, pe_now_ns() + (uint64_t)timeout_ms * 1000000u);
}
