from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from banana_delivery.policy.asset_records import AttemptRecord, DecisionKind, ManualDecision
from banana_delivery.policy.model import Outcome
from banana_delivery.runs.audit_log import AuditLog


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
