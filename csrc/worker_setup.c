#include <stdlib.h>

#include "checkpoint.h"
#include "thread_setup.h"
#include "worker.h"

#define RETIRED_CAPACITY 64u

static PeStatus empty_plan(const PeWorker *w, PePlan **plan) {
  const PePlanSpec spec = {.sample_rate_hz = w->segment->config.sample_rate_hz,
                           .max_block_frames = w->segment->config.block_frames,
                           .n_channels = w->segment->config.n_channels};
  return pe_plan_new(w->registry, &spec, plan);
}

static PeStatus worker_fill(PeWorker *w) {
  const PeConfig *c = &w->segment->config;
  PePlan *plan = NULL;
  PeStatus status = empty_plan(w, &plan);
  if (status != PE_OK) return status;
  status = pe_run_new(plan, 0, &w->run);
  if (status != PE_OK) {
    pe_plan_free(plan);
    return status;
  }
  w->scratch = calloc((size_t)c->block_frames * c->n_channels, sizeof *w->scratch);
  const uint64_t bytes = pe_ring_bytes(sizeof(PeRetired), RETIRED_CAPACITY);
  w->retired_memory = aligned_alloc(64, bytes);
  if (w->scratch == NULL || w->retired_memory == NULL) return PE_NO_MEMORY;
  status = pe_ring_init(w->retired_memory, bytes, sizeof(PeRetired), RETIRED_CAPACITY);
  return status == PE_OK ? pe_ring_attach(w->retired_memory, bytes, &w->retired) : status;
}

PeStatus pe_worker_new(PeSegment *segment, uint32_t slot, const PeRegistry *registry, PeWorker **worker) {
  *worker = NULL;
  if (slot >= PE_SLOTS) return PE_BAD_ARGUMENT;
  PeWorker *w = calloc(1, sizeof *w);
  if (w == NULL) return PE_NO_MEMORY;
  w->segment = segment;
  w->shared = &segment->slots[slot];
  w->registry = registry;
  w->slot = slot;
  const PeStatus status = worker_fill(w);
  if (status != PE_OK) {
    pe_worker_free(w);
    return status;
  }
  *worker = w;
  return PE_OK;
}

/* How long a sleeping worker may miss that a block was played. Where the clock wakes (free-running) it is only a
 * safety net; elsewhere the callback makes no system call, so it is a share of the period that leaves time to render. */
static uint64_t wait_ns_of(const PeConfig *c) {
  if (c->is_free_running) return 20000000u;
  const double period_ns = 1.0e9 * c->block_frames / c->sample_rate_hz;
  const double share = c->lead_blocks > 1 ? 0.5 : 0.25;
  return (uint64_t)(period_ns * share);
}

PeStatus pe_worker_start(PeWorker *w, uint64_t first_block, uint64_t base_seq, int32_t priority, uint32_t *is_realtime) {
  if (w->is_started) return PE_BUSY;
  w->head = first_block;
  /* Before it may propose for a block, a worker must have obeyed the one before: decisions never go back. */
  const uint64_t before = first_block > 0 ? pe_journal_read(w->segment, first_block - 1) : 0;
  if (before == PE_JOURNAL_STALE) return PE_STALE;
  w->run->applied = before > base_seq ? before : base_seq;
  w->wait_ns = wait_ns_of(&w->segment->config);
  w->checkpoint_served = atomic_load_explicit(&w->shared->checkpoint_request, memory_order_acquire); /* a predecessor's */
  atomic_store_explicit(&w->shared->generation, 0, memory_order_relaxed);             /* ordered by render_head */
  atomic_store_explicit(&w->shared->applied, w->run->applied, memory_order_release);  /* before we are taken for alive */
  atomic_store_explicit(&w->shared->render_head, first_block, memory_order_release);  /* before we are taken for alive */
  if (!pe_thread_start(&w->thread, pe_worker_main, w, "pe-render", priority, &w->is_realtime)) return PE_NO_THREAD;
  w->is_started = 1;
  *is_realtime = (uint32_t)w->is_realtime;
  return PE_OK;
}

void pe_worker_stop(PeWorker *w) {
  if (!w->is_started) return;
  pe_slot_set_shutdown(w->segment, w->slot, 1);
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
    free(r.join);
  }
}

void pe_worker_free(PeWorker *w) {
  if (w == NULL) return;
  pe_worker_stop(w);
  pe_worker_collect(w);
  pe_plan_free(atomic_exchange_explicit(&w->armed, NULL, memory_order_acq_rel)); /* no render thread any more */
  PeJoin *join = atomic_exchange_explicit(&w->joining, NULL, memory_order_acq_rel); /* no render thread any more */
  if (join) pe_run_free(join->run);
  free(join);
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
  if (status == PE_OK) status = pe_plan_match(plan, w->run->plan);
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

/* Render the joining run up to the render thread's head, from decisions that stand already. */
static PeStatus catch_up(PeWorker *w, PeJoin *join, uint64_t deadline_ns) {
  PeSegment *s = w->segment;
  const uint32_t n_frames = s->config.block_frames;
  float *data = calloc((size_t)n_frames * s->config.n_channels, sizeof *data);
  if (data == NULL) return PE_NO_MEMORY;
  float *planes[PE_MAX_CHANNELS];
  for (uint32_t c = 0; c < s->config.n_channels; c++) planes[c] = data + (size_t)c * n_frames;
  _Atomic uint32_t marker = 0;
  PeStatus status = PE_OK;
  while (status == PE_OK && join->block < atomic_load_explicit(&w->shared->render_head, memory_order_acquire)) { /* decided up to there */
    const uint64_t upto = pe_journal_read(s, join->block);
    if (upto == PE_JOURNAL_STALE || pe_now_ns() > deadline_ns) {
      status = PE_STALE;
      break;
    }
    const int64_t first_frame = (int64_t)(join->block * n_frames);
    for (; join->run->applied < upto; join->run->applied++) {
      const PeCommand *c = pe_stream_record(s, join->run->applied + 1);
      if (c->kind != PE_COMMAND_SWITCH) pe_run_take(join->run, c, first_frame);
    }
    pe_run_render(join->run, first_frame, n_frames, planes, &marker);
    join->block++;
  }
  free(data);
  return status;
}

static PeStatus hand_over(PeWorker *w, PeJoin *join, uint64_t deadline_ns) {
  atomic_store_explicit(&w->joining, join, memory_order_release); /* whole before it is seen; theirs from here on */
  while (atomic_load_explicit(&w->joining, memory_order_acquire) == join) { /* taken when it is gone */
    const uint32_t seen = pe_wake_seen(&w->segment->signal);
    pe_wake(&w->segment->work);
    if (atomic_load_explicit(&w->joining, memory_order_acquire) != join) break; /* taken between the two looks */
    const int is_over = atomic_load_explicit(&w->shared->shutdown, memory_order_acquire) != 0; /* nobody takes it any more */
    if (is_over || pe_now_ns() > deadline_ns) return PE_BUSY; /* it stays handed over: the render thread may be in it */
    pe_wake_wait(&w->segment->signal, seen, 1000000u);
  }
  return join->is_stale ? PE_STALE : PE_OK; /* only pe_worker_collect frees it, in this thread */
}

PeStatus pe_worker_join(PeWorker *w, PePlan *plan, uint64_t generation, uint32_t timeout_ms) {
  const uint64_t deadline_ns = pe_now_ns() + (uint64_t)timeout_ms * 1000000u;
  PeRun *run = NULL;
  PeJoin *join = NULL;
  PeStatus status = !fits(w, plan) ? PE_BAD_ARGUMENT : !is_free(w) ? PE_BUSY : PE_OK;
  if (status == PE_OK) status = pe_run_new(plan, generation, &run);
  if (status != PE_OK) {
    pe_plan_free(plan);
    return status;
  }
  plan->generation = generation;
  join = calloc(1, sizeof *join);
  status = join ? PE_OK : PE_NO_MEMORY;
  if (status == PE_OK) {
    join->run = run;
    status = pe_checkpoint_load(w->segment, run, &join->block);
  }
  if (status == PE_OK) status = catch_up(w, join, deadline_ns);
  if (status == PE_OK) return hand_over(w, join, deadline_ns);
  pe_run_free(run);
  free(join);
  return status;
}
