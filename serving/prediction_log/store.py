"""The prediction log's table in SQLite or PostgreSQL, through SQLAlchemy, and how its schema moves forward."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa

from serving.errors import ConfigurationError
from serving.prediction_log.log import PredictionRecord

if TYPE_CHECKING:
    import psycopg

CONNECT_SECONDS = 3
STATEMENT_SECONDS = 5
# Any constant will do; it only has to be the same in every replica.
MIGRATION_LOCK = 6_251_004

metadata = sa.MetaData()

schema_versions = sa.Table("banana_schema_version", metadata, sa.Column("version", sa.Integer, primary_key=True))

predictions = sa.Table(
    "banana_predictions",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("request_id", sa.String(128), nullable=False),
    sa.Column("predicted_at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("model_version", sa.String(128), nullable=False),
    sa.Column("digest", sa.String(128), nullable=False),
    sa.Column("environment", sa.String(32), nullable=False),
    sa.Column("colour", sa.String(16), nullable=False),
    sa.Column("traffic", sa.String(16), nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("detections", sa.JSON, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
)

COLUMNS = tuple(column.name for column in predictions.columns if not column.primary_key)
COPY = f"COPY {predictions.name} ({', '.join(COLUMNS)}) FROM STDIN"
INSERT = f"INSERT INTO {predictions.name} ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - our own names

Migration = Callable[[sa.Connection], None]


def _create_predictions(connection: sa.Connection) -> None:
    predictions.create(connection)


MIGRATIONS: tuple[Migration, ...] = (_create_predictions,)
"""Step n takes the schema from version n to n + 1. Steps only add, so that an older replica can still write."""


def connect(url: str) -> sa.Engine:
    """Returns an engine whose every wait is bounded.

    Raises:
        ConfigurationError: if the URL is not one of a supported database; the message does not repeat it.
    """
    try:
        parsed = sa.make_url(url.replace("postgres://", "postgresql://", 1))
        backend = parsed.get_backend_name()
    except (sa.exc.ArgumentError, ValueError):
        raise ConfigurationError("DATABASE_URL is not a database URL like postgresql://user@host/name.") from None
    if backend == "sqlite":
        return _sqlite(parsed)
    if backend == "postgresql":
        return sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "options": f"-c statement_timeout={STATEMENT_SECONDS * 1000}",
                "tcp_user_timeout": STATEMENT_SECONDS * 1000,
            },
        )
    raise ConfigurationError(f"DATABASE_URL names the database {backend!r}; sqlite and postgresql are supported.")


def _sqlite(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": STATEMENT_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        # The driver would begin transactions on its own, later than a migration's lock needs.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def migrate(engine: sa.Engine, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Brings the schema to the newest version known here, one replica at a time; a newer schema is left alone."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        schema_versions.create(connection, checkfirst=True)
        current = connection.execute(sa.select(sa.func.max(schema_versions.c.version))).scalar() or 0
        for version, step in enumerate(migrations[current:], current + 1):
            step(connection)
            connection.execute(schema_versions.insert().values(version=version))


class SqlPredictionStore:
    """Writes records of one replica; `labels` are the columns that are the same for all of them."""

    def __init__(self, engine: sa.Engine, labels: Mapping[str, str]) -> None:
        self._engine = engine
        self._labels = dict(labels)
        self._migrated = False
        moments: Any = predictions.c.predicted_at.type.dialect_impl(engine.dialect)
        self._as_stored: Callable[[datetime], object] | None = moments.bind_processor(engine.dialect)

    def write(self, records: Sequence[PredictionRecord]) -> None:
        """Stores all records in one transaction; migrates the schema first, once the database answers.

        Past SQLAlchemy, whose way for a row took ten times the CPU time of what the drivers do by themselves.
        """
        self._migrate_once()
        rows = [self._row(record) for record in records]
        with self._engine.begin() as connection:
            if self._engine.dialect.name == "sqlite":
                connection.exec_driver_sql(INSERT, rows)
                return
            driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
            with driver.cursor().copy(COPY) as copy:
                for row in rows:
                    copy.write_row(row)

    def delete_before(self, moment: datetime, limit: int) -> int:
        """Deletes at most `limit` rows predicted before `moment`, the oldest; returns how many."""
        self._migrate_once()
        oldest = (
            sa.select(predictions.c.id)
            .where(predictions.c.predicted_at < moment)
            .order_by(predictions.c.predicted_at)
            .limit(limit)
            # Replicas that delete at the same time take other rows instead of waiting; SQLite has one writer anyway.
            .with_for_update(skip_locked=True)
        )
        with self._engine.begin() as connection:
            # Not in one statement: PostgreSQL may run a subquery again for each row, and find `limit` more each time.
            ids = connection.execute(oldest).scalars().all()
            connection.execute(predictions.delete().where(predictions.c.id.in_(ids)))
        return len(ids)

    def close(self) -> None:
        """Closes the connection."""
        self._engine.dispose()

    def _migrate_once(self) -> None:
        if not self._migrated:
            migrate(self._engine)
            self._migrated = True

    def _row(self, record: PredictionRecord) -> tuple[Any, ...]:
        """Its values, in the order of `COLUMNS`."""
        values = self._labels | {
            "request_id": record.request_id,
            "predicted_at": self._as_stored(record.at) if self._as_stored else record.at,
            "traffic": record.traffic,
            "width": record.width,
            "height": record.height,
            "detections": record.detections,
            "seconds": record.seconds,
        }
        return tuple(values[name] for name in COLUMNS)
