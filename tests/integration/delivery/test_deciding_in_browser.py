"""People decide on the page in a real browser: by keyboard alone, on any screen, once, and about what they see."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg
import pytest
from playwright.sync_api import Browser, Error, expect
from playwright.sync_api import Page as Shown

from banana_delivery.delivery.page.app import Page
from banana_delivery.delivery.page.feed import Feed
from banana_delivery.delivery.record_attempt import report_file
from banana_delivery.errors import DagsterError
from banana_delivery.policy.asset_records import DecisionKind, ManualDecision
from banana_delivery.policy.holds import FreezeRecord, PageAnswer, PageRequest
from banana_delivery.policy.model import Environment, Outcome
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.evidence.invitations import Invitation, written
from banana_delivery.runs.evidence.requests import Board, Requests
from banana_delivery.runs.pages.app import guarded
from banana_delivery.settings import Settings
from banana_delivery.targets.base import Takeover
from banana_delivery.targets.fake import FakeTarget
from tests.integration.delivery.test_page_in_browser import served_app, shifting
from tests.support.browser import SCREENS, browser, overflow, serious
from tests.unit.delivery.page.test_page import EVIL, attempt

__all__ = ["browser"]
ADA, BERT = "ada@example.com", "bert@example.com"
KEEP_EVENTS = """
const Real = EventSource;
window.EventSource = class extends Real { constructor(to) { super(to); window.told = this; } };
"""
ASLEEP = """
window.told.close();
for (let id = setTimeout(() => {}); id > 0; id--) clearInterval(id);
"""
"""A tab that hears nothing and does not notice, until somebody presses something in it."""
DEAF = """
const add = EventSource.prototype.addEventListener;
EventSource.prototype.addEventListener = function (kind, heard) {
  add.call(this, kind, (event) => window.deaf || heard(event));
};
"""
TELL_ONCE = """
fetch("/delivery/now").then((answer) => answer.text())
  .then((data) => told.dispatchEvent(new MessageEvent("message", { data })))
"""
TELL = Feed._tell
DIGEST = f"sha256:{41:0>64}"


@dataclass
class Scene:
    """A release under way behind a proxy that names people, and somebody with the key who answers."""

    address: str
    target: FakeTarget
    log: AuditLog
    requests: Requests

    def asked(self) -> list[PageRequest]:
        return self.requests.latest()


@contextmanager
def answering(requests: Requests) -> Iterator[None]:
    over = threading.Event()

    def answer() -> None:
        beats = 0
        while not over.wait(0.1):
            beats += 1
            told = {one.id: PageAnswer(done=True, said=f"{EVIL} {one.act} is done.") for one in requests.latest()}
            requests.post(Board(beat=str(beats), answers=told))

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


@pytest.fixture
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    settings = Settings(
        home=tmp_path_factory.mktemp("home"),
        pages_login_header="X-Forwarded-User",
        pages_proxies=["127.0.0.1/32"],
        pages_deciders=[ADA, BERT],
    )
    with dg.DagsterInstance.local_temp(str(settings.home)) as instance:
        target = shifting()
        page = Page(settings, target, AuditLog(instance, CodeLocation.of(settings)))
        parked = attempt(40, reason=f"{EVIL} too few users.").replace(
            outcome=Outcome.PARKED, digest=DIGEST, at=time.time()
        )
        page.log.log(parked, report_file(settings, parked))
        requests = Requests(instance, CodeLocation.of(settings))
        app = page.app()
        with answering(requests), served_app(guarded(app, settings, app)) as url:
            yield Scene(url, target, page.log, requests)


def opened(browser: Browser, scene: Scene, person: str = ADA, width: int = 1280, scheme: str = "light") -> Shown:
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
        extra_http_headers={"X-Forwarded-User": person},
    )
    page.goto(scene.address)
    expect(page.locator("#step-title")).to_contain_text("40 %")
    return page


def press(page: Shown, name: str) -> None:
    page.locator("#acts").get_by_role("button", name=name, exact=True).click()


@pytest.mark.parametrize(("width", "scheme"), SCREENS, ids=str)
def test_it_can_be_used_by_everybody_with_the_question_open_and_without(
    browser: Browser, scene: Scene, width: int, scheme: str
) -> None:
    page = opened(browser, scene, width=width, scheme=scheme)
    expect(page.locator("#who")).to_contain_text(ADA)
    names = page.locator("#acts button").all_inner_texts()
    assert names == ["Approve version 40", "Pause", "Abort", "Roll back version 42", "Freeze"]
    assert (serious(page), overflow(page) <= 0) == ([], True)
    press(page, "Freeze")
    expect(page.locator("#asking")).to_be_visible()
    assert (serious(page), overflow(page) <= 0) == ([], True)
    page.close()


def test_by_keyboard_alone_a_release_is_rolled_back_once(browser: Browser, scene: Scene) -> None:
    page = opened(browser, scene)
    button = page.locator("#acts").get_by_role("button", name="Roll back version 42")
    expect(button).to_be_visible()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Roll back version 42":
            break
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "why"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#asking")).to_be_visible()
    assert scene.asked() == [], "it has no reason yet"
    assert page.evaluate("document.activeElement.id") == "why", "where it is missing"
    page.keyboard.type("It mistakes shadows.")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator("#decided")).to_contain_text("rollback is done")
    expect(page.locator("#decided")).to_contain_text("onerror=alert(1)")
    (asked,) = scene.asked()
    assert (asked.act, asked.by, asked.version, asked.reason) == ("rollback", ADA, "42", "It mistakes shadows.")
    assert asked.digest.endswith("42")
    page.keyboard.press("Escape")
    page.close()


def test_what_changed_while_somebody_wrote_is_not_sent(browser: Browser, scene: Scene) -> None:
    page = opened(browser, scene)
    press(page, "Pause")
    page.locator("#why").fill("Lunch.")
    seen = scene.target.record(Environment.PRODUCTION)
    scene.target.claim(Environment.PRODUCTION, "another", seen=seen, takeover=Takeover.ANYBODY)
    expect(page.locator("#asking-changed")).to_contain_text("has changed")
    assert page.locator("#confirm").is_disabled()
    page.locator("#why").press("Control+Enter")
    assert scene.asked() == []
    page.close()


def test_an_approval_names_the_image_that_was_shown_and_a_freeze_its_end(browser: Browser, scene: Scene) -> None:
    page = opened(browser, scene)
    press(page, "Approve version 40")
    expect(page.locator("#asking-what")).to_contain_text(DIGEST[:19])
    page.locator("#why").fill("Ten more photos say so.")
    page.locator("#confirm").click()
    expect(page.locator("#decided")).to_contain_text("approve is done")
    press(page, "Freeze")
    page.locator("#until").fill("2h")
    page.locator("#why").fill("A demo.")
    page.locator("#confirm").click()
    expect(page.locator("#decided")).to_contain_text("freeze is done")
    approval, freeze = scene.asked()
    assert (approval.version, approval.digest) == ("40", DIGEST)
    assert (freeze.until, freeze.version) == ("2h", "")
    said = FreezeRecord(frozen=True, by="Bert", reason="So.", at=time.time())
    scene.log.record_freeze(said)
    expect(page.locator("#acts")).to_contain_text("Unfreeze", timeout=15_000)
    press(page, "Unfreeze")
    page.locator("#why").fill("Over.")
    page.locator("#confirm").click()
    expect(page.locator("#decided")).to_contain_text("unfreeze is done")
    assert scene.asked()[-1].seen == said.at
    page.close()


def approved(scene: Scene, by: str = "Bert", kind: DecisionKind = DecisionKind.APPROVAL) -> ManualDecision:
    """What somebody said of the version that waits, put off by a freeze."""
    said = ManualDecision(kind=kind, version="40", digest=DIGEST, by=by, reason=EVIL, at=time.time(), frozen=True)
    scene.log.record_decision(said)
    return said


@pytest.mark.parametrize(("width", "scheme"), SCREENS, ids=str)
def test_what_was_approved_is_taken_back_by_who_sees_it(
    browser: Browser, scene: Scene, width: int, scheme: str
) -> None:
    approved(scene, by=f"{BERT} (via page)")
    said = approved(scene, kind=DecisionKind.OVERRIDE)
    page = opened(browser, scene, width=width, scheme=scheme)
    press(page, "Withdraw approval and override of version 40")
    expect(page.locator("#asking-what")).to_contain_text(f"the override of Bert ({EVIL}); the approval of {BERT}")
    assert (serious(page), overflow(page) <= 0) == ([], True)
    page.locator("#why").fill("The rare class looks worse.")
    page.locator("#confirm").dblclick()
    expect(page.locator("#decided")).to_contain_text("withdraw is done")
    (asked,) = scene.asked()
    assert (asked.act, asked.by, asked.version, asked.seen) == ("withdraw", ADA, "40", said.at)
    assert asked.reason == "The rare class looks worse."
    scene.log.record_decision(said.replace(kind=DecisionKind.WITHDRAWAL))
    expect(page.locator("#acts")).not_to_contain_text("Withdraw", timeout=15_000)
    page.close()


def test_of_two_who_take_back_at_once_the_later_one_is_told_that_it_has_changed(browser: Browser, scene: Scene) -> None:
    said = approved(scene)
    late = opened(browser, scene, person=BERT)
    press(late, "Withdraw approval of version 40")
    late.locator("#why").fill("I thought again.")
    scene.log.record_decision(said.replace(kind=DecisionKind.WITHDRAWAL, by=ADA))
    expect(late.locator("#asking-changed")).to_contain_text("has changed", timeout=15_000)
    assert late.locator("#confirm").is_disabled()
    late.locator("#why").press("Control+Enter")
    late.locator("#cancel").click()
    approved(scene)
    press(late, "Withdraw approval of version 40")
    late.locator("#why").fill("I thought again.")
    approved(scene, by="Carl")
    expect(late.locator("#asking-changed")).to_contain_text("has changed", timeout=15_000)
    assert scene.asked() == []
    late.close()


def test_what_counts_no_more_is_not_offered_to_be_taken_back(browser: Browser, scene: Scene) -> None:
    approved(scene)
    (parked,) = scene.log.attempts("40")
    scene.log.log(parked.replace(outcome=Outcome.RELEASED, run_id="later"), report_file(Settings(), parked))
    page = opened(browser, scene)
    expect(page.locator("#acts")).to_contain_text("Freeze")
    assert "Withdraw" not in page.locator("#acts").inner_text()
    page.close()


def followed(browser: Browser, scene: Scene, text: str, person: str = ADA) -> Shown:
    page = browser.new_page(extra_http_headers={"X-Forwarded-User": person})
    page.goto(f"{scene.address}?asks={text}")
    expect(page.locator("#step-title")).to_contain_text("40 %")
    return page


def test_a_link_from_a_message_opens_the_question_and_decides_nothing_by_itself(browser: Browser, scene: Scene) -> None:
    (parked,) = scene.log.attempts("40")
    text = written(Invitation.about(parked), scene.log.location)
    page = followed(browser, scene, text)
    expect(page.locator("#asking-title")).to_have_text("Approve version 40", timeout=15_000)
    assert page.evaluate("document.activeElement.id") == "why"
    assert "asks=" not in page.url, "whoever looks over a shoulder, or at a history, has none"
    assert scene.asked() == []
    page.locator("#why").fill("I looked at it.")
    page.locator("#confirm").click()
    expect(page.locator("#decided")).to_contain_text("approve is done")
    (asked,) = scene.asked()
    assert (asked.act, asked.by, asked.version, asked.digest) == ("approve", ADA, "40", DIGEST)
    page.close()
    looking = followed(browser, scene, text, person="eve")
    expect(looking.locator("#invited")).to_contain_text("banana-delivery approve 40", timeout=15_000)
    assert not looking.locator("#asking").is_visible()
    looking.close()
    scene.log.log(parked.replace(outcome=Outcome.RELEASED, run_id="later"), report_file(Settings(), parked))
    late = followed(browser, scene, text)
    expect(late.locator("#invited")).to_contain_text("waits no more", timeout=15_000)
    assert len(scene.asked()) == 1
    late.close()


def test_who_is_not_connected_decides_nothing_until_he_is_again(browser: Browser, scene: Scene) -> None:
    page = browser.new_page(extra_http_headers={"X-Forwarded-User": ADA})
    page.add_init_script(KEEP_EVENTS)
    page.goto(scene.address)
    press(page, "Pause")
    page.locator("#why").fill("Lunch.")
    page.evaluate(f"{ASLEEP} window.told.dispatchEvent(new Event('error'))")
    expect(page.locator("#asking-changed")).to_contain_text("Not connected")
    assert page.locator("#confirm").is_disabled()
    page.locator("#why").press("Control+Enter")
    assert scene.asked() == []
    page.locator("#cancel").click()
    assert page.locator("#acts button:enabled").count() == 0
    page.evaluate(TELL_ONCE)
    expect(page.locator("#acts button:disabled")).to_have_count(0)
    page.close()


def test_a_connection_that_died_unheard_is_told_and_made_anew(browser: Browser, scene: Scene) -> None:
    """No error is told of one that a firewall forgot, or that a laptop slept through."""
    page = browser.new_page(extra_http_headers={"X-Forwarded-User": ADA})
    page.clock.install()
    page.add_init_script(DEAF)
    page.goto(scene.address)
    expect(page.locator("#link")).to_have_text("Live.")
    page.evaluate("window.deaf = true")
    page.clock.fast_forward("00:30")
    expect(page.locator("#link")).to_contain_text("Not connected")
    assert page.locator("#acts button:enabled").count() == 0
    page.evaluate("window.deaf = false")
    page.clock.fast_forward("00:30")
    expect(page.locator("#link")).to_have_text("Live.")
    expect(page.locator("#acts button:disabled")).to_have_count(0)
    page.close()


def test_an_answer_from_in_between_ends_no_watch(browser: Browser, scene: Scene) -> None:
    """A proxy answers for pages that are just started anew; a browser alone would ask no more."""
    page = browser.new_page(extra_http_headers={"X-Forwarded-User": ADA})
    page.clock.install()
    page.route("**/delivery/events", lambda route: route.fulfill(status=503), times=1)
    page.goto(scene.address)
    expect(page.locator("#link")).to_contain_text("Not connected")
    page.clock.fast_forward("00:10")
    expect(page.locator("#link")).to_have_text("Live.")
    page.close()


def test_what_could_not_be_looked_at_is_told_and_what_is_shown_is_of_before(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = opened(browser, scene)
    link = page.locator("#link")
    expect(link).to_have_text("Live.")
    with monkeypatch.context() as broken:
        broken.setattr(AuditLog, "freeze", fails)
        expect(link).to_contain_text("was decided and ended is shown as it was seen last", timeout=15_000)
        expect(link).to_contain_text(f"{EVIL} no longer answers.")
        expect(link).to_have_class("lost")
        expect(page.locator("#step-title")).to_contain_text("40 %")
        assert page.locator("#link img").count() == 0
    expect(link).to_have_text("Live.", timeout=15_000)
    expect(link).not_to_have_class("lost")
    page.close()


def fails(_: AuditLog) -> FreezeRecord:
    raise DagsterError(f"{EVIL} no longer answers.")


def without_staging(text: str) -> str:
    told = json.loads(text)
    del told["environments"]["staging"]
    return json.dumps(told)


UNKNOWN = {"cut off": lambda text: text[:-1], "of another kind": lambda _: "null", "lacks a part": without_staging}


@pytest.mark.parametrize("another", UNKNOWN.values(), ids=UNKNOWN)
def test_where_what_is_told_cannot_be_shown_nobody_decides_and_the_page_asks_to_be_loaded_again(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch, another: Callable[[str], str]
) -> None:
    """As where it was loaded before an upgrade of the pages, to which it is connected again."""
    page = opened(browser, scene)
    link = page.locator("#link")
    faults: list[Error] = []
    page.on("pageerror", lambda fault: faults.append(fault))  # noqa: PLW0108 - Playwright marks what it calls
    press(page, "Pause")
    page.locator("#why").fill("Lunch.")
    with monkeypatch.context() as upgraded:
        upgraded.setattr(Feed, "_tell", lambda feed, text: TELL(feed, another(text)))
        expect(link).to_contain_text("Load this page again.", timeout=15_000)
        expect(link).to_have_class("lost")
        assert page.locator("#confirm").is_disabled()
        page.locator("#why").press("Control+Enter")
        page.locator("#cancel").click()
        assert page.locator("#acts button:enabled").count() == 0
        for _ in range(100):  # However often it is told.
            page.wait_for_timeout(0 if len(faults) > 2 else 200)
        assert len(faults) > 2, "it stands in the browser's console, too"
        expect(link).to_contain_text("Load this page again.")
        assert page.locator("#acts button:enabled").count() == 0
    expect(link).to_have_text("Live.", timeout=15_000)
    expect(page.locator("#acts button:disabled")).to_have_count(0)
    assert scene.asked() == []
    page.close()


def test_a_request_names_the_beat_that_was_shown_and_the_clock_of_who_asks(browser: Browser, scene: Scene) -> None:
    page = browser.new_page(extra_http_headers={"X-Forwarded-User": ADA}, timezone_id="Asia/Tokyo")
    page.goto(scene.address)
    press(page, "Freeze")
    expect(page.locator("#zone")).to_have_text("Asia/Tokyo")
    shown: list[str] = []
    page.on("request", lambda one: shown.append(one.post_data or "") if one.url.endswith("/decide") else None)
    page.locator("#why").fill("A demo.")
    page.locator("#confirm").click()
    expect(page.locator("#decided")).to_contain_text("freeze is done")
    (asked,) = scene.asked()
    assert (asked.zone, asked.beat) == ("Asia/Tokyo", json.loads(shown[0])["beat"])
    assert asked.beat
    page.close()


def test_nothing_is_decided_in_the_name_of_who_logged_in_meanwhile(browser: Browser, scene: Scene) -> None:
    """The page still says that it goes on record under the first one's name."""
    page = opened(browser, scene)
    press(page, "Freeze")
    page.locator("#why").fill("A demo.")
    page.set_extra_http_headers({"X-Forwarded-User": BERT})
    page.locator("#confirm").click()
    expect(page.locator("#decided")).to_contain_text(f"You are {BERT} now")
    assert scene.asked() == []
    page.close()


def test_who_may_only_look_sees_no_button_and_what_to_type(browser: Browser, scene: Scene) -> None:
    page = opened(browser, scene, person="eve")
    expect(page.locator("#may")).to_contain_text("banana-delivery approve")
    assert page.locator("#acts button").count() == 0
    assert not page.locator("#decide").is_visible()
    page.close()
