/* A whole engine in one process, whose render threads die at random: they are stopped at a block's edge, or frozen by a
 * signal at any instruction and never wake again, or given up while they go on in their old seat. A successor starts in
 * the same or in the spare seat, from the newest checkpoint or an older one, through the SWITCHes since; now and then
 * both die. Meanwhile patches are committed, parameters turned, checkpoints written. The free-running clock plays.
 * Checked at the end: every block that was heard is, bit for bit, what one undisturbed run makes of the same records and
 * decisions; replicas never diverge; no frame is lost.
 *
 * death_stress COMMITS [SEED] -- for ThreadSanitizer: a block or a checkpoint that is read while it is written anew is
 * thrown away by the reader, who looks at its stamp again; tests/test_c_stress.py names the two readers. */
#include <pthread.h>
#include <signal.h>

#include "checkpoint.h"
#include "output.h"
#include "stress.h"
#include "worker.h"

#define BLOCK_FRAMES 32u
#define PATIENCE_MS 300000u /* a busy machine is no fault */
#define MOST_COMMITS 400u
#define MOST_RECORDS (1u << 20)
#define MOST_BLOCKS (1u << 16)
#define MOST_FORMER 1000u
#define MOST_CHANGES 100000u

typedef struct Committed {
  Patch patch;
  uint64_t seed; /* of its settings */
  uint64_t seq;  /* of its SWITCH */
  uint32_t fade_frames;
} Committed;

typedef struct Change { uint64_t block, generation; int is_declicked; } Change; /* of what is heard, from this block on */

static PeSegment *segment;
static PeRegistry *registry;
static PeOutput *output;
static PeClock *clock_thread;
static PeWorker *workers[PE_SLOTS];
static uint32_t seats[PE_SLOTS] = {0, 1}, spare = 2;
static PeWorker *given_up; /* runs on in the spare seat, until that is needed */
static PeWorker *former[MOST_FORMER];
static uint32_t n_former;
static Committed committed[MOST_COMMITS + 1];
static uint64_t newest_generation;
static Random control = {4242};
static _Atomic int is_over;

static PeCommand *records;  /* all that were ever sent, by number */
static Change changes[MOST_CHANGES];
static uint32_t n_changes;
static float *heard;        /* all that was put out */
static _Atomic uint64_t n_heard;
static uint32_t n_deaths, n_chains, n_frozen, n_left_running, n_double, n_parked;

/* ---- threads that stop where they stand ---------------------------------------------------------- */

static _Atomic uint32_t n_asleep;

static void freeze(int signal) {
  const struct timespec ts = {.tv_sec = 3600};
  (void)signal;
  atomic_fetch_add_explicit(&n_asleep, 1, memory_order_release); /* all that it did before is seen by who sees this */
  for (;;) nanosleep(&ts, NULL);
}

static void freeze_worker(PeWorker *w) {
  const uint32_t before = atomic_load_explicit(&n_asleep, memory_order_acquire);
  const uint64_t since = pe_now_ns();
  CHECK(pthread_kill(w->thread, SIGUSR1) == 0);
  while (atomic_load_explicit(&n_asleep, memory_order_acquire) == before) {
    CHECK(pe_now_ns() - since < PATIENCE_MS * 1000000ull);
    sleep_us(20);
  }
  CHECK(n_former < MOST_FORMER);
  former[n_former++] = w; /* its memory stays: it stands in the middle of it */
  n_frozen++;
}

/* ---- the stream: one writer at a time, and a copy of all that was sent ----------------------------- */

static pthread_mutex_t intake = PTHREAD_MUTEX_INITIALIZER;

static uint64_t send(const PeCommand *commands, uint32_t n) {
  pthread_mutex_lock(&intake);
  const uint64_t newest = pe_stream_send(segment, commands, n);
  CHECK(newest < MOST_RECORDS);
  for (uint32_t i = 0; newest && i < n; i++) records[newest - n + 1 + i] = *pe_stream_record(segment, newest - n + 1 + i);
  pthread_mutex_unlock(&intake);
  return newest;
}

static void *turn_knobs(void *argument) {
  PeCommand some[20];
  Random r = {*(uint64_t *)argument};
  while (!atomic_load(&is_over)) {
    const uint32_t n = 1 + random_below(&r, 20);
    const int64_t now = (int64_t)(pe_gate_play_block(segment) * BLOCK_FRAMES);
    for (uint32_t i = 0; i < n; i++) some[i] = random_param(&r, random_below(&r, 3) ? -1 : now + random_below(&r, 800));
    if (pe_stream_space(segment) > segment->config.n_commands / 2) send(some, n); /* a SWITCH must find room */
    sleep_us(random_below(&r, 600));
  }
  return NULL;
}

/* Somebody reads the tap, as the recorder does: the free-running clock waits for room in it. */
static void *listen(void *argument) {
  PeRing *tap = argument;
  uint64_t n_all = 0;
  while (!atomic_load(&is_over) || pe_ring_readable(tap) > 0) {
    void *place;
    const uint32_t n = pe_ring_peek(tap, 1024, &place);
    if (n_all + n <= (uint64_t)MOST_BLOCKS * BLOCK_FRAMES) memcpy(heard + n_all, place, n * sizeof(float));
    pe_ring_release(tap, n);
    n_all += n;
    atomic_store(&n_heard, n_all);
    if (n == 0) sleep_us(100);
  }
  return NULL;
}

/* ---- the supervisor -------------------------------------------------------------------------------- */

static void drain_events(void) {
  PeEvent e;
  for (uint32_t source = 0; source < PE_EVENT_SOURCES; source++)
    while (pe_event_next(segment, source, &e)) {
      CHECK(e.kind >= PE_EVENT_SWAP && e.kind <= PE_EVENT_HASH && e.source == source);
      if (e.kind == PE_EVENT_STALE) CHECK(source == spare); /* one that was given up */
      if (e.kind != PE_EVENT_HEARD) continue;
      CHECK(n_changes < MOST_CHANGES);
      changes[n_changes++] = (Change){e.block, e.generation, e.value >= PE_HEARD_DECLICKED};
    }
}

/* The clock gets on by a few blocks each time somebody waits: much happens in few blocks. */
static void wait_a_little(uint64_t since_ns) {
  CHECK(pe_now_ns() - since_ns < PATIENCE_MS * 1000000ull);
  pe_clock_allow(clock_thread, pe_output_frames(output) + 2 * BLOCK_FRAMES + random_below(&control, 3 * BLOCK_FRAMES));
  drain_events();
  sleep_us(50);
}

static PePlan *new_plan(uint64_t generation) {
  static const PePlanSpec nothing = {.sample_rate_hz = 48000.0, .max_block_frames = BLOCK_FRAMES, .n_channels = 1};
  const Committed *c = &committed[generation];
  Random r = {c->seed};
  PePlan *plan;
  CHECK(pe_plan_new(registry, generation ? &c->patch.spec : &nothing, &plan) == PE_OK);
  for (uint32_t i = 0; generation && i < 8; i++) {
    const PeCommand setting = random_param(&r, -1);
    pe_plan_set(plan, setting.handle, setting.param, setting.value); /* may name what is not there */
  }
  return plan;
}

static void set_keepers(uint32_t is_on) {
  for (uint32_t i = 0; i < PE_SEATS; i++) pe_seat_set_keeper(segment, i, is_on && i != spare);
}

/* Where to start from: the newest generation of which there is a checkpoint, of last_block at the latest, written
 * before the next generation's SWITCH (who has not turned goes on past it), whose records are kept. */
static int find_start(uint64_t last_block, uint64_t *generation, uint64_t *below, PeCheckpointInfo *info) {
  *generation = newest_generation;
  *below = PE_KEEP_ALL;
  while (pe_checkpoint_latest(segment, *generation, *below, last_block, info) != PE_OK || info->seq < pe_stream_keep(segment)) {
    if (*generation == 0) return 0;
    *below = committed[(*generation)--].seq;
  }
  return 1;
}

/* A checkpoint of the newest generation, by one that runs it, of a block that is not ahead of what is played; older
 * records than it are let go. */
static void keep_checkpoint(void) {
  const uint64_t since = pe_now_ns();
  const uint32_t slot = pe_seat_generation(segment, seats[0]) == newest_generation ? 0 : 1;
  const uint64_t before = pe_seat_counter(segment, seats[slot], PE_SLOT_COUNT_CHECKPOINTS);
  PeCheckpointInfo info;
  pe_checkpoint_request(segment, slot, newest_generation);
  while (pe_seat_counter(segment, seats[slot], PE_SLOT_COUNT_CHECKPOINTS) == before) wait_a_little(since);
  while (pe_checkpoint_latest(segment, newest_generation, PE_KEEP_ALL, pe_gate_play_block(segment), &info) != PE_OK) wait_a_little(since);
  pe_stream_set_keep(segment, info.seq);
}

/* is_empty: into a ring that lacks what is due, so from no later block. */
static PeJoin *begin_join(int is_empty) {
  const uint64_t since = pe_now_ns();
  PeCheckpointInfo info;
  PeJoin *join;
  uint64_t g, below, last_block = PE_KEEP_ALL;
  for (;;) {
    if (is_empty) last_block = pe_gate_play_block(segment);
    if (find_start(last_block, &g, &below, &info)) {
      CHECK(pe_join_new(new_plan(g), g, &join) == PE_OK);
      if (pe_join_load(join, segment, g, below, last_block) == PE_OK) break;
      pe_join_free(join); /* written over meanwhile */
    }
    wait_a_little(since);
  }
  n_chains += g < newest_generation;
  while (g++ < newest_generation) CHECK(pe_join_then(join, new_plan(g), g, committed[g].fade_frames) == PE_OK);
  return join;
}

static void join(uint32_t slot, int is_empty) {
  const uint64_t since = pe_now_ns();
  PeStatus status;
  while ((status = pe_worker_join(workers[slot], begin_join(is_empty), PATIENCE_MS)) != PE_OK) {
    CHECK(status == PE_STALE); /* the SWITCH lies ahead of a worker that runs: again, a moment later */
    wait_a_little(since);
  }
  CHECK(pe_seat_applied(segment, seats[slot]) >= pe_stream_keep(segment));
}

static void end_given_up(void) {
  pe_worker_free(given_up);
  given_up = NULL;
}

static void start(uint32_t slot, uint32_t seat) {
  uint32_t is_realtime;
  pe_seat_set_shutdown(segment, seat, 0);
  CHECK(pe_worker_new(segment, seat, &workers[slot]) == PE_OK);
  CHECK(pe_worker_start(workers[slot], 0, &is_realtime) == PE_OK);
  seats[slot] = seat;
}

/* A worker that has not turned to the newest patch comes to it; now and then from nothing. */
static void follow(uint32_t slot) {
  const uint64_t since = pe_now_ns();
  while (atomic_load(&workers[slot]->armed) != NULL) wait_a_little(since); /* a successor may have its SWITCH ahead */
  if (pe_seat_generation(segment, seats[slot]) == newest_generation) return;
  if (random_below(&control, 3) == 0) {
    pe_slot_set_pin(segment, slot, pe_stream_keep(segment));
    pe_slot_set_alive(segment, slot, 0);
    CHECK(pe_worker_park(workers[slot], PATIENCE_MS) == PE_OK && pe_seat_generation(segment, seats[slot]) == 0);
    CHECK(pe_worker_arm(workers[slot], new_plan(newest_generation), newest_generation, 0) == PE_BUSY); /* nothing to turn from */
    n_parked++;
  }
  join(slot, 0);
  pe_slot_set_alive(segment, slot, 1);
  pe_slot_set_pin(segment, slot, PE_KEEP_ALL);
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define IS_TSAN 1 /* which puts signals off to points of its own, and may then wait for a thread that is frozen */
#endif
#endif
#ifndef IS_TSAN
#define IS_TSAN 0
#endif

/* Ends a slot's worker in one of three ways; returns the seat of its successor. */
static uint32_t die(uint32_t slot, int may_move) {
  const uint32_t seat = seats[slot], how = random_below(&control, may_move ? 4 : 2);
  n_deaths++;
  if (how == 0 || (how == 1 && IS_TSAN)) pe_worker_free(workers[slot]);
  if (how == 1 && !IS_TSAN) freeze_worker(workers[slot]);
  if (how < 2) {
    pe_slot_set_alive(segment, slot, 0);
    if (!may_move || random_below(&control, 2)) return seat;
  }
  end_given_up();
  const uint32_t successor = spare;
  spare = seat;
  pe_seat_set_keeper(segment, spare, 0);
  if (how < 2) return successor;
  given_up = workers[slot];
  n_left_running++;
  return successor;
}

static void succeed(uint32_t slot, uint32_t seat) {
  pe_slot_set_pin(segment, slot, pe_stream_keep(segment));
  start(slot, seat);
  join(slot, seat != pe_slot_seat(segment, slot));
  pe_slot_set_seat(segment, slot, seat);
  pe_slot_set_alive(segment, slot, 1);
  pe_slot_set_pin(segment, slot, PE_KEEP_ALL);
}

static void kill_some(void) {
  PeCheckpointInfo info;
  uint64_t g, below;
  const uint32_t slot = random_below(&control, 2);
  const int may_move = find_start(pe_gate_play_block(segment), &g, &below, &info);
  if (random_below(&control, 5) == 0) { /* both: one at least keeps its ring, for nobody else has what is due */
    const uint32_t first = die(slot, 0), second = die(1 - slot, may_move);
    n_double++;
    succeed(slot, first);
    succeed(1 - slot, second);
  } else {
    succeed(slot, die(slot, may_move));
  }
}

/* After a fall-back the newest patch is heard only through the gate. */
static void listen_to_newest(void) {
  const uint64_t since = pe_now_ns();
  while (pe_gate_heard_generation(segment) != newest_generation) {
    const uint32_t standby = 1u - pe_gate_active_slot(segment);
    pe_slot_reset_prime_ready(segment, standby, newest_generation);
    pe_slot_set_prime_ready(segment, standby, newest_generation);
    pe_gate_open(segment, newest_generation);
    for (uint32_t i = 0; i < 20 && pe_gate_heard_generation(segment) != newest_generation; i++) wait_a_little(since);
    pe_gate_close(segment);
  }
}

static void commit(void) {
  const uint64_t since = pe_now_ns(), generation = newest_generation + 1;
  const uint32_t standby = 1u - pe_gate_active_slot(segment);
  Committed *c = &committed[generation];
  patch_draw(&c->patch, registry, &control, BLOCK_FRAMES, 1);
  c->seed = random_next(&control);
  c->fade_frames = random_below(&control, 3) ? random_below(&control, 300) : 0;
  PeStatus status;
  while ((status = pe_worker_arm(workers[standby], new_plan(generation), generation, c->fade_frames)) != PE_OK) {
    CHECK(status == PE_BUSY);
    wait_a_little(since);
  }
  pe_slot_reset_prime_ready(segment, standby, generation);
  CHECK(pe_slot_set_prime_ready(segment, standby, generation));
  pe_gate_open(segment, generation);
  set_keepers(0); /* those that do not turn would write over what a successor starts from */
  const PeCommand some[2] = {{.kind = PE_COMMAND_SWITCH, .frame = -1, .arg = generation}, random_param(&control, -1)};
  while ((c->seq = send(some, 2)) == 0) wait_a_little(since);
  c->seq--;
  newest_generation = generation;
  if (random_below(&control, 3) == 0) kill_some(); /* before, at or after the block of the SWITCH */
  listen_to_newest();
  pe_gate_close(segment);
  if (random_below(&control, 3) == 0) kill_some(); /* in the crossfade, perhaps */
  for (uint32_t slot = 0; slot < PE_SLOTS; slot++)
    if (pe_seat_generation(segment, seats[slot]) != generation) follow(slot);
  if (random_below(&control, 3)) keep_checkpoint();
  set_keepers(1);
  for (uint32_t k = random_below(&control, 3); k > 0; k--) kill_some();
  listen_to_newest();
  const uint64_t until = pe_gate_play_block(segment) + random_below(&control, 20);
  while (pe_gate_play_block(segment) < until) wait_a_little(since);
}

/* ---- the reference --------------------------------------------------------------------------------- */

/* One run, from the records and the decisions: what must have been heard. Returns how many blocks were compared. */
static uint64_t compare_with_reference(uint64_t n_blocks) {
  static float data[BLOCK_FRAMES];
  static _Atomic uint32_t marker;
  float *planes[1] = {data};
  uint64_t n_same = 0, calm_from = 0, generation = 0;
  uint32_t next = 0;
  PeRun *run;
  CHECK(pe_run_new(new_plan(0), 0, &run) == PE_OK);
  for (uint64_t k = 0; k < n_blocks; k++) {
    const int64_t first_frame = (int64_t)(k * BLOCK_FRAMES);
    for (const uint64_t upto = pe_journal_read(segment, k); run->applied < upto; run->applied++) {
      CHECK(upto != PE_JOURNAL_STALE);
      const PeCommand *c = &records[run->applied + 1];
      CHECK(c->seq == run->applied + 1);
      if (c->kind != PE_COMMAND_SWITCH) {
        pe_run_take(run, c, first_frame);
        continue;
      }
      PePlan *plan = new_plan(c->arg);
      plan->generation = c->arg;
      plan->fade_frames = committed[c->arg].fade_frames;
      CHECK(pe_plan_match(plan, run->plan) == PE_OK);
      pe_plan_free(pe_run_turn(run, plan));
    }
    pe_plan_free(pe_run_render(run, first_frame, BLOCK_FRAMES, planes, &marker));
    for (; next < n_changes && changes[next].block <= k; next++) {
      generation = changes[next].generation;
      if (changes[next].is_declicked) calm_from = changes[next].block + 240 / BLOCK_FRAMES + 1;
    }
    if (generation != run->generation || k < calm_from) continue; /* an older patch, or its declick */
    CHECK(memcmp(heard + k * BLOCK_FRAMES, data, sizeof data) == 0);
    n_same++;
  }
  pe_run_free(run);
  return n_same;
}

static void start_engine(void) {
  const PeConfig config = {.sample_rate_hz = 48000.0, .block_frames = BLOCK_FRAMES, .n_channels = 1, .lead_blocks = 3,
                           .n_commands = 2 * PE_COMMAND_BUDGET, .n_journal = MOST_BLOCKS, .tap_frames = 4096,
                           .checkpoint_bytes = 1 << 16, .is_free_running = 1, .checkpoint_blocks = 64, .checkpoint_pieces = 1};
  const struct sigaction action = {.sa_handler = freeze};
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  segment = new_segment(&config);
  CHECK(pe_registry_new(&registry) == PE_OK && pe_output_new(segment, &output) == PE_OK);
  records = calloc(MOST_RECORDS, sizeof *records);
  heard = calloc((size_t)MOST_BLOCKS * BLOCK_FRAMES, sizeof *heard);
  CHECK(records && heard);
  for (uint32_t i = 0; i < PE_SLOTS; i++) {
    PeJoin *first;
    start(i, i);
    CHECK(pe_join_new(new_plan(0), 0, &first) == PE_OK && pe_worker_join(workers[i], first, PATIENCE_MS) == PE_OK);
    pe_slot_set_alive(segment, i, 1);
    pe_slot_set_playable(segment, i, PE_PLAY_ALL);
    pe_seat_set_keeper(segment, i, 1);
  }
  pe_output_record(output, 1);
}

int main(int argc, char **argv) {
  const uint64_t n_commits = argc > 1 ? strtoull(argv[1], NULL, 10) : 100;
  static const uint32_t requests[] = {32, 1, 33, 64, 7};
  static uint64_t seed = 8;
  pthread_t listener, knobs;
  if (argc > 2) control.state = strtoull(argv[2], NULL, 10);
  CHECK(n_commits <= MOST_COMMITS);
  start_engine();
  CHECK(pthread_create(&listener, NULL, listen, pe_segment_tap(segment)) == 0);
  CHECK(pthread_create(&knobs, NULL, turn_knobs, &seed) == 0);
  CHECK(pe_clock_start(output, segment, PE_CLOCK_FREE, BLOCK_FRAMES, 0, &clock_thread) == PE_OK);
  CHECK(pe_clock_requests(clock_thread, requests, 5));
  keep_checkpoint();
  uint64_t n = 0;
  for (; n < n_commits && pe_gate_play_block(segment) < MOST_BLOCKS - 4096; n++) commit();
  pe_clock_stop(clock_thread);
  atomic_store(&is_over, 1);
  pthread_join(listener, NULL);
  pthread_join(knobs, NULL);
  drain_events();
  const uint64_t n_blocks = atomic_load(&n_heard) / BLOCK_FRAMES;
  CHECK(n_blocks < MOST_BLOCKS && pe_counter(segment, PE_COUNT_FRAMES_UNDERRUN) == 0 && pe_counter(segment, PE_COUNT_EVENTS_LOST) == 0);
  CHECK(pe_counter(segment, PE_COUNT_DIVERGED) == 0 && pe_counter(segment, PE_COUNT_COMPARED) > 0);
  const uint64_t n_same = compare_with_reference(n_blocks);
  CHECK(n_same > 0 && n_deaths > 0);
  printf("commits=%llu blocks=%llu same=%llu deaths=%u frozen=%u running=%u both=%u parked=%u chains=%u hedged=%llu torn=%llu\n",
         (unsigned long long)n, (unsigned long long)n_blocks, (unsigned long long)n_same, n_deaths, n_frozen, n_left_running,
         n_double, n_parked, n_chains, (unsigned long long)pe_counter(segment, PE_COUNT_HEDGED),
         (unsigned long long)pe_counter(segment, PE_COUNT_TORN));
  end_given_up();
  for (uint32_t i = 0; i < PE_SLOTS; i++) pe_worker_free(workers[i]);
  pe_output_free(output);
  free(records);
  free(heard);
  fflush(stdout);
  _exit(0); /* the frozen ones stand in the segment and in their plans for ever */
}
