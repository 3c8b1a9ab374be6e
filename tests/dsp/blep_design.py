"""Designs the table of csrc/dsp/blep_table.h: what makes a step, or a corner, band-limited.

    python tests/dsp/blep_design.py > csrc/dsp/blep_table.h

The low-pass is a sinc at half the sample rate under a Kaiser window (beta 8) of 31.4 frames, at 256 points a frame,
turned into minimum phase by its cepstrum (Oppenheim and Schafer, "Discrete-Time Signal Processing", ch. 13): so it
delays what is slow by 2.4 frames only. It is put off by the rest of DELAY frames. Its integral less a step at DELAY,
and the second integral less a ramp from there, are fitted by a polynomial for each frame (Brandt, "Hard Sync Without
Aliasing", ICMC 2001, has a table of samples there).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

FRAMES, DELAY, POINTS, DEGREE, BETA = 32, 3, 256, 6, 8.0
Array = NDArray[np.float64]


def kernel(n: int) -> Array:
    """Return the low-pass in continuous time, n + 1 points of it at POINTS a frame, with integral 1."""
    t = (np.arange(n + 1) - n / 2) / POINTS
    linear = np.sinc(t) * np.kaiser(n + 1, BETA)
    size = 1 << 20
    magnitude = np.maximum(np.abs(np.fft.fft(linear / linear.sum(), size)), 1e-9)
    cepstrum = np.fft.ifft(np.log(magnitude)).real
    fold = np.zeros(size)
    fold[0] = fold[size // 2] = 1
    fold[1 : size // 2] = 2
    h: Array = np.fft.ifft(np.exp(np.fft.fft(cepstrum * fold))).real[: n + 1]
    return h / np.trapezoid(h) * POINTS


def delayed_kernel() -> Array:
    """Return FRAMES of it, put off until its mean delay is DELAY frames, to a part of a point."""
    grid, n, before = np.arange(FRAMES * POINTS + 1.0), FRAMES * POINTS, 0.0
    for _ in range(8):
        h = kernel(n)
        before = DELAY * POINTS - float(h @ np.arange(n + 1)) / POINTS
        n = int(FRAMES * POINTS - before)
    shifted = CubicSpline(np.arange(n + 1), h)(np.clip(grid - before, 0, n))
    shifted[(grid < before) | (grid > before + n)] = 0.0
    return shifted / np.trapezoid(shifted) * POINTS


def integral(x: Array) -> Array:
    """Return the integral from 0 to each point, by the trapezoidal rule."""
    return np.concatenate([[0.0], np.cumsum((x[1:] + x[:-1]) / 2)]) / POINTS


def residuals() -> tuple[Array, Array]:
    """Return what belongs to a step by 1 and to a change of slope by 1 a frame: (FRAMES, points in a frame) each.

    Each frame has both its ends, as the step lies between two of them.
    """
    step = integral(delayed_kernel())
    inside = np.arange(FRAMES)[:, None] * POINTS + np.arange(POINTS + 1)
    has_come = (np.arange(FRAMES) >= DELAY)[:, None]
    return step[inside] - has_come, integral(step)[inside] - has_come * (inside / POINTS - DELAY)


def polynomials(residual: Array) -> Array:
    """Return (DEGREE + 1, FRAMES): coefficients from the highest power of the time into each frame, 0 to 1."""
    t = np.arange(POINTS + 1) / POINTS
    nodes = np.cos(np.pi * t)  # dense at the ends: as good as the minimax polynomial to a few per cent
    rows = []
    for k in range(FRAMES):
        y = np.interp((1 - nodes) / 2, t, residual[k])
        rows.append(np.polyfit((1 - nodes) / 2, y, DEGREE))
    return np.array(rows).T


def written(name: str, table: Array) -> str:
    lines = []
    for power, row in zip(range(DEGREE, -1, -1), table, strict=True):
        numbers = ", ".join(f"{x:.9g}f" if "." in f"{x:.9g}" or "e" in f"{x:.9g}" else f"{x:.9g}.0f" for x in row)
        lines.append(f"  {{{numbers}}}, /* t^{power} */")
    return f"static const float {name}[BLEP_POWERS][BLEP_FRAMES] = {{\n" + "\n".join(lines) + "\n};\n"


def header() -> str:
    step, slope = residuals()
    return f"""/* RT: no locks, no allocation, no syscalls, no unbounded loops. */
/* Written by tests/dsp/blep_design.py, which says how; edit that instead. */
#ifndef PE_DSP_BLEP_TABLE_H
#define PE_DSP_BLEP_TABLE_H

#define BLEP_FRAMES {FRAMES}u
#define BLEP_POWERS {DEGREE + 1}u
#define BLEP_DELAY {DELAY}u /* frames by which the low-pass delays, and by which the wave itself has to be delayed */

{written("blep_step", polynomials(step))}
{written("blep_slope", polynomials(slope))}
#endif
"""


if __name__ == "__main__":
    print(header(), end="")
