"""What cannot be delivered ends with one sentence, and production serves on as if nothing had been asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from banana_delivery.export.export import convert
from banana_delivery.images.base import BuildContext, BuiltImage, ImageError, Progress
from banana_delivery.images.fake import FakeImages
from banana_delivery.policy.model import Environment, Outcome, Phase
from examples.broken import pickle_that_runs_code
from tests.integration.delivery.moments import is_at_rest
from tests.integration.delivery.outcome_rows import ends
from tests.integration.delivery.serving import FIRST
from tests.support.phases import Moment
from tests.support.pipeline import World

NEVER_READY = "its replicas crash: no module named leaves"


class FullDisk(FakeImages):
    """An image store on a disk that has no room left."""

    def build(self, context: BuildContext, progress: Progress) -> BuiltImage:
        raise ImageError("The disk under /images is full; make room and deliver again.")


def without_checkpoint(world: World) -> str:
    return world.stage(checkpoint=None)


def never_ready(world: World) -> str:
    def crash() -> None:
        candidate = world.target.record(Environment.STAGING).candidate
        assert candidate is not None
        world.break_image(candidate.digest, unready=NEVER_READY)

    world.target.at[Moment(Environment.STAGING, Phase.DEPLOYING)] = crash
    return world.stage()


def hanging(world: World) -> str:
    version = world.stage()
    world.evidence.broken[version] = "no answer within 10 s"
    return version


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (without_checkpoint, "There is no best.pt in version 2: publish it with one."),
        (never_ready, f"Staging sole cannot get ready: {NEVER_READY}"),
        (hanging, "1 of 1 tests failed. answers: no answer within 10 s"),
    ],
)
def test_a_bad_version_is_rejected_with_one_sentence(world: World, bad: Callable[[World], str], sentence: str) -> None:
    version = bad(world)
    ends(world, version, world.run(version), Outcome.REJECTED)
    assert world.attempts(version)[0].reason == sentence
    is_at_rest(world, FIRST)


@pytest.mark.parametrize(("known", "wrong"), [(("streak", "leaf"), ("leaf", "streak")), (("streak",), ("rust",))])
def test_other_classes_than_productions_are_rejected_also_in_another_order(
    empty_world: World, known: tuple[str, ...], wrong: tuple[str, ...]
) -> None:
    first = empty_world.stage()
    empty_world.classes[first] = known
    empty_world.run(first)
    second = empty_world.stage()
    empty_world.classes[second] = wrong
    ends(empty_world, second, empty_world.run(second), Outcome.REJECTED)
    assert "whoever reads class numbers would misread them" in empty_world.attempts(second)[0].reason
    is_at_rest(empty_world, first)


def test_a_version_that_does_not_exist_is_rejected_and_named(world: World) -> None:
    run = world.run("99")
    (attempt,) = world.attempts("99")
    assert (attempt.outcome, attempt.run_id) == (Outcome.REJECTED, run.run_id)
    assert attempt.reason == "The registry in memory has no version '99': it has 1."
    is_at_rest(world, FIRST)


def test_a_disk_that_is_full_while_building_is_an_error_and_the_next_try_succeeds(world: World) -> None:
    version, images = world.stage(0.999), world.services.images
    world.change(images=FullDisk())
    ends(world, version, world.run(version), Outcome.ERROR)
    assert world.attempts(version)[0].reason == "The disk under /images is full; make room and deliver again."
    is_at_rest(world, FIRST)
    world.change(images=images)
    ends(world, version, world.run(version), Outcome.RELEASED)


def test_a_pickle_that_runs_code_is_rejected_without_running_it(world: World, tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    hostile = pickle_that_runs_code(tmp_path / "hostile", marker)
    world.change(convert=convert)
    version = world.stage(checkpoint=hostile.read_bytes())
    ends(world, version, world.run(version), Outcome.REJECTED)
    assert "exec" in world.attempts(version)[0].reason
    assert not marker.exists()
    is_at_rest(world, FIRST)
