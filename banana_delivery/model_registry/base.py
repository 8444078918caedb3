"""What the pipeline needs from the model registry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from banana_delivery.policy.model import Model
from banana_delivery.policy.outcomes import RegistryMark
from banana_delivery.policy.staged_versions import Wish


class StagedVersion(Model):
    """A version that somebody asked to have delivered, by stage "Staging", by alias ``staging``, or by both.

    Attributes:
        version: MLflow model version, as text.
        staged_at: when the registry last moved it, seconds since the epoch.
        by_stage: whether its stage is "Staging".
        by_alias: whether the alias ``staging`` points at it.
        wishes: what people wrote beside it and nobody has answered yet, with their reasons.
    """

    version: str
    staged_at: float
    by_stage: bool
    by_alias: bool
    wishes: Mapping[Wish, str] = {}


class ModelVersion(Model):
    """What the registry knows about a version.

    Attributes:
        name: registered model.
        version: number, as text.
        run_id: MLflow run that made it; empty if none is recorded.
        source: URI of its artifacts.
        stage: "None", "Staging", "Production" or "Archived".
        aliases: aliases that point at it.
        tags: its tags.
        metrics: its run's metrics; empty without a run.
        created_at: seconds since the epoch.
    """

    name: str
    version: str
    run_id: str
    source: str
    stage: str
    aliases: tuple[str, ...]
    tags: dict[str, str]
    metrics: dict[str, float]
    created_at: float


class ModelRegistry(ABC):
    """A model registry. Every implementation passes ``tests/contract/test_model_registry.py``."""

    @abstractmethod
    def staged(self) -> list[StagedVersion]:
        """The versions that somebody wants delivered, oldest staging first; a bounded number of calls.

        Raises:
            RegistryUnreadError: if it takes more looks to know them; this one told nothing, the next one goes on.
            RegistryError: if the registry cannot be reached.
        """

    @property
    def memory(self) -> str:
        """What the looks for staged versions learned, for ``recall`` of another process; empty for nothing."""
        return ""

    def recall(self, memory: str) -> None:  # noqa: B027 - most have nothing to recall
        """Go on where another process ended, however long ago, unless this one looked already."""

    @abstractmethod
    def describe(self, version: str) -> ModelVersion:
        """One version; ``latest`` means the highest number.

        Raises:
            UnknownVersionError: if there is no such version.
            RegistryError: if the registry cannot be reached.
        """

    @abstractmethod
    def download(self, version: str, to: Path) -> Path:
        """Fetch the version's ``best.pt`` into the directory ``to``, whole or not at all, and return its path.

        Raises:
            UnknownVersionError: if there is no such version.
            MissingCheckpointError: if it is proven that its artifacts hold no ``best.pt``, or several.
            RegistryError: if the artifacts cannot be reached, are not there at all, or did not arrive whole: nothing
                is known about the version then.
        """

    @abstractmethod
    def signature(self, version: str, to: Path) -> Path | None:
        """Fetch the ``model.sig`` that lies beside the version's ``best.pt``, or in a folder above it, the nearest one.

        Returns:
            Its path, below the directory ``to``; None if it is proven that there is none.

        Raises:
            UnknownVersionError: if there is no such version.
            MissingCheckpointError: if it is proven that there is no ``best.pt`` either.
            RegistryError: if the artifacts cannot be reached or did not arrive whole: nothing is known then.
        """

    @abstractmethod
    def mark(self, version: str, mark: RegistryMark) -> None:
        """Write an outcome back: tags, stages and aliases, so that the registry says what really serves. Idempotent.

        Raises:
            UnknownVersionError: if the version, or the one that serves, was deleted: all that exists says the truth
                now, and there is nothing left to tell the registry, though somebody may want to know.
            RegistryRefusedError: if this account may not write.
            RegistryError: if the registry cannot be reached, so that something is left to tell.
        """

    @abstractmethod
    def answer(self, version: str, wish: Wish, sentence: str) -> None:
        """Say beside the version what became of a wish, which is taken away: it counts once. Idempotent.

        Raises:
            UnknownVersionError: if the version was deleted.
            RegistryRefusedError: if this account may not write.
            RegistryError: if the registry cannot be reached.
        """

    @abstractmethod
    def url(self, version: str) -> str:
        """Where a person looks at the version; empty if the registry has no pages."""
