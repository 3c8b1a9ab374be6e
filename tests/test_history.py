"""What is kept of the output for listening is, bit for bit, what was put out."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rig import Rig, wait_until

from pyengine import _native
from pyengine.errors import NativeError
from pyengine.patch import Patch


def tone() -> Patch:
    return Patch().create("osc1", "simple_sine")


def listen(output: _native.Output, n_frames: int) -> tuple[npt.NDArray[np.float32], int]:
    """Return the newest frames, and the frame of the output that the first of them is."""
    n_channels = output.segment.config.n_channels
    buffer = np.full((n_frames, n_channels), 7.0, np.float32)
    n, first = output.listen(buffer)
    return buffer[:n], first


@pytest.mark.parametrize("n_channels", [1, 2, 5])
def test_the_newest_frames_are_those_that_were_put_out(n_channels: int) -> None:
    with Rig(n_channels=n_channels, requests=[1, 64, 100, 777]) as rig:
        rig.output.keep(2000)
        rig.record()
        rig.commit(tone())
        rig.advance(70_000)  # around the ring, which holds 48000 + 16384 + 2000
        rig.record()
        played = rig.read_tap()
        for n_frames in (1, 63, 2000):
            heard, first = listen(rig.output, n_frames)
            assert first == rig.output.frames - n_frames
            assert np.array_equal(heard, played[first:])
        assert np.abs(played[-2000:]).max() > 0.1


def test_no_more_is_given_than_was_put_out_and_nothing_where_nothing_is_kept() -> None:
    with Rig() as rig:
        assert rig.output.kept == (0, 0)
        assert rig.output.listen(bytearray(800)) == (0, 0)
        rig.advance(100)
        rig.output.keep(1000)
        assert rig.output.kept == (0, 100)
        rig.advance(128)
        heard, first = listen(rig.output, 500)
        assert (len(heard), first) == (128, 100)
        with pytest.raises(NativeError):
            rig.output.keep(1000)


def test_one_request_larger_than_what_is_kept_leaves_its_end() -> None:
    with Rig(block_frames=8192) as rig:
        rig.output.keep(1)
        rig.record()
        for _ in range(10):
            rig.advance(8192)
        heard, _ = listen(rig.output, 100_000)
        assert np.array_equal(heard, rig.read_tap()[-len(heard) :])


def test_what_cannot_be_kept_is_refused() -> None:
    with Rig() as rig, pytest.raises(NativeError):
        rig.output.keep(1 << 62)


def test_a_copy_that_the_callback_runs_into_is_cut_to_what_is_whole() -> None:
    """All that is kept is copied again and again while the clock runs as fast as it can: a tone foretells itself."""
    with Rig(block_frames=1024) as rig:
        rig.output.keep(1)
        rig.commit(tone())
        rig.advance(200_000)
        is_over = threading.Event()
        faults: list[float] = []

        def look() -> None:
            while not is_over.is_set():
                heard, _ = listen(rig.output, 1 << 17)
                if len(heard) < 3:  # the clock ran around the whole ring
                    continue
                x = heard[:, 0].astype(np.float64)
                faults.append(float(np.abs(x[2:] - (2 * np.cos(2 * np.pi * 440 / 48000) * x[1:-1] - x[:-2])).max()))

        thread = threading.Thread(target=look)
        thread.start()
        for _ in range(20):
            rig.advance(100_000)
        wait_until(lambda: len(faults) > 20)
        is_over.set()
        thread.join()
        assert max(faults) < 1e-6


def test_whoever_listens_while_it_plays_gets_whole_frames_in_order() -> None:
    """Two copies, one behind the other, agree where they overlap."""
    with Rig("none", requests=[64]) as rig:
        rig.output.keep(4800)
        rig.commit(tone())
        wait_until(lambda: rig.output.kept[1] > 48000 // 4)
        before = rig.counters()["frames_requested"]
        faults: list[Any] = []

        def look() -> None:
            for _ in range(300):
                heard, first = listen(rig.output, 4800)
                again, later = listen(rig.output, 4800)
                shared = first + len(heard) - later
                if len(heard) != 4800 or (shared > 0 and not np.array_equal(heard[-shared:], again[:shared])):
                    faults.append((len(heard), first, later))

        threads = [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        assert rig.counters()["frames_requested"] > before
