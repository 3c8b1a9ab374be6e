/* One module driven alone, for tests/dsp. Read by cffi after csrc/api.h, and by the compiler. */

#define DRIVE_SET 0   /* `param` to `value`, as a plan does */
#define DRIVE_RESET 1 /* the module's reset, and all parameters to their defaults at once */
#define DRIVE_OPEN 2  /* the warm-up's open, where the module has one */

typedef struct DriveCommand {
  uint64_t frame; /* before this frame; n_frames: after the last */
  double value;
  uint32_t kind, param, is_immediate, reserved;
} DriveCommand;

typedef struct DriveRun {
  uint32_t module, fill; /* index in the registry; byte that memory and stack hold beforehand */
  double sample_rate_hz;
  uint64_t n_frames;
  uint32_t n_commands, n_splits;
  uint32_t isa, reserved;           /* instruction set, drive_isa_count() of them */
  const DriveCommand *commands;     /* in order of frame */
  const uint32_t *splits;           /* lengths of the blocks, over and over; commands split too */
  const float *const *inputs;       /* [n_inputs] of n_frames, or NULL */
  const float *const *mods;         /* [n_params] of n_frames, or NULL */
  float *const *outputs;            /* [n_outputs] of n_frames */
  const void *data;                 /* of data_bytes, or NULL */
  uint64_t data_bytes;
  uint8_t *state;                   /* out: parameters and state, drive_state_bytes */
} DriveRun;

uint32_t drive_count(void);
uint32_t drive_isa_count(void); /* that this machine can run */
void drive_info(uint32_t module, PeModuleInfo *info);
uint64_t drive_state_bytes(uint32_t module);
int drive_run(const DriveRun *run); /* 0; 1 no memory; 2 prepare failed; 3 the module wrote beside its state */
