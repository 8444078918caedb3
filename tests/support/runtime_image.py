"""Runtime images in a registry in memory: small ones, made as any builder would, that releases can stand on."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from banana_delivery.images.oci_registry.manifest import INDEX_TYPES, MANIFEST_TYPES
from banana_delivery.images.oci_registry.runtime import runtime_tag
from tests.unit.images.oci_registry.registry_server import RegistryServer, digest

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"
PLATFORM = "linux/amd64"
BOTH = ("linux/amd64", "linux/arm64")
OCI_MANIFEST = MANIFEST_TYPES[1]
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG: dict[str, Any] = {
    "User": "10001:10001",
    "Env": ["PATH=/opt/venv/bin:/usr/bin", "MODEL_PATH=/model/model.onnx"],
    "Cmd": ["python3"],
    "WorkingDir": "/app",
    "Labels": {"org.opencontainers.image.licenses": "AGPL-3.0-or-later"},
    "Hostname": "somewhere",
}


def tar_of(files: dict[str, bytes]) -> bytes:
    """A layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def put_base(registry: RegistryServer, tag: str = "3.11") -> str:
    """A base image in the registry's repository ``library/python``; returns its name by digest."""
    base = RegistryServer(path="library/python")
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPES[1], "manifests": []}).encode()
    base.manifests[digest(body)], base.tags[tag] = body, digest(body)
    registry.others.append(base)
    return f"{registry.host}/library/python@{digest(body)}"


def put_runtime(
    registry: RegistryServer,
    lock: Path,
    base: str,
    *,
    platform: str = PLATFORM,
    layers: tuple[bytes, ...] = (gzip.compress(tar_of({"etc/os-release": b"ID=test"}), mtime=0),),
    layer_type: str = OCI_LAYER,
    index: bool = False,
    tagged: bool = True,
    day: int = 1,
) -> str:
    """A runtime image for a lock and base, in the registry's repository ``acme/banana-runtime``; returns its digest."""
    found = [other for other in registry.others if other.path == "acme/banana-runtime"]
    runtime = found[0] if found else RegistryServer(path="acme/banana-runtime")
    registry.others += [] if found else [runtime]
    system, architecture = platform.split("/")[:2]
    config = json.dumps(
        {
            "created": f"2026-01-{day:02}T00:00:00Z",
            "os": system,
            "architecture": architecture,
            "config": CONFIG,
            "rootfs": {"type": "layers", "diff_ids": [digest(_plain(layer)) for layer in layers]},
        }
    ).encode()
    body = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": runtime._descriptor(config),
            "layers": [{**runtime._descriptor(layer), "mediaType": layer_type} for layer in layers],
        }
    ).encode()
    runtime.manifests[digest(body)] = body
    tag = runtime_tag(DOCKERFILE.read_text(), lock, base, platform)
    named = put_index(runtime, {platform: digest(body)}) if index else digest(body)
    if tagged:
        runtime.tags[tag] = named
    return digest(body)


def put_runtimes(registry: RegistryServer, lock: Path, base: str, platforms: Sequence[str], **others: Any) -> str:
    """The same for several platforms, under the tag of each; returns the digest of the index."""
    images = {one: put_runtime(registry, lock, base, platform=one, tagged=False, **others) for one in platforms}
    runtime = next(other for other in registry.others if other.path == "acme/banana-runtime")
    index = put_index(runtime, images)
    runtime.tags |= {runtime_tag(DOCKERFILE.read_text(), lock, base, one): index for one in platforms}
    return index


def put_index(repository: RegistryServer, images: dict[str, str]) -> str:
    """An index over images by platform, with what builders add to one; returns its digest."""
    described: list[dict[str, Any]] = [
        {"digest": "sha256:" + "a" * 64, "size": 1, "platform": {"os": "unknown", "architecture": "unknown"}}
    ]
    for platform, image in images.items():
        system, architecture = platform.split("/")[:2]
        its = {"os": system, "architecture": architecture, **({"variant": "v8"} if architecture == "arm64" else {})}
        described.append({"digest": image, "size": len(repository.manifests[image]), "platform": its})
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPES[1], "manifests": described}).encode()
    repository.manifests[digest(body)] = body
    return digest(body)


def _plain(layer: bytes) -> bytes:
    return gzip.decompress(layer) if layer.startswith(b"\x1f\x8b") else layer
