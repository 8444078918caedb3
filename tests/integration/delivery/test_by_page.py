"""What people ask for on the page of deliveries is done by whoever has the key, once, as if they had typed it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from banana_delivery.delivery.deciding import by_page
from banana_delivery.delivery.deciding.by_page import COUNTS_SECONDS
from banana_delivery.delivery.deciding.going_on import request_of
from banana_delivery.delivery.page.app import asks_for
from banana_delivery.errors import EvidenceError
from banana_delivery.names import REQUEST_TAG
from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind, ManualDecision
from banana_delivery.policy.holds import Act, FreezeRecord, PageAnswer, PageRequest
from banana_delivery.policy.model import Environment, Outcome
from banana_delivery.policy.outcomes import Urgency
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import REQUESTS
from banana_delivery.runs.evidence.invitations import Invitation, read
from banana_delivery.runs.evidence.requests import Requests
from tests.integration.delivery.serving import FIRST
from tests.support.pipeline import PipelineHarness
from tests.unit.runs.test_instance import ticked

ADA = "ada@example.com"
BY = f"{ADA} (via page)"
UNDECIDED, UNDECIDED_TOO = 0.88, 0.884
WHY = "I looked at it."


@dataclass
class Desk:
    """The page's side and the sensor's, of one pipeline."""

    pipeline: PipelineHarness
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def requests(self) -> Requests:
        return Requests(self.pipeline.instance, self.pipeline.location)

    def tick(self) -> list[dg.RunRequest]:
        self.pipeline.tick("page_decisions")
        found = self.pipeline.tick("page_approvals")
        return list(found.run_requests or []) if isinstance(found, dg.SensorResult) else []

    def request(self, act: Act, **facts: object) -> PageRequest:
        told = {"id": f"request {next(self.numbers)}", "by": ADA, "reason": WHY, "beat": self.requests.board().beat}
        return PageRequest.model_validate({**told, "act": act, **facts})

    def ask(self, act: Act, **facts: object) -> PageRequest:
        asked = self.request(act, **facts)
        self.requests.ask(asked)
        return asked

    def answer(self, asked: PageRequest) -> PageAnswer:
        return self.requests.board().answers[asked.id]

    def asked(self, act: Act, **facts: object) -> PageAnswer:
        """Ask, let the sensor tick, and hear what became of it."""
        one = self.ask(act, **facts)
        self.tick()
        return self.answer(one)


def let(pipeline: PipelineHarness, *people: str) -> None:
    changes = {"pages_login_header": "X-Forwarded-User", "pages_deciders": list(people)}
    pipeline.change(settings=pipeline.resources.settings.model_copy(update=changes))


@pytest.fixture
def desk(pipeline: PipelineHarness) -> Iterator[Desk]:
    let(pipeline, ADA)
    one = Desk(pipeline)
    one.tick()
    yield one
    by_page._DESKS.clear()


def digest_of(pipeline: PipelineHarness, version: str) -> str:
    return pipeline.attempts(version)[0].digest


def parked(pipeline: PipelineHarness, found: float = UNDECIDED) -> str:
    version = pipeline.stage(found)
    pipeline.run(version)
    assert pipeline.attempts(version)[0].outcome is Outcome.PARKED
    return version


def released(pipeline: PipelineHarness) -> tuple[str, str]:
    second = pipeline.stage(0.95)
    pipeline.run(second)
    assert pipeline.serving == second
    return FIRST, second


def under_way(pipeline: PipelineHarness, version: str) -> dg.DagsterRun:
    return pipeline.instance.create_run_for_job(
        pipeline.defs.resolve_job_def("deliver"),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": version, **pipeline.location.tags},
    )


def test_where_nobody_may_decide_there_is_no_sensor_for_it(pipeline: PipelineHarness) -> None:
    assert "page_decisions" not in {one.name for one in pipeline.defs.sensors or ()}


def test_where_the_page_asks_by_a_key_that_signs_records_nobody_does_what_it_asks(desk: Desk) -> None:
    home = desk.pipeline.resources.settings.home
    beat = desk.requests.board().beat
    (home / "pages.keys").unlink(missing_ok=True)
    (home / "pages.keys").hardlink_to(home / "evidence.keys")
    for asks in (desk.tick, lambda: desk.ask(Act.FREEZE)):
        with pytest.raises(EvidenceError, match="BANANA_PAGES_KEY_FILE"):
            asks()
    assert desk.requests.board().beat == beat, "the page says that nobody is there"


def test_who_has_not_the_key_of_the_page_does_not_say_that_somebody_is_there(desk: Desk) -> None:
    """As where it was given to the webserver and not to the code server: what is asked would be met by silence."""
    pipeline, beat = desk.pipeline, desk.requests.board().beat
    there = pipeline.resources.settings
    gone = there.home / "secret" / "keys"
    pipeline.change(settings=there.model_copy(update={"pages_key_file": gone}))
    found = pipeline.tick("page_decisions")
    assert isinstance(found, dg.SkipReason)
    assert str(gone) in str(found.skip_message)
    pipeline.change(settings=there)
    assert desk.requests.board().beat == beat
    desk.tick()
    assert desk.requests.board().beat != beat


def test_an_approval_is_signed_and_lets_the_rest_of_the_delivery_go_on(desk: Desk) -> None:
    pipeline = desk.pipeline
    version = parked(pipeline)
    desk.tick()
    for digest in ("", f"sha256:{'e' * 64}"):
        assert not desk.asked(Act.APPROVE, version=version, digest=digest).done, "it was not shown"
    asked = desk.ask(Act.APPROVE, version=version, digest=digest_of(pipeline, version))
    (request,) = desk.tick()
    assert [one.run_key for one in desk.tick()] == [request.run_key], "Dagster makes one run of a key"
    assert desk.answer(asked).done
    (said,) = pipeline.audit_log.decisions(version)
    assert (said.kind, said.by, said.reason) == (DecisionKind.APPROVAL, BY, WHY)
    pipeline.follow(version, request)
    attempt = pipeline.attempts(version)[0]
    assert (attempt.outcome, attempt.basis, attempt.trigger) == (Outcome.RELEASED, "approval", "page")
    assert desk.tick() == []


def test_an_approval_that_no_sensor_starts_is_answered_with_that(desk: Desk) -> None:
    """As after an upgrade, where people start sensors by hand, and those of another pipeline run."""
    pipeline = desk.pipeline
    versions = [parked(pipeline, found) for found in (UNDECIDED, UNDECIDED_TOO)]
    desk.tick()
    here = pipeline.location.name
    pipeline.instance.add_instigator_state(ticked(1000.0, here, "page_decisions"))
    pipeline.instance.add_instigator_state(ticked(1000.0, "another pipeline", "page_approvals"))
    told = desk.asked(Act.APPROVE, version=versions[0], digest=digest_of(pipeline, versions[0]))
    assert told.done
    assert "page_approvals is stopped" in told.said
    pipeline.instance.add_instigator_state(ticked(1000.0, here, "page_approvals"))
    told = desk.asked(Act.APPROVE, version=versions[1], digest=digest_of(pipeline, versions[1]))
    assert "stopped" not in told.said


def test_a_stale_approval_puts_nothing_over_what_was_released_since(desk: Desk) -> None:
    pipeline = desk.pipeline
    old = parked(pipeline)
    digest = digest_of(pipeline, old)
    desk.tick()
    desk.ask(Act.APPROVE, version=old, digest=digest)
    (request,) = desk.tick()
    pipeline.follow(old, request)
    _, newer = released(pipeline)
    desk.tick()
    stale = desk.ask(Act.APPROVE, version=old, digest=digest, reason="I pressed it yesterday.")
    assert desk.tick() == []
    told = desk.answer(stale)
    assert (told.done, pipeline.serving) == (False, newer)
    assert "does not wait for an approval any more" in told.said
    assert [one.reason for one in pipeline.audit_log.decisions(old)] == [WHY]


def test_what_a_freeze_keeps_out_no_approval_lets_in(desk: Desk) -> None:
    pipeline = desk.pipeline
    undecided = parked(pipeline)
    desk.tick()
    assert desk.asked(Act.FREEZE).done
    told = desk.asked(Act.APPROVE, version=undecided, digest=digest_of(pipeline, undecided))
    assert not told.done
    assert "only wait again" in told.said
    good = pipeline.stage(0.95)
    pipeline.run(good)
    kept_out = pipeline.attempts(good)[0]
    assert (kept_out.outcome, kept_out.frozen) == (Outcome.PARKED, True)
    assert [one["version"] for one in asks_for([kept_out, pipeline.attempts(undecided)[0]])] == [undecided]
    assert desk.asked(Act.UNFREEZE, seen=getattr(pipeline.audit_log.freeze(), "at", None)).done
    assert not desk.asked(Act.APPROVE, version=good, digest=kept_out.digest).done
    assert pipeline.audit_log.decisions() == []


def test_an_approval_that_meets_a_run_which_is_just_ending_starts_what_follows(desk: Desk) -> None:
    pipeline = desk.pipeline
    version = parked(pipeline)
    run = under_way(pipeline, version)
    pipeline.audit_log.log(pipeline.attempts(version)[0].replace(run_id=run.run_id), Path("report"))
    desk.tick()
    desk.ask(Act.APPROVE, version=version, digest=digest_of(pipeline, version))
    assert [one.partition_key for one in desk.tick()] == [version]


def test_an_approval_waits_for_the_delivery_under_way_and_is_not_lost_with_the_process(desk: Desk) -> None:
    pipeline = desk.pipeline
    version = parked(pipeline)
    run = under_way(pipeline, version)
    desk.tick()
    asked = desk.ask(Act.APPROVE, version=version, digest=digest_of(pipeline, version))
    assert desk.tick() == []
    assert "under way" in desk.answer(asked).said
    by_page._DESKS.clear()  # As a process that was started anew.
    assert desk.tick() == []
    pipeline.audit_log.log(pipeline.attempts(version)[0].replace(run_id=run.run_id), Path("report"))
    (request,) = desk.tick()
    by_page._DESKS.clear()  # It died before Dagster heard of it.
    assert [one.run_key for one in desk.tick()] == [request.run_key]
    pipeline.follow(version, request)
    by_page._DESKS.clear()
    assert desk.tick() == []
    assert pipeline.serving == version


@pytest.mark.parametrize("later", ["a new report", "it expired"])
def test_an_approval_that_counts_no_more_starts_nothing(desk: Desk, later: str) -> None:
    pipeline = desk.pipeline
    version = parked(pipeline)
    run = under_way(pipeline, version)
    desk.tick()
    assert desk.asked(Act.APPROVE, version=version, digest=digest_of(pipeline, version)).done
    pipeline.instance.report_run_canceled(run)
    pipeline.audit_log.log(pipeline.attempts(version)[0].replace(run_id=run.run_id), Path("report"))
    if later == "it expired":
        pipeline.clock.now += 3600 * pipeline.resources.settings.decision_hours + 1
    else:
        pipeline.run(version)
        assert pipeline.attempts(version)[0].outcome is Outcome.PARKED
    assert desk.tick() == []


def test_one_approved_version_that_cannot_be_read_keeps_no_other_waiting_and_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = desk.pipeline
    versions = [parked(pipeline, found) for found in (UNDECIDED, UNDECIDED_TOO)]
    desk.tick()
    for version in versions:
        desk.ask(Act.APPROVE, version=version, digest=digest_of(pipeline, version))
    desk.tick()
    read = AuditLog.attempts

    def unreadable(log: AuditLog, version: str | None = None) -> list[AttemptRecord]:
        if version == min(versions):
            raise ValueError("A line cannot be read.")
        return read(log, version)

    monkeypatch.setattr(AuditLog, "attempts", unreadable)
    assert [one.partition_key for one in desk.tick()] == [max(versions)]
    tags = {REQUEST_TAG: request_of(next(iter(pipeline.audit_log.decisions(max(versions)))))}
    pipeline.cancelled(max(versions), tags)
    found = pipeline.tick("page_approvals")
    assert isinstance(found, dg.SkipReason)
    assert f"version {min(versions)} goes on, which was approved, is not known now" in str(found.skip_message)


def test_what_was_approved_on_the_page_and_met_a_freeze_goes_on_once_when_that_is_over(desk: Desk) -> None:
    pipeline = desk.pipeline
    version = parked(pipeline)
    desk.tick()
    desk.ask(Act.APPROVE, version=version, digest=digest_of(pipeline, version))
    (request,) = desk.tick()
    assert desk.asked(Act.FREEZE).done
    pipeline.follow(version, request)
    assert pipeline.attempts(version)[0].frozen
    assert desk.tick() == []
    by_page._DESKS.clear()  # As a process that was started anew.
    assert desk.tick() == []
    assert desk.asked(Act.UNFREEZE, seen=getattr(pipeline.audit_log.freeze(), "at", None)).done
    (again,) = desk.tick()
    assert again.run_key != request.run_key
    assert isinstance(pipeline.tick("staged_versions"), dg.SkipReason), "each sees to its own"
    pipeline.follow(version, again)
    assert pipeline.serving == version
    assert desk.tick() == []


def approved_and_put_off(desk: Desk, version: str) -> None:
    """Approved on the page, and kept by a freeze from what follows."""
    pipeline = desk.pipeline
    asked = desk.ask(Act.APPROVE, version=version, digest=digest_of(pipeline, version))
    (request,) = desk.tick()
    assert desk.answer(asked).done
    assert desk.asked(Act.FREEZE, until="2h").done
    pipeline.follow(version, request)
    assert pipeline.attempts(version)[0].frozen


def test_where_nobody_decides_on_the_page_any_more_what_was_approved_there_goes_on_all_the_same(desk: Desk) -> None:
    pipeline = desk.pipeline
    version = parked(pipeline)
    pipeline.tick("staged_versions")
    approved_and_put_off(desk, version)
    let(pipeline)
    pipeline.clock.now += 7200
    looked = pipeline.tick("staged_versions")
    assert isinstance(looked, dg.SensorResult)
    assert REQUEST_TAG in dict(next(iter(looked.run_requests or ())).tags or {})


def stands(pipeline: PipelineHarness, version: str) -> float:
    """When the latest was said that the page shows of a version."""
    return next(iter(pipeline.audit_log.decisions(version))).at


def test_what_was_approved_is_taken_back_and_twice_or_late_is_told_so(desk: Desk) -> None:
    pipeline = desk.pipeline
    version = parked(pipeline)
    desk.tick()
    assert desk.asked(Act.APPROVE, version=version, digest=digest_of(pipeline, version)).done
    seen = stands(pipeline, version)
    told = desk.asked(Act.WITHDRAW, version=version, seen=seen, reason="I looked again.")
    assert (told.done, told.said) == (
        True,
        f"On record as {BY}: of version {version}, no more counts the approval of {BY} ({WHY}).",
    )
    assert (pipeline.audit_log.decisions(version), desk.tick()) == ([], [])
    (said, _) = pipeline.audit_log.all_decisions(version)
    assert (said.kind, said.by, said.reason) == (DecisionKind.WITHDRAWAL, BY, "I looked again.")
    again = desk.asked(Act.WITHDRAW, version=version, seen=seen)
    assert (again.done, "nothing to take back" in again.said) == (False, True)
    assert len([*pipeline.audit_log.all_decisions(version)]) == 2
    desk.ask(Act.APPROVE, version=version, digest=digest_of(pipeline, version))
    (request,) = desk.tick()
    pipeline.follow(version, request)
    assert pipeline.serving == version
    late = desk.asked(Act.WITHDRAW, version=version, seen=stands(pipeline, version))
    assert (late.done, "nothing to take back" in late.said) == (False, True), "it came in by that, and is not put out"


def test_what_is_taken_back_is_what_was_shown(desk: Desk) -> None:
    """Whoever said something since had reasons that were not seen."""
    let(desk.pipeline, ADA, "bert")
    pipeline = desk.pipeline
    version = parked(pipeline)
    desk.tick()
    digest = digest_of(pipeline, version)
    assert desk.asked(Act.APPROVE, version=version, digest=digest).done
    seen = stands(pipeline, version)
    pipeline.clock.now += 1
    assert desk.asked(Act.APPROVE, version=version, digest=digest, by="bert").done
    assert "not what counts now" in desk.asked(Act.WITHDRAW, version=version, seen=seen).said
    for unsaid in ({"version": version}, {"seen": stands(pipeline, version)}):
        assert "not said which" in desk.asked(Act.WITHDRAW, **unsaid).said
    assert len(pipeline.audit_log.decisions(version)) == 2
    told = desk.asked(Act.WITHDRAW, version=version, seen=stands(pipeline, version), by="bert")
    assert told.done
    assert all(f"the approval of {by} (via page)" in told.said for by in (ADA, "bert"))


def test_two_who_take_back_the_same_at_once_are_both_answered_and_one_is_on_record(desk: Desk) -> None:
    let(desk.pipeline, ADA, "bert")
    pipeline = desk.pipeline
    version = parked(pipeline)
    desk.tick()
    assert desk.asked(Act.APPROVE, version=version, digest=digest_of(pipeline, version)).done
    both = [desk.ask(Act.WITHDRAW, version=version, seen=stands(pipeline, version), by=by) for by in (ADA, "bert")]
    desk.tick()
    assert [desk.answer(one).done for one in both] == [True, False]
    assert [one.by for one in pipeline.audit_log.all_decisions(version)] == [BY, BY]


@pytest.mark.parametrize("by", ["Ada", BY])
def test_what_a_freeze_puts_off_is_taken_back_and_does_not_go_on_after_it(desk: Desk, by: str) -> None:
    pipeline = desk.pipeline
    version = parked(pipeline)
    desk.tick()
    if by == BY:
        approved_and_put_off(desk, version)
    else:
        assert desk.asked(Act.FREEZE, until="2h").done
        said = ManualDecision(kind=DecisionKind.APPROVAL, version=version, by=by, reason=WHY, at=1.0, frozen=True)
        pipeline.audit_log.record_decision(said.replace(digest=digest_of(pipeline, version)))
    assert desk.asked(Act.WITHDRAW, version=version, seen=stands(pipeline, version)).done
    pipeline.clock.now += 7200
    assert desk.tick() == []
    assert REQUEST_TAG not in str(pipeline.tick("staged_versions"))
    assert pipeline.serving == FIRST


def test_who_takes_back_is_told_of_a_delivery_that_goes_by_it_and_of_one_that_will_not(desk: Desk) -> None:
    pipeline = desk.pipeline
    version = parked(pipeline)
    run = under_way(pipeline, version)
    desk.tick()
    assert desk.asked(Act.APPROVE, version=version, digest=digest_of(pipeline, version)).done
    told = desk.asked(Act.WITHDRAW, version=version, seen=stands(pipeline, version))
    assert "into production it goes only if it may without that" in told.said
    assert f"banana-delivery abort {version}" in told.said
    pipeline.instance.report_run_canceled(run)


def test_who_is_asked_by_a_message_finds_the_attempt_by_its_link(desk: Desk) -> None:
    pipeline = desk.pipeline
    settings = pipeline.resources.settings
    pipeline.change(settings=settings.model_copy(update={"dagster_public_url": "https://pages.example.com"}))
    version = parked(pipeline)
    (asking,) = [one for one in pipeline.sent if one.urgency is Urgency.ASKS]
    label, address = asking.links[0]
    page, _, text = address.partition("?asks=")
    assert (label, page) == ("Decide", "https://pages.example.com/delivery")
    assert read(text, pipeline.location) == Invitation.about(pipeline.attempts(version)[0])


def test_a_rollback_takes_out_what_was_shown_and_twice_is_once(desk: Desk) -> None:
    pipeline = desk.pipeline
    first, second = released(pipeline)
    desk.tick()
    digest = digest_of(pipeline, second)
    answers = [desk.asked(Act.ROLLBACK, version=second, digest=digest) for _ in range(2)]
    assert [one.done for one in answers] == [True, False]
    assert pipeline.serving == first
    attempt = pipeline.attempts(second)[0]
    assert (attempt.outcome, attempt.actor, attempt.revoked) == (Outcome.ROLLED_BACK, BY, True)


def test_users_are_brought_back_before_anything_else_is_seen_to(desk: Desk) -> None:
    pipeline = desk.pipeline
    first, second = released(pipeline)
    desk.tick()
    told = desk.asked(Act.ROLLBACK, version=first, digest=digest_of(pipeline, first))
    assert (told.done, pipeline.serving) == (False, second), "the page was stale"
    freeze = desk.ask(Act.FREEZE)
    back = desk.ask(Act.ROLLBACK, version=second, digest=digest_of(pipeline, second))
    desk.tick()
    assert list(desk.requests.board().answers)[1:] == [back.id, freeze.id]
    assert pipeline.serving == first


def test_a_delivery_is_paused_goes_on_and_is_ended_if_it_is_the_one_that_was_shown(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = desk.pipeline
    version = pipeline.stage()
    run = under_way(pipeline, version)
    claim = pipeline.target.claim(Environment.PRODUCTION, run.run_id)
    cancelled: list[str] = []
    monkeypatch.setattr(pipeline.instance.run_coordinator, "cancel_run", cancelled.append)

    for act in (Act.PAUSE, Act.RESUME, Act.ABORT):
        assert not desk.asked(act, run_id="another").done
        assert "which delivery" in desk.asked(act).said, "whichever is there is none that was shown"
    assert pipeline.audit_log.pause(run.run_id) is None
    assert desk.asked(Act.PAUSE, run_id=run.run_id).done
    standing = pipeline.audit_log.pause(run.run_id)
    assert standing is not None
    assert standing.by == BY
    berts = standing.replace(by="Bert", reason="Wait for me.", at=standing.at + 1)
    pipeline.audit_log.record_pause(berts)
    for seen in (None, standing.at):
        assert "is not the one that stands" in desk.asked(Act.RESUME, run_id=run.run_id, seen=seen).said
    assert pipeline.audit_log.pause(run.run_id) == berts
    assert desk.asked(Act.RESUME, run_id=run.run_id, seen=berts.at).done
    assert pipeline.audit_log.pause(run.run_id) is None
    told = desk.asked(Act.ABORT, run_id=run.run_id)
    assert (told.done, "could not tell its process" in told.said) == (True, True)
    assert cancelled == [run.run_id]
    pipeline.target.release(claim)
    pipeline.instance.report_run_canceled(run)
    pipeline.after(pipeline.run_of(run.run_id))
    attempt = pipeline.attempts(version)[0]
    assert (attempt.outcome, attempt.actor, attempt.reason) == (Outcome.CANCELLED, BY, f"{BY} aborted it: {WHY}")
    assert pipeline.registry.describe(version).stage == "Staging"


def test_a_freeze_ends_by_whoever_saw_that_very_freeze(desk: Desk) -> None:
    pipeline = desk.pipeline
    assert desk.asked(Act.FREEZE, until="2h").done
    stands = pipeline.audit_log.freeze()
    assert stands is not None
    assert (stands.by, stands.frozen) == (BY, True)
    assert not desk.asked(Act.UNFREEZE).done
    longer = FreezeRecord(frozen=True, by="Bert", reason="Longer.", at=pipeline.clock.time() + 1)
    pipeline.audit_log.record_freeze(longer)
    assert not desk.asked(Act.UNFREEZE, seen=stands.at).done
    assert desk.asked(Act.UNFREEZE, seen=longer.at).done
    lifted = pipeline.audit_log.freeze()
    assert lifted is not None
    assert not lifted.frozen


@pytest.mark.parametrize("policy", ["freeze: [{from: 'Mon 00:00', until: 'Sun 23:59', zone: UTC}]\n", "mode: [\n"])
def test_who_lifts_a_freeze_is_told_what_keeps_deliveries_out_all_the_same(desk: Desk, policy: str) -> None:
    pipeline = desk.pipeline
    assert desk.asked(Act.FREEZE, until="2h").done
    pipeline.set_policy(policy)
    told = desk.asked(Act.UNFREEZE, seen=getattr(pipeline.audit_log.freeze(), "at", None))
    assert told.done
    if "freeze" in policy:
        assert "Frozen (Mon 00:00 to Sun 23:59 UTC)" in told.said
        assert "may enter" not in told.said
    else:
        assert "may enter" in told.said, "what cannot be read keeps nobody from lifting a freeze"


def test_the_end_of_a_freeze_is_told_by_the_clock_of_who_typed_it(desk: Desk) -> None:
    zone = ZoneInfo("Asia/Kathmandu")
    tomorrow = datetime.fromtimestamp(desk.pipeline.clock.time() + 86_400, zone).replace(second=0, microsecond=0)
    told = desk.asked(Act.FREEZE, until=f"{tomorrow:%Y-%m-%d %H:%M}", zone=zone.key)
    stands = desk.pipeline.audit_log.freeze()
    assert stands is not None
    assert (told.done, stands.until) == (True, tomorrow.timestamp())
    assert f"until {tomorrow:%Y-%m-%d %H:%M} +0545" in told.said
    assert "no time zone" in desk.asked(Act.FREEZE, until="3d", zone="Mars/Olympus").said


def test_a_time_that_is_none_is_answered_with_a_sentence(desk: Desk) -> None:
    told = desk.asked(Act.FREEZE, until="soon")
    assert not told.done
    assert "soon" in told.said


def test_whoever_may_not_decide_or_says_no_reason_is_told_so(desk: Desk) -> None:
    assert "may not decide" in desk.asked(Act.FREEZE, by="eve").said
    assert "reason" in desk.asked(Act.FREEZE, reason=" ").said
    let(desk.pipeline, "*")
    assert desk.asked(Act.FREEZE, by="eve").done


def test_what_was_asked_while_nobody_was_there_is_never_done(desk: Desk) -> None:
    late = desk.ask(Act.FREEZE)
    desk.pipeline.clock.now += COUNTS_SECONDS + 1
    desk.tick()
    assert "too old" in desk.answer(late).said
    before = desk.ask(Act.FREEZE)
    by_page._DESKS.clear()  # As a process that was started anew.
    desk.tick()
    assert "too old" in desk.answer(before).said
    assert desk.pipeline.audit_log.freeze() is None


def test_two_people_at_once_are_both_heard_and_on_record(desk: Desk) -> None:
    let(desk.pipeline, ADA, "bert")
    version = parked(desk.pipeline)
    desk.tick()
    digest = digest_of(desk.pipeline, version)
    for by in (ADA, "bert"):
        desk.ask(Act.APPROVE, version=version, digest=digest, by=by)
    requests = desk.tick()
    assert {one.by for one in desk.pipeline.audit_log.decisions(version)} == {BY, "bert (via page)"}
    assert {one.partition_key for one in requests} == {version}


def test_a_request_that_is_written_twice_is_taken_up_once(desk: Desk) -> None:
    asked = desk.request(Act.FREEZE)
    desk.requests.ask(asked)
    desk.tick()
    desk.requests.ask(asked)
    stands = desk.pipeline.audit_log.freeze()
    desk.tick()
    assert desk.pipeline.audit_log.freeze() == stands


def test_whoever_can_write_into_the_database_alone_asks_for_nothing(desk: Desk) -> None:
    pipeline = desk.pipeline
    strangers = replace(pipeline.location, asking=replace(pipeline.location.asking, file=None))
    forged = desk.request(Act.FREEZE)
    Requests(pipeline.instance, strangers).ask(forged)
    desk.tick()
    assert forged.id not in desk.requests.board().answers
    true = desk.ask(Act.FREEZE, until="1h")
    desk.tick()
    assert desk.answer(true).done
    key = pipeline.location.key(REQUESTS)
    (copied, *_) = pipeline.instance.fetch_observations(key, limit=1).records
    observed = copied.event_log_entry.dagster_event
    assert observed is not None
    by_page._DESKS[pipeline.location].taken.clear()
    by_page._DESKS[pipeline.location].answers.clear()
    again = dg.AssetObservation(key, metadata=observed.asset_observation_data.asset_observation.metadata)
    pipeline.instance.report_runless_asset_event(again)
    assert [one.id for one in desk.requests.latest()].count(true.id) == 1


def test_a_board_that_somebody_spoiled_is_an_empty_one(desk: Desk) -> None:
    storage = desk.pipeline.instance.daemon_cursor_storage
    storage.set_cursor_values({desk.requests._board: "no json"})
    assert desk.requests.board().beat == ""
    desk.tick()
    assert desk.requests.board().beat


def test_with_threads_to_spare_a_tick_hears_what_is_asked_while_it_waits(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("banana_delivery.defs.sensors.may_take_its_time", lambda *_: True)
    asked: list[PageRequest] = []

    def press() -> None:
        if not asked:
            asked.append(desk.ask(Act.FREEZE))

    began = desk.pipeline.clock.monotonic()
    desk.pipeline.clock.on_sleep.append(press)
    desk.tick()
    assert desk.answer(asked[0]).done
    assert desk.pipeline.clock.monotonic() - began < 5


def test_after_an_approval_the_same_tick_hears_who_freezes_and_nothing_begins_then(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("banana_delivery.defs.sensors.may_take_its_time", lambda *_: True)
    version = parked(desk.pipeline)
    asked: list[PageRequest] = []

    def press() -> None:
        if not asked:
            asked.append(desk.ask(Act.APPROVE, version=version, digest=digest_of(desk.pipeline, version)))
        elif asked[0].id in desk.requests.board().answers and len(asked) == 1:
            asked.append(desk.ask(Act.FREEZE))

    desk.pipeline.clock.on_sleep.append(press)
    assert desk.tick() == []
    assert [desk.answer(one).done for one in asked] == [True, True]
    assert desk.tick() == []
    desk.pipeline.audit_log.record_freeze(FreezeRecord(frozen=False, by="Bert", reason="Over.", at=0.0))
    assert [one.partition_key for one in desk.tick()] == [version]
