"""Dagster's own PostgreSQL database as the version before left it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from dagster._core.storage.sql import run_alembic_downgrade
from dagster_postgres.run_storage import run_storage
from dagster_postgres.utils import pg_alembic_config

STEP_BEFORE = "6b7fb194ff9c"
"""Of Dagster's, behind which ``CHANGED`` has a column more."""
CHANGED, ADDED = "concurrency_limits", "using_default_limit"


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    """A connection to a server, ``postgresql://...``, which commits each statement."""
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg2:"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def step_back(url: str) -> None:
    """Take back the newest steps, by Dagster's own way."""
    with connected(url) as connection:
        run_alembic_downgrade(pg_alembic_config(run_storage.__file__), connection, STEP_BEFORE)


def has_newest_step(url: str) -> bool:
    """Whether the column is there."""
    with connected(url) as connection:
        return ADDED in {one["name"] for one in sa.inspect(connection).get_columns(CHANGED)}


@contextmanager
def in_use(url: str) -> Iterator[None]:
    """Somebody reads the table that the step changes for as long as the block lasts."""
    with connected(url) as connection:
        connection.execute(sa.text("BEGIN"))
        connection.execute(sa.text(f"SELECT * FROM {CHANGED}"))
        yield
