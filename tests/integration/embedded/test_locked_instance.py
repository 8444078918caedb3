"""A slow disk: another process holds the instance's database for longer than SQLite waits for it, which is 5 s."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from banana_delivery.errors import DagsterError
from banana_delivery.runs.instance import CONFIGURATION, open_instance
from banana_delivery.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    home = tmp_path / "dagster"
    home.mkdir()
    (home / CONFIGURATION).write_text("")
    # By another process, which leaves no connection of its own behind: nobody else may be in what is locked.
    subprocess.run(
        [sys.executable, "-c", "import dagster, sys; dagster.DagsterInstance.from_config(sys.argv[1]).dispose()", home],
        check=True,
    )
    return Settings(home=tmp_path)


@pytest.fixture
def held(settings: Settings) -> Iterator[sqlite3.Connection]:
    database = (settings.home / "dagster" / "history" / "runs.db").as_uri()
    with closing(
        sqlite3.connect(f"{database}?mode=rw", uri=True, isolation_level=None, check_same_thread=False)
    ) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        yield other


def test_a_locked_instance_is_asked_again_until_it_is_free(settings: Settings, held: sqlite3.Connection) -> None:
    freed = threading.Timer(5.5, held.close)
    freed.start()
    try:
        with open_instance(settings) as instance:
            assert instance.get_run_records() == []
    finally:
        freed.join()


def test_who_must_not_wait_is_told_that_it_is_locked(settings: Settings, held: sqlite3.Connection) -> None:
    with pytest.raises(DagsterError, match=r"cannot be opened: .*database is locked"), open_instance(settings, 0):
        pytest.fail("a locked instance was opened")
