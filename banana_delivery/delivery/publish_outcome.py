"""What follows once an attempt is on record: the registry says what really serves, and people are told.

Runs in the op that ended the attempt and again in the run-status sensor; both are idempotent, so that what failed the
first time is made good the second time. What failed both times is kept on disk, and made good by a sensor that looks
again and again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from banana_delivery.errors import (
    BananaDeliveryError,
    RegistryError,
    RegistryRefusedError,
    TargetError,
    UnknownVersionError,
)
from banana_delivery.files import write_atomically
from banana_delivery.model_registry.base import ModelRegistry
from banana_delivery.notifications.messages import (
    Notice,
    ProductionNow,
    deleted_version,
    key_of,
    notice,
    report_name,
)
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.policy.asset_records import AttemptRecord
from banana_delivery.policy.drift import failing, find_drift
from banana_delivery.policy.model import Environment, ImageRef, Phase
from banana_delivery.policy.outcomes import registry_mark
from banana_delivery.quoting import in_path
from banana_delivery.targets.base import ReleaseTarget

LOG = logging.getLogger(__name__)
MOST_AT_ONCE = 5
CATCHING_UP_SECONDS = 1.0
"""After that the registry is told no other attempt at this tick: where it has 10,000 versions, one takes seconds."""
MOST_MARKS = 5
"""Of one attempt, while production changes under them."""
Made = Callable[[ImageRef], bool]
"""Whether this pipeline made an image: another one on the same target has versions of the same numbers."""
Newest = Callable[[AttemptRecord], AttemptRecord]
"""The last attempt at the version of one."""


def anything(_: ImageRef) -> bool:
    """Where the audit trail cannot be asked, what runs is taken for ours."""
    return True


def itself(attempt: AttemptRecord) -> AttemptRecord:
    """Where the audit trail cannot be asked, no later attempt at the version is known."""
    return attempt


@dataclass(frozen=True)
class OutcomePublisher:
    """The registry and the people.

    Attributes:
        registry: is told how the attempt ended.
        target: knows what production serves.
        notifier: tells people.
        pending: remembers what the registry could not be told.
        model: name of the registered model, for messages.
        dagster_url: where the pages are, for links; empty for none.
        log_asset: key of the audit trail there.
        reports: folder of the reports, which go with the messages; None where there are none.
        invite: gives the address under which people decide about an attempt that waits; None for nowhere.
    """

    registry: ModelRegistry
    target: ReleaseTarget
    notifier: Notifier
    pending: PendingMarks
    model: str
    dagster_url: str
    log_asset: str = "rollout_log"
    reports: Path | None = None
    invite: Callable[[AttemptRecord], str] | None = None

    def publish(self, attempt: AttemptRecord, made: Made = anything, *, mark_later: bool = False) -> bool:
        """Mark the version and tell people; what is away now is only logged, ``catch_up`` comes back to it.

        Args:
            attempt: how it ended.
            made: whether this pipeline made an image.
            mark_later: leave the registry to ``catch_up``, since something else is urgent.

        Returns:
            Whether what there is to tell was told, or is kept to be told.
        """
        try:
            if mark_later:
                self.pending.remember(attempt)
            elif trouble := self._not_marked(attempt, made):
                LOG.warning("The registry was not told yet how version %s ended: %s", attempt.version, trouble)
            now = self._production_now(attempt, made)
            report, decide = self._report(attempt), self.invite(attempt) if self.invite else ""
            self.notifier.send(notice(self.model, attempt, self.dagster_url, now, self.log_asset, report, decide))
        except OSError as error:
            LOG.warning(
                "It could not be written down how version %s ended, nor that it was told: %s", attempt.version, error
            )
            return False
        return True

    def _report(self, attempt: AttemptRecord) -> str:
        """The file that tells the whole of it, if it was drawn."""
        file = self.reports / f"{report_name(attempt)}.html" if self.reports else None
        return str(file) if file and file.is_file() else ""

    def was_told(self, attempts: Iterable[AttemptRecord]) -> list[bool]:
        """Whether people know how each of some attempts ended."""
        keys = [key_of(attempt) for attempt in attempts]
        told = self.notifier.told(keys)
        return [key in told for key in keys]

    def tell(self, notice: Notice) -> bool:
        """Tell people something beside an outcome; whether they were told now, and not before."""
        try:
            return self.notifier.send(notice)
        except OSError as error:
            LOG.warning("It could not be written down that people were told %r: %s", notice.title, error)
            return True

    def catch_up(self, made: Made = anything, newest: Newest = itself) -> str | None:
        """Make good what could not be told before, a bounded part of it each time.

        Args:
            made: whether this pipeline made an image.
            newest: the last attempt at the same version. What is kept bears times, of several clocks that may be set.

        Returns:
            Why the registry refuses to be written; empty if it was written; None if that was not tried.
        """
        refused, started = None, time.monotonic()
        try:
            for kept in self.pending.attempts()[:MOST_AT_ONCE]:
                if time.monotonic() - started > CATCHING_UP_SECONDS:
                    break
                if trouble := self._not_marked(newest(kept), made, kept):
                    refused = str(trouble) if isinstance(trouble, RegistryRefusedError) else None
                    break  # The others would wait for the same registry; this one is the last in turn now.
                refused = ""
                LOG.info("The registry was told late how version %s ended.", kept.version)
            self.notifier.catch_up()
        except OSError as error:
            LOG.warning("What was not told before could not be told now: %s", error)
        return refused

    def _not_marked(
        self, attempt: AttemptRecord, made: Made, kept: AttemptRecord | None = None
    ) -> BananaDeliveryError | None:
        """Mark the version; why that failed, and then it is remembered for later; None if nothing is left to do.

        Args:
            attempt: how it ended.
            made: whether this pipeline made an image.
            kept: what is remembered of the version, if not this attempt.
        """
        try:
            self.mark(attempt, made)
        except UnknownVersionError as error:
            LOG.warning("No registry can be told how version %s ended: %s", attempt.version, error)
            self.notifier.send(deleted_version(self.model, attempt, str(error)))
        except (RegistryError, TargetError) as error:
            self.pending.remember(kept or attempt)
            return error
        self.pending.forget(kept or attempt)
        return None

    def _production_now(self, attempt: AttemptRecord, made: Made) -> ProductionNow | None:
        """What users get; None while somebody else's delivery moves them, since that is not this attempt's doing."""
        try:
            record = self.target.record(Environment.PRODUCTION)
            if record.owner not in {None, attempt.run_id, attempt.actor}:
                return None
            observed = self.target.observed(Environment.PRODUCTION)
        except TargetError:
            return ProductionNow(known=False)
        shares: dict[str, int] = {}
        for colour, weight in observed.weights.items():
            if weight and colour in record.deployments:
                version = _called(record.deployments[colour].image, attempt, made)
                shares[version] = shares.get(version, 0) + weight
        return ProductionNow(
            version=_called(record.live, attempt, made) if record.live else "",
            shares=shares,
            failing=failing(find_drift(record, observed)) or None,
            drifted=record.phase is Phase.DRIFTED,
        )

    def mark(self, attempt: AttemptRecord, made: Made = anything) -> None:
        """Write the outcome into the registry, with what production serves now and not what it served then.

        A version of ours is not in production because another pipeline's of the same number is. Whoever writes slowly
        may write last: so each looks once more when it has written, and the last one has seen what serves then.

        Raises:
            RegistryError: if it cannot be reached, or does not know the version.
            TargetError: if production cannot be asked what it serves, or changes faster than the registry is written.
        """
        live = self.target.record(Environment.PRODUCTION).live
        for _ in range(MOST_MARKS):
            serving = live.version if live and (live.digest == attempt.digest or made(live)) else None
            mark = registry_mark(attempt.outcome, attempt.reason, attempt.digest, attempt.run_id, serving)
            self.registry.mark(attempt.version, mark)
            written, live = live, self.target.record(Environment.PRODUCTION).live
            if live == written:
                return
        raise TargetError("Production changed each time that the registry was told what it serves; it is told later.")


LOG = logging.getLogger(__name__)


def _called(image: ImageRef, attempt: AttemptRecord, made: Made) -> str:
    """What people are told that an image is: its version, and more where that alone would be taken for another."""
    if image.digest == attempt.digest:
        return image.version
    if not made(image):
        return f"{image.version} of another pipeline ({image.digest[:19]})"
    return (
        f"{image.version} ({image.digest[:19]})"
        if attempt.digest and image.version == attempt.version
        else image.version
    )


class PendingMarks:
    """One file a version, since only the latest attempt at it is worth telling.

    Args:
        directory: made when something is first remembered.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def remember(self, attempt: AttemptRecord) -> None:
        """Keep an attempt, as the last in turn, unless a later one at its version is kept."""
        known = self._read(self._file(attempt.version))
        if known is None or known.at <= attempt.at:
            write_atomically(self._file(attempt.version), attempt.model_dump_json())

    def forget(self, attempt: AttemptRecord) -> None:
        """The registry knows of this attempt, or of a later one."""
        file = self._file(attempt.version)
        known = self._read(file)
        if known and known.at <= attempt.at:
            file.unlink(missing_ok=True)

    def attempts(self) -> list[AttemptRecord]:
        """Those that were tried longest ago first."""
        tried = [(file.stat().st_mtime, file) for file in self._directory.glob("*.json")]
        kept = (self._read(file) for _, file in sorted(tried))
        return [attempt for attempt in kept if attempt]

    def _file(self, version: str) -> Path:
        return self._directory / f"{in_path(version)}.json"

    def _read(self, file: Path) -> AttemptRecord | None:
        try:
            return AttemptRecord.read_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            LOG.warning("%s is no attempt and is removed; the next delivery corrects the registry.", file)
            file.unlink(missing_ok=True)
            return None
