from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import dagster as dg
import pytest

from banana_delivery.delivery.rescue.choice import previous_release
from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind, ManualDecision
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outcomes import is_revoked
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.runs.records import as_metadata, to_metadata


@pytest.fixture
def history() -> Iterator[AuditLog]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield AuditLog(instance)


REPORT = Path("report.html")


def attempt(version: str, outcome: Outcome, at: float, run_id: str = "") -> AttemptRecord:
    return AttemptRecord(version=version, outcome=outcome, reason="Because.", at=at, run_id=run_id)


def test_attempts_come_back_whole_and_newest_first(history: AuditLog) -> None:
    first, second = attempt("1", Outcome.REJECTED, 1.0), attempt("1", Outcome.RELEASED, 2.0)
    history.log(first, REPORT)
    history.log(second, REPORT)
    history.log(attempt("2", Outcome.ERROR, 3.0), REPORT)
    assert [one.replace(order=0) for one in history.attempts("1")] == [second, first]
    assert [one.version for one in history.attempts()] == ["2", "1", "1"]


def test_a_run_is_logged_once(history: AuditLog) -> None:
    history.log(attempt("1", Outcome.ROLLED_BACK, 1.0, run_id="run"), REPORT)
    history.log(attempt("1", Outcome.ERROR, 2.0, run_id="run"), REPORT)
    assert [one.outcome for one in history.attempts("1")] == [Outcome.ROLLED_BACK]


def test_a_persons_word_is_kept_apart_from_attempts(history: AuditLog) -> None:
    word = ManualDecision(kind=DecisionKind.OVERRIDE, version="1", by="Ada", reason="I looked.", at=1.0)
    history.record_decision(word)
    assert [one.replace(order=0) for one in history.decisions("1")] == [word]
    assert history.decisions("2") == []
    assert history.attempts("1") == []


def test_an_event_that_somebody_made_by_hand_is_no_attempt(history: AuditLog) -> None:
    history.instance.report_runless_asset_event(dg.AssetMaterialization("rollout_log", partition="1"))
    assert history.attempts("1") == []


@pytest.mark.parametrize("page", [1, 3, 7])
def test_what_is_read_page_by_page_is_read_to_its_end(history: AuditLog, page: int) -> None:
    for number in range(7):
        history.log(attempt("1", Outcome.ERROR, float(number)), REPORT)
        history.record_decision(
            ManualDecision(kind=DecisionKind.OVERRIDE, version="1", by="Ada", reason="I looked.", at=float(number))
        )
    paged = AuditLog(history.instance, page=page)
    assert [one.at for one in paged.attempts("1")] == [6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    assert [one.at for one in paged.attempts()] == [one.at for one in paged.attempts("1")]
    assert len(paged.decisions("1")) == 7


def test_a_thousand_attempts_hide_neither_a_release_nor_that_a_version_was_revoked(history: AuditLog) -> None:
    history.log(attempt("1", Outcome.RELEASED, 0.0).replace(digest=f"sha256:{'1' * 64}"), REPORT)
    history.log(attempt("2", Outcome.ROLLED_BACK, 1.0).replace(revoked=True), REPORT)
    line = dg.AssetMaterialization(
        "rollout_log", partition="2", metadata=to_metadata(attempt("2", Outcome.SUPERSEDED, 2.0))
    )
    for _ in range(1001):
        history.instance.report_runless_asset_event(line)
    assert is_revoked(history.attempts("2"))
    found = previous_release(history.each_attempt(), live_digest=f"sha256:{'2' * 64}")
    assert found
    assert found.version == "1"


def test_what_is_not_asked_for_is_not_read(history: AuditLog) -> None:
    for number in range(5):
        history.log(attempt("1", Outcome.ERROR, float(number)), REPORT)
    fetched = []
    fetch = history.instance.fetch_materializations
    history.instance.fetch_materializations = lambda *a, **k: fetched.append(k["limit"]) or fetch(*a, **k)  # type: ignore[method-assign,func-returns-value]
    assert next(AuditLog(history.instance, page=2).each_attempt("1")).at == 4.0
    assert fetched == [2]


@pytest.mark.parametrize("observed", [False, True])
def test_the_newest_records_of_many_versions_are_read_without_the_rest(history: AuditLog, observed: bool) -> None:
    for number in range(40):
        if observed:
            history.record_decision(
                ManualDecision(kind=DecisionKind.OVERRIDE, version=f"{number}", by="Ada", reason="I looked.", at=number)
            )
        else:
            history.log(attempt(f"{number}", Outcome.ERROR, float(number)), REPORT)
    log = AuditLog(history.instance, page=4)
    fetched: list[int] = []
    name = "fetch_observations" if observed else "fetch_materializations"
    fetch = getattr(history.instance, name)
    setattr(history.instance, name, lambda *a, **k: fetched.append(k["limit"]) or fetch(*a, **k))  # type: ignore[func-returns-value]

    kind = ManualDecision if observed else AttemptRecord
    lines = islice(log._reader.lines(kind, "rollout_log", None, observed=observed), 10)

    assert [line.version for line in lines] == [f"{number}" for number in range(39, 29, -1)]
    assert sum(fetched) <= 12


def test_a_run_says_how_it_ended_where_people_look_first() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.DagsterRun(job_name="deliver", run_id="8d0b1f0e-3c59-4f0a-8b5c-6f1d2a3b4c5d")
        instance.add_run(run)
        refused = attempt("1", Outcome.REJECTED, 1.0, run.run_id).replace(reason="3 of 9 tests failed. " + "x" * 500)
        Runs(instance).say_end(refused)
        Runs(instance).say_end(attempt("1", Outcome.SUPERSEDED, 1.0, "1@5"))  # It never had a run.
        kept = instance.get_run_by_id(run.run_id)
        assert kept is not None
        assert kept.tags["banana/outcome"] == "rejected"
        assert kept.tags["banana/reason"].startswith("3 of 9 tests failed. x") and len(kept.tags["banana/reason"]) < 300
        [said] = [entry.message for entry in instance.all_logs(run.run_id)]
        assert said.startswith("Version 1 rejected: 3 of 9 tests failed.")


def test_moments_runs_and_numbers_are_shown_as_what_they_are() -> None:
    run_id = "8d0b1f0e-3c59-4f0a-8b5c-6f1d2a3b4c5d"
    shown = to_metadata(attempt("1", Outcome.RELEASED, 1_790_000_000.0, run_id))
    assert shown["at"] == dg.MetadataValue.timestamp(1_790_000_000.0)
    assert shown["run_id"] == dg.MetadataValue.dagster_run(run_id)
    assert to_metadata(attempt("1", Outcome.RELEASED, 1.0, "1@5"))["run_id"] == dg.MetadataValue.text("1@5")
    assert as_metadata({"mAP50": 0.8123, "failed": 0, "unknown": None}) == {
        "mAP50": dg.MetadataValue.float(0.812),
        "failed": dg.MetadataValue.int(0),
    }
