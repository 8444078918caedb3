"""What a pod does until its database answers, with a real PostgreSQL: it waits in its place, and says why."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from banana_delivery.errors import DagsterError
from banana_delivery.runs.schema import waiting as waits
from banana_delivery.runs.schema.migration import bring_forward, own_storage
from banana_delivery.runs.schema.waiting import REFUSED_SECONDS, wait_until_forward
from banana_delivery.waiting import wait_until
from tests import ROOT
from tests.integration.serving.postgres import Postgres, postgres
from tests.support.clock import HandClock
from tests.support.dagster_database import connected
from tests.support.refusing_postgres import refusing

SAYS = "import os; print('It is', os.getpid(), 'still, with', os.environ.get('PGCONNECT_TIMEOUT'))"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    # Not in pytest's folder, which other users may not enter: as root the server runs as another one.
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder) / "server") as running:
        yield running


@pytest.fixture(autouse=True)
def home(server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance whose database is of this version's form."""
    url = server.url.replace("postgresql:", "postgresql+psycopg2:")
    instance = {"storage": {"postgres": {"postgres_url": url}}, "telemetry": {"enabled": False}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(instance))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv("PGCONNECT_TIMEOUT", raising=False)
    bring_forward(own_storage())


@contextmanager
def waiting(log: Path, *then: str) -> Iterator[subprocess.Popen[bytes]]:
    does = then or (sys.executable, "-c", SAYS)
    command = [sys.executable, "-u", "-m", "banana_delivery.runs.schema", "wait", *does]
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def says(log: Path, sentence: str) -> None:
    wait_until(lambda: sentence in log.read_text(), 60.0, lambda _: AssertionError(log.read_text()))


def test_it_becomes_its_command_as_the_same_process_with_the_variables_that_it_had(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with waiting(log) as process:
        assert process.wait(60) == 0
    assert log.read_text() == f"It is {process.pid} still, with None\n"


@pytest.mark.long
def test_a_database_that_is_away_starts_or_takes_nobody_is_waited_for_in_sentences(
    server: Postgres, tmp_path: Path
) -> None:
    log, name = tmp_path / "log", f"Dagster's database postgres on 127.0.0.1:{server.port} cannot be asked"
    server.stop()
    with ExitStack() as users, waiting(log) as process:
        says(log, "Connection refused. It is waited for.")
        # One that is to follow another server, and is still asking for what that one wrote.
        follows = server.folder / "standby.signal"
        follows.touch()
        server.start("-c 'restore_command=sleep 60'", wait=False)
        says(log, "the database system is starting up. It is waited for.")
        server.stop()
        follows.unlink()
        server.start("-c max_connections=4 -c superuser_reserved_connections=0 -c max_wal_senders=0")
        for _ in range(4):
            users.enter_context(connected(server.url))
        says(log, "too many clients already. It is waited for.")
        users.close()
        assert process.wait(60) == 0
    *sentences, last = log.read_text().splitlines()
    assert last.startswith(f"It is {process.pid} still")
    assert len(sentences) < 8 and all(name in one for one in sentences), sentences


@pytest.mark.long
def test_it_ends_when_its_pod_does(server: Postgres, tmp_path: Path) -> None:
    server.stop()
    try:
        with waiting(tmp_path / "log") as process:
            says(tmp_path / "log", "It is waited for.")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
    finally:
        server.start()


def test_it_ends_at_once_when_its_pod_does_whatever_keeps_its_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.settimeout(60)
        home_of(tmp_path, f"postgresql://banana@127.0.0.1:{stranger.getsockname()[1]}/postgres", monkeypatch)
        with waiting(tmp_path / "log") as process:
            connection, _ = stranger.accept()  # To whom nothing is said.
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            connection.close()


def test_a_program_that_is_not_there_is_named_in_a_sentence(tmp_path: Path) -> None:
    with waiting(tmp_path / "log", "dagster-demon") as process:
        assert process.wait(60) == 1
    assert (tmp_path / "log").read_text().startswith("dagster-demon cannot be started (No such file or directory)")


@pytest.mark.parametrize(
    ("user", "database", "variables", "says"),
    [
        ("locked:wrong", "postgres", {}, 'password authentication failed for user "locked"'),
        ("nobody", "postgres", {}, 'role "nobody" does not exist'),
        ("banana", "missing", {}, 'database "missing" does not exist'),
        ("banana", "postgres", {"PGSSLMODE": "require"}, "server does not support SSL"),
    ],
)
def test_who_is_refused_waits_for_a_minute_and_ends_to_be_told_anew(
    server: Postgres,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    user: str,
    database: str,
    variables: dict[str, str],
    says: str,
) -> None:
    locked(server)
    for variable, said in variables.items():
        monkeypatch.setenv(variable, said)
    home_of(tmp_path, f"postgresql://{user}@127.0.0.1:{server.port}/{database}", monkeypatch)
    impatient(monkeypatch)
    clock = HandClock()

    with pytest.raises(DagsterError, match=f"{says}.*mend Secret dagster-postgres; this container ends") as ended:
        wait_until_forward(own_storage(), clock)
    assert REFUSED_SECONDS <= sum(clock.slept) < 2 * REFUSED_SECONDS
    assert "wrong" not in str(ended.value)


@pytest.mark.long
def test_who_is_let_in_after_all_goes_on(server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its database is made after the server answers, away for a while, and empty at first."""
    home_of(tmp_path, f"postgresql://banana@127.0.0.1:{server.port}/late", monkeypatch)
    impatient(monkeypatch)

    class Clock(HandClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds if len(self.slept) < 5 else 1.5 * REFUSED_SECONDS)
            match len(self.slept):
                case 2:
                    with connected(server.url) as connection:
                        connection.execute(sa.text("CREATE DATABASE late"))
                case 8:
                    bring_forward(own_storage())

    clock = Clock()
    wait_until_forward(own_storage(), clock)
    assert len(clock.slept) == 8


@pytest.mark.parametrize("host", ["127.0.0.1:1", "db.invalid:5432"])
def test_what_is_away_for_half_an_hour_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    home_of(tmp_path, f"postgresql://banana@{host}/postgres", monkeypatch)
    impatient(monkeypatch)

    class Clock(HandClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(300 * seconds)

    with pytest.raises(DagsterError, match=r"It is waited for\. That was for 28 minutes; this container ends"):
        wait_until_forward(own_storage(), Clock())


def test_a_server_that_is_lost_in_the_middle_of_an_answer_is_named_and_asked_again(
    server: Postgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waits, "ANSWER_SECONDS", 0.5)

    class Clock(HandClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            server.thaw()
            monkeypatch.setattr(waits, "ANSWER_SECONDS", 60.0)

    server.freeze()
    with caplog.at_level(logging.INFO):
        wait_until_forward(own_storage(), Clock())
    assert [said for said in caplog.messages if "does not answer within 0 s. It is waited for." in said]


def test_of_a_server_with_several_addresses_the_one_that_refuses_is_heard(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of IPv6 where nobody listens, before one of IPv4."""
    query = f"host=127.0.0.1,127.0.0.1&port=1,{server.port}"
    home_of(tmp_path, f"postgresql://banana@/missing?{query}", monkeypatch)
    impatient(monkeypatch)
    with pytest.raises(DagsterError, match=r'asked: .*"missing" does not exist\. It is waited for\. No longer'):
        wait_until_forward(own_storage(), HandClock())


@pytest.mark.parametrize(
    "says",
    [
        "RDS Proxy currently doesn\N{RIGHT SINGLE QUOTATION MARK}t support command-line options.",
        "unsupported startup parameter: options",
        "unsupported startup parameter in options: lock_timeout",
    ],
)
def test_what_pools_the_connections_is_said_to_keep_the_jobs_time_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    impatient(monkeypatch)
    with refusing(says.encode()) as port:
        home_of(tmp_path, f"postgresql://banana@127.0.0.1:{port}/postgres", monkeypatch)
        with pytest.raises(DagsterError, match=r"Name the server itself in the Secret dagster-postgres-migrate"):
            bring_forward(own_storage())


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_refusal_in_another_language_is_told_and_waited_for_as_whatever_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    impatient(monkeypatch)

    class Clock(HandClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(300 * seconds)

    with refusing("Passwort-Authentifizierung für Benutzer »banana« fehlgeschlagen".encode(encoding)) as port:
        home_of(tmp_path, f"postgresql://banana@127.0.0.1:{port}/postgres", monkeypatch)
        with pytest.raises(DagsterError, match=r"Passwort-Authentifizierung .*That was for 28 minutes"):
            wait_until_forward(own_storage(), Clock())


def home_of(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the database of an instance another one."""
    home = folder / "other"
    home.mkdir()
    postgres = {"postgres_url": url.replace("postgresql:", "postgresql+psycopg2:")}
    (home / "dagster.yaml").write_text(yaml.safe_dump({"storage": {"postgres": postgres}}))
    monkeypatch.setenv("DAGSTER_HOME", str(home))


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Dagster make its six tries one after the other."""
    monkeypatch.setattr("dagster_postgres.utils.time.sleep", lambda _: None)


def locked(server: Postgres) -> None:
    """Let the server know a role that comes in by a password alone."""
    rules = server.folder / "pg_hba.conf"
    if "locked" in rules.read_text():
        return
    rules.write_text(f"host all locked 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    with connected(server.url) as connection:
        connection.execute(sa.text("CREATE ROLE locked LOGIN PASSWORD 'right'"))
        connection.execute(sa.text("SELECT pg_reload_conf()"))
