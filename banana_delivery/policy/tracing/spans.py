"""The trace of one attempt, made of what is on record of it once it has ended.

Root is the run; below it are the assets that it made, and below these their phases. Begins come from the wall clocks of
whoever wrote them down; how long a phase took was measured by a clock that nobody sets, where somebody measured it. If
a clock was set meanwhile, spans may be shifted, and none ends before it begins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from banana_delivery.policy.asset_records import (
    AbRecord,
    ArtifactRecord,
    AttemptRecord,
    ImageRecord,
    ShiftStep,
    StagingRecord,
)
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.rollout.decision import ActionKind

Attributes: TypeAlias = Mapping[str, str | int | float | bool]
FAILED = frozenset({Outcome.ERROR, Outcome.ROLLED_BACK})
"""Ends at which a trace is shown red. That a bad version is turned back is what the pipeline is for."""


@dataclass(frozen=True)
class Interval:
    """From when to when, in seconds since the epoch.

    Attributes:
        start: when it began.
        end: when it ended; None if that is not known.
        succeeded: whether an asset was made, so that what is on record of it is this run's.
    """

    start: float
    end: float | None = None
    succeeded: bool = False


@dataclass(frozen=True)
class Span:
    """One span, with those below it.

    Attributes:
        name: what happened.
        start: seconds since the epoch.
        end: the same, never before the start.
        attributes: what is known of it.
        failed: why it counts as failed; empty if it does not.
        children: what happened within it.
    """

    name: str
    start: float
    end: float
    attributes: Attributes = field(default_factory=dict)
    failed: str = ""
    children: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Trace:
    """All spans of an attempt.

    Attributes:
        trace_id: 16 bytes, the same whoever tells of this attempt, and however often.
        root: its first span.
        about: id of the trace that this one is about: of a rollback, that of the release; empty if there is none.
    """

    trace_id: bytes
    root: Span
    about: bytes = b""


@dataclass(frozen=True)
class Known:
    """What is on record of an attempt beside its line in the audit trail; each as far as this run made it.

    Attributes:
        run: from when to when the run lasted.
        assets: when each asset was under way, by name, in the order of their begins.
        artifact: what was exported.
        image: what was built.
        staging: what staging saw.
        ab: what the A/B report found.
    """

    run: Interval | None = None
    assets: Mapping[str, Interval] = field(default_factory=dict)
    artifact: ArtifactRecord | None = None
    image: ImageRecord | None = None
    staging: StagingRecord | None = None
    ab: AbRecord | None = None


def trace_of(attempt: AttemptRecord, known: Known) -> Trace:
    """The trace of an attempt that has ended."""
    start = known.run.start if known.run else attempt.at - attempt.seconds
    assets = [_asset(name, when, attempt, known) for name, when in known.assets.items()]
    children = assets or list(_production(start, attempt))
    root = Span(
        name="rollback" if attempt.revoked and not assets else "delivery",
        start=start,
        end=max(start, attempt.at),
        attributes=_shown(
            {
                "version": attempt.version,
                "digest": attempt.digest,
                "outcome": attempt.outcome.value,
                "reason": attempt.reason,
                "previous_digest": attempt.previous_digest,
                "serving_version": attempt.serving_version,
                "colour": attempt.colour.value if attempt.colour else "",
                "trigger": attempt.trigger,
                "run": attempt.run_id,
                "requests": attempt.requests,
                "failed_requests": attempt.failed,
            }
        ),
        failed=attempt.reason if attempt.outcome in FAILED else "",
        children=tuple(children),
    )
    about = trace_id(attempt.revokes, attempt.version) if attempt.revokes not in {"", attempt.run_id} else b""
    own = attempt.run_id or f"{attempt.outcome} at {attempt.at!r}"
    return Trace(trace_id(own, attempt.version), _enclosing(root), about)


def trace_id(run_id: str, version: str) -> bytes:
    """By which the trace of a run is known, without anybody having kept it."""
    return hashlib.sha256(f"delivery {run_id} {version}".encode()).digest()[:16]


def _asset(name: str, when: Interval, attempt: AttemptRecord, known: Known) -> Span:
    end = attempt.at if when.end is None else when.end
    return Span(name, when.start, max(when.start, end), children=tuple(_phases(name, when.start, attempt, known)))


def _phases(asset: str, start: float, attempt: AttemptRecord, known: Known) -> Iterator[Span]:
    match asset:
        case "model_artifact" if known.artifact and not known.artifact.reused:
            yield _lasting("export", start, known.artifact.seconds, {"parity": known.artifact.parity_passed})
        case "image" if known.image and not known.image.reused:
            seen: Attributes = {"digest": known.image.ref.digest, "new_bytes": known.image.new_bytes}
            yield _lasting("build and push", start, known.image.seconds, seen)
        case "staging_release" if known.staging:
            deploy = _lasting("deploy", start, known.staging.seconds_to_ready, {"replicas": known.staging.replicas})
            yield deploy
            seen = {
                "failed_tests": len(known.staging.failed_tests),
                "verdict": known.staging.quality.verdict.value,
            }
            left = known.staging.seconds - known.staging.seconds_to_ready
            yield _lasting("tests and quality", deploy.end, left, seen)
        case "ab_report" if known.ab and known.ab.traffic:
            verdict = known.ab.verdict
            again = [ShiftStep(metrics=one, decision=ActionKind.RESUME, reason="") for one in known.ab.before]
            last = ShiftStep(metrics=known.ab.traffic, decision=verdict.verdict, reason=verdict.reason)
            yield from _steps(start, [*again, last])
        case "production_release":
            yield from _production(start, attempt)


def _production(start: float, attempt: AttemptRecord) -> Iterator[Span]:
    steps = list(_steps(start, attempt.steps))
    if steps and attempt.run_id:
        yield _lasting("deploy", start, steps[0].start - start)
    yield from steps
    if attempt.rollback_seconds is not None:
        yield _lasting("rollback", steps[-1].end if steps else start, attempt.rollback_seconds)


def _steps(start: float, steps: Iterable[ShiftStep]) -> Iterator[Span]:
    """One after the other: where nobody noted when one began, it did when the one before ended."""
    for step in steps:
        metrics = step.metrics
        began = max(start, start if metrics.began_at is None else metrics.began_at)
        seen: Attributes = {
            "weight": metrics.weight,
            "verdict": step.decision,
            "reason": step.reason,
            "requests": metrics.requests,
            "failed_requests": metrics.failed,
        }
        span = _lasting(f"{metrics.kind.value} {metrics.weight} %", began, metrics.seconds, seen)
        start = span.end
        yield span


def _lasting(name: str, start: float, seconds: float, attributes: Attributes | None = None) -> Span:
    return Span(name, start, start + max(0.0, seconds), _shown(attributes or {}))


def _shown(attributes: Attributes) -> Attributes:
    """Those that say something."""
    return {name: value for name, value in attributes.items() if value != ""}


def _enclosing(span: Span) -> Span:
    """A span as long as what is in it: nothing begins before what it is part of, and nothing outlasts that."""
    children = [_enclosing(_not_before(span.start, child)) for child in span.children]
    return replace(span, end=max([span.end, *(child.end for child in children)]), children=tuple(children))


def _not_before(start: float, span: Span) -> Span:
    late = max(0.0, start - span.start)
    return _later(span, late) if late else span


def _later(span: Span, seconds: float) -> Span:
    children = tuple(_later(child, seconds) for child in span.children)
    return replace(span, start=span.start + seconds, end=span.end + seconds, children=children)
