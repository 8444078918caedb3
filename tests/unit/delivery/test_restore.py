"""``banana-delivery restore``: a lost record is shown, asked about and stored, and users get its weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from banana_delivery import cli
from banana_delivery.errors import LostRecordError, TargetError
from banana_delivery.policy.model import Colour, Environment, ImageRef, RolloutRecord
from banana_delivery.targets.fake import FakeTarget

PRODUCTION, BLUE, GREEN = Environment.PRODUCTION, Colour.BLUE, Colour.GREEN


def image(version: str) -> ImageRef:
    return ImageRef(repository="r", digest="sha256:" + version * 64, version=version, key="k")


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> FakeTarget:
    """Version 2 on green has all users, version 1 is warm, nobody owns production."""
    target = FakeTarget()
    claim = target.claim(PRODUCTION, "run-1")
    for colour, version in ((BLUE, "1"), (GREEN, "2")):
        target.deploy(claim, colour, image(version), 2)
    target.set_weights(claim, {BLUE: 0, GREEN: 100})
    target.write(claim, target.record(PRODUCTION).replace(active=GREEN, previous=image("1")))
    target.release(claim)
    clock = SimpleNamespace(time=lambda: 0.0)
    resources = SimpleNamespace(release_target=target, clock=clock)
    monkeypatch.setattr("banana_delivery.defs.build.build_resources", lambda _: resources)
    return target


def lose(target: FakeTarget, *, copy: bool = True) -> None:
    del target.place.records.first[PRODUCTION]
    if copy:
        del target.place.records.copies[PRODUCTION]


def type_it(*arguments: str, answer: str = "y") -> Result:
    return CliRunner().invoke(cli.app, ["restore", *arguments], input=f"{answer}\n", terminal_width=200)


def test_a_record_that_is_lost_with_its_copy_is_shown_and_stored_once_a_person_agrees(target: FakeTarget) -> None:
    lose(target)

    refused = type_it(answer="n")

    assert refused.exit_code == 1
    with pytest.raises(LostRecordError):
        target.record(PRODUCTION)

    done = type_it()

    assert done.exit_code == 0, done.output
    assert "active" in done.output and "100 %" in done.output
    record = target.record(PRODUCTION)
    assert (record.active, record.weights, record.owner) == (GREEN, {BLUE: 0, GREEN: 100}, None)
    assert record.generation == 2
    assert target.damage(PRODUCTION) is None


def test_a_copy_that_is_known_says_more_than_what_runs(target: FakeTarget) -> None:
    before = target.record(PRODUCTION)
    lose(target, copy=False)

    assert type_it("--yes").exit_code == 0

    after = target.record(PRODUCTION)
    assert after == before.replace(generation=2, beat=after.beat, heartbeat=after.heartbeat)
    assert target.damage(PRODUCTION) is None


def test_users_get_what_was_shown_even_if_the_router_has_nothing(target: FakeTarget) -> None:
    lose(target)
    target.place.edit_weights(PRODUCTION, {BLUE: 0, GREEN: 0})

    unsaid = type_it("--yes")
    assert isinstance(unsaid.exception, TargetError) and "--active blue" in str(unsaid.exception)
    assert type_it("--yes", "--active", "green").exit_code == 0

    assert target.place.weights[PRODUCTION] == {BLUE: 0, GREEN: 100}
    assert target.record(PRODUCTION).live == image("2")


def test_a_delivery_under_way_keeps_its_record(target: FakeTarget) -> None:
    claim = target.claim(PRODUCTION, "run-2")

    refused = type_it("--yes")

    assert isinstance(refused.exception, TargetError) and "run-2" in str(refused.exception)
    target.heartbeat(claim)


def test_what_was_never_used_is_restored_to_nothing(target: FakeTarget) -> None:
    assert type_it("--yes", "--environment", "staging").exit_code == 0

    record = target.record(Environment.STAGING)
    assert record.replace(generation=0, beat=0, heartbeat=0.0) == RolloutRecord(environment=Environment.STAGING)
