"""Putting an attempt on record, and everything that follows from it: the registry, the people, the report."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TypeVar

from banana_delivery.delivery.evidence.kept import keep_beside
from banana_delivery.delivery.publish_outcome import OutcomePublisher
from banana_delivery.errors import BadSettingsError, TargetError
from banana_delivery.evaluation.worst import file_of, read_worst
from banana_delivery.notifications.messages import report_name
from banana_delivery.policies.document import Rules
from banana_delivery.policies.reading import PolicyFile
from banana_delivery.policy.asset_records import AbRecord, ArtifactRecord, AttemptRecord, ImageRecord, StagingRecord
from banana_delivery.policy.gate import somebody
from banana_delivery.policy.model import Environment, Outcome
from banana_delivery.policy.outcomes import RunStatus, outcome_of_run
from banana_delivery.policy.rollout.plan import PolicyStamp
from banana_delivery.policy.tracing.spans import Known, trace_of
from banana_delivery.reports.plots import Plots, rollout_picture
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.lifecycle import Run, Runs
from banana_delivery.runs.outcome import end_of
from banana_delivery.runs.policies import KeptPolicies
from banana_delivery.runs.step_times import times_of
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.targets.sightings import Sightings
from banana_delivery.waiting import Clock

LOG = logging.getLogger(__name__)
UNKNOWN = "unknown"
"""What production serves while it cannot be asked."""
SENSORS_SECONDS = 60.0
"""The run-status sensor has so long, from when a run is first seen to have ended, before somebody else looks."""
MOST_RUNS = 20
"""How many of them are put on record in one go; the next look takes the others."""
ENOUGH_ON_RECORD = 20
MOST_LATEST = 20
"""One page of the audit trail, which answers for most of them."""

Found = TypeVar("Found", StagingRecord, AbRecord)
Made = TypeVar("Made", ArtifactRecord, ImageRecord, StagingRecord, AbRecord)


@dataclass
class Memory:
    """What a process has seen on record and told, so that it need not read it at every look. Lines are large.

    Attributes:
        most: runs that are remembered; the oldest are forgotten first.
    """

    most: int = 10_000
    _on_record: dict[tuple[str, str], None] = field(default_factory=dict, init=False)
    _told: dict[str, int] = field(default_factory=dict, init=False)

    def forget(self) -> None:
        """Be as a process that has just begun."""
        self._on_record.clear()
        self._told.clear()

    def note_line(self, log: AuditLog, run_id: str) -> None:
        """There is a line about a run."""
        while len(self._on_record) >= self.most:
            self._on_record.pop(next(iter(self._on_record)), None)
        self._on_record[log.location.evidence.identity, run_id] = None

    def has_line(self, log: AuditLog, run_id: str) -> bool:
        """Whether one was seen."""
        return bool(log.location.evidence.identity) and (log.location.evidence.identity, run_id) in self._on_record

    def note_told(self, log: AuditLog, head: int) -> None:
        """Everything was told up to a line."""
        self._told[log.location.evidence.identity] = head

    def is_told(self, log: AuditLog, head: int) -> bool:
        """Whether all was told, up to this line."""
        return bool(log.location.evidence.identity) and self._told.get(log.location.evidence.identity) == head


MEMORY = Memory()
"""Of this process."""


@dataclass(frozen=True)
class AttemptRecorder:
    """Puts attempts on record, each once.

    Attributes:
        settings: where reports go.
        target: knows what production serves.
        publisher: lets the registry and the people know.
        plots: draws the report's pictures.
        clock: dates attempts.
        policy_file: the release policy that attempts are made under.
    """

    settings: Settings
    target: ReleaseTarget
    publisher: OutcomePublisher
    plots: Plots
    clock: Clock
    policy_file: PolicyFile

    def record(self, log: AuditLog, attempt: AttemptRecord, *, mark_later: bool = False) -> bool:
        """Put an attempt on record unless it is known, draw its report, and let everybody know, with the report.

        Args:
            log: where.
            attempt: how it ended.
            mark_later: tell the registry at a later tick, since something else is urgent.

        Returns:
            Whether people were told; also if the attempt is known, since then whoever recorded it has told them.
        """
        if log.knows(attempt):
            return True
        attempt = self._completed(log, attempt)
        log.log(attempt, report=report_file(self.settings, attempt))
        self._say_in_run(log, attempt)
        self._write_report(log, attempt)
        keep_beside(report_file(self.settings, attempt), self.settings.home, attempt.run_id)
        told = self.publisher.publish(attempt, log.made, mark_later=mark_later)
        self._trace(log, attempt)
        return told

    def _trace(self, log: AuditLog, attempt: AttemptRecord) -> None:
        """Tell a collector of traces, if there is one, after everybody else; nobody waits for it."""
        if not self.settings.traces_url:
            return
        from banana_delivery.telemetry.otlp import SENDER

        try:
            SENDER.send(self.settings.traces_url, trace_of(attempt, known_of(log, attempt)))
        except Exception:
            LOG.exception("The attempt at version %s is not traced.", attempt.version)

    def _say_in_run(self, log: AuditLog, attempt: AttemptRecord) -> None:
        """How it ended and why, where people look first: at the run. It says the same everywhere else."""
        try:
            Runs(log.instance, log.location).say_end(attempt)
        except Exception:
            LOG.exception("The run of version %s does not say how it ended.", attempt.version)

    def record_run(self, log: AuditLog, run: Run, now: float) -> None:
        """See to it that an ended run has its line in the audit trail, and that everybody knows.

        Args:
            log: the audit trail.
            run: ended.
            now: seconds since the epoch.

        Raises:
            TargetError: if production has to be asked what it serves, and does not answer.
        """
        version, runs = log.location.version_of(run), Runs(log.instance, log.location)
        if attempt := log.attempt_of(run.run_id, version):
            self.publisher.publish(attempt, log.made)
            return
        image = log.latest(ImageRecord, "image", version)
        digest = image.ref.digest if image else ""
        serves = bool(digest) and runs.in_production(run.run_id) and self._is_serving(run, digest)
        end, facts = end_of(log.instance, run), {"digest": digest}
        said = None if end.status is RunStatus.SUCCESS else log.abort(run.run_id)
        if said:
            end = end.replace(aborted=f"{somebody(said.by)} aborted it: {said.reason}")
        if ended := outcome_of_run(end, serves=serves):
            outcome, reason = ended
            if said and outcome is Outcome.CANCELLED:  # What was promoted before he was heard is not his doing.
                facts["actor"] = said.by
            self.record(log, runs.attempt(run, now, outcome, reason, **facts))

    def _completed(self, log: AuditLog, attempt: AttemptRecord) -> AttemptRecord:
        """With the image and what serves, where whoever made the attempt did not know them."""
        image = log.latest(ImageRecord, "image", attempt.version)
        digest = attempt.digest or (image.ref.digest if image else "")
        its = image if image and image.ref.digest == digest else None
        return attempt.replace(
            digest=digest,
            precision=its.precision if its else attempt.precision,
            precision_reason=its.precision_reason if its else attempt.precision_reason,
            serving_version=attempt.serving_version or self._serving_version(log),
            policy=attempt.policy or self._policy_of(log, attempt),
        )

    def _policy_of(self, log: AuditLog, attempt: AttemptRecord) -> PolicyStamp | None:
        """What an attempt was judged by: the rules that its run wrote down, or those of now."""
        try:
            present = self.policy_file.policy.stamp
        except BadSettingsError:
            present = None  # A rollback goes on without a policy.
        try:
            rules = Rules.kept(self.target.record(Environment.PRODUCTION).rules)
        except TargetError:
            return present
        if rules is None or (attempt.run_id and attempt.run_id != rules.run_id):
            return present
        if present and present.digest == rules.digest:
            return present
        text = KeptPolicies(log.instance).text(rules.digest)
        return PolicyStamp(name=rules.plan.name, digest=rules.digest, text=text)

    def _serving_version(self, log: AuditLog) -> str:
        try:
            live = self.target.record(Environment.PRODUCTION).live
        except TargetError:
            return UNKNOWN
        if live is None:
            return ""
        return live.version if log.made(live) else f"{live.version} of another pipeline"

    def _is_serving(self, run: Run, digest: str) -> bool:
        """Whether production serves what a run released: an image that it already served is no release of that run."""
        production = self.target.record(Environment.PRODUCTION)
        ours = production.promoted_by in {None, run.run_id}
        return ours and production.live is not None and production.live.digest == digest

    def _write_report(self, log: AuditLog, attempt: AttemptRecord) -> None:
        """The report as a file, and the rollout as a picture; failing to draw never loses the attempt."""
        from banana_delivery.reports.html import html_report

        run = f"{self.settings.pages_url}/runs/{attempt.run_id}"
        try:
            budget = self.policy_file.plan_in_any_case.latency_budget_seconds
            page = html_report(
                attempt,
                budget_seconds=budget,
                plots=self.plots,
                staging=_of_this_image(log.latest(StagingRecord, "staging_release", attempt.version), attempt),
                ab=_of_this_image(log.latest(AbRecord, "ab_report", attempt.version), attempt),
                release=log.attempt_of(attempt.revokes, attempt.version) if attempt.revokes else None,
                worst=read_worst(file_of(self.settings.home, attempt.digest)) if attempt.digest else None,
                links={"run": run} if attempt.run_id and self.settings.pages_url else {},
            )
            file = report_file(self.settings, attempt)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(page, encoding="utf-8")
            if picture := rollout_picture(attempt, self.plots, budget):
                log.show(attempt, picture)
        except Exception:
            LOG.exception("The report about version %s could not be drawn.", attempt.version)


def newest_of(log: AuditLog, attempt: AttemptRecord) -> AttemptRecord:
    """The last attempt at the same version, by the order of the audit trail; the one itself if that does not know it.

    Args:
        log: the audit trail.
        attempt: on record or not: a rollback is told before Dagster's database is back.
    """
    return next(log.each_readable(attempt.version), attempt) if log.knows(attempt) else attempt


def report_file(settings: Settings, attempt: AttemptRecord) -> Path:
    """Where the page about an attempt is, or will be."""
    return settings.home / "reports" / f"{report_name(attempt)}.html"


def known_of(log: AuditLog, attempt: AttemptRecord) -> Known:
    """What a trace is made of beside the attempt; what an earlier run recorded of the version is none of it."""
    times = times_of(log.instance, log.location, attempt.run_id)
    run = times.pop("", None)

    def made(kind: type[Made], asset: str) -> Made | None:
        return log.latest(kind, asset, attempt.version) if asset in times and times[asset].succeeded else None

    staging, ab = made(StagingRecord, "staging_release"), made(AbRecord, "ab_report")
    return Known(
        run=run,
        assets=times,
        artifact=made(ArtifactRecord, "model_artifact"),
        image=made(ImageRecord, "image"),
        staging=_of_this_image(staging, attempt),
        ab=_of_this_image(ab, attempt),
    )


def tell_what_was_not_told(log: AuditLog, publisher: OutcomePublisher) -> list[AttemptRecord]:
    """Tell how runs ended of which nobody could be told when they did, since the disk was full or the list was locked.

    What people did without a run is told by them, or kept in the rollout record until it is.

    Returns:
        What was told now.
    """
    head = log.head()
    if MEMORY.is_told(log, head):
        return []
    recent = [one for one in islice(log.each_readable(), ENOUGH_ON_RECORD) if one.run_id]
    untold = [one for one, told in zip(recent, publisher.was_told(recent), strict=True) if not told]
    if not untold:
        MEMORY.note_told(log, head)
    return [one for one in untold if publisher.publish(one, log.made)]


def runs_without_attempt(log: AuditLog, sightings: Sightings) -> Iterable[Run]:
    """Deliveries that ended badly some time ago and have no line yet: the status sensor looks at a run only once."""
    missing = _without_attempt(log)
    # Together, since they are few and rare: one more among them, and all wait a little longer.
    lasted = sightings.lasted("runs-without-a-line", " ".join(run.run_id for run in missing))
    return missing if lasted >= SENSORS_SECONDS else []


def _without_attempt(log: AuditLog) -> list[Run]:
    """The latest of them; where enough in a row are on record, the earlier ones were found by earlier looks."""
    missing: list[Run] = []
    on_record, said = 0, _Said(log)
    for run in Runs(log.instance, log.location).ended_badly():
        if not MEMORY.has_line(log, run.run_id) and not said(run):
            missing.append(run)
            on_record = 0
        else:
            MEMORY.note_line(log, run.run_id)
            on_record += 1
        if len(missing) == MOST_RUNS or on_record == ENOUGH_ON_RECORD:
            break
    return missing


class _Said:
    """Whether there is any line of a run, whoever wrote it: after an upgrade nobody has adopted the old ones yet."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    @cached_property
    def _latest(self) -> set[str]:
        """Most of them are among the latest attempts of all, which are asked for at once."""
        return {attempt.run_id for attempt in islice(self._log.said_attempts(readable=True), MOST_LATEST)}

    def __call__(self, run: Run) -> bool:
        """Whether somebody said how a run ended."""
        lines = self._log.said_attempts(self._log.location.version_of(run), readable=True)
        return run.run_id in self._latest or any(one.run_id == run.run_id for one in lines)


def _of_this_image(found: Found | None, attempt: AttemptRecord) -> Found | None:
    """What was recorded about another image of the version is no evidence here."""
    return found if found and found.ref.digest == attempt.digest else None
