"""One release as one HTML file that needs nothing beside it: to be kept, mailed or opened at night."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from banana_delivery.policy.asset_records import AbRecord, AttemptRecord, QualityRecord, ShiftStep, StagingRecord
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outcomes import CONSEQUENCES, Score
from banana_delivery.quoting import in_html, in_link
from banana_delivery.reports.plots import BAD, DOUBT, FAINT, GOOD, GRID, INK, Plots, data_uri
from banana_delivery.reports.tables import (
    STEP_NAMES,
    Grid,
    disagreement_grid,
    gate_grid,
    milliseconds,
    quality_grid,
    step_grid,
    test_grid,
)

STYLE = f"""
body {{ font: 15px/1.5 system-ui, sans-serif; color: {INK}; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }}
h1 {{ margin-bottom: 0 }} h2 {{ margin-top: 2.2rem }} .reason {{ font-size: 1.1rem; margin-top: .3rem }}
table {{ border-collapse: collapse; font-size: .9rem; margin: .8rem 0 }}
th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid {GRID}; overflow-wrap: anywhere }}
th {{ color: {FAINT}; font-weight: 600 }} .number {{ text-align: right; font-variant-numeric: tabular-nums }}
img {{ max-width: 100% }} footer {{ color: {FAINT}; margin-top: 2rem; font-size: .85rem }}
""".strip()


def html_report(
    attempt: AttemptRecord,
    *,
    budget_seconds: float,
    plots: Plots,
    staging: StagingRecord | None = None,
    ab: AbRecord | None = None,
    links: Mapping[str, str] | None = None,
) -> str:
    """The report of an attempt to deliver a version.

    Args:
        attempt: how it ended.
        budget_seconds: what the latency was judged by.
        plots: draws.
        staging: what staging saw, if it came so far.
        ab: what the A/B report found, if it came so far.
        links: where to read on, address by text.
    """
    title = f"Version {attempt.version}: {attempt.outcome.replace('_', ' ')}"
    content = [
        f'<h1 style="color:{_colour(attempt.outcome)}">{in_html(title)}</h1>',
        f'<p class="reason">{in_html(attempt.reason)}</p>',
        _facts(attempt).as_html(),
        *_rollout(attempt, budget_seconds, plots),
        *_ab_traffic(ab),
        *_quality(ab.quality if ab else staging.quality if staging else None, plots),
        *_tests(staging),
        *_policy(attempt),
        _footer(attempt, links or {}),
    ]
    head = f'<meta charset="utf-8"><title>{in_html(title)}</title><style>{STYLE}</style>'
    body = "\n".join(content)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _colour(outcome: Outcome) -> str:
    if outcome is Outcome.RELEASED:
        return GOOD
    return DOUBT if CONSEQUENCES[outcome].score in {Score.GOOD, Score.NEUTRAL} else BAD


def _facts(attempt: AttemptRecord) -> Grid:
    facts = {
        "image": attempt.digest,
        "production before": attempt.previous_digest,
        "production serves version": attempt.serving_version,
        "colour": attempt.colour or "",
        "requests meanwhile": f"{attempt.requests:,}, of which {attempt.failed:,} failed",
        "time": f"{attempt.seconds:.0f} s",
        "back within": milliseconds(attempt.rollback_seconds) if attempt.rollback_seconds is not None else "",
        "let in by": attempt.basis,
        "started by": " ".join(part for part in (attempt.trigger, attempt.actor) if part),
        "policy": f"{attempt.policy.name}, {attempt.policy.digest[:19]}" if attempt.policy else "",
        "run": attempt.run_id,
    }
    return Grid(("delivery", ""), [[name, value] for name, value in facts.items() if value])


def _rollout(attempt: AttemptRecord, budget_seconds: float, plots: Plots) -> Iterator[str]:
    if not attempt.steps or attempt.colour is None:
        return
    yield "<h2>Rollout</h2>"
    title = f"Version {attempt.version}"
    yield _image(plots.rollout(attempt.steps, attempt.colour, budget_seconds=budget_seconds, title=title), "Rollout")
    yield step_grid(step.metrics for step in attempt.steps).as_html()
    yield _decisions(attempt.steps).as_html()


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
        yield step_grid([ab.traffic]).as_html()


def _quality(quality: QualityRecord | None, plots: Plots) -> Iterator[str]:
    if quality is None:
        return
    yield f"<h2>Quality: {in_html(quality.verdict)}</h2><p>{in_html(quality.reason)}</p>"
    if quality.comparison is not None:
        yield _image(plots.quality(quality.comparison), "Quality of candidate and production")
    yield quality_grid(quality).as_html()
    if quality.comparison is not None and quality.comparison.gates:
        yield gate_grid(quality.comparison.gates).as_html()
    if quality.comparison is not None and quality.comparison.disagreements:
        yield "<h3>Images on which they differ most</h3>"
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


def _image(picture: bytes, alt: str) -> str:
    return f'<img alt="{in_html(alt)}" src="{data_uri(picture)}">'


def _footer(attempt: AttemptRecord, links: Mapping[str, str]) -> str:
    at = datetime.fromtimestamp(attempt.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    anchors = "".join(f' · <a href="{in_link(url)}">{in_html(text)}</a>' for text, url in links.items())
    return f"<footer>{at}{anchors}</footer>"
