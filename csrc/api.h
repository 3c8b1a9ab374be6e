/* Everything Python sees. Read twice: by cffi (cdef) and, through pe.h, by the compiler.
 * So: plain declarations, no includes, no guards, no macros but integer constants.
 *
 * Who may call, after each prototype: [setup] any ordinary thread, may allocate and fail;
 * [rt] real-time threads, bounded, never fails; [any] both. */

/* ---- status ------------------------------------------------------------------------------- */

typedef enum PeStatus {
  PE_OK = 0,
  PE_NO_MEMORY,
  PE_BAD_ARGUMENT,
  PE_BAD_SIZE,
  PE_BAD_MAGIC,
  PE_BAD_VERSION,
  PE_UNKNOWN_MODULE,
  PE_UNKNOWN_NODE,
  PE_BAD_PORT,
  PE_CYCLE,
  PE_TOO_LARGE,
  PE_NO_THREAD,
  PE_NOT_LOADABLE,
  PE_NO_CHECKPOINT,
  PE_BAD_CHECKPOINT,
  PE_STALE,
  PE_BUSY,
  PE_UNKNOWN_ISA,
  PE_STATUS_COUNT
} PeStatus;

const char *pe_strerror(PeStatus status); /* one sentence without a period; [any] */

/* ---- modules ------------------------------------------------------------------------------ */

#define PE_PARAM_RAMPED 1      /* a change is smoothed over ramp_us; otherwise it is a step */
#define PE_PARAM_NYQUIST 2     /* max is Nyquist - 10 Hz at the rate in use, `max` holds 0 */
#define PE_PARAM_GATE 4        /* on/off, high when >= 0.5 */
#define PE_PARAM_INTEGER 8     /* whole numbers only */
#define PE_PARAM_CABLE 16      /* the module reads its cables at every frame; those of all others but deeds are looked at in steps, see below */
#define PE_PARAM_EVENT 32      /* a deed at a moment: setting it does something, and no value is kept in a patch; takes no cable */
#define PE_PARAM_TUNES 64       /* the frequency of something whose phase goes on: a note that takes a voice that sounds moves it over PE_RETUNE_US */
#define PE_RETUNE_US 1000      /* too short to be heard as a glide, long enough to be no kink in a low sine */

/* With cables a parameter's value is the setting plus the cables' sum; a gate follows the cables alone. Where the module does not read
 * them at every frame, the plan sets the parameter: frames from one look at the cables to the next; and for nodes without audio, which come
 * before all others in a chunk, the same, and how much later it takes effect. */
#define PE_CABLE_FRAMES 16
#define PE_CABLE_EVENT_FRAMES 64

typedef struct PeParam {
  const char *name;
  const char *alias;   /* a second name accepted on the wire, or "" */
  const char *unit;    /* "Hz", "ms", "dB", or "" for a plain number */
  const char *choices; /* names of the values 0, 1, 2 ... separated by commas, or "" */
  const char *help;
  double min, max, default_value;
  uint32_t ramp_us;    /* length of the ramp when PE_PARAM_RAMPED */
  uint32_t flags;      /* PE_PARAM_... */
} PeParam;

#define PE_EVENTS_NONE 0
#define PE_EVENTS_CLOCK 1
#define PE_EVENTS_SEQUENCE 2
#define PE_EVENTS_VOICES 3

typedef struct PeModuleInfo {
  const char *name;
  const char *help;
  const char *inputs;  /* port names separated by commas, "" for none */
  const char *outputs;
  const PeParam *params;
  uint32_t n_inputs, n_outputs, n_params;
  uint32_t state_version; /* states are carried only between equal versions */
  uint32_t state_bytes;
  const char *data;       /* what a node may be given, "" for nothing */
  uint32_t absorbs;       /* takes its inputs when all has run: they close no cycle */
  uint32_t events;        /* PE_EVENTS_...: it has no audio, but sets other nodes' parameters; its outputs are names of what those may follow */
} PeModuleInfo;

typedef struct PeRegistry PeRegistry;

PeStatus pe_registry_new(PeRegistry **registry);                     /* the shipped modules, for the instruction set that PYENGINE_ISA names or the best one here; PE_UNKNOWN_ISA if it is none of those; PYENGINE_BANKS=0: plans without banks; [setup] */
PeStatus pe_registry_load(PeRegistry *registry, const char *path);   /* adds those of a shared object; [setup] */
void pe_registry_free(PeRegistry *registry);                         /* [setup] */
uint32_t pe_registry_count(const PeRegistry *registry);              /* [any] */
PeStatus pe_registry_info(const PeRegistry *registry, uint32_t index, PeModuleInfo *info); /* [any] */

/* Instruction sets that this machine can run and this binary holds: the same bits, the later the faster. */
uint32_t pe_isa_count(void);                                         /* [any] */
const char *pe_isa_name(uint32_t isa);                               /* NULL if there is none of that number; [any] */
uint32_t pe_registry_isa(const PeRegistry *registry);                /* what its plans run on; [any] */

/* ---- plans -------------------------------------------------------------------------------- */

#define PE_MAX_CHANNELS 8
#define PE_MAX_BLOCK_FRAMES 8192
#define PE_MAX_NODES 16384
#define PE_MAX_CABLES 65536
#define PE_MAX_DATA_BYTES 1073741824

/* What a node is given besides parameters: bytes that never change. Counted: a plan keeps its own hold of it. */
typedef struct PeData PeData;

PeStatus pe_data_new(const void *bytes, uint64_t n_bytes, PeData **data);     /* a copy; [setup] */
PeStatus pe_data_map(int descriptor, uint64_t n_bytes, PeData **data);        /* of a file's beginning, which nobody may change; [setup] */
void pe_data_release(PeData *data);                                           /* freed with the last hold; [setup] */
const void *pe_data_bytes(const PeData *data);                                /* [any] */
uint64_t pe_data_size(const PeData *data);                                    /* [any] */

typedef struct PeNodeSpec {
  uint32_t handle; /* never 0, never used twice in the life of an engine */
  uint32_t module; /* index in the registry */
  uint32_t data;   /* 0, or 1 + index in the data of the plan */
} PeNodeSpec;

typedef struct PeCableSpec {
  uint32_t source, source_port; /* index of the node in the patch, number of its output */
  uint32_t dest, dest_port;     /* index of the node, number of its input or parameter */
  uint32_t to_param;            /* 1: dest_port is a parameter */
  float    depth, offset;       /* what comes out of it is x * depth + offset */
} PeCableSpec;

typedef struct PePlanSpec {
  double sample_rate_hz;
  uint32_t max_block_frames, n_channels;
  uint32_t n_nodes, n_cables;
  const PeNodeSpec *nodes;
  const PeCableSpec *cables;
  uint32_t n_data;
  PeData *const *data;
} PePlanSpec;

typedef struct PeSetting {
  uint32_t handle, param;
  double value;
} PeSetting;

typedef struct PeWarmup {
  double max_rms, peak;     /* of the loudest block / sample over all channels */
  double block_cpu_ns;      /* median thread CPU time of a block */
  uint32_t is_finite, n_blocks;
} PeWarmup;

typedef struct PePlan PePlan;

PeStatus pe_plan_new(const PeRegistry *registry, const PePlanSpec *spec, PePlan **plan); /* copies the spec; the registry must outlive it; [setup] */
void pe_plan_free(PePlan *plan);                                                           /* [setup] */
PeStatus pe_plan_set(PePlan *plan, uint32_t handle, uint32_t param, double value);         /* at once, without a ramp; only before the plan runs; [setup] */
PeStatus pe_plan_set_all(PePlan *plan, const PeSetting *settings, uint32_t n, uint32_t *n_set); /* each as pe_plan_set does, in order; ends at the first that is refused, which is settings[*n_set]; [setup] */
PeStatus pe_plan_warmup(PePlan *plan, uint32_t n_blocks, uint32_t block_frames, const volatile uint32_t *stop,
                        PeWarmup *result); /* states are as before afterwards; ends after the block in which *stop becomes 1; [setup] */
uint64_t pe_plan_state_bytes(const PePlan *plan);                                          /* [any] */
uint32_t pe_plan_node_count(const PePlan *plan);                                           /* [any] */
uint32_t pe_plan_banked_count(const PePlan *plan);                                         /* nodes that are lanes of a bank; [any] */
uint64_t pe_plan_state_hash(PePlan *plan);                                                 /* FNV-1a of all states; [setup] */

/* ---- commands ----------------------------------------------------------------------------- */

#define PE_COMMAND_NONE 0
#define PE_COMMAND_PARAM 1  /* set parameter `param` of `handle` to `value` */
#define PE_COMMAND_SWITCH 2 /* from here on generation `arg` */
#define PE_COMMAND_MARK 3   /* does nothing: a place in the stream that can be waited for */

#define PE_COMMAND_IMMEDIATE 1  /* no ramp */
#define PE_COMMAND_BUNDLE_END 2 /* the last record of a bundle, or a record alone */

typedef struct PeCommand {
  uint64_t seq;     /* filled in by the stream; from 1 */
  int64_t frame;    /* takes effect at this frame; below 0: at the first frame of the block that takes it */
  double value;
  uint64_t arg;
  uint32_t kind;    /* PE_COMMAND_... */
  uint32_t handle;
  uint32_t param;
  uint32_t flags;
  uint64_t reserved[2];
} PeCommand;

/* Render a plan offline. commands: n records in order of frame, all with frame >= 0; out: interleaved
 * (frames, channels). A command takes effect at its frame. [setup] */
PeStatus pe_render_offline(PePlan *plan, const PeCommand *commands, uint32_t n_commands, uint64_t n_frames,
                           uint32_t block_frames, float *out);

/* ---- the SPSC block ring ------------------------------------------------------------------- */

typedef struct PeRing PeRing;

uint64_t pe_ring_bytes(uint32_t block_bytes, uint32_t capacity);                              /* memory it takes, 0 if the numbers are wrong; [setup] */
PeStatus pe_ring_init(void *memory, uint64_t bytes, uint32_t block_bytes, uint32_t capacity); /* 64-byte aligned memory, capacity a power of two; [setup] */
PeStatus pe_ring_attach(void *memory, uint64_t bytes, PeRing **ring);                         /* checks and borrows; [setup] */
uint32_t pe_ring_acquire(PeRing *ring, uint32_t want, void **blocks); /* contiguous free blocks, at most `want`, to be filled in place; 0 when full; one writer; [rt] */
void pe_ring_commit(PeRing *ring, uint32_t n);                        /* makes n of the acquired blocks readable; [rt] */
uint32_t pe_ring_peek(PeRing *ring, uint32_t want, void **blocks);    /* contiguous readable blocks, at most `want`; 0 when empty; one reader; [rt] */
void pe_ring_release(PeRing *ring, uint32_t n);                       /* hands n of the peeked blocks back to the writer; [rt] */
uint32_t pe_ring_readable(const PeRing *ring);                        /* at least so many for the reader; [any] */
uint32_t pe_ring_writable(const PeRing *ring);                        /* at least so many for the writer; [any] */
uint32_t pe_ring_capacity(const PeRing *ring);                        /* [any] */
uint32_t pe_ring_block_bytes(const PeRing *ring);                     /* [any] */

/* ---- the shared segment --------------------------------------------------------------------- */

#define PE_LAYOUT_VERSION 8
#define PE_SLOTS 2
#define PE_SEATS 3          /* a worker's own ring, words and checkpoints: one per slot and a spare */
#define PE_MAX_LEAD 8
#define PE_MAX_REQUEST 8192 /* frames in one device request that the rings are sized for */
#define PE_COMMAND_BUDGET 4096 /* commands one block may take; the largest bundle */
#define PE_SCHEDULE_SIZE 4096  /* time-tagged records that may wait */
#define PE_NO_SLOT 255
#define PE_PIECE_BYTES 512 /* of a checkpoint that is written: what is taken at once */
#define PE_KEEP_ALL 0xffffffffffffffffull /* no floor, no pin */

typedef struct PeConfig {
  double sample_rate_hz;
  uint32_t block_frames, n_channels, lead_blocks;
  uint32_t n_commands;    /* records in the command ring, a power of two */
  uint32_t n_journal;     /* entries, a power of two */
  uint32_t tap_frames;    /* record tap, a power of two */
  uint64_t checkpoint_bytes; /* largest plan state */
  uint32_t is_free_running;  /* the clock waits for blocks and wants to be woken */
  uint32_t checkpoint_blocks; /* from one periodic checkpoint to the next; 0 for none */
  uint32_t may_rest; /* workers and clock rest while a patch is silent until something is set: csrc/rest.h */
  uint32_t checkpoint_pieces; /* of PE_PIECE_BYTES that a worker takes for a checkpoint with each block, so that tests know which; 0: as many as there is time for */
} PeConfig;

typedef struct PeSegment PeSegment;

uint64_t pe_segment_bytes(const PeConfig *config);                                  /* 0 if the config is wrong; [setup] */
PeStatus pe_segment_init(void *memory, uint64_t bytes, const PeConfig *config);     /* by the supervisor, once; page-aligned; [setup] */
PeStatus pe_segment_attach(void *memory, uint64_t bytes, PeSegment **segment);      /* refuses a layout it does not know; [setup] */
void pe_segment_config(const PeSegment *segment, PeConfig *config);                 /* [any] */
PeRing *pe_segment_tap(PeSegment *segment);                                         /* record tap: blocks are one interleaved frame; [any] */

/* the gate */
uint32_t pe_gate_has_block(const PeSegment *s, uint64_t block); /* 1 if the callback would find it in a ring; [any] */
uint64_t pe_gate_play_block(const PeSegment *s);          /* the block played next; [any] */
uint32_t pe_gate_active_slot(const PeSegment *s);         /* [any] */
uint64_t pe_gate_heard_generation(const PeSegment *s);    /* generation of the block played last; [any] */
uint64_t pe_gate_swapped_generation(const PeSegment *s);  /* newest generation the gate has swapped to; [any] */
void pe_gate_open(PeSegment *s, uint64_t generation);     /* pending_switch and standby_ready for it, for one swap; supervisor only; [any] */
void pe_gate_close(PeSegment *s);                         /* supervisor only; [any] */
uint64_t pe_gate_pending_switch(const PeSegment *s);      /* generation, 0 for none; [any] */
uint64_t pe_gate_standby_ready(const PeSegment *s);       /* generation, 0 for none; [any] */
uint32_t pe_gate_effective_lead(const PeSegment *s);      /* blocks; [any] */
uint32_t pe_gate_clock_rests(const PeSegment *s);         /* 1: the clock sleeps through silent blocks, play_block may be behind the time; [any] */
uint32_t pe_gate_slot_rests(const PeSegment *s, uint32_t slot); /* 1: alive, and silent until something is set: its render head may be behind; [any] */
uint32_t pe_gate_largest_request(const PeSegment *s);     /* frames; [any] */

/* slots, by the supervisor */
uint64_t pe_slot_prime_ready(const PeSegment *s, uint32_t slot);           /* generation x 2 + ready; [any] */
void pe_slot_reset_prime_ready(PeSegment *s, uint32_t slot, uint64_t generation); /* stores (generation, 0); [any] */
uint32_t pe_slot_set_prime_ready(PeSegment *s, uint32_t slot, uint64_t generation); /* worker: (g, 0) to (g, 1) by compare-and-swap; 1 if it did; [any] */
#define PE_PLAY_ALL 0xffffffffffffffffull
#define PE_PLAY_NONE 0xfffffffffffffffeull
void pe_slot_set_playable(PeSegment *s, uint32_t slot, uint64_t generation); /* which blocks of its ring the callback may take: of one generation, PE_PLAY_ALL or PE_PLAY_NONE; [any] */
void pe_slot_set_alive(PeSegment *s, uint32_t slot, uint32_t is_on);       /* 0: known dead, the other one becomes active; [any] */
uint32_t pe_slot_is_alive(const PeSegment *s, uint32_t slot);              /* [any] */
uint64_t pe_slot_pin(const PeSegment *s, uint32_t slot);                   /* records above this are kept for a joiner; PE_KEEP_ALL: no pin; [any] */
void pe_slot_set_pin(PeSegment *s, uint32_t slot, uint64_t seq);           /* [any] */
void pe_slot_set_seat(PeSegment *s, uint32_t slot, uint32_t seat);         /* whose ring is the slot's from now on; [any] */
uint32_t pe_slot_seat(const PeSegment *s, uint32_t slot);                  /* [any] */

/* seats: what one worker writes. A worker whose end is not confirmed keeps its seat; its successor gets another. */
void pe_seat_set_shutdown(PeSegment *s, uint32_t seat, uint32_t is_on);    /* supervisor; [any] */
void pe_seat_set_keeper(PeSegment *s, uint32_t seat, uint32_t is_on);      /* supervisor; 1: writes the periodic checkpoints, 0: only their hash; [any] */
uint64_t pe_seat_render_head(const PeSegment *s, uint32_t seat);           /* the block it renders next; [any] */
uint64_t pe_seat_applied(const PeSegment *s, uint32_t seat);               /* newest record in a published block; [any] */
uint64_t pe_seat_generation(const PeSegment *s, uint32_t seat);            /* what its render thread runs; [any] */
uint64_t pe_seat_heartbeat(const PeSegment *s, uint32_t seat);             /* counts turns of the render loop; [any] */
uint32_t pe_seat_marker(const PeSegment *s, uint32_t seat);                /* handle of the node that renders, 0 none; [any] */
uint32_t pe_seat_build_marker(const PeSegment *s, uint32_t seat);          /* ... that warms up or catches up beside it; [any] */

/* the command stream: one writer at a time, under the lock of the inbox where there is one */
uint64_t pe_stream_newest(const PeSegment *s);                             /* newest published number; [any] */
uint32_t pe_stream_space(const PeSegment *s);                              /* records that may be sent now; the writer only; [any] */
void pe_stream_set_keep(PeSegment *s, uint64_t seq);                       /* records above this are kept for whoever starts from a checkpoint; supervisor; [any] */
uint64_t pe_stream_keep(const PeSegment *s);                               /* [any] */
uint64_t pe_stream_send(PeSegment *s, const PeCommand *records, uint32_t n); /* all by one store; newest number, 0 if there is no room; the writer only; [any] */

/* the journal */
uint64_t pe_journal_entry(const PeSegment *s, uint64_t block); /* the raw word of its place; [any] */

/* events and waiting */
#define PE_EVENT_SWAP 1       /* the callback opened the gate: block, generation; value = blocks late */
#define PE_EVENT_FALLBACK 2   /* the callback made the other slot active: this one is dead or stays behind; value = 1: same generation */
#define PE_EVENT_UNDERRUN 3   /* first frame of a silence */
#define PE_EVENT_RESUMED 4    /* value = frames of silence */
#define PE_EVENT_SWITCHED 5   /* a worker turned to a generation at this block */
#define PE_EVENT_FADED 6      /* its crossfade is over */
#define PE_EVENT_REPLICA 7    /* a worker's joining plan was turned to at this block */
#define PE_EVENT_CHECKPOINT 8 /* written; value = sequence number, hash = its checksum */
#define PE_EVENT_STALE 9      /* a worker fell a lap behind the journal or the records */
#define PE_EVENT_HEARD 10     /* what is heard does not simply go on: another generation, another slot or a declick; value = PE_HEARD_... + slot */
#define PE_EVENT_HASH 11      /* the checksum that a checkpoint at this block would have, in hash; value = sequence number */
#define PE_EVENT_DIVERGED 12  /* both rings had the block, of one generation, with other bits */
#define PE_EVENT_NOT_FINITE 13 /* a worker's output was NaN or infinite, and became 0 */

#define PE_HEARD_DECLICKED 256

#define PE_EVENT_SOURCES 4    /* the seats, the callback */

typedef struct PeEvent {
  uint32_t kind;   /* PE_EVENT_... */
  uint32_t source; /* seat, or PE_SEATS for the callback */
  uint64_t block;
  uint64_t frame;  /* frames played before it, silence included */
  uint64_t generation;
  uint64_t value;
  uint64_t hash;
  uint64_t reserved[2];
} PeEvent;

uint32_t pe_event_next(PeSegment *s, uint32_t source, PeEvent *event);   /* 1 if there was one; supervisor only; [any] */
uint32_t pe_signal_wait(PeSegment *s, uint32_t seen, uint32_t timeout_ms); /* waits while the signal is `seen`; returns its value; [setup] */
uint32_t pe_signal_value(const PeSegment *s);                            /* [any] */
void pe_signal_raise(PeSegment *s);                                      /* [any] */
void pe_sync_request(PeSegment *s, uint64_t seq);                        /* raise the signal when the active slot has rendered it; [any] */

/* counters, all since the start; order is fixed, append only */
#define PE_COUNT_CALLBACKS 0
#define PE_COUNT_FRAMES_REQUESTED 1
#define PE_COUNT_FRAMES_DELIVERED 2
#define PE_COUNT_FRAMES_UNDERRUN 3
#define PE_COUNT_BLOCKS_PLAYED 4
#define PE_COUNT_NONE_READS 5        /* block edges at which no ring had the due block */
#define PE_COUNT_HEDGED 6            /* blocks taken from the standby, same bits */
#define PE_COUNT_FALLBACKS 7
#define PE_COUNT_SWAPS 8
#define PE_COUNT_LATE_SWAPS 9
#define PE_COUNT_DECLICKS 10
#define PE_COUNT_WORST_CALLBACK_NS 11
#define PE_COUNT_LEAD_RAISED 12
#define PE_COUNT_TAP_LOST 13         /* frames the recorder did not fetch in time */
#define PE_COUNT_CLOCK_MISSED 14     /* periods the real-time clock slept through */
#define PE_COUNT_CLOCK_WORST_LATE_NS 15
#define PE_COUNT_EVENTS_LOST 16
#define PE_COUNT_DEVICE_UNDERFLOWS 17 /* what the device itself reported */
#define PE_COUNT_TORN 18              /* blocks that changed while they were read */
#define PE_COUNT_COMPARED 19          /* blocks that both rings had, of one generation, when they were played */
#define PE_COUNT_DIVERGED 20          /* ... with other bits: this must never happen */
#define PE_COUNTERS 32
uint64_t pe_counter(const PeSegment *s, uint32_t counter);               /* [any] */

#define PE_SLOT_COUNT_BLOCKS 0
#define PE_SLOT_COUNT_DISCARDED 1     /* rendered, but already played */
#define PE_SLOT_COUNT_LATE_COMMANDS 2
#define PE_SLOT_COUNT_SCHEDULE_FULL 3
#define PE_SLOT_COUNT_UNKNOWN_HANDLE 4
#define PE_SLOT_COUNT_REFUSED_VALUE 5
#define PE_SLOT_COUNT_WORST_RENDER_NS 6
#define PE_SLOT_COUNT_CHECKPOINTS 7
#define PE_SLOT_COUNT_KEPT 8          /* blocks a predecessor had published, left alone */
#define PE_SLOT_COUNT_NOT_FINITE 9    /* samples that were NaN or infinite, and became 0 */
#define PE_SLOT_COUNT_CHECKPOINT_NS 10 /* time spent on checkpoints and their hashes */
#define PE_SLOT_COUNT_METERED 11      /* blocks whose levels were measured */
#define PE_SLOT_COUNT_EMIT_FULL 12    /* commands of sequences and voices that found no room in their chunk */
#define PE_SLOT_COUNT_WORST_CHECKPOINT_NS 13 /* the longest that one kept a block waiting */
#define PE_SLOT_COUNTERS 16
uint64_t pe_seat_counter(const PeSegment *s, uint32_t seat, uint32_t counter); /* [any] */

/* ---- checkpoints ---------------------------------------------------------------------------- */

typedef struct PeCheckpointInfo {
  uint64_t generation, block, seq, state_bytes, plain_bytes, checksum; /* plain: without memories, of which there is no checksum */
} PeCheckpointInfo;

void pe_checkpoint_request(PeSegment *s, uint32_t slot, uint64_t generation); /* that slot writes one at the next block edge at which it runs the generation and fades nothing; [any] */
PeStatus pe_seat_reserve(PeSegment *s, uint32_t seat, uint64_t state_bytes); /* makes the memory that checkpoints of so large a plan need, in the process that writes them; PE_TOO_LARGE beyond checkpoint_bytes, PE_NO_MEMORY; [setup] */
PeStatus pe_checkpoint_latest(const PeSegment *s, uint64_t generation, uint64_t below, uint64_t last_block, PeCheckpointInfo *info); /* the newest whole one, numbered below `below`, of `last_block` at the latest; PE_NO_CHECKPOINT if there is none; [any] */

/* ---- levels -------------------------------------------------------------------------------- */

#define PE_VIEW_FRAMES 16384 /* of the output that whoever watches may look back on, a power of two */
#define PE_METERS 4096 /* nodes of a patch that are measured: its first ones */

typedef struct PeLevel { /* of all outputs of a node; it falls at 24 dB a second, and is averaged over 0.1 s */
  uint32_t handle;
  float peak, rms;
} PeLevel;

typedef struct PeShown { /* what a node without audio shows: see `show` in dsp/event.h */
  uint32_t handle, reserved;
  uint64_t words[2];
} PeShown;

void pe_meter_watch(PeSegment *s, uint64_t until_block);                 /* measure below this block; supervisor only; [any] */
uint64_t pe_meter_watched_until(const PeSegment *s);                     /* [any] */
uint32_t pe_meter_levels(const PeSegment *s, PeLevel *levels, uint32_t capacity); /* those above -120 dB, at play_block; how many; [any] */
uint32_t pe_meter_shown(const PeSegment *s, PeShown *shown, uint32_t capacity); /* of the nodes without audio that were rendered less than 0.5 s ago; how many; [any] */
void pe_view_level(const PeSegment *s, uint32_t n_frames, uint32_t channel, float *peak, float *rms); /* of the newest frames that pe_view_tail would copy; [any] */
uint64_t pe_view_tail(const PeSegment *s, uint32_t n_frames, float *interleaved); /* copies the newest frames of what was put out while somebody watches, at most PE_VIEW_FRAMES / 2 of them, zeros before them; how many there have been; [any] */

/* ---- the worker ----------------------------------------------------------------------------- */

typedef struct PeWorker PeWorker;
typedef struct PeJoin PeJoin;

/* Starting a plan: from nothing at block 0, from a checkpoint, or (return from poison) from a checkpoint's states at
 * another block and number; then through the SWITCH records of the plans that came after it. Each function that is
 * given a plan takes it, whatever it returns. */
PeStatus pe_join_new(PePlan *plan, uint64_t generation, PeJoin **join);    /* block 0, nothing applied; [setup] */
PeStatus pe_join_load(PeJoin *join, PeSegment *segment, uint64_t generation, uint64_t below, uint64_t last_block); /* states, schedule, block and number of the newest whole checkpoint of that generation, numbered below `below`, of `last_block` at the latest; [setup] */
PeStatus pe_join_restart(PeJoin *join, PeSegment *segment, uint64_t block, uint64_t base); /* goes on at this block and applies no record up to base; what was scheduled is dropped; [setup] */
PeStatus pe_join_then(PeJoin *join, PePlan *plan, uint64_t generation, uint32_t fade_frames); /* the next plan, turned to at its SWITCH; [setup] */
uint64_t pe_join_block(const PeJoin *join);                                /* it renders this one next; [setup] */
double pe_join_value(const PeJoin *join, uint32_t handle, uint32_t param); /* where a parameter stands or goes to, 0 if there is none; [setup] */
void pe_join_free(PeJoin *join);                                           /* [setup] */

PeStatus pe_worker_new(PeSegment *segment, uint32_t seat, PeWorker **worker); /* [setup] */
PeStatus pe_worker_start(PeWorker *worker, int32_t priority, uint32_t *is_realtime); /* starts the render thread, which has nothing to render yet; [setup] */
void pe_worker_stop(PeWorker *worker);   /* and waits for it; [setup] */
void pe_worker_free(PeWorker *worker);   /* [setup] */
PeStatus pe_worker_join(PeWorker *worker, PeJoin *join, uint32_t timeout_ms); /* takes the join, renders what it lacks, hands it to the render thread; [setup] */
PeStatus pe_worker_park(PeWorker *worker, uint32_t timeout_ms); /* the render thread drops what it renders and waits; [setup] */
PeStatus pe_worker_arm(PeWorker *worker, PePlan *plan, uint64_t generation, uint32_t fade_frames); /* takes the plan; turned to at SWITCH `generation`; PE_BUSY while another plan is on its way; [setup] */
void pe_worker_disarm(PeWorker *worker); /* takes the armed plan back and frees it, unless it was turned to already; [setup] */
PeStatus pe_worker_warmup(PeWorker *worker, PePlan *plan, uint32_t n_blocks, const volatile uint32_t *stop, PeWarmup *result); /* pe_plan_warmup, the node at work is told by the seat's build marker; [setup] */
void pe_worker_collect(PeWorker *worker); /* frees the plans the render thread is done with; [setup] */

/* ---- the output ----------------------------------------------------------------------------- */

typedef struct PeOutput PeOutput;

PeStatus pe_output_new(PeSegment *segment, PeOutput **output);             /* [setup] */
void pe_output_free(PeOutput *output);                                     /* [setup] */
void pe_output_process(PeOutput *output, float *interleaved, uint32_t n_frames); /* the audio callback; one caller; [rt & active] */
void pe_output_record(PeOutput *output, uint32_t is_on);                   /* feed the record tap from the next request on; [any] */
uint32_t pe_output_is_recording(const PeOutput *output);                   /* what the callback last saw; [any] */
uint64_t pe_output_tap_start(const PeOutput *output);                      /* frame the tap was fed from, of the newest recording; [any] */
uint64_t pe_output_frames(const PeOutput *output);                         /* frames put out, silence included; [any] */
PeStatus pe_output_keep(PeOutput *output, uint64_t n_frames);              /* keep the last n_frames that are put out, for pe_output_listen; once, before anybody calls the output; [setup] */
uint64_t pe_output_kept(const PeOutput *output, uint64_t *end);            /* frames that can be listened to, up to frame `end` of the output; [any] */
uint64_t pe_output_listen(const PeOutput *output, float *interleaved, uint64_t n_frames, uint64_t *first); /* copies the newest n_frames at most, whole; how many, from which on; [any] */
void pe_output_time(const PeOutput *output, uint64_t *frame, uint64_t *time_ns); /* first frame of the newest request and its CLOCK_MONOTONIC time, a consistent pair; [any] */

/* ---- a device's way to the output ------------------------------------------------------------------
 * The thread of a device that has gone may come back, when nobody knows. So it has a port of its own, and
 * a closed port never lets it through again. */

typedef struct PePort PePort;

PeStatus pe_port_new(PeOutput *output, PePort **port);   /* waiting: its device gets silence; [setup] */
void pe_port_free(PePort *port);                         /* only when the device's thread has ended; [setup] */
uint32_t pe_port_open(PePort *port);                     /* from now on its device is the output's one caller, so close the one before; 0 if it was closed; [any] */
uint32_t pe_port_close(PePort *port);                    /* for good; 1 when its device is not in the output any more: ask again until then; [any] */
uint64_t pe_port_calls(const PePort *port);              /* requests of the device, served or not; [any] */
int pe_portaudio_callback(const void *input, void *output, unsigned long n_frames, const void *time_info,
                          unsigned long flags, void *user); /* PaStreamCallback; user is the PePort; [rt & active] */

/* ---- clocks without a device ------------------------------------------------------------------ */

typedef struct PeClock PeClock;

#define PE_CLOCK_REALTIME 0
#define PE_CLOCK_FREE 1

PeStatus pe_clock_start(PeOutput *output, PeSegment *segment, uint32_t kind, uint32_t request_frames, int32_t priority, PeClock **clock); /* [setup] */
void pe_clock_stop(PeClock *clock);                                        /* waits for the thread and frees; [setup] */
uint32_t pe_clock_is_realtime(const PeClock *clock);                       /* 1 if it got SCHED_FIFO; [any] */
void pe_clock_allow(PeClock *clock, uint64_t until_frame);                 /* free-running: may put out frames below this one; ~0 no limit; [any] */
uint32_t pe_clock_requests(PeClock *clock, const uint32_t *frames, uint32_t n); /* free-running: sizes of requests to cycle through; before the first allow; 1 if taken; [setup] */
uint32_t pe_clock_wait(PeClock *clock, uint64_t frame, uint32_t timeout_ms); /* 1 when frames below `frame` have been put out; [setup] */

/* ---- process ------------------------------------------------------------------------------------ */

PeStatus pe_process_guard(uint32_t soft_us, uint32_t hard_us);  /* RLIMIT_RTTIME; [setup] */
PeStatus pe_segment_lock(PeSegment *segment);                   /* mlock, but for the states of checkpoints; PE_BUSY where refused; [setup] */
PeStatus pe_process_lock_memory(PeSegment *segment);            /* mlockall, but for those that are not there yet; before other threads use the segment; PE_BUSY where refused; [setup] */
PeStatus pe_process_die_with_parent(int32_t parent_pid);        /* PR_SET_PDEATHSIG where there is one; PE_STALE if the parent is gone already; [setup] */

/* ---- the session log, and its replay --------------------------------------------------------------- */

/* A checkpoint image: PeCheckpointInfo, uint32 n_scheduled, uint32 has_run, PeCommand[n_scheduled], the states. */
uint64_t pe_checkpoint_image(const PeSegment *s, uint64_t generation, void *out, uint64_t size); /* copies the newest one of the generation; its bytes, 0 if there is none, it does not fit, or it was written meanwhile; [any] */
PeStatus pe_journal_changes(const PeSegment *s, uint64_t *block, uint64_t end, uint64_t *seq, uint64_t *pairs, uint32_t capacity,
                            uint32_t *n); /* reads decisions from *block up to `end`, or up to one not taken yet; n pairs (block, number) where the number is not *seq; PE_STALE when the journal has gone a lap further; [any] */
uint32_t pe_stream_copy(const PeSegment *s, uint64_t first_seq, PeCommand *records, uint32_t capacity); /* records from first_seq to the newest, of those that are kept; how many; none of them may be written anew meanwhile; [any] */

typedef struct PeReplay PeReplay;       /* a run outside any engine */
typedef struct PeReplayOut PeReplayOut; /* what is heard of one run after the other: the declick */

PeStatus pe_replay_new(PePlan *plan, uint64_t generation, PeReplay **replay);      /* takes the plan, also when it fails; [setup] */
void pe_replay_free(PeReplay *replay);                                             /* [setup] */
PeStatus pe_replay_load(PeReplay *replay, const void *image, uint64_t bytes);      /* a checkpoint image of this plan; [setup] */
PeStatus pe_replay_copy(PeReplay *replay, const PeReplay *from);                   /* states, schedule, number; plans must be equal, neither fading; [setup] */
PeStatus pe_replay_restart(PeReplay *replay, const PeReplay *from, uint64_t base); /* states alone; records up to `base` are ignored; [setup] */
void pe_replay_take(PeReplay *replay, const PeCommand *commands, uint32_t n, int64_t first_frame); /* in order; those at or below its number, and SWITCH, are passed over; [setup] */
PeStatus pe_replay_turn(PeReplay *replay, PePlan *plan, uint64_t generation, uint32_t fade_frames); /* takes the plan, also when it fails; [setup] */
void pe_replay_render(PeReplay *replay, int64_t first_frame, uint64_t n_frames, PeReplayOut *heard, float *out); /* interleaved, through the declick; heard NULL: rendered, not put out; [setup] */
PeStatus pe_replay_out_new(double sample_rate_hz, uint32_t n_channels, PeReplayOut **out); /* [setup] */
void pe_replay_out_free(PeReplayOut *out);                                         /* [setup] */
void pe_replay_out_declick(PeReplayOut *out);                                      /* what comes next does not continue what was heard; [setup] */
void pe_replay_out_silence(PeReplayOut *out, uint64_t n_frames, float *interleaved); /* [setup] */

/* ---- the inbox --------------------------------------------------------------------------------------
 * Where datagrams come in, and the one place that numbers and sends records. A setting of a module that plays goes
 * from the socket into the stream without Python: the short way. All else goes the long way: Python fetches it, in order.
 * Nothing overtakes what the same sender, or anybody for the same module, has on the long way. One lock, of no
 * real-time thread. */

typedef struct PeInbox PeInbox;

#define PE_LATENCY_ASAP 0     /* a setting takes effect as soon as it is read */
#define PE_LATENCY_CONSTANT 1 /* ... a fixed number of frames after the frame that was put out when it arrived */

typedef struct PeInboxModule {
  uint32_t handle, type;   /* index in the registry */
  uint32_t id_at, id_bytes; /* where its id is in the text of all ids */
} PeInboxModule;

typedef struct PeTaken { /* the newest value that came the short way */
  uint32_t handle, param;
  double value;
} PeTaken;

typedef struct PeLetter { /* a datagram on the long way */
  int64_t frame;       /* stamp: where its settings take effect; below 0: as soon as they are read */
  uint64_t arrival_ns; /* CLOCK_MONOTONIC */
  uint32_t host, port; /* IPv4 address as a number; the sender's */
  uint32_t n_bytes, reserved;
} PeLetter;

typedef struct PeInboxCounts {
  uint64_t datagrams;      /* taken off the socket */
  uint64_t short_requests; /* messages that went the short way */
  uint64_t dropped;        /* by the kernel, as it tells */
  uint64_t lost;           /* by us, for want of memory: never, short of that */
  uint64_t replies_lost;   /* answers of the short way that could not be sent */
  uint64_t stamps_raised;  /* datagrams that were handled too late for their stamp and got a later one */
  uint64_t waiting;        /* datagrams that wait, for Python, for what is before them, or for room */
  uint64_t newest;         /* number of the newest record */
} PeInboxCounts;

PeStatus pe_inbox_new(PeSegment *segment, PeOutput *output, const PeRegistry *registry, PeInbox **inbox); /* borrows all three; [setup] */
void pe_inbox_free(PeInbox *inbox);                                       /* ends its thread; [setup] */
PeStatus pe_inbox_listen(PeInbox *inbox, int32_t socket);                 /* starts the thread that reads a bound UDP socket; the socket stays the caller's; [setup] */
void pe_inbox_stop(PeInbox *inbox);                                       /* ends that thread; the socket may be closed then; [setup] */
int32_t pe_inbox_fd(const PeInbox *inbox);                                /* readable when there is something for pe_inbox_next; [any] */
PeStatus pe_inbox_publish(PeInbox *inbox, const PeInboxModule *modules, uint32_t n, const char *ids, uint32_t ids_bytes); /* the modules that may be set the short way from now on; what was taken of others is gone: fetch it before; [setup] */
void pe_inbox_hold(PeInbox *inbox);                                       /* nothing is sent by its thread until the release; may be nested; [setup] */
void pe_inbox_release(PeInbox *inbox);                                    /* [setup] */
void pe_inbox_put(PeInbox *inbox, uint32_t host, uint32_t port, uint64_t arrival_ns, const void *datagram, uint32_t n_bytes); /* as if it had come by the socket, or, from host 0 and a port above 0, from the stream of that number: those go the long way, in order with all else; [setup] */
uint32_t pe_inbox_next(PeInbox *inbox, PeLetter *letter, void *bytes);    /* the datagram fetched before is done with; 1 and the next one, of up to 65536 bytes, that needs Python; 0: none now; [setup] */
void pe_inbox_wake(PeInbox *inbox);                                       /* make pe_inbox_fd readable: there may be more; [setup] */
uint64_t pe_inbox_send(PeInbox *inbox, const PeCommand *records, uint32_t n, uint32_t is_stamped, uint32_t n_behind); /* pe_stream_send, in order with what came the short way; 0 if there is no room. is_stamped: their frames are stamps. n_behind: groups that wait behind this one: nothing on the short way goes before them; [setup] */
uint32_t pe_inbox_taken(PeInbox *inbox, PeTaken *taken, uint32_t capacity); /* values taken the short way since they were fetched last, one per parameter; [setup] */
void pe_inbox_keep(PeInbox *inbox, uint64_t seq);                         /* records above this are kept for the session log; PE_KEEP_ALL: no log; [setup] */
void pe_inbox_latency(PeInbox *inbox, uint32_t kind, uint32_t frames);    /* PE_LATENCY_...; frames: at least so many, where the device and the lead do not need more; [setup] */
uint32_t pe_inbox_delay(PeInbox *inbox);                                  /* frames from arrival to effect; 0: as soon as possible; [setup] */
int64_t pe_inbox_stamp(PeInbox *inbox, uint64_t arrival_ns);              /* where a setting takes effect that arrived then; [setup] */
int64_t pe_inbox_open_frame(PeInbox *inbox);                              /* the first frame that a setting sent now can take effect at; [setup] */
void pe_inbox_counts(PeInbox *inbox, PeInboxCounts *counts);              /* [setup] */
