"""Dagster's database behind a real PgBouncer (Debian: pgbouncer): who waits passes, who changes tables says why not."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from banana_delivery.embedded.paths import is_free
from banana_delivery.waiting import wait_until
from tests import ROOT
from tests.integration.serving.postgres import Postgres, postgres
from tests.support.dagster_database import connected, has_newest_step, step_back
from tests.support.ports import free_port

pytestmark = pytest.mark.long
IGNORES = "ignore_startup_parameters = options"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    # Not in pytest's folder, which other users may not enter: as root both servers run as another one.
    with tempfile.TemporaryDirectory() as folder, postgres(Path(folder) / "server") as running:
        yield running


@dataclass(frozen=True)
class Behind:
    """A database of its own behind PgBouncer.

    Attributes:
        home: of an instance that reaches it through PgBouncer.
        direct: the way past it.
    """

    home: Path
    direct: str

    def does(self, *told: str, home: Path | None = None) -> tuple[int, str]:
        """How the program of the Job and the pods ends, and what it says."""
        environment = {**os.environ, "DAGSTER_HOME": str(home or self.home), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "banana_delivery.runs.schema", *told]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
        return done.returncode, done.stdout + done.stderr


def instance(home: Path, url: str) -> Path:
    home.mkdir()
    storage = {"postgres": {"postgres_url": url.replace("postgresql:", "postgresql+psycopg2:")}}
    (home / "dagster.yaml").write_text(yaml.safe_dump({"storage": storage, "telemetry": {"enabled": False}}))
    return home


@contextmanager
def behind(server: Postgres, folder: Path, *lines: str) -> Iterator[Behind]:
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "pgbouncer is not installed; install it (Debian: apt-get install pgbouncer)."
    name, port, own = f"dagster_{secrets.token_hex(4)}", free_port(), server.folder.parent / secrets.token_hex(4)
    with connected(server.url) as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    own.mkdir()
    own.chmod(0o755)
    (own / "users").write_text('"banana" ""\n')
    says = (
        *("[databases]", f"* = host=127.0.0.1 port={server.port}", "[pgbouncer]", f"listen_port = {port}"),
        *("listen_addr = 127.0.0.1", "unix_socket_dir =", "auth_type = trust", f"auth_file = {own / 'users'}", *lines),
    )
    (own / "pgbouncer.ini").write_text("\n".join(says))
    user = "nobody" if os.geteuid() == 0 else None
    with (folder / "pgbouncer.log").open("wb") as log:
        running = subprocess.Popen([program, str(own / "pgbouncer.ini")], user=user, stdout=log, stderr=log)
    try:
        wait_until(lambda: not is_free(port), 20.0, lambda _: AssertionError((folder / "pgbouncer.log").read_text()))
        home = instance(folder / "home", f"postgresql://banana@127.0.0.1:{port}/{name}")
        yield Behind(home, server.url.removesuffix("postgres") + name)
    finally:
        running.terminate()
        running.wait(20)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_as_it_comes_it_refuses_the_job_which_names_the_way_past_it(
    server: Postgres, tmp_path: Path, mode: str
) -> None:
    with behind(server, tmp_path, f"pool_mode = {mode}") as database:
        ended, said = database.does("migrate")
        assert ended == 1 and "unsupported startup parameter" in said and "dagster-postgres-migrate" in said
        assert "Traceback" not in said

        past = instance(tmp_path / "past", database.direct)
        assert database.does("migrate", home=past)[0] == 0
        assert database.does("wait", "true") == (0, "")


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_told_to_ignore_what_it_does_not_know_it_lets_the_job_make_tables_and_change_none(
    server: Postgres, tmp_path: Path, mode: str
) -> None:
    with behind(server, tmp_path, f"pool_mode = {mode}", IGNORES) as database:
        assert database.does("migrate")[0] == 0
        assert database.does("wait", sys.executable, "-m", "banana_delivery.runs.instance") == (0, "")
        step_back(database.direct)
        ended, said = database.does("migrate")
        assert ended == 1 and "keeps lock_timeout from it" in said
        assert not has_newest_step(database.direct)
