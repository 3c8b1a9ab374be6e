"""A patch from JSON: all its faults at once, each with the place it was found at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pyengine.errors import Fault, PatchError, UnknownNameError, merged, shown
from pyengine.limits import MAX_CABLES, MAX_JSON_BYTES, MAX_NODES, PATCH_VERSION, too_many
from pyengine.specs import nearest_name

Patch = Any  # of patch.py, which stands above this
_MAX_READ_FAULTS = 200


class Reader:
    """Reads a patch from JSON, collecting faults as it goes, each with the place it was found at."""

    def __init__(self, patch: Patch) -> None:
        self.patch = patch
        self.errors: list[PatchError] = []
        self.broken: set[str] = set()  # ids of rows that made no node: their cables are no further faults
        self.node_rows: dict[str, str] = {}
        self.sample_rate_hz: float | None = None
        self.cable_rows: list[str] = []  # of the cables that were made, in order

    def read(self, data: str | bytes | Mapping[str, Any], sample_rate_hz: float | None = None) -> Patch:
        self.sample_rate_hz = sample_rate_hz
        content: Any = data
        if isinstance(data, (str, bytes)):
            if len(data) > MAX_JSON_BYTES:
                text = f"the patch is {len(data)} bytes of JSON, the most that is read is {MAX_JSON_BYTES}"
                raise PatchError(Fault(f"{text}; make it smaller", limit=MAX_JSON_BYTES))
            try:
                content = json.loads(data)
            except (ValueError, RecursionError) as error:
                raise PatchError(Fault(f"the patch is not JSON: {error}; mend the text")) from error
        if self.keys(content, "the patch", ("version", "nodes", "cables"), ("version", "nodes")):
            self.patch_body(content)
            if sample_rate_hz is not None:
                self.validate(sample_rate_hz)
        if self.errors:
            raise merged(self.errors)
        return self.patch

    def add(self, error: PatchError, key: str) -> None:
        """Keep a fault and its place. Gives up at many: each costs a search for the nearest name."""
        self.errors.append(type(error)([fault._replace(key=fault.key or key) for fault in error.faults]))
        if len(self.errors) >= _MAX_READ_FAULTS:
            text = f"these are the first {_MAX_READ_FAULTS} faults; mend them and read again"
            raise merged([*self.errors, PatchError(text)])

    def validate(self, sample_rate_hz: float) -> None:
        """Add the faults of the patch as a whole, at the rows that it was read from."""
        cables = {f"cables[{number}]": where for number, where in enumerate(self.cable_rows)}
        try:
            self.patch.validate(sample_rate_hz)
        except PatchError as error:
            for fault in error.faults:
                row = self.node_rows.get(fault.node, "")
                key = f"{row}.params.{fault.param}" if row and fault.param else row
                place = cables.get(fault.key, fault.key) or key
                self.add(type(error)(fault._replace(key=place)), place)

    def patch_body(self, data: Mapping[str, Any]) -> None:
        version = data.get("version", PATCH_VERSION)
        if isinstance(version, bool) or version != PATCH_VERSION:
            self.fault(f"the patch has version {shown(version)}; this engine reads version {PATCH_VERSION}", "version")
            return
        nodes, cables = self.rows(data, "nodes"), self.rows(data, "cables")
        beyond = [*too_many("nodes", len(nodes), MAX_NODES), *too_many("cables", len(cables), MAX_CABLES)]
        if beyond:  # nothing of it is built
            self.errors += beyond
            return
        for number, row in enumerate(nodes):
            where = f"nodes[{number}]"
            if self.keys(row, where, ("id", "type", "params", "data", "sample"), ("id", "type")):
                self.node(row, where)
        for number, row in enumerate(cables):
            where = f"cables[{number}]"
            known = ("from", "to", "depth", "offset", "feedback")
            if self.keys(row, where, known, ("from", "to")) and "from" in row and "to" in row:
                self.cable(row, where)
        for id, where in self.node_rows.items():  # what a node is given may name others
            row = nodes[int(where[6:-1])]
            if "data" in row:
                self.attempt(f"{where}.data", self.patch.give, id, row["data"])
            if "sample" in row:  # short for data.file
                self.attempt(f"{where}.sample", self.patch.give, id, {"file": row["sample"]})

    def cable(self, row: Mapping[str, Any], where: str) -> None:
        ends = (row["from"], row["to"])
        if any(isinstance(end, str) and f"{end}.".startswith(f"{id}.") for end in ends for id in self.broken):
            return
        try:
            n_before = self.patch.n_cables
            numbers = row.get("depth", 1.0), row.get("offset", 0.0)
            self.patch.connect(*ends, *numbers, feedback=row.get("feedback", False))
            self.cable_rows += [where] * (self.patch.n_cables - n_before)
        except PatchError as error:
            is_found = self.attempt(f"{where}.from", self.patch._outputs, row["from"])
            is_found &= self.attempt(f"{where}.to", self.patch._inputs, row["to"])
            if is_found:  # it is not the ends
                self.add(error, where)

    def node(self, row: Mapping[str, Any], where: str) -> None:
        if "id" not in row or "type" not in row:
            return
        try:
            self.patch.create(row["id"], row["type"])
        except PatchError as error:
            self.add(error, f"{where}.type" if isinstance(error, UnknownNameError) else f"{where}.id")
            if isinstance(row["id"], str) and row["id"] not in self.patch.nodes:
                self.broken.add(row["id"])
            return
        self.node_rows[row["id"]] = where
        id, params, seen = row["id"], row.get("params", {}), set()
        if not isinstance(params, Mapping):
            text = f'params must be an object such as {{"freq": 440}}, not {shown(params)}'
            self.fault(text, f"{where}.params", id)
            return
        for name, value in params.items():
            key = f"{where}.params.{name}"
            found = self.patch.spec(id).find_param(name) if isinstance(name, str) else None
            if found is not None and found.name in seen:
                self.fault(f"parameter {found.name} is given twice, once by its alias; keep one", key, id)
                continue
            if found is not None:
                seen.add(found.name)
            self.attempt(key, self.patch.set, id, name, value, self.sample_rate_hz)

    def attempt(self, key: str, edit: Any, *args: Any) -> bool:
        try:
            edit(*args)
        except PatchError as error:
            self.add(error, key)
            return False
        return True

    def rows(self, data: Mapping[str, Any], key: str) -> list[Any]:
        rows = data.get(key, [])
        if isinstance(rows, (list, tuple)):
            return list(rows)
        self.fault(f"{key} must be a list, not {shown(rows)}", key)
        return []

    def keys(self, data: object, where: str, known: tuple[str, ...], needed: Iterable[str]) -> bool:
        """Check that data is an object of known keys that has the needed ones; False if it is no object."""
        place = "" if where == "the patch" else where
        if not isinstance(data, Mapping):
            self.fault(f"{where} must be an object with {', '.join(known)}, not {shown(data)}", place)
            return False
        for key in data:
            if key not in known:
                nearest = nearest_name(str(key), known)
                hint = f"did you mean {nearest!r}? " if nearest else ""
                text = f"{where} has an unknown key {shown(key)}; {hint}known: {', '.join(known)}"
                self.fault(text, f"{place}.{key}" if place else str(key), nearest=nearest)
        for key in needed:
            if key not in data:
                self.fault(f"{where} lacks the key {key!r}; add it", place)
        return True

    def fault(self, text: str, key: str, node: str = "", nearest: str = "") -> None:
        self.add(PatchError(Fault(text, node=node, nearest=nearest)), key)
