"""A policy file as it was typed: what it says, and on which line.

Every value stays the text that it is: YAML would make a number of 16:00 and a truth of ``on``. What it means is for the
models to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from banana_delivery.errors import BadSettingsError
from banana_delivery.quoting import one_line

Place = tuple[str | int, ...]
"""Where something stands: the keys, and the numbers of list items, that lead to it."""
DEEPEST = 8
TOO_EARLY = "it ends too early"
NOTHING = {"", "~", "null", "Null", "NULL"}


@dataclass(frozen=True)
class Source:
    """What a policy file says.

    Attributes:
        where: the file.
        said: its keys; those without a value are left out.
        lines: on which line each place is, counted from 1.
    """

    where: str
    said: Mapping[str, Any]
    lines: Mapping[Place, int]

    def mistake(self, place: Place, what: str, *, whole: bool = False) -> BadSettingsError:
        """The error about a place.

        Args:
            place: where it is; what the file does not say is told without a line.
            what: what is wrong and what is allowed, without the full stop.
            whole: whether ``what`` is a sentence already, rather than the rest of one that begins with the key.
        """
        line = next((self.lines[at] for at in (place, place[:-1], place[:1]) if at and at in self.lines), 0)
        where = one_line(self.where) + (f", line {line}" if line else "")
        said = what if whole else f"{_spelt(place)} {what}"
        return BadSettingsError(f"{where}: {said}{'' if said.endswith('?') else '.'}")


def parse(text: str, where: str) -> Source:
    """What a text says.

    Raises:
        BadSettingsError: if it is no YAML with keys at its top, or plays with it.
    """
    try:
        _refuse_games(text, where)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise BadSettingsError(f"{one_line(where)}{line}: this is no YAML, {error.problem or TOO_EARLY}.") from None
    except yaml.YAMLError as error:
        raise BadSettingsError(f"{one_line(where)}: this is no YAML: {' '.join(str(error).split())}.") from None
    lines: dict[Place, int] = {}
    said = _read(node, where, (), lines) if node else {}
    if not isinstance(said, dict):
        raise BadSettingsError(f"{one_line(where)}: a policy file has keys at its top, such as plan:.")
    return Source(where, said, lines)


def _refuse_games(text: str, where: str) -> None:
    """Nothing in a policy is deep or repeats itself by reference; what does could grow without end."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > DEEPEST:
            what = "an alias" if isinstance(event, yaml.AliasEvent) else f"more than {DEEPEST} levels"
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise BadSettingsError(f"{one_line(where)}, line {line}: {what} has no place in a policy; write it out.")


def _read(node: yaml.Node, where: str, place: Place, lines: dict[Place, int]) -> Any:
    lines.setdefault(place, node.start_mark.line + 1)
    match node:
        case yaml.MappingNode():
            return _keys(node, where, place, lines)
        case yaml.SequenceNode():
            return [_read(item, where, (*place, number), lines) for number, item in enumerate(node.value)]
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return None if plain and node.value in NOTHING else str(node.value)


def _keys(node: yaml.MappingNode, where: str, place: Place, lines: dict[Place, int]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for key, value in node.value:
        at, line = (*place, str(key.value)), key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise BadSettingsError(f"{one_line(where)}, line {line}: a key is one word.")
        if at in lines:
            twice = f"{_spelt(at)} is said twice, first on line {lines[at]}"
            raise BadSettingsError(f"{one_line(where)}, line {line}: {twice}.")
        lines[at] = line
        read = _read(value, where, at, lines)
        if read is not None:
            said[str(key.value)] = read
    return said


def _spelt(place: Place) -> str:
    """The place as people write it, ``plan.steps[2]``."""
    spelt = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return spelt.removeprefix(".") or "the file"
