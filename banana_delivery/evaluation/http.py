"""Evidence gathered over HTTP from what really answers, with labelled images from a directory or the generator."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path

from typing_extensions import override

from banana_delivery.errors import AskingError, BrokenAnswerError, EvaluationError, LabelledImagesError
from banana_delivery.evaluation.acceptance_tests import integration, smoke
from banana_delivery.evaluation.answers import AnswerCache, Answers, ask, matches, matches_with_misses
from banana_delivery.evaluation.base import Evaluator, Load, Log, ProductionAnswers, ReleaseEndpoint
from banana_delivery.evaluation.holdout.calibration import MOST, set_aside
from banana_delivery.evaluation.holdout.read import Holdout, read
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.evaluation.load_test import performance
from banana_delivery.evaluation.probe import Probe, as_probe
from banana_delivery.evaluation.side_by_side import beside
from banana_delivery.evaluation.worst import file_of, keep_worst
from banana_delivery.policy.asset_records import TestRow
from banana_delivery.policy.model import ImageRef
from banana_delivery.policy.performance import PerformanceMargins
from banana_delivery.policy.quality.assessment import TOLERATED_UNANSWERED
from banana_delivery.policy.quality.comparison import QualityComparison
from banana_delivery.policy.quality.matching import Matches
from banana_delivery.policy.quality.stages.parts import merged, named
from banana_delivery.quoting import cited
from banana_delivery.settings import Settings

LOG = logging.getLogger(__name__)
TEST_IMAGES = 8
TABLES = 3
READ_BY_ALL = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
UNREACHED_PAUSE_SECONDS = 3.0
"""A router that died starts again within this."""


class HttpEvaluator(Evaluator):
    """Asks running releases.

    Args:
        settings: where the labelled images are, and how many.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reader: threading.Thread | None = None
        self._is_read = False

    @cached_property
    def _directory(self) -> Path:
        """The labelled images; generated the first time when no directory is set."""
        if self._settings.holdout:
            return self._settings.holdout
        from banana_delivery.sample_data.leaves import HOLDOUT_SEED, write_dataset

        directory = self._settings.home / "holdout"
        write_dataset(directory, self._settings.holdout_images, HOLDOUT_SEED, progress=False)
        return directory

    @cached_property
    def _split(self) -> tuple[Holdout, list[LabelledImage]]:
        """The labelled images that judge, and those that only calibrate where networks may compute in integers.

        Raises:
            EvaluationError: if they cannot be used.
        """
        try:
            found = read(self._directory, self._settings.holdout_split if self._settings.holdout else "")
        except LabelledImagesError as error:
            raise EvaluationError(str(error)) from error
        if self._settings.precision == "f32" or not self._settings.holdout:
            return found, []
        judging, aside = set_aside(found.images)
        return (found.only(judging) if aside else found), aside

    @property
    def labelled(self) -> Holdout:
        """The labelled images that judge.

        Raises:
            EvaluationError: if they cannot be used.
        """
        return self._split[0]

    @cached_property
    def images(self) -> Sequence[LabelledImage]:
        """The same, without where they came from."""
        return self.labelled.images

    @property
    @override
    def holdout(self) -> str:
        return self.labelled.digest

    @property
    @override
    def class_names(self) -> tuple[str, ...]:
        return self.labelled.class_names

    @property
    @override
    def judges_by(self) -> str:
        if self._settings.holdout:
            return f"those of {self.labelled.path}; label these classes there, or let BANANA_HOLDOUT name other images"
        return (
            "generated leaves, which suit the sample models only; set BANANA_HOLDOUT to labelled images of your own "
            "(docs/rollout-policy.md#quality says in which form)"
        )

    @cached_property
    def _cache(self) -> AnswerCache:
        folder = self._settings.home / "answers" / self.labelled.digest.removeprefix("sha256:")[:16]
        return AnswerCache(folder, [image.name for image in self.images])

    @override
    def sample_images(self, count: int) -> list[Path]:
        """Those that OpenCV reads on every machine, and that show something, come first."""
        paths = [
            (image.path.suffix.lower() not in READ_BY_ALL, not len(image.classes), image.path)
            for image in self.images
            if image.path
        ]
        return [path for _, _, path in sorted(paths, key=lambda one: one[:2])[:count]]

    @override
    def judging_images(self) -> Sequence[LabelledImage]:
        return self.images

    @override
    def calibration_images(self) -> list[Path]:
        """Some of the labelled images, which then judge nothing; where leaves are generated, more of those."""
        if self._settings.holdout:
            return [image.path for image in self._split[1] if image.path]
        from banana_delivery.sample_data.leaves import CALIBRATION_SEED, write_dataset

        directory = self._settings.home / "calibration"
        write_dataset(directory, MOST, CALIBRATION_SEED, progress=False)
        return sorted((directory / "images").iterdir())

    @override
    def tests(self, release: ReleaseEndpoint, log: Log) -> list[TestRow]:
        """A table in which a connection broke off says little of the release and is made again."""
        for _ in range(TABLES):
            rows = self._table(release)
            for row in rows:
                log(f"{'passed' if row.passed else 'FAILED'}: {row.name}: {row.detail}")
            if not any(row.unreached for row in rows):
                return rows
            time.sleep(UNREACHED_PAUSE_SECONDS)
        if rows[0].unreached:
            raise EvaluationError(
                f"Version {release.ref.version} cannot be reached at {release.url} ({rows[0].detail}); "
                "see to the router there, then deliver again."
            )
        return rows

    def _table(self, release: ReleaseEndpoint) -> list[TestRow]:
        images, ref = self.images[:TEST_IMAGES], release.ref
        rows = smoke(release.url, images[0], ref.digest, ref.version)
        if all(row.passed for row in rows):
            rows += integration(release.url, images, ref.digest, ref.version)
            rows.append(performance(release.url, images))
        return rows

    @override
    def speed(
        self, candidate: ReleaseEndpoint, production: ReleaseEndpoint, margins: PerformanceMargins, log: Log
    ) -> list[TestRow]:
        row = beside(candidate, production, self.images[:TEST_IMAGES], margins)
        log(f"{'passed' if row.passed else 'FAILED'}: {row.name}: {row.detail}")
        return [row]

    @override
    def image_count(self) -> int:
        return len(self.images)

    @override
    def answers(
        self, release: ReleaseEndpoint, log: Log, *, fresh: bool, first: int = 0, said: Matches | None = None
    ) -> Matches:
        cache, wanted = self._cache, self._first(first)
        known = self._known(cache, release, log, said, fresh=fresh)
        missing = _not_among(wanted, known, release, log)
        if not missing:
            return _of(wanted, known)
        answers = self._ask(release, missing, log)
        if answers.broken:
            name, why = next(iter(answers.broken.items()))
            raise BrokenAnswerError(
                f"Version {release.ref.version} gave {len(answers.broken):,} of {len(missing):,} labelled images "
                f"{why}, {cited(name)} first; look at how it was trained and exported, then register another version."
            )
        try:
            found = matches(missing, answers)
        except AskingError as error:
            raise EvaluationError(str(error)) from error
        whole = merged(found, known)
        _keep(cache, release, whole, log)
        return _of(wanted, whole)

    @override
    def production_answers(
        self, release: ReleaseEndpoint, log: Log, *, fresh: bool, first: int = 0, said: Matches | None = None
    ) -> ProductionAnswers:
        cache, wanted = self._cache, self._first(first)
        known = self._known(cache, release, log, said, fresh=fresh)
        missing = _not_among(wanted, known, release, log)
        if not missing:
            return ProductionAnswers(_of(wanted, known))
        answers = self._ask(release, missing, log, may_fail=True)
        unanswered = len(missing) - len(answers.detections)
        if not unanswered:
            whole = merged(matches(missing, answers), known)
            _keep(cache, release, whole, log)
            return ProductionAnswers(_of(wanted, whole))
        why = next(iter(answers.failures.values()))
        log(f"Production left {unanswered:,} of {len(missing):,} labelled images unanswered: {why}")
        broken = unanswered > TOLERATED_UNANSWERED * len(missing)
        kept = self._kept(cache, release, log, whole=False) if broken else None
        if kept and not _not_among(wanted, kept, release, log):
            return ProductionAnswers(_of(wanted, kept), unanswered, why, kept=True)
        return ProductionAnswers(_of(wanted, merged(matches_with_misses(missing, answers), known)), unanswered, why)

    def _first(self, count: int) -> Sequence[LabelledImage]:
        """So many images, told by what is in their files, so that their order in a folder is none of the evidence's."""
        if not 0 < count < len(self.images):
            return self.images
        return sorted(self.images, key=lambda image: (image.sha256, image.name))[:count]

    def _known(
        self, cache: AnswerCache, release: ReleaseEndpoint, log: Log, said: Matches | None, *, fresh: bool
    ) -> Matches | None:
        kept = None if fresh else self._kept(cache, release, log)
        return merged(said, kept) if said else kept

    def _kept(self, cache: AnswerCache, release: ReleaseEndpoint, log: Log, *, whole: bool = True) -> Matches | None:
        known = cache.get(release.ref.digest, whole=whole)
        if known is None and (before := cache.elsewhere(release.ref.digest)):
            log(
                f"Version {release.ref.version} answered other labelled images before ({before}); the hold-out is "
                f"{self.labelled.digest[:19]} now, so it is asked again."
            )
        return known

    def _ask(
        self, release: ReleaseEndpoint, images: Sequence[LabelledImage], log: Log, *, may_fail: bool = False
    ) -> Answers:
        quarter = max(1, len(images) // 4)

        def progress(done: int, total: int) -> None:
            if done % quarter == 0:
                log(f"Version {release.ref.version} at {release.url}: {done}/{total} labelled images")

        digest = release.ref.digest
        try:
            return ask(release.url, images, expected_digest=digest, progress=progress, may_fail=may_fail)
        except AskingError as error:
            raise EvaluationError(str(error)) from error

    @override
    def keep_worst(
        self, ref: ImageRef, comparison: QualityComparison, candidate: Matches, production: Matches, log: Log
    ) -> None:
        file = file_of(self._settings.home, ref.digest)
        try:
            images = {image.name: image for image in self.images}
            keep_worst(file, comparison, candidate, production, images, self.holdout)
        except (OSError, EvaluationError) as error:
            log(f"The images on which the models differ most could not be kept for the report: {error}")

    @override
    def ready(self, seconds: float) -> bool:
        """One thread reads, however often this is asked and however long it takes."""
        if self._reader is None or not self._reader.is_alive():
            self._is_read = False
            self._reader = threading.Thread(target=self._read_ahead, name="read-holdout", daemon=True)
            self._reader.start()
        self._reader.join(seconds)
        return self._is_read

    def _read_ahead(self) -> None:
        try:
            self._read_again_if_moved()
            self._is_read = True
        except Exception as error:  # noqa: BLE001 - nobody waits for this thread, so it says what went wrong
            LOG.warning("The labelled images cannot be read: %s", error)

    @override
    def probe(self, url: str, token: str = "") -> AbstractContextManager[Load]:
        self._read_again_if_moved()
        return Probe(url, self.images, headers=as_probe(token))

    def _read_again_if_moved(self) -> None:
        """A process lives for weeks; whoever edits or moves the hold-out meanwhile moves its first image as a rule.

        Raises:
            EvaluationError: if it cannot be used any more.
        """
        first = self.images[0]
        try:
            first.encoded  # noqa: B018 - it is a property that reads
        except LabelledImagesError as error:
            LOG.warning("The hold-out is read again: %s", error)
            for name in ("_directory", "_split", "images", "_cache"):
                self.__dict__.pop(name, None)
            LOG.info("The hold-out has %s images now.", f"{len(self.images):,}")


def _keep(cache: AnswerCache, release: ReleaseEndpoint, whole: Matches, log: Log) -> None:
    """Keep answers for later; that it fails costs whoever wants them then the asking, and this delivery nothing.

    Those of an earlier look come with them: beside what an earlier version kept they alone would lose their places.
    """
    try:
        cache.put(release.ref.digest, whole)
    except OSError as error:
        log(f"What version {release.ref.version} answered could not be kept, so it will be asked again: {error}")


def _not_among(
    wanted: Sequence[LabelledImage], known: Matches | None, release: ReleaseEndpoint, log: Log
) -> Sequence[LabelledImage]:
    """Images to which nobody kept a release's answers."""
    names = set(known.names) if known else set()
    missing = [image for image in wanted if image.name not in names]
    if not missing:
        log(f"Version {release.ref.version} answered these images before; its image is the same.")
    return missing


def _of(wanted: Sequence[LabelledImage], known: Matches | None) -> Matches:
    """The answers to these images among those known, which have them all."""
    found = named(known, [image.name for image in wanted]) if known else None
    assert found is not None
    return found
