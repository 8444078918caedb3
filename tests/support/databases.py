"""Dagster's SQLite files, opened once: the same statements in the same files, without what it does anew for each.

Dagster makes an engine for every statement or two. Most of the time of a delivery in memory went there: a dialect was
made, the file opened and its journal emptied at the end, and the statement compiled, although the engine before it had
compiled it already. Here a file has one engine, with one connection that stays open, and all share what was compiled.
The scripts by which a file of an old version would be brought up to date are read once, and not for each file.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar
from unittest import mock

import sqlalchemy
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage import sql
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import event
from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.util import LRUCache
from typing_extensions import override

OPEN_FILES = 12
"""How many files stay open: those of an instance, and of its last runs."""
BUSY_SECONDS = 30.0
"""How long a statement waits for another writer, as Dagster has it."""


class KeptEngine(Engine):
    """An engine that is not done with after each statement, as Dagster thinks."""

    @override
    def dispose(self, close: bool = True) -> None:
        """Keep the connection."""

    def let_go(self) -> None:
        """Close it after all."""
        super().dispose()


@dataclass
class Databases:
    """The files that are open.

    Attributes:
        hurried: whether nobody waits for the disk; a test survives no power failure.
    """

    hurried: bool = True
    _open: OrderedDict[str, KeptEngine] = field(default_factory=OrderedDict)
    _compiled: LRUCache[object, object] = field(default_factory=lambda: LRUCache(2000))

    def engine(self, url: str, **options: object) -> Engine:
        """What ``create_engine`` returns for the same URL of a SQLite file; its options are Dagster's, and known."""
        assert set(options) <= {"poolclass", "connect_args"}
        if url in self._open:
            self._open.move_to_end(url)
            return self._open[url]
        self._open[url] = self._made(url)
        while len(self._open) > OPEN_FILES:
            self._open.popitem(last=False)[1].let_go()
        return self._open[url]

    def let_go(self, below: Path) -> None:
        """Close all files below a directory, as if each statement had been the last."""
        for url in [url for url in self._open if Path(str(sqlalchemy.make_url(url).database)).is_relative_to(below)]:
            self._open.pop(url).let_go()

    @cached_property
    def _dialect(self) -> Dialect:
        # What was compiled is kept by dialect.
        template = sqlalchemy.create_engine("sqlite://")
        template.connect().close()
        return template.dialect

    def _made(self, url: str) -> KeptEngine:
        dialect, place = self._dialect, sqlalchemy.make_url(url)
        positional, named = dialect.create_connect_args(place)
        file = str(place.database)
        pool = QueuePool(
            lambda: dialect.connect(*positional, **named, timeout=BUSY_SECONDS), pool_size=1, max_overflow=-1
        )

        def opened(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
            if self.hurried:
                connection.cursor().execute("PRAGMA synchronous=OFF")
            entry.info["file"] = _which(file)

        def used(_: object, entry: ConnectionPoolEntry, __: object) -> None:
            # A world that is put in the place of another one has files of the same names.
            if entry.info["file"] != _which(file):
                raise DisconnectionError(f"{file} is another file now.")

        event.listen(pool, "connect", opened)
        event.listen(pool, "checkout", used)
        return KeptEngine(pool, dialect, place, execution_options={"compiled_cache": self._compiled})


def _which(file: str) -> tuple[int, int] | None:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _Scripts:
    """Stands for the class that reads a folder of scripts."""

    _read: ClassVar[dict[str | None, ScriptDirectory]] = {}

    @classmethod
    def from_config(cls, config: Config) -> ScriptDirectory:
        """The scripts that a configuration names."""
        location = config.get_main_option("script_location")
        if location not in cls._read:
            cls._read[location] = ScriptDirectory.from_config(config)
        return cls._read[location]


_CURRENT: list[Databases] = []


@contextmanager
def kept_open() -> Iterator[Databases]:
    """Until this ends, Dagster's files stay open."""
    databases = Databases()
    with ExitStack() as patched:
        for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
            patched.enter_context(mock.patch.object(module, "create_engine", databases.engine))
        patched.enter_context(mock.patch.object(sql, "ScriptDirectory", _Scripts))
        _CURRENT.append(databases)
        patched.callback(_CURRENT.remove, databases)
        yield databases
        databases.let_go(Path("/"))


def let_go(below: Path) -> None:
    """Close what is open below a directory."""
    for databases in _CURRENT:
        databases.let_go(below)
