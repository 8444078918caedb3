"""What people write beside a staged version in the registry counts as their decision, as far as the settings let it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from banana_delivery.delivery.deciding.decisions import put_on_record, withdraw
from banana_delivery.delivery.deciding.going_on import AGAIN_SECONDS, Approved, Follows, GoingOn
from banana_delivery.errors import RegistryRefusedError, TargetError
from banana_delivery.names import ANSWER_TAG
from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind
from banana_delivery.policy.gate import CLAIMED
from banana_delivery.policy.holds import FreezeRecord
from banana_delivery.policy.model import Environment, Outcome, Phase
from banana_delivery.policy.staged_versions import Wish
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.lifecycle import Runs
from tests.integration.delivery.serving import FIRST
from tests.support.other_teams import origin
from tests.support.phases import PhaseHook
from tests.support.pipeline import PipelineHarness

UNDECIDED, UNDECIDED_TOO = 0.88, 0.884
ODD = (
    "see https://me:geheim@example.com/x?token=geheim\r\n\x07\x00 Authorization:\nBearer geheim "
    "**@everyone** <script>alert(1)</script> \u202eevil\u2028"
)
REASON = "Ten more photos say so."


class Looks:
    """The staging sensor, look after look."""

    def __init__(self, pipeline: PipelineHarness) -> None:
        self.pipeline = pipeline
        self.cursor: str | None = None

    def look(self) -> list[dg.RunRequest]:
        resources = self.pipeline.resources.by_key()
        context = dg.build_sensor_context(
            instance=self.pipeline.instance, cursor=self.cursor, resources=resources, sensor_name="staged_versions"
        )
        found = self.pipeline.defs.resolve_sensor_def("staged_versions")(context)
        if isinstance(found, dg.SkipReason):
            self.cursor = context.cursor
            return []
        assert isinstance(found, dg.SensorResult)
        self.cursor = found.cursor
        return list(found.run_requests or [])


@pytest.fixture
def looks(pipeline: PipelineHarness) -> Looks:
    return Looks(pipeline)


def let(pipeline: PipelineHarness, *wishes: Wish) -> None:
    settings = pipeline.resources.settings.model_copy(update={"registry_decisions": [one.value for one in wishes]})
    pipeline.change(settings=settings)


def parked(pipeline: PipelineHarness, looks: Looks, found: float = UNDECIDED) -> str:
    version = pipeline.stage(found)
    looks.look()
    pipeline.run(version)
    assert pipeline.attempts(version)[0].outcome is Outcome.PARKED
    return version


def under_way(
    pipeline: PipelineHarness, version: str, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED
) -> dg.DagsterRun:
    return pipeline.instance.create_run_for_job(
        pipeline.defs.resolve_job_def("deliver"),
        status=status,
        tags={"dagster/partition": version, **pipeline.location.tags},
        remote_job_origin=origin("deliver", pipeline.location.name) if status is dg.DagsterRunStatus.QUEUED else None,
    )


def unreadable(read: Callable[..., Iterator[AttemptRecord]], version: str) -> Callable[..., Iterator[AttemptRecord]]:
    """As the audit trail of one version is that holds a line which cannot be read."""

    def reads(log: AuditLog, asked: str | None = None) -> Iterator[AttemptRecord]:
        if asked == version:
            raise ValueError("A line cannot be read.")
        return read(log, asked)

    return reads


def answer(pipeline: PipelineHarness, version: str) -> str:
    return pipeline.registry.describe(version).tags.get(ANSWER_TAG, "")


def refuse_answers(pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a registry does whose account may only read."""

    def refuses(*_: object) -> None:
        raise RegistryRefusedError("MLflow refuses this account.")

    monkeypatch.setattr(pipeline.registry, "answer", refuses)


def test_an_approval_lets_the_rest_of_the_delivery_go_on_once(pipeline: PipelineHarness, looks: Looks) -> None:
    let(pipeline, Wish.APPROVE)
    version = parked(pipeline, looks)
    pipeline.registry.write(version, "banana.approve", REASON)

    first, second = looks.look(), looks.look()
    assert looks.look() == []
    assert {request.run_key for request in (*first, *second)} == {first[0].run_key}, "Dagster makes one run of a key"
    (said,) = pipeline.audit_log.decisions(version)
    assert (said.kind, said.reason) == (DecisionKind.APPROVAL, REASON)
    assert said.by.startswith(CLAIMED)
    assert REASON in answer(pipeline, version)
    (request,) = first
    assert request.asset_selection == [pipeline.location.key("production_release")]
    pipeline.follow(version, request)
    released = pipeline.attempts(version)[0]
    assert (released.outcome, released.basis, released.trigger) == (Outcome.RELEASED, "approval", "registry")


def test_an_approval_that_nothing_waits_for_puts_no_old_version_back(pipeline: PipelineHarness, looks: Looks) -> None:
    let(pipeline, Wish.APPROVE)
    newer = pipeline.stage(0.95)
    looks.look()
    pipeline.run(newer)
    pipeline.registry.write(FIRST, "banana.approve", REASON)
    pipeline.registry.stage(FIRST)

    asked = [request for _ in range(3) for request in looks.look()]
    assert [request.asset_selection for request in asked] == [None], "its staging alone is delivered, as a whole"
    assert pipeline.serving == newer


def test_an_approval_waits_for_the_delivery_under_way_and_is_answered_when_it_goes_on(
    pipeline: PipelineHarness, looks: Looks
) -> None:
    let(pipeline, Wish.APPROVE)
    version = parked(pipeline, looks)
    run = under_way(pipeline, version)
    pipeline.registry.write(version, "banana.approve", REASON)
    assert [looks.look() for _ in range(3)] == [[]] * 3
    assert answer(pipeline, version) == ""
    pipeline.audit_log.log(pipeline.attempts(version)[0].replace(run_id=run.run_id), Path("report"))

    (request,) = looks.look()
    assert request.asset_selection == [pipeline.location.key("production_release")]
    assert REASON in answer(pipeline, version)
    assert looks.look() == []
    assert len(pipeline.audit_log.decisions(version)) == 1


def test_an_approval_from_before_its_report_starts_nothing_and_is_answered_with_that(
    pipeline: PipelineHarness, looks: Looks
) -> None:
    let(pipeline, Wish.APPROVE)
    version = parked(pipeline, looks)
    run = under_way(pipeline, version)
    pipeline.registry.write(version, "banana.approve", REASON)
    assert looks.look() == []
    pipeline.instance.report_run_canceled(run)
    pipeline.audit_log.log(pipeline.attempts(version)[0].replace(run_id=run.run_id), Path("report"))
    pipeline.run(version)  # Its report is one that nobody has seen.
    assert pipeline.attempts(version)[0].outcome is Outcome.PARKED
    assert [looks.look() for _ in range(3)] == [[]] * 3
    assert "counts no more" in answer(pipeline, version)


def test_one_of_two_people_starts_nothing_and_is_told_who_is_missing(pipeline: PipelineHarness, looks: Looks) -> None:
    let(pipeline, Wish.APPROVE)
    pipeline.set_policy("approvers: {needed: 2}\n")
    version = parked(pipeline, looks)
    pipeline.registry.write(version, "banana.approve", REASON)
    assert [looks.look() for _ in range(3)] == [[]] * 3
    assert "2 people have to; so far" in answer(pipeline, version)


def freeze(pipeline: PipelineHarness, *, frozen: bool) -> None:
    said = FreezeRecord(frozen=frozen, by="Bert", reason="The fair.", at=pipeline.clock.time())
    pipeline.audit_log.record_freeze(said)


def test_while_frozen_an_approval_is_answered_with_what_ends_the_freeze(
    pipeline: PipelineHarness, looks: Looks
) -> None:
    let(pipeline, Wish.APPROVE)
    version = parked(pipeline, looks)
    freeze(pipeline, frozen=True)
    pipeline.registry.write(version, "banana.approve", REASON)
    assert looks.look() == []
    assert pipeline.audit_log.decisions(version) == []
    assert "unfreeze" in answer(pipeline, version)


@pytest.mark.parametrize("by", ["a tag", "a command"])
def test_what_was_approved_and_met_a_freeze_goes_on_once_when_that_is_over(
    pipeline: PipelineHarness, looks: Looks, by: str
) -> None:
    let(pipeline, Wish.APPROVE)
    version = parked(pipeline, looks)
    if by == "a tag":
        pipeline.registry.write(version, "banana.approve", REASON)
        (request,) = looks.look()
        tags = dict(request.tags or {})
    else:
        put_on_record(pipeline.audit_log, pipeline.clock, DecisionKind.APPROVAL, version, "", REASON, "Ada")
        tags = {}
    freeze(pipeline, frozen=True)
    pipeline.run(version, assets=("production_release",), tags=tags)
    kept_out = pipeline.attempts(version)[0]
    assert (kept_out.outcome, kept_out.frozen) == (Outcome.PARKED, True)
    assert "goes on by itself" in kept_out.reason
    assert [looks.look() for _ in range(2)] == [[]] * 2

    freeze(pipeline, frozen=False)
    (again,) = looks.look()
    assert again.asset_selection == [pipeline.location.key("production_release")]
    pipeline.follow(version, again)
    released = pipeline.attempts(version)[0]
    assert (released.outcome, released.basis) == (Outcome.RELEASED, "approval")
    assert looks.look() == []


def test_a_freeze_that_only_runs_know_of_is_met_ever_more_rarely(pipeline: PipelineHarness, looks: Looks) -> None:
    version, ours = parked(pipeline, looks), pipeline.resources.settings
    put_on_record(pipeline.audit_log, pipeline.clock, DecisionKind.APPROVAL, version, "", REASON, "Ada")
    tags: dict[str, str] = {}
    for seconds in (0.0, AGAIN_SECONDS, 2 * AGAIN_SECONDS):
        pipeline.change(settings=ours.model_copy(update={"freeze": True}))
        pipeline.run(version, assets=("production_release",), tags=tags)
        assert pipeline.attempts(version)[0].frozen
        pipeline.change(settings=ours)
        if seconds:
            assert looks.look() == []
            pipeline.clock.sleep(seconds - 1)
            assert looks.look() == []
            pipeline.clock.sleep(1)
        (again,) = looks.look()
        tags = dict(again.tags or {})


def test_a_freeze_that_was_written_into_the_policy_since_is_known_as_deliveries_know_it(
    pipeline: PipelineHarness, looks: Looks
) -> None:
    let(pipeline, Wish.APPROVE)
    file = pipeline.set_policy("mode: act\n")
    version = parked(pipeline, looks)
    assert pipeline.resources.policy_file.policy.freeze == (), "as the code server reads it once"
    now = datetime.fromtimestamp(pipeline.clock.time(), UTC)
    window = {"from": f"{now - timedelta(days=1):%Y-%m-%d %H:%M}", "until": f"{now + timedelta(days=1):%Y-%m-%d %H:%M}"}
    file.write_text(json.dumps({"freeze": [{**window, "zone": "UTC", "reason": "The fair."}]}))
    pipeline.registry.write(version, "banana.approve", REASON)
    assert [looks.look() for _ in range(2)] == [[]] * 2
    assert "The fair" in answer(pipeline, version)


@pytest.mark.parametrize("last", ["Ada", "Ada (via page)"])
def test_what_two_people_approved_by_two_ways_goes_on_once(pipeline: PipelineHarness, looks: Looks, last: str) -> None:
    pipeline.change(settings=pipeline.resources.settings.model_copy(update={"pages_deciders": ["Ada"]}))
    version = parked(pipeline, looks)
    for by in sorted(["Ada", "Ada (via page)"], key=lambda one: one == last):
        put_on_record(pipeline.audit_log, pipeline.clock, DecisionKind.APPROVAL, version, "", REASON, by)
    freeze(pipeline, frozen=True)
    pipeline.run(version, assets=("production_release",))
    freeze(pipeline, frozen=False)
    by_page = pipeline.tick("page_approvals")
    found = [*looks.look(), *((by_page.run_requests or []) if isinstance(by_page, dg.SensorResult) else [])]
    assert [one.partition_key for one in found] == [version]


def test_an_approval_from_before_another_release_puts_nothing_over_it(pipeline: PipelineHarness, looks: Looks) -> None:
    version = parked(pipeline, looks)
    put_on_record(pipeline.audit_log, pipeline.clock, DecisionKind.APPROVAL, version, "", REASON, "Ada")
    freeze(pipeline, frozen=True)
    pipeline.run(version, assets=("production_release",))
    freeze(pipeline, frozen=False)
    newer = pipeline.stage(0.95)
    pipeline.run(newer)
    assert pipeline.serving == newer
    (again,) = [one for one in looks.look() if one.partition_key == version]
    pipeline.follow(version, again)
    assert pipeline.serving == newer
    assert (pipeline.attempts(version)[0].outcome, pipeline.attempts(version)[0].basis) == (Outcome.ERROR, "approval")
    assert "to compare anew" in pipeline.sent[-1].body
    assert [looks.look() for _ in range(2)] == [[]] * 2


@pytest.mark.parametrize("ended", [Outcome.PARKED, Outcome.ERROR])
def test_what_went_on_after_a_freeze_and_ended_otherwise_is_not_begun_again(
    pipeline: PipelineHarness, looks: Looks, ended: Outcome
) -> None:
    version = parked(pipeline, looks)
    waits = pipeline.attempts(version)[0]
    said = put_on_record(pipeline.audit_log, pipeline.clock, DecisionKind.APPROVAL, version, "", REASON, "Ada")
    freeze(pipeline, frozen=True)
    pipeline.run(version, assets=("production_release",))
    freeze(pipeline, frozen=False)
    (again,) = looks.look()
    run = under_way(pipeline, version)
    pipeline.instance.add_run_tags(run.run_id, dict(again.tags or {}))
    pipeline.instance.report_run_failed(run)
    pipeline.audit_log.log(waits.replace(run_id=run.run_id, outcome=ended), Path("report"))
    resources = pipeline.resources
    follows = GoingOn(resources.recorder, pipeline.audit_log, Runs(pipeline.instance, pipeline.location)).of(said)
    assert follows == Follows(Approved.OVER)


def test_what_a_freeze_kept_out_before_it_was_approved_does_not_go_on_by_itself(
    pipeline: PipelineHarness, looks: Looks
) -> None:
    let(pipeline, Wish.APPROVE)
    version = pipeline.stage(UNDECIDED)
    looks.look()
    freeze(pipeline, frozen=True)
    pipeline.run(version)
    freeze(pipeline, frozen=False)
    pipeline.registry.write(version, "banana.approve", REASON)
    assert [looks.look() for _ in range(3)] == [[]] * 3
    assert f"Nothing begins by it; to release it all the same, type: banana-delivery approve {version}" in answer(
        pipeline, version
    )


@pytest.mark.parametrize("beside", [True, False])
def test_an_error_beside_an_approval_costs_it_nothing_and_its_own_is_told_with_what_to_type(
    pipeline: PipelineHarness, looks: Looks, beside: bool
) -> None:
    let(pipeline, Wish.APPROVE)
    version = parked(pipeline, looks)
    waits = pipeline.attempts(version)[0]
    run = under_way(pipeline, version) if beside else None
    pipeline.registry.write(version, "banana.approve", REASON)
    first = looks.look()
    if run:
        assert first == []
        pipeline.instance.report_run_failed(run)
        error = waits.replace(run_id=run.run_id, outcome=Outcome.ERROR, reason="The disk is full.")
        pipeline.audit_log.log(error, Path("report"))
        first = looks.look()
    (request,) = first
    pipeline.target.at[PhaseHook(Environment.PRODUCTION, Phase.SCALING)] = broken
    pipeline.follow(version, request)
    failed = pipeline.attempts(version)[0]
    assert (failed.outcome, failed.basis) == (Outcome.ERROR, "approval")
    assert f"banana-delivery approve {version}" in pipeline.sent[-1].body
    assert [looks.look() for _ in range(3)] == [[]] * 3, "what failed is not tried again by itself"


def broken() -> None:
    raise TargetError("The cluster does not answer.")


def test_one_version_that_cannot_be_read_keeps_no_other_waiting(
    pipeline: PipelineHarness, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = [parked(pipeline, looks, found) for found in (UNDECIDED, UNDECIDED_TOO)]
    for version in versions:
        put_on_record(pipeline.audit_log, pipeline.clock, DecisionKind.APPROVAL, version, "", REASON, "Ada")
    freeze(pipeline, frozen=True)
    for version in versions:
        pipeline.run(version, assets=("production_release",))
    freeze(pipeline, frozen=False)
    monkeypatch.setattr(AuditLog, "each_attempt", unreadable(AuditLog.each_attempt, versions[1]))
    assert [one.partition_key for one in looks.look()] == [versions[0]]


def test_an_override_of_a_revoked_version_is_there_before_its_delivery_and_is_spent_with_it(
    pipeline: PipelineHarness, looks: Looks
) -> None:
    let(pipeline, Wish.OVERRIDE)
    version = pipeline.stage(0.9999)
    looks.look()
    pipeline.run(version)
    pipeline.roll_back(reason="It looks wrong.")
    pipeline.registry.write(version, "banana.override", REASON)
    assert looks.look() == [], "nobody staged it"
    pipeline.registry.stage(version)
    (request,) = looks.look()
    looks.look()

    pipeline.run(version, tags=dict(request.tags or {}))
    assert (pipeline.serving, pipeline.attempts(version)[0].basis) == (version, "override")
    pipeline.roll_back(reason="It is wrong.")
    pipeline.registry.stage(version)
    looks.look()
    pipeline.run(version)
    assert pipeline.attempts(version)[0].outcome is Outcome.REJECTED
    assert len(pipeline.audit_log.decisions(version)) == 1


def test_a_rejection_ends_what_waits_and_people_are_told(pipeline: PipelineHarness, looks: Looks) -> None:
    version = parked(pipeline, looks)
    pipeline.registry.write(version, "banana.reject", REASON)

    assert [looks.look() for _ in range(3)] == [[], [], []]
    attempts = [one for one in pipeline.attempts(version) if one.outcome is Outcome.REJECTED]
    assert [(one.trigger, REASON in one.reason) for one in attempts] == [("registry", True)]
    assert pipeline.registry.describe(version).stage == "None"
    assert "rejected" in answer(pipeline, version)
    assert [one.title for one in pipeline.sent if REASON in one.body] == [pipeline.sent[-1].title]
    assert pipeline.serving == FIRST


def test_a_version_that_is_staged_and_rejected_at_once_is_never_delivered(
    pipeline: PipelineHarness, looks: Looks
) -> None:
    version = pipeline.stage(0.99)
    pipeline.registry.write(version, "banana.reject", REASON)

    assert [looks.look() for _ in range(2)] == [[], []]
    assert pipeline.attempts(version)[0].outcome is Outcome.REJECTED


def test_a_delivery_under_way_is_cancelled_first_and_rejected_once_it_has_ended(
    pipeline: PipelineHarness, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = pipeline.stage(UNDECIDED)
    looks.look()
    run = pipeline.instance.create_run_for_job(
        pipeline.defs.resolve_job_def("deliver"),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": version, **pipeline.location.tags},
    )
    cancelled: list[str] = []
    monkeypatch.setattr(pipeline.instance.run_coordinator, "cancel_run", cancelled.append)
    pipeline.registry.write(version, "banana.reject", REASON)

    looks.look()
    assert cancelled == [run.run_id]
    assert pipeline.attempts(version) == []
    assert answer(pipeline, version) == ""
    pipeline.instance.report_run_canceled(run)
    looks.look()
    assert pipeline.attempts(version)[0].outcome is Outcome.REJECTED


@pytest.mark.parametrize("wish", [Wish.APPROVE, Wish.OVERRIDE])
def test_what_the_settings_do_not_let_a_tag_decide_is_answered_with_what_to_type(
    pipeline: PipelineHarness, looks: Looks, wish: Wish
) -> None:
    version = parked(pipeline, looks)
    pipeline.registry.write(version, f"banana.{wish}", REASON)

    assert looks.look() == []
    assert pipeline.audit_log.decisions(version) == []
    told = answer(pipeline, version)
    assert f"banana-delivery {wish} {version}" in told
    assert "BANANA_REGISTRY_DECISIONS" in told


def test_a_wish_needs_a_reason_and_an_image(pipeline: PipelineHarness, looks: Looks) -> None:
    let(pipeline, *Wish)
    version = pipeline.stage(UNDECIDED)
    for wish, value, says in (
        (Wish.APPROVE, "  ", "needs a reason"),
        (Wish.REJECT, "", "needs a reason"),
        (Wish.OVERRIDE, REASON, "no image yet"),
    ):
        pipeline.registry.write(version, f"banana.{wish}", value)
        looks.look()
        assert says in answer(pipeline, version)
    assert pipeline.audit_log.decisions(version) == []
    assert pipeline.attempts(version) == []


def test_a_registry_that_does_not_let_itself_be_written_stops_no_delivery(
    pipeline: PipelineHarness, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    let(pipeline, Wish.APPROVE)
    version = parked(pipeline, looks)

    refuse_answers(pipeline, monkeypatch)
    pipeline.registry.write(version, "banana.approve", REASON)
    other = pipeline.stage(0.99)

    keys = [{request.run_key for request in looks.look()} for _ in range(3)]
    assert any(f"{other}@" in str(key) for key in keys[0])
    assert len(set.union(*keys)) == 2
    assert len(pipeline.audit_log.decisions(version)) == 1


def test_the_same_words_of_another_day_are_another_approval(pipeline: PipelineHarness, looks: Looks) -> None:
    let(pipeline, Wish.APPROVE)
    version = parked(pipeline, looks)
    keys = []
    for _ in range(2):
        pipeline.registry.write(version, "banana.approve", REASON)
        found = [request for _ in range(3) for request in looks.look()]
        keys.append({request.run_key for request in found})
        assert len(keys[-1]) == 1
        pipeline.run(version)  # Somebody delivers all of it again, and what was approved is another report.
        assert pipeline.attempts(version)[0].outcome is Outcome.PARKED
    assert keys[0] != keys[1]
    assert len(pipeline.audit_log.decisions(version)) == 2


def test_the_same_words_of_another_day_are_another_override(pipeline: PipelineHarness, looks: Looks) -> None:
    let(pipeline, Wish.OVERRIDE)
    version = pipeline.stage(0.9999)
    looks.look()
    pipeline.run(version)
    for _ in range(2):
        pipeline.roll_back(reason="It looks wrong.")
        pipeline.registry.stage(version)
        pipeline.registry.write(version, "banana.override", REASON)
        looks.look()
        looks.look()
        pipeline.run(version)
        assert (pipeline.serving, pipeline.attempts(version)[0].basis) == (version, "override")


def test_a_version_that_is_rejected_twice_in_the_same_words_leaves_the_staged_ones_twice(
    pipeline: PipelineHarness, looks: Looks
) -> None:
    version = pipeline.stage(0.99)
    for _ in range(2):
        pipeline.registry.stage(version)
        pipeline.registry.write(version, "banana.reject", REASON)
        assert looks.look() == []
        assert pipeline.registry.describe(version).stage == "None"
        looks.look()


@pytest.mark.parametrize("staged_again", [False, True])
def test_a_wish_that_cannot_be_taken_away_is_one_wish_whatever_becomes_of_the_version(
    pipeline: PipelineHarness, looks: Looks, monkeypatch: pytest.MonkeyPatch, staged_again: bool
) -> None:
    let(pipeline, Wish.APPROVE)
    version = parked(pipeline, looks)

    refuse_answers(pipeline, monkeypatch)
    pipeline.registry.write(version, "banana.approve", REASON)
    first = looks.look()
    pipeline.run(version)  # Its report is news that nobody has seen.
    if staged_again:
        pipeline.registry.stage(version, "None")
        looks.look()
        pipeline.registry.stage(version)
    # It was about the report that its own run has answered with another: nothing begins by it but that run.
    later = [request for _ in range(2) for request in looks.look() if request.asset_selection]
    assert {request.run_key for request in later} <= {first[0].run_key}
    assert len(pipeline.audit_log.decisions(version)) == 1


def test_a_wish_that_cannot_be_taken_away_is_not_said_again_once_it_was_taken_back(
    pipeline: PipelineHarness, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    let(pipeline, Wish.APPROVE)
    version = parked(pipeline, looks)
    refuse_answers(pipeline, monkeypatch)
    pipeline.registry.write(version, "banana.approve", REASON)
    assert len(looks.look()) == 1
    withdraw(pipeline.audit_log, pipeline.resources.settings, pipeline.clock, version, "Not yet.", "Ada")
    assert [looks.look() for _ in range(2)] == [[]] * 2
    assert pipeline.audit_log.decisions(version) == []


def test_who_approves_and_rejects_at_once_has_rejected(pipeline: PipelineHarness, looks: Looks) -> None:
    let(pipeline, *Wish)
    version = parked(pipeline, looks)
    for wish in Wish:
        pipeline.registry.write(version, f"banana.{wish}", REASON)

    assert [looks.look() for _ in range(2)] == [[], []]
    assert pipeline.audit_log.decisions(version) == []
    assert "rejected" in answer(pipeline, version)
    assert pipeline.registry.describe(version).stage == "None"
    assert not any(f"banana.{wish}" in pipeline.registry.describe(version).tags for wish in Wish)


def test_a_run_that_cannot_be_cancelled_keeps_no_other_delivery_waiting(
    pipeline: PipelineHarness, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = pipeline.stage(UNDECIDED)
    looks.look()
    pipeline.instance.create_run_for_job(
        pipeline.defs.resolve_job_def("deliver"),
        status=dg.DagsterRunStatus.CANCELING,
        tags={"dagster/partition": version, **pipeline.location.tags},
    )

    def away(_: str) -> None:
        raise ConnectionError("The code server does not answer.")

    monkeypatch.setattr(pipeline.instance.run_coordinator, "cancel_run", away)
    pipeline.registry.write(version, "banana.reject", REASON)
    other = pipeline.stage(0.99)
    assert [request.partition_key for request in looks.look()] == [other]


@pytest.mark.parametrize("wish", [Wish.APPROVE, Wish.REJECT])
def test_odd_words_are_put_on_record_once(
    pipeline: PipelineHarness, looks: Looks, monkeypatch: pytest.MonkeyPatch, wish: Wish
) -> None:
    let(pipeline, *Wish)
    version = parked(pipeline, looks)
    before = len(pipeline.attempts(version))
    monkeypatch.setattr(pipeline.registry, "answer", lambda *_: None)
    pipeline.registry.write(version, f"banana.{wish}", ODD + "x" * (5000 - len(ODD)))
    for _ in range(3):
        looks.cursor = None
        looks.look()
    assert len(pipeline.attempts(version)) - before + len(pipeline.audit_log.decisions(version)) == 1
    assert "geheim" not in "".join(one.body for one in pipeline.sent)
