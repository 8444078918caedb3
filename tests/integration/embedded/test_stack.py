"""The life of the stack: up, down, killed, taken ports. Only the router runs beside the replicas; the rest is alike."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from banana_delivery.embedded.paths import is_free
from banana_delivery.embedded.processes import ManagedProcess, router
from banana_delivery.embedded.stack import EmbeddedStack
from banana_delivery.embedded.supervisor import Program
from banana_delivery.embedded.supervisord import Daemon
from banana_delivery.embedded.upgrade.plan import Plan
from banana_delivery.errors import StackError, TargetError
from banana_delivery.policy.model import Colour, Environment
from banana_delivery.waiting import wait_until
from tests.contract.local_fixture import LocalFixture, local_settings
from tests.contract.release_target_contract import bring_up, wait_until_ready
from tests.support.ports import free_ports

PRODUCTION, BLUE, GREEN = Environment.PRODUCTION, Colour.BLUE, Colour.GREEN


@pytest.fixture
def fixture(tmp_path: Path) -> Iterator[LocalFixture]:
    """A stack of its own, with blue at 60 % and green at 40 %."""
    fixture = LocalFixture(tmp_path / "home")
    fixture.stack.up(print)
    yield fixture
    for log in fixture.paths.logs.glob("*.log"):
        sys.stdout.write(f"{log.name}\n{log.read_text()[-3000:]}\n")
    fixture.stack.down(print)


def serve_both(fixture: LocalFixture) -> None:
    claim = fixture.target.claim(PRODUCTION, "run-1")
    for colour, version in ((BLUE, "1"), (GREEN, "2")):
        bring_up(fixture.target, claim, colour, fixture.image(version))
    fixture.target.set_weights(claim, {BLUE: 60, GREEN: 40})


def answers(fixture: LocalFixture) -> list[tuple[int, str]]:
    url = fixture.target.url(PRODUCTION)
    replies = [fixture.predict(url) for _ in range(10)]
    return sorted((reply.status_code, reply.headers["X-Colour"]) for reply in replies)


def pids(fixture: LocalFixture) -> dict[str, int]:
    return {item.name: item.pid for item in fixture.stack.status()}


SPLIT = [(200, "blue")] * 6 + [(200, "green")] * 4


def test_what_served_serves_again_after_down_and_up_even_if_its_port_is_taken_meanwhile(fixture: LocalFixture) -> None:
    serve_both(fixture)
    record = fixture.target.record(PRODUCTION)
    port = min(
        int(item.url.rpartition(":")[2]) for item in fixture.stack.status() if item.name.startswith("production")
    )
    said: list[str] = []

    fixture.stack.down(said.append)
    assert {item.state for item in fixture.stack.status()} == {"DOWN"}
    with socket.create_server(("127.0.0.1", port)):
        fixture.stack.up(said.append)

        assert answers(fixture) == SPLIT
    assert fixture.target.record(PRODUCTION) == record
    assert any("serves version 2" in line for line in said)


@pytest.mark.parametrize("setting", ["production_port", "router_api_port", "mlflow_port"])
def test_no_replica_takes_a_port_that_the_stack_is_about_to_take(tmp_path: Path, setting: str) -> None:
    chosen = local_settings(tmp_path / "home")
    neighbour = chosen.model_copy(update={"replica_port_base": getattr(chosen, setting) - 1})
    fixture = LocalFixture(tmp_path / "home", neighbour)
    fixture.stack.up(print)
    try:
        serve_both(fixture)
        fixture.stack.down(print)
        with socket.create_server(("127.0.0.1", neighbour.replica_port_base)):
            fixture.stack.up(print)

            assert answers(fixture) == SPLIT
        assert is_free(chosen.mlflow_port)
    finally:
        fixture.stack.down(print)


def test_up_on_a_running_stack_disturbs_nothing(fixture: LocalFixture) -> None:
    serve_both(fixture)
    before = pids(fixture)

    fixture.stack.up(print)

    assert pids(fixture) == before
    assert all(before.values())


def test_users_are_served_on_while_supervisord_is_dead_and_up_mends_it(fixture: LocalFixture) -> None:
    serve_both(fixture)
    daemon = Daemon(fixture.settings).process
    assert daemon is not None
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.wait(timeout=10)

    assert answers(fixture) == SPLIT
    claim = fixture.target.claim(PRODUCTION, "run-1")
    with pytest.raises(TargetError, match="banana-delivery up"):
        fixture.target.scale(claim, BLUE, 2)
    fixture.target.set_weights(claim, {BLUE: 100, GREEN: 0})
    said: list[str] = []
    fixture.stack.up(said.append)

    assert any("had left" in line for line in said)
    wait_until_ready(fixture.target, PRODUCTION, BLUE)
    assert answers(fixture) == [(200, "blue")] * 10


def test_a_service_that_was_reconfigured_is_restarted_and_the_replicas_are_not(
    fixture: LocalFixture, tmp_path: Path
) -> None:
    def stack(seconds: str) -> EmbeddedStack:
        sleeper = Program(name="sleeper", command=("sleep", seconds), directory=tmp_path)
        return EmbeddedStack(fixture.settings, [router(fixture.settings), ManagedProcess(sleeper)])

    assert stack("1000").would_start() == Plan(start=["sleeper"], again=[], migrate=[])
    stack("1000").up(print)
    before = {item.name: item.pid for item in stack("1000").status()}
    assert stack("2000").would_start() == Plan(start=[], again=["sleeper"], migrate=[])

    stack("2000").up(print)

    after = {item.name: item.pid for item in stack("2000").status()}
    assert {name for name in before if before[name] != after[name]} == {"sleeper"}


def test_a_router_that_is_to_listen_elsewhere_moves_at_once(fixture: LocalFixture) -> None:
    production, api = free_ports(2)
    elsewhere = fixture.settings.model_copy(update={"production_port": production, "router_api_port": api})
    stack = EmbeddedStack(elsewhere, [router(elsewhere)])

    assert stack.would_start().again == ["router"]
    stack.up(print)

    for port in (production, api):
        assert not is_free(port)
    assert stack.would_start() == Plan(start=[], again=[], migrate=[])
    assert is_free(fixture.settings.production_port)


WAITS_FOR_ITS_WORK = """
import signal, subprocess, sys
from pathlib import Path
work = Path(sys.argv[1])
if not work.exists():
    process = subprocess.Popen(["sleep", "1000"])
    signal.signal(signal.SIGTERM, lambda *_: process.wait())
    work.with_suffix(".part").write_text(str(process.pid))
    work.with_suffix(".part").rename(work)
while True:
    signal.pause()
"""


def test_what_a_service_launched_goes_on_when_the_service_is_started_again(
    fixture: LocalFixture, tmp_path: Path
) -> None:
    """As a run of the code server, which does not end before its runs have, whatever it is sent."""
    program, work = tmp_path / "launcher.py", tmp_path / "work"
    program.write_text(WAITS_FOR_ITS_WORK)

    def stack(setting: str) -> EmbeddedStack:
        command = (sys.executable, str(program), str(work), setting)
        launcher = Program(name="launcher", command=command, directory=tmp_path, stop_seconds=1, leaves_work=True)
        return EmbeddedStack(fixture.settings, [router(fixture.settings), ManagedProcess(launcher)])

    stack("before").up(print)
    wait_until(work.exists, 10.0, lambda _: AssertionError("nothing was launched"))
    launched = psutil.Process(int(work.read_text()))
    before = {item.name: item.pid for item in stack("before").status()}["launcher"]

    stack("after").up(print)

    after = {item.name: item.pid for item in stack("after").status()}["launcher"]
    assert after not in {0, before}
    assert launched.status() != psutil.STATUS_ZOMBIE
    assert "after" in psutil.Process(after).cmdline()
    fixture.stack.down(print)
    assert not launched.is_running() or launched.status() == psutil.STATUS_ZOMBIE


def test_a_service_that_cannot_start_is_named_with_the_last_it_said(fixture: LocalFixture, tmp_path: Path) -> None:
    loser = Program(name="loser", command=("ls", "/no/such/file"), directory=tmp_path, start_retries=0)

    with pytest.raises(StackError, match=r"loser ends again and again.*No such file"):
        EmbeddedStack(fixture.settings, [ManagedProcess(loser)]).up(print)


def test_a_taken_port_is_one_sentence_with_the_variable_that_chooses_another(tmp_path: Path) -> None:
    fixture = LocalFixture(tmp_path / "home")

    with (
        socket.create_server(("127.0.0.1", fixture.settings.staging_port)),
        pytest.raises(
            StackError, match=rf"Port {fixture.settings.staging_port} .*pid {os.getpid()}.*BANANA_STAGING_PORT"
        ),
    ):
        fixture.stack.up(print)
    assert Daemon(fixture.settings).process is None


def test_a_home_too_deep_for_a_socket_works_all_the_same(tmp_path: Path) -> None:
    fixture = LocalFixture(tmp_path / ("deep" * 20) / "a folder with blanks" / "home")

    fixture.stack.up(print)
    try:
        serve_both(fixture)
        assert answers(fixture) == SPLIT
    finally:
        fixture.stack.down(print)
