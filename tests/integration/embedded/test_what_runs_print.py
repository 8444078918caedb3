"""What a run prints while it goes on, in processes of their own: its file, its steps, and that no printing ends it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from banana_delivery.embedded.output import bounded
from banana_delivery.embedded.output.bounded import Bounds
from tests import ROOT

BEGIN = """
import os, subprocess, sys, time
from pathlib import Path
from banana_delivery.embedded.output import run_log
from banana_delivery.embedded.output.bounded import Bounds

FOLDER = Path(sys.argv[1])
run_log.LOOK_SECONDS = 0.01

def own():
    return next(FOLDER.glob(f"*-{os.getpid()}.log"), None)

def until(seen):
    end = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.01)

run_log.print_into(FOLDER, Bounds(most=300_000, beginning=50_000, end=100_000))
"""


def play(folder: Path, run: str) -> int:
    """A process that begins as a run does; returns how it ended."""
    command = [sys.executable, "-c", BEGIN + run, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, timeout=60, check=False).returncode


def said(folder: Path) -> str:
    [file] = folder.glob("*.log")
    return file.read_text()


def test_one_that_prints_without_end_is_bounded_while_it_goes_on(tmp_path: Path) -> None:
    ended = play(
        tmp_path,
        """
print("the beginning")
for turn in range(10):
    print("\\n".join(f"warning {turn} {number} of a library" for number in range(5_000)), file=sys.stderr)
    subprocess.run(["sh", "-c", "head -c 100000 /dev/zero | tr '\\\\0' x"], check=True)
    until(lambda: own().stat().st_size <= 300_000)
print("y" * 10_000_000, flush=True)
until(lambda: own().stat().st_size <= 300_000)
print("\\nthe end")
""",
    )
    kept = said(tmp_path)
    assert ended == 0
    assert kept.startswith("the beginning\n") and kept.endswith("\nthe end\n")
    assert len(re.findall(r"\[\d+ bytes were left out here\]", kept)) == 1
    assert len(kept) <= 300_000


def test_a_disk_that_takes_nothing_ends_nobody(tmp_path: Path) -> None:
    ended = play(
        tmp_path,
        """
full = os.open("/dev/full", os.O_WRONLY)
for stream in (1, 2):
    os.dup2(full, stream)
print("x" * 100_000)
print("y", file=sys.stderr, flush=True)
sys.stdout.write("z")
""",
    )
    assert ended == 0


def test_a_file_that_was_removed_is_there_again_and_what_follows_is_in_it(tmp_path: Path) -> None:
    ended = play(
        tmp_path,
        """
print("before")
step = os.open(FOLDER / "step", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
kept = os.dup(1)
os.dup2(step, 1)
own().unlink()
until(own)
print("in a step")
os.dup2(kept, 1)  # As Dagster does at a step's end: back to what is gone.
until(lambda: os.path.samestat(os.fstat(1), own().stat()))
print("after")
""",
    )
    assert ended == 0
    assert said(tmp_path) == "after\n"
    assert (tmp_path / "step").read_text() == "in a step\n"


def test_where_there_can_be_no_file_a_run_prints_nowhere(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert play(tmp_path / "file", "print('x' * 100_000)\ntime.sleep(0.1)") == 0


def test_what_is_printed_in_one_piece_while_a_cut_is_made_has_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel keeps the cut's first write until the piece is whole; what came must not be cut off unread."""
    bounds = Bounds(most=300_000, beginning=50_000, end=100_000)
    pieces = [b"a piece of a library\n" * 400_000, b"another\n" * 500_000]
    write = bounded._File.write

    with (tmp_path / "printed").open("ab", buffering=0) as printed:

        def once_it_is_whole(file: bounded._File, data: bytes, at: int) -> int:
            if pieces and at < bounds.beginning:
                printed.write(pieces.pop())
            return write(file, data, at)

        printed.write(b"the beginning\n" + b"a warning\n" * 40_000)
        monkeypatch.setattr(bounded._File, "write", once_it_is_whole)
        assert bounded.cut(printed.fileno(), bounds)
        printed.write(b"the end\n")

    kept = (tmp_path / "printed").read_text()
    assert kept.startswith("the beginning\na warning\n")
    assert kept.endswith("\na piece of a library\nthe end\n"), kept[-100:]
    [left_out] = re.findall(r"\[(\d+) bytes were left out here\]", kept)
    everything = len("the beginning\n") + 40_000 * 10 + 400_000 * 21 + 500_000 * 8 + len("the end\n")
    assert len(kept) - len(f"\n[{left_out} bytes were left out here]\n") + int(left_out) == everything


STEP = """
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
with LocalComputeLogManager(str(FOLDER)).capture_logs(["run", "compute_logs", "step"]):
    print("the beginning")
    for turn in range(5):
        print("\\n".join(f"warning {turn} {number} of a library" for number in range(10_000)))
        until(lambda: (FOLDER / "run" / "compute_logs" / "step.out").stat().st_size <= 300_000)
    print("the end")
"""


def test_what_dagster_shows_of_a_step_is_bounded_as_well(tmp_path: Path) -> None:
    assert play(tmp_path, STEP) == 0
    shown = (tmp_path / "run" / "compute_logs" / "step.out").read_text()
    assert shown.startswith("the beginning\n") and shown.endswith("the end\n")
    assert "bytes were left out here" in shown and len(shown) <= 300_000
    # It is printed by the run as well, by a program of Dagster's.
    assert len(said(tmp_path)) <= 300_000
