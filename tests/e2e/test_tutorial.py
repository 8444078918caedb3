"""The tutorial as somebody types it who has just cloned the repository: each command works and shows what it says."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from banana_delivery.ports import OFFSET_STEP
from banana_delivery.settings import Settings
from tests import ROOT
from tests.e2e.typing import Terminal, Typed, typed_in
from tests.upgrade.installing import checkout

PAGE = ROOT / "docs" / "tutorial.md"
PORTS = [
    int(str(field.json_schema_extra["default"]).strip("`"))
    for name, field in Settings.model_fields.items()
    if name.endswith("_port") and isinstance(field.json_schema_extra, dict)
]
"""Those that an offset moves."""
FIRST_OFFSET, LAST_OFFSET = 20_000, 30_000
SECONDS = 600.0
"""For one command: the first one installs everything, and a delivery on a busy machine takes minutes."""
OURS = ("BANANA_", "MLFLOW_", "DAGSTER_", "VIRTUAL_ENV", "PYTHON", "MAKE")
"""How variables begin that somebody who types the first command does not have."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of this checkout, with nothing installed beside them."""
    to = tmp_path / "checkout"
    to.mkdir()
    return checkout(to)


@pytest.fixture
def environment(folder: Path) -> Iterator[dict[str, str]]:
    """Of a login on a machine on which somebody else has the usual ports."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    variables = {**others, "BANANA_PORT_OFFSET": str(_free_offset())}
    yield variables
    subprocess.run(["make", "down"], cwd=folder, env=variables, check=False, timeout=180)


def _free_offset() -> int:
    for offset in range(FIRST_OFFSET, LAST_OFFSET, OFFSET_STEP):
        if all(_is_free(port + offset) for port in PORTS):
            return offset
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) != 0


def _moved(typed: Typed, offset: int) -> Typed:
    """The command for a stack whose ports are moved."""
    usual = "|".join(str(port) for port in PORTS)
    return Typed(
        re.sub(rf"(?<=127\.0\.0\.1:)({usual})\b", lambda port: str(int(port[0]) + offset), typed.command), typed.shown
    )


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_tutorial_works_as_it_stands(folder: Path, environment: dict[str, str]) -> None:
    offset = int(environment["BANANA_PORT_OFFSET"])
    with Terminal(folder, environment) as terminal:
        for typed in typed_in(PAGE.read_text()):
            code, seen = terminal.type(_moved(typed, offset), SECONDS)
            assert (code, typed.missing(seen)) == (typed.exit_code, []), f"{typed.command}\n{seen[-4000:]}"
