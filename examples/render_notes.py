"""Render a short melody to a file, without a device: python examples/render_notes.py [melody.wav]"""

import sys

import soundfile

import pyengine

NOTES_HZ = (220.0, 261.63, 329.63, 392.0, 440.0, 392.0, 329.63, 261.63)
NOTE_S = 0.25

patch = pyengine.Patch()
patch.create("osc1", "simple_sine").create("env1", "adsr").create("filt1", "biquad_filter")
patch.connect("osc1", "env1").connect("env1", "filt1")
patch.set("env1", "release", 80.0).set("filt1", "cutoff", 1200.0).set("filt1", "q", 2.0)

events = []
for number, freq_hz in enumerate(NOTES_HZ):
    start_s = number * NOTE_S
    events.append((start_s, ("mod", "osc1", "freq", freq_hz)))
    events.append((start_s, ("gate", "env1", None, 1)))
    events.append((start_s + 0.7 * NOTE_S, ("gate", "env1", None, 0)))

sound = pyengine.render(patch, seconds=len(NOTES_HZ) * NOTE_S + 0.5, events=events)
soundfile.write(sys.argv[1] if len(sys.argv) > 1 else "melody.wav", sound, 48000, subtype="FLOAT")
