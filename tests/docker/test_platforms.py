"""A release for two platforms in a real registry, on the base and packages of each; an engine runs its own."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from banana_delivery.images.direct.store import DirectImages
from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.docker.engine import Engine
from banana_delivery.images.docker.transfer import Transfer
from banana_delivery.images.oci_registry import blobs
from banana_delivery.images.oci_registry.blobs import Blob
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.manifest import INDEX_TYPES, MANIFEST_TYPES, Manifest
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.waiting import Retries
from tests.contract.image_store_contract import Clock, Sources, nobody, quiet
from tests.docker.conftest import DOCKERFILE, ROOT, temporary_repository
from tests.support.runtime_image import BOTH
from tests.support.wheels import base_layer
from tests.unit.images.oci_registry.registry_server import digest

_MACHINES = {"amd64": 62, "arm64": 183}
"""What an ELF file says in its header that it is for: EM_X86_64 and EM_AARCH64."""


@pytest.fixture(scope="module")
def base(registry: str, engine: Engine, base_image: str) -> Iterator[str]:
    """An index as BuildKit writes one: the real base, the same for ARM in small, and what is attested of both."""
    for name in temporary_repository(registry, engine):
        real = Repository.of_image(base_image)
        with closing(client_of(real.name)) as source, closing(client_of(name)) as client:
            amd = source.manifest(base_image.rpartition(":")[2])
            assert amd
            for one in [amd.document["config"], *amd.document["layers"]]:
                assert blobs.link(client, Blob(one["digest"], one["size"]), real.path)
            layer = base_layer("arm64")
            arm = image(client, layer, {"os": "linux", "architecture": "arm64", "variant": "v8"})
            of_arm = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": arm.digest}
            said = image(client, b"{}", {"os": "unknown", "architecture": "unknown"}, "application/vnd.in-toto+json")
            for one in (amd, arm, said):
                client.put_manifest(one.digest, one)
            index = {
                "schemaVersion": 2,
                "mediaType": INDEX_TYPES[1],
                "manifests": [
                    named(said, "unknown", "unknown", annotations=of_arm),
                    named(arm, "linux", "arm64", variant="v8"),
                    named(amd, "linux", "amd64"),
                ],
            }
            client.put_manifest("3.11-slim", Manifest.of(json.dumps(index).encode()))
        yield f"{name}:3.11-slim"


@pytest.fixture(scope="module")
def runtimes(registry: str, engine: Engine) -> Iterator[str]:
    yield from temporary_repository(registry, engine)


@pytest.fixture(scope="module")
def lock() -> str:
    """A small package of the serving lock that is compiled for each platform."""
    found = re.search(
        r"^httptools==.*\n(?:    --hash=.*\n)+", (ROOT / "requirements/serving.txt").read_text(), re.MULTILINE
    )
    assert found, "the serving lock no longer has httptools; name another small compiled package here"
    return found[0]


def test_an_index_is_pushed_read_by_platform_run_by_digest_and_removed_as_a_whole(
    base: str, runtimes: str, lock: str, repository: str, engine: Engine, tmp_path: Path
) -> None:
    clock = Clock()
    store = DirectImages(
        repository,
        runtime_repository=runtimes,
        dockerfile=DOCKERFILE,
        base_image=base,
        platform=BOTH[0],
        platforms=BOTH,
        clock=clock,
    )
    sources = Sources(tmp_path / "sources", lock, salt=repository)
    context, newer = sources.context("7"), sources.context("8")
    with closing(store), closing(client_of(repository)) as client:
        pinned = store.assemble_runtime(context.lock_file, [], quiet)
        ref = store.build(context, quiet).ref

        index = client.manifest(ref.digest)
        assert index
        assert list(index.platforms) == list(BOTH)
        for platform, its in index.platforms.items():
            part = client.manifest(its)
            assert part
            config = json.loads(client.blob(part.document["config"]["digest"]))
            assert f"{config['os']}/{config['architecture']}" == platform
            assert config["config"]["Labels"]["banana.runtime"] == pinned
            assert machines_of(client, part.layers[-4]) == {_MACHINES[config["architecture"]]}
        (first, second) = (client.manifest(its) for its in index.platforms.values())
        assert first
        assert second
        assert first.layers[-3:] == second.layers[-3:]

        Transfer(engine, repository, Credentials(), Retries()).pull(ref.pinned, quiet)
        code = "import httptools.parser.parser, platform, serving; print(platform.machine(), serving.VALUE)"
        done = engine.run(ref.pinned, ["python", "-c", code], {}, 60)
        assert (done.exit_code, done.output.split()) == (0, ["x86_64", "1"]), done.errors
        assert store.rebuild(context, ref, quiet).proven
        assert store.find(store.key(context)) == ref

        newest = store.build(newer, quiet).ref
        clock.now += 7200
        assert [one.keep for one in store.prune(1, nobody, dry_run=False)] == [True, False]
        assert [client.manifest(one) for one in (ref.digest, *index.children)] == [None] * 3
        assert store.find(store.key(newer)) == newest


def machines_of(client: RegistryClient, layer: tuple[str, int]) -> set[int]:
    """What the compiled files of a layer are for."""
    with tarfile.open(fileobj=io.BytesIO(client.blob(*layer))) as tar:
        files = [tar.extractfile(one) for one in tar if one.isreg()]
        starts = [file.read(20) for file in files if file]
    return {int.from_bytes(start[18:20], "little") for start in starts if start.startswith(b"\x7fELF")}


def client_of(name: str) -> RegistryClient:
    return RegistryClient(Repository.parse(name), Credentials(), Retries(), quiet)


def image(client: RegistryClient, layer: bytes, platform: dict[str, str], layer_type: str = "") -> Manifest:
    config = {
        **platform,
        "config": {"Env": ["PATH=/usr/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    }
    for content in (layer, body := json.dumps(config).encode()):
        client.put_blob(content)
    kind = layer_type or "application/vnd.oci.image.layer.v1.tar"
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPES[1],
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(body), "size": len(body)},
        "layers": [{"mediaType": kind, "digest": digest(layer), "size": len(layer)}],
    }
    return Manifest.of(json.dumps(document).encode())


def named(image: Manifest, system: str, architecture: str, **others: Any) -> dict[str, Any]:
    its = {"os": system, "architecture": architecture, **{k: v for k, v in others.items() if k == "variant"}}
    notes = {name: value for name, value in others.items() if name == "annotations"}
    return {"mediaType": image.media_type, "digest": image.digest, "size": len(image.body), "platform": its, **notes}
