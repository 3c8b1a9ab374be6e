"""pyengine completion: a script that lets a shell complete commands, options, module types and addresses."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyengine.cli.shared import EXIT_OK, add_command, completes, print_result

EXAMPLES = """
pyengine completion fish > ~/.config/fish/completions/pyengine.fish
eval "$(pyengine completion bash)"                         in ~/.bashrc
eval "$(pyengine completion zsh)"                          in ~/.zshrc, after compinit
"""
_SHELLS = ("bash", "zsh", "fish")


def add(commands: Any) -> None:
    help = "print a script that completes pyengine's commands in a shell"
    one = add_command(commands, "completion", completion, help, examples=EXAMPLES)
    one.add_argument("shell", choices=_SHELLS, metavar="bash|zsh|fish", help="for which shell")
    one.set_defaults(commands=commands)


def completion(arguments: argparse.Namespace) -> int:
    """Print the script for a shell."""
    places = list(_places("", arguments.commands))
    make = {"bash": _bash, "zsh": _zsh, "fish": _fish}[arguments.shell]
    text = make(places)
    print_result(arguments, {"shell": arguments.shell, "script": text}, text)
    return EXIT_OK


@dataclass(frozen=True, slots=True)
class _Place:
    """Behind `pyengine PATH`. words: commands, or what the first argument may be; options: (names, help, words)."""

    path: str
    words: tuple[tuple[str, str], ...]
    options: tuple[tuple[tuple[str, ...], str, tuple[str, ...] | None], ...]
    has_files: bool = False


def _places(path: str, commands: Any) -> Iterator[_Place]:
    """Yield a place for each command below a group of them, and the group's own."""
    helps = {action.dest: action.help or "" for action in commands._choices_actions}
    yield _Place(path, tuple((name, helps.get(name, "")) for name in commands.choices), ())
    for name, parser in commands.choices.items():
        below = f"{path} {name}".strip()
        groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if groups:
            yield from _places(below, groups[0])
        else:
            yield _place(below, parser)


def _place(path: str, parser: argparse.ArgumentParser) -> _Place:
    options, words, has_files = [], [], False
    for action in parser._actions:
        if action.option_strings:
            has_value = action.nargs != 0
            values = tuple(map(str, _words(action))) if has_value else None
            options.append((tuple(action.option_strings), action.help or "", values))
        else:
            words += [(str(word), "") for word in _words(action)]
            has_files |= "FILE" in str(action.metavar) or "OUT" in str(action.metavar)
    return _Place(path, tuple(words), tuple(options), has_files)


def _words(action: argparse.Action) -> list[str]:
    kind = completes(action)
    if kind == "modules":
        from pyengine.specs import registry

        return list(registry().names)
    if kind == "addresses":
        from pyengine.addresses import TABLE

        return [route.address for route in TABLE if not route.in_address]
    return [str(choice) for choice in action.choices or ()]


def _bash(places: list[_Place]) -> str:
    groups = [place.path for place in places if not place.options]
    cases, values = [], []
    for place in places:
        names = [name for names, _, _ in place.options for name in names]
        words = " ".join([*(word for word, _ in place.words), *names])
        cases.append(f"    '{place.path}') words='{words}'; files={int(place.has_files)} ;;")
        for option, _, choices in place.options:
            if choices is not None:
                pattern = "|".join(f"'{place.path} {name}'" for name in option)
                values.append(f"    {pattern}) words='{' '.join(choices)}'; files={int(not choices)} ;;")
    return "\n".join(
        [
            "_pyengine() {",
            "  local path='' words='' files=0 word word_before current=${COMP_WORDS[COMP_CWORD]} n",
            "  for ((n = 1; n < COMP_CWORD; n++)); do",
            "    word=${COMP_WORDS[n]}",
            '    case "$path" in',
            f"      {'|'.join(repr(path) for path in groups)}) [[ $word == -* ]] || path=${{path:+$path }}$word ;;",
            "    esac",
            "  done",
            "  word_before=${COMP_WORDS[COMP_CWORD-1]}",
            '  case "$path" in',
            *cases,
            "  esac",
            '  case "$path $word_before" in',
            *values,
            "  esac",
            '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
            '  ((files)) && [[ $current != -* ]] && COMPREPLY+=($(compgen -f -- "$current"))',
            "}",
            "complete -o filenames -F _pyengine pyengine",
        ]
    )


def _zsh(places: list[_Place]) -> str:
    return "\n".join(["autoload -U +X bashcompinit && bashcompinit", _bash(places)])


def _fish(places: list[_Place]) -> str:
    lines = ["complete -c pyengine -f"]
    for place in places:
        names = place.path.split()
        seen = [f"__fish_seen_subcommand_from {name}" for name in names]
        if not place.options:  # a group: until one of its commands is there
            below = " ".join(word for word, _ in place.words)
            seen.append(f"not __fish_seen_subcommand_from {below}")
        here = f"complete -c pyengine -n {_quoted('; and '.join(seen))}"
        for word, help in place.words:
            lines.append(f"{here} -a {_quoted(word)}" + (f" -d {_quoted(help)}" if help else ""))
        if place.has_files:
            lines.append(f"{here} -F")
        for option, help, choices in place.options:
            flags = [f"-s {name[1:]}" if len(name) == 2 else f"-l {name[2:]}" for name in option]
            value = "" if choices is None else f" -x -a {_quoted(' '.join(choices))}" if choices else " -r"
            lines.append(f"{here} {' '.join(flags)}{value} -d {_quoted(help)}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
