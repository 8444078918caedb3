"""Release images for the cluster's tests: the real serving application around a tiny real detector."""

from __future__ import annotations

import json
from pathlib import Path

from banana_delivery.images.base import BuildContext
from banana_delivery.images.docker.engine import Engine
from banana_delivery.images.docker.store import DockerImages
from banana_delivery.policy.model import ImageRef
from tests.unit.serving.detectors import write_model

HEALTHY = ("1", "2", "3")


def build_releases(root: Path, scratch: Path, registry: str, base_image: str) -> dict[str, ImageRef]:
    """Build and push one image for each version; the packages' layer is shared, and reused by later runs."""
    images = DockerImages(
        f"{registry}/cluster-tests/banana",
        dockerfile=root / "Dockerfile",
        base_image=base_image,
        engine=Engine(network_mode="host"),
    )
    built = {}
    for version in (*HEALTHY, "sick"):
        model = write_model(scratch / version, version=version)
        if version == "sick":
            _break(model.with_name("version.json"))
        context = BuildContext(model.parent, root / "serving", root / "requirements" / "serving.txt", version)
        built[version] = images.build(context, lambda _: None).ref
    images.close()
    return built


def _break(version_file: Path) -> None:
    """The description promises another model than is there; the application refuses to serve it."""
    version = json.loads(version_file.read_text())
    version_file.write_text(json.dumps({**version, "onnx_sha256": "f" * 64}))
