"""Small wheels, and a base image whose Python nobody ever starts."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

from banana_delivery.images.oci_registry.manifest import INDEX_TYPES, MANIFEST_TYPES
from tests.unit.images.oci_registry.registry_server import RegistryServer, digest

LIBRARY = b"\0GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n"
_TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}


def write_wheel(folder: Path, name: str, tag: str, files: dict[str, bytes]) -> str:
    """A wheel with these files in a folder; returns its line of a lock."""
    wheel = folder / f"{name}-1.0-{tag}.whl"
    info = f"{name}-1.0.dist-info"
    own = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(wheel, "w") as out:
        for path, content in {**files, **own}.items():
            out.writestr(path, content)
    return f"{name}==1.0 \\\n    --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def base_layer(architecture: str) -> bytes:
    """What a base has that packages can be laid on, as a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in {
            "usr/bin/python3.11": b"never started",
            f"lib/{_TRIPLETS[architecture]}/libc.so.6": LIBRARY,
        }.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("usr/bin/python3")
        link.type, link.linkname = tarfile.SYMTYPE, "/usr/bin/python3.11"
        tar.addfile(link)
    return out.getvalue()


def put_python_base(registry: RegistryServer) -> str:
    """An index over base images for both platforms in ``library/python``; returns its name by digest."""
    base = RegistryServer(path="library/python")
    described = []
    for architecture in ("amd64", "arm64"):
        layer = base_layer(architecture)
        config = {
            "os": "linux",
            "architecture": architecture,
            "config": {"Env": ["PATH=/usr/bin", "PIP_CERT=/certs"], "Cmd": ["python3"], "Labels": {"of": "the base"}},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "somebody"}],
        }
        body = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPES[1],
                "config": base._descriptor(json.dumps(config).encode()),
                "layers": [{**base._descriptor(layer), "mediaType": "application/vnd.oci.image.layer.v1.tar"}],
            }
        ).encode()
        base.manifests[digest(body)] = body
        described.append(
            {"digest": digest(body), "size": len(body), "platform": {"os": "linux", "architecture": architecture}}
        )
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPES[1], "manifests": described}).encode()
    base.manifests[digest(index)] = index
    registry.others.append(base)
    return f"{registry.host}/library/python@{digest(index)}"
