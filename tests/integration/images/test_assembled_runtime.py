"""Runtime images put together without an engine: by the real pip, from wheels on disk, in a registry in memory."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.base import BuildContext
from banana_delivery.images.direct.store import DirectImages
from banana_delivery.names import RUNTIME_LABEL
from banana_delivery.waiting import Retries
from tests.contract.image_store_contract import Clock, Sources, quiet
from tests.support.runtime_image import DOCKERFILE
from tests.support.wheels import put_python_base, write_wheel
from tests.unit.images.oci_registry.registry_server import RegistryServer, serving

BOTH = ("linux/arm64", "linux/amd64")


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a package that has a wheel for each machine, and one for any; pip is told of no other place to look."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    plain = write_wheel(folder, "plain", "py3-none-any", {"plain.py": b""})
    first = write_wheel(folder, "native", "cp311-cp311-manylinux_2_28_x86_64", {"native.so": b"x86"})
    second = write_wheel(folder, "native", "cp311-cp311-manylinux_2_28_aarch64", {"native.so": b"arm"})
    newer = write_wheel(folder, "native", "cp311-cp311-manylinux_2_39_x86_64", {"native.so": b"of a newer C library"})
    hashes = "".join(f" \\\n    {line.split()[-1]}" for line in (first, second, newer))
    return f"{plain}native==1.0{hashes}\n"


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with serving(RegistryServer()) as registry:
        registry.others.append(RegistryServer(path="acme/banana-runtime"))
        yield registry


@pytest.fixture
def store(registry: RegistryServer) -> Iterator[DirectImages]:
    store = DirectImages(
        f"{registry.host}/acme/banana",
        dockerfile=DOCKERFILE,
        base_image=put_python_base(registry),
        platform="linux/amd64",
        retries=Retries(attempts=2, first_wait=0.01),
        clock=Clock(),
    )
    with closing(store):
        yield store


@pytest.fixture
def context(tmp_path: Path, lock: str) -> BuildContext:
    return Sources(tmp_path / "sources", lock).context("7")


def runtimes(registry: RegistryServer) -> RegistryServer:
    return registry.repository_of("/v2/acme/banana-runtime/")


def config(repository: RegistryServer, image: str) -> dict[str, Any]:
    described = json.loads(repository.manifests[image])
    found: dict[str, Any] = json.loads(repository.blobs[described["config"]["digest"]])
    return found


def test_a_release_stands_on_a_runtime_that_no_engine_made(
    registry: RegistryServer, store: DirectImages, context: BuildContext
) -> None:
    pinned = store.assemble_runtime(context.lock_file, [], quiet)
    built = store.build(context, quiet)

    assert store.labels(built.ref)[RUNTIME_LABEL] == pinned
    start = config(registry, built.ref.digest)["config"]
    assert start["Env"][:2] == ["PATH=/opt/venv/bin:/usr/bin", "PIP_CERT=/certs"]
    assert (start["User"], start["WorkingDir"], start["Labels"]["of"]) == ("10001:10001", "/app", "the base")
    layer = json.loads(registry.manifests[built.ref.digest])["layers"][1]
    assert b"x86" in registry.blobs[layer["digest"]]
    assert b"newer C library" not in registry.blobs[layer["digest"]]


def test_both_platforms_are_one_index_whatever_their_order_and_each_has_its_own_packages(
    registry: RegistryServer, store: DirectImages, context: BuildContext
) -> None:
    pinned = store.assemble_runtime(context.lock_file, BOTH, quiet)
    repository = runtimes(registry)
    index = json.loads(repository.manifests[pinned.partition("@")[2]])

    assert [one["platform"]["architecture"] for one in index["manifests"]] == ["amd64", "arm64"]
    for one, mark in zip(index["manifests"], (b"x86", b"arm"), strict=True):
        assert config(repository, one["digest"])["architecture"] == one["platform"]["architecture"]
        layer = json.loads(repository.manifests[one["digest"]])["layers"][1]
        assert mark in repository.blobs[layer["digest"]]
    assert store.build(context, quiet).ref
    repository.tags.clear()
    assert store.assemble_runtime(context.lock_file, BOTH[::-1], quiet) == pinned


def test_what_is_there_is_not_made_again(
    registry: RegistryServer, store: DirectImages, context: BuildContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = store.assemble_runtime(context.lock_file, [], quiet)
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    said: list[str] = []

    assert store.assemble_runtime(context.lock_file, [], said.append) == pinned
    assert "there already" in said[0]
    with pytest.raises(ImageError, match="cannot be had"):
        store.assemble_runtime(context.lock_file, BOTH, quiet)
    assert {"acme/banana-runtime"} == {other.path for other in registry.others if other.tags}


def test_a_wheel_that_the_lock_does_not_know_is_not_taken(
    registry: RegistryServer, store: DirectImages, context: BuildContext, tmp_path: Path
) -> None:
    write_wheel(tmp_path / "wheels", "plain", "py3-none-any", {"plain.py": b"somebody else's"})

    with pytest.raises(ImageError, match="cannot be had"):
        store.assemble_runtime(context.lock_file, [], quiet)
    assert not runtimes(registry).manifests


def test_a_platform_that_the_base_has_not_is_named(store: DirectImages, context: BuildContext) -> None:
    with pytest.raises(ImageError, match="holds no image for linux/s390x"):
        store.assemble_runtime(context.lock_file, ["linux/s390x"], quiet)


def test_a_changed_dockerfile_needs_an_engine(
    registry: RegistryServer, store: DirectImages, context: BuildContext, tmp_path: Path
) -> None:
    changed = tmp_path / "Dockerfile"
    changed.write_text(DOCKERFILE.read_text().replace("python3 -m venv", "apt-get install gcc && python3 -m venv"))
    base = f"{registry.host}/library/python@{'sha256:' + 'a' * 64}"

    with (
        closing(DirectImages(f"{registry.host}/acme/banana", dockerfile=changed, base_image=base)) as other,
        pytest.raises(ImageError, match="stage packages"),
    ):
        other.assemble_runtime(context.lock_file, ["linux/amd64"], quiet)


def test_a_new_runtime_outlives_the_next_tidying_although_its_config_has_no_date(
    registry: RegistryServer, store: DirectImages, context: BuildContext
) -> None:
    pinned = store.assemble_runtime(context.lock_file, [], quiet)

    assert store._runtimes.prune(list, time.time()) == []
    assert pinned.partition("@")[2] in runtimes(registry).manifests
