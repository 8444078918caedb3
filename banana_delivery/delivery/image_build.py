"""What a version's image is built from, and whether building it again gives the same.

Which images somebody needs: what retention may not take away.

The git revision of the serving code, for tags and labels.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Collection
from pathlib import Path

import dagster as dg

from banana_delivery.defs.resources import Services
from banana_delivery.errors import ImageError
from banana_delivery.images.base import BuildContext, Parity, Progress
from banana_delivery.policy.asset_records import ArtifactRecord, ImageRecord
from banana_delivery.policy.model import COLOURS, ImageRef
from banana_delivery.policy.outcomes import served_since
from banana_delivery.runs.audit_log import AuditLog
from banana_delivery.settings import PROJECT_ROOT

SERVING_CODE = PROJECT_ROOT / "serving"
SERVING_LOCK = PROJECT_ROOT / "requirements" / "serving.txt"


def build_context(history: AuditLog, version: str) -> BuildContext:
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


def image_of(history: AuditLog, version: str) -> ImageRecord:
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
    history = AuditLog(instance)
    original = image_of(history, version).ref
    return services.images.rebuild(build_context(history, version), original, progress)


DAY_SECONDS = 86_400


def in_use(instance: dg.DagsterInstance, services: Services, *about_to: ImageRef) -> Collection[str]:
    """Digests that an environment runs, that production served within the rollback window, or that are next."""
    records = [services.target.record(environment) for environment in COLOURS]
    deployed = {deployment.image.digest for record in records for deployment in record.deployments.values()}
    candidates = {record.candidate.digest for record in records if record.candidate}
    since = time.time() - services.settings.rollback_window_days * DAY_SECONDS
    served = served_since(AuditLog(instance).attempts(), since)
    return deployed | candidates | served | {ref.digest for ref in about_to}


def git_revision(directory: Path) -> str:
    """The short commit hash, or nothing where the code did not come by git."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
