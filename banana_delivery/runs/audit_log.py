"""The audit trail: every attempt at a version, and every decision a person made about it, on the asset ``rollout_log``.

Dagster cannot filter by metadata, so records are looked up by partition and filtered here. Whoever reaches the pages
can write into the log, so only records count that bear our signature, or were adopted. Two things are taken from
anybody: that a version was revoked, which can only keep it out, and that something happened at all, where knowing it
makes the pipeline keep more or do less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path

import dagster as dg

from banana_delivery.errors import redacted
from banana_delivery.policy.approvals.withdrawn import standing
from banana_delivery.policy.asset_records import (
    AbRecord,
    AbVerdict,
    ArtifactRecord,
    AttemptRecord,
    ImageRecord,
    ManualDecision,
    StagingRecord,
)
from banana_delivery.policy.holds import AbortRecord, FreezeRecord, PauseRecord, standing_pause
from banana_delivery.policy.model import ImageRef, Outcome, StoredRecord
from banana_delivery.quoting import in_markdown
from banana_delivery.runs.code_location import ABORTS, FREEZES, PAUSES, ROLLOUT_LOG, CodeLocation
from banana_delivery.runs.evidence.adoption import Unsigned
from banana_delivery.runs.evidence.reading import PAGE, REPEATED, Line, RecordReader, adopted_records
from banana_delivery.runs.evidence.signing import Origin
from banana_delivery.runs.partitions import ensure_partition
from banana_delivery.runs.records import Metadata, Record, signed_metadata

AB_REPORT, IMAGE = "ab_report", "image"
LATEST_PAUSES = 200
"""Among so many stands what was said of the one delivery under way."""
STEP_RECORDS: Mapping[str, type[StoredRecord]] = {
    "model_artifact": ArtifactRecord,
    IMAGE: ImageRecord,
    "staging_release": StagingRecord,
    AB_REPORT: AbRecord,
    "production_release": AttemptRecord,
}
"""What the step of each asset records."""


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
        self._reader = RecordReader(instance, self.location, page)

    def head(self) -> int:
        """The place of its newest line, whoever wrote it; 0 if there is none."""
        return self._reader.newest(ROLLOUT_LOG, "")

    def attempts(self, version: str | None = None) -> list[AttemptRecord]:
        """All attempts at a version, or at any, newest first."""
        return list(self.each_attempt(version))

    def each_attempt(self, version: str | None = None) -> Iterator[AttemptRecord]:
        """The same one by one, for whoever needs only the newest of them; what is not asked for is not read.

        A revocation that nobody signed is among them: it keeps its version out until somebody overrides, who is asked
        for no more than a look, and an upgrade lets nothing back in that was thrown out before it.
        """
        return _counted(self._reader.lines(AttemptRecord, ROLLOUT_LOG, version))

    def each_readable(self, version: str | None = None) -> Iterator[AttemptRecord]:
        """The signed ones without lines that cannot be read, for whoever looks for one line and trusts in no other.

        What a line that cannot be read says may be that its version was revoked: nobody may be let into production, or
        back into it, by these.
        """
        lines = self._reader.lines(AttemptRecord, ROLLOUT_LOG, version, readable=True)
        return _counted(line for line in lines if not line.doubt)

    def since(self, moment: float) -> tuple[list[AttemptRecord], int]:
        """The signed attempts since a moment, newest first, and how many lines about others count for nothing.

        Args:
            moment: seconds since the epoch; the first signed line before it ends the search.
        """
        lines = self._reader.lines(AttemptRecord, ROLLOUT_LOG, None, readable=True)
        found = [*takewhile(lambda line: bool(line.doubt) or line.record is None or line.record.at >= moment, lines)]
        believed = [*_counted(line for line in found if not line.doubt)]
        return believed, sum(bool(line.doubt) for line in found)

    def said_attempts(self, version: str | None = None, *, readable: bool = False) -> Iterator[AttemptRecord]:
        """Every line about an attempt, whoever wrote it: for what only keeps more or does less by knowing of it.

        Args:
            version: which one; None for all.
            readable: pass over lines that cannot be read, instead of raising.
        """
        lines = self._reader.lines(AttemptRecord, ROLLOUT_LOG, version, readable=readable)
        return (line.record for line in lines if line.record)

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
        found = self._believed(AbRecord, AB_REPORT, version)
        return [report.verdict.replace(order=order) for report, order in found]

    def latest(self, kind: type[Record], asset: str, version: str) -> Record | None:
        """What an asset recorded of a version the last time."""
        return next((record for record, _ in self._believed(kind, asset, version)), None)

    def all(self, kind: type[Record], asset: str, version: str) -> Iterator[Record]:
        """What an asset recorded of a version every time, newest first."""
        return (record for record, _ in self._believed(kind, asset, version))

    def each_image(self) -> Iterator[ImageRecord]:
        """The images of all versions, newest first; what cannot be read is passed over."""
        lines = self._reader.lines(ImageRecord, IMAGE, None, readable=True)
        return (line.record for line in lines if line.record and not line.doubt)

    def each_report(self) -> Iterator[AbRecord]:
        """The A/B reports of all versions, newest first; what cannot be read is passed over."""
        lines = self._reader.lines(AbRecord, AB_REPORT, None, readable=True)
        return (line.record for line in lines if line.record and not line.doubt)

    def image(self, version: str, digest: str) -> ImageRef | None:
        """The image of a version with this very digest, which need not be its latest one."""
        refs = (image.ref for image in self.all(ImageRecord, IMAGE, version))
        return next((ref for ref in refs if ref.digest == digest), None)

    def made(self, ref: ImageRef) -> bool:
        """Whether this pipeline made an image: another one, beside it, counts its versions from 1, too.

        It decides what a thing that runs already is called, never whether it may, so anybody's word will do.
        """
        return self.mentions(ref.version, ref.digest) or any(
            one.digest == ref.digest for one in self.said_attempts(ref.version, readable=True)
        )

    def mentions(self, version: str, digest: str) -> bool:
        """Whether an image of a version is on record, whoever wrote that: for what only keeps more by knowing of it."""
        lines = self._reader.lines(ImageRecord, IMAGE, version)
        return any(line.record and line.record.ref.digest == digest for line in lines)

    def decisions(self, version: str | None = None, *, latest: int | None = None) -> list[ManualDecision]:
        """What people said about a version, or about any, and did not take back, newest first.

        Args:
            version: which one; None for all: then one that cannot be read is passed over, and holds up no other.
            latest: search only so many observations, for who wants to know of the new ones alone.
        """
        return [*standing(self.all_decisions(version, latest))]

    def all_decisions(self, version: str | None = None, latest: int | None = None) -> Iterator[ManualDecision]:
        """The same with what was taken back."""
        every = version is None
        lines = self._reader.lines(ManualDecision, ROLLOUT_LOG, version, observed=True, latest=latest, readable=every)
        return (line.record.replace(order=line.event) for line in lines if line.record and not line.doubt)

    def log(self, attempt: AttemptRecord, report: Path) -> None:
        """Add an attempt, unless it is known.

        Args:
            attempt: how it ended.
            report: where its page will be.

        Raises:
            EvidenceError: if there is no key to sign it with.
        """
        ensure_partition(self.instance, attempt.version, self.location)
        if self.knows(attempt):
            return
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset_key=self.location.key(ROLLOUT_LOG),
                partition=attempt.version,
                description=in_markdown(redacted(attempt.reason)),
                metadata=self._sign_next(attempt, attempt.version, report=dg.MetadataValue.path(report)),
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
        """Add a person's decision.

        Raises:
            EvidenceError: if there is no key to sign it with.
        """
        ensure_partition(self.instance, decision.version, self.location)
        self._say(ROLLOUT_LOG, decision, f"{decision.kind}, {decision.by}: {decision.reason}", decision.version)

    def freeze(self) -> FreezeRecord | None:
        """What somebody said last with ``freeze`` or ``unfreeze``.

        Like a revocation, a freeze counts whoever wrote it, since it only keeps things out; what lifts one is signed.
        """
        lines = self._reader.lines(FreezeRecord, FREEZES, None, observed=True)
        return next((line.record for line in lines if line.record and _counts(line.record, line.doubt)), None)

    def record_freeze(self, said: FreezeRecord) -> None:
        """Add that somebody froze deliveries, or let them in again.

        Raises:
            EvidenceError: if there is no key to sign it with.
        """
        what = "freeze" if said.frozen else "unfreeze"
        self._say(FREEZES, said, f"{what}, {said.by}: {said.reason}")

    def pause(self, run_id: str) -> PauseRecord | None:
        """Who keeps a delivery where it is; None if nobody does.

        Like a freeze, a pause counts whoever wrote it; that a delivery may go on is signed.
        """
        lines = self._reader.lines(PauseRecord, PAUSES, None, observed=True, latest=LATEST_PAUSES, readable=True)
        said = (line.record for line in lines if line.record and _keeps(line.record, line.doubt))
        return standing_pause(said, run_id)

    def record_pause(self, said: PauseRecord) -> None:
        """Add that somebody keeps a delivery where it is, or lets it go on.

        Raises:
            EvidenceError: if there is no key to sign it with.
        """
        what = "pause" if said.paused else "resume"
        self._say(PAUSES, said, f"{what} of run {said.run_id}, {said.by}: {said.reason}")

    def abort(self, run_id: str) -> AbortRecord | None:
        """Who ended a delivery; None if nobody said so. Of what nobody signed, the run's end says enough."""
        lines = self._reader.lines(AbortRecord, ABORTS, None, observed=True, latest=LATEST_PAUSES, readable=True)
        return next((one.record for one in lines if one.record and not one.doubt and one.record.run_id == run_id), None)

    def record_abort(self, said: AbortRecord) -> None:
        """Add that somebody ends a delivery.

        Raises:
            EvidenceError: if there is no key to sign it with.
        """
        self._say(ABORTS, said, f"abort of run {said.run_id}, {said.by}: {said.reason}")

    def sign(self, record: StoredRecord, asset: str, version: str, run_id: str, **shown: dg.MetadataValue) -> Metadata:
        """A record of a run's step as metadata, signed for where it will stand.

        Raises:
            EvidenceError: if there is no key to sign with.
        """
        origin = Origin(type(record).__name__, self.location.key(asset).to_user_string(), version, run_id)
        return signed_metadata(record, origin, self.location.evidence, **shown)

    def unsigned(self, latest: int | None = None) -> list[Unsigned]:
        """What bears no signature and was not adopted, of so many events of each asset, as it was written."""
        found = [*self._reader.unsigned(AttemptRecord, ROLLOUT_LOG, latest=latest)]
        found += self._reader.unsigned(ManualDecision, ROLLOUT_LOG, observed=True, latest=latest)
        for asset, kind in STEP_RECORDS.items():
            found += self._reader.unsigned(kind, asset, latest=latest)
        return sorted(found, key=lambda one: one.event)

    def adopt(self, found: list[Unsigned]) -> None:
        """Believe records without a signature from now on.

        Raises:
            EvidenceError: if there is no key to sign the list of them with.
        """
        adopted_records(self.instance, self.location).add(found)
        self._reader = RecordReader(self.instance, self.location, self._page)

    def _say(self, asset: str, said: StoredRecord, words: str, version: str = "") -> None:
        """Add what a person said, signed, as an observation."""
        self.instance.report_runless_asset_event(
            dg.AssetObservation(
                asset_key=self.location.key(asset),
                partition=version or None,
                description=in_markdown(redacted(words)),
                metadata=self._sign_next(said, version, observed=True, asset=asset),
            )
        )

    def _sign_next(
        self,
        record: StoredRecord,
        version: str,
        *,
        observed: bool = False,
        asset: str = ROLLOUT_LOG,
        **shown: dg.MetadataValue,
    ) -> Metadata:
        """A record that no step of a run makes, signed to stand after what is the last one of its asset now.

        Were it after the last one of its version, whoever reads all versions would have to read back to that one, for a
        version's first record to the very beginning, before this one is known to be no repetition.
        """
        after = self._reader.newest(asset, "", observed=observed)
        key = self.location.key(asset).to_user_string()
        origin = Origin(type(record).__name__, key, version, after=after)
        return signed_metadata(record, origin, self.location.evidence, **shown)

    def _believed(self, kind: type[Record], asset: str, version: str | None) -> Iterator[tuple[Record, int]]:
        """Records and their places in Dagster's log, newest first: the one order that no clock decides."""
        for line in self._reader.lines(kind, asset, version):
            if line.record is not None and not line.doubt:
                yield line.record, line.event


def _keeps(said: PauseRecord, doubt: str) -> bool:
    return not doubt or (said.paused and doubt != REPEATED)


def _counts(said: FreezeRecord, doubt: str) -> bool:
    return not doubt or (said.frozen and doubt != REPEATED)


def _counted(lines: Iterable[Line[AttemptRecord]]) -> Iterator[AttemptRecord]:
    """Attempts as far as they count, each end once.

    Two who look at a run at the same moment both find no line of it, and both write one. A line that is doubted never
    stands for another: a stranger's would hide ours by saying the same moment.
    """
    seen = set()
    for line in lines:
        attempt = line.record
        if attempt is None or (line.doubt and not attempt.revoked):
            continue
        if line.doubt:
            yield _revocation(attempt, line.doubt).replace(order=line.event)
            continue
        end = attempt.run_id or attempt.at, attempt.version, attempt.revoked
        if end not in seen:
            seen.add(end)
            yield attempt.replace(order=line.event)


def _revocation(attempt: AttemptRecord, doubt: str) -> AttemptRecord:
    """What counts of a line that is doubted: that it revoked its version, and which run's release, if it says so."""
    return AttemptRecord(
        version=attempt.version,
        outcome=Outcome.ROLLED_BACK,
        reason=f"{attempt.reason} (Not signed: {doubt}.)",
        at=attempt.at,
        revoked=True,
        revokes=attempt.revokes,
    )
