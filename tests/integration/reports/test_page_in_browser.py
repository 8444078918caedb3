"""The report as people see it, in a real browser: on a screen, on a telephone, in the dark and on paper."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from banana_delivery.policy.asset_records import ShiftStep
from banana_delivery.policy.model import TrafficSource
from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.policy.rollout.metrics import EvidenceLine
from banana_delivery.policy.rollout.plan import Limit
from banana_delivery.reports.html import html_report
from banana_delivery.reports.plots import Plots
from banana_delivery.runs.pages.reports import HEADERS
from tests.support.browser import SCREENS, browser, overflow, serious
from tests.unit.reports import scenes

__all__ = ["browser"]

LUMINANCE = """el => { const [r, g, b] = getComputedStyle(el).%s.match(/[\\d.]+/g).map(Number)
    .map(c => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b }"""


def failing() -> tuple[ShiftStep, ...]:
    """A step whose failures cross the line, beside slowness that does not."""
    lines = (
        EvidenceLine(limit=Limit.FAILURES, source=TrafficSource.USER, points=((1.0, 0.1), (2.0, 0.7), (4.0, 1.2))),
        EvidenceLine(limit=Limit.SLOW, source=TrafficSource.PROBE, points=((1.0, 0.1), (4.0, 0.3))),
    )
    *before, last = scenes.rolled_back_steps()
    return (*before, last.replace(metrics=last.metrics.replace(evidence=lines)))


@pytest.fixture(scope="module")
def report() -> str:
    """Everything that a report can hold."""
    quality = scenes.quality(7.0).replace(holdout="sha256:h")
    attempt = scenes.attempt(failing(), "rolled_back", "11 of 72 user requests failed at 60 % in 4 s.")
    return html_report(
        attempt.replace(serving_version="6", failed=11, rollback_seconds=0.4),
        budget_seconds=1.0,
        plots=Plots(),
        staging=scenes.staging(quality),
        ab=scenes.ab(quality),
        worst=scenes.worst(scenes.comparison(7.0)),
        links={"run": "http://127.0.0.1:3000/runs/1"},
    )


@pytest.fixture(params=SCREENS, ids=str)
def page(browser: Browser, report: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, scheme = request.param
    opened = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened.set_content(report)
    yield opened
    opened.close()


def test_nothing_keeps_anybody_from_using_it(page: Page) -> None:
    assert serious(page) == []


def test_it_is_read_without_moving_the_page_and_in_contrast_whatever_the_screen(page: Page) -> None:
    assert overflow(page) <= 0
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") >= 15
    paper = page.eval_on_selector("body", LUMINANCE % "backgroundColor")
    for words in ("h1", ".reason", "th", "td", "footer", "a"):
        ink = page.eval_on_selector(words, LUMINANCE % "color")
        lighter, darker = max(ink, paper), min(ink, paper)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, words


def test_its_pictures_take_the_colours_of_the_page_and_their_words_are_words(page: Page) -> None:
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    text = page.locator("figure svg text").filter(has_text="share of the users").first
    luminance = text.evaluate(LUMINANCE % "fill")
    assert (luminance > 0.5) == dark
    for figure in page.locator("figure[tabindex] svg").all():
        box = figure.bounding_box()
        assert box is not None and box["width"] > 300 and box["height"] > 100
        assert figure.get_attribute("aria-label")


def test_the_line_that_crossed_is_named_and_the_others_are_not_red(page: Page) -> None:
    words = page.locator("figure svg text").all_text_contents()
    assert "failures (user)" in " ".join(words)
    red = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--bad').trim()")
    crossed = page.locator("figure svg text").filter(has_text="failures (user)").first
    other = page.locator("figure svg text").filter(has_text="slowness (probe)").first
    assert red in (crossed.get_attribute("style") or "") or "var(--bad)" in (crossed.get_attribute("style") or "")
    assert "var(--bad)" not in (other.get_attribute("style") or "")


def test_the_worst_images_are_there_with_lines_that_differ_without_colours(page: Page) -> None:
    for picture in page.locator(".worst svg").all():
        box = picture.bounding_box()
        assert box is not None and box["width"] > 200 and abs(box["height"] - box["width"]) < 2
        assert picture.get_attribute("aria-label")
    lines = [f".worst path.{author}" for author in ("label", "production", "candidate")]
    dashes = {page.eval_on_selector(line, "el => getComputedStyle(el).strokeDasharray") for line in lines}
    colours = {page.eval_on_selector(line, "el => getComputedStyle(el).stroke") for line in lines}
    assert (len(dashes), len(colours)) == (3, 3)


def test_they_are_shown_where_reports_are_served_and_nothing_else_is_loaded(browser: Browser, report: str) -> None:
    page, asked, said = browser.new_page(), list[str](), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    headers = {**HEADERS, "Content-Type": "text/html; charset=utf-8"}
    page.route("**/*", lambda route: route.fulfill(body=report, headers=headers))
    page.goto("http://127.0.0.1:9/reports/7/1-rolled_back")
    assert page.eval_on_selector_all(".worst image", "all => all.map(el => el.getBBox().width)") == [400] * 6
    assert (len([url for url in asked if not url.startswith("data:")]), said) == (1, [])
    page.close()


def test_on_paper_nothing_is_cut_and_no_word_is_broken(browser: Browser, report: str) -> None:
    page = browser.new_page(viewport={"width": 700, "height": 900}, color_scheme="dark")
    page.set_content(report)
    page.emulate_media(media="print")
    assert page.eval_on_selector("body", LUMINANCE % "backgroundColor") > 0.9
    assert overflow(page) <= 0
    broken = page.evaluate(
        """() => [...document.querySelectorAll("th")].filter(th => {
            const range = document.createRange(); range.selectNodeContents(th);
            return range.getClientRects().length > th.textContent.trim().split(/[\\s-]+/).length }).length"""
    )
    assert broken == 0
    assert len(page.pdf(format="A4")) > 10_000
    page.close()


def test_it_begins_with_what_happened_and_needs_no_picture_letters(report: str) -> None:
    first = re.search(r"<h1[^>]*>(.*?)</h1>", report)
    assert first is not None
    assert first[1] == "Version 7 was taken out of production at 14:13 UTC; version 6 is what production serves"
    assert not re.search("[\\u2600-\\u27bf\\U0001f300-\\U0001faff]", report)
    assert "198 within 19 s, of which 11 failed (5.6%)" in report
    assert len(report) < 260_000


def test_what_was_not_held_against_a_redeploy_is_not_called_worse() -> None:
    waived = scenes.quality(5.0).replace(waived=True)
    attempt = scenes.attempt(scenes.promoted_steps(), "released", "Healthy.")
    told = html_report(attempt, budget_seconds=1.0, plots=Plots(), ab=scenes.ab(waived))
    assert "Quality: measured, and held against nobody" in told
    assert "is worse than production" not in re.sub(r"<p>.*?</p>", "", told)


def test_a_first_release_has_no_colour_that_was_active() -> None:
    steps = (scenes.step(100, 20, ActionKind.PROMOTE),)
    attempt = scenes.attempt(steps, "released", "Healthy.")
    first = html_report(attempt.replace(previous_digest=""), budget_seconds=1.0, plots=Plots())
    assert "(was active)" not in first
    assert "(was active)" in html_report(attempt, budget_seconds=1.0, plots=Plots())


def test_a_version_that_a_person_took_out_shows_what_its_users_got_and_how_it_had_come_in() -> None:
    release = scenes.attempt(scenes.promoted_steps(), "released", "Healthy.")
    seen = scenes.step(100, 60, ActionKind.ROLL_BACK, failed=40, reason="It misses streaks.")
    out = scenes.attempt((seen,), "rolled_back", "Ada rolled production back: It misses streaks.")
    told = html_report(out.replace(at=release.at + 90), budget_seconds=1.0, plots=Plots(), release=release)
    assert "1,800 within 60 s, of which 40 failed (2.2%)" in told
    assert "How it came into production (21 September 14:13 UTC)" in told
