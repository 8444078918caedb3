from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from banana_delivery.model_registry.publish import MODEL_NAME, publish
from banana_delivery.sample_data.models import sample_run
from examples import publish as publisher

# MLflow's own tables use what SQLAlchemy is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

METRICS = {"mAP50": 0.81}
PARAMS = {"epochs": 7, "seed": 3}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    file = tmp_path / "epoch-40.pt"
    file.write_bytes(b"weights of a model")
    return file


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        # A SQLite store keeps its artifacts below the working directory.
        patch.chdir(home)
        yield f"sqlite:///{home / 'mlflow.db'}"


@pytest.fixture(scope="module")
def client(store: str) -> MlflowClient:
    return MlflowClient(store)


def test_a_published_version_leads_to_its_checkpoint_and_its_run(
    store: str, client: MlflowClient, checkpoint: Path, tmp_path: Path
) -> None:
    version = publish(checkpoint, metrics=METRICS, params=PARAMS, tracking_uri=store)

    registered = client.get_model_version(MODEL_NAME, version)
    assert registered.source == f"runs:/{registered.run_id}/weights"
    run = client.get_run(str(registered.run_id))
    assert run.info.status == "FINISHED"
    assert run.data.metrics == METRICS
    assert run.data.params == {"epochs": "7", "seed": "3"}
    downloaded = client.download_artifacts(run.info.run_id, "weights/best.pt", str(tmp_path))
    assert Path(downloaded).read_bytes() == b"weights of a model"


def test_the_stage_is_the_default_way_to_stage(store: str, client: MlflowClient, checkpoint: Path) -> None:
    version = publish(checkpoint, model_name="by-stage", metrics=METRICS, params=PARAMS, tracking_uri=store)
    assert _stage(client, "by-stage", version) == "Staging"
    assert client.get_registered_model("by-stage").aliases == {}


def test_an_alias_stages_without_a_stage(store: str, client: MlflowClient, checkpoint: Path) -> None:
    name = "by-alias"
    version = publish(
        checkpoint, model_name=name, metrics=METRICS, params=PARAMS, stage=None, alias="staging", tracking_uri=store
    )
    assert _stage(client, name, version) == "None"
    assert str(client.get_model_version_by_alias(name, "staging").version) == version


def test_publishing_again_adds_a_version(store: str, client: MlflowClient, checkpoint: Path) -> None:
    name = "published-twice"
    for expected in ("1", "2"):
        assert publish(checkpoint, model_name=name, metrics=METRICS, params=PARAMS, tracking_uri=store) == expected
    assert len(client.search_model_versions(f"name = '{name}'")) == 2


def test_the_command_publishes_a_committed_sample(store: str, client: MlflowClient) -> None:
    result = CliRunner().invoke(publisher.app, ["modest", "--alias", "staging", "--tracking-uri", store])
    assert result.exit_code == 0, result.output
    version = client.get_model_version_by_alias(MODEL_NAME, "staging")
    assert client.get_run(str(version.run_id)).data.metrics == sample_run("modest")[1]


def test_an_unknown_sample_is_named_with_the_known_ones(store: str) -> None:
    result = CliRunner().invoke(publisher.app, ["best", "--tracking-uri", store])
    assert result.exit_code == 2
    assert "modest, better, regressed" in " ".join(result.output.replace("│", " ").split())


def _stage(client: MlflowClient, name: str, version: str) -> str:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*current_stage", category=FutureWarning)
        return str(client.get_model_version(name, version).current_stage)
