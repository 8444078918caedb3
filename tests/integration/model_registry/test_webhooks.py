"""A real MLflow server, the receiver as its process runs, and the staging sensor that hears it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from mlflow import MlflowClient
from typing_extensions import override

from banana_delivery.errors import RegistryError
from banana_delivery.model_registry.mlflow import MlflowRegistry
from banana_delivery.model_registry.webhooks.bell import ReceiverBell
from banana_delivery.model_registry.webhooks.registration import register
from banana_delivery.waiting import wait_until
from tests.support.pipeline import open_pipeline
from tests.support.ports import free_port

MODEL = 'rung for "it\'s"'
SECRET = "the secret of the webhooks of a test"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[str]:
    """The service, as the stack starts it."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    environment = {**os.environ, "BANANA_HOME": str(tmp_path), "BANANA_MODEL_NAME": MODEL}
    environment["BANANA_WEBHOOK_SECRET"] = SECRET
    command = [sys.executable, "-m", "banana_delivery.model_registry.webhooks", "--port", str(port)]
    with subprocess.Popen(command, env=environment) as process:
        try:
            bell = ReceiverBell(url, lambda: SECRET)
            wait_until(lambda: bell.heard() is not None, 60, lambda _: AssertionError("It does not answer."), pause=0.1)
            yield url
        finally:
            process.terminate()


class ActingBell(ReceiverBell):
    """Has somebody do something as soon as it is listened to, and not before."""

    act: Callable[[], object] | None = None

    @override
    def wait(self, heard: str, seconds: float) -> str | None:
        act, self.act = self.act, None
        if act:
            act()
        return super().wait(heard, 30.0 if act else seconds)


def test_an_alias_in_a_real_mlflow_has_the_sensor_start_a_delivery_while_it_listens(
    mlflow_server: str, receiver: str, tmp_path: Path
) -> None:
    client = MlflowClient(mlflow_server)
    for _ in range(2):
        said = register(mlflow_server, MODEL, f"{receiver}/mlflow", SECRET)
        assert said == f"MLflow tells {receiver}/mlflow of what happens to {MODEL}."
    assert len(client.list_webhooks()) == 1
    for name in (MODEL, "another model"):
        client.create_registered_model(name)
        client.create_model_version(name, "s3://models/1")

    bell = ActingBell(receiver, lambda: SECRET)
    registry = MlflowRegistry(MODEL, mlflow_server)
    with open_pipeline(tmp_path) as pipeline:
        pipeline.change(bell=bell, model_registry=registry)
        assert isinstance(pipeline.tick("staged_versions"), dg.SkipReason), "nothing is staged"
        client.set_registered_model_alias("another model", "staging", "1")
        bell.act = lambda: client.set_registered_model_alias(MODEL, "staging", "1")
        result = pipeline.tick("staged_versions")
        assert isinstance(result, dg.SensorResult)
        assert [request.partition_key for request in result.run_requests or []] == ["1"]
        bell.act = lambda: client.set_model_version_tag(MODEL, "1", "looked", "at")
        assert isinstance(pipeline.tick("staged_versions", result.cursor), dg.SkipReason), "no second run"
    heard = bell.heard() or ""
    assert heard.endswith(".2"), "the other model's alias and the two tests of the address rang nothing"


def test_what_mlflow_does_not_take_or_cannot_reach_is_one_sentence(mlflow_server: str) -> None:
    with pytest.raises(RegistryError, match=r"did not take the webhook for ftp://hooks.*docs/triggers.md"):
        register(mlflow_server, "unreached", "ftp://hooks/mlflow", SECRET)
    nowhere = f"http://127.0.0.1:{free_port()}/mlflow"
    assert "could not deliver" in register(mlflow_server, "unreached", nowhere, SECRET)
