"""The page of deliveries as people use it, in a real browser: on any screen, by keyboard alone, by axe."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import dagster as dg
import pytest
import uvicorn
from playwright.sync_api import Browser, expect
from playwright.sync_api import Page as Shown
from starlette.types import ASGIApp

from banana_delivery.delivery.page.app import Page
from banana_delivery.delivery.record_attempt import report_file
from banana_delivery.policy.model import Colour, Environment, ImageRef, Phase
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.code_location import CodeLocation
from banana_delivery.settings import Settings
from banana_delivery.targets.fake import FakeTarget
from tests.support.browser import SCREENS, browser, overflow, serious
from tests.unit.delivery.page.test_page import EVIL, attempt
from tests.unit.reports.test_watching import STEP

__all__ = ["browser"]
START_SECONDS = 30
FOCUSED = "() => document.activeElement.innerText || document.activeElement.id || document.activeElement.className"


def image(version: str) -> ImageRef:
    return ImageRef(repository="memory", digest=f"sha256:{version:0>64}", version=version, key="k")


def shifting() -> FakeTarget:
    """Production in the midst of a release: two colours, a step, and evidence against the newer one."""
    target = FakeTarget()
    claim = target.claim(Environment.PRODUCTION, "somebody")
    target.deploy(claim, Colour.GREEN, image("41"), 1)
    target.set_weights(claim, {Colour.GREEN: 100, Colour.BLUE: 0})
    record = target.record(Environment.PRODUCTION)
    target.write(claim, record.replace(active=Colour.GREEN, phase=Phase.SHIFTING, candidate=image("42")))
    target.deploy(claim, Colour.BLUE, image("42"), 1)
    target.set_weights(claim, {Colour.GREEN: 60, Colour.BLUE: 40})
    target.heartbeat(claim, STEP.replace(at=time.time()).model_dump_json())
    return target


def served(page: Page) -> AbstractContextManager[str]:
    """The page's address, for as long as it is needed."""
    return served_app(page.app())


@contextmanager
def served_app(app: ASGIApp) -> Iterator[str]:
    """The same of the page behind whatever stands before it."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        end = time.monotonic() + START_SECONDS
        while not server.started and time.monotonic() < end:
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/delivery"
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page of a pipeline is served that is releasing, after attempts whose words are a stranger's."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    with dg.DagsterInstance.ephemeral() as instance:
        page = Page(settings, shifting(), AuditLog(instance, CodeLocation.of(settings)))
        for number in range(60):
            one = attempt(number, reason=f"{EVIL} and {'long ' * 40}").replace(at=time.time() - 60 * (60 - number))
            page.log.log(one, report_file(settings, one))
        with served(page) as url:
            yield url


@pytest.fixture(params=SCREENS, ids=str)
def shown(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Shown]:
    width, scheme = request.param
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(address)
    expect(page.locator("#step-title")).to_contain_text("40 %")
    expect(page.locator("#attempts tr")).to_have_count(50)
    expect(page.locator("#figures tr").first).to_contain_text("Releases", timeout=30_000)
    yield page
    page.close()


def test_nothing_keeps_anybody_from_using_it(shown: Shown) -> None:
    assert serious(shown) == []


def test_it_is_as_wide_as_the_screen_and_a_strangers_words_are_words(shown: Shown) -> None:
    assert overflow(shown) <= 0
    assert shown.locator("#attempts img").count() == 0
    expect(shown.locator("#attempts")).to_contain_text("onerror=alert(1)")


def test_the_scorecard_tells_each_figure_beside_what_is_promised(shown: Shown) -> None:
    expect(shown.locator("#scored")).to_contain_text("60 deliveries in 90 days")
    lead = shown.locator("#figures tr", has_text="Lead time")
    expect(lead).to_contain_text("under 15.0 min")
    right = shown.locator("#figures tr", has_text="did right")
    expect(right.locator(".warn")).to_have_text("too little to say")
    figure = right.locator("td").first
    expect(figure).to_have_text("100 %")
    assert figure.bounding_box()["width"] > 0  # type: ignore[index]


def test_by_keyboard_alone_the_first_stop_leads_past_the_head_and_every_stop_is_seen(shown: Shown) -> None:
    shown.keyboard.press("Tab")
    assert shown.evaluate(FOCUSED) == "To what is now"
    assert shown.locator(".skip").is_visible()
    shown.keyboard.press("Enter")
    assert shown.evaluate("document.activeElement.id") == "now"
    stops = []
    for _ in range(60):
        shown.keyboard.press("Tab")
        focused = shown.evaluate(FOCUSED)
        assert shown.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", focused
        stops.append(focused)
        if focused == "Older attempts":
            break
    assert stops[-1] == "Older attempts"
    shown.keyboard.press("Enter")
    expect(shown.locator("#attempts tr")).to_have_count(60)
