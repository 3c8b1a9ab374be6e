"""Change the patch under a sounding note and record it: python examples/swap_while_it_sounds.py [FOLDER]

Works without an audio device: it then plays on the real-time clock.
"""

import sys
import time

import pyengine

folder = sys.argv[1] if len(sys.argv) > 1 else "recordings"

with pyengine.Engine("auto", osc_port=0, recordings=folder) as engine, pyengine.Client(port=engine.osc_port) as client:
    client.create("osc1", "simple_sine")
    client.commit()
    client.record_start("swap.wav")
    time.sleep(0.5)

    client.create("lfo1", "simple_sine")  # a second oscillator turns the filter's cutoff
    client.create("filt1", "biquad_filter")
    client.set("lfo1", "freq", 3.0)
    client.set("lfo1", "gain", 16.0)
    client.connect("lfo1", "filt1.cutoff")
    client.connect("osc1", "filt1")
    report = client.commit()
    print(f"ready in {report['ready_ms']:.2f} ms; kept its state: {report['carried']}; new: {report['new']}")
    time.sleep(0.5)

    client.undo()
    time.sleep(0.5)
    recording = client.record_stop()
    counters = client.status()["counters"]
    print(f"{recording['seconds']:.2f} s in {folder}/swap.wav, {counters['frames_underrun']} frames missing")
