"""The protocol's models (tests/model/*.pml), searched by spin: the rules hold, and each rule is needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

MODELS = Path(__file__).parent / "model"
MEMORY_MB = 1900
DEPTH = 100_000
TIMEOUT_S = 600
IS_LONG = os.environ.get("PYENGINE_LONG", "0") not in ("", "0")

# What is searched to the end. tests/model/README.md has the number of states of each.
SOUND = [
    "journal",
    "journal NB=2 DEATH=0",
    "journal NB=2 DEATH=1",
    "commit",
    "commit COMMITS=2 ABORTS",
    "commit LATE",
    "commit DEATH=0",
    "commit DEATH=1",
    "restart NB=2 SOLO MIDBLOCK",
    "restart NB=2 NC=0 SOLO SWITCH",
    "restart NB=2 LEAD=1 NC=0 DEATHS=1 SWITCH",
    "seats NB=2 LEAD=1 NC=1",
    "rest",
    "rest BEHIND FREE=2",
    "rest LEADB=1",
    "rest LEADB=1 REQ=2",
    "rest SOLO NC=2",
    "rest SOLO NC=2 LEADB=1",
    "rest JOIN NC=2",
]
LONG = [
    "journal NB=5 J=4",
    "journal DEATH=0",
    "journal DEATH=1",
    "commit DEATH=1 LATE",
    "restart SOLO MIDBLOCK",
    "rest BEHIND",
    "rest LEADB=1 BEHIND",
    "rest DEATH=0",
]

# A rule that is left out, and the property that then breaks.
FAULTS = [
    ("journal NOCAS", "one_decision"),
    ("journal STALEIDX", "forward"),
    ("journal ZEROTAG", "somebody_decided"),
    ("journal SMALLJ J=2 NB=4 DEATH=0", "decision_stays"),
    ("journal NOFLOOR DEATH=0", "record_stays"),
    ("journal STAMPFIRST", "whole_block"),
    ("journal PLAYFIRST", "whole_block"),
    ("journal NOFENCE DEATH=0", "no_underrun"),
    ("journal REWRITE DEATH=1", "no_underrun"),
    ("journal CLEARRING DEATH=1", "no_underrun"),
    ("journal NOHEDGE", "no_underrun"),
    ("commit NOGEN COMMITS=2 ABORTS", "only_primed"),
    ("commit SWITCHUNPRIMED", "only_primed"),
    ("commit SWITCHFIRST", "first_is_first"),
    ("commit SWITCHFIRST", "generation_order"),
    ("commit READYFULL NB=4", "first_is_first"),
    ("commit NOGATEBLOCK", "due_generation"),
    ("commit BLINDWITHDRAW LATE", "refused_unheard"),
    ("commit STAYPLAYABLE LATE", "refused_unheard"),
    ("commit EARLYSUCCESSOR DEATH=0", "whole_block"),
    ("commit KEEPNEWER DEATH=1", "refused_unheard"),
    ("commit STICKS", "bridged_only"),
    ("commit NOFALLBACK DEATH=1", "no_underrun"),
    ("restart SOLO TORNCP", "one_content"),
    ("restart SOLO ONEBUFFER", "usable_checkpoint"),
    ("restart SOLO NOFLOOR", "record_stays"),
    ("restart SOLO FROMPRESENT", "one_content"),
    ("restart NC=0 SOLO SWITCH NOCHAIN", "one_switch"),
    ("restart NC=0 DEATHS=1 SWITCH PASTSWITCH", "one_switch"),
    ("restart DEATHS=1 NORECHECK", "one_content"),
    ("restart LEAD=1 NC=0 SWITCH DEADUNPLAYABLE", "invalid end state"),
    ("seats SHAREDSEAT", "whole_block"),
    ("rest NOCAS", "one_decision"),
    ("rest OWNWAY", "one_place"),
    ("rest NODECIDE", "silence_is_true"),
    ("rest TRUST", "silence_is_true"),
    ("rest PASSSTAMP", "silence_is_true"),
    ("rest SOLO LEADB=1 FREE=4 RESTEARLY", "silence_is_true"),
    ("rest SOLO BEHIND LOOKFIRST", "nobody_oversleeps"),
    ("rest SOLO LATESEEN", "nobody_oversleeps"),
    ("rest WAKEFULL", "no_gap"),
    ("rest LEADB=1 REQ=2 NEARISFAR", "no_gap"),
    ("rest LEADB=1 NEVERWAKE", "exactly_once"),
    ("rest JOIN LAGAWAKE JOINAWAKE", "no_gap"),
    ("rest BEHIND LAGAWAKE", "no_gap"),
]

# What a model reaches, lest its properties hold because nothing happens.
SEEN = [
    ("commit", "a_swap"),
    ("commit", "a_late_swap"),
    ("commit DEATH=1", "a_swap_of_the_dead"),
    ("commit DEATH=1", "a_fall_back"),
    ("commit DEATH=0", "a_successor"),
    ("restart SOLO", "a_successor"),
    ("restart NC=0 SOLO SWITCH", "a_swap"),
    ("restart NC=0 SOLO SWITCH", "a_chain"),
    ("seats", "a_zombie_at_work"),
    ("seats", "a_successor"),
    ("rest SOLO DEATH=0", "a_silence_of_the_dead"),
    ("rest SOLO", "a_taken_silence"),
    ("rest", "a_lost_race"),
    ("rest SOLO", "a_record_far_ahead"),
    ("rest SOLO", "a_missing_block"),
]


@dataclass(frozen=True, slots=True)
class Search:
    """What the checker said. violated: what it printed of the first error, '' if there was none."""

    text: str
    errors: int
    violated: str

    @property
    def is_complete(self) -> bool:
        stopped = ("max search depth", "out of memory", "Search not completed", "hash table full")
        return "Full statespace search for" in self.text and not any(word in self.text for word in stopped)


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def search(folder: Path, configuration: str, *more: str, is_short: bool = False) -> Search:
    """Build the checker of a model (its name, then its switches) and run it. Skips without spin or a compiler.

    is_short: it ends at the first error; that is mostly found before a compiler is through with its optimisations.
    """
    compiler = next(filter(None, map(shutil.which, ("gcc", "cc", "clang"))), None)
    if shutil.which("spin") is None or compiler is None:
        pytest.skip("the models need spin and a C compiler, and one of them is not on this machine")
    name, *switches = configuration.split()
    for source in MODELS.glob("*.pml"):
        shutil.copy(source, folder)
    told = _run(folder, "spin", "-a", *(f"-D{switch}" for switch in (*switches, *more)), f"{name}.pml")
    assert "rror" not in told, told
    optimise = "-O0" if is_short and "DEATH" not in configuration else "-O1"
    _run(folder, compiler, optimise, "-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MB}", "-o", "pan", "pan.c")
    text = _run(folder, "./pan", f"-m{DEPTH}", "-w22")
    errors = re.search(r"errors: (\d+)", text)
    assert errors is not None, text
    first = re.search(r"pan:\d+: (.*)", text)
    return Search(text, int(errors[1]), first[1] if first else "")


@pytest.mark.parametrize("configuration", [*SOUND, *(LONG if IS_LONG else ())])
def test_no_property_breaks_in_any_state(configuration: str, tmp_path: Path) -> None:
    found = search(tmp_path, configuration)
    assert found.errors == 0, found.violated
    assert found.is_complete, found.text


@pytest.mark.parametrize(("configuration", "broken"), FAULTS)
def test_a_rule_that_is_left_out_breaks_the_property_behind_it(configuration: str, broken: str, tmp_path: Path) -> None:
    only = () if broken == "invalid end state" else (f"ONLY={broken}",)
    found = search(tmp_path, configuration, *only, is_short=True)
    assert found.errors > 0
    assert broken in found.violated


@pytest.mark.parametrize(("configuration", "what"), SEEN)
def test_what_the_properties_are_about_does_happen(configuration: str, what: str, tmp_path: Path) -> None:
    found = search(tmp_path, configuration, f"WATCH={what}", is_short=True)
    assert found.errors > 0
    assert "was_seen" in found.violated
