"""What is approved by command in a freeze begins nothing, is told until when, and goes on once that is over."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest

from banana_delivery import cli
from banana_delivery.delivery.deciding.decisions import put_on_record
from banana_delivery.delivery.deciding.going_on import VIA_PAGE, request_of
from banana_delivery.names import REQUEST_TAG
from banana_delivery.policy.asset_records import DecisionKind, ManualDecision
from banana_delivery.policy.holds import FreezeRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.runs.audit_log import AuditLog
from tests.integration.delivery.serving import FIRST
from tests.integration.delivery.test_rehearsing import typed_here
from tests.integration.delivery.test_wishes import UNDECIDED, Looks, parked, under_way
from tests.support.pipeline import PipelineHarness

WHY = "Ten more photos say so."
FREEZE_SECONDS = 7200.0


@pytest.fixture
def looks(pipeline: PipelineHarness) -> Looks:
    return Looks(pipeline)


@pytest.fixture
def approves(
    pipeline: PipelineHarness, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Type an approval that a freeze puts off, or another command; what was printed."""
    typed_here(pipeline, monkeypatch)

    def type_it(version: str, *words: str, command: str = "approve", code: int = 3) -> str:
        monkeypatch.setattr(sys, "argv", ["banana-delivery", command, version, "--reason", WHY, *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        told = capfd.readouterr()
        assert left.value.code == code, told
        return told.err if code == 2 else told.out

    return type_it


def freeze(pipeline: PipelineHarness) -> None:
    now = pipeline.clock.time()
    said = FreezeRecord(frozen=True, by="Bert", reason="The fair.", at=now, until=now + FREEZE_SECONDS)
    pipeline.audit_log.record_freeze(said)


def may_approve(pipeline: PipelineHarness, who: str) -> None:
    """Nobody else may; without a name everybody."""
    pipeline.set_policy(f"approvers: {{who: [{who}]}}\n")


def goes_on(pipeline: PipelineHarness, looks: Looks, version: str) -> None:
    """Once, and by the approval."""
    (request,) = looks.look()
    pipeline.follow(version, request)
    released = pipeline.attempts(version)[0]
    assert (released.outcome, released.basis) == (Outcome.RELEASED, "approval")
    assert looks.look() == []


def test_it_goes_on_once_when_the_freeze_is_over_however_often_it_was_typed(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str]
) -> None:
    version, runs = parked(pipeline, looks), len(pipeline.instance.get_runs())
    freeze(pipeline)
    for _ in range(2):
        said = " ".join(approves(version).split())
        assert f"The fair); version {version} waits" in said
        assert "Bert until" in said
    assert (looks.look(), len(pipeline.instance.get_runs()), len(pipeline.attempts(version))) == ([], runs, 1)
    pipeline.clock.now += FREEZE_SECONDS
    goes_on(pipeline, looks, version)


def test_what_a_freeze_kept_out_before_somebody_approved_it_goes_on_as_well(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str]
) -> None:
    version = pipeline.stage(UNDECIDED)
    looks.look()
    freeze(pipeline)
    pipeline.run(version)
    assert pipeline.attempts(version)[0].frozen
    told = json.loads(approves(version, "--json"))
    assert (told["deliveries"], told["decision"]["frozen"], told["decision"]["gate"]["frozen"]) == ([], True, True)
    pipeline.clock.now += FREEZE_SECONDS
    goes_on(pipeline, looks, version)


def test_what_was_delivered_up_to_its_report_alone_goes_on_as_well(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str]
) -> None:
    version = pipeline.stage(UNDECIDED)
    looks.look()
    pipeline.run(version, assets=("model_artifact", "image", "staging_release", "ab_report"))
    assert pipeline.attempts(version) == []
    freeze(pipeline)
    assert "goes on by itself" in " ".join(approves(version).split())
    pipeline.clock.now += FREEZE_SECONDS
    goes_on(pipeline, looks, version)


def test_it_is_over_where_another_delivery_of_the_version_said_more_meanwhile(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str]
) -> None:
    version = parked(pipeline, looks)
    freeze(pipeline)
    approves(version)
    pipeline.run(version)
    assert pipeline.attempts(version)[0].frozen
    pipeline.clock.now += FREEZE_SECONDS
    assert looks.look() == [], "the approval was about the report before"


def test_after_the_time_for_which_it_counts_nothing_goes_on(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str]
) -> None:
    version = parked(pipeline, looks)
    freeze(pipeline)
    approves(version)
    assert looks.look() == []
    pipeline.clock.now += pipeline.resources.settings.decision_hours * 3600
    assert looks.look() == []


@pytest.mark.parametrize(
    ("found", "who"), [(UNDECIDED, ""), (0.95, ""), (0.95, "Ada")], ids=["undecided", "passed", "passed, by a stranger"]
)
def test_what_was_put_off_is_not_put_over_what_was_released_meanwhile(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str], found: float, who: str
) -> None:
    """Whatever lets it in then, by itself: its report, or the approval of it, is about another production."""
    may_approve(pipeline, who)
    version = pipeline.stage(found)
    looks.look()
    pipeline.run(version, assets=("model_artifact", "image", "staging_release", "ab_report"))
    freeze(pipeline)
    pipeline.run(version, assets=("production_release",))
    assert pipeline.attempts(version)[0].frozen
    approves(version)
    pipeline.clock.now += FREEZE_SECONDS
    newer = pipeline.stage(0.99)
    pipeline.run(newer)
    assert pipeline.serving == newer
    (request,) = [one for one in looks.look() if one.partition_key == version]
    pipeline.follow(version, request)
    assert pipeline.serving == newer
    assert "to compare anew" in pipeline.sent[-1].body
    assert [looks.look() for _ in range(2)] == [[]] * 2


def test_who_may_not_approve_does_not_know_of_what_was_released_meanwhile_for_who_did(
    pipeline: PipelineHarness, looks: Looks
) -> None:
    may_approve(pipeline, "Ada")
    version = parked(pipeline, looks)
    put_on_record(pipeline.audit_log, pipeline.clock, DecisionKind.APPROVAL, version, "", WHY, "Ada")
    newer = pipeline.stage(0.95)
    pipeline.run(newer)
    put_on_record(pipeline.audit_log, pipeline.clock, DecisionKind.APPROVAL, version, "", WHY, "Eve")
    pipeline.run(version, assets=("production_release",), tags={REQUEST_TAG: "of Eve"})
    assert pipeline.serving == newer
    assert "to compare anew" in pipeline.sent[-1].body


def staged_and_parked(pipeline: PipelineHarness, looks: Looks) -> str:
    """A version that waits because somebody staged it, and not because he had it delivered by its number."""
    version = pipeline.stage(UNDECIDED)
    (request,) = looks.look()
    pipeline.run(version, tags=dict(request.tags or {}))
    assert pipeline.attempts(version)[0].outcome is Outcome.PARKED
    return version


def test_what_was_taken_back_does_not_go_on_until_somebody_approves_it_anew(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str]
) -> None:
    version = parked(pipeline, looks)
    freeze(pipeline)
    assert f"banana-delivery withdraw {version}" in " ".join(approves(version).split())
    would = json.loads(approves(version, "--dry-run", "--json", command="withdraw", code=0))["would"]
    assert [one["kind"] for one in would["taken_back"]] == ["approval"]
    assert len(pipeline.audit_log.decisions(version)) == 1
    assert WHY in approves(version, command="withdraw", code=0)
    assert "nothing to take back" in " ".join(approves(version, command="withdraw", code=2).split())
    assert pipeline.audit_log.decisions(version) == []
    pipeline.clock.now += FREEZE_SECONDS
    assert looks.look() == []
    freeze(pipeline)
    approves(version)
    pipeline.clock.now += FREEZE_SECONDS
    goes_on(pipeline, looks, version)


def test_what_was_taken_back_while_its_run_waited_is_parked_again(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str]
) -> None:
    version = parked(pipeline, looks)
    freeze(pipeline)
    approves(version)
    pipeline.clock.now += FREEZE_SECONDS
    (request,) = looks.look()
    approves(version, command="withdraw", code=0)
    pipeline.follow(version, request)
    assert (pipeline.serving, pipeline.attempts(version)[0].outcome) == (FIRST, Outcome.PARKED)
    assert looks.look() == []


@pytest.mark.parametrize("how", ["archived", "another has its alias", "deleted"])
def test_what_nobody_wants_any_more_is_parked_when_the_freeze_is_over(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str], how: str
) -> None:
    version = staged_and_parked(pipeline, looks)
    freeze(pipeline)
    approves(version)
    if how == "archived":
        pipeline.registry.stage(version, "Archived")
    elif how == "deleted":
        pipeline.registry.delete(version)
    else:
        pipeline.registry.alias(version)
        pipeline.registry.stage(version, "None")
        pipeline.registry.alias(FIRST)
    pipeline.clock.now += FREEZE_SECONDS
    (request,) = [one for one in looks.look() if one.partition_key == version]
    pipeline.follow(version, request)
    ended = pipeline.attempts(version)[0]
    assert (pipeline.serving, ended.outcome, ended.frozen) == (FIRST, Outcome.PARKED, False)
    assert ("not in the registry" if how == "deleted" else "staged no more") in ended.reason
    assert [one for one in looks.look() if one.partition_key == version] == []


def test_what_somebody_approves_who_knows_that_it_is_staged_no_more_is_released(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str]
) -> None:
    version = staged_and_parked(pipeline, looks)
    pipeline.registry.stage(version, "Archived")
    freeze(pipeline)
    assert "staged no more" in " ".join(approves(version, code=2).split())
    assert pipeline.audit_log.decisions(version) == []
    pipeline.clock.now += FREEZE_SECONDS
    put_on_record(pipeline.audit_log, pipeline.clock, DecisionKind.APPROVAL, version, "", WHY, "Ada")
    pipeline.run(version, assets=("production_release",))
    assert (pipeline.serving, pipeline.attempts(version)[0].basis) == (version, "approval")


def test_while_the_registry_is_away_what_was_approved_goes_on(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str]
) -> None:
    version = staged_and_parked(pipeline, looks)
    freeze(pipeline)
    approves(version)
    pipeline.clock.now += FREEZE_SECONDS
    (request,) = looks.look()
    pipeline.registry.go_down()
    pipeline.follow(version, request)
    assert (pipeline.serving, pipeline.attempts(version)[0].basis) == (version, "approval")


def test_an_approval_of_an_image_that_would_not_be_delivered_is_refused_at_once(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str]
) -> None:
    version = parked(pipeline, looks)
    before, runs = pipeline.attempts(version)[0].digest, len(pipeline.instance.get_runs())
    pipeline.registry._kept(version).checkpoint = b"others"
    pipeline.run(version)
    now = pipeline.attempts(version)[0].digest
    assert now != before
    said = " ".join(approves(version, "--digest", before, code=2).split())
    assert f"is {now[:19]} by now" in said
    assert (pipeline.audit_log.decisions(version), len(pipeline.instance.get_runs())) == ([], runs + 1)
    freeze(pipeline)
    approves(version, "--digest", now)


@pytest.mark.parametrize("by", ["Ada", "Ada (via page)"])
def test_what_somebody_approves_after_it_was_archived_is_released_if_no_freeze_is_open(
    pipeline: PipelineHarness, looks: Looks, by: str
) -> None:
    """What a command starts is known by a request, too."""
    version = staged_and_parked(pipeline, looks)
    pipeline.registry.stage(version, "Archived")
    said = put_on_record(pipeline.audit_log, pipeline.clock, DecisionKind.APPROVAL, version, "", WHY, by)
    request = request_of(said) if by.endswith(VIA_PAGE) else uuid4().hex
    pipeline.run(version, assets=("production_release",), tags={REQUEST_TAG: request})
    assert (pipeline.serving, pipeline.attempts(version)[0].basis) == (version, "approval")


def test_what_was_deleted_after_somebody_approved_it_on_the_page_is_parked(
    pipeline: PipelineHarness, looks: Looks
) -> None:
    version = staged_and_parked(pipeline, looks)
    by = f"Ada{VIA_PAGE}"
    said = put_on_record(pipeline.audit_log, pipeline.clock, DecisionKind.APPROVAL, version, "", WHY, by)
    pipeline.registry.delete(version)
    pipeline.run(version, assets=("production_release",), tags={REQUEST_TAG: request_of(said)})
    assert (pipeline.serving, pipeline.attempts(version)[0].outcome) == (FIRST, Outcome.PARKED)


def test_what_a_freeze_kept_from_being_asked_for_is_parked_once_nobody_wants_it_any_more(
    pipeline: PipelineHarness, looks: Looks
) -> None:
    """It was opened right after the button was pressed."""
    pipeline.change(settings=pipeline.resources.settings.model_copy(update={"pages_deciders": ["Ada"]}))
    version = staged_and_parked(pipeline, looks)
    put_on_record(pipeline.audit_log, pipeline.clock, DecisionKind.APPROVAL, version, "", WHY, f"Ada{VIA_PAGE}")
    freeze(pipeline)
    assert isinstance(pipeline.tick("page_approvals"), dg.SkipReason)
    pipeline.registry.stage(version, "Archived")
    pipeline.clock.now += FREEZE_SECONDS
    ticked = pipeline.tick("page_approvals")
    assert isinstance(ticked, dg.SensorResult)
    (request,) = ticked.run_requests or []
    pipeline.follow(version, request)
    assert (pipeline.serving, pipeline.attempts(version)[0].outcome) == (FIRST, Outcome.PARKED)
    assert isinstance(pipeline.tick("page_approvals"), dg.SkipReason)


def test_what_was_approved_before_a_freeze_kept_it_out_is_parked_once_nobody_wants_it_any_more(
    pipeline: PipelineHarness, looks: Looks
) -> None:
    version = staged_and_parked(pipeline, looks)
    said = put_on_record(pipeline.audit_log, pipeline.clock, DecisionKind.APPROVAL, version, "", WHY, "Ada")
    freeze(pipeline)
    pipeline.run(version, assets=("production_release",), tags={REQUEST_TAG: request_of(said)})
    assert pipeline.attempts(version)[0].frozen
    pipeline.registry.stage(version, "Archived")
    pipeline.clock.now += FREEZE_SECONDS
    (request,) = looks.look()
    pipeline.follow(version, request)
    assert (pipeline.serving, pipeline.attempts(version)[0].outcome) == (FIRST, Outcome.PARKED)
    assert looks.look() == []


def test_a_delivery_that_begins_while_its_approval_is_taken_back_is_told(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = parked(pipeline, looks)
    freeze(pipeline)
    approves(version)
    record = AuditLog.record_decision

    def begins(log: AuditLog, said: ManualDecision) -> None:
        under_way(pipeline, version)
        record(log, said)

    monkeypatch.setattr(AuditLog, "record_decision", begins)
    assert json.loads(approves(version, "--json", command="withdraw", code=0))["under_way"] is True


@pytest.mark.parametrize("how", ["withdrawn", "expired"])
def test_what_its_report_lets_in_does_not_go_on_by_itself_once_its_approval_counts_no_more(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str], how: str
) -> None:
    """Its run was asked for before that, and waits for its turn."""
    version = pipeline.stage(0.95)
    looks.look()
    pipeline.run(version, assets=("model_artifact", "image", "staging_release", "ab_report"))
    freeze(pipeline)
    pipeline.run(version, assets=("production_release",))
    assert pipeline.attempts(version)[0].frozen
    approves(version)
    pipeline.clock.now += FREEZE_SECONDS
    (request,) = looks.look()
    if how == "withdrawn":
        approves(version, command="withdraw", code=0)
    else:
        pipeline.clock.now += pipeline.resources.settings.decision_hours * 3600
    pipeline.follow(version, request)
    ended = pipeline.attempts(version)[0]
    assert (pipeline.serving, ended.outcome, ended.frozen) == (FIRST, Outcome.PARKED, False)
    assert looks.look() == []


def kept_out(pipeline: PipelineHarness, looks: Looks, by: str) -> tuple[str, ManualDecision]:
    """A version that somebody approved in time and that met a freeze all the same."""
    version = staged_and_parked(pipeline, looks)
    said = put_on_record(pipeline.audit_log, pipeline.clock, DecisionKind.APPROVAL, version, "", WHY, by)
    freeze(pipeline)
    pipeline.run(version, assets=("production_release",), tags={REQUEST_TAG: request_of(said)})
    assert pipeline.attempts(version)[0].frozen
    return version, said


@pytest.mark.parametrize("before", ["put off", "kept out", "kept out of the page"])
def test_an_override_in_the_freeze_lets_it_in_for_who_has_it_delivered_and_begins_nothing_by_itself(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str], before: str
) -> None:
    if before == "put off":
        version = parked(pipeline, looks)
        freeze(pipeline)
        approves(version)
    else:
        version, _ = kept_out(pipeline, looks, f"Ada{VIA_PAGE}" if "page" in before else "Ada")
    runs = len(pipeline.instance.get_runs())
    told = " ".join(approves(version, command="override", code=0).split())
    assert f"To deliver it now, type: banana-delivery deliver {version}" in told
    assert (looks.look(), len(pipeline.instance.get_runs())) == ([], runs)
    pipeline.run(version)
    assert (pipeline.serving, pipeline.attempts(version)[0].basis) == (version, "override")
    pipeline.clock.now += FREEZE_SECONDS
    assert looks.look() == []


@pytest.mark.parametrize("wanted", [True, False])
def test_what_was_overridden_and_not_delivered_goes_on_after_the_freeze_if_somebody_still_wants_it(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str], *, wanted: bool
) -> None:
    version = staged_and_parked(pipeline, looks)
    freeze(pipeline)
    approves(version)
    approves(version, command="override", code=0)
    if not wanted:
        pipeline.registry.stage(version, "Archived")
    pipeline.clock.now += FREEZE_SECONDS
    (request,) = looks.look()
    pipeline.follow(version, request)
    assert pipeline.serving == (version if wanted else FIRST)
    assert ("staged no more" in pipeline.attempts(version)[0].reason) is not wanted
    assert looks.look() == []


def test_what_is_overridden_and_archived_is_released_by_who_has_it_delivered(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str]
) -> None:
    version, _ = kept_out(pipeline, looks, "Ada")
    pipeline.registry.stage(version, "Archived")
    approves(version, command="override", code=0)
    pipeline.run(version)
    assert (pipeline.serving, pipeline.attempts(version)[0].basis) == (version, "override")


@pytest.mark.parametrize(
    ("status", "says", "goes_by_it"),
    [
        (dg.DagsterRunStatus.QUEUED, "waits for its turn", False),
        (dg.DagsterRunStatus.STARTING, "is being started", False),
        (dg.DagsterRunStatus.STARTED, "is under way", True),
        (dg.DagsterRunStatus.CANCELING, "is ending.", False),
    ],
)
def test_who_takes_back_is_told_exactly_what_becomes_of_a_delivery_that_has_not_ended(
    pipeline: PipelineHarness,
    looks: Looks,
    approves: Callable[..., str],
    status: dg.DagsterRunStatus,
    says: str,
    *,
    goes_by_it: bool,
) -> None:
    version = parked(pipeline, looks)
    freeze(pipeline)
    approves(version)
    under_way(pipeline, version, status)
    would = json.loads(approves(version, "--dry-run", "--json", command="withdraw", code=0))["would"]
    assert would["under_way"] is goes_by_it
    told = " ".join(approves(version, command="withdraw", code=0).split())
    assert f"A delivery of it {says}" in told
    assert (f"banana-delivery abort {version}" in told) is (says != "is ending.")


def test_a_delivery_that_has_said_how_it_ended_is_ending(
    pipeline: PipelineHarness, looks: Looks, approves: Callable[..., str]
) -> None:
    version = parked(pipeline, looks)
    freeze(pipeline)
    approves(version)
    run = under_way(pipeline, version)
    pipeline.audit_log.log(pipeline.attempts(version)[0].replace(run_id=run.run_id), Path("report"))
    assert "A delivery of it is ending." in " ".join(approves(version, command="withdraw", code=0).split())
