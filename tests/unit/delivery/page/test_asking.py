"""What a person sends from the page: only his, only once, only while somebody is there who could do it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from banana_delivery.delivery.page import asking
from banana_delivery.delivery.page.app import Page
from banana_delivery.policy.holds import PageAnswer
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.evidence.keys import EvidenceKeys
from banana_delivery.runs.evidence.requests import Board, Requests
from banana_delivery.runs.pages.app import guarded
from banana_delivery.settings import Settings
from banana_delivery.targets.fake import FakeTarget

HOME = "http://localhost:3000"
ADA = "ada@example.com"
FREEZE = {"act": "freeze", "reason": "A demo for the board."}
OURS = {"Origin": HOME, "Sec-Fetch-Site": "same-origin"}


@dataclass
class Pages:
    """The page behind its guard, and whoever has the key."""

    settings: Settings
    instance: dg.DagsterInstance
    client: TestClient

    @property
    def requests(self) -> Requests:
        return Requests(self.instance, CodeLocation.of(self.settings))

    def token(self, person: str = ADA) -> str:
        return str(self.client.get("/delivery/who", headers=self.named(person)).json()["token"])

    def named(self, person: str) -> dict[str, str]:
        return {"X-Forwarded-User": person, **OURS}

    def decide(self, told: dict[str, Any] | None = None, person: str = ADA, **headers: str) -> Any:
        sent = {"token": self.token(person), **FREEZE} if told is None else told
        return self.client.post("/delivery/decide", json=sent, headers={**self.named(person), **headers})


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    monkeypatch.setattr(asking, "BETWEEN_SECONDS", 0.01)
    settings = Settings(
        home=tmp_path,
        pages_login_header="X-Forwarded-User",
        pages_proxies=["127.0.0.1/32"],
        pages_deciders=[ADA, "bert"],
        pages_token=SecretStr("of the command line"),
    )
    # In files, which two may use at once; in memory one of them finds a table locked.
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        page = Page(settings, FakeTarget(), AuditLog(instance, CodeLocation.of(settings)))
        app = guarded(page.app(), settings, page.app())
        yield Pages(settings, instance, TestClient(app, base_url=HOME, client=("127.0.0.1", 5000)))


@pytest.fixture
def answering(pages: Pages) -> Iterator[Pages]:
    """With somebody there who answers everything."""
    requests, over = pages.requests, Event()
    requests.post(Board(beat="b"))

    def answer() -> None:
        while not over.wait(0.01):
            answers = {one.id: PageAnswer(done=True, said=f"{one.act} of {one.by}") for one in requests.latest()}
            requests.post(Board(beat="b", answers=answers))

    thread = Thread(target=answer)
    thread.start()
    yield pages
    over.set()
    thread.join(10)


def test_who_may_decide_gets_a_token_and_the_answer(answering: Pages) -> None:
    answer = answering.decide()
    assert (answer.status_code, answer.json()) == (200, {"done": True, "said": f"freeze of {ADA}"})
    (asked,) = answering.requests.latest()
    assert (asked.by, asked.reason) == (ADA, FREEZE["reason"])


def test_what_was_shown_tells_its_age_by_the_beat_that_came_with_it_and_no_newer_one(answering: Pages) -> None:
    assert answering.client.get("/delivery/now", headers=answering.named(ADA)).json()["beat"] == "b"
    for sent in ({"beat": "of this morning"}, {}):
        answering.decide({"token": answering.token(), **FREEZE, **sent})
    assert [one.beat for one in answering.requests.latest()] == ["of this morning", ""]


def test_the_page_has_a_key_of_its_own_and_makes_none_of_records(answering: Pages) -> None:
    answering.decide()
    assert (answering.settings.home / "pages.keys").stat().st_mode & 0o777 == 0o600
    assert not (answering.settings.home / "evidence.keys").exists()


def test_a_token_is_for_one_decision_of_one_person(answering: Pages) -> None:
    told = {"token": answering.token(), **FREEZE}
    assert answering.decide(told, person="bert").status_code == 409
    assert answering.decide(told).status_code == 409, "somebody else used it up"
    told["token"] = answering.token()
    assert answering.decide(told).status_code == 200
    assert answering.decide(told).status_code == 409, "a double click"
    assert len(answering.requests.latest()) == 1


def test_pages_that_are_served_by_several_processes_take_what_any_of_them_showed_and_that_once(
    answering: Pages,
) -> None:
    """As while one replaces the other, or for ever: whoever asks does not choose which of them hears him."""
    page = Page(answering.settings, FakeTarget(), AuditLog(answering.instance, CodeLocation.of(answering.settings)))
    app = page.app()
    client = TestClient(guarded(app, answering.settings, app), base_url=HOME, client=("127.0.0.1", 5000))
    berts, told = ({"token": answering.token(), **FREEZE} for _ in range(2))
    assert client.post("/delivery/decide", json=berts, headers=answering.named("bert")).status_code == 409
    answers = [
        client.post("/delivery/decide", json=told, headers=answering.named(ADA)),
        answering.decide(told),
    ]
    assert [one.status_code for one in answers] == [200, 409]
    assert len(answering.requests.latest()) == 1


@pytest.mark.parametrize("person", ["eve", "ADA@example.com"])
def test_who_may_only_look_has_no_token_and_decides_nothing(answering: Pages, person: str) -> None:
    who = answering.client.get("/delivery/who", headers=answering.named(person)).json()
    assert who == {"who": person, "may": False, "token": ""}
    assert answering.decide({"token": answering.token(), **FREEZE}, person=person).status_code == 403
    assert answering.requests.latest() == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Dest": "iframe"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Host": "evil.example"}, 403),
    ],
)
def test_no_other_page_decides_for_whoever_is_logged_in(answering: Pages, headers: dict[str, str], status: int) -> None:
    assert answering.decide(None, ADA, **headers).status_code == status
    assert answering.requests.latest() == []


def test_no_other_page_gets_a_token_or_frames_this_one(pages: Pages) -> None:
    foreign = {**pages.named(ADA), "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert pages.client.get("/delivery/who", headers=foreign).status_code == 403
    shown = pages.client.get("/delivery", headers={"X-Forwarded-User": ADA})
    assert any("frame-ancestors 'none'" in one for one in shown.headers.get_list("content-security-policy"))


def test_nobody_decides_by_following_a_link_or_by_the_command_lines_token(answering: Pages) -> None:
    assert answering.client.get("/delivery/decide", headers=answering.named(ADA)).status_code == 405
    token = {"Authorization": "Bearer of the command line", **OURS}
    sent = {"token": answering.token(), **FREEZE}
    assert answering.client.post("/delivery/decide", json=sent, headers=token).status_code == 403
    assert answering.client.post("/delivery", json=sent, headers=answering.named(ADA)).status_code == 405
    assert answering.requests.latest() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": "  "},
        {"reason": "x" * 501},
        {"act": "override"},
        {"act": None},
        {"version": 7},
        {"seen": "yesterday"},
        {"version": ["7"]},
    ],
)
def test_what_is_no_decision_is_refused_with_a_sentence(answering: Pages, wrong: dict[str, Any]) -> None:
    answer = answering.decide({"token": answering.token(), **FREEZE, **wrong})
    assert answer.status_code == 400
    assert answer.json()["said"].endswith(".")
    assert answering.requests.latest() == []


def test_a_body_without_end_is_not_read(answering: Pages) -> None:
    assert answering.decide({"token": answering.token(), **FREEZE, "version": "7" * 20_000}).status_code == 413


def test_while_nobody_is_there_who_could_do_it_nothing_is_asked(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pages.decide().status_code == 503
    pages.requests.post(Board(beat="old"))
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.05)
    answer = pages.decide()
    assert (answer.status_code, answer.json()["done"]) == (202, False), "it may have just begun"
    monkeypatch.setattr(asking, "SILENT_SECONDS", 0.0)
    time.sleep(0.01)
    answer = pages.decide()
    assert answer.status_code == 503
    assert "does not tick" in answer.text
    assert len(pages.requests.latest()) == 1


def test_a_key_that_cannot_be_had_is_a_sentence(pages: Pages) -> None:
    pages.requests.post(Board(beat="b"))
    (pages.settings.home / "pages.keys").write_text("short\n")
    (pages.settings.home / "pages.keys").chmod(0o600)
    answer = pages.decide()
    assert answer.status_code == 503
    assert "pages.keys" in answer.text


def test_a_key_that_is_not_there_is_told_before_anybody_presses_anything(
    tmp_path: Path,
) -> None:
    settings = Settings(
        home=tmp_path,
        pages_login_header="X-Forwarded-User",
        pages_proxies=["127.0.0.1/32"],
        pages_deciders=["*"],
        pages_key_file=tmp_path / "secret" / "keys",
    )
    with dg.DagsterInstance.ephemeral() as instance:
        page = Page(settings, FakeTarget(), AuditLog(instance, CodeLocation.of(settings))).app()
        client = TestClient(guarded(page, settings, page), base_url=HOME, client=("127.0.0.1", 5000))
        headers = {"X-Forwarded-User": ADA, **OURS}
        who = client.get("/delivery/who", headers=headers).json()
        assert (who["may"], who["token"]) == (False, "")
        assert f"There is no {settings.pages_key_file}, which BANANA_PAGES_KEY_FILE names" in who["said"]
        answer = client.post("/delivery/decide", json=FREEZE, headers=headers)
        assert (answer.status_code, answer.json()["said"]) == (503, who["said"])


def test_pages_that_only_show_let_nobody_decide(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        pages_login_header="X-Forwarded-User",
        pages_proxies=["127.0.0.1/32"],
        pages_deciders=["*"],
        pages_read_only=True,
    )
    with dg.DagsterInstance.ephemeral() as instance:
        page = Page(settings, FakeTarget(), AuditLog(instance, CodeLocation.of(settings))).app()
        client = TestClient(guarded(page, settings, page), base_url=HOME, client=("127.0.0.1", 5000))
        headers = {"X-Forwarded-User": ADA, **OURS}
        assert client.get("/delivery/who", headers=headers).json()["may"] is False
        assert client.post("/delivery/decide", json=FREEZE, headers=headers).status_code == 403


def test_the_keys_of_the_page_and_of_records_are_two(tmp_path: Path) -> None:
    location = CodeLocation.of(Settings(home=tmp_path, pages_key_file=tmp_path / "own"))
    assert location.asking == EvidenceKeys(
        tmp_path / "own", True, "BANANA_PAGES_KEY_FILE", apart_from=location.evidence
    )
    assert location.evidence.file != location.asking.file
