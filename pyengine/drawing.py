"""A patch as text and as a picture: layers from left to right, in order of the signal."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pyengine.cues import Cue, cues
from pyengine.cycles import cycles
from pyengine.errors import CommandError, EngineError
from pyengine.patch import Node, Patch
from pyengine.routing import Grid, Net, channel
from pyengine.specs import ModuleSpec, ParamSpec, number_text

OUT = "(out)"  # drawn behind what is heard; a module may be called out, but not so
_MAX_BOXES = 100  # a drawing of more is no longer read
_MAX_TEXT = 36  # characters of a pattern or lane that are shown
_SIDES = ("left", "right")
_PICTURES = (".png", ".svg", ".pdf")
_COLOURS = {"sound": "tab:blue", "mod": "tab:orange", "cue": "#7a7a52"}
_FACES = ("#e8f1e4", "#efe6f3", "#e3eef5", "#f6ebdc")  # of what voices own


@dataclass(frozen=True, slots=True)
class Wire:
    """A line by names. kind: 'sound', 'mod' into a parameter, or 'cue', no cable, but what plays or leads the other.

    port: of the ends, '' for the first output and input, or for left and right; of a cue what it sets. note: what it
    does beside. is_feedback: it leads back.
    """

    source: str
    source_port: str
    dest: str
    dest_port: str
    note: str = ""
    is_feedback: bool = False
    kind: str = "sound"


def wires(patch: Patch) -> list[Wire]:
    """Return the cables of a patch, one for left and right where they do the same, what plays what, and one to OUT from
    every module that is heard.
    """
    found = []
    for cable, row in zip(patch.cables, patch.to_dict()["cables"], strict=True):
        source, dest = cable.source, cable.dest
        source_port, dest_port = row["from"][len(source) + 1 :], row["to"][len(dest) + 1 :]
        note = " ".join(f"{name} {_text(row[name])}" for name in ("depth", "offset") if name in row)
        kind = "mod" if cable.to_param else "sound"
        found.append(Wire(source, source_port, dest, dest_port, note, bool(cable.feedback), kind))
    played = _cue_wires(cues(patch))
    return _paired(_led_back(patch, found, played)) + played + [Wire(id, "", OUT, "") for id in patch.heard]


def _led_back(patch: Patch, found: list[Wire], played: list[Wire]) -> list[Wire]:
    """Return the cables; one that takes effect later, and so may close a circle, leads back where it does."""
    following: dict[str, list[str]] = {id: [] for id in patch.nodes}
    for wire in found + played:
        if not wire.is_feedback:
            following[wire.source].append(wire.dest)
    circle = {id: number for number, ids in enumerate(cycles(following)) for id in ids}
    return [
        replace(wire, is_feedback=True)
        if patch.spec(wire.dest).is_late and wire.source in circle and circle[wire.source] == circle.get(wire.dest)
        else wire
        for wire in found
    ]


def _paired(found: list[Wire]) -> list[Wire]:
    """Return the wires with those of left and right as one, where the modules' names alone mean both."""
    there = set(found)
    made = []
    for wire in found:
        left, right = (_on_side(wire, side) for side in _SIDES)
        if left == right or wire not in (left, right) or not {left, right} <= there:
            made.append(wire)
        elif wire == left:
            made.append(replace(wire, source_port="", dest_port=""))
    return made


def _on_side(wire: Wire, side: str) -> Wire:
    """Return a wire with left and right in its ports as one of them."""
    ports = [side if port in _SIDES else port for port in (wire.source_port, wire.dest_port)]
    return replace(wire, source_port=ports[0], dest_port=ports[1])


def _cue_wires(found: list[Cue]) -> list[Wire]:
    """Return the cues as wires; one that would close a circle leads back."""
    after: dict[str, set[str]] = defaultdict(set)
    made = []
    for cue in found:
        is_back = _reaches(after, cue.dest, cue.source)
        if not is_back:
            after[cue.source].add(cue.dest)
        made.append(Wire(cue.source, "", cue.dest, " ".join(cue.params), "", is_back, "cue"))
    return made


def _reaches(after: Mapping[str, set[str]], begin: str, end: str) -> bool:
    seen, left = set(), [begin]
    while left:
        id = left.pop()
        if id == end:
            return True
        if id not in seen:
            seen.add(id)
            left += after.get(id, ())
    return False


def layers(patch: Patch) -> list[list[str]]:
    """Return the ids in layers: every cable but feedback leads to a later one. A source stands close to its use."""
    layer = _layer_of(patch, wires(patch))
    rows: dict[int, list[str]] = defaultdict(list)
    for id in patch.nodes:
        rows[layer[id]].append(id)
    return [rows[number] for number in sorted(rows)]


def settings_text(patch: Patch, node: Node) -> list[str]:
    """Return what was set of a node, a parameter each, with unit or choice, and what it was given besides."""
    spec = patch.spec(node.id)
    given = [_given(key, value) for key, value in node.data.items() if key not in ("targets", "clock", "lanes")]
    lanes = [_given(key, value) for key, value in node.data.get("lanes", {}).items()]
    return [_setting(spec.param(name), value) for name, value in node.params.items()] + given + lanes


def _given(key: str, value: object) -> str:
    text = " ".join(str(value).split())
    return f"{key} {text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 3] + '...'}"


# ---- as a list --------------------------------------------------------------------------------------------


def as_list(patch: Patch) -> str:
    """Return a line for each module, with what was set and where its cables lead."""
    leaving: dict[str, list[str]] = defaultdict(list)
    for wire in wires(patch):
        leaving[wire.source].append(_leaving(patch, wire))
    rows = []
    for number, ids in enumerate(layers(patch), 1):
        for id in ids:
            node = patch.nodes[id]
            settings = ", ".join(settings_text(patch, node))
            rows.append((str(number), id, node.type, ", ".join(leaving[id]), settings))
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, [*widths, 0], strict=True)).rstrip() for row in rows]
    return "\n".join(lines) or "an empty patch"


def _leaving(patch: Patch, wire: Wire) -> str:
    if wire.kind == "cue":
        verb = "leads" if patch.spec(wire.source).is_clock else "plays"
        return f"{verb} {wire.dest}" + (f" ({wire.dest_port})" if wire.dest_port else "")
    dest = f"{wire.dest}.{wire.dest_port}" if wire.dest_port else wire.dest
    source = f"{wire.source_port} " if wire.source_port else ""
    notes = ", ".join(filter(None, [wire.note, "feedback" if wire.is_feedback else ""]))
    return f"{source}-> {dest}" + (f" ({notes})" if notes else "")


# ---- as a graph of boxes ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """A line in a box. coming: the wire that ends here; leaving: the output that is here."""

    text: str
    coming: Wire | None = None
    leaving: str | None = None


@dataclass(slots=True)
class _Box:
    """A node in its column, or a place where a wire passes a column (no rows)."""

    layer: int
    rows: list[_Row] = field(default_factory=list)
    is_cue: bool = False  # it is passed by one
    top: int = 0
    wanted: float = 0.0

    @property
    def height(self) -> int:
        return len(self.rows) + 2 if self.rows else 1

    @property
    def width(self) -> int:
        return max(len(row.text) for row in self.rows) + 4 if self.rows else 0

    def row_in(self, wire: Wire) -> int:
        """Return how far below the top a wire comes in."""
        return next((n for n, row in enumerate(self.rows, 1) if row.coming is wire), 0)

    def row_out(self, port: str) -> int:
        """Return how far below the top an output is."""
        return next((n for n, row in enumerate(self.rows, 1) if row.leaving == port), 0)


@dataclass(frozen=True, slots=True)
class _Hop:
    """A part of a wire, from one column to the next. port: of the source, '' where that is a place to pass."""

    wire: Wire
    source: _Box
    port: str
    dest: _Box

    @property
    def begin(self) -> int:
        return self.source.top + self.source.row_out(self.port)

    @property
    def end(self) -> int:
        return self.dest.top + self.dest.row_in(self.wire)


def as_graph(patch: Patch, width: int) -> str:
    """Return the patch as boxes with lines between, or '' where it does not fit or could not be read."""
    if not 0 < len(patch.nodes) <= _MAX_BOXES:
        return ""
    found, layer = wires(patch), _layer_of(patch, wires(patch))
    if any(layer[w.source] >= layer[w.dest] for w in found if not w.is_feedback and w.dest != OUT):
        return ""  # a cycle: it has no first layer
    columns, hops = _columns(_boxes(patch, found), found)
    _order(columns, hops)
    _place(columns, hops)
    grid = Grid()
    x = 0
    for number, column in enumerate(columns):
        across = max(box.width for box in column)
        for box in column:
            _draw(grid, box, x, across)
        if number + 1 == len(columns):
            break
        room = channel(grid, x + across, _nets([hop for hop in hops if hop.source.layer == number], across))
        if room is None:
            return ""
        x += across + room
    text = grid.text()
    return text if max(map(len, text.splitlines())) <= width else ""


def _boxes(patch: Patch, found: list[Wire]) -> dict[str, _Box]:
    layer = _layer_of(patch, found)
    boxes = {id: _Box(layer[id], _rows(patch, node, found)) for id, node in patch.nodes.items()}
    heard = [wire for wire in found if wire.dest == OUT]
    last = max(layer.values()) + 1
    boxes[OUT] = _Box(last, [_Row(OUT if n == 0 else "", wire) for n, wire in enumerate(heard)] or [_Row(OUT)])
    return boxes


def _rows(patch: Patch, node: Node, found: list[Wire]) -> list[_Row]:
    """Return title, inputs with their cables, settings and further outputs of a node."""
    spec = patch.spec(node.id)
    coming = [wire for wire in found if wire.dest == node.id]
    leaving = [wire.source_port for wire in found if wire.source == node.id and not wire.is_feedback]
    plain = [wire for wire in coming if not wire.dest_port and not wire.is_feedback]
    plain.sort(key=lambda wire: wire.kind != "cue")  # what plays it comes in at its name
    first = plain.pop(0) if plain else None
    rows = [_Row(f"{node.id}  {node.type}", first, "")]
    if first is not None and first.note:
        rows.append(_Row(f"  {first.note}"))
    rows += [_Row(f"{_input(spec, wire)} {wire.note}".rstrip(), wire) for wire in plain]
    for wire in coming:
        if wire.is_feedback:
            rows.append(_Row(f"{wire.dest_port or _input(spec, wire)} <~ {_source(wire)} {wire.note}".rstrip()))
        elif wire.dest_port:
            rows.append(_Row(f"{wire.dest_port} {wire.note}".rstrip(), wire))
    rows += [_Row(f"  {text}") for text in settings_text(patch, node)]
    return rows + [_Row(port, None, port) for port in dict.fromkeys(leaving) if port]


def _input(spec: ModuleSpec, wire: Wire) -> str:
    """Return what a wire without a port is for: the first input, or the name of its part."""
    return spec.inputs[0] if wire.kind != "cue" and spec.inputs and spec.inputs[0] not in _SIDES else "in"


def _columns(boxes: dict[str, _Box], found: list[Wire]) -> tuple[list[list[_Box]], list[_Hop]]:
    """Return the boxes by layer, and the wires cut at each; a wire that passes a layer has a place of its own there."""
    columns: list[list[_Box]] = [[] for _ in range(boxes[OUT].layer + 1)]
    for box in boxes.values():
        columns[box.layer].append(box)
    hops = []
    passing: dict[tuple[str, str, int], _Box] = {}  # wires from one output share it
    for wire in found:
        if wire.is_feedback:
            continue
        here, port, dest = boxes[wire.source], wire.source_port, boxes[wire.dest]
        for number in range(here.layer + 1, dest.layer):
            key = (wire.source, wire.source_port, number)
            if key not in passing:
                passing[key] = _Box(number, is_cue=wire.kind == "cue")
                columns[number].append(passing[key])
                hops.append(_Hop(wire, here, port, passing[key]))
            here, port = passing[key], ""
        hops.append(_Hop(wire, here, port, dest))
    return columns, hops


def _order(columns: list[list[_Box]], hops: list[_Hop]) -> None:
    """Sort each column by where its cables come from and lead to, to and fro, so that few of them cross."""
    for turn in range(8):
        is_forward = turn % 2 == 0
        for column in columns if is_forward else columns[::-1]:
            place = {id(box): float(n) for other in columns for n, box in enumerate(other)}
            for box in column:
                ends = [(hop.source, hop.dest) if is_forward else (hop.dest, hop.source) for hop in hops]
                near = [place[id(there)] for there, here in ends if here is box]
                box.wanted = sum(near) / len(near) if near else place[id(box)]
            column.sort(key=lambda box: box.wanted)


def _place(columns: list[list[_Box]], hops: list[_Hop]) -> None:
    """Give each box its first row: level with what it is fed from, where there is room."""
    for column in columns:
        free = 0
        for box in column:
            coming = [hop for hop in hops if hop.dest is box]
            box.rows = _sorted_rows(box.rows, {hop.wire: hop.begin for hop in coming})
            level = [hop.begin - box.row_in(hop.wire) for hop in coming]
            box.top = max(free, min(level, default=free))
            free = box.top + box.height + (1 if box.rows else 0)


def _sorted_rows(rows: list[_Row], begins: dict[Wire, int]) -> list[_Row]:
    """Let wires into one input come in from above to below, in the order they start."""
    by_port: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        if row.coming is not None and not row.coming.note:
            by_port[row.coming.dest_port].append(number)
    made = list(rows)
    for numbers in by_port.values():
        wires = sorted((rows[n].coming for n in numbers), key=lambda wire: begins.get(wire, 0) if wire else 0)
        for number, wire in zip(numbers, wires, strict=True):
            made[number] = replace(rows[number], coming=wire)
    return made


def _draw(grid: Grid, box: _Box, x: int, across: int) -> None:
    if not box.rows:
        grid.across(x, x + across - 1, box.top, box.is_cue)
        return
    grid.box(x, box.top, box.width, box.height)
    for number, row in enumerate(box.rows, 1):
        is_output = bool(row.leaving)
        grid.write(x + 2, box.top + number, row.text.rjust(box.width - 4) if is_output else row.text)


def _nets(hops: Iterable[_Hop], across: int) -> list[Net]:
    nets: dict[tuple[int, str], Net] = {}
    for hop in hops:
        key = (id(hop.source), hop.port)
        if key not in nets:
            lead = across - hop.source.width if hop.source.rows else 0
            nets[key] = Net(hop.begin, lead, is_dashed=hop.wire.kind == "cue")
        nets[key].ends[hop.end] = bool(hop.dest.rows)
    return list(nets.values())


# ---- as a picture -----------------------------------------------------------------------------------------


def save_picture(patch: Patch, path: str | os.PathLike[str]) -> None:
    """Draw the patch into a .png, .svg or .pdf file. Raises EngineError where matplotlib is missing."""
    target = Path(path)
    if target.suffix.lower() not in _PICTURES:
        raise CommandError(f"{target} ends in none of {', '.join(_PICTURES)}; name the picture so")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import FancyBboxPatch
    except ImportError as error:
        raise EngineError("a picture needs matplotlib, which is missing: pip install 'pyengine[plot]'") from error
    found = wires(patch)
    boxes = _boxes(patch, found) if patch.nodes else {OUT: _Box(0, [_Row(OUT)])}
    columns, hops = _columns(boxes, found)
    _order(columns, hops)
    _place(columns, hops)
    em, row = 0.09, 0.2  # inches: of a character, and of a line
    lefts, x = [], 0.0
    for column in columns:
        lefts.append(x)
        x += em * max(box.width for box in column) + 0.9
    height = max(box.top + box.height for column in columns for box in column) * row
    figure = Figure(figsize=(max(x - 0.9 + 0.4, 2.0), height + 0.4))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.2, max(x - 0.7, 1.8)), ylim=(height + 0.2, -0.2))
    axes.axis("off")
    for hop in hops:
        colour, dash = _COLOURS[hop.wire.kind], (0, (3, 2)) if hop.wire.kind == "cue" else "solid"
        begin_x = lefts[hop.source.layer] + em * hop.source.width
        end_x, begin_y, end_y = lefts[hop.dest.layer], (hop.begin + 0.5) * row, (hop.end + 0.5) * row
        if not hop.dest.rows:  # it passes the column
            across = em * max(box.width for box in columns[hop.dest.layer])
            axes.plot([end_x, end_x + across], [end_y, end_y], color=colour, linewidth=1.2, linestyle=dash)
        if not hop.source.rows:
            begin_x += em * max(box.width for box in columns[hop.source.layer])
        _curve(axes, (begin_x, begin_y), (end_x, end_y), colour, dash, has_arrow=bool(hop.dest.rows))
    names = {id(box): name for name, box in boxes.items()}
    owners = list(dict.fromkeys(id.partition(".")[0] for id in patch.nodes if "." in id))
    for column in columns:
        for box in column:
            if not box.rows:
                continue
            corner = (lefts[box.layer], box.top * row + row * 0.4)
            size = (em * box.width, (box.height - 0.8) * row)
            owner = names[id(box)].partition(".")[0]  # what voices own has their colour
            face = _FACES[owners.index(owner) % len(_FACES)] if owner in owners else "#f4f4f0"
            shape = FancyBboxPatch(corner, *size, boxstyle="round,pad=0,rounding_size=0.06", facecolor=face)
            axes.add_patch(shape)
            for number, line in enumerate(box.rows, 1):
                weight = "bold" if number == 1 else "normal"
                place = (corner[0] + 2 * em * 0.8, (box.top + number + 0.5) * row)
                axes.text(*place, line.text, family="monospace", fontsize=8, va="center", weight=weight)
            shape.set_gid(names[id(box)])  # so that an SVG can be asked for its nodes
    try:
        figure.savefig(target, dpi=120)
    except OSError as error:
        raise EngineError(f"{target} cannot be written: {error.strerror or error}; check folder and room") from error


def _curve(
    axes: Any, begin: tuple[float, float], end: tuple[float, float], colour: str, dash: object, has_arrow: bool
) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Line

    bend = 0.45
    corners = [begin, (begin[0] + bend, begin[1]), (end[0] - bend, end[1]), end]
    line = Line(corners, [Line.MOVETO, Line.CURVE4, Line.CURVE4, Line.CURVE4])
    axes.add_patch(
        FancyArrowPatch(path=line, arrowstyle="-", color=colour, linewidth=1.2, linestyle=dash, capstyle="butt")
    )
    if has_arrow:  # a head of its own: that of a dashed line would be dashed
        axes.annotate("", end, (end[0] - 0.02, end[1]), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.2})


# ---- odds and ends ----------------------------------------------------------------------------------------


def _layer_of(patch: Patch, found: list[Wire]) -> dict[str, int]:
    """Return the layer of each id: one beyond the latest of what feeds it; a source just before what it feeds."""
    onward = [wire for wire in found if not wire.is_feedback and wire.dest != OUT]
    layer = dict.fromkeys(patch.nodes, 0)
    for _ in range(len(layer)):  # a patch without cycles settles sooner
        is_settled = True
        for wire in onward:
            if layer[wire.dest] <= layer[wire.source]:
                layer[wire.dest] = layer[wire.source] + 1
                is_settled = False
        if is_settled:
            break
    fed = {wire.dest for wire in onward}
    for id in patch.nodes:
        follow = [layer[wire.dest] for wire in onward if wire.source == id]
        if id not in fed and follow:
            layer[id] = min(follow) - 1
    return layer


def _source(wire: Wire) -> str:
    return f"{wire.source}.{wire.source_port}" if wire.source_port else wire.source


def _setting(param: ParamSpec, value: float) -> str:
    if param.choices:
        return f"{param.name} {param.choices[int(value)]}"
    return f"{param.name} {number_text(value)}" + (f" {param.unit}" if param.unit else "")


def _text(value: object) -> str:
    return number_text(value) if isinstance(value, float) else str(value)
