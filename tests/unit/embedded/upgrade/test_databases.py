"""A database that an older version of MLflow or Dagster was the last to use is copied and migrated, once."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from importlib import metadata
from pathlib import Path

import pytest
from packaging.version import Version

from banana_delivery.embedded.upgrade import databases
from banana_delivery.embedded.upgrade.databases import Database
from banana_delivery.errors import StackError

OURS = metadata.version("mlflow")
MIGRATE = "import sqlite3; sqlite3.connect({file!r}).execute('CREATE TABLE added (id)')"
FAIL = "raise SystemExit('no such column: mood')"


def database(folder: Path, program: str = MIGRATE) -> Database:
    return Database(
        "mlflow", folder, ("*.db", "runs/*.db"), (sys.executable, "-c", program.format(file=str(folder / "mlflow.db")))
    )


def used(found: Database, version: str) -> None:
    """By a version, which left what it had made."""
    with closing(sqlite3.connect(found.folder / "mlflow.db")) as connection:
        connection.execute("CREATE TABLE old (id)")
    (found.folder / "mlflow.version").write_text(version)


def tables(file: Path) -> set[str]:
    with closing(sqlite3.connect(file)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def bring_forward(found: Database) -> None:
    found.bring_forward(dict(os.environ))


@pytest.mark.parametrize("before", ["0.1", "", "no version"])
def test_what_an_older_version_used_is_copied_and_migrated_and_that_once(tmp_path: Path, before: str) -> None:
    found = database(tmp_path)
    used(found, before)

    bring_forward(found)
    bring_forward(found)

    assert tables(tmp_path / "mlflow.db") == {"old", "added"}
    assert tables(tmp_path / f"before-{OURS}" / "mlflow.db") == {"old"}
    assert len(list(tmp_path.glob("before-*"))) == 1


@pytest.mark.parametrize("version", [OURS, "999.0"])
def test_what_this_or_a_newer_version_used_is_left_as_it_is(tmp_path: Path, version: str) -> None:
    found = database(tmp_path)
    used(found, version)

    bring_forward(found)

    assert tables(tmp_path / "mlflow.db") == {"old"}
    assert (tmp_path / "mlflow.version").read_text().strip() == OURS


def test_where_there_is_none_yet_nothing_is_migrated_then_or_later(tmp_path: Path) -> None:
    found = database(tmp_path, FAIL)

    bring_forward(found)
    (tmp_path / "mlflow.db").touch()
    bring_forward(found)


def test_a_copy_that_was_put_back_is_migrated_again(tmp_path: Path) -> None:
    """A newer version was the last to use it, then this one, on what it found: the newer one has to look again."""
    found = database(tmp_path)
    used(found, "999.0")

    bring_forward(found)

    assert Version((tmp_path / "mlflow.version").read_text()) < Version("999.0")


def test_every_file_is_copied_as_it_is_while_somebody_writes(tmp_path: Path) -> None:
    found = database(tmp_path)
    used(found, "0.1")
    (tmp_path / "runs").mkdir()
    with closing(sqlite3.connect(tmp_path / "runs" / "1.db")) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE kept (id)")
        writer.commit()
        writer.execute("INSERT INTO kept VALUES (1)")
        bring_forward(found)

    assert tables(tmp_path / f"before-{OURS}" / "runs" / "1.db") == {"kept"}


def test_a_migration_that_fails_is_said_and_each_attempt_keeps_what_it_found(tmp_path: Path) -> None:
    used(database(tmp_path), "0.1")

    with pytest.raises(StackError, match="no such column: mood") as error:
        bring_forward(database(tmp_path, FAIL))
    first, second = tmp_path / f"before-{OURS}" / "mlflow.db", tmp_path / f"before-{OURS}.2" / "mlflow.db"
    assert f"{first.parent} holds it" in str(error.value)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as people_went_on:
        people_went_on.execute("CREATE TABLE since (id)")

    with pytest.raises(StackError) as error:
        bring_forward(database(tmp_path, FAIL))
    assert f"{second.parent} holds it" in str(error.value)
    assert tables(second) == {"old", "since"}
    assert tables(first) == {"old"}


def test_a_migration_that_does_not_end_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "MIGRATION_SECONDS", 0.1)
    used(database(tmp_path), "0.1")
    with pytest.raises(StackError, match=r"did not end within 0\.1 s\. .*before-.* holds it"):
        bring_forward(database(tmp_path, "import time; time.sleep(60)"))


def test_one_that_cannot_be_copied_is_not_migrated(tmp_path: Path) -> None:
    found = database(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 100)

    with pytest.raises(StackError, match=r"cannot be copied.*Nothing was changed"):
        bring_forward(found)

    assert list(tmp_path.glob("before-*")) == []
    assert found.is_behind
