"""The scorecard as a table, a page and JSON: each figure, how sure it is, and whether its promise is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from rich.console import Group
from rich.table import Table
from rich.text import Text

from banana_delivery.policy.model import Model
from banana_delivery.policy.scorecard.card import Measure, Promise, Scorecard, Standing, Unit
from banana_delivery.quoting import in_html
from banana_delivery.reports.style.pages import STYLE
from banana_delivery.reports.style.pictures import BAD, DOUBT, FAINT, GOOD, INK
from banana_delivery.reports.tables import NOTHING, Grid

FORM = 1
"""Of the JSON; it grows when a key goes or means something else, and not when one is added."""
HEADERS = ("", "figure", "95 % sure", "promised", "", "of", "remarks")
WORDS: Mapping[Standing, tuple[str, str, str]] = {
    Standing.KEPT: ("kept", GOOD, "green"),
    Standing.BROKEN: ("NOT kept", BAD, "red"),
    Standing.UNSURE: ("too little to say", DOUBT, "yellow"),
    Standing.UNKNOWN: ("unknown", DOUBT, "yellow"),
    Standing.NO_PROMISE: ("", INK, ""),
}
"""Of each standing: what is said, its colour on a page, and on a terminal."""


def scorecard_grid(card: Scorecard) -> Grid:
    """All figures, a line each."""
    return Grid(HEADERS, [_row(measure) for measure in card.measures], frozenset({1}))


def scorecard_json(card: Scorecard) -> dict[str, object]:
    """For programs; docs/operations.md says what each key is."""
    return {
        "form": FORM,
        "since": card.since,
        "until": card.until,
        "deliveries": card.deliveries,
        "outcomes": {str(outcome): count for outcome, count in card.outcomes.items()},
        "left_out": card.left_out,
        "measures": {
            one.name: {
                "unit": str(one.unit),
                **_plain(one.estimate),
                "promise": _plain(one.promise) if one.promise else None,
                "standing": str(one.standing),
                "unknown": one.unknown,
            }
            for one in card.measures
        },
    }


def scorecard_rows(card: Scorecard) -> dict[str, object]:
    """For a page that sets text: a sentence, the figures in words, each with its standing, and what else is to know."""
    rows = [{"cells": _row(measure), "standing": str(measure.standing)} for measure in card.measures]
    return {"said": _headline(card), "rows": rows, "notes": _footnotes(card)}


def scorecard_view(card: Scorecard) -> Group:
    """For a terminal."""
    table = Table()
    for number, header in enumerate(HEADERS[:5]):
        table.add_column(header, no_wrap=number in {1, 4})
    for measure in card.measures:
        title, figure, sure, promised, word, of, remarks = _row(measure)
        style = WORDS[measure.standing][2]
        beside = ", ".join(filter(None, [f"of {of}" if of != "0" else "", remarks]))
        table.add_row(Text(f"{title}\n  {beside}" if beside else title), figure, sure, promised, Text(word, style))
    return Group(Text(_headline(card)), table, *(Text(line) for line in _footnotes(card)))


def scorecard_page(card: Scorecard) -> str:
    """One HTML file that needs nothing beside it, and may be read on a phone."""
    rows = "\n".join(_page_row(measure) for measure in card.measures)
    head = "".join(f"<th>{in_html(header)}</th>" for header in HEADERS)
    notes = "".join(f"<p>{in_html(line)}</p>" for line in _footnotes(card))
    title = "Scorecard of the deliveries"
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    style = f"{STYLE}\n.wide {{ overflow-x: auto }} td, th {{ overflow-wrap: normal; vertical-align: top }}"
    return (
        f'<!doctype html>\n<html lang="en"><head>{meta}<title>{title}</title><style>{style}</style></head><body>\n'
        f'<h1>{title}</h1>\n<p class="reason">{in_html(_headline(card))}</p>\n'
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>\n'
        f'<div style="color:{FAINT}">{notes}</div>\n</body></html>\n'
    )


def _page_row(measure: Measure) -> str:
    cells = [in_html(cell) for cell in _row(measure)]
    cells[4] = f'<strong style="color:{WORDS[measure.standing][1]}">{cells[4]}</strong>'
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _row(measure: Measure) -> list[str]:
    known, show = measure.estimate, _FIGURES[measure.unit]
    missing = f"{measure.unknown:,} more do not say" if measure.unknown else ""
    return [
        measure.title,
        "unknown" if known.value is None else show(known.value),
        _interval(measure),
        _promised(measure.promise, show),
        WORDS[measure.standing][0],
        f"{known.cases:,}",
        "; ".join(filter(None, [measure.note, missing])),
    ]


def _interval(measure: Measure) -> str:
    known, show = measure.estimate, _FIGURES[measure.unit]
    if known.value is None or (known.low == known.high and known.low is not None):
        return NOTHING
    low = show(known.low) if known.low is not None else "?"
    high = show(known.high) if known.high is not None else "?"
    return f"{low} to {high}"


def _promised(promise: Promise | None, show: Callable[[float], str]) -> str:
    if promise is None:
        return NOTHING
    if promise.above and promise.bound >= 1:
        return show(promise.bound)
    return f"{'over' if promise.above else 'under'} {show(promise.bound)}"


def _headline(card: Scorecard) -> str:
    days = (card.until - card.since) / 86_400
    ends = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in sorted(card.outcomes.items()))
    return f"{card.deliveries} deliveries in {days:.0f} days up to {_date(card.until)}{f': {ends}' if ends else ''}."


def _footnotes(card: Scorecard) -> list[str]:
    said = [
        "Durations are those that 95 of 100 stay within. A promise is kept if the whole interval keeps it.",
        "Users are counted while steps of a rollout last; at rest, and between two steps, nobody counts them here.",
    ]
    if card.left_out:
        said.append(
            f"{card.left_out:,} lines of the audit trail are left out, since nobody signed them or they were repeated."
        )
    return said


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _seconds(value: float) -> str:
    if value < 10:
        return f"{value:.1f} s"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.1f} min"


def _percent(value: float) -> str:
    """Never rounded to all or to nothing."""
    for digits in range(1, 5):
        shown = f"{100 * value:.{digits}f}"
        if value in (0, 1) or float(shown) not in (0, 100):
            break
    return f"{shown.rstrip('0').rstrip('.')} %"


_FIGURES: Mapping[Unit, Callable[[float], str]] = {
    Unit.SECONDS: _seconds,
    Unit.SHARE: _percent,
    Unit.PER_DAY: lambda value: f"{value:.2g} a day",
}


def _plain(model: Model) -> dict[str, object]:
    return model.model_dump(mode="json")
