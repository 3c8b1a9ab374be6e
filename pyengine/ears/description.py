"""describe(samples, rate): all figures of a sound, as plain data, and a paragraph of words."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from pyengine.ears.clicks import Click, clicks
from pyengine.ears.levels import clipping, dc, dropouts, levels, silence, stereo
from pyengine.ears.loudness import loudness
from pyengine.ears.onsets import onsets, tempo
from pyengine.ears.pitch import MAX_NOTES, pitch
from pyengine.ears.sound import Sound, as_sound, rms, seconds
from pyengine.ears.spectrum import brightness, partials
from pyengine.ears.words import summary

MAX_TIMES = 200  # onsets listed; n says how many there are
MAX_FAULTS = 32  # clicks and dropouts listed
NEAR_S, NEAR_ONSET_S = 0.012, 0.04  # the edges of a dropout are no clicks, and no onsets


@dataclass(frozen=True, slots=True)
class Description:
    """What a sound is like. Every field but summary is plain data: numbers, strings, lists, dicts, None for what is
    not there. Times are seconds from the first frame, levels dB below full scale.
    """

    summary: str
    duration_s: float
    frames: int
    channels: int
    sample_rate_hz: float
    level: dict[str, Any]
    loudness: dict[str, Any]
    pitch: dict[str, Any] | None
    notes: dict[str, Any]
    brightness: dict[str, Any]
    partials: list[dict[str, Any]]
    onsets: dict[str, Any]
    tempo: dict[str, Any] | None
    clicks: dict[str, Any]
    clipping: dict[str, Any]
    silence: dict[str, Any]
    dropouts: dict[str, Any]
    dc: dict[str, Any]
    stereo: dict[str, Any] | None
    not_finite: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def as_json(self) -> str:
        """Return one line of JSON, below 20 kB."""
        return json.dumps(self.as_dict(), separators=(",", ":"), allow_nan=False)


def describe(samples: Any, sample_rate_hz: float, *, is_preceded_by_silence: bool = True) -> Description:
    """Return what a sound is like.

    samples: floats, (frames,) or (frames, channels), nominally -1 to 1; at most 2**25 values. sample_rate_hz: 1000 to
    768000. is_preceded_by_silence: whether a sound at the first frame begins there (True), or goes on from before.
    Samples that are not finite are told and taken for 0. Raises CommandError for what is not audio.
    """
    sound = as_sound(samples, sample_rate_hz)
    gaps = dropouts(sound)
    edges = [edge for gap in gaps for edge in gap]
    near = sound.frames_of(NEAR_S)
    wrong = [
        click for click in clicks(sound, is_preceded_by_silence) if all(abs(click.frame - e) > near for e in edges)
    ]
    begins = [
        frame
        for frame in onsets(sound, is_preceded_by_silence)
        if all(abs(frame - edge) > sound.frames_of(NEAR_ONSET_S) for edge in edges)
        and not _is_only_a_click(sound, frame, wrong)
    ]
    heard, notes = pitch(sound, begins)
    rate_hz = sound.rate_hz
    facts: dict[str, Any] = {
        "duration_s": seconds(sound.n_frames, rate_hz),
        "frames": sound.n_frames,
        "channels": sound.n_channels,
        "sample_rate_hz": rate_hz,
        "level": levels(sound),
        "loudness": loudness(sound).figures(),
        "pitch": heard,
        "notes": {"n": len(notes), "list": [note.figures(rate_hz) for note in notes[:MAX_NOTES]]},
        "brightness": brightness(sound),
        "partials": partials(sound),
        "onsets": {"n": len(begins), "times_s": [seconds(frame, rate_hz) for frame in begins[:MAX_TIMES]]},
        "tempo": tempo(begins, rate_hz),
        "clicks": {
            "n": len(wrong),
            "list": [
                {
                    "at_s": seconds(click.frame, rate_hz),
                    "frame": click.frame,
                    "channel": click.channel,
                    "step": round(click.step, 5),
                    "ratio": round(click.ratio, 1),
                }
                for click in wrong[:MAX_FAULTS]
            ],
        },
        "clipping": clipping(sound),
        "silence": silence(sound),
        "dropouts": _gaps(gaps, rate_hz),
        "dc": dc(sound),
        "stereo": stereo(sound),
        "not_finite": _not_finite(sound),
    }
    return Description(summary(facts), **facts)


def _is_only_a_click(sound: Sound, frame: int, wrong: list[Click]) -> bool:
    """Whether an onset is a click in a sound that goes on; one in silence is all that is heard, and an onset."""
    begin = max(0, frame - sound.frames_of(0.02))
    level = rms(sound.main[begin : max(0, frame - sound.frames_of(0.001))])
    near = sound.frames_of(NEAR_ONSET_S)
    return any(abs(click.frame - frame) < near and level > 0.1 * abs(click.step) for click in wrong)


def _gaps(gaps: list[tuple[int, int]], rate_hz: float) -> dict[str, Any]:
    shown = [
        {"at_s": seconds(begin, rate_hz), "ms": round(1e3 * (end - begin) / rate_hz, 3)}
        for begin, end in gaps[:MAX_FAULTS]
    ]
    return {"n": len(gaps), "list": shown}


def _not_finite(sound: Sound) -> dict[str, Any]:
    first = seconds(sound.first_not_finite, sound.rate_hz) if sound.n_not_finite else None
    return {"samples": sound.n_not_finite, "first_s": first}
