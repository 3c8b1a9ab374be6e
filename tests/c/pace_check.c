/* When blocks are begun, against every request of simulated devices: how much time there is (counted out block by block), that
 * none is begun later than that allows, that jitter does not put looks off, and that a request not seen does not make them early. */
#include "pace.h"
#include "stress.h"

#define RATE_HZ 48000.0
#define FRAME_NS (1.0e9 / RATE_HZ)
#define N_BLOCKS 4000u

static const uint32_t BLOCKS[] = {16, 48, 64, 100, 256, 1024}, REQUESTS[] = {16, 32, 48, 64, 100, 128, 160, 256, 441, 480, 512, 1000, 1024, 2048};
#define N_OF(a) (sizeof(a) / sizeof *(a))

/* As pe_output_expect: what one request touches at most, and the lead on top of what it takes. */
static uint32_t effective_lead(uint32_t block, uint32_t request, uint32_t lead_blocks) {
  uint32_t lead = (request + block - 1) / block - 1 + lead_blocks;
  for (uint64_t at = 0, k = 0; k < block; k++, at += request) {
    const uint32_t touched = (uint32_t)((at % block + request + block - 1) / block);
    if (touched > lead) lead = touched;
  }
  return lead;
}

/* Frame at whose request block `b` is freed: the one that reads the last frame of b - lead. */
static uint64_t freed_at(uint64_t b, uint32_t block, uint32_t request, uint32_t lead) { return ((b - lead + 1) * block - 1) / request * request; }
static uint64_t due_at(uint64_t b, uint32_t block, uint32_t request) { return b * block / request * request; }

static void slack_is_the_least_that_any_block_has(void) {
  for (uint32_t i = 0; i < N_OF(BLOCKS); i++)
    for (uint32_t k = 0; k < N_OF(REQUESTS); k++)
      for (uint32_t lead_blocks = 1; lead_blocks <= 4; lead_blocks++) {
        const uint32_t block = BLOCKS[i], request = REQUESTS[k], lead = effective_lead(block, request, lead_blocks);
        PePace p;
        pe_pace_init(&p, RATE_HZ, block, lead_blocks);
        uint64_t least = UINT64_MAX;
        for (uint64_t b = lead; b < lead + N_BLOCKS; b++) {
          const uint64_t has = due_at(b, block, request) - freed_at(b, block, request, lead);
          if (has < least) least = has;
        }
        const PeRequests r = {.largest = request, .steady = request, .lead = lead};
        const uint32_t slack = pe_pace_slack(&p, &r);
        CHECK(slack > 0 && slack == least);
      }
}

static void sizes_that_differ_leave_what_the_worst_order_of_them_does(void) {
  Random random = {7};
  for (uint32_t i = 0; i < N_OF(BLOCKS); i++)
    for (uint32_t lead_blocks = 1; lead_blocks <= 3; lead_blocks++) {
      const uint32_t block = BLOCKS[i], largest = 3 * block / 2;
      PePace p;
      pe_pace_init(&p, RATE_HZ, block, lead_blocks);
      uint64_t starts[4096], at = 0;
      uint32_t lead = lead_blocks;
      for (uint32_t n = 0; n < 4096; n++) {
        const uint32_t size = 1 + random_below(&random, largest);
        const uint32_t touched = (uint32_t)((at % block + size + block - 1) / block), wanted = (size + block - 1) / block - 1 + lead_blocks;
        if (touched > lead) lead = touched;
        if (wanted > lead) lead = wanted;
        starts[n] = at;
        at += size;
      }
      const PeRequests r = {.largest = largest, .steady = 0, .lead = lead};
      const uint32_t slack = pe_pace_slack(&p, &r);
      uint32_t f = 0, d = 0;
      for (uint64_t b = lead; (b + 1) * block < starts[4095]; b++) {
        while (starts[f + 1] <= (b - lead + 1) * block - 1) f++;
        while (starts[d + 1] <= b * block) d++;
        CHECK(starts[d] - starts[f] >= slack);
      }
    }
}

typedef struct Device { /* makes a request every `request` frames; those at k % 8 == 3 are late by jitter_ns */
  uint32_t request;
  double   jitter_ns;
  uint64_t k; /* requests made */
} Device;

static double time_of(const Device *d, uint64_t k) { return 1.0e12 + (double)k * d->request * FRAME_NS + (k % 8 == 3 ? d->jitter_ns : 0.0); }

/* A worker as in csrc/worker.c, that needs no time to render, beside a device: how much later than it was freed is each block begun, at
 * most, in ns; and how often it looks, for each block. */
static double latest_begin(uint32_t block, uint32_t request, uint32_t lead_blocks, double jitter_ns, double *looks) {
  Device d = {request, jitter_ns, 0};
  PePace p;
  pe_pace_init(&p, RATE_HZ, block, lead_blocks);
  PeRequests r = {.largest = request, .steady = request, .lead = effective_lead(block, request, lead_blocks)};
  uint64_t head = 0, n_looks = 0, play = 0;
  double now = 1.0e12, worst = 0;
  while (head < N_BLOCKS) {
    while (time_of(&d, d.k) <= now) { /* what was asked for until now */
      const uint64_t was = play;
      play = (d.k + 1) * request / block;
      if (play != was) r.freed_ns = (uint64_t)time_of(&d, d.k);
      d.k++;
    }
    n_looks++;
    const int may = head < play + r.lead;
    if (may && (head + pe_pace_freed_blocks(&p, &r) < play + r.lead || (uint64_t)now >= pe_pace_begin_ns(&p, &r, 0))) {
      if (head >= r.lead) {
        const double late = now - (1.0e12 + (double)freed_at(head, block, request, r.lead) * FRAME_NS);
        if (head > r.lead + 64 && late > worst) worst = late;
      }
      head++;
      continue;
    }
    const uint64_t until = may ? pe_pace_begin_ns(&p, &r, 0) : pe_pace_next_ns(&p, &r, 0);
    const double shortest = may ? 1000.0 : (double)pe_pace_look_ns(&p, &r);
    now = (double)until > now + shortest ? (double)until : now + shortest;
  }
  *looks = (double)n_looks / N_BLOCKS;
  return worst;
}

static void every_block_is_begun_well_before_it_is_due(void) {
  for (uint32_t i = 0; i < N_OF(BLOCKS); i++)
    for (uint32_t k = 0; k < N_OF(REQUESTS); k++)
      for (uint32_t lead_blocks = 1; lead_blocks <= 3; lead_blocks++) {
        const uint32_t block = BLOCKS[i], request = REQUESTS[k], lead = effective_lead(block, request, lead_blocks);
        const PeRequests r = {.largest = request, .steady = request, .lead = lead};
        PePace p;
        pe_pace_init(&p, RATE_HZ, block, lead_blocks);
        const double slack = pe_pace_slack(&p, &r) * FRAME_NS, period = request * FRAME_NS;
        const double allowed = slack * (lead_blocks > 1 ? 0.5 : 0.32), jitter = slack / 4 < 0.4 * period ? slack / 4 : 0.4 * period;
        double looks, looks_jittered;
        const double worst = latest_begin(block, request, lead_blocks, 0, &looks);
        const double worst_jittered = latest_begin(block, request, lead_blocks, jitter, &looks_jittered);
        const double most_looks = block % request == 0 || request % block == 0 ? 3.5 : 12;
        CHECK(worst <= allowed && worst_jittered <= allowed + jitter);
        CHECK(looks <= most_looks && looks_jittered <= most_looks);
      }
}

int main(void) {
  slack_is_the_least_that_any_block_has();
  sizes_that_differ_leave_what_the_worst_order_of_them_does();
  every_block_is_begun_well_before_it_is_due();
  return 0;
}
