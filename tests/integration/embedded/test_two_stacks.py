"""Two stacks on one machine, apart by one offset: nothing of the one is the other's."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from banana_delivery.embedded.paths import is_free
from banana_delivery.embedded.processes import children_environment
from banana_delivery.errors import StackError
from banana_delivery.platforms import platform
from banana_delivery.policy.model import Colour, Environment
from banana_delivery.settings import Settings
from tests.contract.local_fixture import LocalFixture
from tests.contract.release_target_contract import bring_up, wait_until_ready

PRODUCTION, BLUE = Environment.PRODUCTION, Colour.BLUE
LONG = "deep" * 30
"""In a home with such a name the sockets lie in the folder for temporary files."""


def ports(settings: Settings) -> list[int]:
    return [port for one in platform(settings).processes(settings) for port in one.ports.values()]


def free_offset(*others: int) -> int:
    """One at which every port is free."""
    for offset in random.sample(range(12_000, 14_000, 100), 20):
        if offset not in others and all(map(is_free, ports(Settings(home=Path("/nowhere"), port_offset=offset)))):
            return offset
    raise AssertionError("no offset is free")


@pytest.fixture
def stacks(tmp_path: Path) -> Iterator[tuple[LocalFixture, LocalFixture]]:
    """Two that run."""
    with ExitStack() as running:

        def start(name: str, *others: int) -> LocalFixture:
            home = tmp_path / name
            fixture = LocalFixture(home, Settings(home=home, port_offset=free_offset(*others)))
            running.callback(fixture.stack.down, print)
            fixture.stack.up(print)
            return fixture

        one = start(f"{LONG}-1")
        yield one, start(f"{LONG}-2", one.settings.port_offset)


def serve(fixture: LocalFixture, version: str) -> None:
    claim = fixture.target.claim(PRODUCTION, f"run-{version}")
    bring_up(fixture.target, claim, BLUE, fixture.image(version))
    wait_until_ready(fixture.target, PRODUCTION, BLUE)
    fixture.target.set_weights(claim, {BLUE: 100, Colour.GREEN: 0})
    fixture.target.release(claim)


def pids(fixture: LocalFixture) -> set[int]:
    return {item.pid for item in fixture.stack.status() if item.pid}


def answer(fixture: LocalFixture) -> int:
    return fixture.predict(fixture.target.url(PRODUCTION)).status_code


def test_each_has_its_own_and_neither_ends_the_other(stacks: tuple[LocalFixture, LocalFixture]) -> None:
    one, two = stacks
    serve(one, "1")
    serve(two, "2")
    assert [fixture.target.record(PRODUCTION).deployments[BLUE].image.version for fixture in stacks] == ["1", "2"]
    assert not pids(one) & pids(two)

    before = pids(two)
    one.stack.down(print)

    assert (pids(one), pids(two), answer(two)) == (set(), before, 200)
    one.stack.up(print)
    wait_until_ready(one.target, PRODUCTION, BLUE)
    assert (answer(one), pids(two)) == (200, before)


def test_at_the_same_offset_the_second_is_refused_before_anything_starts(
    stacks: tuple[LocalFixture, LocalFixture], tmp_path: Path
) -> None:
    home, offset = tmp_path / "third", stacks[0].settings.port_offset
    third = LocalFixture(home, Settings(home=home, port_offset=offset))
    with pytest.raises(StackError, match=r"Port \d+ on 127\.0\.0\.1 is taken"):
        third.stack.up(print)
    assert not (home / "supervisor").exists()


def test_ports_sockets_and_folders_of_whole_stacks_are_apart(tmp_path: Path) -> None:
    settings = [Settings(home=tmp_path / LONG / name, port_offset=offset) for name, offset in (("a", 0), ("b", 100))]
    one, two = ({*ports(each), each.replica_port_base} for each in settings)
    assert len(one) == len(two) == 8
    assert not one & two
    told = [children_environment(each) for each in settings]
    same = {name for name in told[0] if told[0][name] == told[1][name]}
    assert not same & {"DAGSTER_HOME", "MLFLOW_TRACKING_URI", "BANANA_HOME", "BANANA_WEBHOOK_RECEIVER"}
    programs = [[one.program.command for one in platform(each).processes(each)] for each in settings]
    assert not [word for command in programs[1] for word in command if str(settings[0].home) in word]


def test_a_port_that_is_set_stays_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BANANA_PORT_OFFSET", "100")
    monkeypatch.setenv("BANANA_MLFLOW_PORT", "5001")
    found = Settings(home=tmp_path)
    assert (found.mlflow_port, found.dagster_port, found.replica_port_base) == (5001, 3100, 18_100)
    assert found.model_fields_set == {"home", "port_offset", "mlflow_port"}
