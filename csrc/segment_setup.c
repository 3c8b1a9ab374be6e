#include <string.h>

#include "segment.h"

#define PLACE_HEAD_BYTES (sizeof(PeCheckpointHead) + (uint64_t)PE_SCHEDULE_SIZE * sizeof(PeCommand))

static uint64_t align64(uint64_t n) { return (n + 63u) & ~(uint64_t)63u; }

static int is_power_of_two(uint32_t n) { return n != 0 && (n & (n - 1)) == 0; }

static uint32_t ring_blocks_for(uint32_t block_frames) {
  const uint32_t need = (PE_MAX_REQUEST + block_frames - 1) / block_frames + PE_MAX_LEAD + 2;
  uint32_t n = 16;
  while (n < need) n *= 2;
  return n;
}

static int config_is_right(const PeConfig *c) {
  return c->sample_rate_hz >= 1000.0 && c->sample_rate_hz <= 768000.0 && c->block_frames >= 1 &&
         c->block_frames <= PE_MAX_BLOCK_FRAMES && c->n_channels >= 1 && c->n_channels <= PE_MAX_CHANNELS &&
         c->lead_blocks >= 1 && c->lead_blocks <= PE_MAX_LEAD && is_power_of_two(c->n_commands) &&
         c->n_commands >= 2 * PE_COMMAND_BUDGET && is_power_of_two(c->n_journal) && c->n_journal >= 1024 &&
         c->n_journal >= 2 * ring_blocks_for(c->block_frames) && /* nobody may lap a slot that is a ring behind */
         is_power_of_two(c->tap_frames) && c->checkpoint_bytes <= (1u << 30);
}

/* Lays the parts out behind one another; the one place that knows their order. */
static uint64_t lay_out(const PeConfig *c, PeSegment *s) {
  PeSegment scratch;
  if (s == NULL) s = &scratch;
  uint64_t at = align64(sizeof(PeSegment));
  s->ring_blocks = ring_blocks_for(c->block_frames);
  for (uint32_t i = 0; i < PE_SEATS; i++) {
    s->heads_at[i] = at;
    at += align64((uint64_t)s->ring_blocks * sizeof(PeBlockHead));
    s->data_at[i] = at;
    at += align64((uint64_t)s->ring_blocks * c->block_frames * c->n_channels * sizeof(float));
  }
  s->commands_at = at;
  at += (uint64_t)c->n_commands * sizeof(PeCommand);
  s->journal_at = at;
  at += align64((uint64_t)c->n_journal * sizeof(uint64_t));
  s->event_bytes = pe_ring_bytes(sizeof(PeEvent), PE_EVENT_CAPACITY);
  for (uint32_t i = 0; i < PE_EVENT_SOURCES; i++) {
    s->event_at[i] = at;
    at += s->event_bytes;
  }
  s->tap_at = at;
  s->tap_bytes = pe_ring_bytes((uint32_t)(c->n_channels * sizeof(float)), c->tap_frames);
  at += s->tap_bytes;
  s->view_at = at;
  at += align64((uint64_t)PE_VIEW_FRAMES * c->n_channels * sizeof(float));
  for (uint32_t i = 0; i < PE_SEATS; i++) {
    s->meters_at[i] = at;
    at += PE_METERS * sizeof(PeMeterPlace);
  }
  for (uint32_t i = 0; i < PE_SEATS; i++)
    for (uint32_t k = 0; k < 2; k++) {
      s->checkpoint_at[i][k] = at;
      at += PLACE_HEAD_BYTES + align64(c->checkpoint_bytes);
    }
  return align64(at);
}

uint64_t pe_segment_bytes(const PeConfig *config) { return config_is_right(config) ? lay_out(config, NULL) : 0; }

PeStatus pe_segment_init(void *memory, uint64_t bytes, const PeConfig *config) {
  const uint64_t need = pe_segment_bytes(config);
  if (memory == NULL || need == 0 || ((uintptr_t)memory & 63u) != 0) return PE_BAD_ARGUMENT;
  if (bytes < need) return PE_BAD_SIZE;
  PeSegment *s = memory;
  PeSegment places; /* where they lie */
  lay_out(config, &places);
  /* Every page that the real-time side will touch is there from now on; those of states when a plan needs them. */
  memset(memory, 0, (size_t)places.checkpoint_at[0][0]);
  for (uint32_t i = 0; i < PE_SEATS; i++)
    for (uint32_t k = 0; k < 2; k++) memset(pe_segment_at(s, places.checkpoint_at[i][k]), 0, PLACE_HEAD_BYTES);
  s->config = *config;
  lay_out(config, s);
  s->bytes = need;
  s->version = PE_LAYOUT_VERSION;
  for (uint32_t i = 0; i < PE_EVENT_SOURCES; i++) {
    const PeStatus status = pe_ring_init(pe_event_ring(s, i), s->event_bytes, sizeof(PeEvent), PE_EVENT_CAPACITY);
    if (status != PE_OK) return status;
  }
  const PeStatus status = pe_ring_init(pe_segment_at(s, s->tap_at), s->tap_bytes,
                                       (uint32_t)(config->n_channels * sizeof(float)), config->tap_frames);
  if (status != PE_OK) return status;
  for (uint32_t i = 0; i < PE_SLOTS; i++) {
    atomic_init(&s->slots[i].seat, i);
    atomic_init(&s->slots[i].pin, PE_KEEP_ALL);
    atomic_init(&s->slots[i].playable, PE_PLAY_NONE);
  }
  atomic_init(&s->keep, PE_KEEP_ALL);
  atomic_init(&s->effective_lead, config->lead_blocks);
  atomic_init(&s->most_touched, 1);
  s->magic = PE_SEGMENT_MAGIC;
  return PE_OK;
}

PeStatus pe_segment_attach(void *memory, uint64_t bytes, PeSegment **segment) {
  *segment = NULL;
  if (memory == NULL || ((uintptr_t)memory & 63u) != 0) return PE_BAD_ARGUMENT;
  if (bytes < sizeof(PeSegment)) return PE_BAD_SIZE;
  PeSegment *s = memory;
  if (s->magic != PE_SEGMENT_MAGIC) return PE_BAD_MAGIC;
  if (s->version != PE_LAYOUT_VERSION) return PE_BAD_VERSION;
  if (s->bytes > bytes || pe_segment_bytes(&s->config) != s->bytes) return PE_BAD_SIZE;
  *segment = s;
  return PE_OK;
}

void *pe_segment_states(PeSegment *s, uint32_t seat, uint32_t place) {
  return pe_segment_at(s, s->checkpoint_at[seat][place] + PLACE_HEAD_BYTES);
}

void pe_segment_config(const PeSegment *s, PeConfig *config) { *config = s->config; }

PeRing *pe_segment_tap(PeSegment *s) { return pe_segment_at(s, s->tap_at); }

uint32_t pe_event_next(PeSegment *s, uint32_t source, PeEvent *event) {
  void *place;
  if (source >= PE_EVENT_SOURCES) return 0;
  PeRing *ring = pe_event_ring(s, source);
  if (pe_ring_peek(ring, 1, &place) == 0) return 0;
  *event = *(const PeEvent *)place;
  pe_ring_release(ring, 1);
  return 1;
}

uint32_t pe_signal_wait(PeSegment *s, uint32_t seen, uint32_t timeout_ms) {
  if (pe_wake_seen(&s->signal) == seen) pe_wake_wait(&s->signal, seen, (uint64_t)timeout_ms * 1000000u);
  return pe_wake_seen(&s->signal);
}

uint32_t pe_signal_value(const PeSegment *s) { return pe_wake_seen(&s->signal); }

void pe_signal_raise(PeSegment *s) { pe_wake(&s->signal); }

void pe_sync_request(PeSegment *s, uint64_t seq) {
  atomic_store_explicit(&s->sync_seq, seq, memory_order_release); /* a worker that sees it has nothing else to see */
}

uint64_t pe_counter(const PeSegment *s, uint32_t counter) {
  return counter < PE_COUNTERS ? pe_counter_get(&s->counters[counter]) : 0;
}

uint64_t pe_seat_counter(const PeSegment *s, uint32_t seat, uint32_t counter) {
  return seat < PE_SEATS && counter < PE_SLOT_COUNTERS ? pe_counter_get(&s->seats[seat].counters[counter]) : 0;
}

/* ---- the supervisor's words ------------------------------------------------------------------ */

#define GET(word) atomic_load_explicit(&(word), memory_order_acquire)         /* and what was stored before it */
#define PUT(word, value) atomic_store_explicit(&(word), value, memory_order_release) /* after all before it */

uint32_t pe_gate_has_block(const PeSegment *segment, uint64_t block) {
  PeSegment *s = (PeSegment *)(uintptr_t)segment; /* it is only looked at */
  uint64_t generation;
  for (uint32_t i = 0; i < PE_SLOTS; i++)
    if (pe_slot_has(s, i, block, &generation)) return 1;
  return 0;
}

uint64_t pe_gate_play_block(const PeSegment *s) { return GET(s->play_block); }
uint32_t pe_gate_active_slot(const PeSegment *s) { return GET(s->active_slot); }
uint64_t pe_gate_heard_generation(const PeSegment *s) { return GET(s->heard_generation); }
uint64_t pe_gate_swapped_generation(const PeSegment *s) { return GET(s->swapped_generation); }
uint64_t pe_gate_pending_switch(const PeSegment *s) { return GET(s->pending_switch); }
uint64_t pe_gate_standby_ready(const PeSegment *s) { return GET(s->standby_ready); }
uint32_t pe_gate_effective_lead(const PeSegment *s) { return GET(s->effective_lead); }

uint32_t pe_gate_clock_rests(const PeSegment *s) { return GET(s->clock_rests); }

uint32_t pe_gate_slot_rests(const PeSegment *s, uint32_t slot) { return (uint32_t)pe_slot_rests(s, slot % PE_SLOTS); }
uint32_t pe_gate_largest_request(const PeSegment *s) {
  const uint32_t largest = GET(s->largest_request);
  return largest ? largest : s->config.block_frames;
}

void pe_gate_open(PeSegment *s, uint64_t generation) {
  PUT(s->standby_ready, generation);
  PUT(s->opening, GET(s->opening) + 1);
  PUT(s->pending_switch, generation);
  pe_wake_resting(s);
}

void pe_gate_close(PeSegment *s) {
  PUT(s->pending_switch, 0);
  PUT(s->standby_ready, 0);
}

uint64_t pe_slot_prime_ready(const PeSegment *s, uint32_t slot) { return GET(s->slots[slot % PE_SLOTS].prime_ready); }

void pe_slot_reset_prime_ready(PeSegment *s, uint32_t slot, uint64_t generation) {
  PUT(s->slots[slot % PE_SLOTS].prime_ready, generation * 2);
}

uint32_t pe_slot_set_prime_ready(PeSegment *s, uint32_t slot, uint64_t generation) {
  uint64_t expected = generation * 2;
  return atomic_compare_exchange_strong_explicit(&s->slots[slot % PE_SLOTS].prime_ready, &expected, generation * 2 + 1,
                                                 memory_order_acq_rel, memory_order_acquire) /* the plan is armed before it */
             ? 1
             : 0;
}

void pe_slot_set_playable(PeSegment *s, uint32_t slot, uint64_t generation) {
  PUT(s->slots[slot % PE_SLOTS].playable, generation);
  pe_wake(&s->done);
}

void pe_slot_set_alive(PeSegment *s, uint32_t slot, uint32_t is_on) {
  PUT(s->slots[slot % PE_SLOTS].alive, is_on);
  pe_wake(&s->done);
}

uint32_t pe_slot_is_alive(const PeSegment *s, uint32_t slot) { return GET(s->slots[slot % PE_SLOTS].alive); }

void pe_slot_set_pin(PeSegment *s, uint32_t slot, uint64_t seq) { PUT(s->slots[slot % PE_SLOTS].pin, seq); }
uint64_t pe_slot_pin(const PeSegment *s, uint32_t slot) { return GET(s->slots[slot % PE_SLOTS].pin); }

void pe_slot_set_seat(PeSegment *s, uint32_t slot, uint32_t seat) { PUT(s->slots[slot % PE_SLOTS].seat, seat % PE_SEATS); }
uint32_t pe_slot_seat(const PeSegment *s, uint32_t slot) { return pe_seat_of(s, slot % PE_SLOTS); }

void pe_seat_set_shutdown(PeSegment *s, uint32_t seat, uint32_t is_on) {
  PUT(s->seats[seat % PE_SEATS].shutdown, is_on);
  pe_wake(&s->work);
}

void pe_seat_set_keeper(PeSegment *s, uint32_t seat, uint32_t is_on) { PUT(s->seats[seat % PE_SEATS].keeper, is_on); }
uint64_t pe_seat_render_head(const PeSegment *s, uint32_t seat) { return GET(s->seats[seat % PE_SEATS].render_head); }
uint64_t pe_seat_applied(const PeSegment *s, uint32_t seat) { return GET(s->seats[seat % PE_SEATS].applied); }
uint64_t pe_seat_generation(const PeSegment *s, uint32_t seat) { return GET(s->seats[seat % PE_SEATS].generation); }
uint64_t pe_seat_heartbeat(const PeSegment *s, uint32_t seat) { return GET(s->seats[seat % PE_SEATS].heartbeat); }
uint32_t pe_seat_marker(const PeSegment *s, uint32_t seat) { return GET(s->seats[seat % PE_SEATS].marker); }
uint32_t pe_seat_build_marker(const PeSegment *s, uint32_t seat) { return GET(s->seats[seat % PE_SEATS].build_marker); }

void pe_checkpoint_request(PeSegment *s, uint32_t slot, uint64_t generation) {
  PeSeatShared *seat = &s->seats[pe_seat_of(s, slot % PE_SLOTS)];
  const uint64_t number = (atomic_load_explicit(&seat->checkpoint_request, memory_order_relaxed) + 1) & 0xffffu; /* own word */
  PUT(seat->checkpoint_request, (generation << 16) | number);
  pe_wake(&s->work);
}

/* ---- the command stream: one writer, the intake ----------------------------------------------- */

/* Every record above this number must stay: what a live worker, a joiner or whoever starts from a checkpoint has
 * still to apply. */
static uint64_t pinned_floor(const PeSegment *s, uint64_t floor) {
  const uint64_t keep = GET(s->keep);
  if (keep < floor) floor = keep;
  for (uint32_t i = 0; i < PE_SLOTS; i++) {
    const uint64_t pin = GET(s->slots[i].pin);
    if (pin < floor) floor = pin;
  }
  return floor;
}

/* Pins are looked at twice: one lifted just now leaves a live slot that is seen after it, one set just now was
 * set before any slot went past it. */
static uint64_t stream_floor(const PeSegment *s) {
  uint64_t floor = pinned_floor(s, GET(s->newest));
  for (uint32_t i = 0; i < PE_SLOTS; i++) {
    if (!GET(s->slots[i].alive)) continue;
    const uint64_t applied = GET(s->seats[pe_seat_of(s, i)].applied);
    if (applied < floor) floor = applied;
  }
  return pinned_floor(s, floor);
}

void pe_stream_set_keep(PeSegment *s, uint64_t seq) { PUT(s->keep, seq); }
uint64_t pe_stream_keep(const PeSegment *s) { return GET(s->keep); }

uint64_t pe_stream_newest(const PeSegment *s) { return GET(s->newest); }

uint32_t pe_stream_space(const PeSegment *s) {
  const uint64_t kept = GET(s->newest) - stream_floor(s);
  return kept >= s->config.n_commands ? 0 : (uint32_t)(s->config.n_commands - kept);
}

uint64_t pe_stream_send(PeSegment *s, const PeCommand *records, uint32_t n) {
  if (n == 0 || n > PE_COMMAND_BUDGET || pe_stream_space(s) < n) return 0;
  const uint64_t newest = GET(s->newest);
  for (uint32_t i = 0; i < n; i++) {
    PeCommand *place = pe_stream_record(s, newest + 1 + i);
    *place = records[i];
    place->seq = newest + 1 + i;
    if (i + 1 < n)
      place->flags &= ~(uint32_t)PE_COMMAND_BUNDLE_END; /* one store is one bundle: it is never cut */
    else
      place->flags |= PE_COMMAND_BUNDLE_END;
  }
  PUT(s->newest, newest + n);
  pe_wake_resting(s);
  return newest + n;
}

uint64_t pe_journal_entry(const PeSegment *s, uint64_t block) {
  const _Atomic uint64_t *entries = pe_segment_at_const(s, s->journal_at);
  return GET(entries[block & (s->config.n_journal - 1)]);
}
