"""Databases as MLflow and Dagster of one step before left them, by their own migrations, and what they are then."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.sql import get_alembic_config

from banana_delivery.embedded.processes import dagster_daemon, mlflow
from banana_delivery.settings import Settings

pytestmark = pytest.mark.upgrade


def revision(file: Path) -> str:
    with sa.create_engine(f"sqlite:///{file}").connect() as connection:
        return str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one())


def step_before(config: Config) -> tuple[str, str]:
    """The newest revision that a package knows, and the one before."""
    scripts = ScriptDirectory.from_config(config)
    newest = str(scripts.get_current_head())
    before = scripts.get_revision(newest).down_revision
    assert isinstance(before, str)
    return newest, before


OLDER_MLFLOW = """
import sys, warnings
warnings.simplefilter("ignore")
import sqlalchemy
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.store.db import utils

engine = sqlalchemy.create_engine(f"sqlite:///{sys.argv[1]}")
utils.InitialBase.metadata.create_all(engine)
config = utils._get_alembic_config(str(engine.url))
scripts = ScriptDirectory.from_config(config)
newest = scripts.get_current_head()
before = scripts.get_revision(newest).down_revision
with engine.begin() as connection:
    config.attributes["connection"] = connection
    command.upgrade(config, before)
print(newest, before)
"""
"""In a process of its own: MLflow's own use of SQLAlchemy warns."""


def test_mlflow_starts_on_a_database_of_the_step_before(tmp_path: Path) -> None:
    file = tmp_path / "mlflow" / "mlflow.db"
    file.parent.mkdir()
    made = subprocess.run([sys.executable, "-c", OLDER_MLFLOW, str(file)], check=True, capture_output=True, text=True)
    newest, before = made.stdout.split()
    assert revision(file) == before

    mlflow(Settings(home=tmp_path)).prepare()

    assert revision(file) == newest
    assert revision(file.parent / f"before-{metadata.version('mlflow')}" / file.name) == before


def test_dagster_opens_an_instance_of_the_step_before(tmp_path: Path) -> None:
    file = tmp_path / "dagster" / "history" / "runs" / "index.db"
    daemon = dagster_daemon(Settings(home=tmp_path))
    daemon.prepare()
    (tmp_path / "dagster" / "dagster.version").write_text("1.0.0")
    config = get_alembic_config(
        sqlite_run_storage.__file__, script_location="dagster:_core/storage/alembic", config_path="alembic/alembic.ini"
    )
    newest, before = step_before(config)
    with sa.create_engine(f"sqlite:///{file}").begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :to"), {"to": before})
    assert revision(file) == before

    daemon.prepare()

    assert revision(file) == newest
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "run", "list"],
        env={**os.environ, "DAGSTER_HOME": str(tmp_path / "dagster")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
