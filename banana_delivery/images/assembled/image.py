"""A runtime image put together and written into its repository: one for each platform, and an index over several."""

from __future__ import annotations

import json
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from banana_delivery.errors import ImageError
from banana_delivery.files import text_sha256
from banana_delivery.images.assembled.base_python import BasePython
from banana_delivery.images.assembled.entries import write_entries
from banana_delivery.images.assembled.environment import environment_of
from banana_delivery.images.assembled.lock import wheels_of
from banana_delivery.images.base import Progress
from banana_delivery.images.direct.compose import CREATED, KEPT, Runtime, index_of, manifest_of
from banana_delivery.images.direct.layering import apply_layer, content_digest
from banana_delivery.images.dockerfile import PACKAGES, packages_stage, runtime_start
from banana_delivery.images.oci_registry import blobs
from banana_delivery.images.oci_registry.blobs import Blob
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.manifest import Manifest
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.images.oci_registry.runtime import RuntimeRepository, made_tag, runtime_tag
from banana_delivery.images.supply_chain.attachments import canonical

STAGE_SHA256 = "dca848737381ee5438c3372447086859a340efddb8bd90e654d2a493ae19a90b"
"""Of the Dockerfile's stage ``packages``, which is carried out here in another way: one that says more needs an
engine."""


@dataclass(frozen=True)
class RuntimeAssembly:
    """Puts runtime images together from a lock and a base.

    Attributes:
        base: the base, by digest.
        source: its repository.
        client: the repository of runtime images.
        dockerfile: what they are made like.
        lock: what is installed.
        clock: seconds since the epoch.
    """

    base: str
    source: RegistryClient
    client: RegistryClient
    dockerfile: str
    lock: Path
    clock: Callable[[], float] = time.time

    def put(self, platforms: Sequence[str], progress: Progress) -> str:
        """Write the image for these platforms, unless it is there; returns its digest, an index's for several.

        Raises:
            ImageError: if it cannot be put together, or the registry refuses.
        """
        wanted = sorted(set(platforms))
        tags = [runtime_tag(self.dockerfile, self.lock, self.base, platform) for platform in wanted]
        if (there := self._there(wanted, tags)) is not None:
            progress(f"runtime image {self.client.name}@{there} is there already, for {', '.join(wanted)}")
            return there
        if text_sha256(packages_stage(self.dockerfile)) != STAGE_SHA256:
            raise ImageError(
                "The Dockerfile's stage packages is not the one that is known how to carry out without an engine; take "
                "your changes out, or build the runtime image where there is an engine."
            )
        described = [self._one(platform, progress) for platform in wanted]
        manifest = described[0][0] if len(described) == 1 else index_of(described)
        # Its date first: whoever tidies up lets it be from now on.
        for tag in (made_tag(self.clock()), *tags):
            self.client.put_manifest(tag, manifest)
        return manifest.digest

    def _there(self, platforms: list[str], tags: list[str]) -> str | None:
        """What the tags of all platforms lead to, if it is one and has an image for each."""
        runtimes = RuntimeRepository(self.client)
        found = {self.client.digest_of(tag) for tag in tags}
        if len(found) > 1 or None in found:
            return None
        held = [runtimes.find(tag, platform, strict=False) for tag, platform in zip(tags, platforms, strict=True)]
        return found.pop() if all(held) else None

    def _one(self, platform: str, progress: Progress) -> tuple[Manifest, dict[str, Any]]:
        """Write the image for one platform under its digest; returns it and its config."""
        below = self._base_for(platform)
        with tempfile.TemporaryDirectory(prefix="base-") as root:
            python = self._python(below, Path(root), progress)
        progress(f"{platform}: Python {python.version} of the base, C library 2.{python.glibc}")
        with tempfile.TemporaryFile() as file:
            layer = cast(BinaryIO, file)
            with wheels_of(self.lock, python) as wheels, environment_of(wheels, python) as entries:
                write_entries(entries, [PurePosixPath("/app")], layer)
                progress(f"{platform}: {len(wheels)} packages, {len(entries):,} files")
            layer.seek(0)
            packages = Blob(content_digest(layer), layer.seek(0, 2))
            blobs.send(self.client, packages, layer)
        config = self._config(below, packages)
        blobs.send(self.client, blobs.described(config), BytesIO(config))
        manifest = manifest_of(below, blobs.described(config), [packages])
        self.client.put_manifest(manifest.digest, manifest)
        progress(f"{platform}: {self.client.name}@{manifest.digest}")
        return manifest, json.loads(config)

    def _base_for(self, platform: str) -> Runtime:
        """The base's image for a platform."""
        digest = self.base.rpartition("@")[2]
        manifest = self.source.manifest(digest)
        if manifest and manifest.is_index:
            named = manifest.images(platform)
            manifest = self.source.manifest(named[0]) if named else None
        try:
            config = json.loads(self.source.blob(manifest.document["config"]["digest"])) if manifest else {}
            its = f"{config['os']}/{config['architecture']}" if manifest else ""
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ImageError(f"{self.base} is no image; correct BANANA_BASE_IMAGE.") from error
        if manifest is None or its != platform:
            raise ImageError(
                f"{self.base} holds no image for {platform}{its and f', but one for {its}'}; name one in "
                "BANANA_BASE_IMAGE that does, the digest of an index over both for example."
            )
        return Runtime(f"{self.source.name}@{manifest.digest}", manifest, config)

    def _python(self, below: Runtime, root: Path, progress: Progress) -> BasePython:
        """Bring the base's layers over, and see what Python is in them."""
        for blob, diff_id in zip(below.layers, _diff_ids(below), strict=False):
            with tempfile.TemporaryFile() as file:
                layer = cast(BinaryIO, file)
                blobs.fetch(self.source, blob, layer)
                try:
                    apply_layer(layer, root, diff_id)
                except (OSError, ValueError, tarfile.TarError) as error:
                    raise ImageError(f"{blob.digest} of {below.pinned} cannot be read: {error}") from error
                if not self._linked(blob):
                    new = blobs.send(self.client, blob, layer)
                    progress(
                        f"{blob.digest[:19]} of the base: {blob.size:,} bytes, {'sent' if new else 'there already'}"
                    )
        return BasePython.of(root, below.config["config"], below.config["architecture"], below.pinned)

    def _linked(self, blob: Blob) -> bool:
        source = Repository.parse(self.source.name)
        return source.host == self.client.host and blobs.link(self.client, blob, source.path)

    def _config(self, below: Runtime, packages: Blob) -> bytes:
        """The image's config, as an engine would write it for the Dockerfile but for its dates."""
        theirs = below.config
        start = {name: theirs["config"][name] for name in KEPT if theirs["config"].get(name)}
        history = {"created": CREATED, "created_by": f"COPY {PACKAGES} {PACKAGES}"}
        return canonical(
            {
                **{name: theirs[name] for name in ("architecture", "os", "variant") if theirs.get(name)},
                "created": CREATED,
                "config": runtime_start(self.dockerfile, start),
                "rootfs": {"type": "layers", "diff_ids": [*_diff_ids(below), packages.digest]},
                "history": [*(theirs.get("history") or []), history],
            }
        )


def _diff_ids(image: Runtime) -> list[str]:
    try:
        found = [str(digest) for digest in image.config["rootfs"]["diff_ids"]]
    except (KeyError, TypeError) as error:
        raise ImageError(f"{image.pinned} is no image; correct BANANA_BASE_IMAGE.") from error
    if len(found) != len(image.layers):
        raise ImageError(f"{image.pinned} says of {len(found)} layers what they hold and has {len(image.layers)}.")
    return found
