/* Plays instances of the program that faust wrote (voices.h, from faust.py): VOICES SECONDS FILE. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAUSTFLOAT float
#include <faust/gui/CInterface.h>

static inline int min(int a, int b) { return a < b ? a : b; } /* voices.h takes them for granted */
static inline int max(int a, int b) { return a > b ? a : b; }

#include "voices.h"

typedef struct Knobs { float *base, *gain; } Knobs;

static void open_box(void *knobs, const char *label) { (void)knobs, (void)label; }
static void close_box(void *knobs) { (void)knobs; }
static void declare(void *knobs, FAUSTFLOAT *zone, const char *key, const char *value) { (void)knobs, (void)zone, (void)key, (void)value; }
static void number(void *knobs, const char *label, FAUSTFLOAT *zone, FAUSTFLOAT init, FAUSTFLOAT low, FAUSTFLOAT high, FAUSTFLOAT step) {
  Knobs *k = knobs;
  (void)init, (void)low, (void)high, (void)step;
  if (strcmp(label, "base") == 0) k->base = zone;
  if (strcmp(label, "gain") == 0) k->gain = zone;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  const int n = atoi(argv[1]), n_instances = n / CHORD;
  const long n_blocks = (long)(atof(argv[2]) * RATE_HZ / BLOCK_FRAMES + 0.5);
  FILE *file = fopen(argv[3], "wb");
  mydsp **all = calloc((size_t)(n_instances > 0 ? n_instances : 1), sizeof *all);
  if (n_instances * CHORD != n || n < 1 || file == NULL || all == NULL) return 2;
  for (int i = 0; i < n_instances; i++) {
    Knobs knobs = {NULL, NULL};
    UIGlue glue = {.uiInterface = &knobs, .openTabBox = open_box, .openHorizontalBox = open_box, .openVerticalBox = open_box,
                   .closeBox = close_box, .addNumEntry = number, .declare = declare};
    all[i] = newmydsp();
    initmydsp(all[i], RATE_HZ);
    buildUserInterfacemydsp(all[i], &glue);
    *knobs.base = (float)(i * CHORD);
    *knobs.gain = 0.5f / (float)n;
  }
  for (long k = 0; k < n_blocks; k++) {
    float sum[BLOCK_FRAMES] = {0}, one[BLOCK_FRAMES], *outputs[1] = {one};
    for (int i = 0; i < n_instances; i++) {
      computemydsp(all[i], BLOCK_FRAMES, NULL, outputs);
      for (int j = 0; j < BLOCK_FRAMES; j++) sum[j] += one[j];
    }
    if (fwrite(sum, sizeof(float), BLOCK_FRAMES, file) != BLOCK_FRAMES) return 1;
  }
  for (int i = 0; i < n_instances; i++) deletemydsp(all[i]);
  free(all);
  return fclose(file) == 0 ? 0 : 1;
}
