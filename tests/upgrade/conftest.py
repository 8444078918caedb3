"""A stack that the version before started, with a release of its own in production, and this version beside it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from banana_delivery.defs.build import build_resources
from banana_delivery.settings import Settings
from tests import ROOT
from tests.e2e.conftest import stack_environment  # noqa: F401 - ports and a home of its own, here as well
from tests.e2e.stack import Stack, until
from tests.upgrade.installing import checkout, install, revision

BEFORE = "8d178fb"
"""Stands for the version before while none has a tag: it signs its records, and their schema is 1."""

DELIVERY_SECONDS = 600.0
"""Busy machines take so long for one delivery."""


@dataclass(frozen=True)
class Versions:
    """Two installations and one home.

    Attributes:
        before: the stack by the program of the version before.
        now: the same stack by that of this one.
    """

    before: Stack
    now: Stack


def version_before() -> str:
    """UPGRADE_FROM, a tag or a commit, or else the last tag behind this commit."""
    tag = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return os.environ.get("UPGRADE_FROM") or tag or BEFORE


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The command lines of the version before and of this one, each from its wheel."""
    scratch = tmp_path_factory.mktemp("versions")
    before = install(revision(version_before(), scratch / "source-before"), scratch / "before")
    now = install(checkout(scratch / "source-now"), scratch / "now")
    return before / "bin" / "banana-delivery", now / "bin" / "banana-delivery"


@pytest.fixture(scope="session")
def versions(
    programs: tuple[Path, Path],
    stack_environment: dict[str, str],  # noqa: F811
) -> Iterator[Versions]:
    """The stack, up by the version before. All versions are of one model, so none is turned back for its quality."""
    mine = {name: value for name, value in stack_environment.items() if name.startswith("BANANA_")}
    mine |= {"BANANA_POLICY": "demo"}
    environment = {**mine, "HOME": mine["BANANA_HOME"], "PATH": os.defpath, "LANG": "C.UTF-8"}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in mine.items():
            patched.setenv(name, value)
        for name in ("DAGSTER_HOME", "MLFLOW_TRACKING_URI"):
            patched.delenv(name, raising=False)
        before, now = (Stack(str(program), environment, build_resources(Settings())) for program in programs)
        try:
            before.command("up")
            first = before.stage("better")
            until(lambda: before.outcomes(first) != [], "the first delivery", DELIVERY_SECONDS)
            before.until_released(first)
            # At rest, once each way: the databases are migrated here, and not while a phase goes by.
            now.command("up")
            before.command("up")
            yield Versions(before, now)
        finally:
            now.try_command("down")
