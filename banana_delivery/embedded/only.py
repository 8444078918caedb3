"""Starts a program with some of the variables that this process has, and no others.

``python -I -S only.py [NAME=FILE...] NAMES COMMAND...`` where NAMES are separated by commas and one that ends in ``*``
is a beginning; a variable that comes with a file has what the file holds, so that it stands in no configuration.
supervisord hands each program everything that it was started with, secrets included; this stands in between. It
imports nothing of the product, since it runs before each of the stack's processes.
"""

from __future__ import annotations

import os
import sys


def kept(environment: dict[str, str], names: list[str]) -> dict[str, str]:
    """The variables that are named."""
    exact, beginnings = set(names), tuple(name[:-1] for name in names if name.endswith("*"))
    return {
        name: value
        for name, value in environment.items()
        if name in exact or (beginnings and name.startswith(beginnings))
    }


def read(pairs: list[str]) -> dict[str, str]:
    """The variables that come with a file."""
    found = {}
    for pair in pairs:
        name, _, file = pair.partition("=")
        with open(file, encoding="utf-8") as opened:  # noqa: PTH123 - imports as little as it can
            found[name] = opened.read().strip()
    return found


if __name__ == "__main__":
    first = next(place for place, argument in enumerate(sys.argv[1:], 1) if "=" not in argument)
    command = sys.argv[first + 1 :]
    environment = {**kept(dict(os.environ), sys.argv[first].split(",")), **read(sys.argv[1:first])}
    os.execvpe(command[0], command, environment)  # noqa: S606
