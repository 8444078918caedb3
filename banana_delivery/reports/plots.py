"""Two pictures: a rollout and a comparison of quality, as PNG for Dagster's event log and as SVG for a page.

A rollout at a glance: who had the traffic when, what failed, how fast the answers were, and what was decided.

Quality at a glance: every class beside production, and how sure the difference is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from banana_delivery.policy.asset_records import AttemptRecord, QualityRecord, ShiftStep
from banana_delivery.policy.model import Colour
from banana_delivery.policy.quality.comparison import QualityComparison
from banana_delivery.policy.quality.gates import QualityVerdict
from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.policy.rollout.metrics import EvidenceLine, TrafficMetrics
from banana_delivery.policy.rollout.plan import Limit
from banana_delivery.quoting import in_plot
from banana_delivery.reports.style.pictures import (
    BAD,
    COLOURS,
    DOUBT,
    FAINT,
    GOOD,
    INK,
    LONGEST_LABEL,
    embedded,
    headline,
    new_figure,
    png,
    quiet,
    small,
    svg,
)
from banana_delivery.reports.tables import STEP_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = {
    ActionKind.PROMOTE: ("promoted", GOOD),
    ActionKind.ROLL_BACK: ("rolled back", BAD),
    ActionKind.PARK: ("parked", DOUBT),
    ActionKind.RESUME: ("began again", DOUBT),
    ActionKind.STAND_BACK: ("stood back", DOUBT),
    ActionKind.SET_WEIGHT: ("going on", FAINT),
    ActionKind.WAIT: ("under way", FAINT),
}
GONE_BACK = (ActionKind.ROLL_BACK, ActionKind.PARK, ActionKind.RESUME, ActionKind.STAND_BACK)
TAIL = 0.07
"""Share of the whole time that is drawn after the last decision, to show where the traffic went."""

SHORTEST_SECONDS = 0.1
"""A rollout that was decided at its first look still has a width."""


def rollout_plot(
    steps: Sequence[ShiftStep], candidate: Colour, *, budget_seconds: float, title: str, first: bool = False
) -> bytes:
    """The same as a PNG."""
    return png(rollout_figure(steps, candidate, budget_seconds=budget_seconds, title=title, first=first))


def rollout_figure(
    steps: Sequence[ShiftStep], candidate: Colour, *, budget_seconds: float, title: str, first: bool = False
) -> Figure:
    """Weights, failures and latency over time.

    Args:
        steps: of the rollout, in order; at least one.
        candidate: the colour that was to take over.
        budget_seconds: what the latency is judged by.
        title: for example the version and its outcome.
        first: whether nothing served before, so that there is no other colour to show.
    """
    starts = [sum(step.metrics.seconds for step in steps[:index]) for index in range(len(steps))]
    end = max(starts[-1] + steps[-1].metrics.seconds, SHORTEST_SECONDS)
    lines = [(start, line) for step, start in zip(steps, starts, strict=True) for line in step.metrics.evidence]
    figure = new_figure(10, 8.2 if lines else 6.6)
    ending, colour = ENDINGS[ActionKind(steps[-1].decision)]
    headline(figure, f"{title}: {ending}", steps[-1].reason, colour)
    ratios = (1.5, 1.2, 1, 1.1) if lines else (1.5, 1.2, 1)
    weights, traffic, latency, *evidence = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    _draw_weights(weights, steps, starts, end, candidate)
    _name_colours(weights, candidate, height=1.22, first=first)
    _draw_traffic(traffic, steps, starts, candidate)
    _draw_latency(latency, steps, starts, candidate, budget_seconds)
    for axes in evidence:
        _draw_evidence(axes, lines)
    for axes in (weights, traffic, latency, *evidence):
        axes.axvline(end, color=colour, linewidth=1.6)
        axes.set_xlim(0, end * (1 + TAIL))
    (*evidence, latency)[0].set_xlabel("seconds", fontsize=9, color=INK, loc="right")
    return figure


def _draw_weights(
    axes: Axes, steps: Sequence[ShiftStep], starts: Sequence[float], end: float, candidate: Colour
) -> None:
    shares = [step.metrics.weight for step in steps]
    last = 0 if ActionKind(steps[-1].decision) in GONE_BACK else shares[-1]
    edges, tops = [*starts, end, end * (1 + TAIL)], [*shares, last, last]
    axes.fill_between(edges, 100, step="post", color=COLOURS[candidate.other], alpha=0.18, linewidth=0)
    axes.fill_between(edges, tops, step="post", color=COLOURS[candidate], alpha=0.85, linewidth=0)
    for step, start in zip(steps, starts, strict=True):
        middle = start + step.metrics.seconds / 2
        if step.metrics.seconds > 0.035 * end:
            axes.text(
                middle,
                104,
                f"{STEP_NAMES[step.metrics.kind]}\n{step.metrics.weight} %",
                ha="center",
                fontsize=8,
                color=INK,
            )
        axes.axvline(start, color="white", linewidth=1)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100], ["0 %", "50 %", "100 %"])
    axes.set_title("share of the users", loc="left", fontsize=10, color=INK, pad=26)
    quiet(axes)


def _draw_traffic(axes: Axes, steps: Sequence[ShiftStep], starts: Sequence[float], candidate: Colour) -> None:
    """Requests a second of both colours, stacked; failures as numbers, because one failure must not be overlooked."""
    rates = [(_rate(step, step.metrics), _rate(step, step.metrics.active)) for step in steps]
    tallest = max([1.0, *(ours + theirs for ours, theirs in rates)])
    for step, start, (ours, theirs) in zip(steps, starts, rates, strict=True):
        seconds = step.metrics.seconds
        axes.bar(start, ours, seconds, align="edge", color=COLOURS[candidate], alpha=0.85, edgecolor="white")
        axes.bar(
            start,
            theirs,
            seconds,
            bottom=ours,
            align="edge",
            color=COLOURS[candidate.other],
            alpha=0.3,
            edgecolor="white",
        )
        failed = step.metrics.failed + step.metrics.active.failed
        if failed:
            axes.text(
                start + seconds / 2, ours + theirs + 0.05 * tallest, f"{failed:,} failed", ha="center", fontsize=8,
                color="white", bbox={"boxstyle": "round,pad=0.3", "facecolor": BAD, "edgecolor": "none"},
            )  # fmt: skip
    axes.set_ylim(0, 1.3 * tallest)
    failed = sum(step.metrics.failed + step.metrics.active.failed for step in steps)
    total = sum(step.metrics.requests + step.metrics.active.requests for step in steps)
    axes.set_title(f"requests a second ({total:,} requests, {failed:,} failed)", loc="left", fontsize=10, color=INK)
    quiet(axes)


def _rate(step: ShiftStep, traffic: TrafficMetrics) -> float:
    return traffic.requests / step.metrics.seconds if step.metrics.seconds else 0.0


def _draw_latency(
    axes: Axes, steps: Sequence[ShiftStep], starts: Sequence[float], candidate: Colour, budget: float
) -> None:
    seen = []
    for step, start in zip(steps, starts, strict=True):
        for colour, traffic in ((candidate.other, step.metrics.active), (candidate, step.metrics)):
            if traffic.p95_seconds is not None:
                seen.append(traffic.p95_seconds)
                end = start + step.metrics.seconds
                axes.plot(
                    [start, end], [traffic.p95_seconds] * 2, color=COLOURS[colour], linewidth=3, solid_capstyle="butt"
                )
    axes.axhline(budget, color=BAD, linewidth=1, linestyle="--")
    axes.text(0, budget, f" budget {budget:g} s", color=BAD, fontsize=8, va="bottom")
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_ylim(min([*seen, budget]) / 2, max([*seen, budget]) * 2.5)
    axes.set_title("p95 of the replicas' own time, seconds", loc="left", fontsize=10, color=INK)
    axes.yaxis.set_major_formatter("{x:g}")
    quiet(axes)


TESTS = {
    Limit.FAILURES: ("failures", "-"),
    Limit.SLOW: ("slowness", "--"),
    Limit.OVERLOAD: ("turned away", ":"),
    Limit.WORSE_THAN_ACTIVE: ("worse than active", "-."),
}
"""How each test is called in the picture, and its line."""


def _draw_evidence(axes: Axes, lines: Sequence[tuple[float, EvidenceLine]]) -> None:
    """Each test's evidence as a share of what turns back: one look tells which line crossed."""
    highest, named = 1.0, set[str]()
    for start, line in lines:
        test, style = TESTS[line.limit]
        crossed = line.points[-1][1] >= 1.0
        label = f"{test} ({line.source})"
        at, shares = zip(*((start + seconds, min(share, MOST_SHARE)) for seconds, share in line.points), strict=True)
        axes.plot(at, shares, style, color=BAD if crossed else FAINT, linewidth=2.4 if crossed else 1.4, marker=".")
        highest = max(highest, *shares)
        if crossed or (label not in named and shares[-1] >= WORTH_A_NAME):
            named.add(label)
            axes.annotate(
                label, (at[-1], shares[-1]), xytext=(-4, 6), textcoords="offset points", ha="right", fontsize=8,
                color=BAD if crossed else INK, fontweight="bold" if crossed else "normal",
            )  # fmt: skip
    axes.axhline(1.0, color=BAD, linewidth=1, linestyle="--")
    axes.text(0, 1.0, " turns it back", color=BAD, fontsize=8, va="bottom")
    axes.set_ylim(0, 1.25 * highest)
    axes.set_title("evidence against the candidate, of what turns it back", loc="left", fontsize=10, color=INK)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    quiet(axes)


MOST_SHARE = 3.0
"""What is far beyond the limit is drawn at this height, so that the limit stays in sight."""
WORTH_A_NAME = 0.2


def _name_colours(axes: Axes, candidate: Colour, height: float, *, first: bool) -> None:
    roles = [(1.0, candidate, "candidate"), (0.82, candidate.other, "was active")]
    for right, colour, role in roles[:1] if first else roles:
        axes.text(
            right,
            height,
            f"{colour} ({role})",
            color=COLOURS[colour],
            transform=axes.transAxes,
            ha="right",
            fontsize=9,
            fontweight="bold",
        )


CANDIDATE = COLOURS[Colour.SOLE]
HEADLINES = {
    QualityVerdict.NOT_WORSE: ("The candidate is not worse than production", GOOD),
    QualityVerdict.WORSE: ("The candidate is worse than production", BAD),
    QualityVerdict.INCONCLUSIVE: ("The labelled images cannot decide", DOUBT),
}


def quality_plot(comparison: QualityComparison, *, waived: bool = False) -> bytes:
    """The same as a PNG."""
    return png(quality_figure(comparison, waived=waived))


def quality_figure(comparison: QualityComparison, *, waived: bool = False) -> Figure:
    """AP50 of every class, candidate and production, beside the bootstrap's differences of mAP50.

    Args:
        comparison: what was measured.
        waived: whether it is on record only, and was held against nobody.
    """
    figure = new_figure(10, 2.3 + 0.55 * (len(comparison.per_class) + 1))
    text, colour = WAIVED if waived else HEADLINES[comparison.verdict]
    headline(figure, text, _why(comparison), colour)
    classes, differences = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_classes(classes, comparison)
    _draw_differences(differences, comparison)
    return figure


WAIVED = "Measured, and held against nobody", DOUBT


def _why(comparison: QualityComparison) -> str:
    """What mAP50 says, or where the verdict comes from another gate, what that says."""
    decisive = next((gate for gate in comparison.gates if gate.verdict is comparison.verdict), None)
    if decisive and decisive.metric != "map50":
        return decisive.reason
    return comparison.reason.split(". ")[0].rstrip(".") + "."


def _draw_classes(axes: Axes, comparison: QualityComparison) -> None:
    rows: list[tuple[str, float | None, float | None]] = [
        ("all (mAP50)", comparison.candidate_map50, comparison.production_map50)
    ]
    rows += [(name, one.candidate, one.production) for name, one in comparison.per_class.items()]
    for position, (_, candidate, production) in enumerate(rows):
        _bar(axes, position - 0.19, candidate, CANDIDATE)
        _bar(axes, position + 0.19, production, FAINT)
    axes.set_yticks(range(len(rows)), [in_plot(name, LONGEST_LABEL) for name, _, _ in rows])
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_title(f"AP50 on {comparison.images:,} labelled images", loc="left", fontsize=10, color=INK)
    quiet(axes, grid="x")
    for right, text, colour in ((0.78, "candidate", CANDIDATE), (1.0, "production", FAINT)):
        axes.text(right, 1.02, text, color=colour, transform=axes.transAxes, ha="right", fontsize=9, fontweight="bold")


def _bar(axes: Axes, position: float, value: float | None, colour: str) -> None:
    if value is None:
        axes.text(0.01, position, "not on these images", va="center", fontsize=8, color=FAINT)
        return
    axes.barh(position, value, height=0.34, color=colour)
    axes.text(value + 0.012, position, f"{value:.3f}", va="center", fontsize=8, color=INK)


def _draw_differences(axes: Axes, comparison: QualityComparison) -> None:
    edges, margin = np.array(comparison.differences.edges), comparison.margin
    colour = HEADLINES[comparison.verdict][1]
    axes.bar(edges[:-1], comparison.differences.counts, np.diff(edges), align="edge", color=colour, alpha=0.55)
    low, high = min(edges[0], -1.6 * margin), max(edges[-1], 0.6 * margin)
    axes.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    top = 1.42 * max(comparison.differences.counts)
    axes.set_ylim(0, top)
    _draw_limit(axes, margin, (low, high), top)
    _draw_interval(axes, comparison, 0.80 * top)
    axes.set_yticks([])
    title = f"mAP50 candidate - production, {comparison.resamples:,} resamples"
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    quiet(axes)


def _draw_limit(axes: Axes, margin: float, ends: tuple[float, float], top: float) -> None:
    """The tolerated loss, and what lies beyond it; the label goes to the side that has room for it."""
    low, high = ends
    side = "right" if (-margin - low) / (high - low) > 0.6 else "left"
    axes.axvspan(axes.get_xlim()[0], -margin, color=BAD, alpha=0.06, linewidth=0)
    axes.axvline(-margin, color=BAD, linewidth=1.4)
    axes.text(-margin, 0.99 * top, f" tolerated: -{margin:.3g} ", color=BAD, fontsize=8, va="top", ha=side)
    axes.axvline(0, color=FAINT, linewidth=0.8, linestyle=":")


def _draw_interval(axes: Axes, comparison: QualityComparison, height: float) -> None:
    low, high = comparison.quantile_5, comparison.quantile_95
    axes.plot([low, high], [height, height], color=INK, linewidth=1.5, marker="|", markersize=9)
    left, right = axes.get_xlim()
    room = 0.22 * (right - left)
    middle = min(max((low + high) / 2, left + room), right - room)
    axes.text(middle, 1.045 * height, f"90 %: {low:+.3f} … {high:+.3f}", ha="center", fontsize=8, color=INK)


class Plots:
    """The two pictures, as one thing that tests can replace: drawing takes longer than all the rest of a delivery."""

    def rollout(
        self, steps: Sequence[ShiftStep], candidate: Colour, *, budget_seconds: float, title: str, first: bool
    ) -> bytes:
        """See ``rollout_figure``; as a PNG."""
        return rollout_plot(steps, candidate, budget_seconds=budget_seconds, title=title, first=first)

    def rollout_in_page(
        self, steps: Sequence[ShiftStep], candidate: Colour, *, budget_seconds: float, title: str, first: bool
    ) -> str:
        """See ``rollout_figure``; as an element of a page."""
        figure = rollout_figure(steps, candidate, budget_seconds=budget_seconds, title=title, first=first)
        return svg(figure, f"{title}: weights, requests and latency over time")

    def quality(self, comparison: QualityComparison, *, waived: bool = False) -> bytes:
        """See ``quality_figure``; as a PNG."""
        return quality_plot(comparison, waived=waived)

    def quality_in_page(self, comparison: QualityComparison, *, waived: bool = False) -> str:
        """See ``quality_figure``; as an element of a page."""
        return svg(quality_figure(comparison, waived=waived), "Quality of candidate and production, class by class")


def rollout_picture(attempt: AttemptRecord, plots: Plots, budget_seconds: float) -> str:
    """What moved when, as markdown that carries its own picture; empty where nothing moved."""
    if attempt.colour is None or not attempt.steps:
        return ""
    title, first = f"Version {attempt.version}", not attempt.previous_digest
    drawn = plots.rollout(attempt.steps, attempt.colour, budget_seconds=budget_seconds, title=title, first=first)
    return embedded(small(drawn), title)


def quality_picture(judged: QualityRecord, plots: Plots) -> str:
    """The comparison as markdown that carries its own picture; empty where there was nothing to compare with."""
    if judged.comparison is None:
        return ""
    return embedded(small(plots.quality(judged.comparison, waived=judged.waived)), "Quality beside production")
