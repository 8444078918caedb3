"""What a release costs to build, push and start, against a naive image; writes ``benchmarks/out/image.json``.

    REGISTRY=localhost:5000 BASE_IMAGE=localhost:5000/library/python:3.11-slim python -m benchmarks.image

Everything is built under a name of its own and removed afterwards. The naive image takes several minutes and gigabytes.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from banana_delivery.export.export import export_model
from banana_delivery.images.base import BuildContext, BuiltImage
from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.docker.engine import Engine, PushProgress
from banana_delivery.images.docker.store import DockerImages
from banana_delivery.images.docker.transfer import Transfer
from banana_delivery.images.oci_registry.client import RegistryClient
from banana_delivery.images.oci_registry.reference import Repository
from banana_delivery.model_registry.base import ModelVersion
from banana_delivery.waiting import Retries
from benchmarks.image_run import pull_to_ready
from benchmarks.serving_process import ROOT

OUT = ROOT / "benchmarks" / "out" / "image.json"
MODELS = ROOT / "examples" / "models"


def main() -> None:
    """Measure both and write the figures."""
    registry, base = os.environ["REGISTRY"], os.environ["BASE_IMAGE"]
    mark = uuid.uuid4().hex[:8]
    engine = Engine(network_mode="host")
    with tempfile.TemporaryDirectory() as directory:
        ours = measure_release(engine, f"{registry}/bench-{mark}/banana", base, Path(directory), mark)
    naive = measure_naive(engine, f"{registry}/bench-{mark}/naive", base)
    figures = {**ours, "naive": naive, "ratio_to_naive": ratios(ours, naive)}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n")
    show(figures)


def measure_release(engine: Engine, repository: str, base: str, directory: Path, mark: str) -> dict[str, Any]:
    """Build two versions from nothing, then pull and start the second."""
    lock = directory / "lock.txt"  # One comment makes it a lock that no cache knows.
    lock.write_text((ROOT / "requirements" / "serving.txt").read_text() + f"# {mark}\n")
    contexts = [
        BuildContext(export(directory, name, version), ROOT / "serving", lock, version)
        for version, name in (("1", "modest"), ("2", "better"))
    ]
    store = DockerImages(repository, dockerfile=ROOT / "Dockerfile", base_image=base, engine=engine)
    first, second = (store.build(context, print) for context in contexts)
    again = store.build(contexts[1], print)
    weights = layer_bytes(engine, second.ref.pinned)
    names = local_names(engine, repository)
    seconds, pulled = pull_to_ready(engine, names, second.ref.pinned)
    store.close()
    figures = {
        "model_bytes": (contexts[1].model_directory / "model.onnx").stat().st_size,
        "bytes_pushed_first_version": pushed_bytes(repository, first, None),
        "bytes_pushed_second_version": pushed_bytes(repository, second, first),
        "image_bytes_over_base": size(engine, second.ref.pinned) - size(engine, base),
        "layer_bytes": weights,
        "cold_build_s": round(first.seconds, 2),
        "warm_build_s": round(second.seconds, 2),
        "unchanged_build_s": round(again.seconds, 2),
        "pull_to_ready_s": round(seconds, 2),
        "layers_pulled": pulled,
    }
    for used in (repository, f"{repository}-runtime"):
        remove(engine, used)
    return figures


def measure_naive(engine: Engine, repository: str, base: str) -> dict[str, Any]:
    """Build and push the naive image once, then pull and start it; its next version would cost the same again."""
    started = time.monotonic()
    image = engine.build(naive_context(), print, what="the naive image", arguments={"BASE_IMAGE": base}, no_cache=True)
    transfer = Transfer(engine, repository, Credentials(), Retries())
    digest = transfer.push(image, "1", print, PushProgress())
    built = time.monotonic() - started
    over_base = size(engine, image) - size(engine, base)
    pushed = sum(bytes_ for _, bytes_ in manifest_layers(repository, digest)[1:])
    pinned = f"{repository}@{digest}"
    seconds, pulled = pull_to_ready(engine, local_names(engine, repository), pinned)
    remove(engine, repository)
    return {
        "model_bytes": (MODELS / "better" / "best.pt").stat().st_size,
        "bytes_pushed_any_version": pushed,
        "image_bytes_over_base": over_base,
        "cold_build_s": round(built, 2),
        "pull_to_ready_s": round(seconds, 2),
        "layers_pulled": pulled,
    }


def ratios(ours: dict[str, Any], naive: dict[str, Any]) -> dict[str, float]:
    """Ours divided by naive: below one is better."""
    pairs = {
        "bytes_pushed_second_version": naive["bytes_pushed_any_version"],
        "image_bytes_over_base": naive["image_bytes_over_base"],
        "cold_build_s": naive["cold_build_s"],
        "warm_build_s": naive["cold_build_s"],
        "pull_to_ready_s": naive["pull_to_ready_s"],
    }
    return {name: round(ours[name] / against, 5) for name, against in pairs.items()}


def export(directory: Path, name: str, version: str) -> Path:
    """A committed sample model as the pipeline would deliver it."""
    to = directory / version
    to.mkdir()
    described = ModelVersion(
        name="banana_sigatoka_detector",
        version=version,
        run_id="benchmark",
        source=f"examples/models/{name}",
        stage="Staging",
        aliases=(),
        tags={},
        metrics={},
        created_at=0.0,
    )
    samples = sorted((ROOT / "serving" / "samples").glob("*.jpg"))
    export_model(MODELS / name / "best.pt", to, described, samples, print)
    return to


def naive_context() -> io.BytesIO:
    """The naive image's directory with the checkpoint in it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for file in ("Dockerfile", "app.py"):
            tar.add(ROOT / "benchmarks" / "naive_image" / file, file)
        tar.add(MODELS / "better" / "best.pt", "best.pt")
    out.seek(0)
    return out


def size(engine: Engine, image: str) -> int:
    """Bytes of an image on the engine, uncompressed."""
    found = engine.inspect(image)
    if found is None:
        raise RuntimeError(f"The engine has no {image}.")
    return int(found["Size"])


def layer_bytes(engine: Engine, image: str) -> dict[str, int]:
    """Uncompressed bytes of each layer that holds anything, by the instruction that made it, top first."""
    history: list[dict[str, Any]] = engine.api.history(image)  # type: ignore[no-untyped-call]
    return {step["CreatedBy"].split("#(nop)")[-1].strip()[:60]: step["Size"] for step in history if step["Size"]}


def manifest_layers(repository: str, digest: str) -> list[tuple[str, int]]:
    """Digest and stored bytes of an image's layers, bottom first."""
    client = RegistryClient(Repository.parse(repository), Credentials(), Retries(), print)
    manifest = client.manifest(digest)
    client.close()
    if manifest is None:
        raise RuntimeError(f"{repository} has no {digest}.")
    return manifest.layers


def pushed_bytes(repository: str, image: BuiltImage, after: BuiltImage | None) -> int:
    """Stored bytes of everything that the registry did not have: new layers, config and manifest."""
    client = RegistryClient(Repository.parse(repository), Credentials(), Retries(), print)
    new, old = client.manifest(image.ref.digest), client.manifest(after.ref.digest) if after else None
    client.close()
    if new is None:
        raise RuntimeError(f"{repository} has no {image.ref.digest}.")
    known = old.blobs if old else dict(new.layers[:1])
    return sum(bytes_ for blob, bytes_ in new.blobs.items() if blob not in known)


def local_names(engine: Engine, repository: str) -> list[str]:
    """Every name that the engine has for a repository's images and its runtime's."""
    images = [image for name in (repository, f"{repository}-runtime") for image in engine.api.images(name)]
    names = [name for image in images for name in [*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())]]
    return [name for name in names if not name.endswith("<none>:<none>")]


def remove(engine: Engine, repository: str) -> None:
    """Leave nothing of a repository behind."""
    for name in local_names(engine, repository):
        engine.remove(name)
    client = RegistryClient(Repository.parse(repository), Credentials(), Retries(), print)
    for digest in {client.digest_of(tag) for tag in client.tags()} - {None}:
        client.delete_manifest(str(digest))
    client.close()


def show(figures: dict[str, Any]) -> None:
    """Print the figures beside the naive image's."""
    print(f"{'figure':32}{'release':>16}{'naive':>16}{'ratio':>10}")
    for name, ratio in figures["ratio_to_naive"].items():
        theirs = {"bytes_pushed_second_version": "bytes_pushed_any_version", "warm_build_s": "cold_build_s"}.get(
            name, name
        )
        print(f"{name:32}{figures[name]:>16,}{figures['naive'][theirs]:>16,}{ratio:>10}")
    for name, bytes_ in figures["layer_bytes"].items():
        print(f"  {bytes_:>14,}  {name}")


if __name__ == "__main__":
    main()
