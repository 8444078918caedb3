"""What the page gives out: three files that load nothing from elsewhere, what was, and reports that cannot act."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import dagster as dg
import pytest
from starlette.testclient import TestClient

from banana_delivery.delivery.page import app, feed
from banana_delivery.delivery.page.app import Page
from banana_delivery.delivery.record_attempt import report_file
from banana_delivery.notifications.messages import report_path
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.evidence.invitations import Invitation, written
from banana_delivery.settings import Settings
from banana_delivery.targets.fake import FakeTarget

STATIC = files("banana_delivery.delivery.page").joinpath("static")
EVIL = "<img src=x onerror=alert(1)>"


def attempt(number: int, reason: str = "So.") -> AttemptRecord:
    return AttemptRecord(
        version=str(number), outcome=Outcome.REJECTED, reason=reason, at=1000.0 + number, run_id=f"run-{number}"
    )


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    settings = Settings(home=tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Page(settings, FakeTarget(), AuditLog(instance, CodeLocation.of(settings)))


@pytest.fixture
def browser(page: Page) -> TestClient:
    return TestClient(page.app(), base_url="http://localhost:3000")


def record(page: Page, one: AttemptRecord) -> None:
    page.log.log(one, report_file(page.settings, one))


class Loads(HTMLParser):
    """What a page loads, and what in it would act."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.addresses += [value for name, value in attrs if name in {"src", "href"} and value]
        self.inline += [name for name, _ in attrs if name.startswith("on") or name == "style"]
        self.inline += [tag] if tag == "style" or (tag == "script" and "src" not in named) else []
        self.ids += [named["id"] or ""] if "id" in named else []


def test_the_scorecard_is_shown_once_there_is_one(page: Page, browser: TestClient) -> None:
    told = [browser.get("/delivery/now").json()["scorecard"]]
    file = page.settings.home / "reports" / "scorecard.html"
    file.parent.mkdir()
    file.write_text("<h1>Kept</h1>")
    told.append(browser.get("/delivery/now").json()["scorecard"])
    assert told == [False, True]


def test_the_page_loads_nothing_from_elsewhere_and_nothing_in_it_acts_by_itself(browser: TestClient) -> None:
    answer = browser.get("/delivery")
    assert answer.status_code == 200
    loads = Loads()
    loads.feed(answer.text)
    assert all(address.startswith(("/", "#", "data:,")) for address in loads.addresses)
    assert loads.inline == []
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for own in (one for one in loads.addresses if one.startswith("/delivery/page")):
        assert browser.get(own).status_code == 200


def test_the_script_sets_text_alone_and_knows_every_part_that_it_fills(browser: TestClient) -> None:
    script = STATIC.joinpath("page.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)
    loads = Loads()
    loads.feed(browser.get("/delivery").text)
    wanted = {one for pair in re.findall(r'\$\("([\w-]+)"\)|say\("([\w-]+)"', script) for one in pair if one}
    assert wanted
    assert wanted <= set(loads.ids)
    assert len(loads.ids) == len(set(loads.ids))


def test_a_proxy_is_told_to_pass_on_each_event_at_once(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An nginx between keeps what it is given until some kilobytes are together; to one too many nothing is told."""
    monkeypatch.setattr(feed, "MOST_WATCHERS", 0)
    answer = browser.get("/delivery/events")
    assert "Too many watch" in answer.text
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-store"


def test_every_attempt_is_told_newest_first_page_by_page(
    page: Page, browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "AT_ONCE", 2)
    for number in range(3):
        record(page, attempt(number))
    first = browser.get("/delivery/history").json()
    assert [one["version"] for one in first["attempts"]] == ["2", "1"]
    assert first["more"] is True
    rest = browser.get("/delivery/history", params={"offset": 2}).json()
    assert [one["version"] for one in rest["attempts"]] == ["0"]
    assert rest["more"] is False


@pytest.mark.parametrize("offset", ["-1", "x", "1" * 40, ""])
def test_an_offset_that_is_none_is_refused(browser: TestClient, offset: str) -> None:
    assert browser.get("/delivery/history", params={"offset": offset}).status_code == 400


def test_a_report_is_linked_where_the_pages_serve_it_if_it_is_there(page: Page, browser: TestClient) -> None:
    for one in (attempt(7), attempt(8)):
        record(page, one)
    file = report_file(page.settings, attempt(7))
    file.parent.mkdir()
    file.write_text("<h1>So it was</h1>")
    told = {one["version"]: one["report"] for one in browser.get("/delivery/history").json()["attempts"]}
    assert told == {"7": report_path(attempt(7)), "8": ""}


def invited(page: Page, browser: TestClient, to: AttemptRecord) -> dict[str, str]:
    text = written(Invitation.about(to), page.log.location)
    answer = browser.get("/delivery/invited", params={"asks": text})
    assert answer.status_code == 200
    told: dict[str, str] = answer.json()
    return told


def test_a_link_of_a_message_holds_while_its_attempt_is_the_latest_and_waits(page: Page, browser: TestClient) -> None:
    now = time.time()
    parked = attempt(7).replace(outcome=Outcome.PARKED, digest="sha256:7", at=now)
    assert "waits no more" in invited(page, browser, parked)["said"], "nobody knows of it"
    for one in (parked, attempt(8)):
        record(page, one)
    told = invited(page, browser, parked)
    assert (told["said"], told["version"], told["digest"]) == ("", "7", "sha256:7")
    assert invited(page, browser, parked.replace(digest="sha256:8"))["said"], "another image"
    record(page, parked.replace(run_id="again", at=now + 1))
    assert "parked" in invited(page, browser, parked)["said"], "it was tried again since"
    record(page, parked.replace(outcome=Outcome.ROLLED_BACK, run_id="third", at=now + 2))
    assert "rolled back" in invited(page, browser, parked)["said"]


def test_a_link_is_older_than_a_decision_would_count_for_no_more(page: Page, browser: TestClient) -> None:
    old = attempt(7).replace(outcome=Outcome.PARKED, digest="sha256:7", at=time.time() - 73 * 3600)
    record(page, old)
    assert "older than 72 h" in invited(page, browser, old)["said"]


@pytest.mark.parametrize("text", ["", "x", "e30"])
def test_what_is_no_link_of_ours_is_answered_in_a_sentence(browser: TestClient, text: str) -> None:
    answer = browser.get("/delivery/invited", params={"asks": text})
    assert "not whole" in answer.json()["said"]
    assert browser.get("/delivery", params={"asks": text}).status_code == 200


def test_programs_may_ask_once_for_what_is(page: Page, browser: TestClient) -> None:
    record(page, attempt(7, reason=EVIL))
    now = browser.get("/delivery/now").json()
    assert now["attempts"][0]["reason"] == EVIL
    assert now["environments"]["production"]["step"] is None
    assert now["curves"] == []
