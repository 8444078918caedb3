"""The life of the stack: up, down, killed, taken ports. Only the router runs beside the replicas; the rest is alike."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from banana_delivery.embedded.errors import StackError
from banana_delivery.embedded.processes import Service, router
from banana_delivery.embedded.stack import EmbeddedStack
from banana_delivery.embedded.supervisor import Program
from banana_delivery.embedded.supervisord import Daemon
from banana_delivery.policy.model import Colour, Environment
from banana_delivery.targets.base import TargetError
from tests.contract.local_fixture import LocalBench
from tests.contract.release_target_contract import bring_up, wait_until_ready

PRODUCTION, BLUE, GREEN = Environment.PRODUCTION, Colour.BLUE, Colour.GREEN


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LocalBench]:
    """A stack of its own, with blue at 60 % and green at 40 %."""
    bench = LocalBench(tmp_path / "home")
    bench.stack.up(print)
    yield bench
    bench.stack.down(print)


def serve_both(bench: LocalBench) -> None:
    claim = bench.target.claim(PRODUCTION, "run-1")
    for colour, version in ((BLUE, "1"), (GREEN, "2")):
        bring_up(bench.target, claim, colour, bench.image(version))
    bench.target.set_weights(claim, {BLUE: 60, GREEN: 40})


def answers(bench: LocalBench) -> list[tuple[int, str]]:
    url = bench.target.url(PRODUCTION)
    replies = [bench.predict(url) for _ in range(10)]
    return sorted((reply.status_code, reply.headers["X-Colour"]) for reply in replies)


def pids(bench: LocalBench) -> dict[str, int]:
    return {item.name: item.pid for item in bench.stack.status()}


SPLIT = [(200, "blue")] * 6 + [(200, "green")] * 4


def test_what_served_serves_again_after_down_and_up_even_if_its_port_is_taken_meanwhile(bench: LocalBench) -> None:
    serve_both(bench)
    record = bench.target.record(PRODUCTION)
    port = min(int(item.url.rpartition(":")[2]) for item in bench.stack.status() if item.name.startswith("production"))
    said: list[str] = []

    bench.stack.down(said.append)
    assert {item.state for item in bench.stack.status()} == {"DOWN"}
    with socket.create_server(("127.0.0.1", port)):
        bench.stack.up(said.append)

        assert answers(bench) == SPLIT
    assert bench.target.record(PRODUCTION) == record
    assert any("serves version 2" in line for line in said)


def test_up_on_a_running_stack_disturbs_nothing(bench: LocalBench) -> None:
    serve_both(bench)
    before = pids(bench)

    bench.stack.up(print)

    assert pids(bench) == before
    assert all(before.values())


def test_users_are_served_on_while_supervisord_is_dead_and_up_mends_it(bench: LocalBench) -> None:
    serve_both(bench)
    daemon = Daemon(bench.settings).process
    assert daemon is not None
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.wait(timeout=10)

    assert answers(bench) == SPLIT
    claim = bench.target.claim(PRODUCTION, "run-1")
    with pytest.raises(TargetError, match="banana-delivery up"):
        bench.target.scale(claim, BLUE, 2)
    bench.target.set_weights(claim, {BLUE: 100, GREEN: 0})
    said: list[str] = []
    bench.stack.up(said.append)

    assert any("had left" in line for line in said)
    wait_until_ready(bench.target, PRODUCTION, BLUE)
    assert answers(bench) == [(200, "blue")] * 10


def test_a_service_that_was_reconfigured_is_restarted_and_the_replicas_are_not(
    bench: LocalBench, tmp_path: Path
) -> None:
    def stack(seconds: str) -> EmbeddedStack:
        sleeper = Program(name="sleeper", command=("sleep", seconds), directory=tmp_path)
        return EmbeddedStack(bench.settings, [router(bench.settings), Service(sleeper)])

    stack("1000").up(print)
    before = {item.name: item.pid for item in stack("1000").status()}

    stack("2000").up(print)

    after = {item.name: item.pid for item in stack("2000").status()}
    assert {name for name in before if before[name] != after[name]} == {"sleeper"}


def test_a_service_that_cannot_start_is_named_with_the_last_it_said(bench: LocalBench, tmp_path: Path) -> None:
    loser = Program(name="loser", command=("ls", "/no/such/file"), directory=tmp_path, start_retries=0)

    with pytest.raises(StackError, match=r"loser ends again and again.*No such file"):
        EmbeddedStack(bench.settings, [Service(loser)]).up(print)


def test_a_taken_port_is_one_sentence_with_the_variable_that_chooses_another(tmp_path: Path) -> None:
    bench = LocalBench(tmp_path / "home")

    with (
        socket.create_server(("127.0.0.1", bench.settings.staging_port)),
        pytest.raises(
            StackError, match=rf"Port {bench.settings.staging_port} .*pid {os.getpid()}.*BANANA_STAGING_PORT"
        ),
    ):
        bench.stack.up(print)
    assert Daemon(bench.settings).process is None


def test_a_home_too_deep_for_a_socket_works_all_the_same(tmp_path: Path) -> None:
    bench = LocalBench(tmp_path / ("deep" * 20) / "a folder with blanks" / "home")

    bench.stack.up(print)
    try:
        serve_both(bench)
        assert answers(bench) == SPLIT
    finally:
        bench.stack.down(print)
