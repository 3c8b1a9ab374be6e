"""What is playing, what is pending, and the way back: the patches of one engine. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

from pyengine._native import Record
from pyengine.commands import Abort, Clear, Connect, Create, DataEdit, Delete, Disconnect
from pyengine.errors import Fault, PatchError, shown
from pyengine.limits import MAX_CABLES, MAX_NODES
from pyengine.patch import Node, Op, Patch
from pyengine.patterns import is_pattern, matching
from pyengine.specs import ModuleSpec, ParamSpec, unknown_name

MAX_UNDO = 100
_IDS_LISTED = 8

Edit = Create | Delete | Connect | Disconnect | DataEdit | Clear | Abort


@dataclass(frozen=True, slots=True)
class Setting:
    """A value that was taken. sent: goes into the stream now; held: waits for the SWITCH of the commit."""

    value: float
    sent: tuple[Record, ...] = ()
    held: tuple[Record, ...] = ()


class Desk:
    """The committed and the pending patch, the one being committed, and the stack of those before.

    A value for a module that plays changes the sound and the pending copy; for one that is only pending, the
    pending copy. Nodes are the same when their handles are: an id deleted and created again is another one.
    """

    def __init__(self, sample_rate_hz: float) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.committed = Patch()
        self.pending = Patch()
        self.candidate: Patch | None = None  # the one being committed
        self.queued: Patch | None = None  # the one to be committed next
        self._is_undo = False
        self._undone: Patch | None = None  # top of the stack when the undo began
        self._put_aside: Patch | None = None  # what was pending when the undo began
        self.is_switching = False  # its SWITCH record is in the stream
        self._undo: list[Patch] = []
        self.on_set: Callable[[str, str, float], None] | None = None  # gets id, parameter and value of what is set
        self._set_since: set[tuple[int, str]] = set()  # (handle, parameter) that were set since `begin_restart`
        self._back: tuple[Patch, list[Patch]] | None = None  # committed and undo before the patch on probation
        self.still: Callable[[], AbstractContextManager[None]] = nullcontext
        """In it nothing is set without us: what plays, and what is to, changes in it alone."""

    @property
    def has_edits(self) -> bool:
        return not self.pending.is_built_like(self.committed) or self.pending != self.committed

    def edits_text(self) -> str:
        """Return what the pending patch has otherwise than the committed one, in some words; '' for nothing."""
        now, then = self.pending.nodes, self.committed.nodes
        changed = [id for id, node in now.items() if id in then and node is not then[id]]
        lists = {
            "new": [id for id in now if id not in then],
            "gone": [id for id in then if id not in now],
            "changed": [id for id in changed if not self._plays(now[id]) or _given(now[id]) != _given(then[id])],
        }
        found = [f"{word}: {_listed(ids)}" for word, ids in lists.items() if ids]
        return "; ".join(found) or ("cables" if self.has_edits else "")

    @property
    def undo_depth(self) -> int:
        return len(self._undo)

    # ---- edits ----

    def edit(self, command: Edit) -> None:
        """Change the pending patch. Raises PatchError, and then nothing has changed."""
        if isinstance(command, Create):
            _check_room("nodes", len(self.pending.nodes), MAX_NODES)
            self.pending.create(command.module_id, command.module_type)
        elif isinstance(command, Delete):
            self.pending.delete(command.module_id)
        elif isinstance(command, Connect):
            _check_room("cables", self.pending.n_cables, MAX_CABLES)
            depth, offset = command.depth, command.offset
            self.pending.connect(command.source, command.dest, depth, offset, feedback=command.feedback)
        elif isinstance(command, Disconnect):
            self.pending.disconnect(command.source, command.dest)
        elif isinstance(command, DataEdit):
            self._give(command)
        elif isinstance(command, Clear):
            self.pending.clear()
        else:  # a patch that is about to be heard counts as committed
            near = self.candidate if self.is_switching else None
            self._set_pending(near or self.committed)

    def _give(self, command: DataEdit) -> None:
        node, spec = self.pending.node(command.module_id), self.pending.spec(command.module_id)
        if spec.data != command.kind:
            able = ", ".join(m.name for m in self.pending.registry.modules if m.data == command.kind)
            raise PatchError(Fault(f"it is a {node.type}, not a {able}", node=node.id))
        self.pending.give(node.id, command.applied(node.data))

    def _set_pending(self, patch: Patch) -> None:
        next_handle = self.pending.next_handle
        self.pending = patch.copy()
        self.pending.next_handle = max(next_handle, self.pending.next_handle)

    # ---- values ----

    def set(self, id: str, name: str, value: object) -> Setting:
        """Set a parameter wherever the id is. Raises PatchError, and then nothing has changed."""
        return self._set(id, lambda patch: patch.resolve_value(id, name, value, self.sample_rate_hz))

    def gate(self, id: str, value: object) -> Setting:
        """Open or close a gate wherever the id is. Raises PatchError, and then nothing has changed."""

        def resolve(patch: Patch) -> tuple[ParamSpec, float]:
            param = patch.gate_param(id)
            return param, param.parse(value, node=id)

        return self._set(id, resolve)

    def play(self, id: str, begin: Callable[[Patch], list[Op]]) -> Setting:
        """Set what a note asks for, in order. Raises PatchError or CommandError, and then nothing has changed."""
        patches = self._of(id)
        if not patches:
            raise unknown_name("module id", id, dict.fromkeys(chain(self.committed.nodes, self.pending.nodes)))
        resolved = []
        for _, _, name, value in begin(patches[0]):
            param = patches[0].gate_param(id).name if name is None else name
            resolved.append((id, patches, *patches[0].resolve_value(id, param, value, self.sample_rate_hz)))
        return _joined([self._keep(*one) for one in resolved])

    def match(self, ids: str, params: str | None) -> list[tuple[str, str]]:
        """Return (id, parameter) of all that patterns of ids and of parameters match; params None: the gates.

        Raises UnknownNameError where there is none, CommandError for a pattern that is none.
        """
        known = list(dict.fromkeys(chain.from_iterable(patch.nodes for patch in self._patches())))
        found = matching(ids, known) if is_pattern(ids) else [id for id in known if id == ids]
        if not found:
            raise unknown_name("module id", ids, known)
        by_type: dict[str, list[str]] = {}
        pairs = []
        for id in found:
            spec = self._of(id)[0].spec(id)
            if spec.name not in by_type:
                by_type[spec.name] = _matched_params(spec, params)
            pairs += [(id, param) for param in by_type[spec.name]]
        if pairs:
            return pairs
        if params is None:
            raise PatchError(Fault(f"{len(found)} modules match {shown(ids)}, and none has a gate"))
        names = dict.fromkeys(p.name for id in found for p in self._of(id)[0].spec(id).params)
        raise unknown_name(f"parameter of the {len(found)} modules that match {shown(ids)}", params, names)

    def set_all(self, pairs: Sequence[tuple[str, str]], value: object) -> Setting:
        """Set parameters of several modules to one value. Raises PatchError, and then nothing has changed."""
        resolved, errors = [], []
        for id, name in pairs:
            patches = self._of(id)
            try:
                resolved.append((id, patches, *patches[0].resolve_value(id, name, value, self.sample_rate_hz)))
            except PatchError as error:
                errors.append(error)
        if errors:
            text = (
                f"{len(errors)} of the {len(pairs)} parameters that match do not take it, so none is set: {errors[0]}"
            )
            raise PatchError(Fault(text, limit=errors[0].limit))
        return _joined([self._keep(*one) for one in resolved])

    def _of(self, id: str) -> list[Patch]:
        return [patch for patch in self._patches() if id in patch.nodes]

    def _set(self, id: str, resolve: Callable[[Patch], tuple[ParamSpec, float]]) -> Setting:
        patches = self._of(id)
        if not patches:
            raise unknown_name("module id", id, dict.fromkeys(chain(self.committed.nodes, self.pending.nodes)))
        param, number = resolve(patches[0])
        return self._keep(id, patches, param, number)

    def taken(self, handle: int, id: str, index: int, number: float) -> Setting:
        """A module that plays was set the short way: keep that. Returns what is to be sent and held besides."""
        patches = self._of(id)
        assert patches and patches[0] is self.committed and patches[0].nodes[id].handle == handle
        param = self.committed.spec(id).params[index]
        return self._keep(id, patches, param, number, is_sent=True)

    def _keep(self, id: str, patches: list[Patch], param: ParamSpec, number: float, is_sent: bool = False) -> Setting:
        sent: list[Record] = []
        held: list[Record] = []
        playing = range(0)
        for patch in patches:
            node = patch.nodes[id]
            if node.type != patches[0].nodes[id].type:
                continue  # another module under the same id: what was said is meant for the one that plays
            if not param.is_event:
                patch.set(id, param.name, number)
            handles = range(node.handle, node.handle + patch.copies(id))
            if patch is self.committed:
                playing = handles
                sent += [] if is_sent else [Record(handle, param.index, number) for handle in handles]
                self._set_since.add((node.handle, param.name))
            elif patch is self.candidate:
                new = [Record(handle, param.index, number) for handle in handles if handle not in playing]
                (sent if self.is_switching else held).extend(new)
        self._set_back(id, param.name, number)
        if self.on_set is not None:
            self.on_set(id, param.name, number)
        return Setting(number, tuple(sent), tuple(held))

    def _set_back(self, id: str, name: str, value: float) -> None:
        """What is carried from the patch before is set in that too: it may have to come back."""
        node = self._back[0].nodes.get(id) if self._back else None
        if node is not None and self._back is not None and self._plays(node) and not self._is_event(node, name):
            self._back[0].set(id, name, value)

    def _is_event(self, node: Node, name: str) -> bool:
        return self.committed.registry.get(node.type).param(name).is_event

    def short(self) -> dict[str, Node]:
        """Return the modules whose setting is one record and nothing else, by id: those that play, but for what voices
        own, and for one that the commit on its way has anew.
        """
        playing = {id: node for id, node in self.committed.nodes.items() if "." not in id}
        for id, node in self.candidate.nodes.items() if self.candidate is not None else ():
            if id in playing and playing[id].handle != node.handle:
                del playing[id]
        return playing

    def _patches(self) -> list[Patch]:
        given = (self.committed, self.candidate, self.queued, self.pending, self._put_aside)
        return [patch for patch in given if patch is not None]

    def _plays(self, node: Node) -> bool:
        playing = self.committed.nodes.get(node.id)
        return playing is not None and playing.handle == node.handle

    # ---- commits ----

    def begin(self) -> Patch:
        """Take the pending patch for a commit. Raises PatchError with all faults; nothing has changed then."""
        self.pending.validate(self.sample_rate_hz)
        with self.still():
            self.candidate = candidate = self.pending.copy()
            self._is_undo = False
        return candidate

    def queue(self) -> Patch:
        """Keep the pending patch as it is now, for a commit when the one on its way is heard. Raises PatchError."""
        self.pending.validate(self.sample_rate_hz)
        self.queued = self.pending.copy()
        return self.queued

    def unqueue(self) -> None:
        """What was queued is not to be committed."""
        self.queued = None

    def begin_queued(self) -> None:
        """Take what was queued for a commit; values that came meanwhile are in it."""
        with self.still():
            self.candidate, self.queued = self.queued, None
            self._is_undo = False

    def begin_undo(self) -> Patch:
        """Take the patch before the committed one; modules that still play keep their values. It is what edits change
        from now on; what was pending is put aside, and comes back if the undo is refused before there are any.
        """
        if not self._undo:
            raise PatchError(Fault("there is no patch before this one; nothing to undo"))
        with self.still():
            return self._begin_undo()

    def _begin_undo(self) -> Patch:
        patch = self._undo[-1].copy()
        patch.next_handle = max(patch.next_handle, self.pending.next_handle)
        for id, node in list(patch.nodes.items()):
            playing = self.committed.nodes.get(id)
            if playing is None or playing.handle != node.handle:
                patch.renew(id)
            elif playing is not node:
                patch.keep_values(id, playing.params)
        patch.validate(self.sample_rate_hz)
        self._put_aside = self.pending
        self._set_pending(patch)
        self.candidate = patch
        self._is_undo, self._undone = True, self._undo[-1]
        return patch

    @property
    def is_undone_already(self) -> bool:
        """True when what the undo on its way was to take back was rolled back meanwhile."""
        is_on_its_way = self.candidate is not None and self._is_undo
        return is_on_its_way and (not self._undo or self._undo[-1] is not self._undone)

    def switching(self) -> None:
        """The SWITCH record is in the stream: values for new modules may follow it."""
        self.is_switching = True

    def accept(self) -> dict[str, list[str]]:
        """The candidate is heard. Returns which ids kept their state and which are new or gone."""
        with self.still():
            return self._accept()

    def _accept(self) -> dict[str, list[str]]:
        assert self.candidate is not None
        before, now = self.committed, self.candidate
        carried = [id for id, node in now.nodes.items() if self._plays(node)]
        kept = set(carried)
        self._back = (before, list(self._undo))
        if self._is_undo:
            self._follow(self._undo.pop(), now)
        elif not before.is_built_like(now):
            self._undo = [*self._undo[-(MAX_UNDO - 1) :], before]
        self.committed = now
        self._end()
        return {
            "carried": carried,
            "new": [id for id in now.nodes if id not in kept],
            "gone": [id for id, node in before.nodes.items() if not self._plays(node)],
        }

    def _follow(self, then: Patch, now: Patch) -> None:
        """Modules that came back under new handles are the same ones in all patches before."""
        pairs = ((node, now.nodes[id].handle) for id, node in then.nodes.items())
        renewed = [(node.id, node.handle, handle) for node, handle in pairs if handle != node.handle]
        for n, patch in enumerate(self._undo):
            theirs = [(id, new) for id, old, new in renewed if id in patch.nodes and patch.nodes[id].handle == old]
            if theirs:
                self._undo[n] = patch = patch.copy()  # the one as it was may have to come back
                for id, handle in theirs:
                    patch.renew(id, handle)

    def settle(self) -> None:
        """The patch on probation has lived: it is not taken back any more."""
        self._back = None

    def rollback(self) -> None:
        """Take the patch on probation back; what was committed with it is a pending edit again."""
        with self.still():
            assert self._back is not None
            (self.committed, self._undo), self._back = self._back, None

    def step_back(self) -> None:
        """The committed patch kills whatever renders it: the one before, in the end none, is committed instead."""
        with self.still():
            if self._back is not None:
                self.rollback()
            else:
                self.committed = self._undo.pop() if self._undo else Patch(next_handle=self.pending.next_handle)

    def begin_restart(self) -> None:
        """The committed patch is begun anew, past all values set so far."""
        self._set_since = set()

    def restarted(self, values: dict[tuple[str, str], float]) -> None:
        """It stands at these values, by (id, parameter), but for those set since; so do its modules elsewhere."""
        with self.still():
            for (id, name), value in values.items():
                handle = self.committed.nodes[id].handle
                for patch in self._patches():
                    node = patch.nodes.get(id)
                    if node is None or node.handle != handle or self._is_event(node, name):
                        continue
                    if (handle, name) not in self._set_since:
                        patch.set(id, name, value)

    def refuse(self) -> None:
        """The candidate came to nothing; the pending edits stay."""
        aside, begun = self._put_aside, self.candidate
        if aside is not None and begun is not None and self.pending.is_built_like(begun) and self.pending == begun:
            aside.next_handle = max(aside.next_handle, self.pending.next_handle)
            self.pending = aside
        self._end()

    def _end(self) -> None:
        with self.still():
            self.candidate = self._put_aside = None
            self.is_switching = False

    def sequences(self, id: str) -> dict[str, Any]:
        """Return what the sequences of both patches are given; id: of this one alone. Raises PatchError."""
        if id:
            patch = next(iter(self._of(id)), self.pending)
            if patch.spec(id).data != "pattern":
                raise PatchError(Fault(f"it is a {patch.node(id).type}, not a sequence", node=id))
        return {
            name: {
                node.id: dict(node.data)
                for node in patch.nodes.values()
                if patch.spec(node.id).data == "pattern" and id in ("", node.id)
            }
            for name, patch in (("committed", self.committed), ("pending", self.pending))
        }

    def dump(self) -> dict[str, Any]:
        """Return both patches as data."""
        return {
            "committed": self.committed.to_dict(),
            "pending": self.pending.to_dict(),
            "has_edits": self.has_edits,
            "undo_depth": self.undo_depth,
        }


def _given(node: Node) -> tuple[str, Any, Any]:
    return node.type, node.params, node.data


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_IDS_LISTED]) + (f" and {len(ids) - _IDS_LISTED} more" if len(ids) > _IDS_LISTED else "")


def _matched_params(spec: ModuleSpec, params: str | None) -> list[str]:
    if params is None:
        return [spec.gate_param.name] if spec.gate_param is not None else []
    if is_pattern(params):
        return matching(params, [param.name for param in spec.params if not param.is_event])
    param = spec.find_param(params)
    return [param.name] if param is not None else []


def _joined(settings: Sequence[Setting]) -> Setting:
    sent, held = (tuple(chain.from_iterable(getattr(s, way) for s in settings)) for way in ("sent", "held"))
    return Setting(settings[0].value, sent, held)


def _check_room(what: str, count: int, most: int) -> None:
    """Raise PatchError when one more is too many: pending edits stop at a patch's limits, not only a commit."""
    if count >= most:
        raise PatchError(Fault(f"the patch has {most} {what}, the most it may have; delete some first", limit=most))
