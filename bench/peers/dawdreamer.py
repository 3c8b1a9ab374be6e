"""DawDreamer: Faust programs, compiled as they are loaded, in its graph; an "add" processor sums them.

The same program as in faust.py, as many instances as it takes.
"""

from __future__ import annotations

import time
from pathlib import Path

from peers import faust
from peers.python import PythonPeer, main
from peers.voices import BLOCK_FRAMES, RATE_HZ

PEER = PythonPeer("DawDreamer", "Faust processors: os.osc, en.adsr, fi.tf2", "dawdreamer")

STEREO = "\nprocess = voices <: _, _;\n"  # its "add" takes stereo; of mono ones it hears every other


def play(n_voices: int, seconds: float, path: Path | None) -> float:
    import dawdreamer as dd
    import numpy as np

    engine = dd.RenderEngine(RATE_HZ, BLOCK_FRAMES)
    chord = min(n_voices, faust.CHORD)
    chords = []
    for base in range(0, n_voices, chord):
        processor = engine.make_faust_processor(f"chord{base}")
        processor.set_dsp_string(faust.program(chord) + STEREO)
        processor.compile()
        knobs = {p["name"].rsplit("/", 1)[-1]: p["name"] for p in processor.get_parameters_description()}
        processor.set_parameter(knobs["base"], base)
        processor.set_parameter(knobs["gain"], 0.5 / n_voices)
        chords.append((processor, []))
    add = engine.make_add_processor("add", [1.0] * len(chords))
    engine.load_graph([*chords, (add, [processor.get_name() for processor, _ in chords])])
    start = time.process_time()
    engine.render(seconds)
    cpu_s = time.process_time() - start
    if path:
        np.ascontiguousarray(engine.get_audio()[0], np.float32).tofile(path)
    return cpu_s


if __name__ == "__main__":
    main(play)
