"""The short way: which modules are set without Python, and what was set so. See csrc/api.h for the other side of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pyengine import _native
from pyengine.desk import Desk, Setting


class ShortWay:
    """Keeps the inbox's table and the desk in step; every method is called by the engine's loop.

    on_setting gets what a value that was taken asks for besides. tell: hands on what was numbered so far.
    """

    def __init__(
        self, inbox: _native.Inbox, desk: Desk, on_setting: Callable[[Setting], None], tell: Callable[[], None]
    ) -> None:
        self._inbox = inbox
        self._desk = desk
        self._on_setting = on_setting
        self._tell = tell
        self._ids: dict[int, str] = {}  # handle -> id, of the modules in the inbox's table
        self._depth = 0

    def absorb(self) -> None:
        """Let the desk know the values that were taken. Whoever looks at the desk does so after this."""
        for handle, index, value in self._inbox.taken():
            setting = self._desk.taken(handle, self._ids[handle], index, value)
            if setting.sent or setting.held:
                self._on_setting(setting)

    @contextmanager
    def still(self) -> Iterator[None]:
        """Within this nothing is taken: all before it is known, and what comes after finds what plays then."""
        self._inbox.hold()
        self._depth += 1
        try:
            if self._depth == 1:
                self.absorb()
                self._tell()
            yield
        finally:
            self._depth -= 1
            try:
                if self._depth == 0:
                    self._publish()
                    self._tell()
            finally:
                self._inbox.release()

    def _publish(self) -> None:
        nodes = self._desk.short()
        ids = {node.handle: node.id for node in nodes.values()}
        if ids == self._ids:
            return
        spec = self._desk.committed.spec
        self._inbox.publish([(node.id, node.handle, spec(node.id).index) for node in nodes.values()])
        self._ids = ids
