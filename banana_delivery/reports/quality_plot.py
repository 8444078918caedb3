"""Quality at a glance: every class beside production, and how sure the difference is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from banana_delivery.policy.quality import TOLERATED_LOSS, QualityComparison, QualityVerdict
from banana_delivery.policy.records import Colour
from banana_delivery.reports.style import BAD, COLOURS, DOUBT, FAINT, GOOD, INK, headline, new_figure, png, quiet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
    headline(figure, text, comparison.reason, colour)
    classes, differences = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_classes(classes, comparison)
    _draw_differences(differences, comparison)
    return png(figure)


def _draw_classes(axes: Axes, comparison: QualityComparison) -> None:
    rows: list[tuple[str, float | None, float | None]] = [
        ("all (mAP50)", comparison.candidate_map50, comparison.production_map50)
    ]
    rows += [(name, one.candidate, one.production) for name, one in comparison.per_class.items()]
    for position, (_, candidate, production) in enumerate(rows):
        _bar(axes, position - 0.19, candidate, CANDIDATE)
        _bar(axes, position + 0.19, production, FAINT)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
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
    edges = np.array(comparison.differences.edges)
    colour = HEADLINES[comparison.verdict][1]
    axes.bar(edges[:-1], comparison.differences.counts, np.diff(edges), align="edge", color=colour, alpha=0.55)
    low, high = min(edges[0], -1.6 * TOLERATED_LOSS), max(edges[-1], 0.6 * TOLERATED_LOSS)
    axes.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    top = 1.42 * max(comparison.differences.counts)
    axes.set_ylim(0, top)
    _draw_limit(axes, low, high, top)
    _draw_interval(axes, comparison, 0.80 * top)
    axes.set_yticks([])
    title = f"mAP50 candidate - production, {comparison.resamples:,} resamples"
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    quiet(axes)


def _draw_limit(axes: Axes, low: float, high: float, top: float) -> None:
    """The tolerated loss, and what lies beyond it; the label goes to the side that has room for it."""
    side = "right" if (-TOLERATED_LOSS - low) / (high - low) > 0.6 else "left"
    axes.axvspan(axes.get_xlim()[0], -TOLERATED_LOSS, color=BAD, alpha=0.06, linewidth=0)
    axes.axvline(-TOLERATED_LOSS, color=BAD, linewidth=1.4)
    axes.text(-TOLERATED_LOSS, 0.99 * top, f" tolerated: -{TOLERATED_LOSS} ", color=BAD, fontsize=8, va="top", ha=side)
    axes.axvline(0, color=FAINT, linewidth=0.8, linestyle=":")


def _draw_interval(axes: Axes, comparison: QualityComparison, height: float) -> None:
    low, high = comparison.quantile_5, comparison.quantile_95
    axes.plot([low, high], [height, height], color=INK, linewidth=1.5, marker="|", markersize=9)
    left, right = axes.get_xlim()
    room = 0.22 * (right - left)
    middle = min(max((low + high) / 2, left + room), right - room)
    axes.text(middle, 1.045 * height, f"90 %: {low:+.3f} … {high:+.3f}", ha="center", fontsize=8, color=INK)
