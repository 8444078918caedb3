"""A rollout at a glance: who had the traffic when, what failed, how fast the answers were, and what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from banana_delivery.policy.records import Colour
from banana_delivery.policy.releases import ShiftStep
from banana_delivery.policy.rollout import ActionKind, TrafficFigures
from banana_delivery.reports.style import BAD, COLOURS, DOUBT, FAINT, GOOD, INK, headline, new_figure, png, quiet
from banana_delivery.reports.tables import STEP_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENDINGS = {
    ActionKind.PROMOTE: ("promoted", GOOD),
    ActionKind.ROLL_BACK: ("rolled back", BAD),
    ActionKind.PARK: ("parked", DOUBT),
    ActionKind.SET_WEIGHT: ("going on", FAINT),
    ActionKind.WAIT: ("under way", FAINT),
}
TAIL = 0.07
"""Share of the whole time that is drawn after the last decision, to show where the traffic went."""

SHORTEST_SECONDS = 0.1
"""A rollout that was decided at its first look still has a width."""


def rollout_plot(steps: Sequence[ShiftStep], candidate: Colour, *, budget_seconds: float, title: str) -> bytes:
    """Weights, failures and latency over time, as a PNG.

    Args:
        steps: of the rollout, in order; at least one.
        candidate: the colour that was to take over.
        budget_seconds: what the latency is judged by.
        title: for example the version and its outcome.
    """
    starts = [sum(step.figures.seconds for step in steps[:index]) for index in range(len(steps))]
    end = max(starts[-1] + steps[-1].figures.seconds, SHORTEST_SECONDS)
    figure = new_figure(10, 6.6)
    ending, colour = ENDINGS[ActionKind(steps[-1].decision)]
    headline(figure, f"{title}: {ending}", steps[-1].reason, colour)
    weights, traffic, latency = figure.subplots(3, 1, sharex=True, height_ratios=(1.5, 1.2, 1))
    _draw_weights(weights, steps, starts, end, candidate)
    _draw_traffic(traffic, steps, starts, candidate)
    _draw_latency(latency, steps, starts, candidate, budget_seconds)
    for axes in (weights, traffic, latency):
        axes.axvline(end, color=colour, linewidth=1.6)
        axes.set_xlim(0, end * (1 + TAIL))
    latency.set_xlabel("seconds", fontsize=9, color=INK, loc="right")
    return png(figure)


def _draw_weights(
    axes: Axes, steps: Sequence[ShiftStep], starts: Sequence[float], end: float, candidate: Colour
) -> None:
    shares = [step.figures.weight for step in steps]
    last = {ActionKind.ROLL_BACK: 0, ActionKind.PARK: 0}.get(ActionKind(steps[-1].decision), shares[-1])
    edges, tops = [*starts, end, end * (1 + TAIL)], [*shares, last, last]
    axes.fill_between(edges, 100, step="post", color=COLOURS[candidate.other], alpha=0.18, linewidth=0)
    axes.fill_between(edges, tops, step="post", color=COLOURS[candidate], alpha=0.85, linewidth=0)
    for step, start in zip(steps, starts, strict=True):
        middle = start + step.figures.seconds / 2
        if step.figures.seconds > 0.035 * end:
            axes.text(
                middle,
                104,
                f"{STEP_NAMES[step.figures.kind]}\n{step.figures.weight} %",
                ha="center",
                fontsize=8,
                color=INK,
            )
        axes.axvline(start, color="white", linewidth=1)
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100], ["0 %", "50 %", "100 %"])
    axes.set_title("share of the users", loc="left", fontsize=10, color=INK, pad=26)
    _name_colours(axes, candidate, height=1.22)
    quiet(axes)


def _draw_traffic(axes: Axes, steps: Sequence[ShiftStep], starts: Sequence[float], candidate: Colour) -> None:
    """Requests a second of both colours, stacked; failures as numbers, because one failure must not be overlooked."""
    rates = [(_rate(step, step.figures), _rate(step, step.figures.active)) for step in steps]
    tallest = max([1.0, *(ours + theirs for ours, theirs in rates)])
    for step, start, (ours, theirs) in zip(steps, starts, rates, strict=True):
        seconds = step.figures.seconds
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
        failed = step.figures.failed + step.figures.active.failed
        if failed:
            axes.text(
                start + seconds / 2, ours + theirs + 0.05 * tallest, f"{failed:,} failed", ha="center", fontsize=8,
                color="white", bbox={"boxstyle": "round,pad=0.3", "facecolor": BAD, "edgecolor": "none"},
            )  # fmt: skip
    axes.set_ylim(0, 1.3 * tallest)
    failed = sum(step.figures.failed + step.figures.active.failed for step in steps)
    total = sum(step.figures.requests + step.figures.active.requests for step in steps)
    axes.set_title(f"requests a second ({total:,} requests, {failed:,} failed)", loc="left", fontsize=10, color=INK)
    quiet(axes)


def _rate(step: ShiftStep, traffic: TrafficFigures) -> float:
    return traffic.requests / step.figures.seconds if step.figures.seconds else 0.0


def _draw_latency(
    axes: Axes, steps: Sequence[ShiftStep], starts: Sequence[float], candidate: Colour, budget: float
) -> None:
    seen = []
    for step, start in zip(steps, starts, strict=True):
        for colour, traffic in ((candidate.other, step.figures.active), (candidate, step.figures)):
            if traffic.p95_seconds is not None:
                seen.append(traffic.p95_seconds)
                end = start + step.figures.seconds
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


def _name_colours(axes: Axes, candidate: Colour, height: float) -> None:
    for right, colour, role in ((1.0, candidate, "candidate"), (0.82, candidate.other, "was active")):
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
