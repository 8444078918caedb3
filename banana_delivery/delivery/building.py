"""What a version's image is built from, and whether building it again gives the same."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from banana_delivery.delivery.history import History
from banana_delivery.images.base import BuildContext, ImageError, Progress
from banana_delivery.images.parity import Parity
from banana_delivery.policy.releases import ArtifactRecord, ImageRecord
from banana_delivery.services import Services
from banana_delivery.settings import PROJECT_ROOT

SERVING_CODE = PROJECT_ROOT / "serving"
SERVING_LOCK = PROJECT_ROOT / "requirements" / "serving.txt"


def build_context(history: History, version: str) -> BuildContext:
    """The version's model with today's serving code and lock.

    Raises:
        ImageError: if the version has no model yet.
    """
    artifact = history.latest(ArtifactRecord, "model_artifact", version)
    if artifact is None:
        raise ImageError(
            f"Version {version} has no model artifact yet; deliver it as a whole: banana-delivery deliver {version}"
        )
    return BuildContext(
        model_directory=Path(artifact.directory),
        code_directory=SERVING_CODE,
        lock_file=SERVING_LOCK,
        version=version,
        labels={
            "banana.mlflow_run": artifact.mlflow_run_id,
            "banana.checkpoint_sha256": artifact.checkpoint_sha256,
        },
    )


def image_of(history: History, version: str) -> ImageRecord:
    """The image that a version was built into.

    Raises:
        ImageError: if there is none yet.
    """
    record = history.latest(ImageRecord, "image", version)
    if record is None:
        raise ImageError(
            f"Version {version} has no image yet; deliver it as a whole: banana-delivery deliver {version}"
        )
    return record


def rebuild(instance: dg.DagsterInstance, services: Services, version: str, progress: Progress) -> Parity:
    """Build a version's image once more and compare it with the one that was recorded; nothing of it is kept.

    Raises:
        ImageError: if the version has no image, or it is gone.
    """
    history = History(instance)
    original = image_of(history, version).ref
    return services.images.rebuild(build_context(history, version), original, progress)
