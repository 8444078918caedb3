"""Whole deliveries in a process whose clock somebody sets to and fro while it works: libfaketime stands in for him."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
STEPS = ("-3600", "+120", "-90", "+3600", "+1", "+90", "+0")
"""Seconds from the true time, one after the other."""
STEP_EVERY = 1.5


@pytest.fixture(scope="session")
def faketime() -> Path:
    """The library that answers instead of the C library when a process asks what time it is."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("libfaketime is not installed; the Debian package has the same name.")
    return found[0]


@pytest.mark.parametrize(
    "shifted",
    [
        pytest.param("", id="stepping", marks=pytest.mark.long),
        pytest.param("-3600", id="an hour late", marks=pytest.mark.long),
        pytest.param("+120", id="two minutes ahead", marks=pytest.mark.long),
    ],
)
def test_deliveries_end_as_ever_whatever_the_clock_does(faketime: Path, tmp_path: Path, shifted: str) -> None:
    setting = tmp_path / "clock"
    setting.write_text(shifted or STEPS[0])
    environment = {
        **os.environ,
        "LD_PRELOAD": str(faketime),
        "FAKETIME_TIMESTAMP_FILE": str(setting),
        "FAKETIME_NO_CACHE": "1",
        # No hand on a clock moves this one, not even the kernel's.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tests.support.stepping", str(tmp_path / "home")]
    log = tmp_path / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        said = _watch(process, setting, stepping=not shifted)

    assert process.returncode == 0, log.read_text()[-4000:]
    became = json.loads(said.splitlines()[-1])
    assert (became.pop("steps") >= len(STEPS)) is not bool(shifted), "The clock did not do what the test is about."
    first, second, bad = became.pop("outcomes").values()
    assert (first, second, bad) == (["released"], ["rolled_back", "released"], ["rolled_back"])
    weights, resting = became.pop("weights")
    assert weights == resting
    # No living owner was taken for dead, and the way back was warm when it was needed.
    assert became == {"serving": 0, "owner": None, "taken": [], "replicas": 2}


def _watch(process: subprocess.Popen[str], setting: Path, *, stepping: bool) -> str:
    """What the process says in the end; its clock is set meanwhile."""
    for step in cycle(STEPS):
        if stepping:
            new = setting.with_suffix(".new")
            new.write_text(step)
            new.replace(setting)
        try:
            return process.communicate(timeout=STEP_EVERY)[0]
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("There is always one more step.")
