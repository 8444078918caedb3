"""The page's buttons on the embedded stack: pressed in a browser by who has logged in, and by some who may not.

What is played is one evening: a version that waits for a person, a freeze, a delivery that is paused, goes on and is
ended, and a release that is taken back.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, expect
from playwright.sync_api import Page as Shown

from banana_delivery.policies.reading import HERE as POLICIES
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.holds import Act, FreezeRecord, PageRequest
from banana_delivery.policy.model import Environment, ImageRef, Outcome, Phase
from banana_delivery.policy.rollout.live import LiveStep, live_of
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.runs.evidence.requests import Requests
from banana_delivery.runs.instance import open_instance
from banana_delivery.runs.lifecycle import Runs
from tests.e2e.stack import Stack, until
from tests.integration.delivery.test_deciding_in_browser import ASLEEP, KEEP_EVENTS
from tests.support.browser import browser

__all__ = ["browser"]
pytestmark = [pytest.mark.e2e, pytest.mark.long]
ADA, BERT, EVE = "ada@example.com", "bert@example.com", "eve@example.com"
HEADER = "X-Forwarded-User"
LOGIN = {
    "BANANA_PAGES_LOGIN_HEADER": HEADER,
    "BANANA_PAGES_PROXIES": '["127.0.0.1/32"]',
    "BANANA_PAGES_TOKEN": "what-the-command-line-shows-instead",
    "BANANA_PAGES_DECIDERS": json.dumps([ADA, BERT]),
}
DEMO = (POLICIES / "demo.yaml").read_text().replace("name: demo", "name: evening")
IMAGES = 300
UNDECIDED = f"{DEMO}\nquality:\n  least_images: {IMAGES + 1}\n"
"""More labelled images than there are: a report is inconclusive, and its version waits for a person."""
ANSWER_MILLISECONDS = 25_000
AT_ONCE_SECONDS = 5.0
"""Until a freeze counts."""
TWO_TICKS_SECONDS = 12.0
"""After that whatever was to follow from an approval has begun."""
PAUSED_SECONDS = 12.0
"""Longer than a step of the plan lasts at most."""
TOO_LATE = re.compile("waits or is under way any more|in production any more|is not what|look what is now")
WHY = "I looked at it."


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("policy") / "release-policy.yaml"
    file.write_text(DEMO)
    return file


@pytest.fixture(scope="module")
def stack_environment(
    stack_environment: dict[str, str], policy: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Of a stack with a home of its own, whose pages ask for a login."""
    home = str(tmp_path_factory.mktemp("buttons"))
    own = {"BANANA_HOME": home, "BANANA_POLICY": str(policy), "BANANA_HOLDOUT_IMAGES": str(IMAGES)}
    return {**stack_environment, **LOGIN, **own}


@dataclass
class Person:
    """Somebody before the page, behind a proxy that says who he is."""

    page: Shown

    def opens(self, label: str) -> None:
        """Press a button of the page, which asks why."""
        self.page.locator("#acts").get_by_role("button", name=label, exact=True).click(timeout=ANSWER_MILLISECONDS)

    def means(self, label: str, reason: str = WHY, until: str = "") -> None:
        """Fill in what a button asks for."""
        self.opens(label)
        self.page.locator("#why").fill(reason)
        if until:
            self.page.locator("#until").fill(until)

    def hears(self, label: str, said: str | re.Pattern[str]) -> None:
        """What became of it."""
        expect(self.page.locator("#decided")).to_contain_text(f"{label}: ", timeout=ANSWER_MILLISECONDS)
        expect(self.page.locator("#decided")).to_contain_text(said, timeout=ANSWER_MILLISECONDS)

    def decides(self, label: str, said: str, reason: str = WHY, *, until: str = "", twice: bool = False) -> None:
        """Press a button, say why, and read what became of it."""
        self.means(label, reason, until)
        confirm = self.page.locator("#confirm")
        confirm.dblclick() if twice else confirm.click()
        self.hears(label, said)

    def by_keyboard(self, label: str, said: str) -> None:
        """The same without a mouse."""
        expect(self.page.locator("#acts").get_by_role("button", name=label, exact=True)).to_be_enabled()
        self.page.locator("h1").click()
        for _ in range(20):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("document.activeElement.innerText") == label:
                break
        self.page.keyboard.press("Enter")
        expect(self.page.locator("#why")).to_be_focused()
        self.page.keyboard.type(WHY)
        self.page.keyboard.press("Tab")
        self.page.keyboard.press("Enter")
        self.hears(label, said)


@pytest.fixture
def somebody(browser: Browser, stack: Stack) -> Iterator[Callable[[str], Person]]:
    """Whoever comes to the page of deliveries, each with a browser of his own."""
    contexts: list[BrowserContext] = []

    def comes(name: str) -> Person:
        contexts.append(browser.new_context(extra_http_headers={HEADER: name}))
        page = contexts[-1].new_page()
        page.add_init_script(KEEP_EVENTS)
        page.goto(address(stack))
        expect(page.locator("#link")).to_have_text("Live.", timeout=ANSWER_MILLISECONDS)
        return Person(page)

    yield comes
    for context in contexts:
        context.close()


def address(stack: Stack) -> str:
    return f"{stack.resources.settings.dagster_url}/delivery"


def asked(stack: Stack, act: Act | None = None) -> list[PageRequest]:
    """What came through the page, of one kind or of all."""
    with open_instance(stack.resources.settings) as instance:
        found = Requests(instance, CodeLocation.of(stack.resources.settings)).latest()
    return [one for one in found if act in {None, one.act}]


def attempts(stack: Stack, version: str) -> list[AttemptRecord]:
    with open_instance(stack.resources.settings) as instance:
        return list(stack.audit_log(instance).attempts(version))


def under_way(stack: Stack) -> bool:
    """Whether any delivery is, or waits for its turn."""
    with open_instance(stack.resources.settings) as instance:
        return bool(Runs(instance, CodeLocation.of(stack.resources.settings)).unfinished())


def freeze(stack: Stack) -> FreezeRecord | None:
    with open_instance(stack.resources.settings) as instance:
        return stack.audit_log(instance).freeze()


def waits_for_a_person(stack: Stack, policy: Path) -> str:
    """A version about which the labelled images say too little."""
    policy.write_text(UNDECIDED)
    version = stack.stage("better")
    until(lambda: stack.outcomes(version) != [], f"the report of version {version}", 400)
    policy.write_text(DEMO)
    (attempt,) = attempts(stack, version)
    assert (attempt.outcome, attempt.frozen) == (Outcome.PARKED, False), attempt.reason
    return version


def over_another(stack: Stack) -> tuple[ImageRef, ImageRef]:
    """What serves, and the release before it; the tests before this one left both, or they are made now."""
    if stack.production.previous is None:
        stack.until_released(stack.stage("better"))
    until(lambda: is_at_rest(stack), "one stable colour", 60)
    live, previous = stack.production.live, stack.production.previous
    assert live is not None
    assert previous is not None
    return live, previous


def step_of(stack: Stack) -> LiveStep:
    step = live_of(stack.production)
    assert step is not None
    return step


def is_at_rest(stack: Stack) -> bool:
    """One stable colour, in the record and before users."""
    record, seen = stack.production, stack.resources.release_target.observed(Environment.PRODUCTION).weights
    return (record.owner, record.phase) == (None, Phase.IDLE) and seen == record.weights == record.resting_weights


def test_what_is_approved_on_the_page_waits_for_a_freeze_said_there_and_is_released_after_it(
    stack: Stack, policy: Path, somebody: Callable[[str], Person]
) -> None:
    live, version = stack.production.live, waits_for_a_person(stack, policy)
    ada, bert = somebody(ADA), somebody(BERT)
    bert.means("Freeze", "The night shift is ill.", until="4h")
    ada.decides(f"Approve version {version}", "is approved", twice=True)
    pressed = time.time()
    bert.page.locator("#confirm").click()
    bert.hears("Freeze", "Nothing enters production")
    counts = freeze(stack)
    time.sleep(TWO_TICKS_SECONDS)
    until(lambda: not under_way(stack), "the end of what was begun before the freeze")
    assert {one.outcome for one in attempts(stack, version)} == {Outcome.PARKED}
    assert (stack.production.live, is_at_rest(stack)) == (live, True)
    bert.decides("Unfreeze", "Deliveries may enter production")
    until(lambda: Outcome.RELEASED in stack.outcomes(version), "the release after the freeze")
    until(lambda: is_at_rest(stack), "one stable colour", 60)
    assert stack.outcomes(version).count(Outcome.RELEASED) == 1
    assert [one.by for one in asked(stack, Act.APPROVE)] == [ADA]
    assert counts is not None
    assert counts.at - pressed <= AT_ONCE_SECONDS, "on a machine that has anything to spare"


def test_a_delivery_under_way_is_paused_goes_on_and_is_ended_on_the_page(
    stack: Stack, somebody: Callable[[str], Person]
) -> None:
    live, earlier = over_another(stack)
    ada, bert = somebody(ADA), somebody(BERT)
    with stack.clients(rate=8.0) as clients:
        stack.command("deliver", earlier.version, "--no-wait")
        until(lambda: stack.production.phase is Phase.SHIFTING, "the shift")
        run_id = stack.production.owner
        assert run_id is not None
        ada.by_keyboard("Pause", "stays at its weight, watched")
        stays_and_is_watched(stack, ada)
        before = stack.production.weights
        ada.decides("Go on", "goes on")
        until(lambda: stack.production.weights != before, "the next weight", 60)
        bert.means("Abort", "It is late.")
        bert.page.evaluate(ASLEEP)
        ada.decides("Abort", f"the delivery of version {earlier.version} ends", twice=True)
        until(lambda: stack.outcomes(earlier.version)[0] is Outcome.CANCELLED, "the end of the delivery", 60)
        until(lambda: is_at_rest(stack), "one stable colour", 60)
    assert clients.failed_requests() == []
    assert stack.production.live == live
    bert.page.locator("#confirm").click()
    bert.hears("Abort", TOO_LATE)
    until(lambda: stack.run_of(run_id).is_finished, "the end of its run", 60)
    assert stack.outcomes(earlier.version)[0] is Outcome.CANCELLED
    told = [one.title for one in stack.resources.notifier.sent() if one.key.startswith(run_id)]
    assert len(told) == 1, told


def stays_and_is_watched(stack: Stack, ada: Person) -> None:
    expect(ada.page.locator("#paused")).to_contain_text(f"{ADA} (via page): {WHY}", timeout=ANSWER_MILLISECONDS)
    weights, step = stack.production.weights, step_of(stack)
    assert step.paused
    time.sleep(PAUSED_SECONDS)
    later = step_of(stack)
    assert (stack.production.weights, later.weight, later.kind) == (weights, step.weight, step.kind)
    assert later.at > step.at
    assert later.candidate.requests > step.candidate.requests


def test_a_release_is_taken_back_by_the_button_once_however_often_it_is_pressed(
    stack: Stack, somebody: Callable[[str], Person]
) -> None:
    live, previous = over_another(stack)
    ada, bert = somebody(ADA), somebody(BERT)
    label = f"Roll back version {live.version}"
    bert.means(label, "It mistakes shadows, too.")
    bert.page.evaluate(ASLEEP)
    with stack.clients(rate=8.0) as clients:
        ada.decides(label, f"version {previous.version} serves", "It mistakes shadows.", twice=True)
        assert stack.production.live == previous
    assert clients.failed_requests() == []
    until(lambda: stack.outcomes(live.version)[0] is Outcome.ROLLED_BACK, "writing it down", 60)
    until(lambda: is_at_rest(stack), "one stable colour", 60)
    bert.page.locator("#confirm").click()
    bert.hears(label, TOO_LATE)
    lines = [one for one in attempts(stack, live.version) if one.outcome is Outcome.ROLLED_BACK]
    assert [one.actor for one in lines] == [f"{ADA} (via page)"]
    assert [one.by for one in asked(stack, Act.ROLLBACK)] == [ADA, BERT]
    assert stack.production.live == previous


TRIES = 3
"""Of a strange page whose answers can be seen: its forms. What its picture and its scripts get, browsers keep to
themselves, as the pages' headers have it."""
FORM = """
<form id="{id}" action="{to}/decide" method="post" enctype="{kind}" target="{id}-frame">
  <input name='{name}' value='{value}'></form><iframe name="{id}-frame"></iframe>
"""
STRANGE = """<!doctype html><body>{forms}<img src="{to}/decide?act=freeze&amp;reason=x"><script>
const body = JSON.stringify({{ act: "freeze", reason: "x", token: "x" }});
for (const form of document.forms) form.submit();
const asked = [
  fetch("{to}/decide", {{ method: "POST", body, mode: "no-cors", credentials: "include" }}),
  fetch("{to}/decide", {{ method: "POST", body, headers: {{ "Content-Type": "application/json" }} }}),
  fetch("{to}/who").then((answer) => answer.text()),
];
Promise.allSettled(asked).then((all) => {{ window.tried = all.map((one) => one.status + " " + (one.value || "")); }});
</script>"""


@contextmanager
def strange_page(to: str) -> Iterator[int]:
    """The port of a page of somebody else's that decides for whoever opens it, if it is let."""
    kinds = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data")
    name, value = '{"act":"freeze","reason":"x","beat":"', '"}'
    forms = [FORM.format(id=f"f{n}", to=to, kind=kind, name=name, value=value) for n, kind in enumerate(kinds)]
    page = STRANGE.format(forms="".join(forms), to=to).encode()

    class Strange(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Strange) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def lured(browser: Browser, to: str) -> list[int]:
    """What the pipeline answers where somebody who may decide opens a page of somebody else's."""
    answers: list[int] = []
    with browser.new_context(extra_http_headers={HEADER: ADA}) as context:
        page = context.new_page()
        page.on("response", lambda one: answers.append(one.status) if "/decide" in one.url else None)
        page.goto(to)
        page.wait_for_function("window.tried !== undefined")
        for _ in range(50):
            page.wait_for_timeout(0 if len(answers) == TRIES else 100)
        assert ADA not in str(page.evaluate("window.tried"))
    return answers


def test_who_may_not_decide_changes_nothing(stack: Stack, browser: Browser, somebody: Callable[[str], Person]) -> None:
    record, before, to = stack.production, (asked(stack), freeze(stack)), address(stack)
    decision = {"act": "freeze", "reason": "x", "beat": httpx.get(f"{to}/now", headers={HEADER: EVE}).json()["beat"]}
    nobody = httpx.post(f"{to}/decide", json=decision)
    assert nobody.status_code == 401, nobody.text
    assert httpx.get(to).status_code == 401
    eve = httpx.post(f"{to}/decide", json=decision, headers={HEADER: EVE})
    assert eve.status_code == 403, eve.text
    looking = somebody(EVE)
    assert looking.page.locator("#acts button").count() == 0
    with strange_page(to) as port:
        for host in ("127.0.0.1", "localhost"):
            answers = lured(browser, f"http://{host}:{port}/")
            assert {status for status in answers if not 400 <= status < 500} == set()
            assert len(answers) == TRIES
    assert (asked(stack), freeze(stack)) == before
    assert stack.production == record
