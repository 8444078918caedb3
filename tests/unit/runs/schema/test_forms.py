"""How a database stands to the installed version of Dagster, by its tables and the revision as which it is stamped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from banana_delivery.errors import DagsterError
from banana_delivery.runs.schema.migration import TABLES, Form, Storage, form_of, told_to_libpq

KNOWN = ["first", "second", "third"]
ALL = [*TABLES, "alembic_version", "kvs"]


@pytest.mark.parametrize(
    ("tables", "revision", "form"),
    [
        ([], None, Form.EMPTY),
        (["alembic_version"], "third", Form.EMPTY),
        # Whoever made them was cut short between two of the three storages.
        (["runs", "alembic_version"], "third", Form.EMPTY),
        (ALL, "third", Form.OURS),
        (ALL, "second", Form.OLDER),
        (ALL, "first", Form.OLDER),
        # From before there were stamps.
        (ALL, None, Form.OLDER),
        (ALL, "fourth", Form.NEWER),
    ],
)
def test_a_form_is_told_by_the_tables_and_the_stamp(tables: list[str], revision: str | None, form: Form) -> None:
    assert form_of(tables, revision, "third", KNOWN) is form


def test_a_database_that_is_stamped_twice_is_said_to_be_so_in_a_sentence(tmp_path: Path) -> None:
    """As two versions may leave it that made the tables at once, before a Job did."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'dagster.db'}", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for line in ("CREATE TABLE alembic_version (version_num TEXT)", "INSERT INTO alembic_version VALUES (1), (2)"):
            connection.execute(sa.text(line))
    postgres: Any = SimpleNamespace(postgres_url="postgresql://db/dagster", run_storage=engine)
    with pytest.raises(DagsterError, match=r"^Dagster's database dagster on db:5432 cannot be asked: .*more than one"):
        Storage("home", postgres).form()
    engine.dispose()


@pytest.mark.parametrize(
    ("told", "options", "seconds"),
    [
        ({}, "-c lock_timeout=30s", "15"),
        # Where the tables are: without it others would be made elsewhere, while the pods wait for these.
        ({"PGOPTIONS": "-c search_path=dagster"}, "-c lock_timeout=30s -c search_path=dagster", "15"),
        (
            {"PGOPTIONS": "-c lock_timeout=5s", "PGCONNECT_TIMEOUT": "40"},
            "-c lock_timeout=30s -c lock_timeout=5s",
            "40",
        ),
    ],
)
def test_what_an_installation_tells_libpq_itself_counts(told: dict[str, str], options: str, seconds: str) -> None:
    assert told_to_libpq(told, changes=True) == {"PGOPTIONS": options, "PGCONNECT_TIMEOUT": seconds}
    assert told_to_libpq(told, changes=False) == {"PGCONNECT_TIMEOUT": seconds}, "PgBouncer would refuse who waits"
