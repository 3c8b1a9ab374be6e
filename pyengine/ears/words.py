"""The figures of a description as a paragraph, for a reader who cannot hear."""

from __future__ import annotations

import math
from typing import Any

Facts = dict[str, Any]

_LOUD = ((-12.0, "very loud"), (-18.0, "loud"), (-26.0, "of moderate loudness"), (-38.0, "quiet"), (-70.0, "faint"))
_BRIGHT = ((300.0, "very dark"), (900.0, "dark"), (2000.0, "warm"), (4000.0, "clear"), (7000.0, "bright"))
_CHORD_DB = 30.0  # a fundamental so far below the strongest partial is a common divisor of several notes


def summary(facts: Facts) -> str:
    """Return what the figures say, in whole sentences: what it is, then what is wrong with it."""
    if not facts["frames"]:
        return "Nothing at all: no frame."
    parts = [_extent(facts)]
    if facts["level"]["peak_dbfs"] is None:
        parts.append("Digital silence from beginning to end: every sample is 0.")
    else:
        parts += [_level(facts), _course(facts), _pitch(facts), _colour(facts), _time(facts), _field(facts)]
        parts.append(_rests(facts))
    parts.append(_faults(facts))
    return " ".join(part for part in parts if part)


def _extent(facts: Facts) -> str:
    n = facts["channels"]
    kind = {1: "mono", 2: "stereo"}.get(n, f"{n} channels")
    return f"{facts['duration_s']:.3g} s, {kind}, {facts['sample_rate_hz']:g} Hz."


def _level(facts: Facts) -> str:
    loud, level = facts["loudness"], facts["level"]
    lufs = loud["integrated_lufs"]
    figures = f"peak {level['peak_dbfs']:.1f} dBFS, RMS {level['rms_dbfs']:.1f} dBFS"
    if lufs is None:
        return f"Loudness unknown ({loud['reason']}); {figures}."
    word = next((word for least, word in _LOUD if lufs >= least), "faint")
    spread = "" if loud["range_lu"] is None else f", range {loud['range_lu']:.1f} LU"
    most = loud["momentary_max_lufs"]
    return f"It is {word}: {lufs:.1f} LUFS (momentary at most {most:.1f}{spread}), {figures}."


def _course(facts: Facts) -> str:
    course = [-120.0 if db is None else max(db, -120.0) for db in facts["level"]["course_dbfs"]]
    if len(course) < 6:
        return ""
    third = len(course) // 3
    first, last = (sum(10 ** (db / 10) for db in part) for part in (course[:third], course[-third:]))
    if last > 4 * first:
        return "It grows louder from beginning to end."
    if last < first / 4:
        return "It grows quieter from beginning to end."
    return "It keeps its level." if max(course) - min(course) < 1 else ""


def _pitch(facts: Facts) -> str:
    pitch, notes = facts["pitch"], facts["notes"]
    if pitch is None:
        strong = facts["partials"]
        if strong:
            named = ", ".join(f"{p['hz']:.0f} Hz" for p in strong[:3])
            return f"No single pitch; the strongest partials lie at {named}."
        return "No pitch: noise, or too short to have one."
    chord = _chord(facts)
    if chord:
        return chord
    tune = f"{pitch['note']} ({pitch['hz']:.1f} Hz, {pitch['cents']:+.0f} cents)"
    if notes["n"] == 1:
        one = notes["list"][0]
        if "from_hz" in one:
            return f"One note that glides from {one['from_hz']:.0f} to {one['to_hz']:.0f} Hz."
        share = "" if pitch["share"] > 0.8 else f", for {100 * pitch['share']:.0f} % of the sound"
        return f"One note: {tune}{share}."
    listed = " ".join(_named(note) for note in notes["list"][:16])
    more = " ..." if notes["n"] > 16 else ""
    if pitch["share"] < 0.3:
        return f"Mostly without pitch; {notes['n']} notes are heard in it: {listed}{more}."
    return f"{notes['n']} notes: {listed}{more}. Most of the time: {tune}."


def _named(note: Facts) -> str:
    glide = "~" if "from_hz" in note else ""
    return f"{glide}{note['note']}"


def _chord(facts: Facts) -> str:
    """Return words where the pitch is none of the partials, but what several notes have in common; else ''."""
    strong, hz = facts["partials"], facts["pitch"]["hz"]
    if len(strong) < 2 or facts["notes"]["n"] > 1:
        return ""
    own = [p["dbfs"] for p in strong if abs(p["hz"] / hz - 1) < 0.03]
    if own and max(own) > strong[0]["dbfs"] - _CHORD_DB:
        return ""
    named = ", ".join(f"{p['note']} ({p['hz']:.0f} Hz)" for p in sorted(strong[:4], key=lambda p: p["hz"]))
    return f"Probably several notes at once; the strongest partials are {named}."


def _colour(facts: Facts) -> str:
    bright, strong = facts["brightness"], facts["partials"]
    centroid, flatness = bright["centroid_hz"], bright["flatness"]
    if centroid is None:
        return ""
    middle = math.sqrt(centroid * bright["rolloff_hz"])  # the one hears faint treble, the other strong bass
    word = next((word for most, word in _BRIGHT if middle < most), "very bright")
    figures = f"centroid {centroid:.0f} Hz, 85 % of the energy below {bright['rolloff_hz']:.0f} Hz"
    if flatness > 0.3:
        kind = " and noisy"
    elif facts["pitch"] and len([p for p in strong if p["dbfs"] > strong[0]["dbfs"] - 40]) == 1:
        kind = ", a pure tone"
    else:
        kind = ""
    return f"Its colour is {word}{kind} ({figures}, flatness {flatness:.2f})."


def _time(facts: Facts) -> str:
    begins, tempo = facts["onsets"], facts["tempo"]
    if begins["n"] == 0:
        return "Nothing begins in it: it goes on all the time."
    if tempo:
        text = (
            f"{begins['n']} onsets on a grid of {1e3 * tempo['period_s']:.0f} ms ({tempo['bpm']:g} bpm, or a multiple)"
        )
        return f"{text}, the first at {begins['times_s'][0]:.3f} s."
    listed = ", ".join(f"{s:.3f}" for s in begins["times_s"][:8]) + (" ..." if begins["n"] > 8 else "")
    noun = "onset" if begins["n"] == 1 else "onsets, not on a grid," if begins["n"] > 3 else "onsets"
    return f"{begins['n']} {noun} at {listed} s."


def _field(facts: Facts) -> str:
    field = facts["stereo"]
    if field is None:
        return ""
    if field["only"]:
        return f"It comes from the {field['only']} channel alone."
    balance, alike = field["balance_db"], field["correlation"]
    side = (
        "in the middle"
        if abs(balance) < 1
        else f"{abs(balance):.1f} dB louder on the {'right' if balance > 0 else 'left'}"
    )
    if alike > 0.9999:
        return f"Both channels are the same, {side}."
    wide = "wide" if alike < 0.3 else "narrow" if alike > 0.8 else "moderately wide"
    warning = "; the channels cancel in mono" if alike < -0.5 else ""
    return f"In stereo it is {wide}, {side} (correlation {alike:.2f}{warning})."


def _rests(facts: Facts) -> str:
    quiet = facts["silence"]
    if quiet["n"] == 0:
        return ""
    stretches = ", ".join(f"{a:.2f} to {b:.2f}" for a, b in quiet["stretches_s"][:4]) + (
        " ..." if quiet["n"] > 4 else ""
    )
    return f"Silent for {100 * quiet['share']:.0f} % of the time ({stretches} s)."


def _faults(facts: Facts) -> str:
    """Return what is wrong, each with its time; or that nothing is."""
    faults = []
    wrong, gaps, clipped = facts["clicks"], facts["dropouts"], facts["clipping"]
    if facts["not_finite"]["samples"]:
        faults.append(
            f"{facts['not_finite']['samples']} samples are not finite, from {facts['not_finite']['first_s']:.3f} s"
        )
    if wrong["n"]:
        faults.append(_listed(wrong["n"], "click", [click["at_s"] for click in wrong["list"]]))
    if gaps["n"]:
        longest = max(gap["ms"] for gap in gaps["list"])
        faults.append(f"{_listed(gaps['n'], 'dropout', [gap['at_s'] for gap in gaps['list']])} (up to {longest:g} ms)")
    if clipped["runs"]:
        faults.append(f"{clipped['runs']} clipped stretches, from {clipped['first_s']:.3f} s")
    if clipped["samples_over_full_scale"]:
        n = clipped["samples_over_full_scale"]
        faults.append(f"{n} sample{'' if n == 1 else 's'} beyond full scale, which a device clips")
    if facts["dc"]["is_steady"]:
        faults.append(f"a DC offset of {max(facts['dc']['channels'], key=abs):+.4f}")
    if not faults:
        return "No clicks, dropouts, clipping or DC."
    return f"Wrong with it: {'; '.join(faults)}."


def _listed(n: int, noun: str, times_s: list[float]) -> str:
    listed = ", ".join(f"{s:.4f}" for s in times_s[:6]) + (" ..." if n > 6 else "")
    return f"{n} {noun}{'' if n == 1 else 's'} at {listed} s"
