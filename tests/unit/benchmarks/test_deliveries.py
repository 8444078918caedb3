"""What is said of the deliveries that the daemon played, and what of it is not as it should be."""

from __future__ import annotations

from typing import Any

from benchmarks.daemon.deliveries import BETWEEN_SECONDS, FIRST_USER_SECONDS, broken, report, table
from benchmarks.daemon.figures import Backfill, FirstUser

BACK = Backfill(seconds=300.0, deliveries=220.0, before_first=20.0, longest_between=5.0, overlapping=0)


def told(*, whole: float = 12.0, versions: int = 20, **facts: Any) -> dict[str, Any]:
    firsts = [FirstUser(whole=whole, own=whole - 2)] * 80
    return report(firsts, BACK._replace(**facts), versions)


def test_first_users_and_a_backfill_are_told_with_what_is_not_the_deliveries_own() -> None:
    shown = table(told())
    assert "| staged to first user, 80 deliveries | half of them | 95 of 100 |" in shown
    assert "| the whole | 12.0 s (12.0 to 12.0) | 12.0 s (12.0 to 12.0) |" in shown
    assert "| without tests and answers in staging | 10.0 s" in shown
    assert "| the rest, a delivery | 4.0 s |" in shown


def test_what_is_in_order_is_passed_over() -> None:
    assert broken(told()) == []


def test_slow_and_overlapping_deliveries_are_named() -> None:
    late = broken(told(whole=FIRST_USER_SECONDS + 1, seconds=220.0 + 20 * BETWEEN_SECONDS + 1, overlapping=2))
    assert [line.split()[0] for line in late] == ["95", "A", "2"]


def test_few_deliveries_say_of_no_figure_what_it_is_at_most() -> None:
    firsts = [FirstUser(whole=12.0, own=10.0)]
    assert "12.0 s (? to ?)" in table(report(firsts, BACK, 20))
