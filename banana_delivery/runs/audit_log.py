"""The audit trail: every attempt at a version, and every decision a person made about it, on the asset ``rollout_log``.

Dagster cannot filter by metadata, so records are looked up by partition and filtered here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import dagster as dg

from banana_delivery.policy.asset_records import AbRecord, AbVerdict, AttemptRecord, ImageRecord, ManualDecision
from banana_delivery.policy.model import ImageRef
from banana_delivery.runs.partitions import ensure_partition
from banana_delivery.runs.records import RECORD_KEY, Record, from_metadata, to_metadata

ROLLOUT_LOG = dg.AssetKey("rollout_log")
AB_REPORT = dg.AssetKey("ab_report")
IMAGE = dg.AssetKey("image")
PAGE = 200
"""How many events are read at a time. It bounds what is read at once and never what is known: whoever asks reads on
until there is an answer or nothing is left."""


class AuditLog:
    """Reads and writes the audit trail of one Dagster instance.

    Args:
        instance: where it is kept.
        page: how many events are read at a time.
    """

    def __init__(self, instance: dg.DagsterInstance, page: int = PAGE) -> None:
        self.instance = instance
        self._page = page

    def attempts(self, version: str | None = None) -> list[AttemptRecord]:
        """All attempts at a version, or at any, newest first."""
        return list(self.each_attempt(version))

    def each_attempt(self, version: str | None = None) -> Iterator[AttemptRecord]:
        """The same one by one, for whoever needs only the newest of them; what is not asked for is not read."""
        for attempt, order in self._found(AttemptRecord, ROLLOUT_LOG, version):
            yield attempt.replace(order=order)

    def attempt_of(self, run_id: str, version: str) -> AttemptRecord | None:
        """What the log says of a run, if it says anything yet."""
        return next((one for one in self.each_attempt(version) if one.run_id == run_id), None)

    def knows(self, attempt: AttemptRecord) -> bool:
        """Whether the run of an attempt has one already; that its version was revoked is news all the same.

        What a person did without a run is known by its moment.
        """
        if not attempt.run_id:
            return any((one.run_id, one.at) == ("", attempt.at) for one in self.each_attempt(attempt.version))
        known = self.attempt_of(attempt.run_id, attempt.version)
        return known is not None and known.revoked >= attempt.revoked

    def verdicts(self, version: str) -> list[AbVerdict]:
        """All A/B verdicts about a version."""
        found = self._found(AbRecord, AB_REPORT, version)
        return [report.verdict.replace(order=order) for report, order in found]

    def latest(self, kind: type[Record], asset: str, version: str) -> Record | None:
        """What an asset recorded of a version the last time."""
        return next((record for record, _ in self._found(kind, dg.AssetKey(asset), version)), None)

    def image(self, version: str, digest: str) -> ImageRef | None:
        """The image of a version with this very digest, which need not be its latest one."""
        refs = (image.ref for image, _ in self._found(ImageRecord, IMAGE, version))
        return next((ref for ref in refs if ref.digest == digest), None)

    def decisions(self, version: str) -> list[ManualDecision]:
        """What people said about a version."""
        return [
            from_metadata(ManualDecision, record.asset_observation.metadata).replace(order=record.storage_id)
            for record in self._events(self.instance.fetch_observations, ROLLOUT_LOG, version)
            if record.asset_observation and _holds_a_record(record.asset_observation.metadata)
        ]

    def log(self, attempt: AttemptRecord, report: Path) -> None:
        """Add an attempt, unless it is known.

        Args:
            attempt: how it ended.
            report: where its page will be.
        """
        ensure_partition(self.instance, attempt.version)
        if self.knows(attempt):
            return
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset_key=ROLLOUT_LOG,
                partition=attempt.version,
                description=attempt.reason,
                metadata=to_metadata(attempt, report=dg.MetadataValue.path(report)),
            )
        )

    def show(self, attempt: AttemptRecord, picture: str) -> None:
        """Add a picture to an attempt that is on record.

        Args:
            attempt: whose it is.
            picture: as markdown.
        """
        self.instance.report_runless_asset_event(
            dg.AssetObservation(
                asset_key=ROLLOUT_LOG,
                partition=attempt.version,
                description=f"What moved when: {attempt.outcome} in run {attempt.run_id or 'none'}",
                metadata={"rollout": dg.MetadataValue.md(picture)},
            )
        )

    def record_decision(self, decision: ManualDecision) -> None:
        """Add a person's decision."""
        ensure_partition(self.instance, decision.version)
        self.instance.report_runless_asset_event(
            dg.AssetObservation(
                asset_key=ROLLOUT_LOG,
                partition=decision.version,
                description=f"{decision.kind} by {decision.by}: {decision.reason}",
                metadata=to_metadata(decision),
            )
        )

    def _found(self, kind: type[Record], asset: dg.AssetKey, version: str | None) -> Iterator[tuple[Record, int]]:
        """Records and their places in Dagster's log, newest first: the one order that no clock decides."""
        for event in self._events(self.instance.fetch_materializations, asset, version):
            if event.asset_materialization and _holds_a_record(event.asset_materialization.metadata):
                yield from_metadata(kind, event.asset_materialization.metadata), event.storage_id

    def _events(
        self, fetch: Callable[..., dg.EventRecordsResult], asset: dg.AssetKey, version: str | None
    ) -> Iterator[dg.EventLogRecord]:
        """Every event of an asset, newest first, page by page."""
        of = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[version] if version else None)
        cursor = None
        while True:
            page = fetch(of, limit=self._page, cursor=cursor)
            yield from page.records
            if not page.has_more:
                return
            cursor = page.cursor


def _holds_a_record(metadata: Mapping[str, dg.MetadataValue]) -> bool:
    """Somebody may materialize the asset by hand in the UI; such an event is no record of ours."""
    return RECORD_KEY in metadata
