/* The command stream and the journal: one intake, two threads that decide block after block at random relative speed.
 * Both must obey the same decision, decisions never go back, no bundle is cut, and what is read is what was sent. */
#include <pthread.h>
#include <sched.h>

#include "journal.h"
#include "stress.h"

#define N_BLOCKS 12000u
#define SKEW 700u /* less than the small journal: a slot further behind is told that it is stale */

#define FRESH 32u /* every so many blocks there is something to decide: else blocks could outrun a slow intake */

static PeSegment *segment;
static uint64_t decisions[PE_SLOTS][N_BLOCKS];
static _Atomic uint32_t heads[PE_SLOTS];
static _Atomic uint64_t n_sent;

/* Record `i` of bundle `bundle` of `n`: what it holds follows from its number. */
static PeCommand record_of(uint64_t bundle, uint32_t i, uint32_t n, uint64_t seq) {
  return (PeCommand){.kind = PE_COMMAND_MARK, .frame = -1, .arg = bundle, .param = i, .handle = n,
                     .value = (double)seq * 0.5, .reserved = {seq * 0x9e3779b97f4a7c15ull, ~seq}};
}

/* Let the others on: give the processor away, and leave it alone for a while if that did not help. */
static void be_patient(uint32_t i) {
  if (i % 16 < 15)
    sched_yield();
  else
    sleep_us(50);
}

static void *intake(void *argument) {
  static PeCommand records[PE_COMMAND_BUDGET];
  Random r = {*(uint64_t *)argument};
  uint64_t newest = 0;
  for (uint64_t bundle = 1; atomic_load(&heads[0]) < N_BLOCKS || atomic_load(&heads[1]) < N_BLOCKS; bundle++) {
    const uint32_t n = random_below(&r, 60) == 0 ? PE_COMMAND_BUDGET : 1 + random_below(&r, 300);
    for (uint32_t i = 0; i < n; i++) records[i] = record_of(bundle, i, n, newest + 1 + i);
    for (uint32_t k = 0; pe_stream_space(segment) < n; k++) {
      CHECK(pe_stream_send(segment, records, n) == 0 || pe_stream_newest(segment) == newest + n);
      if (pe_stream_newest(segment) != newest) break; /* there was room after all */
      if (atomic_load(&heads[0]) >= N_BLOCKS && atomic_load(&heads[1]) >= N_BLOCKS) return NULL;
      be_patient(k);
    }
    if (pe_stream_newest(segment) == newest) CHECK(pe_stream_send(segment, records, n) == newest + n);
    newest += n;
    for (uint32_t k = random_below(&r, 4); k > 0; k--) sched_yield();
  }
  atomic_store(&n_sent, newest);
  return NULL;
}

static void check_record(const PeCommand *c, uint64_t seq) {
  const PeCommand sent = record_of(c->arg, c->param, c->handle, seq);
  CHECK(c->seq == seq && c->kind == sent.kind && c->frame == -1 && c->value == sent.value);
  CHECK(c->reserved[0] == sent.reserved[0] && c->reserved[1] == sent.reserved[1]);
  CHECK(((c->flags & PE_COMMAND_BUNDLE_END) != 0) == (c->param + 1 == c->handle));
}

static void *decide(void *argument) {
  const uint32_t slot = *(uint32_t *)argument;
  Random r = {slot + 1};
  uint64_t applied = 0;
  for (uint32_t block = 0; block < N_BLOCKS; block++) {
    for (uint32_t k = 0; block > atomic_load(&heads[1u - slot]) + SKEW; k++) be_patient(k);
    const uint64_t upto = pe_journal_decide(segment, block, applied);
    CHECK(upto != PE_JOURNAL_STALE && upto >= applied && upto - applied <= PE_COMMAND_BUDGET);
    for (uint64_t seq = applied + 1; seq <= upto; seq++) check_record(pe_stream_record(segment, seq), seq);
    if (upto > applied) CHECK(pe_stream_record(segment, upto)->flags & PE_COMMAND_BUNDLE_END);
    CHECK(pe_journal_read(segment, block) == upto);
    applied = decisions[slot][block] = upto;
    atomic_store_explicit(&segment->seats[slot].applied, applied, memory_order_release); /* as the worker does */
    atomic_store(&heads[slot], block + 1);
    if (random_below(&r, 200) == 0) sleep_us(random_below(&r, 300));
    for (uint32_t k = 0; block % FRESH == 0 && pe_stream_newest(segment) == applied; k++) be_patient(k);
  }
  return NULL;
}

int main(void) {
  static uint32_t slots[PE_SLOTS] = {0, 1};
  uint64_t seed = 5;
  const PeConfig config = {.sample_rate_hz = 48000.0, .block_frames = 64, .n_channels = 1, .lead_blocks = 2,
                           .n_commands = 2 * PE_COMMAND_BUDGET, .n_journal = 1024, .tap_frames = 64, .checkpoint_bytes = 64};
  pthread_t threads[3];
  segment = new_segment(&config);
  for (uint32_t i = 0; i < PE_SLOTS; i++) pe_slot_set_alive(segment, i, 1);
  CHECK(pthread_create(&threads[0], NULL, intake, &seed) == 0);
  for (uint32_t i = 0; i < PE_SLOTS; i++) CHECK(pthread_create(&threads[1 + i], NULL, decide, &slots[i]) == 0);
  for (uint32_t i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  uint64_t before = 0;
  for (uint32_t block = 0; block < N_BLOCKS; block++) {
    CHECK(decisions[0][block] == decisions[1][block] && decisions[0][block] >= before);
    before = decisions[0][block];
  }
  CHECK(before > 4 * config.n_commands); /* the ring went round many times */
  CHECK(pe_journal_decide(segment, N_BLOCKS - 1 - config.n_journal, before) == PE_JOURNAL_STALE);
  CHECK(pe_journal_read(segment, N_BLOCKS - 1 - config.n_journal) == PE_JOURNAL_STALE);
  free_segment(segment);
  printf("%llu records\n", (unsigned long long)before);
  return 0;
}
