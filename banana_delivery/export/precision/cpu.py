"""Which kind of CPU this is: how much faster integers are is a question about it."""

from __future__ import annotations

import platform
from pathlib import Path

from banana_delivery.files import text_sha256
from banana_delivery.quoting import one_line

_NAMES = ("model name", "CPU part")
_INSTRUCTIONS = ("flags", "Features")
MOST = 100
"""Characters of a name."""


def kind_of_cpu(facts: Path = Path("/proc/cpuinfo")) -> str:
    """One line, the same for machines whose CPUs have the same name and instructions.

    Hypervisors give many CPUs one name, and hide instructions of others.
    """
    try:
        lines = facts.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    told = dict(reversed([(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]))
    name = next((told[key] for key in _NAMES if key in told), "")
    instructions = next((told[key] for key in _INSTRUCTIONS if key in told), "")
    return one_line(f"{platform.machine()} {name} {text_sha256(instructions)[:8]}", MOST)
