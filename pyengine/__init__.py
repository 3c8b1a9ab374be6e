"""A headless modular synthesizer: change the patch, or kill its renderer, in the middle of a note.

    import pyengine
    patch = pyengine.Patch().create("osc1", "simple_sine")
    samples = pyengine.render(patch, seconds=1.0)  # float32 (frames, channels)

Names are imported when first used: `import pyengine` loads neither an audio library nor a server.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # a type checker takes it for True; typing itself would be most of what the import takes
if TYPE_CHECKING:  # the same names as _HOMES
    from typing import Any

    from pyengine.client import Client as Client
    from pyengine.ears import describe as describe
    from pyengine.engine import Engine as Engine
    from pyengine.errors import CommandError as CommandError
    from pyengine.errors import CommitRefused as CommitRefused
    from pyengine.errors import EngineError as EngineError
    from pyengine.errors import PatchError as PatchError
    from pyengine.errors import SessionError as SessionError
    from pyengine.offline import render as render
    from pyengine.patch import Patch as Patch
    from pyengine.patch_file import load_patch as load_patch
    from pyengine.patch_file import save_patch as save_patch
    from pyengine.playback import replay as replay
    from pyengine.playing import note_events as note_events
    from pyengine.specs import registry as registry

__version__ = "0.1.0"

_HOMES = {
    "Client": "client",
    "CommandError": "errors",
    "CommitRefused": "errors",
    "Engine": "engine",
    "EngineError": "errors",
    "Patch": "patch",
    "PatchError": "errors",
    "SessionError": "errors",
    "load_patch": "patch_file",
    "note_events": "playing",
    "describe": "ears",
    "registry": "specs",
    "render": "offline",
    "replay": "playback",
    "save_patch": "patch_file",
}
__all__ = [*sorted(_HOMES), "__version__"]  # noqa: PLE0604


if not TYPE_CHECKING:  # seen by a type checker, it would make any misspelt name an Any

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'pyengine' has no attribute {name!r}")
        return getattr(import_module(f"pyengine.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
