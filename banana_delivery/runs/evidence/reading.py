"""Reading records with what speaks against each: whoever decides by them takes those against which nothing does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Generic, cast

import dagster as dg

from banana_delivery.policy import commands
from banana_delivery.runs.code_location import LOGS, CodeLocation, location_of
from banana_delivery.runs.evidence.adoption import AdoptedRecords, Unsigned, digest_of
from banana_delivery.runs.evidence.signing import SIGNATURE_KEY, UNSIGNED, Origin, after_of, doubt_about, mark_of
from banana_delivery.runs.records import RECORD_KEY, Record, from_metadata

LOG = logging.getLogger(__name__)
FIRST_PAGE, GROWTH, PAGE = 20, 4, 1000
"""How many events are read at once: a few, each time so many times more, up to a page. It never bounds what is known:
whoever asks reads on until there is an answer or nothing is left, and mostly the newest event is all that is asked."""
REPEATED = "it was written before and is repeated here"
STRANGE_RUN = "no run of this pipeline made it"
_MOST_TOLD = 10_000
_MOST_VERIFIED = 1000
_verified: dict[str, Line[Any]] = {}
"""Records that this process verified and read, the oldest forgotten first: each tick looks at the latest ones again."""
_remembering = threading.Lock()
"""Sensors are threads of one process: what is read there of one another's may be gone in between."""
_told: set[tuple[str, int, str]] = set()
"""What this process said of which event already; the first that many, so that a flood fills no memory."""


@dataclass(frozen=True)
class Line(Generic[Record]):
    """A record as it stands in the log.

    Attributes:
        event: its place in Dagster's log: the one order that no clock decides.
        version: MLflow model version, the event's partition.
        run_id: the run whose event it is; empty for an event of no run.
        raw: what was stored.
        record: the same read; None if it cannot be, which is only let pass where there is a doubt.
        doubt: what speaks against it, as a clause; empty if nothing does.
        after: the event that it follows by its signature.
        mark: the same in a record and its repetition; empty if it bears no signature.
    """

    event: int
    version: str
    run_id: str
    raw: object
    record: Record | None
    doubt: str
    after: int
    mark: str


class RecordReader:
    """Reads the records of one pipeline.

    Args:
        instance: where they are kept.
        location: what of that is ours, and the keys.
        page: how many events are read at a time, after the first few.
    """

    def __init__(self, instance: dg.DagsterInstance, location: CodeLocation, page: int = PAGE) -> None:
        self._instance = instance
        self._location = location
        self._page = page
        self._runs: dict[str, str] = {}

    def lines(
        self,
        kind: type[Record],
        asset: str,
        version: str | None,
        *,
        observed: bool = False,
        latest: int | None = None,
        readable: bool = False,
    ) -> Iterator[Line[Record]]:
        """Every record on an asset, newest first, read only as far as it is asked for.

        A record that is written without a run says which event it follows. Only once that event is reached is it known
        that nothing in between is the same record, which makes this one a repetition.

        Args:
            kind: what the records are.
            asset: its name, without the prefix.
            version: of which version; None for all.
            observed: whether they are observations instead of materializations.
            latest: how many events are searched at most; None for all.
            readable: pass over what is believed and cannot be read, instead of raising.

        Raises:
            ValueError: if a record is believed and cannot be read.
        """
        held: list[Line[Record]] = []
        for event in islice(self._events(asset, version, observed=observed), latest):
            yield from _released(held, event.storage_id)
            line = self._line(kind, asset, event, readable)
            if line is None:
                continue
            for number, later in enumerate(held):
                if line.mark and later.mark == line.mark:
                    held[number] = self._doubted(later, asset, REPEATED)
            held.append(line)
            yield from _released(held, event.storage_id)
        yield from held

    def unsigned(
        self, kind: type[Record], asset: str, *, observed: bool = False, latest: int | None = None
    ) -> Iterator[Unsigned]:
        """What a person may adopt: records without a signature that nobody adopted, newest first.

        Those of other code locations' runs are not among them, nor what is signed, whether it can be read here or not.
        """
        for line in self.lines(kind, asset, None, observed=observed, latest=latest, readable=True):
            if line.doubt == UNSIGNED and line.record is not None and not self._is_foreign(line.run_id):
                key = self._key(asset)
                digest = digest_of(line.raw, event=line.event, asset=key, version=line.version, run_id=line.run_id)
                yield Unsigned(line.event, key, line.version, line.run_id, _words(line.record), digest)

    def newest(self, asset: str, version: str, *, observed: bool = False) -> int:
        """The place of the last event on an asset, and on one version unless that is empty; 0 if there is none."""
        return next((event.storage_id for event in self._events(asset, version, observed=observed, first=1)), 0)

    def _line(self, kind: type[Record], asset: str, event: dg.EventLogRecord, readable: bool) -> Line[Record] | None:
        """What an event holds; None if it is no record of ours.

        Somebody may materialize the asset by hand in the pages, and another code location may have one of this name,
        for which the word that we keep records under is one of Dagster's tables or keys.
        """
        said = event.asset_materialization or event.asset_observation
        if said is None or not isinstance(said.metadata.get(RECORD_KEY), dg.JsonMetadataValue):
            return None
        raw, signature = said.metadata[RECORD_KEY].value, _value(said.metadata, SIGNATURE_KEY)
        memory = self._memory_of(kind, asset, event, said.partition or "", mark_of(signature))
        known = _verified.get(memory)
        if known is not None and not (asset not in LOGS and self._strange(event, asset)):
            return cast(Line[Record], known)
        after = after_of(signature)
        doubt = self._doubt(kind, asset, event, raw, signature)
        line = Line[Record](
            event=event.storage_id,
            version=said.partition or "",
            run_id=event.run_id,
            raw=raw,
            record=None,
            doubt=doubt,
            after=event.storage_id if after is None or doubt or asset not in LOGS else after,
            mark="" if doubt else mark_of(signature),
        )
        try:
            record = from_metadata(kind, said.metadata)
        except ValueError as error:
            if not doubt and not readable:
                raise
            if not doubt:
                LOG.warning("Event %d of Dagster's log is passed over, it cannot be read: %s", event.storage_id, error)
                return None
            return None if self._is_foreign(event.run_id) else self._doubted(line, asset, doubt)
        read = Line(**{**vars(line), "record": record})
        if doubt:
            return self._doubted(read, asset, doubt)
        if memory:
            _remember(memory, read)
        return read

    def _memory_of(self, kind: type[Record], asset: str, event: dg.EventLogRecord, version: str, mark: str) -> str:
        """By which a record that was verified is known again; empty without a signature.

        The signature covers all that is said; what stands there under the same signature later, whatever it is, counts
        as what was verified. With other keys than at that time, everything is verified anew.
        """
        if not mark:
            return ""
        keys = self._location.evidence.identity
        if not keys:
            return ""
        return f"{kind.__name__} {self._key(asset)} {event.storage_id} {event.run_id} {version!r} {mark} {keys}"

    def _doubt(self, kind: type[Record], asset: str, event: dg.EventLogRecord, raw: object, signature: object) -> str:
        said = event.asset_materialization or event.asset_observation
        version, key = (said.partition if said else None) or "", self._key(asset)
        if signature is None:
            adopted = self._adopted.get(event.storage_id)
            digest = digest_of(raw, event=event.storage_id, asset=key, version=version, run_id=event.run_id)
            return "" if adopted == digest else UNSIGNED
        if asset not in LOGS and (strange := self._strange(event, asset)):
            return strange
        origin = Origin(kind.__name__, key, version, event.run_id, after_of(signature) or 0)
        return doubt_about(raw, origin, signature, self._location.evidence)

    def _strange(self, event: dg.EventLogRecord, asset: str) -> str:
        """Why an event does not come from the step of a run of ours that makes the asset; empty if it does."""
        if event.event_log_entry.step_key != self._location.step(asset):
            return STRANGE_RUN
        if event.run_id not in self._runs:
            run = self._instance.get_run_by_id(event.run_id) if event.run_id else None
            self._runs[event.run_id] = "" if run and self._location.owns(run) else STRANGE_RUN
        return self._runs[event.run_id]

    def _is_foreign(self, run_id: str) -> bool:
        """Whether a run came from another code location."""
        run = self._instance.get_run_by_id(run_id) if run_id else None
        return run is not None and not self._location.owns(run) and bool(location_of(run))

    def _doubted(self, line: Line[Record], asset: str, doubt: str) -> Line[Record]:
        """The line with what speaks against it, which is said once."""
        what = (self._key(asset), line.event, doubt)
        if what not in _told and len(_told) < _MOST_TOLD:
            _told.add(what)
            LOG.warning("%s", sentence(self._key(asset), line.version, line.event, doubt))
        return Line(**{**vars(line), "doubt": doubt})

    @cached_property
    def _adopted(self) -> Mapping[int, str]:
        return adopted_records(self._instance, self._location).digests()

    def _key(self, asset: str) -> str:
        return self._location.key(asset).to_user_string()

    def _events(
        self, asset: str, version: str | None, *, observed: bool, first: int = FIRST_PAGE
    ) -> Iterator[dg.EventLogRecord]:
        """Every event of an asset, newest first, page by page. They are large, and to read them is what takes time."""
        fetch: Callable[..., dg.EventRecordsResult]
        fetch = self._instance.fetch_observations if observed else self._instance.fetch_materializations
        key, partitions = self._location.key(asset), [version] if version else None
        of = dg.AssetRecordsFilter(asset_key=key, asset_partitions=partitions)
        limit, cursor = min(first, self._page), None
        while True:
            page = fetch(of, limit=limit, cursor=cursor)
            yield from page.records
            if not page.has_more:
                return
            limit, cursor = min(GROWTH * limit, self._page), page.cursor


def adopted_records(instance: dg.DagsterInstance, location: CodeLocation) -> AdoptedRecords:
    """The list of what was adopted for a pipeline."""
    return AdoptedRecords(instance, "/".join(location.prefix), location.evidence)


def sentence(asset: str, version: str, event: int, doubt: str) -> str:
    """What is said of a record that is not believed."""
    adopt = f" If an earlier version wrote it, type: {commands.adopt_records()}" if doubt == UNSIGNED else ""
    return f"A record of {asset} of version {version or 'none'} (event {event}) counts for nothing: {doubt}.{adopt}"


def _released(held: list[Line[Record]], reached: int) -> Iterator[Line[Record]]:
    """Those at the front of which everything back to the event that they follow was seen."""
    while held and held[0].after >= reached:
        yield held.pop(0)


def _remember(memory: str, line: Line[Any]) -> None:
    with _remembering:
        while len(_verified) >= _MOST_VERIFIED:
            _verified.pop(next(iter(_verified)), None)
        _verified[memory] = line


def _value(metadata: Mapping[str, dg.MetadataValue], key: str) -> object:
    return metadata[key].value if key in metadata else None


def _words(record: object) -> str:
    """What a record says, in a few words."""
    facts = [getattr(record, name, None) for name in ("kind", "outcome", "by", "reason")]
    digest = getattr(record, "digest", "") or getattr(getattr(record, "ref", None), "digest", "")
    return ", ".join(str(one) for one in [*facts, str(digest)[:19]] if one)[:160]
