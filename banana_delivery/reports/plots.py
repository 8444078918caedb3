"""What all plots share: colours that mean something, a quiet style, and the way to bytes and into markdown.

A table before it is known where it will be read: in Dagster as markdown, in the report as HTML.

A rollout at a glance: who had the traffic when, what failed, how fast the answers were, and what was decided.

Quality at a glance: every class beside production, and how sure the difference is.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from banana_delivery.policy.asset_records import AttemptRecord, QualityRecord, ShiftStep
from banana_delivery.policy.model import Colour
from banana_delivery.policy.quality.comparison import QualityComparison
from banana_delivery.policy.quality.gates import QualityVerdict
from banana_delivery.policy.rollout.decision import ActionKind
from banana_delivery.policy.rollout.metrics import TrafficMetrics
from banana_delivery.quoting import MOST_IN_LINE, in_markdown, in_plot
from banana_delivery.reports.tables import STEP_NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#24292f"
FAINT = "#8c959f"
GRID = "#e7eaee"
BAD = "#cf222e"
GOOD = "#1a7f37"
DOUBT = "#9a6700"
COLOURS = {Colour.BLUE: "#3b78d8", Colour.GREEN: "#3a9d5d", Colour.SOLE: "#7d6bb0"}
DPI = 110
INLINE_BYTES = 29_000
"""Of a picture in an event: less than 40 kB as the text that markdown needs. The whole picture is in the report."""
INLINE_WIDTHS = (880, 720, 560, 400, 240)
INLINE_COLOURS = 48
REASON_CHARACTERS = 132
HEADLINE_INCHES = 0.36
LONGEST_LABEL = 40
"""Characters of a class's name; a longer one would leave no room for the bars."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches that lays itself out; no global state, so that threads may draw.

    matplotlib is imported here, because loading the code location must not pay for plots.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")


def headline(figure: Figure, text: str, reason: str, colour: str) -> None:
    """What the plot says in large print, and why in small print below it; room for both is kept free."""
    lines = textwrap.wrap(in_plot(reason, MOST_IN_LINE), REASON_CHARACTERS)
    figure.suptitle(
        in_plot(text) + "\n" * (1 + len(lines)), x=0.01, ha="left", fontsize=13, fontweight="bold", color=colour
    )
    below = 1 - HEADLINE_INCHES / figure.get_figheight()
    figure.text(0.01, below, "\n".join(lines), va="top", fontsize=9, color=INK, linespacing=1.4)


def quiet(axes: Axes, *, grid: str = "y") -> None:
    """Leave only what helps to read values."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.set_axisbelow(True)
    if grid == "x":
        axes.xaxis.grid(visible=True, color=GRID, linewidth=1)
    else:
        axes.yaxis.grid(visible=True, color=GRID, linewidth=1)


def png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def small(image: bytes) -> bytes:
    """A picture for Dagster's event log, whose pages cannot load a file: reduced until it may be kept there.

    Args:
        image: as it was drawn; what is small enough stays as it is.
    """
    if len(image) <= INLINE_BYTES:
        return image
    from PIL import Image

    with Image.open(io.BytesIO(image)) as drawn:
        picture = drawn.convert("RGB")
    for width in INLINE_WIDTHS:
        height = round(picture.height * width / picture.width)
        reduced = picture.resize((width, height), Image.Resampling.LANCZOS).quantize(INLINE_COLOURS)
        buffer = io.BytesIO()
        reduced.save(buffer, format="png", optimize=True)
        if buffer.tell() <= INLINE_BYTES:
            break
    return buffer.getvalue()


def embedded(image: bytes, alt: str) -> str:
    """A PNG as markdown that carries its own picture, for metadata that has no files beside it."""
    return f"![{in_markdown(alt)}]({data_uri(image)})"


def data_uri(image: bytes) -> str:
    """A PNG as an address that is the picture itself."""
    return f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}"


ENDINGS = {
    ActionKind.PROMOTE: ("promoted", GOOD),
    ActionKind.ROLL_BACK: ("rolled back", BAD),
    ActionKind.PARK: ("parked", DOUBT),
    ActionKind.STAND_BACK: ("stood back", DOUBT),
    ActionKind.SET_WEIGHT: ("going on", FAINT),
    ActionKind.WAIT: ("under way", FAINT),
}
GONE_BACK = (ActionKind.ROLL_BACK, ActionKind.PARK, ActionKind.STAND_BACK)
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
    starts = [sum(step.metrics.seconds for step in steps[:index]) for index in range(len(steps))]
    end = max(starts[-1] + steps[-1].metrics.seconds, SHORTEST_SECONDS)
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
    _name_colours(axes, candidate, height=1.22)
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


CANDIDATE = COLOURS[Colour.SOLE]
HEADLINES = {
    QualityVerdict.NOT_WORSE: ("The candidate is not worse than production", GOOD),
    QualityVerdict.WORSE: ("The candidate is worse than production", BAD),
    QualityVerdict.INCONCLUSIVE: ("The labelled images cannot decide", DOUBT),
}


def quality_plot(comparison: QualityComparison) -> bytes:
    """AP50 of every class, candidate and production, beside the bootstrap's differences of mAP50, as a PNG."""
    figure = new_figure(10, 2.3 + 0.55 * (len(comparison.per_class) + 1))
    text, colour = HEADLINES[comparison.verdict]
    headline(figure, text, _why(comparison), colour)
    classes, differences = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_classes(classes, comparison)
    _draw_differences(differences, comparison)
    return png(figure)


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

    def rollout(self, steps: Sequence[ShiftStep], candidate: Colour, *, budget_seconds: float, title: str) -> bytes:
        """See ``rollout_plot``."""
        return rollout_plot(steps, candidate, budget_seconds=budget_seconds, title=title)

    def quality(self, comparison: QualityComparison) -> bytes:
        """See ``quality_plot``."""
        return quality_plot(comparison)


def rollout_picture(attempt: AttemptRecord, plots: Plots, budget_seconds: float) -> str:
    """What moved when, as markdown that carries its own picture; empty where nothing moved."""
    if attempt.colour is None or not attempt.steps:
        return ""
    title = f"Version {attempt.version}"
    drawn = plots.rollout(attempt.steps, attempt.colour, budget_seconds=budget_seconds, title=title)
    return embedded(small(drawn), title)


def quality_picture(judged: QualityRecord, plots: Plots) -> str:
    """The comparison as markdown that carries its own picture; empty where there was nothing to compare with."""
    if judged.comparison is None:
        return ""
    return embedded(small(plots.quality(judged.comparison)), "Quality beside production")
