"""What the engine's answers hold: each field with type and unit. Data; docs and /engine/commands are made of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an answer. kind: integer, number, string, boolean, object, list. nested: of an object or a list."""

    name: str
    kind: str
    help: str
    unit: str = ""
    nested: tuple[Field, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Return what a listing shows."""
        row: dict[str, object] = {"name": self.name, "type": self.kind, "unit": self.unit, "help": self.help}
        return row | ({"fields": [field.as_dict() for field in self.nested]} if self.nested else {})


NOTE = (Field("note", "number", "that was played; `late` follows where a time tag had passed"),)
SEQS = (
    Field("committed", "object", "id -> what it is given, of the patch that was committed last"),
    Field("pending", "object", "the same of the patch that edits change"),
)
VALUE = (Field("value", "number", "what it is now; `late` follows where a time tag had passed", "the parameter's"),)
GATE = (Field("value", "integer", "0 or 1; `late` follows where a time tag had passed"),)

WARMUP = (
    Field("max_rms", "number", "loudest block", "linear"),
    Field("peak", "number", "largest sample", "linear"),
    Field("block_cpu_ns", "number", "thread CPU time of a block, median", "ns"),
    Field("is_finite", "boolean", "no NaN and no infinity"),
    Field("n_blocks", "integer", "rendered to measure", "blocks"),
)

COMMIT = (
    Field("generation", "integer", "number of the patch that is heard now"),
    Field("slot", "integer", "that renders it"),
    Field("block", "integer", "of the swap", "blocks"),
    Field("frame", "integer", "of the swap", "frames"),
    Field("received_frame", "integer", "where the output stood when the commit came", "frames"),
    Field("late_blocks", "integer", "by which the swap was late", "blocks"),
    Field("ready_ms", "number", "from receiving the datagram to `prime_ready`", "ms"),
    Field("total_ms", "number", "from receiving the datagram to this answer", "ms"),
    Field("build_ms", "number", "of them, to build the plan", "ms"),
    Field("prime_ms", "number", "of them, to prime it", "ms"),
    Field("warmup", "object", "what the warm-up measured", nested=WARMUP),
    Field("warmup_cut_short", "boolean", "its time-out had passed (`--on-prime-timeout swap`)"),
    Field("warnings", "list", "what is probably not meant, and settings that were passed over"),
    Field("carried", "list", "ids that kept their state"),
    Field("new", "list", "ids that are new"),
    Field("gone", "list", "ids that are gone"),
)

DUMP = (
    Field("committed", "object", "the patch that was committed last: version, nodes, cables"),
    Field("pending", "object", "the patch that edits change: version, nodes, cables"),
    Field("has_edits", "boolean", "the two differ"),
    Field("undo_depth", "integer", "patches that /patch/undo can go back to"),
)

STOPPED = (
    Field("is_recording", "boolean", "a recording is being written"),
    Field("name", "string", "of the file, in the recordings folder"),
    Field("path", "string", "the same"),
    Field("first_frame", "integer", "of the output, in it", "frames"),
    Field("frames", "integer", "written", "frames"),
    Field("seconds", "number", "written", "s"),
    Field("lost_frames", "integer", "that found no room on their way to the disk", "frames"),
    Field("peak", "number", "largest sample", "linear"),
    Field("error", "string", "what ended it early, or ''"),
    Field("warnings", "list", "that its peak is beyond full scale, and what to do"),
)
RECORDING = (*STOPPED, Field("last", "object", "the same of the last one that ended, or null"))

SESSION = (
    Field("is_logging", "boolean", "a log is being written"),
    Field("is_starting", "boolean", "it waits for the state that it begins with"),
    Field("name", "string", "of the file, in the recordings folder"),
    Field("path", "string", "the same"),
    Field("first_frame", "integer", "of the output, in it", "frames"),
    Field("frames", "integer", "logged", "frames"),
    Field("blocks", "integer", "number of the last block logged", "blocks"),
    Field("records", "integer", "commands logged"),
    Field("bytes", "integer", "of the file", "bytes"),
    Field("error", "string", "what ended it early, or ''"),
)

SAMPLE = (
    Field("file", "string", "in the samples folder"),
    Field("sha256", "string", "hash of the file"),
    Field("frames", "integer", "at the engine's rate", "frames"),
    Field("channels", "integer", "1 or 2"),
    Field("seconds", "number", "how long it is", "s"),
    Field("file_rate", "number", "sample rate of the file", "Hz"),
)

LEVELS = (
    Field("levels", "list", "of the modules that play: each with id, type, peak and rms of its outputs", "linear"),
    Field("n_levels", "integer", "modules that play"),
    Field("first", "integer", "number of the first one here"),
    Field("next", "integer", "what to give as `first` for those that follow, -1 when there are none"),
    Field("output", "list", "peak and rms of the last 0.1 s of each channel", "linear"),
    Field("measured_s", "number", "of sound, since the measuring began: 0 for the first request", "s"),
)

SYNC = (
    Field("seq", "integer", "number of the newest command that was waited for"),
    Field("block", "integer", "that is played next", "blocks"),
    Field("frames", "integer", "put out so far", "frames"),
)

LISTEN = (
    Field("summary", "string", "all of it in one paragraph"),
    Field("duration_s", "number", "of what was heard", "s"),
    Field("frames", "integer", "heard", "frames"),
    Field("first_frame", "integer", "of the output, that was heard", "frames"),
    Field("channels", "integer", "of the output"),
    Field("sample_rate_hz", "number", "of the output", "Hz"),
    Field(
        "level", "object", "peak_dbfs, true_peak_dbtp, rms_dbfs, crest_db; of each channel; the course of the RMS", "dB"
    ),
    Field(
        "loudness", "object", "integrated, momentary and short-term maximum, range; reason where there is none", "LUFS"
    ),
    Field("pitch", "object", "that sounds longest: hz, note, cents, confidence, share of the time; or null"),
    Field("notes", "object", "n, and list: each with begin_s, end_s, hz, note, cents, confidence"),
    Field("brightness", "object", "centroid_hz, rolloff_hz, flatness: 0 for tones, 1 for white noise"),
    Field("partials", "list", "the strongest: hz, dbfs, note"),
    Field("onsets", "object", "n, and times_s from the first frame heard"),
    Field("tempo", "object", "bpm, period_s of the grid, error_ms; null where onsets are not regular"),
    Field("clicks", "object", "n, and list: each with at_s, frame, channel, step"),
    Field("clipping", "object", "runs at full scale, samples beyond it"),
    Field("silence", "object", "share of the time, and its stretches"),
    Field("dropouts", "object", "n, and list: each with at_s and ms"),
    Field("dc", "object", "offset of each channel; is_steady"),
    Field("stereo", "object", "balance_db, correlation, width; null for other than two channels"),
    Field("not_finite", "object", "samples that were NaN or infinite, and when first"),
    Field("picture", "string", "its name in the recordings folder, or ''"),
    Field("picture_path", "string", "where that is, or ''"),
)

MODULES = (
    Field("modules", "list", "each with help, ports, and its parameters with unit, range, default, choices, ramp"),
    Field("n_modules", "integer", "that there are"),
    Field("first", "integer", "number of the first one here"),
    Field("next", "integer", "what to give as `first` for those that follow, -1 when there are none"),
)

COMMANDS = (
    Field("commands", "list", "each with usage, arguments (type, unit, range, default), reply fields, example, help"),
    Field("n_commands", "integer", "that there are"),
    Field("first", "integer", "number of the first one here"),
    Field("next", "integer", "what to give as `first` for those that follow, -1 when there are none"),
)

NOTIFY = (
    Field("topics", "list", "that the sender is told of from now on"),
    Field(
        "expires_s", "number", "until it must ask again; null for a TCP connection, which is told until it closes", "s"
    ),
)

# As the C core names them: a test compares.
COUNTERS = (
    Field("callbacks", "integer", "requests of the output"),
    Field("frames_requested", "integer", "by the output", "frames"),
    Field("frames_delivered", "integer", "of what plays", "frames"),
    Field("frames_underrun", "integer", "that were asked for and not there: silence", "frames"),
    Field("blocks_played", "integer", "so far", "blocks"),
    Field("none_reads", "integer", "times that no ring had the due block"),
    Field("hedged_blocks", "integer", "taken from the standby, with the same bits", "blocks"),
    Field("fallbacks", "integer", "to a slot that renders another patch"),
    Field("swaps", "integer", "of patches"),
    Field("late_swaps", "integer", "behind their block"),
    Field("declicks", "integer", "where the output does not simply go on"),
    Field("worst_callback_ns", "integer", "the longest request", "ns"),
    Field("lead_raised", "integer", "times, for a larger request than seen before"),
    Field("tap_lost_frames", "integer", "of recordings", "frames"),
    Field("clock_missed_periods", "integer", "of the real-time clock"),
    Field("clock_worst_late_ns", "integer", "of the real-time clock", "ns"),
    Field("events_lost", "integer", "of the audio callback"),
    Field("device_underflows", "integer", "that the device told of (xruns)"),
    Field("torn_blocks", "integer", "that changed while they were read", "blocks"),
    Field("compared_blocks", "integer", "that both rings had when they were played", "blocks"),
    Field("diverged_blocks", "integer", "in which the replicas differed; must be 0", "blocks"),
)

SLOT_COUNTERS = (
    Field("blocks", "integer", "rendered", "blocks"),
    Field("discarded_blocks", "integer", "rendered when they had been played already", "blocks"),
    Field("late_commands", "integer", "whose frame had passed"),
    Field("schedule_full", "integer", "commands that found no room to wait for their frame"),
    Field("unknown_handle", "integer", "commands for modules that it does not have"),
    Field("refused_values", "integer", "of commands"),
    Field("worst_render_ns", "integer", "the longest block", "ns"),
    Field("checkpoints", "integer", "written"),
    Field("kept_blocks", "integer", "that its predecessor had rendered", "blocks"),
    Field("not_finite_samples", "integer", "NaN or infinite, that became 0", "samples"),
    Field("checkpoint_ns", "integer", "spent on them and their hashes", "ns"),
    Field("metered_blocks", "integer", "whose levels were measured", "blocks"),
    Field("emit_full", "integer", "commands of sequences and voices that found no room in their chunk"),
    Field("worst_checkpoint_ns", "integer", "the longest that one kept a block waiting", "ns"),
)

SLOT = (
    Field("state", "string", "dead, joining, replica, priming, ready, active, probation, parked"),
    Field("pid", "integer", "of its worker, or null"),
    Field("seat", "integer", "where its worker writes"),
    Field("generation", "integer", "of the patch it renders"),
    Field("render_head", "integer", "the block it renders next", "blocks"),
    Field("applied", "integer", "number of the newest command it has taken"),
    Field("heartbeat", "integer", "signs of life"),
    Field("is_at_rest", "boolean", "silent until something is set: it sleeps, and its render head may be behind"),
    Field("prime_ready", "list", "generation, and 1 once it is primed"),
    Field("is_locked", "boolean", "its memory is locked; there once its worker has said so"),
    Field("is_realtime", "boolean", "it has real-time priority; there once its worker has said so"),
    Field("processors", "list", "that its render thread keeps to, [] for any; there once its worker has said so"),
    Field("is_limited", "boolean", "its processor time without a wait is limited; there once its worker has said so"),
    Field("counters", "object", "of its worker", nested=SLOT_COUNTERS),
)

SUBSCRIPTIONS = (
    Field("subscribers", "integer", "that are told what happens"),
    Field("lost", "integer", "events that came too fast, not told so yet"),
)

TCP = (
    Field("port", "integer", "that is listened on"),
    Field("connections", "integer", "that are open"),
    Field("accepted", "integer", "so far"),
    Field("turned_away", "integer", "since too many were open"),
    Field("dropped", "integer", "since they took no answers"),
    Field("packets", "integer", "that came"),
    Field("unsent_bytes", "integer", "that wait for their readers", "bytes"),
)

OSC = (
    Field("host", "string", "that is listened on"),
    Field("port", "integer", "that is listened on"),
    Field("datagrams", "integer", "that came"),
    Field("requests", "integer", "in them"),
    Field("short_requests", "integer", "of them, that needed no Python"),
    Field("waiting", "integer", "datagrams that wait for Python"),
    Field("refused", "integer", "requests answered with /fail"),
    Field("dropped_by_kernel", "integer", "datagrams that found no room in the socket"),
    Field("lost", "integer", "datagrams that found no memory"),
    Field("replies_lost", "integer", "answers that could not be sent"),
    Field("tcp", "object", "the TCP port, or null", nested=TCP),
)

STATUS = (
    Field("output", "string", "what is played to"),
    Field("output_kind", "string", "device, clock or free"),
    Field("output_latency_ms", "number", "of the device", "ms"),
    Field("output_is_alive", "boolean", "it asks for blocks"),
    Field("output_switches", "integer", "from device to clock and back"),
    Field("is_realtime_clock", "boolean", "what asks for blocks has real-time priority"),
    Field("instruction_set", "string", "that is used"),
    Field("sample_rate", "number", "of everything", "Hz"),
    Field("block_frames", "integer", "of a block", "frames"),
    Field("lead_blocks", "integer", "that renderers may be ahead, beyond the largest request", "blocks"),
    Field("effective_lead_blocks", "integer", "the largest request included", "blocks"),
    Field("largest_request_frames", "integer", "of the output", "frames"),
    Field("uptime_s", "number", "since the start", "s"),
    Field("frames", "integer", "put out so far, silence included", "frames"),
    Field("play_block", "integer", "that is played next", "blocks"),
    Field("generation", "integer", "of the patch that is heard"),
    Field("active_slot", "integer", "that is heard"),
    Field("standby", "string", "hot or cold"),
    Field("is_redundant", "boolean", "either renderer could die unheard"),
    Field("is_reserve_ready", "boolean", "a third worker waits in reserve"),
    Field("slots", "list", "both slots", nested=SLOT),
    Field("nodes", "integer", "of the committed patch"),
    Field("has_pending_edits", "boolean", "the pending patch differs from the committed one"),
    Field("undo_depth", "integer", "patches that /patch/undo can go back to"),
    Field("commit", "string", "how far one on its way is: none, waiting, priming, switching"),
    Field("commits", "integer", "heard so far"),
    Field("commits_refused", "object", "how many, by reason"),
    Field("prime_warnings", "integer", "settings that were passed over in priming"),
    Field("worker_deaths", "integer", "so far"),
    Field("is_on_probation", "boolean", "the newest patch may still be taken back"),
    Field("rollbacks", "integer", "patches that were taken back"),
    Field("restarts", "integer", "of a patch that killed its renderers"),
    Field("states_diverged", "integer", "times that the replicas differed; must be 0"),
    Field("last_fault", "object", "of a module, or {}"),
    Field("commands_sent", "integer", "numbered so far"),
    Field("commands_waiting", "integer", "for room in the stream"),
    Field("commands_lost", "integer", "refused since too many waited"),
    Field("commands_late", "integer", "whose time tag had passed"),
    Field("latency", "string", "constant or asap"),
    Field("latency_frames", "integer", "from a setting's arrival to its effect", "frames"),
    Field("latency_ms", "number", "the same", "ms"),
    Field("stamps_raised", "integer", "settings that came too late for their frame"),
    Field("time_origin_frame", "integer", "of time tags", "frames"),
    Field("time_origin_s", "number", "of time tags: Unix time", "s"),
    Field("time_origin_latched_again", "integer", "times"),
    Field("counters", "object", "of the audio callback", nested=COUNTERS),
    Field("recording", "object", "as /record/status tells", nested=RECORDING),
    Field("session", "object", "as /session/status tells", nested=SESSION),
    Field("notify", "object", "subscriptions (/notify)", nested=SUBSCRIPTIONS),
    Field("osc", "object", "the OSC port", nested=OSC),
)
