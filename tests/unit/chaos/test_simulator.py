"""The simulator finds what it is there for: rules that are taken out of the product are missed within some seeds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from unittest import mock

import pytest

from banana_delivery.defs.assets import production_release
from banana_delivery.delivery import recovery, rollback
from banana_delivery.delivery.lease import Lease
from banana_delivery.delivery.rescue.emergency import EmergencyRollback
from banana_delivery.policy import gate
from banana_delivery.policy.model import Phase, RolloutRecord
from banana_delivery.targets import claims
from tests.chaos.simulate import Simulator, lines, simulator

MOST_SEEDS = 400


@pytest.fixture(scope="module")
def simulated() -> Iterator[Simulator]:
    with simulator() as one:
        yield one


def test_every_invariant_holds_in_some_seeds(simulated: Simulator) -> None:
    played = [simulated.play(seed) for seed in range(30)]

    assert [(result.seed, result.broken) for result in played if result.broken] == []
    assert any("-> promoting" in entry.what for result in played for entry in result.story)


def test_a_seed_tells_the_same_story_each_time_it_is_played(simulated: Simulator) -> None:
    first, again = (list(lines(simulated.play(7), everything=True)) for _ in range(2))

    assert first == again


@pytest.mark.timeout(120)
def test_a_story_does_not_depend_on_the_order_of_hashes() -> None:
    told = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.chaos", "--seed", "11", "--all"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": number},
        ).stdout
        for number in ("1", "2")
    ]

    assert told[0] == told[1]
    assert "run3" in told[0]


def _without_intent(real: Callable[..., RolloutRecord]) -> Callable[..., RolloutRecord]:
    def enter(lease: Lease, phase: Phase, **facts: object) -> RolloutRecord:
        facts.pop("intent", None)
        return real(lease, phase, **facts)

    return enter


TAKEN_OUT: dict[str, AbstractContextManager[object]] = {
    "a stale claim is refused": mock.patch.object(claims, "check", lambda record, claim: None),
    "a rollback writes down first what it is about to do": mock.patch.object(
        Lease, "enter", _without_intent(Lease.enter)
    ),
    "a release proves its claim after the promotion": mock.patch.object(
        production_release._Release, "_verify_that_it_is_still_ours", lambda release: None
    ),
    "a delivery that fails restores the traffic": mock.patch.object(rollback, "_go_back", lambda *facts: 0.0),
    "somebody takes back what the dead left": mock.patch.object(
        recovery.Recovery, "is_orphaned", lambda found, record: False
    ),
    "somebody finishes a rollback that was begun": mock.patch.object(EmergencyRollback, "finish", lambda emergency: ""),
    "what was rolled back needs an override": mock.patch.object(gate, "is_revoked", lambda history: False),
}


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("rule", TAKEN_OUT)
def test_it_is_found_when_no_more(rule: str, simulated: Simulator) -> None:
    with TAKEN_OUT[rule]:
        found = next((seed for seed in range(MOST_SEEDS) if simulated.play(seed).broken), None)

    assert found is not None


@pytest.mark.parametrize("rule", ["a stale claim is refused", "somebody finishes a rollback that was begun"])
def test_it_is_found_at_once_when_no_more(rule: str, simulated: Simulator) -> None:
    test_it_is_found_when_no_more(rule, simulated)
