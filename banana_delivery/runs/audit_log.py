"""The audit trail: every attempt at a version, and every decision a person made about it, on the asset ``rollout_log``.

Dagster cannot filter by metadata, so records are looked up by partition and filtered here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import dagster as dg

from banana_delivery.policy.asset_records import AbRecord, AbVerdict, AttemptRecord, ImageRecord, ManualDecision
from banana_delivery.policy.model import ImageRef
from banana_delivery.runs.partitions import ensure_partition
from banana_delivery.runs.records import RECORD_KEY, Record, from_metadata, to_metadata

ROLLOUT_LOG = dg.AssetKey("rollout_log")
AB_REPORT = dg.AssetKey("ab_report")
IMAGE = dg.AssetKey("image")
ENOUGH = 1000
"""How many events of one partition are read: far more than anybody delivers a version, and still bounded."""


class AuditLog:
    """Reads and writes the audit trail of one Dagster instance."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance

    def attempts(self, version: str | None = None) -> list[AttemptRecord]:
        """All attempts at a version, or at any, newest first."""
        found = self._found(AttemptRecord, ROLLOUT_LOG, version)
        return list(_each_once(attempt.replace(order=order) for attempt, order in found))

    def attempt_of(self, run_id: str, version: str) -> AttemptRecord | None:
        """What the log says of a run, if it says anything yet."""
        return next((one for one in self.attempts(version) if one.run_id == run_id), None)

    def knows(self, attempt: AttemptRecord) -> bool:
        """Whether the run of an attempt has one already; that its version was revoked is news all the same.

        What a person did without a run is known by its moment.
        """
        if not attempt.run_id:
            return any((one.run_id, one.at) == ("", attempt.at) for one in self.attempts(attempt.version))
        known = self.attempt_of(attempt.run_id, attempt.version)
        return known is not None and known.revoked >= attempt.revoked

    def verdicts(self, version: str) -> list[AbVerdict]:
        """All A/B verdicts about a version."""
        found = self._found(AbRecord, AB_REPORT, version)
        return [report.verdict.replace(order=order) for report, order in found]

    def latest(self, kind: type[Record], asset: str, version: str) -> Record | None:
        """What an asset recorded of a version the last time."""
        found = self._materialized(kind, dg.AssetKey(asset), version, limit=1)
        return found[0] if found else None

    def image(self, version: str, digest: str) -> ImageRef | None:
        """The image of a version with this very digest, which need not be its latest one."""
        refs = (image.ref for image in self._materialized(ImageRecord, IMAGE, version))
        return next((ref for ref in refs if ref.digest == digest), None)

    def decisions(self, version: str) -> list[ManualDecision]:
        """What people said about a version."""
        found = self.instance.fetch_observations(_of(ROLLOUT_LOG, version), limit=ENOUGH)
        return [
            from_metadata(ManualDecision, record.asset_observation.metadata).replace(order=record.storage_id)
            for record in found.records
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

    def _materialized(
        self, kind: type[Record], asset: dg.AssetKey, version: str | None, limit: int = ENOUGH
    ) -> list[Record]:
        return [record for record, _ in self._found(kind, asset, version, limit)]

    def _found(
        self, kind: type[Record], asset: dg.AssetKey, version: str | None, limit: int = ENOUGH
    ) -> list[tuple[Record, int]]:
        """Records and their places in Dagster's log, newest first: the one order that no clock decides."""
        events = self.instance.fetch_materializations(_of(asset, version), limit=limit).records
        return [
            (from_metadata(kind, event.asset_materialization.metadata), event.storage_id)
            for event in events
            if event.asset_materialization and _holds_a_record(event.asset_materialization.metadata)
        ]


def _each_once(attempts: Iterable[AttemptRecord]) -> Iterator[AttemptRecord]:
    """Each end once: two who look at a run at the same moment both find no line of it, and both write one."""
    seen = set()
    for attempt in attempts:
        end = attempt.run_id or attempt.at, attempt.version, attempt.revoked
        if end not in seen:
            seen.add(end)
            yield attempt


def _holds_a_record(metadata: Mapping[str, dg.MetadataValue]) -> bool:
    """Somebody may materialize the asset by hand in the UI; such an event is no record of ours."""
    return RECORD_KEY in metadata


def _of(asset: dg.AssetKey, version: str | None) -> dg.AssetRecordsFilter:
    return dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[version] if version else None)
