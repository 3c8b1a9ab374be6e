/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "output.h"

#include <string.h>

#include "meter.h"

#define STEADY_REQUESTS 256u /* so many of one size, and the next is taken to be too */

static void put_u64(_Atomic uint64_t *word, uint64_t value) {
  atomic_store_explicit(word, value, memory_order_release); /* after all that led to it */
}

static uint64_t play_block(const PeSegment *s) {
  return atomic_load_explicit(&s->play_block, memory_order_relaxed); /* own word: only the callback writes it */
}

PE_RT void pe_output_expect(PeOutput *o, uint32_t n_frames) {
  PeSegment *s = o->segment;
  const uint32_t block_frames = s->config.block_frames, at = o->has_block ? o->at : 0;
  const uint32_t touched = (uint32_t)(((uint64_t)at + n_frames + block_frames - 1) / block_frames); /* blocks from play_block on */
  uint32_t lead = (uint32_t)(((uint64_t)n_frames + block_frames - 1) / block_frames) - 1 + s->config.lead_blocks;
  if (n_frames == 0) return;
  if (lead < touched) lead = touched; /* lead 1 and a request that starts inside a block */
  if (lead > s->ring_blocks - 2) lead = s->ring_blocks - 2;
  if (n_frames > atomic_load_explicit(&s->largest_request, memory_order_relaxed)) /* own word */
    atomic_store_explicit(&s->largest_request, n_frames, memory_order_relaxed);   /* a figure */
  if (touched > atomic_load_explicit(&s->most_touched, memory_order_relaxed)) /* own word */
    atomic_store_explicit(&s->most_touched, touched, memory_order_relaxed);   /* a figure that only grows */
  if (lead <= atomic_load_explicit(&s->effective_lead, memory_order_relaxed)) return; /* own word */
  atomic_store_explicit(&s->effective_lead, lead, memory_order_relaxed); /* a figure that only grows */
  pe_counter_add(&s->counters[PE_COUNT_LEAD_RAISED], 1);
}

PE_RT int pe_output_can_serve(PeOutput *o, uint32_t n_frames, int all) {
  PeSegment *s = o->segment;
  const uint32_t block_frames = s->config.block_frames;
  const uint32_t have = o->has_block ? block_frames - o->at : 0;
  if (n_frames <= have) return 1;
  const uint64_t first = play_block(s) + (o->has_block ? 1u : 0u);
  uint32_t n_blocks = (n_frames - have + block_frames - 1) / block_frames;
  if (n_blocks > s->ring_blocks - 2) n_blocks = s->ring_blocks - 2;
  for (uint64_t k = first; k < first + n_blocks; k++) {
    uint32_t n = 0, n_lacking = 0; /* those that have it; those alive that have not */
    for (uint32_t i = 0; i < PE_SLOTS; i++) {
      uint64_t generation;
      const int is_alive = atomic_load_explicit(&s->slots[i].alive, memory_order_acquire) != 0; /* a flag, nothing else */
      const uint32_t seat = pe_seat_of(s, i);
      const int is_there = pe_block_is_there(s, seat, k, &generation) || pe_rest_covers(s, &o->gate.quiet[seat], seat, k, &generation);
      const int has_it = is_there && pe_slot_plays(s, i, generation);
      n += (uint32_t)has_it;
      n_lacking += (uint32_t)(is_alive && !has_it && pe_slot_plays(s, i, PE_PLAY_ALL));
    }
    if (n == 0 || (all && n_lacking > 0)) return 0;
  }
  return 1;
}

static void event(PeOutput *o, uint32_t kind, uint64_t frame, uint64_t value) {
  const PeEvent e = {.kind = kind, .source = PE_SEATS, .block = play_block(o->segment), .frame = frame, .value = value};
  pe_event_push(o->segment, &e);
}

/* Copy the block out of the ring, and look again that it was whole: a ring is never trusted to stand still. */
static int copy_block(PeOutput *o, const PeSource *source, uint64_t block, uint64_t *hash) {
  PeSegment *s = o->segment;
  const PeBlockHead *h = pe_block_head(s, source->seat, block);
  *hash = 0;
  if (source->is_rest) {
    memset(o->block, 0, sizeof(float) * s->config.block_frames * s->config.n_channels);
    return 1;
  }
  *hash = atomic_load_explicit(&h->hash, memory_order_relaxed); /* ordered by the stamp */
  memcpy(o->block, pe_block_data(s, source->seat, block), sizeof(float) * s->config.block_frames * s->config.n_channels);
  atomic_thread_fence(memory_order_acquire); /* the copy ends before the head is looked at again */
  const int is_whole = atomic_load_explicit(&h->stamp, memory_order_relaxed) == block + 1 &&          /* ordered by the fence */
                       atomic_load_explicit(&h->generation, memory_order_relaxed) == source->generation; /* ordered by the fence */
  if (!is_whole) pe_counter_add(&s->counters[PE_COUNT_TORN], 1);
  return is_whole;
}

/* Fetch the due block; 0 when no ring has it. */
static int next_block(PeOutput *o, uint64_t frames) {
  PeSegment *s = o->segment;
  const uint64_t block = play_block(s);
  PeSource source;
  uint64_t hash;
  for (uint32_t i = 0;; i++) { /* a block that is being written anew may be in the other ring, or whole a moment later */
    source = pe_gate_choose(s, &o->gate, block, frames);
    if (source.slot == PE_NO_SLOT) return 0;
    if (copy_block(o, &source, block, &hash)) break;
    if (i == 2) return 0;
  }
  const int is_declicked = source.is_declicked || o->is_silent;
  if (is_declicked) {
    o->declick.is_due = 1;
    pe_counter_add(&s->counters[PE_COUNT_DECLICKS], 1);
  }
  pe_gate_compare(s, &source, block, frames, hash);
  pe_gate_tell(s, &o->gate, &source, block, frames, is_declicked);
  if (o->is_silent) {
    event(o, PE_EVENT_RESUMED, frames, o->silent_frames);
    o->is_silent = 0;
  }
  o->has_block = 1;
  o->at = 0;
  return 1;
}

static void be_silent(PeOutput *o, uint64_t frames, float *out, uint32_t n_frames) {
  PeSegment *s = o->segment;
  pe_counter_add(&s->counters[PE_COUNT_NONE_READS], 1);
  if (!o->is_silent) {
    o->is_silent = 1;
    o->silent_frames = 0;
    o->declick.is_due = 1;
    pe_counter_add(&s->counters[PE_COUNT_DECLICKS], 1);
    event(o, PE_EVENT_UNDERRUN, frames, 0);
  }
  o->silent_frames += n_frames;
  pe_declick_put(&o->declick, NULL, 0, s->config.n_channels, n_frames, out);
  pe_counter_add(&s->counters[PE_COUNT_FRAMES_UNDERRUN], n_frames);
}

static void block_is_out(PeOutput *o, uint64_t asked_ns) {
  PeSegment *s = o->segment;
  o->has_block = 0;
  pe_counter_add(&s->counters[PE_COUNT_BLOCKS_PLAYED], 1);
  atomic_store_explicit(&s->freed_ns, asked_ns, memory_order_relaxed); /* a hint, before play_block lets anybody look at it */
  put_u64(&s->play_block, play_block(s) + 1); /* after its last frame was read */
}

static void feed_tap(PeOutput *o, const float *interleaved, uint32_t n_frames) {
  const size_t n_channels = o->segment->config.n_channels;
  uint32_t at = 0;
  while (at < n_frames) { /* at most twice: once around the ring's end */
    void *place;
    const uint32_t n = ring_acquire(o->tap, n_frames - at, &place);
    if (n == 0) break;
    memcpy(place, interleaved + at * n_channels, n * n_channels * sizeof(float));
    ring_commit(o->tap, n);
    at += n;
  }
  if (at < n_frames) pe_counter_add(&o->segment->counters[PE_COUNT_TAP_LOST], n_frames - at);
}

static void tell_time(PeOutput *o, uint64_t frame, uint64_t ns) {
  const uint32_t v = atomic_load_explicit(&o->time_version, memory_order_relaxed); /* own word */
  atomic_store_explicit(&o->time_version, v + 1, memory_order_relaxed); /* odd: being written, ordered by the fence */
  atomic_thread_fence(memory_order_release);
  atomic_store_explicit(&o->time_frame, frame, memory_order_relaxed); /* between the two versions */
  atomic_store_explicit(&o->time_ns, ns, memory_order_relaxed);       /* between the two versions */
  atomic_store_explicit(&o->time_version, v + 2, memory_order_release); /* even: whole */
}

/* Are requests all of one size? */
static void tell_size(PeOutput *o, uint32_t n_frames) {
  o->n_same = n_frames != o->request_frames ? 0 : o->n_same < STEADY_REQUESTS ? o->n_same + 1 : o->n_same;
  o->request_frames = n_frames;
  const uint32_t steady = o->n_same == STEADY_REQUESTS ? n_frames : 0;
  if (steady != atomic_load_explicit(&o->segment->steady_request, memory_order_relaxed)) /* own word */
    atomic_store_explicit(&o->segment->steady_request, steady, memory_order_relaxed);  /* a hint */
}

PE_RT void pe_output_process(PeOutput *o, float *out, uint32_t n_frames) { pe_output_put(o, out, n_frames, pe_now_ns()); }

PE_RT void pe_output_put(PeOutput *o, float *out, uint32_t n_frames, uint64_t asked_ns) {
  PeSegment *s = o->segment;
  const uint64_t start = pe_now_ns();
  const uint64_t frames = atomic_load_explicit(&o->frames, memory_order_relaxed); /* own word */
  const uint32_t n_channels = s->config.n_channels;
  uint32_t at = 0, n_silent = 0;
  const int was_tapped = o->is_tapped;
  o->is_tapped = (int)atomic_load_explicit(&o->record_wanted, memory_order_acquire); /* a flag, nothing else */
  if (o->is_tapped && !was_tapped) put_u64(&o->tap_start, frames);
  tell_time(o, frames, asked_ns);
  tell_size(o, n_frames);
  pe_timeline_update(&o->timeline, asked_ns, n_frames, (int64_t)(play_block(s) * s->config.block_frames + (o->has_block ? o->at : 0)));
  pe_output_expect(o, n_frames);
  while (at < n_frames) {
    if (!o->has_block && !next_block(o, frames + at)) {
      n_silent = n_frames - at;
      be_silent(o, frames + at, out + (size_t)at * n_channels, n_silent);
      break;
    }
    const uint32_t left = s->config.block_frames - o->at;
    const uint32_t n = left < n_frames - at ? left : n_frames - at;
    pe_declick_put(&o->declick, o->block + o->at, s->config.block_frames, n_channels, n, out + (size_t)at * n_channels);
    o->at += n;
    at += n;
    if (o->at == s->config.block_frames) block_is_out(o, asked_ns);
  }
  if (s->config.is_free_running) pe_wake(&s->work); /* elsewhere workers look by themselves: no system call here */
  if (o->is_tapped) feed_tap(o, out, n_frames);
  pe_history_put(&o->history, out, frames, n_frames);
  pe_view_put(s, out, n_frames);
  atomic_store_explicit(&o->is_recording, (uint32_t)o->is_tapped, memory_order_release); /* after the frames are in the tap */
  put_u64(&o->frames, frames + n_frames);
  pe_counter_add(&s->counters[PE_COUNT_CALLBACKS], 1);
  pe_counter_add(&s->counters[PE_COUNT_FRAMES_REQUESTED], n_frames);
  pe_counter_add(&s->counters[PE_COUNT_FRAMES_DELIVERED], n_frames - n_silent);
  pe_counter_max(&s->counters[PE_COUNT_WORST_CALLBACK_NS], pe_now_ns() - start);
}
