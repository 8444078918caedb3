"""Which installation of this package runs, and which one started a process."""

from __future__ import annotations

import configparser
import shlex
from importlib import metadata
from pathlib import Path

from banana_delivery.files import text_sha256

MARK = "STACK_INSTALLATION"
"""The variable by which a process that another version started is told from one of ours, so that `up` replaces it."""
_PACKAGE = "banana-delivery"


def mark() -> str:
    """What tells this installation from any other in the same folder; empty where the package is not installed."""
    try:
        listed = metadata.distribution(_PACKAGE).read_text("RECORD")
    except metadata.PackageNotFoundError:
        return ""
    return text_sha256(listed or "")[:12]


def started_by(program: Path, name: str) -> Path | None:
    """The folder of the installation that a program's file of supervisord starts it from; None if it does not say."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(program.read_text())
        first = Path(shlex.split(parser.get(f"program:{name}", "command"))[0])
    except (OSError, ValueError, IndexError, configparser.Error):
        return None
    return first.parent.parent if first.is_absolute() and first.parent.name == "bin" else None
