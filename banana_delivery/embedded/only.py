"""Starts a program with some of the variables that this process has, and no others.

``python -I -S only.py NAMES COMMAND...`` where NAMES are separated by commas and one that ends in ``*`` is a beginning.
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


if __name__ == "__main__":
    command = sys.argv[2:]
    os.execvpe(command[0], command, kept(dict(os.environ), sys.argv[1].split(",")))  # noqa: S606
