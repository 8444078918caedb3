"""Delivering old versions again: several, in an order, one asset of them or all, and by the job for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from banana_delivery.defs.jobs import PIPELINE
from banana_delivery.names import BACKFILL_TAG
from banana_delivery.policy.model import Environment, Outcome, Phase
from tests.integration.delivery.moments import cancel_at, is_at_rest
from tests.integration.delivery.outcome_rows import ends
from tests.integration.delivery.serving import FIRST, Serving
from tests.support.phases import Moment
from tests.support.pipeline import World

BACKFILL = {BACKFILL_TAG: "backfill"}


@pytest.fixture(scope="module")
def world(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for the whole module, in which versions 1 and 2 were released and 2 serves."""
    with serving.open(tmp_path_factory.mktemp("shared") / "world") as opened:
        opened.run(opened.stage(0.999))
        yield opened


@pytest.mark.parametrize("assets", [(), tuple(PIPELINE), ("production_release",)], ids=["job", "all five", "the last"])
def test_backfilled_versions_are_redeployed_one_after_the_other_by_their_digests(
    world: World, assets: tuple[str, ...]
) -> None:
    digests = {version: world.attempts(version)[-1].digest for version in (FIRST, "2")}
    for version in (FIRST, "2"):
        run = world.run(version, assets=assets, tags=BACKFILL)
        ends(world, version, run, Outcome.RELEASED)
        attempt = world.attempts(version)[0]
        assert (attempt.trigger, attempt.basis, attempt.digest) == ("backfill", "redeploy", digests[version])
        is_at_rest(world, version)


def test_the_job_for_it_asks_neither_for_the_checkpoint_nor_for_a_conversion(world: World) -> None:
    digest = world.attempts(FIRST)[0].digest
    run = world.run(FIRST, job="redeploy")
    ends(world, FIRST, run, Outcome.RELEASED)
    attempt = world.attempts(FIRST)[0]
    assert (attempt.trigger, attempt.digest) == ("redeploy", digest)
    steps = {stats.step_key for stats in world.instance.get_run_step_stats(run.run_id)}
    assert "model_artifact" not in steps


def test_cancelling_a_backfill_midway_leaves_one_stable_colour(world: World) -> None:
    assert world.serving == FIRST
    cancel_at(Moment(Environment.PRODUCTION, Phase.SHIFTING), world, "2")
    cancelled = world.run("2", tags=BACKFILL)
    assert (world.attempts("2")[0].run_id, world.attempts("2")[0].outcome) == (cancelled.run_id, Outcome.CANCELLED)
    is_at_rest(world, FIRST)
    never_started = world.cancelled(FIRST, BACKFILL)
    assert world.attempts(FIRST)[0].run_id == never_started.run_id
    is_at_rest(world, FIRST)
