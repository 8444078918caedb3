"""The embedded stack, for real: every process, on ports of its own, in a folder of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from banana_delivery.defs.build import build_resources
from banana_delivery.settings import Settings
from tests.e2e.stack import Stack

PORTS = ("dagster", "mlflow", "production", "staging", "probe", "router_api", "webhook")


@pytest.fixture(scope="session")
def stack_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables for a stack that disturbs no other one on this machine."""
    with ExitStack() as held:
        ports = {name: _free_port(held) for name in PORTS}
    variables = {f"BANANA_{name.upper()}_PORT": str(port) for name, port in ports.items()}
    yield {**os.environ, **variables, "BANANA_HOME": str(tmp_path_factory.mktemp("home"))}


def _free_port(held: ExitStack) -> int:
    """A port that nobody else of this session gets; it is free again once all have been chosen."""
    listener = held.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def program() -> str:
    """The command line as people run it."""
    return str(Path(sys.executable).parent / "banana-delivery")


@pytest.fixture(scope="module")
def stack(stack_environment: dict[str, str], program: str) -> Iterator[Stack]:
    """The stack, up, with a release in production: what the demonstration left, or a first one."""
    home = str(Path(stack_environment["BANANA_HOME"]) / "demo")
    environment = {**stack_environment, "BANANA_HOME": home, "BANANA_PLAN": "demo"}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        patched.delenv("DAGSTER_HOME", raising=False)
        running = Stack(program, environment, build_resources(Settings()))
        try:
            said = running.command("up")
            assert str(running.resources.settings.production_port) in said
            if running.production.live is None:
                version = running.stage("modest")
                running.until_released(version)
            yield running
        finally:
            subprocess.run([program, "down"], env=environment, check=False, timeout=120)
