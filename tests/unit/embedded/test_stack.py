"""What a stack starts where a port is somebody else's."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from banana_delivery.embedded.processes import ManagedProcess
from banana_delivery.embedded.stack import WaitingNews, with_free_ports
from banana_delivery.embedded.supervisor import Program
from banana_delivery.errors import StackError
from banana_delivery.platforms import PLATFORMS
from banana_delivery.settings import Settings
from tests.support.ports import free_port


def service(name: str, *, needed: bool) -> ManagedProcess:
    program = Program(name=name, command=("sleep", "1"), directory=Path("/"))
    return ManagedProcess(program, ports={f"{name}_port": free_port()}, needed=needed)


ROUTER, MLFLOW = service("router", needed=True), service("mlflow", needed=True)
WEBHOOK = service("webhook", needed=False)
ALL = [ROUTER, MLFLOW, WEBHOOK]


def port_of(one: ManagedProcess) -> int:
    (port,) = one.ports.values()
    return port


def test_what_has_its_ports_starts() -> None:
    said: list[str] = []
    assert with_free_ports(ALL, said.append) == ALL
    assert said == []


def test_what_the_stack_can_do_without_is_left_out_where_its_port_is_taken() -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", port_of(WEBHOOK))):
        assert with_free_ports(ALL, said.append) == [ROUTER, MLFLOW]
    (line,) = said
    assert line.startswith(f"webhook is left out: Port {port_of(WEBHOOK)} ") and "BANANA_WEBHOOK_PORT" in line


def test_it_takes_no_port_that_an_older_home_gave_to_the_router() -> None:
    said: list[str] = []
    clashing = replace(WEBHOOK, ports={"webhook_port": port_of(ROUTER)})
    assert with_free_ports([clashing, ROUTER], said.append) == [ROUTER]
    assert "BANANA_WEBHOOK_PORT and BANANA_ROUTER_PORT are both" in said[0]


def test_without_what_it_needs_it_does_not_start() -> None:
    with (
        socket.create_server(("127.0.0.1", port_of(MLFLOW))),
        pytest.raises(StackError, match="BANANA_MLFLOW_PORT"),
    ):
        with_free_ports(ALL, print)


def test_a_stack_does_without_webhooks_and_without_nothing_else(tmp_path: Path) -> None:
    services = PLATFORMS["local"].processes(Settings(home=tmp_path))
    assert [one.program.name for one in services if not one.needed] == ["webhooks"]


def test_whoever_waits_for_a_service_hears_of_it_each_few_seconds_with_the_last_it_said(tmp_path: Path) -> None:
    said: list[str] = []
    news = WaitingNews("mlflow", tmp_path, said.append)
    for seconds in (0.2, 4.9):
        news(seconds)
    assert said == []
    for seconds in (5.1, 5.3, 9.0):
        news(seconds)
    assert said == ["mlflow is starting (5 s)"]
    (tmp_path / "mlflow.log").write_text("INFO Running upgrade 1 -> 2\x1b[2J\n")
    news(130.0)
    assert said[1].startswith("mlflow is starting (130 s): INFO Running upgrade 1 -> 2")
    assert "\x1b" not in said[1]
