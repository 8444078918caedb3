"""What serving promises, and whether a report of the benchmark keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.serving_contenders import PLAIN

AT = ("4", "16")
"""Requests at once that the bars are about."""
OVER_PLAIN, OVER_F32, OF_BARE_LOOP, OVERLOADED = 4.5, 1.3, 0.90, 1.5


@dataclass(frozen=True)
class Bar:
    """One promise.

    Attributes:
        what: a ratio, in words.
        bar: that it must reach, or must not exceed.
        found: what was measured; None if it was not.
        at_most: whether less is better.
    """

    what: str
    bar: float
    found: float | None
    at_most: bool = False

    @property
    def kept(self) -> bool:
        """Whether the promise was kept; what was not measured was not."""
        if self.found is None:
            return False
        return self.found <= self.bar if self.at_most else self.found >= self.bar


def bars(report: dict[str, Any]) -> list[Bar]:
    """All promises, with what a report says of each."""
    return list(_bars(report))


def as_json(bars: list[Bar]) -> list[dict[str, Any]]:
    """The same for a file."""
    return [asdict(bar) | {"kept": bar.kept} for bar in bars]


def told(bars: list[Bar]) -> str:
    """The same as a Markdown table."""
    lines = ["| bar | promised | found | |", "|---|---|---|---|"]
    for bar in bars:
        found = "not measured" if bar.found is None else f"{bar.found:.2f}"
        promised = f"{'at most' if bar.at_most else 'at least'} {bar.bar:.2f}"
        lines.append(f"| {bar.what} | {promised} | {found} | {'kept' if bar.kept else '**missed**'} |")
    return "\n".join(lines)


def _bars(report: dict[str, Any]) -> Iterator[Bar]:
    int8 = report["int8"]
    for at in AT:
        yield Bar(f"int8 over {PLAIN}, {at} at once", OVER_PLAIN, int8.get("ours_over", {}).get(PLAIN, {}).get(at))
    for at in AT:
        found = int8["replica_a_core"].get("ours_over", {}).get(PLAIN, {}).get(at)
        yield Bar(f"int8, a replica a core, over {PLAIN}, {at} at once", OVER_PLAIN, found)
    for at in AT:
        yield Bar(f"int8 over our f32, {at} at once", OVER_F32, int8["f32"]["over"].get(at))
    whole = (("f32", report), ("int8", int8))
    each = (("f32, a replica a core", report["replica_a_core"]), ("int8, a replica a core", int8["replica_a_core"]))
    for name, part in (*whole, *each):
        for at in AT:
            found = part["ours_over_limit_net_of_client"].get(at)
            yield Bar(f"{name} over its bare loop, net of the client, {at} at once", OF_BARE_LOOP, found)
    for name, part in whole:
        what = f"{name}: p99 of what is accepted at ten times the load over that at capacity"
        yield Bar(what, OVERLOADED, part["overload"]["over"], at_most=True)
