"""Lines between columns of a drawing in text, from outputs on the left to inputs on the right."""

from __future__ import annotations

from dataclasses import dataclass, field

_N, _E, _S, _W = 1, 2, 4, 8
_LINES = {
    **dict.fromkeys((_E, _W, _E | _W), "─"),
    **dict.fromkeys((_N, _S, _N | _S), "│"),
    _S | _E: "┌",
    _S | _W: "┐",
    _N | _E: "└",
    _N | _W: "┘",
    _N | _S | _E: "├",
    _N | _S | _W: "┤",
    _E | _W | _S: "┬",
    _E | _W | _N: "┴",
    _N | _E | _S | _W: "┼",
}
JOINT = "●"  # where a line parts in four; ┼ is where two lines cross
ARROW = "▶"
_DASHES = {"─": "╌", "│": "┆"}  # of a line that is no cable, where it runs alone
ASCII = str.maketrans(dict(zip("─│┌┐└┘├┤┬┴┼●▶╌┆", "-|++++++++++>.:", strict=True)))


@dataclass(slots=True)
class Net:
    """What leads from one output into the next column. row: of the output; lead: blanks between its box and the
    column's edge; ends: row -> whether a box is there, with an arrow before it; is_dashed: it is no cable. No two nets
    share a row of an end.
    """

    row: int
    lead: int
    ends: dict[int, bool] = field(default_factory=dict)
    is_dashed: bool = False

    @property
    def is_straight(self) -> bool:
        return set(self.ends) == {self.row}

    @property
    def span(self) -> tuple[int, int]:
        return min(self.row, *self.ends), max(self.row, *self.ends)


class Grid:
    """Characters at (x, y), as large as need be."""

    def __init__(self) -> None:
        self._lines: dict[tuple[int, int], int] = {}
        self._signs: dict[tuple[int, int], str] = {}
        self._whole: set[tuple[int, int]] = set()  # cells that not only dashed lines go through

    def write(self, x: int, y: int, text: str) -> None:
        for n, sign in enumerate(text):
            self._signs[x + n, y] = sign

    def across(self, begin: int, end: int, y: int, is_dashed: bool = False) -> None:
        """Draw from one column to another, both included."""
        for x in range(begin, end):
            self._add(x, y, _E, is_dashed)
            self._add(x + 1, y, _W, is_dashed)
        if begin == end:
            self._add(begin, y, _E, is_dashed)

    def down(self, x: int, begin: int, end: int, is_dashed: bool = False) -> None:
        """Draw from one row to another, both included."""
        for y in range(begin, end):
            self._add(x, y, _S, is_dashed)
            self._add(x, y + 1, _N, is_dashed)

    def box(self, x: int, y: int, width: int, height: int) -> None:
        right, bottom = x + width - 1, y + height - 1
        for edge in (y, bottom):
            self.across(x, right, edge)
        for edge in (x, right):
            self.down(edge, y, bottom)

    def text(self) -> str:
        lines = {place: _LINES[bits] for place, bits in self._lines.items()}
        dashes = {place: _DASHES.get(sign, sign) for place, sign in lines.items() if place not in self._whole}
        cells = lines | dashes | self._signs
        if not cells:
            return ""
        across, down = max(x for x, _ in cells) + 1, max(y for _, y in cells) + 1
        rows = ["".join(cells.get((x, y), " ") for x in range(across)).rstrip() for y in range(down)]
        return "\n".join(rows)

    def _add(self, x: int, y: int, bits: int, is_dashed: bool = False) -> None:
        if not is_dashed:
            self._whole.add((x, y))
        self._lines[x, y] = self._lines.get((x, y), 0) | bits


def channel(grid: Grid, x: int, nets: list[Net]) -> int | None:
    """Draw nets from column x on; return how many columns they take, None where two would be taken for one.

    A net that is not straight runs down a track of its own. Where one net comes from a row in which another ends,
    the first must turn off before the other comes: its track lies further left.
    """
    tracks = _tracks([net for net in nets if not net.is_straight])
    if tracks is None:
        return None
    n_tracks = max(tracks.values(), default=-1) + 1
    width = 2 * n_tracks + 3
    right = x + width - 1
    for net in nets:
        begin = x - net.lead
        if net.is_straight:
            grid.across(begin, right, net.row, net.is_dashed)
        else:
            track = x + 1 + 2 * tracks[id(net)]
            grid.across(begin, track, net.row, net.is_dashed)
            grid.down(track, *net.span, net.is_dashed)
            for row in net.ends:
                grid.across(track, right, row, net.is_dashed)
            if net.row in net.ends and net.span[0] < net.row < net.span[1]:
                grid.write(track, net.row, JOINT)
        for row, has_arrow in net.ends.items():
            if has_arrow:
                grid.write(right, row, ARROW)
    return width


def _tracks(nets: list[Net]) -> dict[int, int] | None:
    """Return id of a net -> its track, counted from the left; None where they must lie left of each other."""
    after = {id(a): [b for b in nets if b is not a and a.row in b.ends] for a in nets}  # these lie further right
    n_before = {id(net): sum(net in behind for behind in after.values()) for net in nets}
    ready = sorted((net for net in nets if not n_before[id(net)]), key=lambda net: net.span[1] - net.span[0])
    least = dict.fromkeys(map(id, nets), 0)
    tracks: dict[int, int] = {}
    taken: list[list[tuple[int, int]]] = []
    while ready:
        net = ready.pop(0)
        track = least[id(net)]
        low, high = net.span
        while track < len(taken) and any(low <= end and begin <= high for begin, end in taken[track]):
            track += 1
        while len(taken) <= track:
            taken.append([])
        taken[track].append(net.span)
        tracks[id(net)] = track
        for other in after[id(net)]:
            least[id(other)] = max(least[id(other)], track + 1)
            n_before[id(other)] -= 1
            if not n_before[id(other)]:
                ready.append(other)
    return tracks if len(tracks) == len(nets) else None
