/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
#include "timeline.h"

#define BANDWIDTH_HZ 0.5
#define TWO_PI 6.283185307179586
#define ROOT_2 1.4142135623730951
#define LEAST_APART_NS 250000.0
#define APART_ALLOWED 8 /* requests in a row that are out of time before the line is moved to where they are */

void pe_timeline_init(PeTimeline *t, double rate_hz) {
  *t = (PeTimeline){.rate_hz = rate_hz, .frame_ns = 1.0e9 / rate_hz};
  atomic_init(&t->frame, -1);
}

static void publish(PeTimeline *t, int64_t frame, uint64_t at_ns, uint32_t n_frames) {
  const uint32_t v = atomic_load_explicit(&t->version, memory_order_relaxed); /* own word */
  atomic_store_explicit(&t->version, v + 1, memory_order_relaxed); /* odd: being written, ordered by the fence */
  atomic_thread_fence(memory_order_release);
  atomic_store_explicit(&t->frame, frame, memory_order_relaxed);                /* between the two versions */
  atomic_store_explicit(&t->until, frame + 2 * (int64_t)n_frames, memory_order_relaxed); /* between the two versions */
  atomic_store_explicit(&t->at_ns, at_ns, memory_order_relaxed);                /* between the two versions */
  atomic_store_explicit(&t->frame_fs, (uint64_t)(t->frame_ns * 1.0e6 + 0.5), memory_order_relaxed); /* between the two versions */
  atomic_store_explicit(&t->version, v + 2, memory_order_release); /* even: whole */
}

PE_RT void pe_timeline_draw_on(PeTimeline *t, uint32_t n_frames) {
  const uint32_t v = atomic_load_explicit(&t->version, memory_order_relaxed); /* own word */
  atomic_store_explicit(&t->version, v + 1, memory_order_relaxed); /* odd: being written, ordered by the fence */
  atomic_thread_fence(memory_order_release);
  const int64_t until = atomic_load_explicit(&t->until, memory_order_relaxed); /* own word */
  atomic_store_explicit(&t->until, until + (int64_t)n_frames, memory_order_relaxed); /* between the two versions */
  atomic_store_explicit(&t->version, v + 2, memory_order_release); /* even: whole */
}

static void begin(PeTimeline *t, uint64_t now_ns) {
  t->origin_ns = now_ns;
  t->next_ns = 0.0;
  t->frame_ns = 1.0e9 / t->rate_hz;
  t->n_updates = 0;
  t->n_apart = 0;
}

/* How far the line is to be moved for a request that came so much later than it says. One that is out of time moves
 * nothing (the machine was away); several in a row do: the device has left out a period, or made one up. */
static double pulled(PeTimeline *t, double late_ns, double period_ns) {
  const double limit = period_ns / 8.0 > LEAST_APART_NS ? period_ns / 8.0 : LEAST_APART_NS;
  if (late_ns <= limit && late_ns >= -limit) {
    t->n_apart = 0;
    const double omega = TWO_PI * BANDWIDTH_HZ * period_ns * 1.0e-9;
    const double slow = ROOT_2 * omega < 0.5 ? ROOT_2 * omega : 0.5;
    const double quick = 1.0 / (double)(t->n_updates + 1); /* at first the mean of all */
    t->frame_ns += omega * omega < 0.1 ? omega * omega * late_ns * (t->frame_ns / period_ns) : 0.0;
    return (quick > slow ? quick : slow) * late_ns;
  }
  const int32_t side = late_ns > 0.0 ? 1 : -1;
  const double size = late_ns > 0.0 ? late_ns : -late_ns;
  if (t->n_apart * side <= 0) {
    t->n_apart = 0;
    t->apart_ns = size;
  }
  t->n_apart += side;
  if (size < t->apart_ns) t->apart_ns = size;
  if (t->n_apart * side < APART_ALLOWED) return 0.0;
  t->n_apart = 0;
  return side * t->apart_ns;
}

PE_RT void pe_timeline_update(PeTimeline *t, uint64_t now_ns, uint32_t n_frames, int64_t frame) {
  if (n_frames == 0) return;
  double now = (double)(int64_t)(now_ns - t->origin_ns);
  const double period_ns = n_frames * t->frame_ns;
  if (t->origin_ns == 0 || now - t->next_ns > 1.0e9 || now - t->next_ns < -1.0e9) { /* another device, or one that slept */
    begin(t, now_ns);
    now = 0.0;
  }
  const double start = t->next_ns + pulled(t, now - t->next_ns, period_ns);
  t->n_updates++;
  t->next_ns = start + n_frames * t->frame_ns;
  publish(t, frame, t->origin_ns + (uint64_t)(int64_t)start, n_frames);
}

int64_t pe_timeline_frame(const PeTimeline *t, uint64_t at_ns) {
  for (;;) { /* the callback writes a few words a request: a second look is enough in all but the rarest case */
    const uint32_t v = atomic_load_explicit(&t->version, memory_order_acquire); /* not older than what follows */
    const int64_t frame = atomic_load_explicit(&t->frame, memory_order_relaxed); /* between the two versions */
    const int64_t until = atomic_load_explicit(&t->until, memory_order_relaxed); /* between the two versions */
    const uint64_t start = atomic_load_explicit(&t->at_ns, memory_order_relaxed); /* between the two versions */
    const uint64_t frame_fs = atomic_load_explicit(&t->frame_fs, memory_order_relaxed); /* between the two versions */
    atomic_thread_fence(memory_order_acquire);
    if ((v & 1u) != 0 || atomic_load_explicit(&t->version, memory_order_relaxed) != v) continue; /* ordered by the fence */
    if (frame < 0 || frame_fs == 0) return -1;
    const double since = (double)(int64_t)(at_ns - start) * 1.0e6 / (double)frame_fs;
    if (since > (double)(until - frame)) return until;
    if (since < -(double)frame) return 0;
    const int64_t whole = (int64_t)since; /* towards 0 */
    return frame + whole - (since < (double)whole);
  }
}
