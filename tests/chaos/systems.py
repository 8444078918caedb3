"""The outside systems of the simulated machine, beside the target: each is its fake, and every call may go wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from banana_delivery.errors import EvaluationError, ImageError, RegistryError
from banana_delivery.evaluation.base import Log, ReleaseEndpoint
from banana_delivery.evaluation.fake import FakeEvaluator, FakeLoad, matches
from banana_delivery.images.base import BuildContext, BuiltImage, ImageKey, Progress, PruneDecision
from banana_delivery.images.fake import FakeImages
from banana_delivery.model_registry.base import ModelVersion, StagedVersion
from banana_delivery.model_registry.fake import FakeRegistry
from banana_delivery.policy.asset_records import TestRow
from banana_delivery.policy.model import ImageRef
from banana_delivery.policy.outcomes import RegistryMark
from banana_delivery.policy.quality.matching import Matches
from banana_delivery.policy.staged_versions import Wish
from tests.chaos.faults import Machine

IMAGES = 1000


class SimulatedRegistry(FakeRegistry):
    """The model registry."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def copy_from(self, other: SimulatedRegistry) -> None:
        """Know what another one knows."""
        for version in other._versions:
            self.publish(b"weights")
            self._versions[version].stage = other._versions[version].stage
            self._versions[version].tags = dict(other._versions[version].tags)
        self.aliases = dict(other.aliases)

    def staged(self) -> list[StagedVersion]:
        with self._call("staged", changes=False):
            return super().staged()

    def describe(self, version: str) -> ModelVersion:
        with self._call(f"describe {version}", changes=False):
            return super().describe(version)

    def download(self, version: str, to: Path) -> Path:
        with self._call(f"download {version}", changes=False):
            return super().download(version, to)

    def mark(self, version: str, mark: RegistryMark) -> None:
        with self._call(f"mark {version} {mark.outcome}, production is {mark.serving}"):
            super().mark(version, mark)

    def answer(self, version: str, wish: Wish, sentence: str) -> None:
        with self._call(f"answer {wish} of {version}"):
            super().answer(version, wish, sentence)

    def _call(self, what: str, *, changes: bool = True) -> AbstractContextManager[object]:
        return self._machine.call("registry", f"registry.{what}", RegistryError, changes=changes)


@dataclass
class SimulatedImages(FakeImages):
    """The image store."""

    machine: Machine | None = None

    def copy_from(self, other: SimulatedImages) -> None:
        """Keep what another one keeps."""
        self._images = dict(other._images)

    def find(self, key: ImageKey) -> ImageRef | None:
        with self._call("find", changes=False):
            return super().find(key)

    def build(self, context: BuildContext, progress: Progress) -> BuiltImage:
        with self._call(f"build {context.version}"):
            return super().build(context, progress)

    def resolve(self, reference: str) -> ImageRef | None:
        with self._call("resolve", changes=False):
            return super().resolve(reference)

    def labels(self, ref: ImageRef) -> dict[str, str]:
        with self._call(f"labels {ref.version}", changes=False):
            return super().labels(ref)

    def tag(self, ref: ImageRef, tags: Collection[str]) -> None:
        with self._call(f"tag {ref.version} {' '.join(sorted(tags))}"):
            super().tag(ref, tags)

    def prune(self, keep_versions: int, in_use: Callable[[], Collection[str]], *, dry_run: bool) -> list[PruneDecision]:
        with self._call("prune"):
            return super().prune(keep_versions, in_use, dry_run=dry_run)

    def self_test(self, ref: ImageRef) -> dict[str, object]:
        with self._call(f"self_test {ref.version}", changes=False):
            return super().self_test(ref)

    def _call(self, what: str, *, changes: bool = True) -> AbstractContextManager[object]:
        assert self.machine is not None
        return self.machine.call("images", f"images.{what}", ImageError, changes=changes)


@dataclass
class SimulatedEvaluator(FakeEvaluator):
    """Evidence, the same for every version that is not broken."""

    machine: Machine | None = None

    def tests(self, release: ReleaseEndpoint, log: Log) -> list[TestRow]:
        with self._call(f"tests {release.ref.version}"):
            return super().tests(release, log)

    def answers(
        self, release: ReleaseEndpoint, log: Log, *, fresh: bool, first: int = 0, said: Matches | None = None
    ) -> Matches:
        with self._call(f"answers {release.ref.version}"):
            return _answers()

    @contextmanager
    def probe(self, url: str, token: str = "") -> Iterator[FakeLoad]:
        with super().probe(url, token) as load:
            yield load

    def _call(self, what: str) -> AbstractContextManager[object]:
        assert self.machine is not None
        return self.machine.call("evaluation", f"evaluator.{what}", EvaluationError, changes=False)


@cache
def _answers() -> Matches:
    return matches(np.arange(IMAGES) % 10 != 0)
