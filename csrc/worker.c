/* RT: no locks, no allocation, no syscalls but the timed wait, no unbounded loops. */
#include "worker.h"

#include <string.h>

#include "checkpoint.h"
#include "hash.h"

#define LONGEST_SLEEP_NS 20000000u /* however far the next request is: signs of life, checkpoints, the end */
#define SHORTEST_SLEEP_NS 1000u
#define REST_SHARE 8u     /* what a worker at rest has to render when it is woken takes this part of a block's time at most */
#define PIECES_AT_ONCE 128u /* of a checkpoint: some 20 us */
#define JOIN_STEPS 2u /* blocks a joining run may be advanced by at one edge: it gains on the clock, bounded */

static void event(PeWorker *w, uint32_t kind, uint64_t block, uint64_t value, uint64_t hash) {
  const PeEvent e = {.kind = kind, .source = w->seat, .block = block, .generation = w->run ? w->run->generation : 0, .value = value, .hash = hash};
  pe_event_push(w->segment, &e);
}

static void retire(PeWorker *w, PePlan *plan, PeRun *run, PeJoin *join) {
  void *place;
  if (pe_ring_acquire(w->retired, 1, &place) == 0) return; /* cannot be: arming is refused while it is half full */
  *(PeRetired *)place = (PeRetired){.plan = plan, .run = run, .join = join};
  pe_ring_commit(w->retired, 1);
}

/* Tell where the running plan begins and what it continues; both before the stamp of its first block. */
static void tell_generation(PeWorker *w, uint64_t block, uint64_t before) {
  atomic_store_explicit(&w->shared->switch_block, block, memory_order_relaxed); /* ordered by the block's stamp */
  atomic_store_explicit(&w->shared->switch_from, before, memory_order_relaxed); /* ordered by the block's stamp */
  atomic_store_explicit(&w->shared->generation, w->run ? w->run->generation : 0, memory_order_release); /* after the block it begins at */
}

/* Turn to the armed plan if it is the one the record names. */
static void turn(PeWorker *w, uint64_t generation, uint64_t block) {
  if (atomic_load_explicit(&w->armed, memory_order_relaxed) == NULL) return; /* the active worker: goes on with what it has */
  PePlan *plan = atomic_exchange_explicit(&w->armed, pe_turning(w), memory_order_acq_rel); /* ours alone, and all that is in it */
  const int is_it = plan != NULL && plan->generation == generation; /* NULL: disarmed between the two looks */
  const uint64_t before = w->run->generation;
  if (is_it) pe_checkpoint_drop(&w->writing);
  PePlan *done = is_it ? pe_run_turn(w->run, plan) : plan;
  atomic_store_explicit(&w->armed, NULL, memory_order_release); /* the running plan is the new one before another is armed */
  if (done) retire(w, done, NULL, NULL);
  if (!is_it) return;
  tell_generation(w, block, before);
  event(w, PE_EVENT_SWITCHED, block, 0, 0);
}

/* Take all records up to the decision, in order. `may_turn`: this is the thread's running plan. 0: a record is gone,
 * which only a worker finds that slept for long and was given up. */
static int take_records(PeWorker *w, PeRun *run, uint64_t upto, uint64_t block, int may_turn) {
  const int64_t first_frame = (int64_t)(block * w->segment->config.block_frames);
  while (run->applied < upto) {
    const PeCommand *c = pe_stream_record(w->segment, run->applied + 1);
    if (c->seq != run->applied + 1) return 0;
    if (c->kind != PE_COMMAND_SWITCH)
      pe_run_take(run, c, first_frame);
    else if (may_turn)
      turn(w, c->arg, block);
    run->applied++;
  }
  return 1;
}

static uint64_t play_block(const PeWorker *w) {
  return atomic_load_explicit(&w->segment->play_block, memory_order_acquire); /* the ring place was read */
}

static void planes_of(const PeWorker *w, float *data, float **planes) {
  for (uint32_t c = 0; c < w->segment->config.n_channels; c++) planes[c] = data + (size_t)c * w->segment->config.block_frames;
}

/* Does the ring lack this block? What a predecessor published of this generation stays: it may be read at this moment. */
static int wants_block(PeWorker *w, uint64_t block) {
  uint64_t generation;
  if (block < atomic_load_explicit(&w->segment->play_block, memory_order_acquire)) { /* its frames were read */
    pe_counter_add(&w->shared->counters[PE_SLOT_COUNT_DISCARDED], 1);
    return 0;
  }
  if (pe_block_is_there(w->segment, w->seat, block, &generation) && generation == w->run->generation) {
    pe_counter_add(&w->shared->counters[PE_SLOT_COUNT_KEPT], 1);
    return 0;
  }
  return 1;
}

static void publish_counters(PeWorker *w, uint64_t took_ns) {
  PeCounter *c = w->shared->counters;
  pe_counter_add(&c[PE_SLOT_COUNT_BLOCKS], 1);
  pe_counter_set(&c[PE_SLOT_COUNT_LATE_COMMANDS], w->run->n_late);
  pe_counter_set(&c[PE_SLOT_COUNT_SCHEDULE_FULL], w->run->n_schedule_full);
  pe_counter_set(&c[PE_SLOT_COUNT_UNKNOWN_HANDLE], w->run->n_unknown);
  pe_counter_set(&c[PE_SLOT_COUNT_REFUSED_VALUE], w->run->n_refused);
  pe_counter_set(&c[PE_SLOT_COUNT_NOT_FINITE], w->run->n_not_finite);
  pe_counter_set(&c[PE_SLOT_COUNT_EMIT_FULL], w->run->n_emit_full);
  pe_counter_max(&c[PE_SLOT_COUNT_WORST_RENDER_NS], took_ns);
}

static int is_silent(const PeWorker *w, const float *block) { /* not even -0 */
  uint32_t bits = 0;
  const uint32_t n = w->segment->config.block_frames * w->segment->config.n_channels;
  for (uint32_t f = 0; f < n && bits == 0; f++) memcpy(&bits, &block[f], sizeof bits);
  return bits == 0;
}

/* Render block `block` of the running plan, into the ring if it is wanted there; returns whether it is silent. */
static int render_block(PeWorker *w, uint64_t block) {
  PeSegment *s = w->segment;
  const uint32_t n_frames = s->config.block_frames;
  float *planes[PE_MAX_CHANNELS];
  PeBlockHead *h = pe_block_head(s, w->seat, block);
  const int is_wanted = w->rest == PE_AWAKE || block >= play_block(w) ? wants_block(w, block) : 0; /* the others were played as silence */
  const uint64_t was_not_finite = w->run->n_not_finite;
  if (is_wanted) {
    atomic_store_explicit(&h->stamp, 0, memory_order_relaxed); /* invalid, made visible before the data by the fence */
    atomic_thread_fence(memory_order_release);
  }
  planes_of(w, is_wanted ? pe_block_data(s, w->seat, block) : w->scratch, planes);
  PePlan *plan = w->run->plan;
  plan->meter = pe_meter_begin(&w->meter, s, w->seat, w->run->generation, block, plan->n_steps);
  PePlan *done = pe_run_render(w->run, (int64_t)(block * n_frames), n_frames, planes, &w->shared->marker);
  plan->meter = NULL;
  if (is_wanted) {
    const uint64_t hash = pe_hash(planes[0], sizeof(float) * n_frames * s->config.n_channels);
    atomic_store_explicit(&h->hash, hash, memory_order_relaxed);                     /* ordered by the stamp */
    atomic_store_explicit(&h->generation, w->run->generation, memory_order_relaxed); /* ordered by the stamp */
    atomic_store_explicit(&h->stamp, block + 1, memory_order_release); /* the data is whole before it is there */
  }
  if (was_not_finite == 0 && w->run->n_not_finite > 0) event(w, PE_EVENT_NOT_FINITE, block, w->run->n_not_finite, 0);
  if (done) {
    retire(w, done, NULL, NULL);
    event(w, PE_EVENT_FADED, block + 1, 0, 0);
  }
  return is_silent(w, planes[0]);
}

static void serve_sync(PeWorker *w, uint64_t before, uint64_t after) {
  const uint64_t wanted = atomic_load_explicit(&w->segment->sync_seq, memory_order_acquire); /* a number, nothing else */
  if (wanted > before && wanted <= after) pe_wake(&w->segment->signal);
}

/* On request; and at every so many blocks, the same ones in all replicas, of which one writes and all tell the hash. */
static void begin_checkpoint(PeWorker *w) {
  const uint64_t request = atomic_load_explicit(&w->shared->checkpoint_request, memory_order_acquire); /* a number, nothing else */
  const uint32_t every = w->segment->config.checkpoint_blocks;
  const int is_asked = request != w->checkpoint_served && request >> 16 == w->run->generation;
  const int is_due = every && w->head % every == 0 && w->head != w->checkpoint_block;
  if (w->run->fading || (!is_asked && !is_due)) return;
  const int is_kept = is_asked || atomic_load_explicit(&w->shared->keeper, memory_order_acquire); /* a flag, nothing else */
  if (is_due) w->checkpoint_block = w->head;
  w->writing_request = is_asked ? request : w->checkpoint_served;
  w->writing_head = 0;
  if (!pe_checkpoint_begin(&w->writing, w->segment, w->seat, w->run, w->head, is_kept)) w->checkpoint_served = w->writing_request;
}

/* How much of it to write at this look: little, so that a block that is wanted does not wait for it. */
static uint64_t pieces_of(PeWorker *w) {
  const uint32_t n = w->segment->config.checkpoint_pieces;
  if (n == 0) return PIECES_AT_ONCE;
  if (w->writing_head == w->head + 1) return 0;
  w->writing_head = w->head + 1;
  return n;
}

static void serve_checkpoint(PeWorker *w) {
  const uint64_t start = pe_now_ns();
  if (w->writing.plan == NULL) begin_checkpoint(w);
  if (w->writing.plan == NULL) return;
  const uint64_t checksum = pe_checkpoint_go_on(&w->writing, pieces_of(w));
  const uint64_t took_ns = pe_now_ns() - start;
  pe_counter_add(&w->shared->counters[PE_SLOT_COUNT_CHECKPOINT_NS], took_ns);
  pe_counter_max(&w->shared->counters[PE_SLOT_COUNT_WORST_CHECKPOINT_NS], took_ns);
  if (checksum == 0) return;
  w->checkpoint_served = w->writing_request;
  const PeCheckpointInfo *info = &w->writing.info;
  if (w->writing.head) pe_counter_add(&w->shared->counters[PE_SLOT_COUNT_CHECKPOINTS], 1);
  event(w, w->writing.head ? PE_EVENT_CHECKPOINT : PE_EVENT_HASH, info->block, info->seq, checksum);
}

/* ---- rest ------------------------------------------------------------------------------------------ */

static uint32_t blocks_of_ms(const PeWorker *w, uint32_t ms) {
  const PeConfig *c = &w->segment->config;
  return (uint32_t)(c->sample_rate_hz * ms / (1000.0 * c->block_frames)) + 1u;
}

static uint64_t block_ns_of(const PeWorker *w) {
  return (uint64_t)(1.0e9 * w->segment->config.block_frames / w->segment->config.sample_rate_hz);
}

/* Nothing is to come, and nobody looks. */
static int may_rest(const PeWorker *w) {
  const PeSegment *s = w->segment;
  return s->config.may_rest && w->run->fading == NULL && w->run->schedule.n == 0 &&
         atomic_load_explicit(&s->newest, memory_order_acquire) == w->run->applied && /* a number, nothing else */
         atomic_load_explicit(&s->watch_until, memory_order_acquire) <= w->head &&    /* a number, nothing else */
         atomic_load_explicit(&w->joining, memory_order_acquire) == NULL;             /* a look, nothing else */
}

/* How many blocks it may be behind and still render in time. */
static uint64_t rest_of(const PeWorker *w) { return block_ns_of(w) / REST_SHARE / (w->took_ns > 0 ? w->took_ns : 1); }

/* It was silent for a while: look whether the states come back to what they are now. Modules may count frames modulo
 * PE_CHUNK_FRAMES: so many blocks later, as at the end of a chunk. */
static void mark(PeWorker *w) {
  if (w->rest != PE_AWAKE || w->marked_until > w->head || w->n_silent < blocks_of_ms(w, PE_REST_MS) || !may_rest(w)) return;
  if (rest_of(w) < 2 || !pe_plan_mark(w->run->plan)) return;
  uint32_t n = 1;
  while (n * w->segment->config.block_frames % PE_CHUNK_FRAMES != 0) n++; /* at most PE_CHUNK_FRAMES */
  w->marked_until = w->head + n;
  w->marked_applied = w->run->applied;
  w->n_silent = 0;
}

/* Rest from the block that comes next, if all since the mark was silent and the plan repeats it, and is quick enough. */
static void try_to_rest(PeWorker *w) {
  const uint64_t n = rest_of(w), most = blocks_of_ms(w, PE_REST_MS);
  const uint64_t n_since = w->n_silent * (uint64_t)w->segment->config.block_frames;
  const int is_silent = n_since > 0 && n_since % PE_CHUNK_FRAMES == 0;
  w->n_silent = 0;
  if (n < 2 || !is_silent || w->run->applied != w->marked_applied || !may_rest(w) || !pe_plan_repeats(w->run->plan)) return;
  w->rest = PE_RESTING;
  w->rest_blocks = (uint32_t)(n < most ? n : most);
  pe_rest_begin(w->segment, w->seat, w->head, w->run->applied, w->run->generation, w->rest_blocks);
}

/* With a lead of two or more it is late when it comes to a block that is due: it must not take what comes into that block, if
 * another stands for its silence. */
static int is_late_in_rest(const PeWorker *w) {
  return w->segment->config.may_rest && w->segment->config.lead_blocks > 1 && w->head <= play_block(w) && pe_rest_is_said(w->segment);
}

/* Something came, or somebody looks: back to the present, and from the next block that is played on as always. */
static void look_at_rest(PeWorker *w) {
  const PeSegment *s = w->segment;
  if (w->rest == PE_AWAKE && !is_late_in_rest(w)) return;
  if (w->rest == PE_AWAKE) {
    w->rest = PE_WAKING;
    w->woken_play = UINT64_MAX;
    w->marked_until = 0;
  }
  atomic_thread_fence(memory_order_seq_cst); /* that it rests was said before it is looked, see pe_wake_resting */
  const uint64_t play = play_block(w), lead = atomic_load_explicit(&s->effective_lead, memory_order_relaxed); /* a figure that only grows */
  const int is_over = w->run->schedule.n > 0 ||
                      atomic_load_explicit(&s->newest, memory_order_acquire) != w->run->applied || /* a number, nothing else */
                      atomic_load_explicit(&s->watch_until, memory_order_acquire) > w->head;       /* a number, nothing else */
  const int is_present = !atomic_load_explicit(&s->clock_rests, memory_order_acquire); /* play_block is */
  const int is_joined = atomic_load_explicit(&w->joining, memory_order_acquire) != NULL; /* a look: at a block that may lie ahead */
  if (w->rest == PE_RESTING && ((is_over && is_present) || is_joined)) {
    w->rest = PE_WAKING;
    w->woken_play = UINT64_MAX;
  }
  if (w->rest != PE_WAKING) return;
  if (w->woken_play == UINT64_MAX && w->head >= play + lead) w->woken_play = play;
  if (w->woken_play >= play) return; /* the callback may be deciding on the block that is due */
  w->rest = PE_AWAKE;
  w->n_silent = 0;
  pe_rest_end(w->segment, w->seat);
}

/* ---- a block --------------------------------------------------------------------------------------- */

/* Is the next block the last one that it may render, and none that a request may reach which comes at this moment? */
static int is_far(const PeWorker *w) {
  const PeSegment *s = w->segment;
  const uint64_t play = play_block(w);
  const uint64_t lead = atomic_load_explicit(&s->effective_lead, memory_order_relaxed);    /* a figure that only grows */
  const uint64_t touched = atomic_load_explicit(&s->most_touched, memory_order_relaxed); /* a figure that only grows */
  return w->head + 1 >= play + lead && w->head >= play + touched;
}

static uint64_t decide(PeWorker *w, uint64_t applied) {
  PeSegment *s = w->segment;
  const int clock_rests = (int)atomic_load_explicit(&s->clock_rests, memory_order_acquire); /* play_block may be behind the time */
  if ((w->rest == PE_AWAKE || is_far(w)) && !clock_rests) return pe_journal_decide(s, w->head, applied);
  return pe_journal_decide_quiet(s, w->head, applied, (int64_t)((w->head + 1) * s->config.block_frames));
}

/* One block: decide, take, render, publish. 0 when the journal has gone a lap further. */
static int render_next(PeWorker *w) {
  PeSegment *s = w->segment;
  const uint64_t start = pe_now_ns();
  const uint64_t before = w->run->applied;
  const uint64_t upto = decide(w, before);
  if (upto == PE_JOURNAL_STALE || !take_records(w, w->run, upto, w->head, 1)) {
    event(w, PE_EVENT_STALE, w->head, 0, 0);
    return 0;
  }
  mark(w);
  w->n_silent = render_block(w, w->head) ? w->n_silent + 1 : 0;
  w->head++;
  atomic_store_explicit(&w->shared->applied, w->run->applied, memory_order_release);  /* our reads of the records ended */
  atomic_store_explicit(&w->shared->render_head, w->head, memory_order_release);      /* the block is there before it */
  if (s->config.is_free_running) pe_wake(&s->done);
  serve_sync(w, before, w->run->applied);
  w->took_ns = pe_now_ns() - start;
  publish_counters(w, w->took_ns);
  if (w->marked_until == w->head) try_to_rest(w);
  return 1;
}

/* Advance a joining run to the block that the running one is at, a few at a time. 0: not there yet. */
static int advance_join(PeWorker *w, PeJoin *join) {
  float *planes[PE_MAX_CHANNELS];
  planes_of(w, w->scratch, planes);
  const uint32_t n_frames = w->segment->config.block_frames;
  for (uint32_t i = 0; i < JOIN_STEPS && join->block < w->head && !join->is_stale; i++) {
    const uint64_t upto = pe_journal_read(w->segment, join->block);
    if (upto == PE_JOURNAL_STALE || !take_records(w, join->run, upto, join->block, 0)) {
      join->is_stale = 1;
      break;
    }
    PePlan *done = pe_run_render(join->run, (int64_t)(join->block * n_frames), n_frames, planes, &w->shared->marker);
    if (done) retire(w, done, NULL, NULL);
    join->block++;
  }
  return join->is_stale || join->block == w->head;
}

/* Take over a run that was brought up to date beside ours, once it stands at our block; with nothing to render of our
 * own at any block; and none at all when that is what is handed over. */
static void serve_join(PeWorker *w) {
  PeJoin *join = atomic_load_explicit(&w->joining, memory_order_acquire); /* and the run in it; ours to take from now on */
  if (join == NULL) return;
  if (w->run && join->run && !advance_join(w, join)) return;
  PeRun *old = w->run;
  if (join->is_stale) {
    event(w, PE_EVENT_STALE, join->block, 1, 0);
    atomic_store_explicit(&w->joining, NULL, memory_order_release); /* given back, and why */
    retire(w, NULL, NULL, join);
    return;
  }
  pe_checkpoint_drop(&w->writing);
  w->run = join->run;
  join->run = NULL;
  if (old == NULL && w->run) w->head = join->block;
  if (old && w->run) { /* the same records: counted once */
    w->run->n_late = old->n_late;
    w->run->n_schedule_full = old->n_schedule_full;
    w->run->n_unknown = old->n_unknown;
    w->run->n_refused = old->n_refused;
    w->run->n_not_finite = old->n_not_finite;
    w->run->n_emit_full = old->n_emit_full;
  }
  w->rest = pe_rest_is_said(w->segment) ? PE_WAKING : PE_AWAKE; /* who rests, or died so, has not rendered what we take */
  w->woken_play = UINT64_MAX;
  w->n_silent = 0;
  w->marked_until = 0;
  pe_rest_end(w->segment, w->seat);
  tell_generation(w, w->head, w->run ? w->run->generation : 0);
  if (w->run) {
    atomic_store_explicit(&w->shared->applied, w->run->applied, memory_order_release); /* what is above it is still to be read */
    atomic_store_explicit(&w->shared->render_head, w->head, memory_order_release);     /* before we are taken for alive */
  }
  event(w, PE_EVENT_REPLICA, w->head, w->run ? w->run->applied : 0, 0);
  atomic_store_explicit(&w->joining, NULL, memory_order_release); /* taken: the setup side may hand over another */
  retire(w, NULL, old, join);
}

static int may_render(const PeWorker *w) {
  const uint64_t play = play_block(w);
  const uint32_t lead = atomic_load_explicit(&w->segment->effective_lead, memory_order_relaxed); /* a figure that only grows */
  return w->head < play + (w->rest == PE_RESTING ? 0 : lead);
}

static PeRequests requests_of(const PeWorker *w) {
  PeSegment *s = w->segment;
  const uint64_t played = play_block(w);
  return (PeRequests){.played = played,
                      .freed_ns = atomic_load_explicit(&s->freed_ns, memory_order_relaxed), /* hints */
                      .largest = atomic_load_explicit(&s->largest_request, memory_order_relaxed),
                      .steady = atomic_load_explicit(&s->steady_request, memory_order_relaxed),
                      .lead = atomic_load_explicit(&s->effective_lead, memory_order_relaxed)};
}

/* May a block be begun that may be rendered? Whoever is woken before its time, for a join, takes no block early: commands and
 * commits that it might hold would come a block later. */
static int is_time(PeWorker *w) {
  if (w->segment->config.is_free_running || w->rest != PE_AWAKE) return 1;
  const PeRequests r = requests_of(w);
  return pe_now_ns() >= pe_pace_begin_ns(&w->pace, &r, w->head, w->took_ns);
}

/* How long to sleep. Who rests is woken when something comes, and keeps up meanwhile. Where the clock does not wake: until a
 * block is to be begun, and if that is not to be seen yet, until the next look. */
static uint64_t sleep_ns(PeWorker *w) {
  if (w->run == NULL || w->segment->config.is_free_running) return LONGEST_SLEEP_NS;
  if (w->rest == PE_RESTING) return w->rest_blocks * block_ns_of(w) < LONGEST_SLEEP_NS ? w->rest_blocks * block_ns_of(w) : LONGEST_SLEEP_NS;
  const PeRequests r = requests_of(w);
  const int is_early = may_render(w);
  const uint64_t until = is_early ? pe_pace_begin_ns(&w->pace, &r, w->head, w->took_ns) : pe_pace_next_ns(&w->pace, &r, w->took_ns);
  const uint64_t now = pe_now_ns(), shortest = is_early ? SHORTEST_SLEEP_NS : pe_pace_look_ns(&w->pace, &r);
  const uint64_t next = until > now + shortest ? until - now : shortest;
  return next < LONGEST_SLEEP_NS ? next : LONGEST_SLEEP_NS;
}

void *pe_worker_main(void *worker) {
  PeWorker *w = worker;
  while (!atomic_load_explicit(&w->shared->shutdown, memory_order_acquire)) { /* a flag, nothing else */
    const uint32_t seen = pe_wake_seen(&w->segment->work);
    pe_counter_add(&w->shared->heartbeat, 1);
    serve_join(w);
    if (w->run) {
      serve_checkpoint(w);
      look_at_rest(w);
    }
    if (w->run && may_render(w) && is_time(w)) {
      if (!render_next(w)) break;
    } else if (w->writing.plan == NULL || w->segment->config.checkpoint_pieces > 0) {
      pe_wake_wait(&w->segment->work, seen, sleep_ns(w));
    }
  }
  return NULL;
}
