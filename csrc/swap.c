/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "swap.h"

static void event(PeSegment *s, uint32_t kind, uint64_t block, uint64_t frames, uint64_t generation, uint64_t value) {
  const PeEvent e = {.kind = kind, .source = PE_SEATS, .block = block, .frame = frames, .generation = generation, .value = value};
  pe_event_push(s, &e);
}

static int is_alive(const PeSegment *s, uint32_t slot) {
  return atomic_load_explicit(&s->slots[slot].alive, memory_order_acquire) != 0; /* a flag, nothing else */
}

static void make_active(PeSegment *s, PeGate *gate, uint32_t slot) {
  gate->n_hedged_in_a_row = 0;
  atomic_store_explicit(&s->active_slot, slot, memory_order_release); /* for readers of a status; only we write it */
}

static PeSource heard(const PeSource *found, int is_declicked) {
  PeSource source = *found;
  source.is_declicked = is_declicked;
  return source;
}

/* Has a slot the block: in its ring, or as the silence it rests in? */
static int find(PeSegment *s, PeGate *gate, uint32_t slot, uint64_t block, PeSource *found) {
  const uint32_t seat = pe_seat_of(s, slot);
  uint64_t generation;
  *found = (PeSource){.slot = slot, .seat = seat};
  if (pe_block_is_there(s, seat, block, &found->generation) && pe_slot_plays(s, slot, found->generation)) return 1;
  if (!pe_rest_covers(s, &gate->quiet[seat], seat, block, &generation) || !pe_slot_plays(s, slot, generation)) return 0;
  found->generation = generation;
  found->is_rest = 1;
  return 1;
}

/* Invariant 3: pending_switch, standby_ready, primed for the pending generation, and the due block of it is there. */
static int gate_is_open(PeSegment *s, PeGate *gate, uint32_t standby, uint64_t block, PeSource *found, uint64_t *opening) {
  const uint64_t pending = atomic_load_explicit(&s->pending_switch, memory_order_acquire); /* and what was stored before it */
  *opening = atomic_load_explicit(&s->opening, memory_order_acquire); /* a number, nothing else */
  if (pending == 0 || *opening == atomic_load_explicit(&s->swapped_opening, memory_order_relaxed)) return 0; /* own word */
  if (atomic_load_explicit(&s->standby_ready, memory_order_acquire) != pending) return 0; /* a number, nothing else */
  if (atomic_load_explicit(&s->slots[standby].prime_ready, memory_order_acquire) != pending * 2 + 1) return 0; /* a number, nothing else */
  return find(s, gate, standby, block, found) && found->generation == pending;
}

static PeSource swap(PeSegment *s, PeGate *gate, const PeSource *found, uint64_t block, uint64_t frames, uint64_t opening) {
  const PeSeatShared *seat = &s->seats[found->seat];
  const uint64_t pending = found->generation;
  const uint64_t begins = atomic_load_explicit(&seat->switch_block, memory_order_relaxed); /* ordered by the stamp */
  const uint64_t late = block > begins ? block - begins : 0;
  /* It continues what was heard only if its run was in step; its ring may still hold blocks from before it joined. */
  const uint64_t before = atomic_load_explicit(&seat->switch_from, memory_order_relaxed); /* ordered by the stamp */
  const int goes_on = pending == gate->heard_generation || (before == gate->heard_generation && late == 0);
  make_active(s, gate, found->slot);
  atomic_store_explicit(&s->swapped_opening, opening, memory_order_relaxed); /* own word: used up */
  atomic_store_explicit(&s->swapped_generation, pending, memory_order_release); /* after active_slot */
  pe_counter_add(&s->counters[PE_COUNT_SWAPS], 1);
  if (late) pe_counter_add(&s->counters[PE_COUNT_LATE_SWAPS], 1);
  atomic_store_explicit(&s->heard_generation, pending, memory_order_release); /* before the event: who is told that it is heard finds it so */
  event(s, PE_EVENT_SWAP, block, frames, pending, late);
  return heard(found, !goes_on);
}

/* The standby has the due block and the active slot has not. */
static PeSource fall_over(PeSegment *s, PeGate *gate, uint32_t active, const PeSource *found, uint64_t block, uint64_t frames) {
  const int is_same = found->generation == gate->heard_generation;
  pe_counter_add(&s->counters[is_same ? PE_COUNT_HEDGED : PE_COUNT_FALLBACKS], 1);
  /* One late block of another patch is bridged; only a slot that is dead or stays behind is left. */
  const int is_gone = !is_alive(s, active) || !pe_slot_plays(s, active, PE_PLAY_ALL);
  const int is_left = is_gone || ++gate->n_hedged_in_a_row >= PE_HEDGES_TO_CHANGE;
  if (is_left) make_active(s, gate, found->slot);
  if (is_left) event(s, PE_EVENT_FALLBACK, block, frames, found->generation, (uint64_t)is_same);
  return heard(found, !is_same);
}

PE_RT PeSource pe_gate_choose(PeSegment *s, PeGate *gate, uint64_t block, uint64_t frames) {
  const uint32_t active = atomic_load_explicit(&s->active_slot, memory_order_relaxed); /* own word */
  uint64_t opening;
  PeSource found;
  if (gate_is_open(s, gate, 1u - active, block, &found, &opening)) return swap(s, gate, &found, block, frames, opening);
  if (gate_is_open(s, gate, active, block, &found, &opening)) /* it took over while it was armed */
    return swap(s, gate, &found, block, frames, opening);
  if (find(s, gate, active, block, &found)) {
    const int is_same = found.generation == gate->heard_generation;
    gate->n_hedged_in_a_row = 0;
    if (!is_same) pe_counter_add(&s->counters[PE_COUNT_FALLBACKS], 1);
    return heard(&found, !is_same);
  }
  if (find(s, gate, 1u - active, block, &found)) return fall_over(s, gate, active, &found, block, frames);
  return (PeSource){.slot = PE_NO_SLOT, .generation = 0, .is_declicked = 1};
}

/* Does the other ring have the same bits? Replicas must agree: counted, and told when they do not. */
PE_RT void pe_gate_compare(PeSegment *s, const PeSource *source, uint64_t block, uint64_t frames, uint64_t hash) {
  const uint32_t seat = pe_seat_of(s, 1u - source->slot);
  uint64_t generation;
  if (source->is_rest || !pe_slot_has(s, 1u - source->slot, block, &generation) || generation != source->generation) return;
  const PeBlockHead *h = pe_block_head(s, seat, block);
  const uint64_t other = atomic_load_explicit(&h->hash, memory_order_relaxed); /* ordered by the stamp */
  atomic_thread_fence(memory_order_acquire); /* it was read before the head is looked at again */
  if (atomic_load_explicit(&h->stamp, memory_order_relaxed) != block + 1) return; /* ordered by the fence */
  pe_counter_add(&s->counters[PE_COUNT_COMPARED], 1);
  if (other == hash) return;
  pe_counter_add(&s->counters[PE_COUNT_DIVERGED], 1);
  event(s, PE_EVENT_DIVERGED, block, frames, generation, source->slot);
}

/* What is heard from this block on; told when it does not simply go on. */
PE_RT void pe_gate_tell(PeSegment *s, PeGate *gate, const PeSource *source, uint64_t block, uint64_t frames, int is_declicked) {
  if (source->generation == gate->heard_generation && !is_declicked && source->slot == gate->heard_slot) return;
  gate->heard_slot = source->slot;
  gate->heard_generation = source->generation;
  atomic_store_explicit(&s->heard_generation, source->generation, memory_order_release); /* for readers of a status; only we write it */
  event(s, PE_EVENT_HEARD, block, frames, source->generation, source->slot + (is_declicked ? PE_HEARD_DECLICKED : 0));
}

PE_RT void pe_declick_put(PeDeclick *d, const float *planar, uint32_t stride, uint32_t n_channels, uint32_t n_frames, float *out) {
  if (n_frames == 0) return;
  if (d->is_due) {
    for (uint32_t c = 0; c < n_channels; c++) d->offset[c] = d->last[c] - (planar ? planar[(size_t)c * stride] : 0.0f);
    d->left = d->length;
    d->is_due = 0;
  }
  for (uint32_t c = 0; c < n_channels; c++) {
    const float *x = planar ? planar + (size_t)c * stride : NULL;
    uint32_t left = d->left;
    for (uint32_t f = 0; f < n_frames; f++) {
      float y = x ? x[f] : 0.0f;
      if (left > 0) y += d->offset[c] * ((float)left-- / (float)d->length);
      out[(size_t)f * n_channels + c] = y;
    }
    d->last[c] = out[(size_t)(n_frames - 1) * n_channels + c];
  }
  d->left = n_frames < d->left ? d->left - n_frames : 0;
}
