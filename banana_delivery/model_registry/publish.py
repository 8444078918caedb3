"""Publishing a checkpoint to MLflow as a training pipeline does.

A run holds parameters, metrics and ``weights/best.pt``; a version of the registered model points at it; the stage or
an alias then says that it may be delivered.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL_NAME = "banana_sigatoka_detector"
ARTIFACT_PATH = "weights"


def publish(
    checkpoint: Path,
    *,
    model_name: str = MODEL_NAME,
    metrics: Mapping[str, float],
    params: Mapping[str, Any],
    stage: str | None = "Staging",
    alias: str | None = None,
    tracking_uri: str | None = None,
) -> str:
    """Log a checkpoint in a run of its own, register it, and mark the version; return the version.

    Args:
        checkpoint: file to publish; it is logged as ``best.pt`` whatever its name.
        model_name: registered model; made if missing. The run's experiment has the same name.
        metrics: metrics of the run.
        params: parameters of the run.
        stage: stage to move the version to, or None.
        alias: alias to set on the version, or None.
        tracking_uri: MLflow server or store; None for what MLFLOW_TRACKING_URI says.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient  # takes seconds

    client = MlflowClient(tracking_uri)
    run_id = _log_run(client, model_name, checkpoint, metrics, params)
    _ensure_registered(client, model_name)
    version = client.create_model_version(model_name, f"runs:/{run_id}/{ARTIFACT_PATH}", run_id, await_creation_for=0)
    if stage is not None:
        _move_to_stage(client, model_name, version.version, stage)
    if alias is not None:
        client.set_registered_model_alias(model_name, alias, version.version)
    return str(version.version)


def _log_run(
    client: MlflowClient,
    experiment_name: str,
    checkpoint: Path,
    metrics: Mapping[str, float],
    params: Mapping[str, Any],
) -> str:
    experiment = client.get_experiment_by_name(experiment_name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(experiment_name)
    run_id = str(client.create_run(experiment_id).info.run_id)
    for key, value in params.items():
        client.log_param(run_id, key, value)
    for key, value in metrics.items():
        client.log_metric(run_id, key, value)
    with tempfile.TemporaryDirectory() as folder:
        client.log_artifact(run_id, shutil.copy(checkpoint, Path(folder) / "best.pt"), ARTIFACT_PATH)
    client.set_terminated(run_id)
    return run_id


def _ensure_registered(client: MlflowClient, model_name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _move_to_stage(client: MlflowClient, model_name: str, version: str, stage: str) -> None:
    with warnings.catch_warnings():
        # Stages are deprecated in MLflow, and teams still deliver by them.
        warnings.filterwarnings("ignore", message=".*transition_model_version_stage", category=FutureWarning)
        client.transition_model_version_stage(model_name, version, stage)
