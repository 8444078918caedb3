"""Whatever a registered model is called, its versions are found, and nobody else's."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from banana_delivery.errors import UnknownVersionError
from banana_delivery.model_registry.mlflow import MlflowRegistry
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outcomes import RegistryMark
from tests.contract.registries import MlflowWorld, sqlite_mlflow

# MLflow takes neither a slash nor a colon in a name.
letters = st.characters(exclude_characters="/:\0", exclude_categories=["Cs"])
names = st.text(st.one_of(st.sampled_from("'\"%_\\`;-= aAä"), letters), min_size=1, max_size=12).filter(str.strip)


@pytest.fixture(scope="module")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return sqlite_mlflow(tmp_path_factory.mktemp("mlflow"))


@pytest.mark.parametrize(
    "name", ["Anna's detector", '100 % "good" \'uns', "back\\", "Bananenblätter 🍌", "a';--", "plain"]
)
def test_a_version_is_delivered_whatever_its_model_is_called(mlflow_uri: str, tmp_path: Path, name: str) -> None:
    pipeline = MlflowWorld(mlflow_uri, tmp_path, name)
    MlflowClient(mlflow_uri).create_registered_model(pipeline.name.replace("'", "x") + "x")
    version = pipeline.publish(b"weights")
    pipeline.stage(version)
    assert [one.version for one in pipeline.registry.staged()] == [version]
    assert pipeline.registry.describe("latest").name == pipeline.name
    assert pipeline.registry.download(version, tmp_path / "to").read_bytes() == b"weights"
    pipeline.registry.mark(
        version, RegistryMark(outcome=Outcome.RELEASED, reason="100 %", clear_staging=True, serving=version)
    )
    assert pipeline.registry.describe(version).stage == "Production"
    with pytest.raises(UnknownVersionError, match=f"newest are {version}"):
        pipeline.registry.describe("99")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=names)
@example(name="'\"")
@example(name="\\'")
@example(name="' OR name != '")
@example(name="line\nbreak")
def test_every_name_that_mlflow_takes_finds_its_own_versions_alone(mlflow_uri: str, name: str) -> None:
    client = MlflowClient(mlflow_uri)
    for one in (name, f"{name}x", name.replace("'", "_")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not client.search_model_versions(max_results=1000) or one not in {
                model.name for model in client.search_registered_models(max_results=1000)
            }:
                client.create_registered_model(one)
                client.create_model_version(one, "s3://models/unread", await_creation_for=0)
    client.set_registered_model_alias(name, "staging", "1")
    assert [one.version for one in MlflowRegistry(name, mlflow_uri).staged()] == ["1"]
    assert MlflowRegistry(name, mlflow_uri).describe("latest").name == name
