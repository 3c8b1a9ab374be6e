"""SignalFlow with the dummy output: the graph renders into a buffer, second by second."""

from __future__ import annotations

import time
from pathlib import Path

from peers.python import PythonPeer, main
from peers.voices import ATTACK_S, BLOCK_FRAMES, DECAY_S, RATE_HZ, RELEASE_S, SUSTAIN, Q, voices

PEER = PythonPeer("SignalFlow", "SineOscillator, ADSREnvelope, BiquadFilter", "signalflow")


def play(n_voices: int, seconds: float, path: Path | None) -> float:
    import numpy as np
    import signalflow as sf

    config = sf.AudioGraphConfig()
    config.sample_rate, config.output_buffer_size = RATE_HZ, BLOCK_FRAMES
    graph = sf.AudioGraph(config=config, output_device=sf.AudioOut_Dummy(1, RATE_HZ, BLOCK_FRAMES), start=False)
    chains = []
    for voice in voices(n_voices):
        envelope = sf.ADSREnvelope(ATTACK_S, DECAY_S, SUSTAIN, RELEASE_S, gate=1)
        tone = sf.SineOscillator(voice.freq_hz) * envelope
        chains.append(sf.BiquadFilter(tone, "low_pass", voice.cutoff_hz, Q) * voice.gain)
    graph.play(sf.Sum(chains))
    n_frames = round(seconds * RATE_HZ)
    whole, rest = sf.Buffer(1, RATE_HZ), n_frames % RATE_HZ
    buffers = [whole] * (n_frames // RATE_HZ) + ([sf.Buffer(1, rest)] if rest else [])
    cpu_s, parts = 0.0, []
    for buffer in buffers:
        start = time.process_time()
        graph.render_to_buffer(buffer)
        cpu_s += time.process_time() - start
        parts.append(np.array(buffer.data[0], np.float32) if path else None)
    if path:
        np.concatenate(parts).tofile(path)
    return cpu_s


if __name__ == "__main__":
    main(play)
