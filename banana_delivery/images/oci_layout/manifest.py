"""The OCI documents of an image: its config and its manifest, without anything that changes from build to build."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from banana_delivery.images.oci_layout.blobs import LayoutFiles
from banana_delivery.images.oci_layout.index import MANIFEST_TYPE
from banana_delivery.images.release import MODEL_PATH, Contents, start_of

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_TITLE = "org.opencontainers.image.title"
_CREATED = "1980-01-01T00:00:00Z"


def config_of(platform: str, labels: dict[str, str], diff_ids: list[str]) -> dict[str, Any]:
    """An image config with a fixed date; layers are stored as plain tars, so a layer's digest is its diff id."""
    system, _, architecture = platform.partition("/")
    return {
        "created": _CREATED,
        "os": system,
        "architecture": architecture,
        "config": {
            "Cmd": ["python", "-m", "serving"],
            "Env": [f"MODEL_PATH=/{MODEL_PATH}"],
            "Labels": labels,
            "WorkingDir": "/app",
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }


def manifest_of(config: tuple[str, int], layers: Iterable[tuple[str, str, int]]) -> dict[str, Any]:
    """A manifest of a config (digest, size) and layers (name, digest, size), bottom first."""
    digest, size = config
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": digest, "size": size},
        "layers": [
            {
                "mediaType": LAYER_TYPE,
                "digest": layer,
                "size": bytes_,
                "annotations": {_TITLE: name},
            }
            for name, layer, bytes_ in layers
        ],
    }


def blobs_of(files: LayoutFiles, digest: str) -> dict[str, int]:
    """Size of everything that an image consists of besides its manifest, by digest.

    Raises:
        ImageError: if its manifest is missing or altered.
    """
    manifest = files.read_json_blob(digest)
    return {part["digest"]: part["size"] for part in (manifest["config"], *manifest["layers"])}


def layer_digests(files: LayoutFiles, digest: str) -> list[str]:
    """An image's layers, bottom first.

    Raises:
        ImageError: if its manifest is missing or altered.
    """
    return [layer["digest"] for layer in files.read_json_blob(digest)["layers"]]


def contents_of(files: LayoutFiles, digest: str) -> Contents:
    """An image's layers and labels, for a comparison.

    Raises:
        ImageError: if its manifest or config is missing or altered.
    """
    manifest = files.read_json_blob(digest)
    layers = {layer["annotations"][_TITLE]: layer["digest"] for layer in manifest["layers"]}
    config = files.read_json_blob(manifest["config"]["digest"])["config"]
    return Contents(layers, config["Labels"], start_of(config))
