from __future__ import annotations

import io
import json
from html.parser import HTMLParser

import pytest
from rich.console import Console

from banana_delivery.policy.model import Outcome
from banana_delivery.policy.scorecard.card import DAY, Scorecard, scorecard
from banana_delivery.reports.scorecard import scorecard_grid, scorecard_json, scorecard_page, scorecard_view
from tests.unit.policy.scorecard.test_card import NOW, line, of, released


def cells(card: Scorecard, title: str) -> list[str]:
    return next([*row] for row in scorecard_grid(card).rows if row[0].startswith(title))


def test_what_is_not_known_is_said_as_that() -> None:
    row = cells(of(), "Lead time")
    assert (row[1], row[2], row[4]) == ("unknown", "–", "unknown")
    measures = scorecard_json(of())["measures"]
    assert isinstance(measures, dict)
    assert measures["lead_time"]["value"] is None


def test_a_figure_stands_beside_its_promise_and_how_sure_it_is() -> None:
    card = of(*[released() for _ in range(19)], line(Outcome.ERROR))
    assert cells(card, "Deliveries that did right")[1:6] == [
        "95 %",
        "75.1 % to 99.9 %",
        "over 95 %",
        "too little to say",
        "20",
    ]
    assert cells(card, "Lead time")[1:5] == ["5.0 min", "5.0 min to ?", "under 15.0 min", "too little to say"]


@pytest.mark.parametrize(("failed", "shown"), [(1, "0.01 %"), (0, "0 %"), (9_999, "99.99 %"), (10_000, "100 %")])
def test_a_share_is_rounded_neither_to_all_nor_to_nothing(failed: int, shown: str) -> None:
    from banana_delivery.reports.scorecard import _percent

    assert _percent(failed / 10_000) == shown


class Page(HTMLParser):
    """The elements of a page, which have to nest, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_tells_all_of_it_in_one_file() -> None:
    page = scorecard_page(of(released(), line(Outcome.ROLLED_BACK), left_out=2))
    told = Page(page).text
    assert "2 deliveries in 90 days" in told
    assert "1 released, 1 rolled back" in told
    assert "2 lines of the audit trail are left out" in told
    assert "width=device-width" in page
    assert "http" not in page.replace('http-equiv="', "")


def test_a_terminal_of_80_columns_shows_every_figure_whole() -> None:
    printed = io.StringIO()
    Console(file=printed, width=80).print(scorecard_view(of(*[released() for _ in range(3)])))
    shown = printed.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    assert "too little to say" in " ".join(shown.split())


def test_programs_get_plain_json() -> None:
    card = scorecard([released()], [], since=NOW - DAY * 90, until=NOW)
    text = json.loads(json.dumps(scorecard_json(card)))
    assert text["outcomes"] == {"released": 1}
    assert text["measures"]["lead_time"]["promise"] == {"bound": 900.0, "above": False}
