"""The scorecard of the page: the one of the command, counted again when the audit trail has something new."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from starlette.testclient import TestClient

from banana_delivery.delivery.page import scores
from banana_delivery.delivery.page.app import Page
from banana_delivery.delivery.page.scores import FRESH_SECONDS, Scores
from banana_delivery.delivery.upkeep.scores import score
from banana_delivery.policy.scorecard.card import Scorecard
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.settings import Settings
from banana_delivery.targets.fake import FakeTarget
from tests.unit.delivery.page.test_page import attempt

NOW = 2000.0


class Counted(Scores):
    """With clocks of its own, and how often it read the audit trail."""

    def __init__(self, log: AuditLog) -> None:
        self.seconds = 0.0
        super().__init__(log, lambda: NOW, lambda: self.seconds)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AuditLog]:
    with dg.DagsterInstance.ephemeral() as instance:
        log = AuditLog(instance, CodeLocation.of(Settings(home=tmp_path)))
        log.location.evidence.signing()
        yield log


def test_it_is_counted_once_until_something_is_added_or_it_is_old(
    log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[float] = []

    def count(log: AuditLog, since: float, until: float) -> Scorecard:
        counts.append(until)
        return score(log, since, until)

    monkeypatch.setattr(scores, "score", count)
    kept = Counted(log)
    assert "0 deliveries" in str(kept.told()["said"])
    for number in (1, 2):
        log.log(attempt(number), tmp_path / "report.html")
        assert [kept.told() for _ in range(3)] == [kept.told()] * 3
        assert f"{number} deliveries in 90 days" in str(kept.told()["said"])
    assert len(counts) == 3
    kept.seconds = FRESH_SECONDS + 1
    kept.told()
    assert len(counts) == 4


def test_every_figure_is_told_in_words_with_its_standing(log: AuditLog, tmp_path: Path) -> None:
    log.log(attempt(1), tmp_path / "report.html")
    told: Any = Counted(log).told()
    rows = {row["cells"][0]: row for row in told["rows"]}
    assert {len(row["cells"]) for row in rows.values()} == {7}
    right = rows["Deliveries that did right"]
    assert right["cells"][1] == "100 %"
    assert right["standing"] == "unsure", "one delivery says little"
    assert rows["Lead time, staged to 100 %"]["standing"] == "unknown"
    assert told["notes"]


def test_where_nobody_can_tell_what_is_signed_nothing_is_counted(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, evidence_key_file=tmp_path / "elsewhere")
    with dg.DagsterInstance.ephemeral() as instance:
        page = Page(settings, FakeTarget(), AuditLog(instance, CodeLocation.of(settings)))
        told = TestClient(page.app(), base_url="http://localhost:3000").get("/delivery/scores").json()
    assert told["rows"] == []
    assert "signed" in told["said"]
