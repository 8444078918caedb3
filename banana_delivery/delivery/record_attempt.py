"""Putting an attempt on record, and everything that follows from it: the registry, the people, the report."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from banana_delivery.delivery.publish_outcome import OutcomePublisher
from banana_delivery.errors import TargetError
from banana_delivery.policy.asset_records import AbRecord, AttemptRecord, ImageRecord, StagingRecord
from banana_delivery.policy.model import Environment
from banana_delivery.policy.outcomes import outcome_of_run
from banana_delivery.policy.rollout.plan import PLANS
from banana_delivery.reports.plots import Plots, rollout_picture
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.lifecycle import Run, Runs, version_of
from banana_delivery.runs.outcome import end_of
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.waiting import Clock

LOG = logging.getLogger(__name__)
UNKNOWN = "unknown"
"""What production serves while it cannot be asked."""
SENSORS_SECONDS = 60.0
"""The run-status sensor has so long before somebody else looks."""
LONGEST_MEMORY_SECONDS = 3600.0

Found = TypeVar("Found", StagingRecord, AbRecord)


@dataclass(frozen=True)
class AttemptRecorder:
    """Puts attempts on record, each once.

    Attributes:
        settings: where reports go, and the plan they are drawn by.
        target: knows what production serves.
        publisher: lets the registry and the people know.
        plots: draws the report's pictures.
        clock: dates attempts.
    """

    settings: Settings
    target: ReleaseTarget
    publisher: OutcomePublisher
    plots: Plots
    clock: Clock

    def record(self, log: AuditLog, attempt: AttemptRecord) -> bool:
        """Put an attempt on record unless it is known, then let everybody know, and at last draw its report.

        Returns:
            Whether people were told; also if the attempt is known, since then whoever recorded it has told them.
        """
        if log.knows(attempt):
            return True
        attempt = self._completed(log, attempt)
        log.log(attempt, report=self._report_file(attempt))
        told = self.publisher.publish(attempt)
        self._write_report(log, attempt)
        return told

    def record_run(self, log: AuditLog, run: Run, now: float) -> None:
        """See to it that an ended run has its line in the audit trail, and that everybody knows.

        Args:
            log: the audit trail.
            run: ended.
            now: seconds since the epoch.

        Raises:
            TargetError: if production has to be asked what it serves, and does not answer.
        """
        version, runs = version_of(run), Runs(log.instance)
        if attempt := log.attempt_of(run.run_id, version):
            self.publisher.publish(attempt)
            return
        image = log.latest(ImageRecord, "image", version)
        digest = image.ref.digest if image else ""
        serves = bool(digest) and runs.in_production(run.run_id) and self._serving_digest() == digest
        if ended := outcome_of_run(end_of(log.instance, run), serves=serves):
            self.record(log, runs.attempt(run, now, *ended, digest=digest))

    def _completed(self, log: AuditLog, attempt: AttemptRecord) -> AttemptRecord:
        """With the image and what serves, where whoever made the attempt did not know them."""
        image = None if attempt.digest else log.latest(ImageRecord, "image", attempt.version)
        return attempt.replace(
            digest=image.ref.digest if image else attempt.digest,
            serving_version=attempt.serving_version or self._serving_version(),
        )

    def _serving_version(self) -> str:
        try:
            live = self.target.record(Environment.PRODUCTION).live
        except TargetError:
            return UNKNOWN
        return live.version if live else ""

    def _serving_digest(self) -> str:
        live = self.target.record(Environment.PRODUCTION).live
        return live.digest if live else ""

    def _report_file(self, attempt: AttemptRecord) -> Path:
        name = f"version-{attempt.version}-{attempt.at:.0f}-{attempt.outcome}.html"
        return self.settings.home / "reports" / name

    def _write_report(self, log: AuditLog, attempt: AttemptRecord) -> None:
        """The report as a file, and the rollout as a picture; failing to draw never loses the attempt."""
        from banana_delivery.reports.html import html_report

        budget = PLANS[self.settings.plan].latency_budget_seconds
        run = f"{self.settings.pages_url}/runs/{attempt.run_id}"
        try:
            page = html_report(
                attempt,
                budget_seconds=budget,
                plots=self.plots,
                staging=_of_this_image(log.latest(StagingRecord, "staging_release", attempt.version), attempt),
                ab=_of_this_image(log.latest(AbRecord, "ab_report", attempt.version), attempt),
                links={"run": run} if attempt.run_id else {},
            )
            file = self._report_file(attempt)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(page, encoding="utf-8")
            if picture := rollout_picture(attempt, self.plots, budget):
                log.show(attempt, picture)
        except Exception:
            LOG.exception("The report about version %s could not be drawn.", attempt.version)


def tell_what_was_not_told(log: AuditLog, publisher: OutcomePublisher, now: float) -> list[AttemptRecord]:
    """Tell how runs ended of which nobody could be told when they did, since the disk was full or the list was locked.

    What people did without a run is told by them, or kept in the rollout record until it is.

    Returns:
        What was told now.
    """
    recent = [one for one in log.attempts() if one.run_id and now - LONGEST_MEMORY_SECONDS < one.at]
    untold = [one for one, told in zip(recent, publisher.was_told(recent), strict=True) if not told]
    return [one for one in untold if publisher.publish(one)]


def runs_without_attempt(log: AuditLog, now: float) -> Iterable[Run]:
    """Deliveries that ended badly some time ago and have no line yet: the status sensor looks at a run only once."""
    ended = Runs(log.instance).ended_badly(now - LONGEST_MEMORY_SECONDS, now - SENSORS_SECONDS)
    return [run for run in ended if log.attempt_of(run.run_id, version_of(run)) is None]


def _of_this_image(found: Found | None, attempt: AttemptRecord) -> Found | None:
    """What was recorded about another image of the version is no evidence here."""
    return found if found and found.ref.digest == attempt.digest else None
