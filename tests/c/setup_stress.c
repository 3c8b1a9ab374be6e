/* Setup code under the address and undefined sanitizers.
 *   plans N   random patches: any split of an offline render gives the same bits
 *   memory    every allocation of every setup function is made to fail in turn: PE_NO_MEMORY, and nothing leaks
 * Link with --wrap for malloc, calloc, realloc and aligned_alloc. */
#include <pthread.h>

#include "checkpoint.h"
#include "clock.h"
#include "stress.h"
#include "worker.h"

/* ---- allocations that fail --------------------------------------------------------------------- */

static _Thread_local uint32_t fail_at; /* the fail_at-th allocation from now on fails; 0 none does */
static _Thread_local int has_failed;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);

static int fails(void) {
  if (fail_at == 0 || --fail_at > 0) return 0;
  has_failed = 1;
  return 1;
}

void *__wrap_malloc(size_t bytes) { return fails() ? NULL : __real_malloc(bytes); }
void *__wrap_calloc(size_t n, size_t bytes) { return fails() ? NULL : __real_calloc(n, bytes); }
void *__wrap_realloc(void *old, size_t bytes) { return fails() ? NULL : __real_realloc(old, bytes); }
void *__wrap_aligned_alloc(size_t align, size_t bytes) { return fails() ? NULL : __real_aligned_alloc(align, bytes); }

/* ---- plans ------------------------------------------------------------------------------------- */

#define N_FRAMES 1500u
#define MOST_COMMANDS 24u
#define BLOCK_FRAMES 64u

static PeRegistry *registry;

static int by_frame(const void *a, const void *b) {
  const PeCommand *x = a, *y = b;
  return x->frame != y->frame ? (x->frame > y->frame) - (x->frame < y->frame) : (x->seq > y->seq) - (x->seq < y->seq);
}

static void render_with(const Patch *patch, uint32_t block_frames, uint32_t n_channels, uint64_t seed, float *out, uint64_t *hash) {
  PePlan *plan;
  PeCommand commands[MOST_COMMANDS];
  Random r = {seed};
  PePlanSpec spec = patch->spec;
  spec.max_block_frames = block_frames;
  spec.n_channels = n_channels;
  CHECK(pe_plan_new(registry, &spec, &plan) == PE_OK);
  for (uint32_t i = 0; i < 10; i++) {
    const PeCommand c = random_param(&r, 0);
    pe_plan_set(plan, c.handle, c.param, c.value);
  }
  const uint32_t n = random_below(&r, MOST_COMMANDS);
  for (uint32_t i = 0; i < n; i++) {
    commands[i] = random_param(&r, random_below(&r, N_FRAMES + 200));
    commands[i].seq = i;
  }
  qsort(commands, n, sizeof commands[0], by_frame);
  CHECK(pe_render_offline(plan, commands, n, N_FRAMES, block_frames, out) == PE_OK);
  *hash = pe_plan_state_hash(plan);
  pe_plan_free(plan);
}

static void check_plans(uint32_t n_patches) {
  static float whole[N_FRAMES], split[N_FRAMES * PE_MAX_CHANNELS];
  Random r = {17};
  for (uint32_t i = 0; i < n_patches; i++) {
    Patch patch;
    uint64_t hash, other;
    patch_draw(&patch, registry, &r, BLOCK_FRAMES, 1);
    const uint64_t seed = random_next(&r);
    render_with(&patch, N_FRAMES, 1, seed, whole, &hash);
    for (uint32_t k = 0; k < 3; k++) {
      const uint32_t block_frames = k == 0 ? 1 : 1 + random_below(&r, 300), n_channels = 1 + random_below(&r, PE_MAX_CHANNELS);
      render_with(&patch, block_frames, n_channels, seed, split, &other);
      CHECK(hash == other);
      for (uint32_t f = 0; f < N_FRAMES; f++)
        for (uint32_t c = 0; c < n_channels; c++) CHECK(memcmp(&whole[f], &split[(size_t)f * n_channels + c], sizeof(float)) == 0);
      for (uint32_t f = 0; f < N_FRAMES; f++) CHECK(isfinite(whole[f]));
    }
  }
}

/* ---- an engine without a clock, for what needs one ------------------------------------------------- */

static PeSegment *segment;
static PeOutput *output;
static PeWorker *workers[PE_SLOTS];
static Patch patch;

static PePlan *new_plan(void) {
  PePlan *plan;
  CHECK(pe_plan_new(registry, &patch.spec, &plan) == PE_OK);
  return plan;
}

/* Plays until slot 0 renders generation 1 and has written a checkpoint of it. */
static void start_engine(void) {
  static float out[BLOCK_FRAMES * 2];
  const PeConfig config = {.sample_rate_hz = 48000.0, .block_frames = BLOCK_FRAMES, .n_channels = 2, .lead_blocks = 2,
                           .n_commands = 2 * PE_COMMAND_BUDGET, .n_journal = 1024, .tap_frames = 64, .checkpoint_bytes = 1 << 16};
  const PeCommand record = {.kind = PE_COMMAND_SWITCH, .frame = -1, .arg = 1};
  PeCheckpointInfo info;
  Random r = {23};
  segment = new_segment(&config);
  patch_draw(&patch, registry, &r, BLOCK_FRAMES, 2);
  CHECK(pe_output_new(segment, &output) == PE_OK);
  for (uint32_t i = 0; i < PE_SLOTS; i++) {
    uint32_t is_realtime;
    PeJoin *join;
    CHECK(pe_worker_new(segment, i, &workers[i]) == PE_OK);
    CHECK(pe_worker_start(workers[i], 0, &is_realtime) == PE_OK);
    CHECK(pe_join_new(new_plan(), 0, &join) == PE_OK && pe_worker_join(workers[i], join, 20000) == PE_OK);
    pe_slot_set_alive(segment, i, 1);
    pe_slot_set_playable(segment, i, PE_PLAY_ALL);
  }
  CHECK(pe_worker_arm(workers[0], new_plan(), 1, 0) == PE_OK);
  CHECK(pe_stream_send(segment, &record, 1) == 1);
  pe_checkpoint_request(segment, 0, 1);
  while (pe_checkpoint_latest(segment, 1, PE_KEEP_ALL, PE_KEEP_ALL, &info) != PE_OK) {
    pe_output_process(output, out, BLOCK_FRAMES);
    sleep_us(200);
  }
}

static void stop_engine(void) {
  for (uint32_t i = 0; i < PE_SLOTS; i++) pe_worker_free(workers[i]);
  pe_output_free(output);
  free_segment(segment);
}

/* ---- each setup function once: allocates, and frees what it got ------------------------------------ */

static PeStatus a_registry(void) {
  PeRegistry *one = (PeRegistry *)1;
  const PeStatus status = pe_registry_new(&one);
  CHECK((one == NULL) == (status != PE_OK)); /* null on failure */
  pe_registry_free(one);
  return status;
}

static PeStatus a_plan(void) {
  PePlan *plan = (PePlan *)1;
  const PeStatus status = pe_plan_new(registry, &patch.spec, &plan);
  CHECK((plan == NULL) == (status != PE_OK));
  pe_plan_free(plan);
  return status;
}

static PeStatus with_plan(PeStatus (*then)(PePlan *)) { /* the plan itself is had without failing */
  const uint32_t kept = fail_at;
  fail_at = 0;
  PePlan *plan = new_plan();
  fail_at = kept;
  return then(plan);
}

static PeStatus run_then(PePlan *plan) {
  PeRun *run = (PeRun *)1;
  const PeStatus status = pe_run_new(plan, 1, &run);
  CHECK((run == NULL) == (status != PE_OK));
  if (run)
    pe_run_free(run);
  else
    pe_plan_free(plan);
  return status;
}

static PeStatus warmup_then(PePlan *plan) {
  PeWarmup warmup;
  const uint32_t stop = 0;
  const uint64_t hash = pe_plan_state_hash(plan);
  const PeStatus status = pe_plan_warmup(plan, 8, BLOCK_FRAMES, &stop, &warmup);
  CHECK(pe_plan_state_hash(plan) == hash);
  pe_plan_free(plan);
  return status;
}

static PeStatus offline_then(PePlan *plan) {
  float out[100 * 2];
  const PeStatus status = pe_render_offline(plan, NULL, 0, 100, BLOCK_FRAMES, out);
  pe_plan_free(plan);
  return status;
}

static PeStatus arm_then(PePlan *plan) {
  const PeStatus status = pe_worker_arm(workers[1], plan, 7, 0);
  if (status == PE_OK) pe_worker_disarm(workers[1]);
  return status;
}

static PeStatus join_new_then(PePlan *plan) {
  PeJoin *join = (PeJoin *)1;
  const PeStatus status = pe_join_new(plan, 1, &join);
  CHECK((join == NULL) == (status != PE_OK));
  pe_join_free(join);
  return status;
}

/* Through generation 1, whose checkpoint it is, to what nobody has switched to: refused, and all of it freed. */
static PeStatus chain_then(PePlan *plan) {
  PeJoin *join;
  const uint32_t kept = fail_at;
  fail_at = 0;
  PePlan *next = new_plan();
  CHECK(pe_join_new(plan, 1, &join) == PE_OK && pe_join_load(join, segment, 1, PE_KEEP_ALL, PE_KEEP_ALL) == PE_OK);
  fail_at = kept;
  PeStatus status = pe_join_then(join, next, 2, 10);
  if (status != PE_OK) {
    pe_join_free(join);
    return status;
  }
  status = pe_worker_join(workers[1], join, 5000);
  CHECK(status == PE_STALE || status == PE_NO_MEMORY);
  return status == PE_STALE ? PE_OK : status;
}

static PeStatus join_then(PePlan *plan) {
  PeJoin *join;
  const uint32_t kept = fail_at;
  fail_at = 0;
  CHECK(pe_join_new(plan, 1, &join) == PE_OK && pe_join_load(join, segment, 1, PE_KEEP_ALL, PE_KEEP_ALL) == PE_OK);
  fail_at = kept;
  return pe_worker_join(workers[1], join, 5000);
}

static PeStatus a_parking(void) { return pe_worker_park(workers[1], 5000); }

static PeStatus a_run(void) { return with_plan(run_then); }
static PeStatus a_warmup(void) { return with_plan(warmup_then); }
static PeStatus an_offline_render(void) { return with_plan(offline_then); }
static PeStatus an_arming(void) { return with_plan(arm_then); }
static PeStatus a_new_join(void) { return with_plan(join_new_then); }
static PeStatus a_chain(void) { return with_plan(chain_then); }
static PeStatus a_join(void) { return with_plan(join_then); }

static PeStatus a_worker(void) {
  PeWorker *worker = (PeWorker *)1;
  const PeStatus status = pe_worker_new(segment, 2, &worker);
  CHECK((worker == NULL) == (status != PE_OK));
  pe_worker_free(worker);
  return status;
}

static PeStatus an_output(void) {
  PeOutput *one = (PeOutput *)1;
  const PeStatus status = pe_output_new(segment, &one);
  CHECK((one == NULL) == (status != PE_OK));
  pe_output_free(one);
  return status;
}

static PeStatus a_history(void) {
  PeOutput *one = NULL;
  PeStatus status = pe_output_new(segment, &one);
  if (status != PE_OK) return status;
  status = pe_output_keep(one, 1000);
  float frames[64];
  uint64_t first;
  CHECK(pe_output_listen(one, frames, 16, &first) == 0);
  pe_output_free(one);
  return status;
}

static PeStatus a_port(void) {
  PePort *port = (PePort *)1;
  const PeStatus status = pe_port_new(output, &port);
  CHECK((port == NULL) == (status != PE_OK));
  pe_port_free(port);
  return status;
}

static PeStatus a_clock(void) {
  PeClock *clock = (PeClock *)1;
  const PeStatus status = pe_clock_start(output, segment, PE_CLOCK_FREE, BLOCK_FRAMES, 0, &clock);
  CHECK((clock == NULL) == (status != PE_OK));
  pe_clock_stop(clock);
  return status == PE_NO_THREAD ? PE_NO_MEMORY : status; /* no memory for a thread: no thread */
}

static void check_memory(const char *name, PeStatus (*once)(void)) {
  uint32_t n = 1;
  for (;; n++) {
    has_failed = 0;
    fail_at = n;
    const PeStatus status = once();
    fail_at = 0;
    if (status == PE_OK && !has_failed) break;
    if (status != PE_NO_MEMORY || !has_failed || n > 1000) {
      fprintf(stderr, "%s: allocation %u failed, and it said: %s\n", name, n, pe_strerror(status));
      _Exit(1);
    }
  }
  CHECK(n > 1);
  printf("%s: %u allocations\n", name, n - 1);
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  CHECK(pe_registry_new(&registry) == PE_OK);
  if (strcmp(argv[1], "plans") == 0) {
    check_plans(argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 100);
  } else {
    start_engine();
    check_memory("pe_registry_new", a_registry);
    check_memory("pe_plan_new", a_plan);
    check_memory("pe_plan_warmup", a_warmup);
    check_memory("pe_render_offline", an_offline_render);
    check_memory("pe_run_new", a_run);
    check_memory("pe_worker_new", a_worker);
    check_memory("pe_worker_arm", an_arming);
    check_memory("pe_join_new", a_new_join);
    check_memory("pe_join_then", a_chain);
    check_memory("pe_worker_join", a_join);
    check_memory("pe_worker_park", a_parking);
    check_memory("pe_worker_join", a_join); /* from nothing */
    check_memory("pe_output_new", an_output);
    check_memory("pe_output_keep", a_history);
    check_memory("pe_port_new", a_port);
    check_memory("pe_clock_start", a_clock);
    stop_engine();
  }
  pe_registry_free(registry);
  return 0;
}
