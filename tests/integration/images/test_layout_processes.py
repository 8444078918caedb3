"""Several real processes on one layout."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from banana_delivery.images.oci_layout.store import OciLayoutImages
from tests.contract.image_store_contract import Sources, quiet

BUILD = """
import pathlib, sys
from banana_delivery.images.oci_layout.store import OciLayoutImages
from tests.contract.image_store_contract import Sources
root, version = pathlib.Path(sys.argv[1]), sys.argv[2]
context = Sources(root / ("sources" + version)).context(version, model=version.encode() * 100_000)
slow = lambda line: (print(line, flush=True), sys.stdin.readline())
OciLayoutImages(root / "images").build(context, slow)
"""
PRUNE = """
import os, pathlib, sys, time
from banana_delivery.images.oci_layout.store import OciLayoutImages
answers = iter([(), None])
def dies_when_asked_again():
    if (answer := next(answers)) is None:
        os.kill(os.getpid(), 9)
    return answer
later = time.time() + 7200
store = OciLayoutImages(pathlib.Path(sys.argv[1]) / "images", clock=lambda: later)
store.prune(1, dies_when_asked_again, dry_run=False)
"""


def start_build(root: Path, version: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, str(root), version],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def test_builds_of_two_processes_at_once_are_both_kept(tmp_path: Path) -> None:
    with start_build(tmp_path, "1") as one, start_build(tmp_path, "2") as two:
        for process in (one, two):  # Both get their input first: either may hold the lock while the other waits.
            assert process.stdin is not None
            process.stdin.write("\n" * 10)
            process.stdin.flush()
        for process in (one, two):
            process.communicate(timeout=60)

    store = OciLayoutImages(tmp_path / "images")
    assert {decision.ref.version for decision in store.prune(9, lambda: (), dry_run=True)} == {"1", "2"}


def test_a_build_killed_halfway_is_invisible_and_holds_nobody_up(tmp_path: Path) -> None:
    store = OciLayoutImages(tmp_path / "images")
    with start_build(tmp_path, "1") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("code:")
        process.send_signal(signal.SIGKILL)

    assert store.prune(9, lambda: (), dry_run=True) == []
    built = store.build(Sources(tmp_path / "again").context("1"), quiet)
    assert store.find(store.key(Sources(tmp_path / "same").context("1"))) == built.ref


def test_an_image_whose_removal_was_killed_halfway_is_withheld_for_minutes_and_not_for_ever(tmp_path: Path) -> None:
    store = OciLayoutImages(tmp_path / "images")
    sources = Sources(tmp_path / "sources")
    old, _ = (store.build(sources.context(version, model=version.encode()), quiet).ref for version in "12")

    killed = subprocess.run([sys.executable, "-c", PRUNE, str(tmp_path)], cwd=Path(__file__).parents[3], check=False)

    assert killed.returncode == -signal.SIGKILL
    later = time.time() + 7200
    assert OciLayoutImages(tmp_path / "images", clock=lambda: later).resolve(old.digest) is None
    assert OciLayoutImages(tmp_path / "images", clock=lambda: later + 1800).resolve(old.digest) == old
