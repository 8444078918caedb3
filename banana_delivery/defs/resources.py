"""What the assets, checks, sensors and the command line touch outside of Dagster: one Dagster resource a system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property

from banana_delivery.delivery.evidence.asking import Questions
from banana_delivery.delivery.publish_outcome import OutcomePublisher, PendingMarks
from banana_delivery.delivery.record_attempt import AttemptRecorder
from banana_delivery.evaluation.base import Evaluator
from banana_delivery.evaluation.own_metrics.asking import HttpMetrics
from banana_delivery.evaluation.own_metrics.base import MetricSource
from banana_delivery.export.export import Artifact
from banana_delivery.images.base import ImageStore
from banana_delivery.model_registry.base import ModelRegistry
from banana_delivery.model_registry.webhooks.bell import Bell, NoBell
from banana_delivery.notifications.notifier import Notifier
from banana_delivery.policies.reading import PolicyFile
from banana_delivery.reports.plots import Plots
from banana_delivery.runs.code_location import ROLLOUT_LOG, CodeLocation
from banana_delivery.runs.evidence.invitations import inviting
from banana_delivery.settings import Settings
from banana_delivery.targets.base import ReleaseTarget
from banana_delivery.waiting import Clock

Exporter = Callable[..., Artifact]
"""Checkpoint, directory for the result, whose it is, labelled images, progress: the exported model, proven alike. By
name, where they are known: ``judged`` and ``judged_by``, the classes that labelled images show."""


@dataclass(frozen=True)
class Resources:
    """Every side effect of the pipeline. Tests replace single ones by their fakes.

    Attributes:
        settings: all settings.
        model_registry: where model versions come from.
        exporter: how a checkpoint becomes what is served.
        image_store: where images are built and kept.
        release_target: where releases run.
        evaluator: where measurements come from.
        notifier: how people are told.
        plots: how pictures are drawn.
        clock: how time passes between two polls of a rollout.
        metric_source: knows the figures of the team's own metrics.
        metric_questions: for these, in the watch: one goes on from a sensor's tick to the next.
        bell: rings when the registry may have something new.
    """

    settings: Settings
    model_registry: ModelRegistry
    exporter: Exporter
    image_store: ImageStore
    release_target: ReleaseTarget
    evaluator: Evaluator
    notifier: Notifier
    plots: Plots
    clock: Clock
    metric_source: MetricSource = field(default_factory=HttpMetrics)
    metric_questions: Questions = field(default_factory=Questions)
    bell: Bell = field(default_factory=NoBell)

    @cached_property
    def policy_file(self) -> PolicyFile:
        """The release policy that the settings name; read when it is first asked for, as a rollback never does."""
        return PolicyFile(self.settings.policy_source)

    @property
    def publisher(self) -> OutcomePublisher:
        """What follows once an attempt is on record."""
        return OutcomePublisher(
            registry=self.model_registry,
            target=self.release_target,
            notifier=self.notifier,
            pending=PendingMarks(self.settings.home / "untold"),
            model=self.settings.model_name,
            dagster_url=self.settings.pages_url,
            log_asset="/".join(CodeLocation.of(self.settings).key(ROLLOUT_LOG).path),
            reports=self.settings.home / "reports",
            invite=inviting(self.settings),
        )

    @property
    def recorder(self) -> AttemptRecorder:
        """How attempts are put on record."""
        return AttemptRecorder(
            self.settings, self.release_target, self.publisher, self.plots, self.clock, self.policy_file
        )

    def by_key(self) -> dict[str, object]:
        """The resources by the names under which Dagster hands them out."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**parts, "recorder": self.recorder}
