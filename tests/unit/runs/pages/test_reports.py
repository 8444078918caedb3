"""A report opens wherever the pages do, for whoever may see them, and nothing else of the home does."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from banana_delivery.notifications.messages import report_name, report_path
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.runs.pages.app import guarded
from banana_delivery.settings import Settings

ATTEMPT = AttemptRecord(version="7", outcome=Outcome.ROLLED_BACK, reason="Because.", at=1_790_000_000.4)


async def dagster(scope: Scope, receive: Receive, send: Send) -> None:
    """What is behind the reports; it says that it was asked."""
    del scope, receive
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b"dagster"})


@pytest.fixture
def pages(tmp_path: Path) -> TestClient:
    (tmp_path / "reports").mkdir()
    (tmp_path / "evidence.keys").write_text("secret")
    app = guarded(dagster, Settings(home=tmp_path, dagster_prefix="team"))
    return TestClient(app, base_url="http://localhost:3000", follow_redirects=False)


@pytest.mark.parametrize("version", ["7", "../7", "a b/c"])
def test_the_link_of_a_message_leads_to_its_report_and_the_report_runs_nothing(
    pages: TestClient, tmp_path: Path, version: str
) -> None:
    attempt = ATTEMPT.replace(version=version)
    (tmp_path / "reports" / f"{report_name(attempt)}.html").write_text("<p>all of it</p>")
    answer = pages.get(report_path(attempt))
    assert (answer.status_code, answer.text) == (200, "<p>all of it</p>")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    for rule in ("default-src 'none'", "sandbox", "frame-ancestors 'self'"):
        assert rule in policy
    assert "script-src" not in policy


def test_the_scorecard_is_there_once_it_was_made(pages: TestClient, tmp_path: Path) -> None:
    assert pages.get("/reports/scorecard").status_code == 404
    (tmp_path / "reports" / "scorecard.html").write_text("<h1>Kept</h1>")
    answer = pages.get("/reports/scorecard")
    assert (answer.status_code, answer.text) == (200, "<h1>Kept</h1>")
    assert "sandbox" in answer.headers["content-security-policy"]


def test_a_report_that_is_gone_leads_to_the_audit_trail_of_its_version(pages: TestClient) -> None:
    answer = pages.get(report_path(ATTEMPT))
    assert answer.status_code == 303
    assert answer.headers["location"] == "/assets/team/rollout_log?partition=7&view=partitions"


@pytest.mark.parametrize(
    "path",
    ["/reports/", "/reports/7", "/reports/..%2f..%2fevidence.keys", "/reports/.x/1-released", "/reports/7/x.html"],
)
def test_nothing_else_is_found_there(pages: TestClient, path: str) -> None:
    answer = pages.get(path)
    assert answer.status_code in {400, 404} and "secret" not in answer.text


def test_a_link_in_the_folder_leads_nowhere_else(pages: TestClient, tmp_path: Path) -> None:
    for name in (report_name(ATTEMPT), "scorecard"):
        (tmp_path / "reports" / f"{name}.html").symlink_to(tmp_path / "evidence.keys")
    for path in (report_path(ATTEMPT), "/reports/scorecard"):
        answer = pages.get(path)
        assert answer.status_code in {303, 404} and "secret" not in answer.text


def test_a_stranger_s_name_for_this_machine_shows_no_report(pages: TestClient) -> None:
    assert pages.get(report_path(ATTEMPT), headers={"host": "evil.example"}).status_code == 403


def test_everything_else_is_dagsters(pages: TestClient) -> None:
    assert pages.get("/runs").status_code == 418
