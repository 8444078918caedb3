"""What Dagster's code server would keep of each tick."""

from __future__ import annotations

import atexit

import pytest
from alembic import util
from alembic.script import ScriptDirectory
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.sql import get_alembic_config

from banana_delivery.embedded.upgrade.code_server import look_up_scripts_once


def kept_by_three_looks() -> int:
    """How many calls at the end of this process three openings of a database of Dagster leave behind."""
    config = get_alembic_config(sqlite_run_storage.__file__)
    before = atexit._ncallbacks()
    for _ in range(3):
        ScriptDirectory.from_config(config)
    return atexit._ncallbacks() - before


def test_the_scripts_of_a_database_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "coerce_resource_to_filename", util.coerce_resource_to_filename)
    look_up_scripts_once()
    assert kept_by_three_looks() <= 1


def test_an_alembic_that_looks_in_another_way_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(util, "coerce_resource_to_filename")
    look_up_scripts_once()
    assert not hasattr(util, "coerce_resource_to_filename")
