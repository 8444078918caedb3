"""One release as one HTML file that needs nothing beside it: to be kept, mailed or opened at night."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from banana_delivery.evaluation.worst import WorstImages
from banana_delivery.policy.asset_records import AbRecord, AttemptRecord, QualityRecord, ShiftStep, StagingRecord
from banana_delivery.policy.hindsight.would_have import DEEDS
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outcomes import CONSEQUENCES, Score
from banana_delivery.policy.rollout.metrics import StepMetrics
from banana_delivery.quoting import in_html, in_link
from banana_delivery.reports.headline import headline, met_users
from banana_delivery.reports.plots import Plots
from banana_delivery.reports.quality.worst import worst_images
from banana_delivery.reports.style.pages import STYLE
from banana_delivery.reports.tables import (
    STEP_NAMES,
    Grid,
    disagreement_grid,
    gate_grid,
    milliseconds,
    own_grid,
    quality_grid,
    step_grid,
    test_grid,
)


def html_report(
    attempt: AttemptRecord,
    *,
    budget_seconds: float,
    plots: Plots,
    staging: StagingRecord | None = None,
    ab: AbRecord | None = None,
    release: AttemptRecord | None = None,
    worst: WorstImages | None = None,
    links: Mapping[str, str] | None = None,
) -> str:
    """The report of an attempt to deliver a version.

    Args:
        attempt: how it ended.
        budget_seconds: what the latency was judged by.
        plots: draws.
        staging: what staging saw, if it came so far.
        ab: what the A/B report found, if it came so far.
        release: how the version came into production, where a person took it out later.
        worst: the images on which candidate and production differ most, if they were kept.
        links: where to read on, address by text.
    """
    title = f"Version {attempt.version}: {attempt.outcome.replace('_', ' ')}"
    content = [
        f'<h1 class="{_class(attempt.outcome)}">{in_html(headline(attempt))}</h1>',
        *_reason(attempt),
        *_observed(attempt),
        _facts(attempt).as_html("facts"),
        *_rollout(attempt, budget_seconds, plots, "Rollout"),
        *_earlier(attempt, release, budget_seconds, plots),
        *_ab_traffic(ab),
        *_quality(ab.quality if ab else staging.quality if staging else None, plots, worst or WorstImages()),
        *_tests(staging),
        *_policy(attempt),
        _footer(attempt, links or {}),
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{in_html(title)}</title><style>{STYLE}</style>'
    )
    body = "\n".join(content)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body><main>\n{body}\n</main></body></html>\n'


def _class(outcome: Outcome) -> str:
    if outcome is Outcome.RELEASED:
        return "good"
    return "doubt" if CONSEQUENCES[outcome].score in {Score.GOOD, Score.NEUTRAL} else "bad"


def _reason(attempt: AttemptRecord) -> Iterator[str]:
    """Why, in one sentence; of a release it is only what was seen last, for which the steps have a table."""
    if attempt.outcome is not Outcome.RELEASED or not attempt.steps:
        yield f'<p class="reason">{in_html(attempt.reason)}</p>'


def _observed(attempt: AttemptRecord) -> Iterator[str]:
    """What was not done, since the policy only observes."""
    if not attempt.observed:
        return
    rows = [
        [one.where, DEEDS.get(one.what, one.what), "" if one.seconds is None else f"{one.seconds:.0f} s", one.reason]
        for one in attempt.observed
    ]
    yield "<h2>The policy only observes. It would have</h2>"
    yield Grid(("at", "done", "after", "why"), rows).as_html()


def _facts(attempt: AttemptRecord) -> Grid:
    facts = {
        "users' requests to it": met_users(attempt),
        "requests meanwhile": f"{attempt.requests:,} to both, with probes, of which {attempt.failed:,} failed"
        if attempt.requests
        else "",
        "image": attempt.digest,
        "production before": attempt.previous_digest,
        "production serves version": attempt.serving_version,
        "colour": attempt.colour or "",
        "time": f"{attempt.seconds:.0f} s",
        "back within": milliseconds(attempt.rollback_seconds) if attempt.rollback_seconds is not None else "",
        "let in by": attempt.basis,
        "started by": " ".join(part for part in (attempt.trigger, attempt.actor) if part),
        "precision": " ".join(part for part in (attempt.precision, attempt.precision_reason) if part),
        "policy": f"{attempt.policy.name}, {attempt.policy.digest[:19]}" if attempt.policy else "",
        "run": attempt.run_id,
    }
    return Grid(("delivery", ""), [[name, value] for name, value in facts.items() if value])


def _earlier(
    attempt: AttemptRecord, release: AttemptRecord | None, budget_seconds: float, plots: Plots
) -> Iterator[str]:
    """Of a version that was taken out after its release: how it had come in."""
    if release is None or release.at >= attempt.at:
        return
    began = datetime.fromtimestamp(release.at, UTC).strftime("%d %B %H:%M UTC")
    yield from _rollout(release, budget_seconds, plots, f"How it came into production ({began})")


def _rollout(attempt: AttemptRecord, budget_seconds: float, plots: Plots, heading: str) -> Iterator[str]:
    if not attempt.steps or attempt.colour is None:
        return
    yield f"<h2>{in_html(heading)}</h2>"
    title, first = f"Version {attempt.version}", not attempt.previous_digest
    yield _figure(
        plots.rollout_in_page(attempt.steps, attempt.colour, budget_seconds=budget_seconds, title=title, first=first)
    )
    yield step_grid(step.metrics for step in attempt.steps).as_html()
    yield _decisions(attempt.steps).as_html()
    yield from _own(step.metrics for step in attempt.steps)


def _own(steps: Iterable[StepMetrics]) -> Iterator[str]:
    grid = own_grid(steps)
    if grid.rows:
        yield f"<h3>Metrics of the team</h3>{grid.as_html()}"


def _decisions(steps: tuple[ShiftStep, ...]) -> Grid:
    rows = [
        [f"{STEP_NAMES[step.metrics.kind]} {step.metrics.weight} %", step.decision.replace("_", " "), step.reason]
        for step in steps
    ]
    return Grid(("step", "decision", "why"), rows)


def _ab_traffic(ab: AbRecord | None) -> Iterator[str]:
    if ab is None:
        return
    yield f"<h2>A/B: {in_html(ab.verdict.verdict)}</h2><p>{in_html(ab.verdict.reason)}</p>"
    if ab.traffic is not None:
        yield step_grid(ab.whole_traffic).as_html()
        yield from _own([ab.traffic])


def _quality(quality: QualityRecord | None, plots: Plots, worst: WorstImages) -> Iterator[str]:
    if quality is None:
        return
    verdict = "measured, and held against nobody" if quality.waived and quality.absolute.passed else quality.verdict
    yield f"<h2>Quality: {in_html(verdict)}</h2><p>{in_html(quality.reason)}</p>"
    if quality.comparison is not None:
        yield _figure(plots.quality_in_page(quality.comparison, waived=quality.waived))
    yield quality_grid(quality).as_html()
    if quality.comparison is not None and quality.comparison.gates:
        yield gate_grid(quality.comparison.gates).as_html()
    if quality.comparison is not None and quality.comparison.disagreements:
        yield "<h3>Images on which they differ most</h3>"
        yield from worst_images(worst, quality.comparison, quality.holdout)
        yield disagreement_grid(quality.comparison.disagreements).as_html()


def _tests(staging: StagingRecord | None) -> Iterator[str]:
    if staging is None:
        return
    failed = len(staging.failed_tests)
    yield f"<h2>Tests in staging: {f'{failed} failed' if failed else 'all passed'}</h2>"
    yield test_grid(staging.tests).as_html()


def _policy(attempt: AttemptRecord) -> Iterator[str]:
    if attempt.policy and attempt.policy.text:
        summary = f"The release policy {in_html(attempt.policy.name)}"
        yield f"<details><summary>{summary}</summary><pre>{in_html(attempt.policy.text)}</pre></details>"


def _figure(drawn: str) -> str:
    return f'<figure tabindex="0">{drawn}</figure>'


def _footer(attempt: AttemptRecord, links: Mapping[str, str]) -> str:
    at = datetime.fromtimestamp(attempt.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    anchors = "".join(f' · <a href="{in_link(url)}">{in_html(text)}</a>' for text, url in links.items())
    return f"<footer>{at}{anchors}</footer>"
