"""Dagster's PostgreSQL database, brought to the form that the installed version reads: once, whoever else tries it.

A newer form is left alone. It is what a way back finds, and Dagster's steps add to what older versions read.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from typing import cast

import dagster as dg
import sqlalchemy as sa
import yaml
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from dagster._core.instance.ref import InstanceRef
from dagster_postgres import DagsterPostgresStorage, PostgresRunStorage
from dagster_postgres.run_storage import run_storage
from dagster_postgres.utils import DagsterPostgresException, pg_alembic_config
from sqlalchemy.engine import Connection

from banana_delivery.errors import DagsterError, redacted
from banana_delivery.quoting import one_line
from banana_delivery.waiting import SYSTEM_CLOCK, Clock

LOG = logging.getLogger(__name__)
JOB = "dagster-migrate"
"""As k8s/base/dagster/migrate.yaml calls it."""
LOCK = int.from_bytes(b"banana")
"""Ours among the numbers of a database's advisory locks."""
TABLES = {"runs", "event_logs", "jobs"}
"""One of each of Dagster's three storages, which are made one after the other."""
SETTINGS = (
    *("tcp_keepalives_idle = 30", "tcp_keepalives_interval = 10", "tcp_keepalives_count = 3"),
    "idle_in_transaction_session_timeout = 0",
)
"""Of the connection with the lock: it ends with its holder's node, and not while a step takes its hour."""
LOOK_SECONDS = 2.0
LOCK_SECONDS = 30
"""A change of a table waits behind whoever uses it, and everybody else behind the change: not for long."""
UNSUPPORTED = ("unsupported startup parameter", "support command-line options")
"""What PgBouncer and Amazon's RDS Proxy say to whoever names a lock's time."""
NO_LIMIT = (
    "A pool of connections such as PgBouncer, between this Job and the server, keeps lock_timeout from it, so a change "
    "could wait behind whoever uses a table for as long as it takes, and everybody else behind the change. Name the "
    'server itself in the Secret dagster-postgres-migrate: docs/kubernetes.md, "Another version"'
)
CONNECT_SECONDS = 15
"""For each of six tries: what a NetworkPolicy drops would else be waited for for minutes, and not named."""


class Form(Enum):
    """How a database stands to the installed version of Dagster."""

    EMPTY = "has no tables yet"
    OLDER = "is of an older form"
    OURS = "is of this version's form"
    NEWER = "is of a newer form"


def form_of(tables: Collection[str], revision: str | None, ours: str, known: Collection[str]) -> Form:
    """How a database stands to a version.

    Args:
        tables: that it has.
        revision: as which it is stamped; None if it is not, as very old ones are not.
        ours: the newest that the version knows.
        known: every one that it knows.
    """
    if not set(tables) >= TABLES:
        return Form.EMPTY
    if revision == ours:
        return Form.OURS
    return Form.OLDER if revision is None or revision in known else Form.NEWER


@dataclass(frozen=True)
class Storage:
    """The database of an instance.

    Attributes:
        home: the instance's folder, with its ``dagster.yaml``.
        postgres: opened so that it makes no tables.
    """

    home: str
    postgres: DagsterPostgresStorage

    @property
    def name(self) -> str:
        """For people."""
        url = sa.engine.make_url(self.postgres.postgres_url)
        return f"Dagster's database {url.database} on {url.host}:{url.port or 5432}"

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection, which commits each statement.

        Raises:
            DagsterError: if there is none, or something about it fails.
        """
        try:
            # The three storages are one database.
            with cast(PostgresRunStorage, self.postgres.run_storage).connect() as connection:
                yield connection
        except (sa.exc.SQLAlchemyError, DagsterPostgresException, CommandError, UnicodeDecodeError) as error:
            why = _why(error)
            hint = f". {NO_LIMIT}" if any(said in why for said in UNSUPPORTED) else ""
            raise DagsterError(f"{self.name} cannot be asked: {why}{hint}") from error

    def form(self) -> Form:
        """How it stands to the installed version.

        Raises:
            DagsterError: if it cannot be asked.
        """
        scripts = ScriptDirectory.from_config(pg_alembic_config(run_storage.__file__))
        with self.connected() as connection:
            tables = sa.inspect(connection).get_table_names()
            revision = MigrationContext.configure(connection).get_current_revision()
        known = {step.revision for step in scripts.walk_revisions()}
        return form_of(tables, revision, str(scripts.get_current_head()), known)


def told_to_libpq(told: Mapping[str, str], *, changes: bool) -> dict[str, str]:
    """Variables for libpq. What an installation says by the same ones stays, and goes before ours.

    Args:
        told: the variables that there are; among them may be the way to the tables, ``-c search_path=...``.
        changes: whether tables are changed. Who only looks asks for nothing: PgBouncer refuses whoever names a lock's
            time, and pods that wait behind it would never begin.
    """
    seconds = {"PGCONNECT_TIMEOUT": told.get("PGCONNECT_TIMEOUT") or str(CONNECT_SECONDS)}
    options = f"-c lock_timeout={LOCK_SECONDS}s {told.get('PGOPTIONS', '')}".strip()
    return seconds | ({"PGOPTIONS": options} if changes else {})


def own_storage() -> Storage:
    """That of the instance in DAGSTER_HOME.

    Raises:
        DagsterError: if there is none, or it is no PostgreSQL.
    """
    home = os.environ.get("DAGSTER_HOME", "")
    try:
        named = InstanceRef.from_dir(home).storage_data
        if named is not None and named.class_name == DagsterPostgresStorage.__name__:
            told = {**(yaml.safe_load(named.config_yaml) or {}), "should_autocreate_tables": False}
            opened = named._replace(config_yaml=yaml.safe_dump(told)).rehydrate(as_type=DagsterPostgresStorage)
            return Storage(home, opened)
    except Exception as error:
        raise DagsterError(f"The dagster.yaml in DAGSTER_HOME={home} cannot be followed: {_why(error)}.") from error
    raise DagsterError(
        f"The dagster.yaml in DAGSTER_HOME={home} names no PostgreSQL; storage.postgres is where it does."
    )


def bring_forward(storage: Storage, clock: Clock = SYSTEM_CLOCK) -> None:
    """Make the tables, or bring them to this version's form, while nobody else does.

    Every step looks for what it would add, so one that was cut short is done again from its beginning.

    Raises:
        DagsterError: if it cannot be done; what was running reads the database as before.
    """
    with _alone(storage, clock) as connection:
        found = storage.form()
        if found is Form.NEWER:
            LOG.info("%s %s than Dagster %s knows; it is left as it is.", storage.name, found.value, version())
            return
        LOG.info("%s %s.", storage.name, found.value)
        # Nobody uses the tables of an empty one.
        if found is Form.OLDER and connection.execute(sa.text("SHOW lock_timeout")).scalar() == "0":
            raise DagsterError(f"{storage.name} {found.value} and is left as it is. {NO_LIMIT}.")
        try:
            with dg.DagsterInstance.from_config(storage.home) as instance:
                instance.upgrade()
        except Exception as error:
            raise DagsterError(
                f"{storage.name} {found.value} and cannot be brought to that of Dagster {version()}: {_why(error)}. "
                'What runs is as it was. Mend this, then start the Job again: docs/kubernetes.md, "Another version".'
            ) from error
        LOG.info("%s %s, Dagster %s.", storage.name, Form.OURS.value, version())


@contextmanager
def _alone(storage: Storage, clock: Clock) -> Iterator[Connection]:
    """For the block nobody else brings this database forward; waits for whoever does. The connection has the lock."""
    with storage.connected() as connection:
        # A transaction's lock, which a pool of connections between here and the server keeps as well.
        connection.execution_options(isolation_level="READ COMMITTED")
        for setting in SETTINGS:
            connection.execute(sa.text(f"SET LOCAL {setting}"))
        taken = sa.text("SELECT pg_try_advisory_xact_lock(:lock)")
        if not connection.execute(taken, {"lock": LOCK}).scalar():
            LOG.info("%s is being brought forward by another pod, which is waited for.", storage.name)
            while not connection.execute(taken, {"lock": LOCK}).scalar():
                clock.sleep(LOOK_SECONDS)
        yield connection


def version() -> str:
    """That of Dagster, which is installed."""
    return metadata.version("dagster")


def _why(error: BaseException) -> str:
    """What was at the bottom of it, in a line without a full stop.

    Of a server with several addresses, or that is asked with TLS and without, each says its own: the last one is told.
    """
    cause = error.__cause__ if isinstance(error, DagsterPostgresException) and error.__cause__ else error
    # Before a server knows which encoding is wanted it has its own, which psycopg2 takes for UTF-8.
    said = cause.object.decode(errors="replace") if isinstance(cause, UnicodeDecodeError) else str(cause)
    first, *others = (said.strip() or type(cause).__name__).splitlines()
    last = next((line for line in reversed(others) if line.startswith("connection to server")), first)
    return redacted(one_line(last)).rstrip(".")
