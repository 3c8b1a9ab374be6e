/* Death after every instruction. A child process does one thing to the shared memory and is single-stepped by ptrace;
 * after each instruction the memory is what a SIGKILL at this instant would leave: it is copied, and on the copy the
 * readers must see the old or the new thing whole, and a successor must go on to the right bits.
 *   ring        acquire, fill, commit                 event       pe_event_push
 *   checkpoint  all of one, of a larger state         worker      pe_worker_main: a join, blocks with commands and a
 *                                                                  crossfade, checkpoints; successor in the same and
 *                                                                  in the spare seat
 *   callback    pe_output_process, stopped at some instructions, evenly spread: the block it may be reading is written over
 * But for the callback no instruction is left out; the memory is looked at where it has changed. At some instructions,
 * drawn at random, the child is killed in earnest: what it leaves must be one of those states, and the successor goes on
 * in it.
 * Exit code 77: this machine does not let one process trace another. */
#include <errno.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checkpoint.h"
#include "hash.h"
#include "output.h"
#include "stress.h"

/* The successor is driven step by step from here; the child runs the one that is linked. */
#define pe_worker_main same_worker_main
#include "../../csrc/worker.c"
#undef pe_worker_main
void *pe_worker_main(void *worker);

#define EXIT_SKIPPED 77
#define MOST_STEPS 2000000u
#define N_KILLS 5u

/* ---- one child, step by step ------------------------------------------------------------------- */

typedef int (*Look)(uint64_t n); /* after n instructions; 1: enough */

static void skip(const char *why) {
  fprintf(stderr, "step_kill: %s: %s\n", why, strerror(errno));
  _Exit(EXIT_SKIPPED);
}

static pid_t start_child(void (*operation)(void)) {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(EXIT_SKIPPED);
    raise(SIGSTOP);
    operation();
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  if (!WIFSTOPPED(status)) skip("a child may not be traced here");
  CHECK(ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(uintptr_t)PTRACE_O_EXITKILL) == 0); /* it never outlives us */
  return child;
}

static int step(pid_t child) { /* 0: it has come to its end */
  int status;
  if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0) skip("a child cannot be single-stepped here");
  CHECK(waitpid(child, &status, 0) == child);
  if (WIFEXITED(status)) CHECK(WEXITSTATUS(status) == 0);
  CHECK(WIFEXITED(status) || (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP));
  return WIFSTOPPED(status);
}

static void kill_child(pid_t child) {
  int status;
  CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Steps through the operation, looks after each instruction; returns how many there were. `upto`: killed after so many. */
static uint64_t step_through(void (*operation)(void), Look look, uint64_t upto) {
  const pid_t child = start_child(operation);
  uint64_t n = 0;
  while (n < upto && step(child)) {
    n++;
    if (n > MOST_STEPS) { /* an exclusive load and store can never be stepped through on some processors */
      kill_child(child);
      errno = ELOOP;
      skip("an instruction is stepped through over and over");
    }
    if (look(n)) {
      kill_child(child);
      return n;
    }
  }
  if (n == upto) kill_child(child);
  return n;
}

/* ---- what of the memory is looked at -------------------------------------------------------------- */

#define MOST_RANGES 32u

typedef struct Range { uint64_t at, bytes; } Range;

static Range ranges[MOST_RANGES];
static uint32_t n_ranges;
static unsigned char *shared, *seen, *copy; /* the segment; as it was when it was looked at last; where it is tried out */

static void watch(uint64_t at, uint64_t bytes) {
  CHECK(n_ranges < MOST_RANGES);
  ranges[n_ranges++] = (Range){at, bytes};
}

static void copy_ranges(unsigned char *to, const unsigned char *from) {
  for (uint32_t i = 0; i < n_ranges; i++) memcpy(to + ranges[i].at, from + ranges[i].at, ranges[i].bytes);
}

static int has_changed(void) {
  for (uint32_t i = 0; i < n_ranges; i++)
    if (memcmp(shared + ranges[i].at, seen + ranges[i].at, ranges[i].bytes) != 0) {
      copy_ranges(seen, shared);
      return 1;
    }
  return 0;
}

/* ---- the ring ----------------------------------------------------------------------------------- */

#define RING_BLOCK 24u
#define RING_CAPACITY 4u

static uint32_t ring_readable; /* before the operation */
static uint32_t ring_first;    /* number of the first of them */
static uint64_t n_states;

static void fill(void *place, uint32_t number) { memset(place, (int)(number * 37u + 1u) & 0xff, RING_BLOCK); }

static int is_filled(const unsigned char *place, uint32_t number) {
  for (uint32_t i = 0; i < RING_BLOCK; i++)
    if (place[i] != ((number * 37u + 1u) & 0xff)) return 0;
  return 1;
}

static void write_one(PeRing *ring, uint32_t number) {
  void *place;
  if (pe_ring_acquire(ring, 1, &place) == 0) return;
  fill(place, number);
  pe_ring_commit(ring, 1);
}

static void ring_operation(void) { write_one((PeRing *)(void *)shared, ring_first + ring_readable); }

/* What is readable, in order and whole; then all of it is released. */
static uint32_t read_all(PeRing *ring, uint32_t first) {
  uint32_t n = 0;
  void *place;
  CHECK(pe_ring_readable(ring) <= RING_CAPACITY);
  while (pe_ring_peek(ring, 1, &place) == 1) {
    CHECK(is_filled(place, first + n));
    pe_ring_release(ring, 1);
    n++;
  }
  CHECK(pe_ring_readable(ring) == 0 && pe_ring_writable(ring) == RING_CAPACITY);
  return n;
}

static int ring_look(uint64_t n) {
  (void)n;
  if (!has_changed()) return 0;
  n_states++;
  PeRing *ring = (PeRing *)(void *)copy;
  copy_ranges(copy, seen);
  const uint32_t there = pe_ring_readable(ring);
  CHECK(there == ring_readable || there == ring_readable + 1);
  CHECK(read_all(ring, ring_first) == there); /* the reader goes on ... */
  for (uint32_t i = 0; i < 2 * RING_CAPACITY; i++) {
    write_one(ring, ring_first + there + i);
    CHECK(read_all(ring, ring_first + there + i) == 1);
  }
  copy_ranges(copy, seen);
  for (uint32_t i = there; i < RING_CAPACITY; i++) write_one(ring, ring_first + i); /* ... or a successor before it */
  CHECK(read_all(ring, ring_first) == RING_CAPACITY);
  return 0;
}

static void check_ring(void) {
  static const uint32_t starts[] = {0, 3, 0xfffffffeu};
  const uint64_t bytes = pe_ring_bytes(RING_BLOCK, RING_CAPACITY);
  uint64_t n_steps = 0;
  shared = shared_memory(bytes), seen = shared_memory(bytes), copy = shared_memory(bytes);
  n_ranges = 0, n_states = 0;
  watch(0, bytes);
  for (uint32_t i = 0; i < 3; i++)
    for (ring_readable = 0; ring_readable <= RING_CAPACITY; ring_readable++) {
      PeRing *ring = (PeRing *)(void *)shared;
      CHECK(pe_ring_init(shared, bytes, RING_BLOCK, RING_CAPACITY) == PE_OK);
      ring->write = ring->read = ring->read_seen = ring->write_seen = starts[i];
      ring_first = 100 * i;
      for (uint32_t k = 0; k < ring_readable; k++) write_one(ring, ring_first + k);
      copy_ranges(seen, shared);
      n_steps += step_through(ring_operation, ring_look, UINT64_MAX);
      const uint32_t expected = ring_readable < RING_CAPACITY ? ring_readable + 1 : RING_CAPACITY;
      CHECK(read_all(ring, ring_first) == expected);
    }
  printf("ring: %llu instructions, %llu states\n", (unsigned long long)n_steps, (unsigned long long)n_states);
}

/* ---- a small engine ------------------------------------------------------------------------------- */

#define BLOCK_FRAMES 8u
#define N_BLOCKS 11u
#define FADE_FRAMES 11u
#define SPARE 2u

static PeRegistry *registry;
static uint64_t segment_bytes;
static const PeConfig config = {.sample_rate_hz = 48000.0, .block_frames = BLOCK_FRAMES, .n_channels = 1, .lead_blocks = 2,
                                .n_commands = 2 * PE_COMMAND_BUDGET, .n_journal = 4096, .tap_frames = 64,
                                .checkpoint_bytes = 1 << 14, .checkpoint_blocks = 3};

static PeSegment *segment_at(unsigned char *memory) { return (PeSegment *)(void *)memory; }

static PePlan *new_plan(uint64_t generation) {
  static const PeNodeSpec nodes[] = {{1, 0, 0}, {2, 2, 0}, {3, 0, 0}};
  static const PeCableSpec cables[] = {{.source = 0, .dest = 1, .depth = 1.0f}};
  const PePlanSpec spec = {.sample_rate_hz = 48000.0, .max_block_frames = BLOCK_FRAMES, .n_channels = 1,
                           .n_nodes = generation == 1 ? 2 : 3, .n_cables = 1, .nodes = nodes, .cables = cables};
  PePlan *plan;
  CHECK(pe_plan_new(registry, &spec, &plan) == PE_OK);
  CHECK(pe_plan_set(plan, 1, 0, 3000.0) == PE_OK);
  if (generation == 2) CHECK(pe_plan_set(plan, 3, 0, 1000.0) == PE_OK);
  return plan;
}

static void lay_out(unsigned char *memory) {
  PeSegment *s = segment_at(memory);
  memset(memory, 0, segment_bytes); /* as new memory is: states of checkpoints are left as they are */
  CHECK(pe_segment_init(memory, segment_bytes, &config) == PE_OK);
  atomic_store(&s->effective_lead, N_BLOCKS); /* so many, and then it sleeps */
  for (uint32_t i = 0; i < PE_SLOTS; i++) pe_slot_set_playable(s, i, PE_PLAY_ALL);
  for (uint32_t i = 0; i < PE_SEATS; i++) pe_seat_set_keeper(s, i, 1);
}

static void new_segments(void) {
  segment_bytes = pe_segment_bytes(&config);
  shared = shared_memory(segment_bytes), seen = shared_memory(segment_bytes), copy = shared_memory(segment_bytes);
  n_ranges = 0, n_states = 0;
  lay_out(shared);
}

static void watch_seat(uint32_t seat) {
  const PeSegment *s = segment_at(shared);
  watch(s->heads_at[seat], N_BLOCKS * sizeof(PeBlockHead));
  watch(s->data_at[seat], N_BLOCKS * BLOCK_FRAMES * sizeof(float));
  watch(s->event_at[seat], sizeof(PeRing) + 64 * sizeof(PeEvent));
  for (uint32_t k = 0; k < 2; k++) {
    watch(s->checkpoint_at[seat][k], sizeof(PeCheckpointHead) + 8 * sizeof(PeCommand));
    watch(s->checkpoint_at[seat][k] + sizeof(PeCheckpointHead) + PE_SCHEDULE_SIZE * sizeof(PeCommand), config.checkpoint_bytes);
  }
}

static void look_at_all(void) {
  memcpy(seen, shared, segment_bytes);
  memcpy(copy, shared, segment_bytes);
}

/* ---- events --------------------------------------------------------------------------------------- */

#define EVENTS_BEFORE 3u

static uint32_t n_events_before;

static void push_event(PeSegment *s, uint32_t number) {
  const PeEvent e = {.kind = PE_EVENT_FADED, .source = 1, .block = number, .frame = number * 3, .generation = ~(uint64_t)number,
                     .value = number * 5, .hash = number * 7};
  pe_event_push(s, &e);
}

static void event_operation(void) { push_event(segment_at(shared), n_events_before); }

static uint32_t read_events(PeSegment *s) {
  PeEvent e;
  uint32_t n = 0;
  for (; pe_event_next(s, 1, &e); n++)
    CHECK(e.kind == PE_EVENT_FADED && e.source == 1 && e.block == n && e.frame == n * 3 && e.generation == ~(uint64_t)n &&
          e.value == n * 5 && e.hash == n * 7);
  return n;
}

static int event_look(uint64_t n) {
  (void)n;
  if (!has_changed()) return 0;
  n_states++;
  PeSegment *s = segment_at(copy);
  copy_ranges(copy, seen);
  CHECK(pe_counter(s, PE_COUNT_EVENTS_LOST) <= (n_events_before == PE_EVENT_CAPACITY));
  const uint32_t there = read_events(s);
  CHECK(there == n_events_before || (there == n_events_before + 1 && there <= PE_EVENT_CAPACITY));
  copy_ranges(copy, seen);
  if (there == PE_EVENT_CAPACITY) return 0;
  push_event(s, there); /* a successor, before anybody read */
  CHECK(read_events(s) == there + 1);
  return 0;
}

static void check_events(void) {
  static const uint32_t befores[] = {0, EVENTS_BEFORE, PE_EVENT_CAPACITY};
  uint64_t n_steps = 0;
  for (uint32_t i = 0; i < 3; i++) {
    const uint64_t before = i ? n_states : 0;
    new_segments();
    n_states = before;
    watch(0, sizeof(PeSegment));
    watch(segment_at(shared)->event_at[1], segment_at(shared)->event_bytes);
    n_events_before = befores[i];
    for (uint32_t k = 0; k < n_events_before; k++) push_event(segment_at(shared), k);
    look_at_all();
    n_steps += step_through(event_operation, event_look, UINT64_MAX);
    CHECK(pe_counter(segment_at(shared), PE_COUNT_EVENTS_LOST) == (n_events_before == PE_EVENT_CAPACITY));
    munmap(shared, segment_bytes), munmap(seen, segment_bytes), munmap(copy, segment_bytes);
  }
  printf("event: %llu instructions, %llu states\n", (unsigned long long)n_steps, (unsigned long long)n_states);
}

/* ---- checkpoints ---------------------------------------------------------------------------------- */

static PeRun *written;    /* the run whose checkpoint is written, with commands that wait */
static PeRun *loaded;
static uint64_t block_before, block_written;
static uint64_t hashes[64]; /* of the states at these blocks */

static uint64_t write_checkpoint(PeSegment *s, const PeRun *run, uint64_t block, int is_kept) {
  PeWriting writing = {0};
  CHECK(pe_checkpoint_begin(&writing, s, 0, run, block, is_kept));
  return pe_checkpoint_go_on(&writing, UINT64_MAX);
}

static PePlan *large_plan(void) {
  Patch patch;
  Random r = {7};
  PePlan *plan;
  do patch_draw(&patch, registry, &r, BLOCK_FRAMES, 1); while (patch.spec.n_nodes < 6);
  CHECK(pe_plan_new(registry, &patch.spec, &plan) == PE_OK);
  return plan;
}

static void advance(PeRun *run, uint64_t block) {
  static float data[BLOCK_FRAMES];
  static _Atomic uint32_t marker;
  float *planes[1] = {data};
  const PeCommand waits = {.kind = PE_COMMAND_PARAM, .handle = 1, .frame = 1000000 + (int64_t)block, .seq = ++run->applied};
  pe_run_take(run, &waits, (int64_t)(block * BLOCK_FRAMES));
  CHECK(pe_run_render(run, (int64_t)(block * BLOCK_FRAMES), BLOCK_FRAMES, planes, &marker) == NULL);
}

static void write_at(PeSegment *s, uint64_t block) {
  CHECK(write_checkpoint(s, written, block, 1) != 0);
  hashes[block] = pe_plan_state_hash(written->plan);
}

static void checkpoint_operation(void) { write_checkpoint(segment_at(shared), written, block_written, 1); }

static uint64_t newest_checkpoint(PeSegment *s) {
  PeCheckpointInfo info;
  uint64_t block;
  const PeStatus status = pe_checkpoint_load(s, 1, PE_KEEP_ALL, PE_KEEP_ALL, loaded, &block);
  CHECK(status == PE_OK || status == PE_NO_CHECKPOINT);
  CHECK(pe_checkpoint_latest(s, 1, PE_KEEP_ALL, PE_KEEP_ALL, &info) == status);
  if (status != PE_OK) return 0;
  CHECK(info.block == block && info.seq == block && loaded->applied == block && loaded->schedule.n == (uint32_t)block);
  CHECK(pe_plan_state_hash(loaded->plan) == hashes[block]);
  return block;
}

static int checkpoint_look(uint64_t n) {
  (void)n;
  if (!has_changed()) return 0;
  n_states++;
  PeSegment *s = segment_at(copy);
  copy_ranges(copy, seen);
  const uint64_t block = newest_checkpoint(s);
  CHECK(block == block_before || block == block_written);
  CHECK(write_checkpoint(s, written, block_written, 1) != 0); /* a successor that came to the same edge */
  CHECK(newest_checkpoint(s) == block_written);
  return 0;
}

/* The first, the second, the third checkpoint of a seat: none, one, two places are in use. */
static void check_checkpoints(void) {
  uint64_t n_steps = 0;
  new_segments();
  watch(0, sizeof(PeSegment));
  watch_seat(0);
  CHECK(pe_run_new(large_plan(), 1, &written) == PE_OK && pe_run_new(large_plan(), 1, &loaded) == PE_OK);
  for (uint32_t i = 0; i < 4; i++) {
    block_before = block_written;
    block_written = 1 + i;
    advance(written, block_written);
    hashes[block_written] = pe_plan_state_hash(written->plan);
    look_at_all();
    const uint64_t n = step_through(checkpoint_operation, checkpoint_look, UINT64_MAX);
    CHECK(newest_checkpoint(segment_at(shared)) == block_written);
    n_steps += n;
    Random r = {i};
    memcpy(seen, shared, segment_bytes);
    for (uint32_t k = 0; k < 10; k++) { /* in earnest: from the state before */
      lay_out(shared);
      pe_run_free(written);
      CHECK(pe_run_new(large_plan(), 1, &written) == PE_OK);
      for (uint64_t b = 1; b < block_written; b++) {
        advance(written, b);
        write_at(segment_at(shared), b);
      }
      advance(written, block_written);
      copy_ranges(seen, shared);
      const Look look = checkpoint_look;
      step_through(checkpoint_operation, look, 1 + random_below(&r, (uint32_t)n));
      const uint64_t block = newest_checkpoint(segment_at(shared));
      CHECK(block == block_before || block == block_written);
      write_at(segment_at(shared), block_written);
      CHECK(newest_checkpoint(segment_at(shared)) == block_written);
    }
  }
  printf("checkpoint: %llu instructions, %llu states, %llu bytes of state\n", (unsigned long long)n_steps,
         (unsigned long long)n_states, (unsigned long long)pe_plan_state_bytes(written->plan));
  pe_run_free(written);
  pe_run_free(loaded);
  munmap(shared, segment_bytes), munmap(seen, segment_bytes), munmap(copy, segment_bytes);
}

/* ---- a worker ------------------------------------------------------------------------------------- */

#define MOST_EVENTS 64u

typedef struct Reference { /* what an undisturbed worker makes of it */
  float data[N_BLOCKS][BLOCK_FRAMES];
  uint64_t generation[N_BLOCKS], hash[N_BLOCKS], entry[N_BLOCKS];
  uint64_t checksum[N_BLOCKS + 1]; /* of a checkpoint at this block */
  PeEvent events[MOST_EVENTS];
  uint32_t n_events;
} Reference;

static Reference reference;
static PeWorker *worker; /* the child's, not started */
static const uint64_t switch_seq = 3;

/* What reaches the worker, and before which block it does. */
static void send_input(PeSegment *s, uint64_t head) {
  const PeCommand freq = {.kind = PE_COMMAND_PARAM, .frame = -1, .handle = 1, .param = 0, .value = 1000.0};
  const PeCommand later = {.kind = PE_COMMAND_PARAM, .frame = 5 * BLOCK_FRAMES + 3, .handle = 2, .param = 0, .value = 700.0};
  const PeCommand turn_to = {.kind = PE_COMMAND_SWITCH, .frame = -1, .arg = 2};
  const PeCommand first[] = {freq, later}, second[] = {turn_to, freq};
  if (head == 1 && pe_stream_newest(s) < 2) CHECK(pe_stream_send(s, first, 2) == 2);
  if (head == 4 && pe_stream_newest(s) < 4) CHECK(pe_stream_send(s, second, 2) == 4);
  if (head == 8 && pe_stream_newest(s) < 5) {
    CHECK(pe_stream_send(s, &later, 1) == 5); /* late: at once, counted */
    pe_checkpoint_request(s, 0, 2);
  }
}

static PeWorker *new_worker(PeSegment *s, uint32_t seat) {
  PeWorker *w;
  CHECK(pe_worker_new(s, seat, &w) == PE_OK);
  w->checkpoint_served = atomic_load(&w->shared->checkpoint_request);
  return w;
}

/* The newest checkpoint, through the SWITCH if that was sent since; or from the beginning. */
static uint64_t begin(PeSegment *s, PeWorker *w) {
  PeCheckpointInfo info;
  PeJoin *join;
  const uint64_t of = pe_checkpoint_latest(s, 2, PE_KEEP_ALL, PE_KEEP_ALL, &info) == PE_OK ? 2 : 1;
  CHECK(pe_join_new(new_plan(of), of, &join) == PE_OK);
  const PeStatus status = pe_join_load(join, s, of, PE_KEEP_ALL, PE_KEEP_ALL);
  CHECK(status == PE_OK || (status == PE_NO_CHECKPOINT && of == 1));
  const uint64_t block = join->block;
  if (of == 1 && pe_stream_newest(s) >= switch_seq) CHECK(pe_join_then(join, new_plan(2), 2, FADE_FRAMES) == PE_OK);
  CHECK(pe_worker_join(w, join, 0) == PE_BUSY); /* handed over; there is no thread that takes it */
  serve_join(w);
  CHECK(w->run && w->head == block);
  if (of == 1 && pe_stream_newest(s) < switch_seq) {
    pe_worker_collect(w);
    CHECK(pe_worker_arm(w, new_plan(2), 2, FADE_FRAMES) == PE_OK);
  }
  return block;
}

static void go_on(PeSegment *s, PeWorker *w) {
  while (w->head < N_BLOCKS) {
    send_input(s, w->head);
    serve_checkpoint(w);
    CHECK(may_render(w) && render_next(w));
    pe_worker_collect(w);
  }
}

static void make_reference(void) {
  PeSegment *s = segment_at(copy);
  PeEvent e;
  lay_out(copy);
  PeWorker *w = new_worker(s, 0);
  CHECK(begin(s, w) == 0);
  while (w->head < N_BLOCKS) {
    reference.checksum[w->head] = write_checkpoint(w->segment, w->run, w->head, 0);
    send_input(s, w->head);
    serve_checkpoint(w);
    CHECK(render_next(w));
    pe_worker_collect(w);
  }
  for (uint64_t k = 0; k < N_BLOCKS; k++) {
    const PeBlockHead *h = pe_block_head(s, 0, k);
    CHECK(h->stamp == k + 1 && h->generation == (k < 4 ? 1 : 2));
    memcpy(reference.data[k], pe_block_data(s, 0, k), sizeof reference.data[k]);
    reference.generation[k] = h->generation;
    reference.hash[k] = h->hash;
    reference.entry[k] = pe_journal_entry(s, k);
  }
  while (pe_event_next(s, 0, &e)) reference.events[reference.n_events++] = e;
  reference.checksum[N_BLOCKS] = write_checkpoint(w->segment, w->run, N_BLOCKS, 0);
  CHECK(reference.n_events > 5 && w->run->n_late == 1);
  pe_worker_free(w);
}

static uint32_t blocks_there(PeSegment *s, uint32_t seat) {
  uint32_t n = 0;
  uint64_t generation;
  for (uint64_t k = 0; k < N_BLOCKS; k++) {
    if (!pe_block_is_there(s, seat, k, &generation)) continue;
    CHECK(generation == reference.generation[k] && pe_block_head(s, seat, k)->hash == reference.hash[k]);
    CHECK(memcmp(pe_block_data(s, seat, k), reference.data[k], sizeof reference.data[k]) == 0);
    n++;
  }
  return n;
}

/* What readers see of the dead one: nothing half done. */
static void check_remains(PeSegment *s) {
  static uint64_t checkpoint_before;
  PeCheckpointInfo info;
  PeEvent e;
  const uint64_t head = pe_seat_render_head(s, 0), there = blocks_there(s, 0);
  CHECK(there == head || there == head + 1); /* published, and then told */
  for (uint64_t k = 0; k < N_BLOCKS; k++) {
    const uint64_t entry = pe_journal_entry(s, k);
    CHECK(entry == 0 ? k >= there : entry == reference.entry[k] && k <= there);
  }
  CHECK(pe_seat_applied(s, 0) <= pe_stream_newest(s));
  CHECK(pe_seat_generation(s, 0) <= 2);
  uint64_t newest = 0;
  for (uint64_t g = 1; g <= 2; g++)
    if (pe_checkpoint_latest(s, g, PE_KEEP_ALL, PE_KEEP_ALL, &info) == PE_OK) {
      CHECK(info.checksum == reference.checksum[info.block] && info.block <= head);
      newest = info.block;
    }
  if (head == 0) checkpoint_before = 0; /* another child */
  CHECK(newest >= checkpoint_before);   /* the one that was valid, or a newer one */
  checkpoint_before = newest;
  uint32_t n = 0;
  for (; pe_event_next(s, 0, &e); n++) CHECK(n < reference.n_events && memcmp(&e, &reference.events[n], sizeof e) == 0);
}

static void check_successor(PeSegment *s, uint32_t seat) {
  PeEvent e;
  pe_slot_set_seat(s, 0, seat);
  PeWorker *w = new_worker(s, seat);
  const uint64_t from = begin(s, w);
  go_on(s, w);
  CHECK(write_checkpoint(w->segment, w->run, N_BLOCKS, 0) == reference.checksum[N_BLOCKS] && w->run->generation == 2);
  CHECK(w->run->fading == NULL);
  CHECK(seat == 0 ? blocks_there(s, seat) == N_BLOCKS : blocks_there(s, seat) == N_BLOCKS - from);
  CHECK(blocks_there(s, 0) >= from); /* what it does not render is there already */
  for (uint64_t k = 0; k < N_BLOCKS; k++) CHECK(pe_journal_entry(s, k) == reference.entry[k]);
  CHECK(pe_seat_render_head(s, seat) == N_BLOCKS && pe_seat_applied(s, seat) == 5);
  while (pe_event_next(s, seat, &e))
    CHECK((e.kind != PE_EVENT_CHECKPOINT || e.hash == reference.checksum[e.block]) && e.kind != PE_EVENT_STALE);
  pe_worker_free(w);
}

#define MOST_STATES 20000u

static uint64_t state_hashes[MOST_STATES]; /* of every state that the memory went through */

/* Times differ from run to run; nothing else may. */
static uint64_t hash_memory(void) {
  static PeSegment head;
  uint64_t hash = 0;
  memcpy(&head, seen, sizeof head);
  for (uint32_t i = 0; i < PE_SEATS; i++) {
    head.seats[i].counters[PE_SLOT_COUNT_WORST_RENDER_NS] = 0;
    head.seats[i].counters[PE_SLOT_COUNT_CHECKPOINT_NS] = 0;
    head.seats[i].counters[PE_SLOT_COUNT_WORST_CHECKPOINT_NS] = 0;
  }
  for (uint32_t i = 0; i < n_ranges; i++)
    hash = hash * 31 + (ranges[i].at == 0 ? pe_hash(&head, sizeof head) : pe_hash(seen + ranges[i].at, ranges[i].bytes));
  return hash;
}

static int worker_input(void) { /* 1: it is about to sleep, and has done all it can */
  PeSegment *s = segment_at(shared);
  send_input(s, pe_seat_render_head(s, 0));
  return pe_seat_render_head(s, 0) == N_BLOCKS && atomic_load(&s->work.sleepers) > 0;
}

static int worker_look(uint64_t n) {
  (void)n;
  if (has_changed()) {
    CHECK(n_states < MOST_STATES);
    state_hashes[n_states++] = hash_memory();
    copy_ranges(copy, seen);
    check_remains(segment_at(copy));
    copy_ranges(copy, seen);
    check_successor(segment_at(copy), 0);
    copy_ranges(copy, seen);
    check_successor(segment_at(copy), SPARE);
  }
  return worker_input();
}

/* A killed one leaves what a stopped one has. Not at the same instruction: how many there are depends on the times. */
static int is_known_state(void) {
  const uint64_t hash = hash_memory();
  for (uint64_t i = 0; i < n_states; i++)
    if (state_hashes[i] == hash) return 1;
  return 0;
}

static int kill_look(uint64_t n) {
  (void)n;
  return worker_input();
}

static void worker_operation(void) { pe_worker_main(worker); }

/* The child's worker, with a join handed over and not yet taken. */
static void prepare_worker(void) {
  PeJoin *join;
  lay_out(shared);
  pe_worker_free(worker);
  worker = new_worker(segment_at(shared), 0);
  CHECK(pe_join_new(new_plan(1), 1, &join) == PE_OK);
  PePlan *next = new_plan(2);
  next->generation = 2;
  next->fade_frames = FADE_FRAMES;
  CHECK(pe_plan_match(next, join->run->plan) == PE_OK);
  CHECK(pe_worker_join(worker, join, 0) == PE_BUSY);
  atomic_store(&worker->armed, next);
  look_at_all();
}

static void check_worker(void) {
  Random r = {11};
  new_segments();
  make_reference();
  watch(0, sizeof(PeSegment));
  watch_seat(0);
  watch_seat(SPARE);
  watch(segment_at(shared)->commands_at, 16 * sizeof(PeCommand));
  watch(segment_at(shared)->journal_at, N_BLOCKS * sizeof(uint64_t));
  prepare_worker();
  state_hashes[n_states++] = hash_memory();
  const uint64_t n = step_through(worker_operation, worker_look, UINT64_MAX);
  CHECK(blocks_there(segment_at(shared), 0) == N_BLOCKS);
  for (uint32_t i = 0; i < N_KILLS; i++) {
    const uint64_t at = 1 + random_next(&r) % (n - 1);
    prepare_worker();
    CHECK(step_through(worker_operation, kill_look, at) == at || pe_seat_render_head(segment_at(shared), 0) == N_BLOCKS);
    memcpy(seen, shared, segment_bytes);
    CHECK(is_known_state());
    check_successor(segment_at(shared), i % 2 ? SPARE : 0);
  }
  printf("worker: %llu instructions, %llu states, %u killed in earnest\n", (unsigned long long)n, (unsigned long long)n_states, N_KILLS);
  pe_worker_free(worker);
  worker = NULL;
}

/* ---- the callback, while a block is written over -------------------------------------------------------- */

static PeOutput *output;
static float *heard; /* shared with the child */

static void callback_operation(void) {
  pe_output_process(output, heard, BLOCK_FRAMES);
  pe_output_process(output, heard + BLOCK_FRAMES, BLOCK_FRAMES);
}

static int nothing(uint64_t n) {
  (void)n;
  return 0;
}

/* Somebody writes a block anew, as a successor does with one of another generation. */
static void scribble(PeSegment *s, uint32_t seat, uint64_t block) {
  PeBlockHead *h = pe_block_head(s, seat, block);
  atomic_store(&h->stamp, 0);
  memset(pe_block_data(s, seat, block), 0x55, BLOCK_FRAMES * sizeof(float));
}

static void check_callback(void) {
  uint64_t n_torn = 0;
  heard = shared_memory(2 * BLOCK_FRAMES * sizeof(float));
  PeSegment *s = segment_at(shared);
  prepare_worker();
  CHECK(pe_output_new(s, &output) == PE_OK);
  memcpy(seen, shared, segment_bytes);
  for (uint32_t seat = 0; seat < PE_SLOTS; seat++)
    for (uint64_t k = 0; k < 2; k++) {
      PeBlockHead *h = pe_block_head(segment_at(seen), seat, k);
      memcpy(pe_block_data(segment_at(seen), seat, k), reference.data[k], sizeof reference.data[k]);
      *h = (PeBlockHead){.stamp = k + 1, .generation = 0, .hash = reference.hash[k]};
    }
  memcpy(shared, seen, segment_bytes);
  const uint64_t n_all = step_through(callback_operation, nothing, UINT64_MAX);
  CHECK(memcmp(heard, reference.data, 2 * BLOCK_FRAMES * sizeof(float)) == 0);
  for (uint64_t n = 1; n < n_all; n += 1 + n_all / 128) {
    memcpy(shared, seen, segment_bytes);
    memset(heard, 0, 2 * BLOCK_FRAMES * sizeof(float));
    const pid_t child = start_child(callback_operation);
    int status;
    uint64_t i = 0;
    while (i < n && step(child)) i++;
    if (i < n) break; /* this one needed fewer: how many depends on the times */
    scribble(s, 0, atomic_load(&s->play_block) & 1u); /* of the active slot: the one that is played, or due */
    CHECK(ptrace(PTRACE_CONT, child, NULL, NULL) == 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(memcmp(heard, reference.data, 2 * BLOCK_FRAMES * sizeof(float)) == 0);
    CHECK(pe_counter(s, PE_COUNT_FRAMES_UNDERRUN) == 0 && pe_counter(s, PE_COUNT_DECLICKS) == 0);
    CHECK(pe_counter(s, PE_COUNT_DIVERGED) == 0);
    n_torn += pe_counter(s, PE_COUNT_TORN);
  }
  CHECK(n_torn > 0); /* it was met in the middle of a copy */
  printf("callback: %llu instructions, %llu torn blocks\n", (unsigned long long)n_all, (unsigned long long)n_torn);
  pe_output_free(output);
}

int main(void) {
  CHECK(pe_registry_new(&registry) == PE_OK);
  check_ring();
  check_events();
  check_checkpoints();
  check_worker();
  check_callback();
  pe_registry_free(registry);
  return 0;
}
