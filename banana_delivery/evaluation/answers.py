"""Asks a URL about every labelled image and keeps what it says, as evidence of the quality of what runs there.

Answers of a digest to a set of labelled images, kept on disk: the same image gives the same answers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from banana_delivery.errors import DigestMismatchError, UnansweredError
from banana_delivery.evaluation.client import UNREACHED, Prediction, is_overload, timed_upload
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.files import lock, replacing
from banana_delivery.policy.quality.matching import (
    MAX_DETECTIONS,
    Detections,
    Labelled,
    Matches,
    Objects,
    Placed,
    match_answers,
)
from banana_delivery.policy.quality.stages.parts import merged, named

TRIES = 8
"""For one image: a service may be overloaded, or its router start again."""
LONGEST_PAUSE_SECONDS = 5.0
UNREACHED_PAUSE_SECONDS = 1.0
TRIES_IF_BROKEN = 3
"""For one image that may stay unanswered: what fails so often, with pauses, fails for users as well."""
BROKEN_TIMEOUT_SECONDS = 10.0
"""Of one such request: a router of ours gives up before, and a service that hangs is not waited for all day."""
CLEARLY_DOWN_IMAGES = 12
CLEARLY_DOWN_SHARE = 0.1
"""Once so many images, and so great a share of those asked, stayed unanswered, no further one is asked."""

Progress = Callable[[int, int], object]
"""Called with how many images are done and how many there are."""


@dataclass
class Answers:
    """What one URL said about the labelled images.

    Attributes:
        detections: by image name.
        digests: of the images that answered.
        versions: model versions that answered.
        failures: why an image was not answered, by image name.
        broken: of these, detections that are none, such as one whose score is no number: whatever lies between may
            answer with a page of its own, but not with those.
        latencies: seconds from sending to the whole answer, of every answered image; the waits of retries apart.
        overloads: how often the service asked to come back later.
    """

    detections: dict[str, Detections] = field(default_factory=dict)
    digests: set[str] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    overloads: int = 0


def ask(
    url: str,
    images: Sequence[LabelledImage],
    *,
    expected_digest: str | None = None,
    concurrency: int = 4,
    confidence: float = 0.001,
    timeout: float = 30.0,
    progress: Progress | None = None,
    may_fail: bool = False,
) -> Answers:
    """Ask ``{url}/predict`` about every image.

    Args:
        url: of the service, without ``/predict``.
        images: at least one.
        expected_digest: what must answer; None accepts whatever does, and `Answers.digests` says what did.
        concurrency: requests under way at once.
        confidence: the score from which detections are wanted; low, because average precision needs the unsure ones.
        timeout: of one request, in seconds.
        progress: told after every image.
        may_fail: for a service that may be broken: an image is asked about at most ``TRIES_IF_BROKEN`` times whatever
            goes wrong, and nothing more is asked of a service that is clearly down.

    Raises:
        DigestMismatchError: an answer came from another digest than expected; nothing more is asked then.
        UnansweredError: nobody can be reached there, unless it may fail.
    """
    asker = _Asker(url, images[0].class_names, confidence, timeout, concurrency, may_fail=may_fail)
    answers = Answers()
    with asker.client, ThreadPoolExecutor(concurrency, thread_name_prefix="ask") as pool:
        futures = [pool.submit(asker.ask, image) for image in images]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                _collect(answers, future.result(), expected_digest, url, may_fail=may_fail)
                if progress is not None:
                    progress(done, len(images))
                if may_fail and _clearly_down(len(answers.failures), done):
                    break
        finally:
            asker.stop.set()
            pool.shutdown(cancel_futures=True)
    return answers


def _clearly_down(failed: int, asked: int) -> bool:
    return failed >= CLEARLY_DOWN_IMAGES and failed > CLEARLY_DOWN_SHARE * asked


def matches_with_misses(images: Sequence[LabelledImage], answers: Answers) -> Matches:
    """Match answers with the labels; where there is none, nothing was found."""
    nothing = Detections(boxes=np.zeros((0, 4)), classes=np.zeros(0, np.int64), scores=np.zeros(0))
    complete = {image.name: answers.detections.get(image.name, nothing) for image in images}
    unanswered = np.array([image.name not in answers.detections for image in images])
    return replace(matches(images, replace(answers, detections=complete)), unanswered=unanswered)


def matches(images: Sequence[LabelledImage], answers: Answers) -> Matches:
    """Match complete answers with the labels.

    Raises:
        UnansweredError: an image has no answer.
    """
    missing = [image.name for image in images if image.name not in answers.detections]
    if missing:
        reason = answers.failures.get(missing[0], "it was never asked")
        raise UnansweredError(
            f"{len(missing):,} of {len(images):,} labelled images were not answered, {missing[0]} first: {reason}."
        )
    labelled = (Labelled(image.name, image.truth, answers.detections[image.name]) for image in images)
    return match_answers(labelled, images[0].class_names)


@dataclass
class _Reply:
    """What became of one image: a prediction with its detections, or a reason why there is none."""

    name: str
    prediction: Prediction | None = None
    detections: Detections | None = None
    failure: str = ""
    unreached: bool = False
    broken: bool = False
    seconds: float = 0.0
    overloads: int = 0


def _collect(answers: Answers, reply: _Reply, expected_digest: str | None, url: str, *, may_fail: bool) -> None:
    answers.overloads += reply.overloads
    if reply.unreached and not may_fail:
        raise UnansweredError(f"{url} cannot be reached: {reply.failure}; see to what leads there, then try again.")
    if reply.prediction is None or reply.detections is None:
        answers.failures[reply.name] = reply.failure
        if reply.broken:
            answers.broken[reply.name] = reply.failure
        return
    answers.digests.add(reply.prediction.digest)
    answers.versions.add(reply.prediction.model_version)
    if expected_digest is not None and reply.prediction.digest != expected_digest:
        raise DigestMismatchError(
            f"{url} answered from {reply.prediction.digest} (version {reply.prediction.model_version}), "
            f"but {expected_digest} was to be measured; wait until only that release serves there."
        )
    answers.detections[reply.name] = reply.detections
    answers.latencies.append(reply.seconds)


class _Asker:
    """Asks one URL; shared by the threads, which the client allows."""

    def __init__(
        self,
        url: str,
        class_names: Sequence[str],
        confidence: float,
        timeout: float,
        connections: int,
        *,
        may_fail: bool,
    ) -> None:
        self._url = url
        self._may_fail = may_fail
        self._class_index = {name: index for index, name in enumerate(class_names)}
        self._query = {"confidence": confidence, "max_detections": MAX_DETECTIONS}
        self.stop = threading.Event()
        self.client = httpx.Client(
            timeout=min(timeout, BROKEN_TIMEOUT_SECONDS) if may_fail else timeout,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,
            verify=httpx.create_ssl_context(),
        )

    def ask(self, image: LabelledImage) -> _Reply:
        """Ask until there is an answer, a failure, or nobody to be reached for too long."""
        reply = _Reply(image.name)
        for _ in range(TRIES_IF_BROKEN if self._may_fail else TRIES):
            pause = self._try(image, reply)
            if pause is None or self.stop.wait(pause):
                break
        return reply

    def _try(self, image: LabelledImage, reply: _Reply) -> float | None:
        """Ask once; seconds to wait before the next try, None if there is to be none."""
        try:
            response, reply.seconds = timed_upload(self.client, self._url, image, **self._query)
        except httpx.HTTPError as error:
            reply.failure = f"{type(error).__name__} {error}".strip()
            reply.unreached = isinstance(error, UNREACHED)
            return UNREACHED_PAUSE_SECONDS if reply.unreached or self._may_fail else None
        reply.unreached = False
        if is_overload(response):
            reply.overloads += 1
            reply.failure = f"overloaded {reply.overloads} times"
            return _pause(response)
        self._read(response, reply)
        return UNREACHED_PAUSE_SECONDS if reply.prediction is None and self._may_fail else None

    def _read(self, response: httpx.Response, reply: _Reply) -> None:
        if response.status_code != httpx.codes.OK:
            reply.failure = f"status {response.status_code}: {response.text[:200]}"
            return
        try:
            prediction = Prediction.model_validate_json(response.content)
            reply.detections = prediction.arrays(self._class_index)
            reply.prediction = prediction
        except ValidationError as error:
            first = error.errors()[0]
            reply.broken = first["loc"][:1] == ("detections",) and len(first["loc"]) > 1
            reply.failure = f"an answer that breaks the contract: {first['loc']} {first['msg']}"
        except KeyError as error:
            reply.failure = f"a class {error} that the labels do not know ({', '.join(self._class_index)})"


def _pause(response: httpx.Response) -> float:
    """Seconds to wait as the service asked, within reason; a date or nonsense counts as one second."""
    try:
        return min(max(float(response.headers["Retry-After"]), 0.0), LONGEST_PAUSE_SECONDS)
    except ValueError:
        return 1.0


PART = ".part"
"""In the name of a file that keeps answers to some of the images alone."""
LOCK_SECONDS = 10.0
"""Others hold it while they write one file."""
ARRAYS = ("truths", "image", "klass", "score", "hit")
PLACES = ("boxes", "found", "hits")
OBJECTS = ("image", "klass", "boxes", "side")


def _placed(kept: Mapping[str, NDArray[Any]]) -> Placed:
    return Placed(
        **{name: kept[f"placed_{name}"] for name in PLACES},
        objects=Objects(**{name: kept[f"objects_{name}"] for name in OBJECTS}),
    )


class AnswerCache:
    """One file a digest; a file that cannot be read counts as missing, and what is kept once stays kept.

    Answers to some of the images lie beside those to all of them: earlier versions take what they find for all.

    Args:
        directory: of one set of labelled images.
        names: of all these images, in their order.
    """

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        self._directory = directory
        self._names = names

    def get(self, digest: str, *, whole: bool = True) -> Matches | None:
        """The answers of a digest, if they are kept.

        Args:
            digest: of the image.
            whole: whether what earlier versions kept counts as missing; without places it is too little for some gates.
        """
        found = (self._read(file, whole=whole) for file in (self._file(digest), self._file(digest, PART)))
        return next((answers for answers in found if answers), None)

    def elsewhere(self, digest: str) -> str:
        """Other labelled images about which answers of a digest are kept; empty if there are none."""
        names = {self._file(digest).name, self._file(digest, PART).name}
        others = [path.parent.name for name in names for path in self._directory.parent.glob(f"*/{name}")]
        return ", ".join(sorted(set(others) - {self._directory.name}))

    def put(self, digest: str, matches: Matches) -> None:
        """Keep the answers of a digest beside those to other images that are kept; a reader never sees half a file.

        Raises:
            OSError: if they cannot be kept; what was kept before stays.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        # Not among the answers, of which retention counts every file.
        with lock(self._directory.parent / ".lock", LOCK_SECONDS, f"What {digest} answered"):
            self._write(digest, merged(matches, self.get(digest) or self.get(digest, whole=False)))

    def _write(self, digest: str, matches: Matches) -> None:
        whole = named(matches, self._names)
        kept = whole or matches
        arrays = {name: getattr(kept, name) for name in ARRAYS}
        if kept.placed:
            arrays |= {f"placed_{name}": getattr(kept.placed, name) for name in PLACES}
            arrays |= {f"objects_{name}": getattr(kept.placed.objects, name) for name in OBJECTS}
        here, there = ("", PART) if whole else (PART, "")
        with replacing(self._file(digest, here)) as file:
            np.savez_compressed(file, names=np.array(kept.names), class_names=np.array(kept.class_names), **arrays)
        self._file(digest, there).unlink(missing_ok=True)  # All that can be used of it stands here now.

    def _read(self, path: Path, *, whole: bool) -> Matches | None:
        try:
            # NumPy itself would leave a file that it cannot read open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                return Matches(
                    names=tuple(kept["names"].tolist()),
                    class_names=tuple(kept["class_names"].tolist()),
                    **{name: kept[name] for name in ARRAYS},
                    placed=_placed(kept) if whole or "placed_found" in kept else None,
                )
        except Exception:  # noqa: BLE001 - whatever NumPy and zipfile raise on a file that is cut off or damaged
            return None

    def _file(self, digest: str, part: str = "") -> Path:
        return self._directory / f"{digest.removeprefix('sha256:')}{part}.npz"


def digest_of(path: Path) -> str:
    """Whose answers a file of a cache keeps: the digest, without its algorithm."""
    return path.stem.removesuffix(PART)
