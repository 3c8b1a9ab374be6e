/* A bare thread on the clock that the engine's own clock keeps: what the machine itself allows.
 * Read by cffi (bench/control.py) and by the compiler: plain declarations only. */

typedef struct Pacer {
  /* set before the start */
  double   period_ns;
  int32_t  priority;                  /* SCHED_FIFO; 0: the normal class */
  void   (*process)(void *output, float *buffer, uint32_t n_frames); /* called every period, or NULL */
  void    *output;
  float   *buffer;
  uint32_t n_frames;
  uint64_t (*play_block)(const void *segment);                 /* with looks > 0: how fast the rings are filled again */
  uint64_t (*render_head)(const void *segment, uint32_t slot);
  const void *segment;
  uint32_t lead_blocks, looks;        /* looks per period after each call; they wake this thread, 0: none */
  uint64_t n_max;                     /* room in the two arrays */
  uint32_t *took_ns;                  /* of each call */
  uint32_t *filled_look;              /* first look, from 1, at which both slots had their lead; looks + 1: none */
  /* found */
  uint64_t n_periods, missed_periods, worst_late_ns;
  uint32_t is_realtime, stop;
  void    *thread;
} Pacer;

int  pacer_start(Pacer *pacer); /* 1 if it runs */
void pacer_stop(Pacer *pacer);  /* waits for the thread */
