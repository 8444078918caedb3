"""A database that an older version of MLflow or Dagster was the last to use is copied and migrated, once."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from importlib import metadata
from pathlib import Path

import pytest

from banana_delivery.embedded.upgrade.databases import Database
from banana_delivery.errors import StackError

OURS = metadata.version("mlflow")
MIGRATE = "import sqlite3; sqlite3.connect({file!r}).execute('CREATE TABLE added (id)')"
FAIL = "raise SystemExit('no such column: mood')"


def database(folder: Path, program: str = MIGRATE) -> Database:
    file = folder / "mlflow.db"
    return Database("mlflow", file, (sys.executable, "-c", program.format(file=str(file))))


def used(found: Database, version: str) -> None:
    """By a version, which left what it had made."""
    with closing(sqlite3.connect(found.file)) as connection:
        connection.execute("CREATE TABLE old (id)")
    found.file.with_name("mlflow.db.version").write_text(version)


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

    assert tables(found.file) == {"old", "added"}
    assert tables(tmp_path / f"mlflow.db.before-{OURS}") == {"old"}


@pytest.mark.parametrize("version", [OURS, "999.0"])
def test_what_this_or_a_newer_version_used_is_left_as_it_is(tmp_path: Path, version: str) -> None:
    found = database(tmp_path)
    used(found, version)

    bring_forward(found)

    assert tables(found.file) == {"old"}
    assert found.file.with_name("mlflow.db.version").read_text() == version


def test_where_there_is_none_yet_nothing_is_migrated_then_or_later(tmp_path: Path) -> None:
    found = database(tmp_path, FAIL)

    bring_forward(found)
    found.file.touch()
    bring_forward(found)


def test_a_migration_that_fails_is_said_and_tried_again_from_the_copy_that_no_migration_touched(tmp_path: Path) -> None:
    used(database(tmp_path), "0.1")

    with pytest.raises(StackError, match="no such column: mood") as error:
        bring_forward(database(tmp_path, FAIL))

    copy = tmp_path / f"mlflow.db.before-{OURS}"
    assert str(copy) in str(error.value)
    bring_forward(database(tmp_path))
    assert tables(copy) == {"old"}
    assert "added" in tables(tmp_path / "mlflow.db")
