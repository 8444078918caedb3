"""The figures of a release as tables. ``*_grid`` is the table itself, ``*_table`` the same in GitHub's markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from banana_delivery.policy.asset_records import QualityRecord, TestRow
from banana_delivery.policy.model import TrafficSource
from banana_delivery.policy.quality.comparison import AbsoluteQuality, QualityComparison
from banana_delivery.policy.quality.disagreements import Disagreement
from banana_delivery.policy.quality.gates import FALSE_BOXES, QualityGate, QualityVerdict
from banana_delivery.policy.rollout.metrics import StepMetrics, TrafficMetrics
from banana_delivery.policy.rollout.plan import StepKind
from banana_delivery.quoting import in_html, in_markdown

STEP_NAMES = {StepKind.AB: "A/B", StepKind.SHIFT: "shift", StepKind.WATCH: "watch"}
STEP_HEADERS = (
    "step",
    "weight",
    "seconds",
    "users",
    "of them failed",
    "probes",
    "of these failed",
    "turned away",
    "p95",
    "active release",
    "failed there",
    "p95 there",
)
PASSED, FAILED, OPEN = "passed", "FAILED", "undecided"
"""Words and no pictures: not every machine has the letters for those."""
NOTHING = "–"


@dataclass(frozen=True)
class Grid:
    """A table of text.

    Attributes:
        headers: one a column.
        rows: as many cells each as there are headers.
        numbers: columns that hold numbers, and so are aligned to the right.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()

    def markdown(self) -> str:
        """The table in GitHub's markdown; whatever a cell holds, it stays in its cell."""
        rule = ["---:" if column in self.numbers else "---" for column in range(len(self.headers))]
        quoted = [[in_markdown(cell) for cell in line] for line in (self.headers, *self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in (quoted[0], rule, *quoted[1:]))

    def as_html(self, kind: str = "") -> str:
        """The table as an HTML element, escaped, of a class if there is one."""
        head = "".join(self._tag("th", column, cell) for column, cell in enumerate(self.headers))
        rows = ("".join(self._tag("td", column, cell) for column, cell in enumerate(row)) for row in self.rows)
        body = "\n".join(f"<tr>{row}</tr>" for row in rows)
        # A table that is wider than a telephone is moved within its own frame, by the keyboard as well.
        table = f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"
        return f'<div class="{f"wide {kind}".strip()}" tabindex="0">{table}</div>'

    def _tag(self, name: str, column: int, cell: str) -> str:
        kind = ' class="number"' if column in self.numbers else ""
        return f"<{name}{kind}>{in_html(cell)}</{name}>"


def test_table(rows: Iterable[TestRow]) -> str:
    """The tests of a release, failed ones first."""
    return test_grid(rows).markdown()


def step_table(steps: Iterable[StepMetrics]) -> str:
    """What the candidate did at each step, and the other colour beside it."""
    return step_grid(steps).markdown()


def quality_table(quality: QualityRecord) -> str:
    """The verdict, the AP50 of every class, and the images to look at."""
    parts = [f"**{quality.verdict}** {in_markdown(quality.reason)}", quality_grid(quality).markdown()]
    if quality.comparison and quality.comparison.gates:
        parts.append(gate_grid(quality.comparison.gates).markdown())
    if quality.comparison and quality.comparison.disagreements:
        parts += ["Images on which they differ most:", disagreement_grid(quality.comparison.disagreements).markdown()]
    return "\n\n".join(parts)


def test_grid(rows: Iterable[TestRow]) -> Grid:
    """The tests of a release, failed ones first."""
    ordered = sorted(rows, key=lambda row: row.passed)
    cells = [[PASSED if row.passed else FAILED, row.name, row.detail, f"{row.seconds:.2f}"] for row in ordered]
    return Grid(("", "test", "seen", "seconds"), cells, frozenset({3}))


def step_grid(steps: Iterable[StepMetrics]) -> Grid:
    """What the candidate did at each step, and the other colour beside it."""
    return Grid(STEP_HEADERS, [_step_cells(step) for step in steps], frozenset(range(1, len(STEP_HEADERS))))


def own_grid(steps: Iterable[StepMetrics]) -> Grid:
    """The team's own metrics at each step; no rows without any."""
    cells = [
        [
            f"{STEP_NAMES[step.kind]} {step.weight} %",
            one.name,
            one.said,
            f"{100 * one.share:.0f} %",
            "test" if one.tested else "threshold",
        ]
        for step in steps
        for one in step.own
    ]
    return Grid(("step", "metric", "seen", "of what turns back", "judged as"), cells, frozenset({3}))


def _step_cells(step: StepMetrics) -> list[str]:
    users, probes = (step.sources.get(source) for source in (TrafficSource.USER, TrafficSource.PROBE))
    return [
        STEP_NAMES[step.kind],
        f"{step.weight} %",
        f"{step.seconds:.0f}",
        f"{users.requests:,}" if users else NOTHING,
        _share(users or step),
        f"{probes.requests:,}" if probes else NOTHING,
        _share(probes) if probes else NOTHING,
        f"{step.overloads:,}",
        milliseconds(step.p95_seconds),
        f"{step.active.requests:,}",
        _share(step.active),
        milliseconds(step.active.p95_seconds),
    ]


def _share(traffic: TrafficMetrics) -> str:
    if not traffic.failed:
        return "0"
    return f"{traffic.failed:,} ({traffic.failed / traffic.requests:.1%})"


def milliseconds(seconds: float | None) -> str:
    """A latency as people read it."""
    return NOTHING if seconds is None else f"{1000 * seconds:.0f} ms"


def quality_grid(quality: QualityRecord) -> Grid:
    """The AP50 of every class, beside production's if it was compared."""
    if quality.comparison is None:
        return _alone(quality.absolute)
    return _compared(quality.comparison)


def _alone(quality: AbsoluteQuality) -> Grid:
    rows = [[name, _ap(value)] for name, value in quality.per_class.items()]
    return Grid(("class", "AP50"), [*rows, ["all (mAP50)", _ap(quality.map50)]], frozenset({1}))


def _compared(comparison: QualityComparison) -> Grid:
    rows = [
        [name, f"{one.objects:,}", _ap(one.candidate), _ap(one.production), _difference(one.candidate, one.production)]
        for name, one in comparison.per_class.items()
    ]
    objects = sum(one.objects for one in comparison.per_class.values())
    ours, theirs = comparison.candidate_map50, comparison.production_map50
    total = ["all (mAP50)", f"{objects:,}", _ap(ours), _ap(theirs), _difference(ours, theirs)]
    headers = ("class", "labelled objects", "candidate AP50", "production AP50", "difference")
    return Grid(headers, [*rows, total], frozenset({1, 2, 3, 4}))


def gate_grid(gates: Iterable[QualityGate]) -> Grid:
    """Every gate of a comparison, those that are not passed first."""
    ordered = sorted(gates, key=lambda gate: gate.verdict is QualityVerdict.NOT_WORSE)
    rows = [
        [
            f"{GATE_MARKS[gate.verdict]}: {gate.metric} {gate.class_name}".strip(),
            f"{gate.objects:,}",
            f"{gate.candidate:.3f}",
            f"{gate.production:.3f}",
            f"{gate.loss:+.3f} of {gate.margin:.3f}",
            f"{gate.missable:.3f}",
            _found(gate),
        ]
        for gate in ordered
    ]
    headers = ("gate", "objects", "candidate", "production", "loss of margin", "could be missed", "found in 90 %")
    return Grid(headers, rows, frozenset(range(1, 7)))


def _found(gate: QualityGate) -> str:
    if not gate.findable:
        return ""
    return "none" if gate.findable > 1 and gate.metric not in FALSE_BOXES else f"{gate.findable:.3f}"


GATE_MARKS = {
    QualityVerdict.NOT_WORSE: PASSED,
    QualityVerdict.WORSE: FAILED,
    QualityVerdict.INCONCLUSIVE: OPEN,
}


def disagreement_grid(disagreements: Iterable[Disagreement]) -> Grid:
    """The images on which the models differ most."""
    rows = [
        [
            one.image,
            f"{one.candidate_missed}",
            f"{one.candidate_false}",
            f"{one.production_missed}",
            f"{one.production_false}",
            "production" if one.extra_errors > 0 else "candidate" if one.extra_errors < 0 else "equal",
        ]
        for one in disagreements
    ]
    headers = ("image", "candidate missed", "candidate false", "production missed", "production false", "better")
    return Grid(headers, rows, frozenset({1, 2, 3, 4}))


def _ap(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"


def _difference(ours: float | None, theirs: float | None) -> str:
    return NOTHING if ours is None or theirs is None else f"{ours - theirs:+.3f}"
