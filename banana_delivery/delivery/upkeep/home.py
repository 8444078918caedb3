"""What deliveries leave in the home beside their images: what of it stays, and the removal of the rest.

Nothing here is the only copy of anything that decides: models are in their images and in MLflow, answers are asked for
again, and attempts are in the audit trail, of which nothing ever goes.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from banana_delivery.delivery.evidence.kept import SUFFIX, looks_beside, looks_folder
from banana_delivery.evaluation.answers import digest_of
from banana_delivery.evaluation.worst import FOLDER
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.runs.lifecycle import Runs
from banana_delivery.settings import Settings

LOG = logging.getLogger(__name__)
YOUNG_SECONDS = 3600.0
"""What was changed so lately may belong to a delivery under way."""
GOING = ".going-"
"""What begins so was on its way out when somebody died: never taken for whole."""


class Kind(StrEnum):
    """What is kept in files of a delivery."""

    MODEL = "exported model"
    SCRATCH = "left by a run that died"
    REPORT = "report"
    ANSWERS = "kept answers"
    WORST = "pictures of a comparison"
    LOG = "log of replicas"
    OUTPUT = "output of a run"
    LOOKS = "what a delivery looked at, without a report"


@dataclass(frozen=True)
class Kept:
    """One file or folder that a delivery left.

    Attributes:
        kind: what it is.
        path: where.
        name: what is asked for to know whether it is in use: a version, a digest or the beginning of one, or a run;
            empty for what nobody uses.
        at: when it was changed last, seconds since the epoch.
        size: in bytes.
    """

    kind: Kind
    path: Path
    name: str
    at: float
    size: int


@dataclass(frozen=True)
class Removal:
    """What becomes of one of them, and why.

    Attributes:
        kept: what it is about.
        keep: whether it stays.
        reason: why, in a few words.
    """

    kept: Kept
    keep: bool
    reason: str


@dataclass(frozen=True)
class InUse:
    """What has to stay however old it is.

    Attributes:
        digests: of images that an environment runs, that served lately, or that may be gone back to.
        runs: of deliveries that have not ended.
        versions: that those deliver.
        version_of_use: whether a version has one of the digests; asked only for what would go.
    """

    digests: Collection[str]
    runs: Collection[str]
    versions: Collection[str]
    version_of_use: Callable[[str], bool]

    def needs(self, kept: Kept) -> bool:
        """Whether somebody may want it."""
        match kept.kind:
            case Kind.MODEL:
                return kept.name in self.versions or self.version_of_use(kept.name)
            case Kind.ANSWERS | Kind.WORST | Kind.LOG:
                return any(digest.removeprefix("sha256:").startswith(kept.name) for digest in self.digests)
            case Kind.OUTPUT | Kind.LOOKS:
                return kept.name in self.runs
            case Kind.REPORT | Kind.SCRATCH:
                return False


class HomeRetention:
    """Retention of one home.

    Args:
        settings: where it is, and how much is kept.
        storage: where Dagster keeps what runs print; None if it does so elsewhere.
    """

    def __init__(self, settings: Settings, storage: Path | None = None) -> None:
        self._settings = settings
        self._storage = storage

    def prune(self, in_use: InUse, now: float, *, dry_run: bool) -> list[Removal]:
        """Decide for everything that deliveries left, newest first of each kind, and remove what goes.

        What cannot be removed is only logged: it is tried again after the next delivery.

        Args:
            in_use: what has to stay.
            now: seconds since the epoch.
            dry_run: whether nothing is removed.
        """
        decided = decide(self._everything(), self._limits(), in_use, now)
        return [one if one.keep or dry_run else _remove(one) for one in decided]

    def _limits(self) -> dict[Kind, int]:
        images, reports = self._settings.keep_versions, self._settings.keep_reports
        return {
            Kind.MODEL: images,
            Kind.ANSWERS: images,
            Kind.WORST: images,
            Kind.LOG: 2 * images * self._settings.production_replicas,
            Kind.REPORT: reports,
            Kind.OUTPUT: reports,
            Kind.SCRATCH: 0,
            Kind.LOOKS: 0,
        }

    def _everything(self) -> Iterator[Kept]:
        home = self._settings.home
        models = home / "artifacts" / self._settings.model_name
        for path in _entries(models):
            version = path.is_dir() and not path.name.startswith((GOING, "tmp"))
            yield from _kept(Kind.MODEL if version else Kind.SCRATCH, path, path.name if version else "")
        for path in _entries(home / "reports"):
            report = path.with_name(f"{path.name.removesuffix(SUFFIX)}.html") if path.name.endswith(SUFFIX) else path
            if report == path or not report.exists():
                yield from _kept(Kind.REPORT if report == path else Kind.LOOKS, path, "")
        for path in _entries(looks_folder(home)):
            yield from _kept(Kind.LOOKS, path, path.name.removesuffix(SUFFIX))
        for labels in _entries(home / "answers"):
            for path in _entries(labels):
                yield from _kept(Kind.ANSWERS, path, digest_of(path))
        for path in _entries(home / FOLDER):
            yield from _kept(Kind.WORST, path, path.stem)
        for path in _entries(home / "logs"):
            if digest := _digest_in(path.name):
                yield from _kept(Kind.LOG, path, digest)
        for path in _entries(self._storage) if self._storage else ():
            yield from _kept(Kind.OUTPUT, path / "compute_logs", path.name)


def prune_home(
    audit_log: AuditLog, settings: Settings, digests: Collection[str], now: float, *, dry_run: bool
) -> list[Removal]:
    """Remove what old deliveries left beside their images.

    Args:
        audit_log: knows which images versions have, and which deliveries have not ended.
        settings: where the home is, and how much is kept.
        digests: of images that have to stay.
        now: seconds since the epoch.
        dry_run: whether nothing is removed.
    """
    unfinished = Runs(audit_log.instance, audit_log.location).unfinished()
    used = InUse(
        digests=digests,
        runs={run.run_id for run in unfinished},
        versions={audit_log.location.version_of(run) for run in unfinished},
        version_of_use=lambda version: any(audit_log.mentions(version, digest) for digest in digests),
    )
    # What runs print on an instance that others use too is theirs to bound.
    storage = settings.home / "dagster" / "storage"
    return HomeRetention(settings, storage).prune(used, now, dry_run=dry_run)


def decide(everything: Iterable[Kept], limits: dict[Kind, int], in_use: InUse, now: float) -> list[Removal]:
    """What stays: the newest of each kind, what is in use, and what is young."""
    found = sorted(everything, key=lambda kept: (kept.kind, -kept.at, str(kept.path)))
    ranks: dict[Kind, int] = {}
    decided = []
    for kept in found:
        rank = ranks[kept.kind] = ranks.get(kept.kind, 0) + 1
        limit = limits[kept.kind]
        if rank <= limit:
            reason = f"one of the newest {limit}"
        elif now - kept.at < YOUNG_SECONDS:
            reason = f"changed less than {YOUNG_SECONDS / 60:.0f} minutes ago"
        elif in_use.needs(kept):
            reason = "in use, or gone back to by a rollback"
        else:
            gone = f"older than the newest {limit}, and nothing needs it" if limit else "nothing needs it"
            decided.append(Removal(kept, keep=False, reason=gone))
            continue
        decided.append(Removal(kept, keep=True, reason=reason))
    return decided


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, hidden files too; nothing where there is none."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _kept(kind: Kind, path: Path, name: str) -> Iterator[Kept]:
    """One of them; none if somebody else removed it meanwhile, or it is a link: what lies elsewhere is not ours."""
    try:
        if path.is_symlink():
            return
        inside = [path, *path.rglob("*")] if path.is_dir() else [path]
        stats = [one.lstat() for one in inside]
    except FileNotFoundError:
        return
    yield Kept(kind, path, name, max(one.st_mtime for one in stats), sum(one.st_size for one in stats))


def _digest_in(log: str) -> str:
    """The beginning of a digest in the name of a replica's log; empty for the log of anything else."""
    parts = log.partition(".log")[0].split("-")
    wanted = len(parts) == REPLICA_PARTS and parts[-1].isdigit() and len(parts[2]) == DIGITS_IN_A_NAME
    return parts[2] if wanted else ""


REPLICA_PARTS = 4
"""Environment, colour, digest, number."""
DIGITS_IN_A_NAME = 10


def _remove(removal: Removal) -> Removal:
    path = removal.kept.path
    try:
        if removal.kept.kind is Kind.MODEL:
            # Half a model must never look like a whole one.
            path = path.rename(path.with_name(f"{GOING}{path.name}"))
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if removal.kept.kind is Kind.REPORT:
            looks_beside(path).unlink(missing_ok=True)
    except OSError as error:
        LOG.warning("%s could not be removed and is tried again later: %s", path, error)
        return Removal(removal.kept, keep=True, reason=f"it could not be removed: {error.strerror or error}")
    return removal
