"""The documents of a release that stands on a runtime image: as an engine writes them, and the same each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from banana_delivery.errors import ImageError
from banana_delivery.images.oci_registry.blobs import Blob
from banana_delivery.images.oci_registry.manifest import INDEX_TYPES, LAYER_TYPE, Manifest
from banana_delivery.images.release import LAYERS, START
from banana_delivery.images.supply_chain.attachments import CONFIG_TYPE, MANIFEST_TYPE, canonical
from banana_delivery.names import AGAIN_ANNOTATION

_OCI_TYPES = {
    "application/vnd.docker.image.rootfs.diff.tar": LAYER_TYPE,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{LAYER_TYPE}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": f"{LAYER_TYPE}+zstd",
    LAYER_TYPE: LAYER_TYPE,
    f"{LAYER_TYPE}+gzip": f"{LAYER_TYPE}+gzip",
    f"{LAYER_TYPE}+zstd": f"{LAYER_TYPE}+zstd",
}
"""Layers of a runtime image, by what its builder calls them. Those that lie elsewhere, as Windows' do, are not here."""
CREATED = "1980-01-01T00:00:00Z"
_PLATFORM = ("os", "architecture", "variant")
KEPT = (*START, "Labels")
"""Of a runtime's config; engines note more there, of the container that they built it in."""


@dataclass(frozen=True)
class Runtime:
    """A runtime image.

    Attributes:
        pinned: its full name, by digest.
        manifest: its manifest.
        config: its image config.
    """

    pinned: str
    manifest: Manifest
    config: dict[str, Any]

    @property
    def layers(self) -> list[Blob]:
        """Its layers as stored, bottom first."""
        return [Blob(digest, size) for digest, size in self.manifest.layers]


def config_of(
    runtime: Runtime, start: Mapping[str, Any], labels: Mapping[str, str], diff_ids: Sequence[str], platform: str
) -> bytes:
    """A release's config.

    Args:
        runtime: what it stands on.
        start: how it is run, as the Dockerfile's stage ``release`` says.
        labels: its own, which come upon the runtime's.
        diff_ids: of its own layers, bottom first.
        platform: what it is for, for example ``linux/amd64``.

    Raises:
        ImageError: if the runtime is for another platform, or is none.
    """
    theirs = runtime.config
    try:
        its_platform = f"{theirs['os']}/{theirs['architecture']}"
        config = {name: theirs["config"][name] for name in KEPT if theirs["config"].get(name)}
        below = [diff_id for diff_id, _ in zip(theirs["rootfs"]["diff_ids"], runtime.layers, strict=True)]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ImageError(f"{runtime.pinned} is no runtime image ({error!r}); build it again.") from error
    if its_platform != platform:
        raise ImageError(f"{runtime.pinned} is for {its_platform}, not for {platform}; build it for that.")
    config |= start
    config["ExposedPorts"] = {**(theirs["config"].get("ExposedPorts") or {}), **start.get("ExposedPorts", {})}
    its_own = {name: _line(text) for name, text in labels.items()}
    config["Labels"] = {**(theirs["config"].get("Labels") or {}), **its_own}
    history = [{"created": CREATED, "created_by": f"COPY {layer}/ /"} for layer in LAYERS]
    return canonical(
        {
            **{name: theirs[name] for name in _PLATFORM if theirs.get(name)},
            "created": CREATED,
            "config": {name: value for name, value in config.items() if value},
            "rootfs": {"type": "layers", "diff_ids": [*below, *diff_ids]},
            "history": [*(theirs.get("history") or []), *history],
        }
    )


def manifest_of(runtime: Runtime, config: Blob, layers: Sequence[Blob], again: str = "") -> Manifest:
    """A release's manifest.

    Args:
        runtime: what it stands on.
        config: its config.
        layers: its own, bottom first.
        again: a text that gives it another digest.

    Raises:
        ImageError: if a layer of the runtime is of a kind that no release can stand on.
    """
    below = [
        {"mediaType": _layer_type(runtime, layer), "digest": layer["digest"], "size": layer["size"]}
        for layer in runtime.manifest.document["layers"]
    ]
    own = [{"mediaType": LAYER_TYPE, "digest": layer.digest, "size": layer.size} for layer in layers]
    return Manifest.of(
        canonical(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": {"mediaType": CONFIG_TYPE, "digest": config.digest, "size": config.size},
                "layers": [*below, *own],
                **({"annotations": {AGAIN_ANNOTATION: again}} if again else {}),
            }
        )
    )


def index_of(images: Sequence[tuple[Manifest, Mapping[str, Any]]], again: str = "") -> Manifest:
    """One name for the images of several platforms.

    Args:
        images: the manifest of each, and its config.
        again: a text that gives it another digest.
    """
    named = [
        {
            "mediaType": image.media_type,
            "digest": image.digest,
            "size": len(image.body),
            "platform": {name: config[name] for name in _PLATFORM if config.get(name)},
        }
        for image, config in images
    ]
    noted = {"annotations": {AGAIN_ANNOTATION: again}} if again else {}
    return Manifest.of(canonical({"schemaVersion": 2, "mediaType": INDEX_TYPES[1], "manifests": named, **noted}))


def again_of(manifest: Manifest) -> str:
    """The text that gave a release another digest; empty if none did."""
    notes = manifest.document.get("annotations")
    return str(notes.get(AGAIN_ANNOTATION, "")) if isinstance(notes, dict) else ""


def _layer_type(runtime: Runtime, layer: dict[str, Any]) -> str:
    told = str(layer.get("mediaType", ""))
    if told in _OCI_TYPES:
        return _OCI_TYPES[told]
    raise ImageError(f"{runtime.pinned} has a layer of the kind {told!r}, which no release can stand on.")


def _line(text: str) -> str:
    """A label's value as a Dockerfile can say it, so that every builder writes the same."""
    return text.replace("\n", " ")
