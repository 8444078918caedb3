"""At rest somebody looks: what is observed of production is compared with its record, made good, and told."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest

from banana_delivery.errors import TargetError
from banana_delivery.policy.model import Colour, Environment, Outcome, Phase, RolloutRecord
from banana_delivery.policy.outcomes import Urgency
from tests.integration.delivery.serving import FIRST
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

BETTER = 0.9999
PRODUCTION, BLUE, GREEN = Environment.PRODUCTION, Colour.BLUE, Colour.GREEN
ALL_BLUE, ALL_GREEN = {BLUE: 100, GREEN: 0}, {BLUE: 0, GREEN: 100}
BETWEEN_LOOKS = 10.0


class Looker:
    """The reconcile sensor from tick to tick: its cursor is kept, and time passes in between."""

    def __init__(self, pipeline: PipelineHarness) -> None:
        self.pipeline = pipeline
        self.cursor: str | None = None
        self.known = {notice.key for notice in pipeline.sent}

    def look(self, times: int = 1) -> str:
        """Tick so often; what the last tick said."""
        said = ""
        for _ in range(times):
            context = dg.build_sensor_context(
                instance=self.pipeline.instance,
                cursor=self.cursor,
                resources=self.pipeline.resources.by_key(),
                sensor_name="reconcile",
            )
            skipped = self.pipeline.defs.resolve_sensor_def("reconcile")(context)
            assert isinstance(skipped, dg.SkipReason)
            self.cursor, said = context.cursor, skipped.skip_message or ""
            self.pipeline.clock.sleep(BETWEEN_LOOKS)
        return said

    @property
    def told(self) -> list[tuple[str, Urgency]]:
        """What people were told since this began."""
        return [(notice.title, notice.urgency) for notice in self.pipeline.sent if notice.key not in self.known]

    @property
    def bodies(self) -> str:
        return "\n".join(notice.body for notice in self.pipeline.sent if notice.key not in self.known)


@pytest.fixture
def looker(pipeline: PipelineHarness) -> Looker:
    """Production serves version 1 on blue, and nothing is wrong yet."""
    looking = Looker(pipeline)
    assert looking.look(2) == "No orphaned environment or run."
    assert looking.told == []
    return looking


def record(pipeline: PipelineHarness) -> RolloutRecord:
    return pipeline.target.record(PRODUCTION)


def is_as_recorded(pipeline: PipelineHarness, weights: dict[Colour, int]) -> None:
    now, observed = record(pipeline), pipeline.target.observed(PRODUCTION)
    assert now.active is not None
    deployment = now.deployments[now.active]
    assert (now.owner, now.phase, now.weights, observed.weights) == (None, Phase.IDLE, weights, weights)
    assert (observed.replicas[now.active], observed.ready[now.active]) == (deployment.replicas, deployment.replicas)
    assert observed.digests[now.active] == deployment.image.digest
    assert not observed.route


def delete(pipeline: PipelineHarness) -> None:
    pipeline.target.place.delete_replicas(PRODUCTION, BLUE)


def scale_to_nothing(pipeline: PipelineHarness) -> None:
    pipeline.target.place.edit_replicas(PRODUCTION, BLUE, 0)


def take_one_away(pipeline: PipelineHarness) -> None:
    pipeline.target.place.edit_replicas(PRODUCTION, BLUE, 1)


def edit_weights(pipeline: PipelineHarness) -> None:
    pipeline.target.place.edit_weights(PRODUCTION, {BLUE: 70, GREEN: 30})


def lose_the_route(pipeline: PipelineHarness) -> None:
    pipeline.target.place.lost_routes[PRODUCTION] = "The route is gone."


def replace_the_route(pipeline: PipelineHarness) -> None:
    pipeline.target.place.edit_weights(PRODUCTION, {})


def another_image(pipeline: PipelineHarness) -> None:
    image = record(pipeline).deployments[BLUE].image.replace(digest="sha256:" + "f" * 64)
    pipeline.target.place.edit_release(PRODUCTION, BLUE, image)


@pytest.mark.parametrize(
    ("change", "urgency", "failed"),
    [
        (delete, Urgency.URGENT, "100 % of user requests failed"),
        (scale_to_nothing, Urgency.URGENT, "100 % of user requests failed"),
        (take_one_away, Urgency.ASKS, "blue has 1 replicas instead of 2."),
        (edit_weights, Urgency.URGENT, "30 % of user requests failed"),
        (lose_the_route, Urgency.URGENT, "100 % of user requests failed"),
        (replace_the_route, Urgency.URGENT, "100 % of user requests failed"),
        (another_image, Urgency.ASKS, "blue runs sha256:ffffffffffff"),
    ],
)
def test_what_the_record_says_is_made_good_at_once_and_told_once(
    pipeline: PipelineHarness, looker: Looker, change: Callable[[PipelineHarness], None], urgency: Urgency, failed: str
) -> None:
    change(pipeline)

    assert looker.look().endswith("It was made good.")

    is_as_recorded(pipeline, ALL_BLUE)
    ((title, said),) = looker.told
    assert "made good" in title
    assert said is urgency
    assert failed in looker.bodies
    assert looker.look(3) == "No orphaned environment or run."
    assert len(looker.told) == 1


def test_weights_edited_by_hand_go_back_and_no_colour_with_users_is_scaled_down(
    pipeline: PipelineHarness, looker: Looker
) -> None:
    second = pipeline.stage(BETTER)
    assert pipeline.run(second).is_success
    pipeline.tick("cool_down")
    pipeline.target.place.edit_weights(PRODUCTION, ALL_BLUE)
    pipeline.clock.now += 1e6  # The time to stay warm is over.

    said = pipeline.tick("cool_down")

    assert isinstance(said, dg.SkipReason)
    assert "Blue carries 100 % of production's traffic" in str(said.skip_message)
    assert pipeline.target.observed(PRODUCTION).ready[BLUE] == 2
    looker.look()
    is_as_recorded(pipeline, ALL_GREEN)
    assert "blue has 100 % of the traffic instead of 0 %." in looker.bodies
    pipeline.tick("cool_down")
    assert pipeline.target.observed(PRODUCTION).replicas[BLUE] == 0


def test_users_wait_at_the_warm_colour_while_the_active_one_does_not_come_up(
    pipeline: PipelineHarness, looker: Looker
) -> None:
    second = pipeline.stage(BETTER)
    assert pipeline.run(second).is_success
    looker = Looker(pipeline)
    pipeline.target.place.delete_replicas(PRODUCTION, GREEN)
    image = record(pipeline).deployments[GREEN].image
    pipeline.break_image(image.digest, starting="No node takes it.")

    looker.look(3)

    assert pipeline.weights == ALL_BLUE
    assert (record(pipeline).active, record(pipeline).live) == (GREEN, image)
    ((title, urgency),) = looker.told
    assert ("100 % OF USER REQUESTS FAIL" in title, urgency) == (True, Urgency.URGENT)
    pipeline.break_image(image.digest)
    looker.look(2)
    is_as_recorded(pipeline, ALL_GREEN)
    assert [(told, "as recorded again" in title) for title, told in looker.told[1:]] == [(Urgency.NORMAL, True)]


def test_users_are_never_sent_to_a_release_that_was_taken_out(pipeline: PipelineHarness) -> None:
    second = pipeline.stage(BETTER)
    assert pipeline.run(second).is_success
    pipeline.roll_back(reason="It looks wrong.")
    looker = Looker(pipeline)
    now = record(pipeline)
    bad = now.deployments[GREEN].replace(replicas=2)
    pipeline.target.place.records[PRODUCTION] = now.replace(deployments={**now.deployments, GREEN: bad})
    pipeline.target.place.deployments[PRODUCTION][GREEN] = bad
    pipeline.break_image(now.deployments[BLUE].image.digest, starting="It is not there yet.")

    looker.look(4)

    assert pipeline.weights == ALL_BLUE
    assert [urgency for _, urgency in looker.told] == [Urgency.URGENT]


def test_what_comes_back_again_and_again_is_told_less_and_less(pipeline: PipelineHarness, looker: Looker) -> None:
    for _ in range(8):
        delete(pipeline)
        looker.look(2)

    assert len(looker.told) == 4
    assert "the 8th time" in looker.bodies


def test_replicas_that_restart_are_no_drift(pipeline: PipelineHarness, looker: Looker) -> None:
    digest = record(pipeline).deployments[BLUE].image.digest
    generation = record(pipeline).generation
    pipeline.break_image(digest, starting="It is restarting.")
    looker.look(2)
    pipeline.break_image(digest)

    looker.look(3)

    assert looker.told == []
    assert record(pipeline).generation == generation


def test_what_is_there_at_one_look_only_is_no_drift(pipeline: PipelineHarness, looker: Looker) -> None:
    generation = record(pipeline).generation
    pipeline.target.place.edit_replicas(PRODUCTION, BLUE, 1)

    def come_back() -> None:
        pipeline.target.place.edit_replicas(PRODUCTION, BLUE, 2)

    pipeline.clock.on_sleep.append(come_back)
    looker.look(3)

    assert (looker.told, record(pipeline).generation) == ([], generation)


def test_a_person_who_has_production_is_not_disturbed_but_users_who_fail_are_told_of(
    pipeline: PipelineHarness, looker: Looker
) -> None:
    claim = pipeline.target.claim(PRODUCTION, "Ada")
    pipeline.clock.on_sleep.append(lambda: pipeline.target.heartbeat(claim))
    take_one_away(pipeline)

    looker.look(3)
    assert (pipeline.target.observed(PRODUCTION).replicas[BLUE], record(pipeline).owner) == (1, "Ada")
    assert looker.told == []
    delete(pipeline)
    looker.look(4)

    assert record(pipeline).owner == "Ada"
    assert BLUE not in pipeline.target.place.deployments[PRODUCTION]
    assert [urgency for _, urgency in looker.told] == [Urgency.URGENT]
    assert "Ada has production and is not disturbed." in looker.bodies


def test_more_replicas_than_recorded_are_told_and_left(pipeline: PipelineHarness, looker: Looker) -> None:
    pipeline.target.place.edit_replicas(PRODUCTION, BLUE, 5)

    looker.look(4)

    assert pipeline.target.observed(PRODUCTION).replicas[BLUE] == 5
    assert [urgency for _, urgency in looker.told] == [Urgency.ASKS]
    pipeline.target.place.edit_replicas(PRODUCTION, BLUE, 2)
    looker.look(2)
    assert [urgency for _, urgency in looker.told] == [Urgency.ASKS, Urgency.NORMAL]


def test_a_record_that_cannot_be_read_is_told_urgently_after_a_while(pipeline: PipelineHarness, looker: Looker) -> None:
    pipeline.target.place.fail_next("record", "The record cannot be read.", times=1000)

    looker.look(3)
    assert looker.told == []
    looker.look(6)

    ((title, urgency),) = looker.told
    assert ("does not answer" in title, urgency) == (True, Urgency.URGENT)
    assert "The record cannot be read." in looker.bodies


def test_a_mending_that_fails_is_told_and_tried_again(pipeline: PipelineHarness, looker: Looker) -> None:
    delete(pipeline)
    pipeline.target.place.fail_next("deploy", "No quota.", times=2)

    looker.look(2)
    assert [("FAIL" in title, urgency) for title, urgency in looker.told] == [(True, Urgency.URGENT)]
    looker.look(2)

    is_as_recorded(pipeline, ALL_BLUE)
    assert [urgency for _, urgency in looker.told] == [Urgency.URGENT, Urgency.NORMAL]


def while_shifting(pipeline: PipelineHarness, change: Callable[[], object]) -> str:
    version = pipeline.stage(BETTER)
    pipeline.target.at[PhaseHook(PRODUCTION, Phase.SHIFTING)] = change
    pipeline.run(version)
    return version


@pytest.mark.parametrize(("lost", "left"), [(BLUE, ALL_GREEN), (GREEN, ALL_BLUE)])
def test_replicas_taken_from_under_users_in_a_shift_move_them_before_it_freezes(
    pipeline: PipelineHarness, lost: Colour, left: dict[Colour, int]
) -> None:
    version = while_shifting(pipeline, lambda: pipeline.target.place.delete_replicas(PRODUCTION, lost))

    assert (pipeline.weights, record(pipeline).phase) == (left, Phase.DRIFTED)
    (attempt,) = pipeline.attempts(version)
    assert (attempt.outcome, f"{lost} has 0 replicas" in attempt.reason) == (Outcome.ERROR, True)
    assert "all of them were sent to" in attempt.reason
    told = pipeline.sent[-1]
    assert (told.urgency, "CHANGED BY HAND" in told.title) == (Urgency.URGENT, True)


def test_a_notice_about_a_frozen_production_is_urgent_true_and_says_what_helps(pipeline: PipelineHarness) -> None:
    edited = {BLUE: 15, GREEN: 85}
    version = while_shifting(pipeline, lambda: pipeline.target.place.edit_weights(PRODUCTION, edited))

    told = pipeline.sent[-1]
    assert told.urgency is Urgency.URGENT
    assert f"version {version} could not be delivered, and production was CHANGED BY HAND" in told.title
    assert f"version {version} has 85 %, version {FIRST} has 15 %" in told.body
    step = told.body.partition("Next: ")[2]
    assert step.index("banana-delivery resume production") < step.index(f"banana-delivery deliver {version}")


def test_users_who_fail_while_production_is_frozen_are_told_of_and_nothing_is_touched(
    pipeline: PipelineHarness,
) -> None:
    edited = {BLUE: 15, GREEN: 85}
    while_shifting(pipeline, lambda: pipeline.target.place.edit_weights(PRODUCTION, edited))
    looker = Looker(pipeline)
    looker.look(3)
    assert looker.told == []
    pipeline.target.place.delete_replicas(PRODUCTION, GREEN)

    looker.look(4)

    ((title, urgency),) = looker.told
    assert ("85 % OF USER REQUESTS FAIL" in title, urgency) == (True, Urgency.URGENT)
    assert "banana-delivery resume production" in looker.bodies
    assert (pipeline.weights, record(pipeline).phase) == (edited, Phase.DRIFTED)


def test_a_version_that_fails_its_users_while_production_is_frozen_is_told_once_and_not_moved(
    pipeline: PipelineHarness,
) -> None:
    edited = {BLUE: 40, GREEN: 60}
    version = while_shifting(pipeline, lambda: pipeline.target.place.edit_weights(PRODUCTION, edited))
    pipeline.break_image(record(pipeline).deployments[GREEN].image.digest, error_rate=0.5)
    cursor: str | None = None
    for _ in range(4):
        context = dg.build_sensor_context(
            instance=pipeline.instance,
            cursor=cursor,
            resources=pipeline.resources.by_key(),
            sensor_name="production_watch",
        )
        watch = pipeline.defs.resolve_sensor_def("production_watch")(context)
        assert isinstance(watch, dg.SkipReason)
        cursor = context.cursor
        pipeline.clock.sleep(5)

    (told,) = [notice for notice in pipeline.sent if "FAILS ITS USERS" in notice.title]
    assert (told.urgency, f"version {version}" in told.title) == (Urgency.URGENT, True)
    assert f"banana-delivery rollback {version}" in told.body
    assert (pipeline.weights, record(pipeline).phase) == (edited, Phase.DRIFTED)


@pytest.mark.parametrize("job", ["deliver", "redeploy"])
def test_a_delivery_for_a_frozen_production_is_refused_at_its_first_step(pipeline: PipelineHarness, job: str) -> None:
    while_shifting(pipeline, lambda: pipeline.target.place.edit_weights(PRODUCTION, {BLUE: 50, GREEN: 50}))
    version = FIRST if job == "redeploy" else pipeline.stage(BETTER)
    downloads = len(pipeline.attempts(version))

    run = pipeline.run(version, job)

    assert run.status is dg.DagsterRunStatus.FAILURE
    steps = pipeline.instance.get_run_step_stats(run.run_id)
    assert [step.step_key for step in steps] == ["image" if job == "redeploy" else "model_artifact"]
    attempt = pipeline.attempts(version)[0]
    assert len(pipeline.attempts(version)) == downloads + 1
    assert "Production is held: blue has 50 % of the traffic" in attempt.reason
    assert attempt.reason.endswith("banana-delivery resume production")


def test_resuming_waits_for_an_answer_and_stays_held_without_one(pipeline: PipelineHarness) -> None:
    from banana_delivery.delivery.recovery import resume

    while_shifting(pipeline, lambda: pipeline.target.place.delete_replicas(PRODUCTION, BLUE))
    digest = record(pipeline).deployments[BLUE].image.digest
    pipeline.break_image(digest, starting="It is slow.")

    with pytest.raises(TargetError, match="blue does not answer"):
        resume(pipeline.target, PRODUCTION, "Ada", pipeline.clock)

    assert (record(pipeline).phase, record(pipeline).owner, pipeline.weights) == (Phase.DRIFTED, None, ALL_GREEN)
    pipeline.break_image(digest)
    resume(pipeline.target, PRODUCTION, "Ada", pipeline.clock)
    is_as_recorded(pipeline, ALL_BLUE)
