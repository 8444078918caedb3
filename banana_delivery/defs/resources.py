"""What the assets, checks, sensors and the command line work with, as one Dagster resource."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from banana_delivery.delivery.publish_outcome import OutcomePublisher, PendingMarks
from banana_delivery.evaluation.base import Evaluator, Log
from banana_delivery.export.export import Artifact
from banana_delivery.images.base import ImageStore
from banana_delivery.model_registry.base import ModelRegistry, ModelVersion
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget

Convert = Callable[[Path, Path, ModelVersion, Sequence[Path], Log], Artifact]
"""Checkpoint, directory for the result, whose it is, labelled images, progress: the exported model, proven alike."""


@dataclass(frozen=True)
class Services:
    """Every side effect of the pipeline. Tests replace single ones by their fakes.

    Attributes:
        settings: all settings.
        registry: where model versions come from.
        images: where images are built and kept.
        target: where releases run.
        evaluator: where measurements come from.
        notifier: how people are told.
        convert: how a checkpoint becomes what is served.
        sleep: how the rollout waits between two looks, in seconds.
    """

    settings: Settings
    registry: ModelRegistry
    images: ImageStore
    target: ReleaseTarget
    evaluator: Evaluator
    notifier: Notifier
    convert: Convert
    sleep: Callable[[float], None] = time.sleep

    @property
    def aftermath(self) -> OutcomePublisher:
        """What follows once an attempt is written down."""
        return OutcomePublisher(
            registry=self.registry,
            target=self.target,
            notifier=self.notifier,
            untold=PendingMarks(self.settings.home / "untold"),
            model=self.settings.model_name,
            dagster_url=self.settings.pages_url,
        )
