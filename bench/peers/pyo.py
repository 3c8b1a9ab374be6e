"""pyo, offline: lists of parameters make as many streams of each object; the server writes the mix to a file."""

from __future__ import annotations

import os
import time
from pathlib import Path

import soundfile

from peers.python import PythonPeer, main
from peers.voices import ATTACK_S, BLOCK_FRAMES, DECAY_S, RATE_HZ, RELEASE_S, SUSTAIN, Q, voices

PEER = PythonPeer("pyo", "FastSine, Adsr, Biquad", "pyo")
WAVE, FLOAT32, LOWPASS = 0, 3, 0


def play(n_voices: int, seconds: float, path: Path | None) -> float:
    os.environ["PYO_GUI_WX"] = "0"
    import pyo

    blocks = round(seconds * RATE_HZ / BLOCK_FRAMES)
    server = pyo.Server(sr=RATE_HZ, nchnls=1, buffersize=BLOCK_FRAMES, duplex=0, audio="offline", verbosity=1)
    server.boot()
    sound = str(path.with_suffix(".wav")) if path else os.devnull
    server.recordOptions(dur=blocks * BLOCK_FRAMES / RATE_HZ, filename=sound, fileformat=WAVE, sampletype=FLOAT32)
    every = voices(n_voices)
    times = [[x] * n_voices for x in (ATTACK_S, DECAY_S, SUSTAIN, RELEASE_S)]
    envelopes = pyo.Adsr(*times, dur=0, mul=[v.gain for v in every]).play()
    sines = pyo.FastSine([v.freq_hz for v in every], mul=envelopes)
    filters = pyo.Biquad(sines, [v.cutoff_hz for v in every], Q, LOWPASS)
    mix = filters.mix(1).out()
    start = time.process_time()
    server.start()  # returns when it has rendered all of it
    cpu_s = time.process_time() - start
    assert mix.isOutputting()
    if path:
        soundfile.read(sound, dtype="float32")[0].tofile(path)
    return cpu_s


if __name__ == "__main__":
    main(play)
