"""The pipeline's test world with a real cluster at its edge: real replicas, a real Gateway, a real probe."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from banana_delivery.evaluation.fake import FakeEvaluator
from banana_delivery.evaluation.labelled_images import LabelledImage
from banana_delivery.evaluation.probe import Probe, as_probe
from banana_delivery.images.base import BuildContext, BuiltImage, Progress
from banana_delivery.images.fake import FakeImages
from banana_delivery.policy.model import Colour, Environment, ImageRef, Phase
from banana_delivery.targets.kubernetes.target import KubernetesTarget
from banana_delivery.waiting import SystemClock
from tests.cluster.cluster import PRODUCTION, Cluster
from tests.cluster.load import IMAGE
from tests.support.phases import PhaseHook, Watched
from tests.support.pipeline import PipelineHarness, open_pipeline

LEAF = LabelledImage(
    name="leaf.jpg",
    jpeg=IMAGE,
    width=1,
    height=1,
    boxes=np.empty((0, 4)),
    classes=np.empty(0, np.int64),
    class_names=("streak",),
)


class WatchedCluster(Watched, KubernetesTarget):
    """The target that is tested, watched."""


@dataclass
class ProbingEvidence(FakeEvaluator):
    """Whatever is asked about quality is as good as a test says; the probe asks real replicas."""

    @contextmanager
    def probe(self, url: str, token: str = "") -> Iterator[Probe]:  # type: ignore[override]
        """See ``Evaluator``."""
        with Probe(url, [LEAF], headers=as_probe(token)) as probe:
            yield probe


@dataclass
class PushedImages(FakeImages):
    """Builds nothing: every version gets an image that is in the registry already, and not in production.

    Attributes:
        pushed: two of them will do.
        live: the digest in production.
    """

    pushed: Sequence[ImageRef] = ()
    live: Callable[[], str] = str

    def build(self, context: BuildContext, progress: Progress) -> BuiltImage:
        """See ``ImageStore``."""
        built = super().build(context, progress)
        image = self._images.pop(built.ref.digest)
        live = self.live()
        pushed = next(ref for ref in self.pushed if ref.digest != live)
        image.ref = pushed.replace(version=context.version, key=built.ref.key)
        self._images[pushed.digest] = image
        return replace(built, ref=image.ref)


@dataclass
class ClusterWorld:
    """A world that releases to a cluster.

    Attributes:
        pipeline: the pipeline, and the edges that are not the cluster.
        cluster: where it releases to.
    """

    pipeline: PipelineHarness
    cluster: Cluster

    def connect(self, **settings: str) -> WatchedCluster:
        """Give the pipeline a target with connections of its own, as every process has."""
        made = self.cluster.target("gateway", **settings)
        target = WatchedCluster(made.sites)
        target.watch()
        self.pipeline.target = target  # type: ignore[assignment]
        self.pipeline.change(release_target=target)
        return target

    @contextmanager
    def reconnecting(self) -> Iterator[None]:
        """Afterwards the pipeline is connected as ever."""
        try:
            yield
        finally:
            self.connect()

    @contextmanager
    def pushing(self, *pushed: ImageRef) -> Iterator[None]:
        """Versions get other images."""
        images = self.pipeline.resources.image_store
        assert isinstance(images, PushedImages)
        before, images.pushed = images.pushed, pushed
        try:
            yield
        finally:
            images.pushed = before

    @contextmanager
    def setting(self, **values: float) -> Iterator[None]:
        """The pipeline has other settings."""
        before = self.pipeline.resources.settings
        self.pipeline.change(settings=before.model_copy(update=values))
        try:
            yield
        finally:
            self.pipeline.change(settings=before)

    def live(self) -> str:
        """The digest in production; empty before the first release."""
        live = self.pipeline.resources.release_target.record(PRODUCTION).live
        return live.digest if live else ""

    @property
    def candidate_colour(self) -> Colour:
        """The colour of production that the next or present candidate takes."""
        return self.pipeline.resources.release_target.record(PRODUCTION).idle

    def kill_at(self, hook: PhaseHook, version: str) -> None:
        """Deliver a version in a process of its own, which SIGKILL ends at a moment."""
        with warnings.catch_warnings():
            # Python 3.12 warns of forks beside threads; the child never comes back to whatever they hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                self.connect().at[hook] = lambda: os.kill(os.getpid(), signal.SIGKILL)
                self.pipeline.run_alone(version)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"The delivery of version {version} never came to {hook}."

    def is_at_rest(self, serving: str | None) -> None:
        """Nobody owns anything; the cluster routes all users to one colour, which serves this version."""
        target = self.pipeline.resources.release_target
        for environment in Environment:
            record = target.record(environment)
            assert (record.owner, record.phase) == (None, Phase.IDLE)
        record, observed = target.record(PRODUCTION), target.observed(PRODUCTION)
        assert (self.pipeline.serving, record.candidate) == (serving, None)
        assert observed.weights == record.resting_weights
        assert sorted(observed.weights.values()) == [0, 100]
        live = record.live
        assert live is not None
        assert record.active is not None
        assert observed.digests[record.active] == live.digest
        idle: Colour = record.idle
        assert observed.replicas.get(idle, 0) == 0 or record.scale_down_at is not None


@contextmanager
def open_cluster_world(home: Path, cluster: Cluster, pushed: Sequence[ImageRef]) -> Iterator[ClusterWorld]:
    """A world whose releases run on a cluster."""
    with open_pipeline(home) as pipeline:
        here = ClusterWorld(pipeline, cluster)
        pipeline.evaluator = ProbingEvidence()
        images = PushedImages(pushed=pushed, live=here.live, repository=pushed[0].repository)
        pipeline.change(evaluator=pipeline.evaluator, image_store=images, clock=SystemClock())
        here.connect()
        yield here
