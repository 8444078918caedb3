"""Comparing dependency locks: what a release was built with, and what a host would run it with."""

from __future__ import annotations

import re

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
_NAMED = 5


def pins(lock: str) -> dict[str, str]:
    """The version of each package that a lock pins, by normalised name."""
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in _PIN.findall(lock)}


def difference(built_with: str, host: str) -> str:
    """How a host's lock differs from the one of a release: one clause, empty if the same packages are pinned."""
    before, after = pins(built_with), pins(host)
    changes = [
        f"{name} {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    more = f" and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
    return ", ".join(changes[:_NAMED]) + more
