"""Which sources are asked, and so which hosts see MLflow's login and which paths are opened."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from banana_delivery.errors import RegistryRefusedError
from banana_delivery.model_registry import artifacts
from banana_delivery.model_registry.roots import refusal

SERVER = "https://somebody:secret@mlflow.example/base"
OWN = ("s3://models/7/abc/artifacts", "/srv/mlflow/7")
ALLOWED = ("s3://shared/models", "wasbs://models@account.example/yolo")


@pytest.mark.parametrize(
    "uri",
    [
        "runs:/abc/model",
        "models:/detector/3",
        "mlflow-artifacts:/7/abc/artifacts",
        "mlflow-artifacts:///7/abc/artifacts",
        "mlflow-artifacts://mlflow.example/7/abc",
        "https://mlflow.example/api/2.0/mlflow-artifacts/artifacts/7",
        "https://MLFLOW.example:443/api/2.0/mlflow-artifacts/artifacts/7",
        "s3://models/7/abc/artifacts/weights",
        "file:///srv/mlflow/7/weights/best.pt",
        "/srv/mlflow/7",
        "s3://shared/models/deep/best.pt",
        "wasbs://models@account.example/yolo/1",
    ],
)
def test_what_lies_with_mlflow_or_was_named_is_read(uri: str) -> None:
    assert refusal(uri, SERVER, OWN, ALLOWED) == ""


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/api/2.0/mlflow-artifacts/artifacts/7",
        "http://mlflow.example/api/2.0/mlflow-artifacts/artifacts/7",  # without TLS
        "https://mlflow.example:8443/7",
        "https://mlflow.example@evil.example/7",
        "https://mlflow.example.evil.example/7",
        "https://evil.example\\@mlflow.example/7",
        "mlflow-artifacts://evil.example/7",
        "MLFLOW-ARTIFACTS://evil.example:443/7",
        "HTTPS://evil.example/7",
        "models://evil.example/detector/3",
        "runs://evil.example/abc",
        "s3://other/7/abc/artifacts",
        "s3://models/7/abc/artifacts-of-others",
        "s3://models/7/abc/artifacts/../../../8",
        "s3://models/7/abc/artifacts/%2e%2e/%2e%2e/8",
        "file:///etc",
        "/root/.banana",
        "file:///srv/mlflow/7/../8",
        "ftp://evil.example/7",
        "sftp://evil.example/7",
        "hdfs://evil.example/7",
        "abfss://models@evil.example/7",
        "wasbs://models@evil.example/yolo",
        "dbfs:/7",
        "s3://shared/models-of-others",
        "",
    ],
)
def test_what_lies_elsewhere_is_not_asked(uri: str) -> None:
    why = refusal(uri, SERVER, OWN, ALLOWED)
    assert why
    assert "secret" not in why


def test_another_host_is_not_asked_even_if_it_was_named_since_the_login_would_go_with_it() -> None:
    assert refusal("https://evil.example/7", SERVER, OWN, ("https://evil.example/7",))


@pytest.mark.parametrize("run_root", ["https://evil.example/7/abc", "mlflow-artifacts://evil.example:80/7/abc"])
@pytest.mark.parametrize("source", ["{root}/model", "runs:/abc/model"])
def test_no_login_goes_to_a_host_that_a_version_names_itself_or_by_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, run_root: str
) -> None:
    """A run's place is chosen by whoever makes its experiment."""
    import requests

    asked: list[str] = []
    monkeypatch.setattr(requests.Session, "request", lambda _, method, url, **__: asked.append(url))
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-token")
    from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository

    monkeypatch.setattr(RunsArtifactRepository, "get_underlying_uri", lambda *_: f"{run_root}/model")
    run = SimpleNamespace(info=SimpleNamespace(artifact_uri=run_root, experiment_id="7"))
    experiment = SimpleNamespace(artifact_location=run_root)
    client: Any = SimpleNamespace(
        tracking_uri="https://mlflow.example", get_run=lambda _: run, get_experiment=lambda _: experiment
    )
    with pytest.raises(RegistryRefusedError, match="so nothing was asked there") as caught:
        place = artifacts.Place(source.format(root=run_root), "abc", "version 1")
        artifacts.download(client, place, tmp_path, ("https://evil.example",))
    assert asked == []
    assert "a-token" not in str(caught.value)
