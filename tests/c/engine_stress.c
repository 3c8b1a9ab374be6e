/* A whole engine in one process: two render threads, a thread that is the audio callback, a thread that commits and
 * joins. Run under ThreadSanitizer. Also checked: every frame asked for is delivered or counted, every sample is finite,
 * and where both rings hold the due block of one generation, they hold the same bits.
 *
 * engine_stress COMMITS [clock] -- "clock": the free-running clock calls the callback. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "output.h"
#include "stress.h"

#define BLOCK_FRAMES 32u
#define N_CHANNELS 2u
#define PATIENCE_MS 20000u

static PeSegment *segment;
static PeRegistry *registry;
static PeWorker *workers[PE_SLOTS];
static PeOutput *output;
static _Atomic int is_over;
static uint64_t n_compared, n_requested;
static PeClock *clock_thread; /* NULL where the callback has a thread of its own */
static Random control = {99};

static void compare_replicas(void) {
  uint64_t generation[PE_SLOTS];
  /* The block that is read next: neither ring's place is written again before it was played. */
  const uint64_t block = pe_gate_play_block(segment) + (output->has_block ? 1u : 0u);
  for (uint32_t i = 0; i < PE_SLOTS; i++)
    if (!pe_block_is_there(segment, i, block, &generation[i])) return;
  if (generation[0] != generation[1]) return;
  CHECK(memcmp(pe_block_data(segment, 0, block), pe_block_data(segment, 1, block), BLOCK_FRAMES * N_CHANNELS * sizeof(float)) == 0);
  n_compared++;
}

static void *callback(void *argument) {
  static float out[1000 * N_CHANNELS];
  Random r = {*(uint64_t *)argument};
  while (!atomic_load(&is_over)) {
    const uint32_t n = random_below(&r, 20) == 0 ? 1 + random_below(&r, 700) : 1 + random_below(&r, 2 * BLOCK_FRAMES);
    compare_replicas();
    pe_output_process(output, out, n);
    n_requested += n;
    for (uint32_t i = 0; i < n * N_CHANNELS; i++) CHECK(isfinite(out[i]));
    if (random_below(&r, 4)) sleep_us(random_below(&r, 500));
  }
  return NULL;
}

static void drain_events(uint64_t *checkpoint_of) {
  PeEvent e;
  for (uint32_t source = 0; source < PE_EVENT_SOURCES; source++)
    while (pe_event_next(segment, source, &e)) {
      CHECK(e.kind >= PE_EVENT_SWAP && e.kind <= PE_EVENT_HEARD && e.kind != PE_EVENT_STALE && e.source == source);
      if (e.kind == PE_EVENT_CHECKPOINT) *checkpoint_of = e.generation;
    }
}

/* The stream has one writer at a time: whoever holds this. */
static pthread_mutex_t intake = PTHREAD_MUTEX_INITIALIZER;

static uint64_t send(const PeCommand *records, uint32_t n) {
  pthread_mutex_lock(&intake);
  const uint64_t newest = pe_stream_send(segment, records, n);
  pthread_mutex_unlock(&intake);
  return newest;
}

/* Random parameters of nodes that may or may not be there, all the while. */
static void *turn_knobs(void *argument) {
  PeCommand records[40];
  Random r = {*(uint64_t *)argument + 1};
  while (!atomic_load(&is_over)) {
    const uint32_t n = 1 + random_below(&r, 40);
    const int64_t now = (int64_t)(pe_gate_play_block(segment) * BLOCK_FRAMES);
    for (uint32_t i = 0; i < n; i++) records[i] = random_param(&r, random_below(&r, 3) ? -1 : now + random_below(&r, 800));
    send(records, n); /* or not, where there is no room */
    sleep_us(random_below(&r, 400));
  }
  return NULL;
}

static void wait_a_little(uint64_t *checkpoint_of, uint64_t since_ns) {
  CHECK(pe_now_ns() - since_ns < PATIENCE_MS * 1000000ull);
  drain_events(checkpoint_of);
  sleep_us(100);
}

static PePlan *new_plan(const Patch *patch) {
  PePlan *plan;
  PeWarmup warmup;
  static const uint32_t stop;
  CHECK(pe_plan_new(registry, &patch->spec, &plan) == PE_OK);
  for (uint32_t i = 0; i < 8; i++) {
    const PeCommand c = random_param(&control, -1);
    pe_plan_set(plan, c.handle, c.param, c.value); /* may name what is not there */
  }
  CHECK(pe_plan_warmup(plan, 2, BLOCK_FRAMES, &stop, &warmup) == PE_OK && warmup.is_finite);
  return plan;
}

static PeCheckpointInfo checkpoint_now(uint32_t slot, uint64_t generation) {
  PeCheckpointInfo info;
  uint64_t checkpoint_of = 0;
  const uint64_t since = pe_now_ns();
  pe_checkpoint_request(segment, slot, generation);
  while (checkpoint_of != generation) wait_a_little(&checkpoint_of, since);
  CHECK(pe_checkpoint_latest(segment, generation, &info) == PE_OK);
  return info;
}

/* The clock stands still: both slots are at one block edge, and all that they are must be the same. */
static void compare_states(uint64_t generation) {
  PeCheckpointInfo a, b;
  const uint64_t since = pe_now_ns();
  pe_clock_allow(clock_thread, 0);
  do { /* a request that was under way may still move them */
    CHECK(pe_now_ns() - since < PATIENCE_MS * 1000000ull);
    a = checkpoint_now(0, generation);
    b = checkpoint_now(1, generation);
  } while (a.block != b.block);
  CHECK(a.seq == b.seq && a.state_bytes == b.state_bytes && a.checksum == b.checksum);
  n_compared++;
  pe_clock_allow(clock_thread, ~0ull);
}

static void commit(uint64_t generation) {
  Patch patch;
  uint64_t checkpoint_of = 0, since = pe_now_ns();
  const uint32_t active = pe_gate_active_slot(segment), standby = 1u - active;
  patch_draw(&patch, registry, &control, BLOCK_FRAMES, N_CHANNELS);
  pe_slot_reset_prime_ready(segment, standby, generation);
  PePlan *plan = new_plan(&patch);
  if (random_below(&control, 10) == 0) { /* one that is given up */
    CHECK(pe_worker_arm(workers[standby], plan, generation + 1000000, 0) == PE_OK);
    CHECK(pe_worker_arm(workers[standby], new_plan(&patch), generation, 0) == PE_BUSY);
    pe_worker_disarm(workers[standby]);
    plan = new_plan(&patch);
  }
  if (random_below(&control, 3) == 0) { /* one that comes too late: it is turned to, and never heard of the gate */
    const PeCommand record = {.kind = PE_COMMAND_SWITCH, .frame = -1, .arg = generation + 2000000};
    CHECK(pe_worker_arm(workers[standby], plan, generation + 2000000, random_below(&control, 300)) == PE_OK);
    while (send(&record, 1) == 0) wait_a_little(&checkpoint_of, since);
    while (pe_worker_arm(workers[standby], new_plan(&patch), generation, random_below(&control, 300)) == PE_BUSY)
      CHECK(pe_now_ns() - since < PATIENCE_MS * 1000000ull);
  } else {
    CHECK(pe_worker_arm(workers[standby], plan, generation, random_below(&control, 300)) == PE_OK);
  }
  CHECK(!pe_slot_set_prime_ready(segment, standby, generation + 1));
  CHECK(pe_slot_set_prime_ready(segment, standby, generation));
  pe_gate_open(segment, generation);
  PeCommand records[3] = {{.kind = PE_COMMAND_SWITCH, .frame = -1, .arg = generation}, random_param(&control, -1), random_param(&control, -1)};
  while (send(records, 3) == 0) wait_a_little(&checkpoint_of, since);
  while (pe_gate_swapped_generation(segment) != generation) wait_a_little(&checkpoint_of, since);
  pe_gate_close(segment);

  /* The other slot becomes a replica. Its pin is set before the checkpoint is asked for. */
  pe_slot_set_pin(segment, active, pe_slot_applied(segment, standby));
  pe_checkpoint_request(segment, standby, generation);
  while (checkpoint_of != generation) wait_a_little(&checkpoint_of, since);
  CHECK(pe_worker_join(workers[active], new_plan(&patch), generation, PATIENCE_MS) == PE_OK);
  pe_slot_set_pin(segment, active, UINT64_MAX);
  CHECK(pe_slot_generation(segment, active) == generation);
  if (clock_thread) compare_states(generation);
}

static void start_engine(uint32_t is_free_running) {
  const PeConfig config = {.sample_rate_hz = 48000.0, .block_frames = BLOCK_FRAMES, .n_channels = N_CHANNELS, .lead_blocks = 3,
                           .n_commands = 2 * PE_COMMAND_BUDGET, .n_journal = 1 << 16, .tap_frames = 1024,
                           .checkpoint_bytes = 1 << 16, .is_free_running = is_free_running};
  segment = new_segment(&config);
  CHECK(pe_registry_new(&registry) == PE_OK);
  for (uint32_t i = 0; i < PE_SLOTS; i++) {
    uint32_t is_realtime;
    CHECK(pe_worker_new(segment, i, registry, &workers[i]) == PE_OK);
    pe_slot_set_alive(segment, i, 1);
    CHECK(pe_worker_start(workers[i], 0, 0, 0, &is_realtime) == PE_OK && !is_realtime);
    pe_slot_set_playable(segment, i, 1);
  }
  CHECK(pe_output_new(segment, &output) == PE_OK);
}

static void stop_engine(void) {
  uint64_t checkpoint_of = 0;
  for (uint32_t i = 0; i < PE_SLOTS; i++) pe_worker_free(workers[i]);
  drain_events(&checkpoint_of);
  const uint64_t requested = pe_counter(segment, PE_COUNT_FRAMES_REQUESTED);
  CHECK(requested == pe_counter(segment, PE_COUNT_FRAMES_DELIVERED) + pe_counter(segment, PE_COUNT_FRAMES_UNDERRUN));
  CHECK(pe_output_frames(output) == requested && (n_requested == 0 || n_requested == requested));
  CHECK(pe_counter(segment, PE_COUNT_TORN) == 0 && pe_counter(segment, PE_COUNT_EVENTS_LOST) == 0);
  printf("frames=%llu underrun=%llu swaps=%llu late=%llu hedged=%llu compared=%llu\n", (unsigned long long)requested,
         (unsigned long long)pe_counter(segment, PE_COUNT_FRAMES_UNDERRUN), (unsigned long long)pe_counter(segment, PE_COUNT_SWAPS),
         (unsigned long long)pe_counter(segment, PE_COUNT_LATE_SWAPS), (unsigned long long)pe_counter(segment, PE_COUNT_HEDGED),
         (unsigned long long)n_compared);
  pe_output_free(output);
  pe_registry_free(registry);
  free_segment(segment);
}

/* Somebody reads the tap, as the recorder does: the free-running clock waits for room in it. */
static void *record(void *argument) {
  PeRing *tap = argument;
  while (!atomic_load(&is_over)) {
    void *place;
    const uint32_t n = pe_ring_peek(tap, 1024, &place);
    for (uint32_t i = 0; i < n * N_CHANNELS; i++) CHECK(isfinite(((const float *)place)[i]));
    pe_ring_release(tap, n);
    if (n == 0) sleep_us(200);
  }
  return NULL;
}

int main(int argc, char **argv) {
  const uint64_t n_commits = argc > 1 ? strtoull(argv[1], NULL, 10) : 200;
  const int is_clock = argc > 2;
  static const uint32_t requests[] = {64, 1, 33, 700, 32};
  uint64_t seed = 3;
  pthread_t thread, knobs;
  start_engine((uint32_t)is_clock);
  if (is_clock) {
    CHECK(pe_clock_start(output, segment, PE_CLOCK_FREE, 64, 0, &clock_thread) == PE_OK);
    CHECK(pe_clock_requests(clock_thread, requests, 5));
    pe_output_record(output, 1);
    CHECK(pthread_create(&thread, NULL, record, pe_segment_tap(segment)) == 0);
    pe_clock_allow(clock_thread, ~0ull);
  } else {
    CHECK(pthread_create(&thread, NULL, callback, &seed) == 0);
  }
  CHECK(pthread_create(&knobs, NULL, turn_knobs, &seed) == 0);
  for (uint64_t g = 1; g <= n_commits; g++) commit(g);
  if (is_clock) CHECK(pe_clock_wait(clock_thread, 100000, PATIENCE_MS) && pe_counter(segment, PE_COUNT_FRAMES_UNDERRUN) == 0);
  pe_clock_stop(clock_thread);
  atomic_store(&is_over, 1);
  pthread_join(thread, NULL);
  pthread_join(knobs, NULL);
  CHECK(pe_counter(segment, PE_COUNT_SWAPS) == n_commits);
  CHECK(is_clock ? n_compared == n_commits : n_compared > 50);
  stop_engine();
  return 0;
}
