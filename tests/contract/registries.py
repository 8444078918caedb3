"""What people and training pipelines do to a registry, spelled for each kind, so that one suite can ask it of all."""

from __future__ import annotations

import shutil
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from mlflow import MlflowClient

from banana_delivery.model_registry.base import ModelRegistry
from banana_delivery.model_registry.fake import FakeRegistry
from banana_delivery.model_registry.mlflow import MlflowRegistry


class PipelineHarness(ABC):
    """A registry and the people around it."""

    registry: ModelRegistry

    @abstractmethod
    def publish(self, checkpoint: bytes | None = b"weights", *, signature: bytes | None = None) -> str:
        """A training pipeline registers a version, with or without a signature beside its checkpoint."""

    @abstractmethod
    def stage(self, version: str, stage: str = "Staging") -> None:
        """A person moves a version to a stage."""

    @abstractmethod
    def alias(self, version: str, alias: str = "staging") -> None:
        """A person points an alias at a version."""

    @abstractmethod
    def write(self, version: str, tag: str, value: str) -> None:
        """A person writes a tag beside a version."""

    @abstractmethod
    def delete(self, version: str) -> None:
        """A person deletes a version."""

    @abstractmethod
    def lose_artifacts(self) -> None:
        """The place of all artifacts is there no more, as a volume that is not mounted."""

    @abstractmethod
    def unreachable(self) -> ModelRegistry:
        """The same registry, which answers no more."""


class FakeWorld(PipelineHarness):
    def __init__(self) -> None:
        self.registry: FakeRegistry = FakeRegistry()

    def publish(self, checkpoint: bytes | None = b"weights", *, signature: bytes | None = None) -> str:
        return self.registry.publish(checkpoint, {"mAP50": 0.5}, signature)

    def stage(self, version: str, stage: str = "Staging") -> None:
        self.registry.stage(version, stage)

    def alias(self, version: str, alias: str = "staging") -> None:
        self.registry.alias(version, alias)

    def write(self, version: str, tag: str, value: str) -> None:
        self.registry.write(version, tag, value)

    def delete(self, version: str) -> None:
        self.registry.delete(version)

    def lose_artifacts(self) -> None:
        self.registry.unmount_artifacts()

    def unreachable(self) -> ModelRegistry:
        self.registry.go_down()
        return self.registry


class MlflowWorld(PipelineHarness):
    """A model of its own in an MLflow that other tests share, since making MLflow's tables takes seconds."""

    def __init__(self, tracking_uri: str, scratch: Path, name: str = "detector") -> None:
        self.name = f"{name}-{uuid4().hex[:8]}"
        self.registry: MlflowRegistry = MlflowRegistry(
            self.name, tracking_uri, artifact_roots=("s3://models", "s3://gone")
        )
        self.client = MlflowClient(tracking_uri)
        self.client.create_registered_model(self.name)
        # A server has its place for artifacts; without one MLflow would keep them in ./mlruns.
        place = (scratch / "artifacts").as_uri() if tracking_uri.startswith("sqlite") else None
        self.experiment = self.client.create_experiment(self.name, place)
        self._scratch = scratch

    def publish(
        self,
        checkpoint: bytes | None = b"weights",
        folder: str = "weights",
        *,
        signature: bytes | None = None,
        signed_at: str = "",
    ) -> str:
        run = self.client.create_run(self.experiment)
        self.client.log_metric(run.info.run_id, "mAP50", 0.5)
        file = self._scratch / ("best.pt" if checkpoint is not None else "notes.txt")
        file.write_bytes(checkpoint or b"no model here")
        self.client.log_artifact(run.info.run_id, str(file), folder)
        if signature is not None:
            beside = self._scratch / "model.sig"
            beside.write_bytes(signature)
            self.client.log_artifact(run.info.run_id, str(beside), signed_at or folder)
        self.client.set_terminated(run.info.run_id)
        return self.register(f"runs:/{run.info.run_id}", run.info.run_id)

    def register(self, source: str, run_id: str | None = None) -> str:
        return str(self.client.create_model_version(self.name, source, run_id, await_creation_for=0).version)

    def stage(self, version: str, stage: str = "Staging") -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.client.transition_model_version_stage(self.name, version, stage)

    def alias(self, version: str, alias: str = "staging") -> None:
        self.client.set_registered_model_alias(self.name, alias, version)

    def write(self, version: str, tag: str, value: str) -> None:
        self.client.set_model_version_tag(self.name, version, tag, value)

    def delete(self, version: str) -> None:
        self.client.delete_model_version(self.name, version)

    def lose_artifacts(self) -> None:
        place = self.client.get_experiment(self.experiment).artifact_location
        shutil.rmtree(urlsplit(place).path)

    def unreachable(self) -> ModelRegistry:
        return MlflowRegistry(self.name, "http://127.0.0.1:9")


def sqlite_mlflow(folder: Path) -> str:
    """Make the tables of an MLflow in ``folder`` and return its address."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's SQL store warns about itself while it is imported
        MlflowClient(uri).search_registered_models()
    return uri
