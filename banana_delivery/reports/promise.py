"""What a policy promises, as ``banana-delivery policy check`` shows it, and what ``backtest`` found."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from banana_delivery.policies.promise import EARLY, Figure, Promise, Sound
from banana_delivery.quoting import in_terminal, one_line

NEVER = "not found"
TOO_FEW = "not played"


def promise_view(promised: Promise, warnings: Sequence[str]) -> Group:
    """The bound, the tables, and what is legal but foolish.

    Args:
        promised: by the policy.
        warnings: sentences.
    """
    lines = [
        f"Policy {promised.name}, {promised.digest[:19]}.",
        f"A candidate within its limits is turned back in at most {100 * promised.false_alarm_bound:g} % of the "
        "deliveries by the A/B and the shift, if requests are independent; the watch by the sensor afterwards stands "
        "outside.",
        f"The steps of a delivery take {_span(promised.shortest_seconds)} at least and "
        f"{_span(promised.longest_seconds)} at most; waiting for users or for production is in the latter.",
    ]
    late = (
        "Early: the fault is there from the first request, and seconds count from the first look at production, "
        f"before the A/B. Late: it begins {promised.late_onset_seconds:g} s into the watch, which is held open to its "
        "ceiling. Turned back: the users are sent away; whether the version is to blame is tried after that. Requests "
        "are the candidate's, the probe's among them. With fewer than 20 deliveries, 95 % is the "
        "slowest."
    )
    said = [Text(one_line(line)) for line in lines]
    played = [*(one.deliveries for one in promised.sound), *(one.deliveries for one in promised.figures)]
    if not all(played):
        late += " There was no time to play what was not played; --rounds 1 plays it, however long it takes."
    told = [Text(one_line(f"Warning: {one}"), "yellow") for one in warnings]
    return Group(*said, _sound(promised.sound), _figures(promised.figures), Text(late), *told)


def _figures(figures: Sequence[Figure]) -> Table:
    table = Table("users/s", "errors", "onset", "turned back", "seconds (95 %)", "requests (95 %)", "failed users")
    for one in sorted(figures, key=lambda one: (one.users_per_second, one.onset != EARLY)):
        table.add_row(
            f"{one.users_per_second:g}",
            f"{one.errors:.0%}",
            one.onset,
            f"{one.turned_back} of {one.deliveries}",
            _both(one, one.median_seconds, one.p95_seconds),
            _both(one, one.median_requests, one.p95_requests),
            "" if one.median_failed_users is None else f"{one.median_failed_users:,}",
        )
    return table


def _sound(sound: Sequence[Sound]) -> Table:
    table = Table("users/s", "sound candidates turned back", "seconds of a delivery", "longest seen")
    for one in sound:
        times = [TOO_FEW if at is None else f"{at:.0f}" for at in (one.median_seconds, one.longest_seconds)]
        table.add_row(f"{one.users_per_second:g}", f"{one.turned_back} of {one.deliveries}", *times)
    return table


def _both(one: Figure, median: float | None, p95: float | None) -> str:
    if not one.deliveries:
        return TOO_FEW
    shown = [NEVER if value is None else f"{value:,.0f}" for value in (median, p95)]
    return NEVER if median is None else f"{shown[0]} ({shown[1]})"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def backtest_view(policy: str, rows: Sequence[Sequence[str]], lacking: Sequence[str], differing: int) -> Group:
    """What another policy would have made of past attempts.

    Args:
        policy: its name.
        rows: version, when, as it went, as it would have gone, and why, of each that was judged again.
        lacking: sentences about what could not be judged.
        differing: how many would have ended otherwise.
    """
    table = Table("version", "ended", "went", f"by {policy}", "why")
    for row in rows:
        table.add_row(*(in_terminal(cell) for cell in row))
    said = f"By {policy}, {differing} of {len(rows)} attempts would have ended otherwise."
    told = [Text(one_line(one), "yellow") for one in lacking]
    return Group(*([table] if rows else []), Text(one_line(said)), *told)
