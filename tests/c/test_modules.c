/* Module types for tests only, loaded through PYENGINE_MODULES. Sources that put out the constant `level`, and besides:
 *   test_malloc     allocates in every block          test_open_file  opens a file in every block
 *   test_nan        puts out NaN                      test_inf        puts out infinity
 *   test_slow       burns `us` microseconds of CPU per block
 *   test_crash      SIGSEGV once `armed` is 1         test_hang       loops for ever once `armed` is 1
 *   test_abort      abort() once `armed` is 1         test_poison     NaN once `armed` is 1
 *   test_huge       puts out the largest float times `level`
 *   test_exit       exit code 3 once `armed` is 1     test_crash_soon SIGSEGV `blocks` calls after its first
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "dsp/module.h"

enum { LEVEL, SECOND };

#define LEVEL_ROW                                                                                                  \
  {.name = "level", .alias = "", .unit = "", .choices = "", .help = "What is put out", .min = -1.0, .max = 1.0,     \
   .default_value = 0.1, .flags = PE_PARAM_CABLE}
#define ARMED_ROW                                                                                                  \
  {.name = "armed", .alias = "", .unit = "", .choices = "", .help = "1: do it", .min = 0.0, .max = 1.0,             \
   .flags = PE_PARAM_INTEGER}
#define US_ROW                                                                                                     \
  {.name = "us", .alias = "", .unit = "us", .choices = "", .help = "CPU time per block", .min = 0.0, .max = 1.0e6}

#define BLOCKS_ROW                                                                                                 \
  {.name = "blocks", .alias = "", .unit = "", .choices = "", .help = "Calls until it crashes", .min = 0.0,          \
   .max = 1.0e9, .default_value = 1.0e9}

static const PeParam plain[] = {LEVEL_ROW};
static const PeParam with_armed[] = {LEVEL_ROW, ARMED_ROW};
static const PeParam with_us[] = {LEVEL_ROW, US_ROW};
static const PeParam with_blocks[] = {LEVEL_ROW, BLOCKS_ROW};

static PeStatus prepare(void *state, double sample_rate_hz, uint32_t max_block_frames) {
  (void)state;
  (void)sample_rate_hz;
  (void)max_block_frames;
  return PE_OK;
}

static void reset(void *state) { (void)state; }

static void put_level(const PeBlock *b) {
  for (uint32_t i = 0; i < b->n_frames; i++) b->outputs[0][i] = (float)pe_block_param(b, LEVEL, i, -1.0, 1.0);
}

static void put(const PeBlock *b, float value) {
  for (uint32_t i = 0; i < b->n_frames; i++) b->outputs[0][i] = value;
}

static int is_armed(const PeBlock *b) { return b->params[SECOND].target >= 0.5; }

static uint64_t cpu_ns(void) {
  struct timespec ts;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void *volatile kept; /* the compiler may not leave the allocation out */

static void malloc_process(void *state, const PeBlock *b) {
  (void)state;
  kept = malloc(100);
  free(kept);
  put_level(b);
}

static void open_process(void *state, const PeBlock *b) {
  (void)state;
  const int fd = open("/dev/null", O_RDONLY);
  if (fd >= 0) close(fd);
  put_level(b);
}

static void nan_process(void *state, const PeBlock *b) { (void)state; put(b, NAN); }
static void inf_process(void *state, const PeBlock *b) { (void)state; put(b, INFINITY); }

static void huge_process(void *state, const PeBlock *b) {
  put_level(b);
  (void)state;
  for (uint32_t i = 0; i < b->n_frames; i++) b->outputs[0][i] *= 3.4e38f;
}

static void slow_process(void *state, const PeBlock *b) {
  (void)state;
  const uint64_t until = cpu_ns() + (uint64_t)(b->params[SECOND].target * 1000.0);
  put_level(b);
  while (cpu_ns() < until) {}
}

static void crash_process(void *state, const PeBlock *b) {
  (void)state;
  static int *volatile nowhere;
  if (is_armed(b)) *nowhere = 1;
  put_level(b);
}

static void crash_soon_process(void *state, const PeBlock *b) {
  static int *volatile nowhere;
  uint64_t *calls = state; /* part of the state: a checkpoint brings the end nearer, not away */
  if ((double)++*calls > b->params[SECOND].target) *nowhere = 1;
  put_level(b);
}

static void exit_process(void *state, const PeBlock *b) {
  (void)state;
  if (is_armed(b)) _exit(3);
  put_level(b);
}

static void abort_process(void *state, const PeBlock *b) {
  (void)state;
  if (is_armed(b)) abort();
  put_level(b);
}

static void hang_process(void *state, const PeBlock *b) {
  static volatile int is_over;
  (void)state;
  put_level(b);
  if (is_armed(b)) while (!is_over) {}
}

static void poison_process(void *state, const PeBlock *b) {
  (void)state;
  if (is_armed(b)) put(b, NAN); else put_level(b);
}

#define MODULE(NAME, PARAMS, PROCESS)                                                                              \
  static const PeModule PROCESS##_module = {                                                                       \
      .name = NAME, .help = "For tests only", .inputs = "", .outputs = "out", .n_outputs = 1,                       \
      .n_params = sizeof(PARAMS) / sizeof(PARAMS)[0], .state_version = 1, .state_bytes = 16, .params = PARAMS,      \
      .prepare = prepare, .reset = reset, .process = PROCESS}
MODULE("test_malloc", plain, malloc_process);
MODULE("test_open_file", plain, open_process);
MODULE("test_nan", plain, nan_process);
MODULE("test_inf", plain, inf_process);
MODULE("test_huge", plain, huge_process);
MODULE("test_slow", with_us, slow_process);
MODULE("test_crash", with_armed, crash_process);
MODULE("test_abort", with_armed, abort_process);
MODULE("test_exit", with_armed, exit_process);
MODULE("test_crash_soon", with_blocks, crash_soon_process);
MODULE("test_hang", with_armed, hang_process);
MODULE("test_poison", with_armed, poison_process);

extern const uint32_t pe_module_abi;
extern const PeModule *const pe_modules[];
const uint32_t pe_module_abi = PE_MODULE_ABI;
const PeModule *const pe_modules[] = {
    &malloc_process_module, &open_process_module, &nan_process_module, &inf_process_module, &slow_process_module,
    &crash_process_module, &abort_process_module, &hang_process_module, &poison_process_module,
    &exit_process_module, &crash_soon_process_module, &huge_process_module, NULL,
};
