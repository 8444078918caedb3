"""A registry in memory, for tests: it passes the contract of the real ones and can be told to be down."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from typing_extensions import override

from banana_delivery.errors import MissingCheckpointError, RegistryError, UnknownVersionError
from banana_delivery.model_registry.base import ModelRegistry, ModelVersion, StagedVersion
from banana_delivery.model_registry.checkpoint import CHECKPOINT_NAME, SIGNATURE_NAME
from banana_delivery.model_registry.transitions import (
    STAGED,
    DropAlias,
    SetAlias,
    SetStage,
    is_staged_alias,
    mark_tags,
    shortened,
    steps,
    wishes,
)
from banana_delivery.names import ANSWER_TAG, WISH_TAG_PREFIX
from banana_delivery.policy.outcomes import RegistryMark
from banana_delivery.policy.staged_versions import Wish


@dataclass
class _Kept:
    checkpoint: bytes | None
    signature: bytes | None
    metrics: dict[str, float]
    created_at: float
    moved_at: float
    stage: str = "None"
    tags: dict[str, str] = field(default_factory=dict)


class FakeRegistry(ModelRegistry):
    """Model versions in a dictionary. Its clock is a counter: every change happens one second after the one before."""

    def __init__(self, model_name: str = "banana_sigatoka_detector") -> None:
        self.model_name = model_name
        self.aliases: dict[str, str] = {}
        self._versions: dict[str, _Kept] = {}
        self._clock = count(1_700_000_000)
        self._numbers = count(1)
        self._down = False
        self._unmounted = False

    def publish(
        self, checkpoint: bytes | None, metrics: dict[str, float] | None = None, signature: bytes | None = None
    ) -> str:
        """Add a version, with or without a ``best.pt`` and a ``model.sig``, and return its number."""
        version = str(next(self._numbers))
        now = float(next(self._clock))
        self._versions[version] = _Kept(checkpoint, signature, metrics=metrics or {}, created_at=now, moved_at=now)
        return version

    def stage(self, version: str, stage: str = STAGED, at: float | None = None) -> None:
        """Move a version to a stage, as a person does in the registry's pages; ``at`` sets the registry's clock."""
        if at is not None:
            self._clock = count(int(at))
        kept = self._kept(version)
        kept.stage, kept.moved_at = stage, float(next(self._clock))

    def alias(self, version: str, alias: str = "staging") -> None:
        """Make an alias point at a version."""
        self._kept(version)
        self.aliases[alias] = version

    def write(self, version: str, tag: str, value: str) -> None:
        """Write a tag beside a version, as a person does in the registry's pages."""
        self._kept(version).tags[tag] = value

    def go_down(self) -> None:
        """Answer nothing from now on."""
        self._down = True

    def come_back(self) -> None:
        """Answer again, with everything as it was."""
        self._down = False

    def delete(self, version: str) -> None:
        """Delete a version with its aliases, as MLflow does."""
        del self._versions[version]
        self.aliases = {alias: target for alias, target in self.aliases.items() if target != version}

    def unmount_artifacts(self) -> None:
        """From now on the store lists nothing, as an artifact volume does that is not mounted."""
        self._unmounted = True

    def mount_artifacts(self) -> None:
        """List the artifacts again, as they were."""
        self._unmounted = False

    @override
    def staged(self) -> list[StagedVersion]:
        self._answer()
        by_alias = {version for alias, version in self.aliases.items() if is_staged_alias(alias)}
        staged = [
            StagedVersion(
                version=version,
                staged_at=kept.moved_at if kept.stage == STAGED else kept.created_at,
                by_stage=kept.stage == STAGED,
                by_alias=version in by_alias,
                wishes=wishes(kept.tags),
            )
            for version, kept in self._versions.items()
            if kept.stage == STAGED or version in by_alias
        ]
        return sorted(staged, key=lambda one: (one.staged_at, int(one.version)))

    @override
    def describe(self, version: str) -> ModelVersion:
        number = self._number(version)
        kept = self._kept(number)
        return ModelVersion(
            name=self.model_name,
            version=number,
            run_id=f"run-{number}",
            source=f"memory://{number}",
            stage=kept.stage,
            aliases=tuple(sorted(alias for alias, target in self.aliases.items() if target == number)),
            tags=dict(kept.tags),
            metrics=dict(kept.metrics),
            created_at=kept.created_at,
        )

    @override
    def download(self, version: str, to: Path) -> Path:
        number = self._number(version)
        checkpoint = self._kept(number).checkpoint
        if self._unmounted:
            raise RegistryError(f"The artifacts of version {number} are not there at all: call mount_artifacts().")
        if checkpoint is None:
            raise MissingCheckpointError(f"There is no {CHECKPOINT_NAME} in version {number}: publish it with one.")
        to.mkdir(parents=True, exist_ok=True)
        path = to / CHECKPOINT_NAME
        path.write_bytes(checkpoint)
        return path

    @override
    def signature(self, version: str, to: Path) -> Path | None:
        self.download(version, to)
        content = self._kept(self._number(version)).signature
        if content is None:
            return None
        path = to / SIGNATURE_NAME
        path.write_bytes(content)
        return path

    @override
    def mark(self, version: str, mark: RegistryMark) -> None:
        self._answer()
        if version in self._versions:
            self._versions[version].tags |= mark_tags(mark)
        stages = {number: kept.stage for number, kept in self._versions.items()}
        for step in steps(stages, self.aliases, version, mark):
            match step:
                case SetAlias(alias, target):
                    self.aliases[alias] = target
                case DropAlias(alias, _):
                    del self.aliases[alias]
                case SetStage(target, stage):
                    self.stage(target, stage)
        for one in (version, mark.serving):
            if one is not None:
                self._kept(one)

    @override
    def answer(self, version: str, wish: Wish, sentence: str) -> None:
        tags = self._kept(version).tags
        tags[ANSWER_TAG] = shortened(sentence)
        tags.pop(f"{WISH_TAG_PREFIX}{wish}", None)

    @override
    def url(self, version: str) -> str:
        """An address that nothing answers."""
        return f"memory://{self.model_name}/{version}"

    def _answer(self) -> None:
        if self._down:
            raise RegistryError("The registry in memory was told to be down: call come_back().")

    def _number(self, version: str) -> str:
        return max(self._versions, key=int, default="latest") if version == "latest" else version

    def _kept(self, version: str) -> _Kept:
        self._answer()
        try:
            return self._versions[version]
        except KeyError:
            known = ", ".join(self._versions) or "none"
            raise UnknownVersionError(f"The registry in memory has no version '{version}': it has {known}.") from None
