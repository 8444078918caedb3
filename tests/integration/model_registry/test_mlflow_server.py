"""The MLflow adapter against a server process, over every kind of source that MLflow resolves."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import httpx
import pytest

from banana_delivery.errors import MissingCheckpointError, RegistryError
from banana_delivery.model_registry import stages
from banana_delivery.model_registry.mlflow import MlflowRegistry
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outcomes import RegistryMark
from tests.contract.registries import MlflowWorld

CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def pipeline(mlflow_server: str, tmp_path: Path) -> MlflowWorld:
    return MlflowWorld(mlflow_server, tmp_path)


def test_a_version_travels_from_staging_to_production_over_http(pipeline: MlflowWorld, tmp_path: Path) -> None:
    old, new = pipeline.publish(), pipeline.publish(CONTENT)
    pipeline.stage(old, "Production")
    pipeline.stage(new)
    pipeline.alias(new)
    [staged] = pipeline.registry.staged()
    assert (staged.version, staged.by_stage, staged.by_alias) == (new, True, True)
    assert pipeline.registry.download(new, tmp_path / "to").read_bytes() == CONTENT  # mlflow-artifacts:, by the server
    pipeline.registry.mark(
        new, RegistryMark(outcome=Outcome.RELEASED, reason="100 %", clear_staging=True, serving=new, run_id="r")
    )
    described = pipeline.registry.describe(new)
    assert (described.stage, described.aliases) == ("Production", ("production",))
    assert described.tags["banana.digest"] == ""
    assert described.tags["banana.at"].endswith("+00:00")
    assert pipeline.registry.describe(old).stage == "Archived"
    assert pipeline.registry.staged() == []


def test_stagings_beyond_one_part_are_found(pipeline: MlflowWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = [pipeline.register("s3://models/unread") for _ in range(5)]
    pipeline.stage(versions[0])
    pipeline.alias(versions[1], "STAGING")
    pipeline.stage(versions[4])
    monkeypatch.setattr(stages, "PART", 2)
    monkeypatch.setattr(stages, "READING_SECONDS", 60.0)  # A busy server may need a second look otherwise.
    assert {one.version for one in pipeline.registry.staged()} == {*versions[:2], versions[4]}


@pytest.mark.parametrize("source", ["{run}", "{run}/weights", "{run}/weights/best.pt", "{run}/weights/"])
def test_a_run_is_a_source_whole_in_part_or_by_file(pipeline: MlflowWorld, tmp_path: Path, source: str) -> None:
    run = pipeline.registry.describe(pipeline.publish(CONTENT))
    version = pipeline.register(source.format(run=run.source), run.run_id)
    assert pipeline.registry.download(version, tmp_path / "to").read_bytes() == CONTENT


@pytest.mark.parametrize("below", ["", "/weights", "/weights/best.pt"])
def test_a_folder_that_server_and_client_share_is_a_source(pipeline: MlflowWorld, tmp_path: Path, below: str) -> None:
    pipeline.experiment = pipeline.client.create_experiment(f"{pipeline.name}-files", f"file://{tmp_path}/shared")
    run = pipeline.registry.describe(pipeline.publish(CONTENT)).run_id
    version = pipeline.register(f"{pipeline.client.get_run(run).info.artifact_uri}{below}", run)
    assert pipeline.registry.describe(version).source.startswith("file:///")
    assert pipeline.registry.download(version, tmp_path / "to").read_bytes() == CONTENT


def test_another_version_is_a_source(pipeline: MlflowWorld, tmp_path: Path) -> None:
    version = pipeline.register(f"models:/{pipeline.name}/{pipeline.publish(CONTENT)}")
    assert pipeline.registry.download(version, tmp_path / "to").read_bytes() == CONTENT


@pytest.mark.parametrize("source", ["s3://models/run", "s3://models/run/deep/best.pt"])
def test_a_bucket_is_a_source(pipeline: MlflowWorld, bucket: str, tmp_path: Path, source: str) -> None:
    s3 = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
    s3.put_object(Bucket="models", Key="run/deep/best.pt", Body=CONTENT)
    version = pipeline.register(source)
    assert pipeline.registry.download(version, tmp_path / "to").read_bytes() == CONTENT


@pytest.mark.parametrize("source", ["s3://models/empty", "s3://models/empty/best.pt", "s3://gone/run"])
def test_a_bucket_without_the_checkpoint_is_one_sentence(
    pipeline: MlflowWorld, bucket: str, tmp_path: Path, source: str
) -> None:
    with pytest.raises(RegistryError, match=r"version 1 of model") as caught:
        pipeline.registry.download(pipeline.register(source), tmp_path / "to")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("to/**/*"))


def test_two_checkpoints_are_not_guessed_between(pipeline: MlflowWorld, tmp_path: Path) -> None:
    run = pipeline.client.create_run(pipeline.experiment).info.run_id
    for folder in ("a", "b"):
        (tmp_path / "best.pt").write_bytes(b"x")
        pipeline.client.log_artifact(run, str(tmp_path / "best.pt"), folder)
    with pytest.raises(MissingCheckpointError, match=r"a/best\.pt, b/best\.pt"):
        pipeline.registry.download(pipeline.register(f"runs:/{run}", run), tmp_path / "to")


def test_a_source_that_is_gone_is_one_sentence(pipeline: MlflowWorld, tmp_path: Path) -> None:
    run = pipeline.registry.describe(pipeline.publish(CONTENT)).run_id
    with pytest.raises(MissingCheckpointError, match="register the version"):
        pipeline.registry.download(pipeline.register(f"runs:/{run}/elsewhere", run), tmp_path / "to")


def test_the_page_of_a_version_is_on_the_server(pipeline: MlflowWorld) -> None:
    url = pipeline.registry.url("3")
    assert url == f"{pipeline.registry.tracking_uri}/#/models/{pipeline.name}/versions/3"
    assert httpx.get(url).is_success


def test_a_password_in_the_address_is_never_said(mlflow_server: str) -> None:
    registry = MlflowRegistry("m", "http://somebody:secret@127.0.0.1:9")
    with pytest.raises(RegistryError) as caught:
        registry.staged()
    assert "secret" not in str(caught.value) + registry.url("1")


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_hangs_is_given_up(silent_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    caught: list[str] = []

    def ask() -> None:
        with pytest.raises(RegistryError, match="did not answer") as error:
            MlflowRegistry("m", silent_server).staged()
        caught.append(str(error.value))

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(timeout=30)
    assert caught


def test_the_adapter_does_not_import_mlflow_before_it_is_used() -> None:
    program = (
        "import sys; from banana_delivery.model_registry.mlflow import MlflowRegistry; "
        "MlflowRegistry('m', 'http://127.0.0.1:9').url('1'); "
        "sys.exit(any(name in sys.modules for name in ('mlflow', 'boto3', 'botocore')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
