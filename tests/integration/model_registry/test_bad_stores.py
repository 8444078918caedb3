"""An artifact store on its bad days: whatever it does, a good version is not taken for a bad one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import boto3  # type: ignore[import-untyped]
import pytest

from banana_delivery.errors import MissingCheckpointError, RegistryError, RegistryRefusedError, UnknownVersionError
from banana_delivery.model_registry import checkpoint, client
from banana_delivery.model_registry.mlflow import MlflowRegistry
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outcomes import RegistryMark
from tests.contract.registries import MlflowWorld
from tests.integration.model_registry.fault_proxy import (
    Fault,
    FaultProxy,
    closed_halfway,
    fault_proxy,
    files,
    half_with_a_length_that_fits,
    half_without_a_length,
    late_by,
    listings,
    refused_with,
    reset_halfway,
)

CONTENT = bytes(range(256)) * 4096
OF_THE_VERSION = (MissingCheckpointError, UnknownVersionError)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PAUSES_SECONDS", (0.01, 0.01))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")


@pytest.fixture
def pipeline(mlflow_server: str, tmp_path: Path) -> MlflowWorld:
    return MlflowWorld(mlflow_server, tmp_path)


@pytest.fixture
def proxy(mlflow_server: str) -> Iterator[FaultProxy]:
    with fault_proxy(mlflow_server) as opened:
        yield opened


@pytest.fixture
def through(pipeline: MlflowWorld, proxy: FaultProxy) -> MlflowRegistry:
    """The registry as it is seen through the proxy."""
    return MlflowRegistry(pipeline.name, proxy.url)


FAULTS: dict[str, Fault] = {
    "half a body and no length": half_without_a_length,
    "half a body and a length that fits it": half_with_a_length_that_fits,
    "a connection that is closed halfway": closed_halfway,
    "a connection that is reset halfway": reset_halfway,
    "an error of the server": refused_with(500),
    "a proxy without that route": refused_with(404),
    "a gateway that waits in vain": refused_with(504),
    "a page to log in, with status 200": refused_with(200),
    "an account that may not read": refused_with(403),
    "no body at all, with status 200": refused_with(200, b""),
}


@pytest.mark.parametrize("source", ["{run}", "{run}/weights/best.pt"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_file_that_does_not_arrive_whole_is_the_stores_fault_and_leaves_nothing(
    pipeline: MlflowWorld, proxy: FaultProxy, through: MlflowRegistry, tmp_path: Path, fault: Fault, source: str
) -> None:
    run = pipeline.registry.describe(pipeline.publish(CONTENT))
    version = pipeline.register(source.format(run=run.source), run.run_id)
    proxy.fail(files, fault)
    with pytest.raises(RegistryError) as caught:
        through.download(version, tmp_path / "to")
    assert not isinstance(caught.value, OF_THE_VERSION)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_store_that_fails_once_is_asked_again(
    pipeline: MlflowWorld, proxy: FaultProxy, through: MlflowRegistry, tmp_path: Path, fault: Fault
) -> None:
    version = pipeline.publish(CONTENT)
    proxy.fail(files, fault, times=2)
    assert through.download(version, tmp_path / "to").read_bytes() == CONTENT


LISTING_FAULTS: dict[str, Fault] = {
    **FAULTS,
    "a listing of nothing": refused_with(200, b"{}"),
    "an empty listing": refused_with(200, b'{"files": []}'),
}


@pytest.mark.parametrize("fault", LISTING_FAULTS.values(), ids=LISTING_FAULTS)
def test_a_listing_that_fails_or_shows_nothing_at_all_is_no_proof(
    pipeline: MlflowWorld, proxy: FaultProxy, through: MlflowRegistry, tmp_path: Path, fault: Fault
) -> None:
    version = pipeline.publish(CONTENT)
    proxy.fail(listings, fault)
    with pytest.raises(RegistryError) as caught:
        through.download(version, tmp_path / "to")
    assert not isinstance(caught.value, OF_THE_VERSION)


def test_a_listing_that_lacks_the_file_once_is_asked_again(
    pipeline: MlflowWorld, proxy: FaultProxy, through: MlflowRegistry, tmp_path: Path
) -> None:
    version = pipeline.publish(CONTENT)
    other = refused_with(200, b'{"files": [{"path": "notes.txt", "is_dir": false, "file_size": 3}]}')
    proxy.fail(listings, other, times=1)
    with pytest.raises(RegistryError, match="listed differently") as caught:
        through.download(version, tmp_path / "to")
    assert not isinstance(caught.value, OF_THE_VERSION)


@pytest.mark.parametrize("fault", [refused_with(404), refused_with(404, b"gone"), refused_with(500)])
def test_a_proxy_that_knows_no_mlflow_never_makes_a_version_unknown(
    pipeline: MlflowWorld, proxy: FaultProxy, through: MlflowRegistry, tmp_path: Path, fault: Fault
) -> None:
    version = pipeline.publish(CONTENT)
    asked = ("model-versions/get", "registered-models/get", "registered-models/search")
    proxy.fail(lambda path: any(one in path for one in asked), fault)
    mark = RegistryMark(outcome=Outcome.ERROR, reason="x")
    for ask in (
        through.staged,
        lambda: through.describe(version),
        lambda: through.download(version, tmp_path / "to"),
        lambda: through.mark(version, mark),
    ):
        with pytest.raises(RegistryError) as caught:
            ask()
        assert not isinstance(caught.value, OF_THE_VERSION)


@pytest.mark.parametrize("status", [401, 403])
def test_an_account_that_may_not_write_is_told_apart_from_a_server_that_is_away(
    pipeline: MlflowWorld, proxy: FaultProxy, through: MlflowRegistry, status: int
) -> None:
    version = pipeline.publish(CONTENT)
    proxy.fail(lambda path: "model-versions/set-tag" in path, refused_with(status, b"Permission denied"))
    with pytest.raises(RegistryRefusedError, match="permission to edit"):
        through.mark(version, RegistryMark(outcome=Outcome.ERROR, reason="x"))


def test_a_store_that_thinks_longer_than_mlflow_answers_questions_is_waited_for(
    pipeline: MlflowWorld,
    proxy: FaultProxy,
    through: MlflowRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(client.CLIENT_ENVIRONMENT, client.REQUEST_TIMEOUT, "1")
    monkeypatch.setenv(client.REQUEST_TIMEOUT, "1")
    version = pipeline.publish(CONTENT)
    proxy.fail(files, late_by(2.5))
    assert through.download(version, tmp_path / "to").read_bytes() == CONTENT
    assert os.environ[client.REQUEST_TIMEOUT] == "1"


def test_a_store_that_never_answers_is_given_up_and_the_version_is_not_blamed(
    pipeline: MlflowWorld,
    proxy: FaultProxy,
    through: MlflowRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(client.REQUEST_TIMEOUT, "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    version = pipeline.publish(CONTENT)
    proxy.fail(files, late_by(3))
    with pytest.raises(RegistryError) as caught:
        through.download(version, tmp_path / "to")
    assert not isinstance(caught.value, OF_THE_VERSION)


def test_an_artifact_volume_that_is_not_mounted_is_no_missing_checkpoint(pipeline: MlflowWorld, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    pipeline.experiment = pipeline.client.create_experiment(f"{pipeline.name}-files", f"file://{volume}/artifacts")
    version = pipeline.publish(CONTENT)
    volume.rename(tmp_path / "elsewhere")
    for mountpoint_is_there in (False, True):
        if mountpoint_is_there:
            volume.mkdir()
        with pytest.raises(RegistryError, match=r"lists nothing at all.*mounted") as caught:
            pipeline.registry.download(version, tmp_path / "to")
        assert not isinstance(caught.value, OF_THE_VERSION)
    volume.rmdir()
    (tmp_path / "elsewhere").rename(volume)
    assert pipeline.registry.download(version, tmp_path / "to").read_bytes() == CONTENT


def test_another_stores_files_do_not_prove_that_this_one_is_there(
    pipeline: MlflowWorld, bucket: str, tmp_path: Path
) -> None:
    run = pipeline.registry.describe(pipeline.publish(CONTENT)).run_id
    with pytest.raises(RegistryError, match="lists nothing at all") as caught:
        pipeline.registry.download(pipeline.register(f"{bucket}/empty", run), tmp_path / "to")
    assert not isinstance(caught.value, OF_THE_VERSION)


def test_a_truncated_file_on_a_shared_folder_is_noticed(
    pipeline: MlflowWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.experiment = pipeline.client.create_experiment(f"{pipeline.name}-files", f"file://{tmp_path}/shared")
    version = pipeline.publish(CONTENT)

    def copy_half(source: str, target: str, *rest: object, **more: object) -> str:
        del rest, more
        Path(target).write_bytes(Path(source).read_bytes()[: len(CONTENT) // 2])
        return target

    monkeypatch.setattr(shutil, "copy2", copy_half)
    monkeypatch.setattr(shutil, "copyfile", copy_half)
    with pytest.raises(RegistryError, match=r"Only \d+ of \d+ bytes") as caught:
        pipeline.registry.download(version, tmp_path / "to")
    assert not isinstance(caught.value, OF_THE_VERSION)


@pytest.mark.parametrize("fault", ["half a body and no length", "a connection that is reset halfway", "same size"])
@pytest.mark.parametrize("source", ["s3://models/run", "s3://models/run/deep/best.pt"])
def test_a_bucket_that_hands_out_something_else_is_the_buckets_fault(
    pipeline: MlflowWorld,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    source: str,
) -> None:
    upstream = os.environ["MLFLOW_S3_ENDPOINT_URL"]
    boto3.client("s3", endpoint_url=upstream).put_object(Bucket="models", Key="run/deep/best.pt", Body=CONTENT)
    version = pipeline.register(source)
    with fault_proxy(upstream) as between:
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", between.url)
        assert pipeline.registry.download(version, tmp_path / "first").read_bytes() == CONTENT
        corrupt = refused_with(200, CONTENT[::-1])
        between.fail(lambda path: "best.pt" in path and "list-type" not in path, FAULTS.get(fault, corrupt))
        with pytest.raises(RegistryError) as caught:
            pipeline.registry.download(version, tmp_path / "to")
    assert not isinstance(caught.value, OF_THE_VERSION)


@pytest.mark.parametrize("source", ["s3://models/empty", "s3://gone/run", "s3://gone/run/best.pt"])
def test_a_bucket_that_lists_nothing_or_is_gone_proves_nothing(
    pipeline: MlflowWorld, bucket: str, tmp_path: Path, source: str
) -> None:
    with pytest.raises(RegistryError) as caught:
        pipeline.registry.download(pipeline.register(source), tmp_path / "to")
    assert not isinstance(caught.value, OF_THE_VERSION)
