"""What a pod does until its database answers, with a real PostgreSQL: it waits in its place, and says why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

from banana_delivery.runs.schema.migration import bring_forward, own_storage
from banana_delivery.waiting import wait_until
from tests import ROOT
from tests.integration.serving.postgres import Postgres, postgres
from tests.support.dagster_database import connected

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
def waiting(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-u", "-m", "banana_delivery.runs.schema", "wait", sys.executable, "-c", SAYS]
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
