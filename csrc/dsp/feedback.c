/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* feedback: what came in PE_CHUNK_FRAMES frames ago. It takes its input when all other nodes have run, so that a
 * cable through it closes no cycle. */
#include "module.h"
#include "registry.h"

typedef struct Feedback {
  uint64_t count; /* of the next frame to be put out */
  uint64_t reserved;
  float    line[PE_CHUNK_FRAMES];
} Feedback;
_Static_assert(sizeof(Feedback) == 16 + 4 * PE_CHUNK_FRAMES, "no padding in a state");

static void feedback_reset(void *state) { *(Feedback *)state = (Feedback){.count = 0}; }

/* At most PE_CHUNK_FRAMES frames are put out before as many are taken: none is read after it was written anew. */
static void feedback_process(void *state, const PeBlock *b) {
  const Feedback *s = state;
  for (uint32_t i = 0; i < b->n_frames; i++) b->outputs[0][i] = s->line[(s->count + i) % PE_CHUNK_FRAMES];
}

static void feedback_absorb(void *state, const PeBlock *b) {
  Feedback *s = state;
  for (uint32_t i = 0; i < b->n_frames; i++) {
    float x = b->inputs[0] ? b->inputs[0][i] : 0.0f;
    x = x > -PE_SAMPLE_LIMIT ? x : -PE_SAMPLE_LIMIT; /* NaN too */
    s->line[(s->count + i) % PE_CHUNK_FRAMES] = x < PE_SAMPLE_LIMIT ? x : PE_SAMPLE_LIMIT;
  }
  s->count += b->n_frames;
}

const PeModule pe_module_feedback = {
  .name = "feedback", .help = "Delay of 64 frames that a cycle may go through; what feeds it is heard as if it did not", .inputs = "in", .outputs = "out",
  .n_inputs = 1, .n_outputs = 1, .n_params = 0,
  .state_version = 1, .state_bytes = sizeof(Feedback), .params = NULL,
  .prepare = pe_prepare_nothing, .reset = feedback_reset, .process = feedback_process, .absorb = feedback_absorb,
};
