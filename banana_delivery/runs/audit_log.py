"""The audit trail: every attempt at a version, and every decision a person made about it, on the asset ``rollout_log``.

Dagster cannot filter by metadata, so records are looked up by partition and filtered here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import dagster as dg

from banana_delivery.errors import redacted
from banana_delivery.policy.asset_records import AbRecord, AbVerdict, AttemptRecord, ImageRecord, ManualDecision
from banana_delivery.policy.model import ImageRef
from banana_delivery.quoting import in_markdown
from banana_delivery.runs.code_location import ROLLOUT_LOG, CodeLocation
from banana_delivery.runs.partitions import ensure_partition
from banana_delivery.runs.records import RECORD_KEY, Record, from_metadata, to_metadata

LOG = logging.getLogger(__name__)
AB_REPORT, IMAGE = "ab_report", "image"
FIRST_PAGE, GROWTH, PAGE = 20, 4, 1000
"""How many events are read at once: a few, each time so many times more, up to a page. It never bounds what is known:
whoever asks reads on until there is an answer or nothing is left, and mostly the newest event is all that is asked."""


class AuditLog:
    """Reads and writes the audit trail of one pipeline in a Dagster instance.

    Args:
        instance: where it is kept.
        location: what of that is ours; everything without a prefix if it is not said.
        page: how many events are read at a time, after the first few.
    """

    def __init__(self, instance: dg.DagsterInstance, location: CodeLocation | None = None, *, page: int = PAGE) -> None:
        self.instance = instance
        self.location = location or CodeLocation()
        self._page = page

    def attempts(self, version: str | None = None) -> list[AttemptRecord]:
        """All attempts at a version, or at any, newest first."""
        return list(self.each_attempt(version))

    def each_attempt(self, version: str | None = None) -> Iterator[AttemptRecord]:
        """The same one by one, for whoever needs only the newest of them; what is not asked for is not read."""
        found = self._found(AttemptRecord, ROLLOUT_LOG, version)
        return _each_once(attempt.replace(order=order) for attempt, order in found)

    def each_readable(self, version: str | None = None) -> Iterator[AttemptRecord]:
        """The same without lines that cannot be read, for whoever looks for one line and trusts in no other.

        What a line that cannot be read says may be that its version was revoked: nobody may be let into production, or
        back into it, by these.
        """
        found = self._found(AttemptRecord, ROLLOUT_LOG, version, readable=True)
        return _each_once(attempt.replace(order=order) for attempt, order in found)

    def attempt_of(self, run_id: str, version: str) -> AttemptRecord | None:
        """What the log says of a run, if it says anything yet."""
        return next((one for one in self.each_readable(version) if one.run_id == run_id), None)

    def knows(self, attempt: AttemptRecord) -> bool:
        """Whether the run of an attempt has one already; that its version was revoked is news all the same.

        What a person did without a run is known by its moment.
        """
        if not attempt.run_id:
            return any((one.run_id, one.at) == ("", attempt.at) for one in self.each_readable(attempt.version))
        known = self.attempt_of(attempt.run_id, attempt.version)
        return known is not None and known.revoked >= attempt.revoked

    def verdicts(self, version: str) -> list[AbVerdict]:
        """All A/B verdicts about a version."""
        found = self._found(AbRecord, AB_REPORT, version)
        return [report.verdict.replace(order=order) for report, order in found]

    def latest(self, kind: type[Record], asset: str, version: str) -> Record | None:
        """What an asset recorded of a version the last time."""
        return next((record for record, _ in self._found(kind, asset, version)), None)

    def image(self, version: str, digest: str) -> ImageRef | None:
        """The image of a version with this very digest, which need not be its latest one."""
        refs = (image.ref for image, _ in self._found(ImageRecord, IMAGE, version))
        return next((ref for ref in refs if ref.digest == digest), None)

    def made(self, ref: ImageRef) -> bool:
        """Whether this pipeline made an image: another one, beside it, counts its versions from 1, too."""
        return self.image(ref.version, ref.digest) is not None or any(
            one.digest == ref.digest for one in self.each_readable(ref.version)
        )

    def decisions(self, version: str) -> list[ManualDecision]:
        """What people said about a version."""
        events = self._events(self.instance.fetch_observations, ROLLOUT_LOG, version)
        found = ((event, self._record(ManualDecision, event, event.asset_observation)) for event in events)
        return [record.replace(order=event.storage_id) for event, record in found if record]

    def log(self, attempt: AttemptRecord, report: Path) -> None:
        """Add an attempt, unless it is known.

        Args:
            attempt: how it ended.
            report: where its page will be.
        """
        ensure_partition(self.instance, attempt.version, self.location)
        if self.knows(attempt):
            return
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset_key=self.location.key(ROLLOUT_LOG),
                partition=attempt.version,
                description=in_markdown(redacted(attempt.reason)),
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
                asset_key=self.location.key(ROLLOUT_LOG),
                partition=attempt.version,
                description=f"What moved when: {attempt.outcome} in run {attempt.run_id or 'none'}",
                metadata={"rollout": dg.MetadataValue.md(picture)},
            )
        )

    def record_decision(self, decision: ManualDecision) -> None:
        """Add a person's decision."""
        ensure_partition(self.instance, decision.version, self.location)
        self.instance.report_runless_asset_event(
            dg.AssetObservation(
                asset_key=self.location.key(ROLLOUT_LOG),
                partition=decision.version,
                description=in_markdown(redacted(f"{decision.kind} by {decision.by}: {decision.reason}")),
                metadata=to_metadata(decision),
            )
        )

    def _found(
        self, kind: type[Record], asset: str, version: str | None, *, readable: bool = False
    ) -> Iterator[tuple[Record, int]]:
        """Records and their places in Dagster's log, newest first: the one order that no clock decides."""
        for event in self._events(self.instance.fetch_materializations, asset, version):
            try:
                record = self._record(kind, event, event.asset_materialization)
            except ValueError as error:
                if not readable:
                    raise
                LOG.warning("Event %d of Dagster's log is passed over, it cannot be read: %s", event.storage_id, error)
                continue
            if record:
                yield record, event.storage_id

    def _record(
        self, kind: type[Record], event: dg.EventLogRecord, said: dg.AssetMaterialization | dg.AssetObservation | None
    ) -> Record | None:
        """What an event holds; None if it is no record of ours.

        Somebody may materialize the asset by hand in the pages, and another code location may have one of this name.

        Raises:
            ValueError: if it is ours and cannot be read.
        """
        if said is None or RECORD_KEY not in said.metadata:
            return None
        try:
            return from_metadata(kind, said.metadata)
        except ValueError:
            run = self.instance.get_run_by_id(event.run_id)
            if run and not self.location.owns(run):
                return None
            raise

    def _events(
        self, fetch: Callable[..., dg.EventRecordsResult], asset: str, version: str | None
    ) -> Iterator[dg.EventLogRecord]:
        """Every event of an asset, newest first, page by page."""
        key, partitions = self.location.key(asset), [version] if version else None
        of = dg.AssetRecordsFilter(asset_key=key, asset_partitions=partitions)
        limit, cursor = min(FIRST_PAGE, self._page), None
        while True:
            page = fetch(of, limit=limit, cursor=cursor)
            yield from page.records
            if not page.has_more:
                return
            limit, cursor = min(GROWTH * limit, self._page), page.cursor


def _each_once(attempts: Iterable[AttemptRecord]) -> Iterator[AttemptRecord]:
    """Each end once: two who look at a run at the same moment both find no line of it, and both write one."""
    seen = set()
    for attempt in attempts:
        end = attempt.run_id or attempt.at, attempt.version, attempt.revoked
        if end not in seen:
            seen.add(end)
            yield attempt
