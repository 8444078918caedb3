"""What a bill of materials, signatures and attestations add to a delivery; writes ``benchmarks/out/signing.json``.

    python -m benchmarks.signing

Against the embedded stack's folder of images, and against a registry that speaks HTTP on this machine and answers at
once: there the number of requests counts, each of which costs a round trip to yours.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from banana_delivery import bundle
from banana_delivery.delivery.signing.images import ImageSigner, refuse_unsigned
from banana_delivery.delivery.signing.statements import PROVENANCE, SBOM, VERDICT, provenance, verdict
from banana_delivery.images.base import BuildContext, ImageStore
from banana_delivery.images.docker.store import DockerImages
from banana_delivery.images.oci_layout.store import OciLayoutImages
from banana_delivery.images.supply_chain.attachments import AttachmentKind
from banana_delivery.images.supply_chain.installed import asked_for
from banana_delivery.images.supply_chain.sbom import sbom
from banana_delivery.policies.reading import NAMED
from banana_delivery.policy.model import ImageRef
from banana_delivery.settings import Settings
from benchmarks.serving_process import ROOT
from tests.support.artifacts import artifact_record
from tests.support.signing_keys import key_pair
from tests.unit.images.oci_registry.registry_server import RegistryServer, serving
from tests.unit.reports.scenes import ab, quality, staging

OUT = ROOT / "benchmarks" / "out" / "signing.json"
ROUNDS = 9
MODEL_BYTES = 5_500_000
LIMIT_SECONDS = 3.0
"""What all of it may add to a delivery."""
DEPLOYMENTS = 3
"""Staging, the A/B report, production: each asks for the signature."""


Result = TypeVar("Result")


class Figures(TypedDict):
    """What one delivery costs, in seconds: the median of all rounds."""

    build: float
    bill: float
    sign: float
    verify: float


def main() -> None:
    """Measure both places and write the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        here = [_of_a_folder(folder, str(number)) for number in range(1, ROUNDS + 1)]
        with serving(RegistryServer()) as registry:
            remote = [in_a_registry(folder, registry, str(number)) for number in range(1, ROUNDS + 1)]
            requests = sum(registry.asked.values()) / ROUNDS
    figures = {"folder": _medians(here), "registry": _medians(remote), "requests_to_a_registry": round(requests, 1)}
    added = _added(_medians(here))
    figures |= {
        "added_s": round(added, 3),
        "ratio_of_the_build": round((_medians(here)["build"] + added) / _medians(here)["build"], 2),
        "limit_s": LIMIT_SECONDS,
        "round_trip_that_stays_within_it_ms": round(1000 * (LIMIT_SECONDS - added) / requests),
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def _of_a_folder(folder: Path, version: str) -> Figures:
    model = folder / version
    model.mkdir()
    (model / "model.onnx").write_bytes(version.encode() * MODEL_BYTES)
    (model / "version.json").write_text(json.dumps({"version": version}))
    context = BuildContext(model, bundle.SERVING_CODE, bundle.SERVING_LOCK, version)
    store = OciLayoutImages(folder / "images")
    build, built = _timed(lambda: store.build(context, lambda _: None))
    return _delivered(folder, store, built.ref, build)


def in_a_registry(folder: Path, registry: RegistryServer, version: str) -> Figures:
    """The image is there already: building and pushing one is what ``benchmarks.image`` measures."""
    digest = registry.put_image(version, "2026-01-01T00:00:00Z")
    repository = f"{registry.host}/acme/banana"
    with closing(DockerImages(repository, dockerfile=bundle.DOCKERFILE, base_image="none")) as store:
        key = hashlib.sha256(version.encode()).hexdigest()
        return _delivered(folder, store, ImageRef(repository=repository, digest=digest, version=version, key=key), 0.0)


def _delivered(folder: Path, store: ImageStore, ref: ImageRef, build: float) -> Figures:
    key, public = key_pair(folder, "ours")
    settings = Settings(home=folder / "home", cosign_key=key, cosign_public_key=public)

    def bill() -> dict[str, Any]:
        its = sbom(ref, store.labels(ref), asked_for(bundle.SERVING_LOCK.read_text()), settings.model_name)
        store.attach(ref, AttachmentKind.SBOM, [its])
        content: dict[str, Any] = json.loads(its.content)
        return content

    def sign(document: dict[str, Any]) -> None:
        signer, seen = ImageSigner(store, settings), quality(3.0)
        artifact, labels = artifact_record(folder, ref.version), store.labels(ref)
        lock, model = bundle.SERVING_LOCK.name, settings.model_name
        made = provenance(artifact, labels, lock=lock, model=model, run_id="run", commit="c" * 40, start=0.0, end=1.0)
        signer.say(ref, {PROVENANCE: made, SBOM: document})
        signer.sign(ref)
        report = verdict(ab(seen).replace(ref=ref), staging(seen).replace(ref=ref), NAMED["standard"], "run")
        signer.say(ref, {VERDICT: report})

    def verify() -> None:
        for _ in range(DEPLOYMENTS):
            refuse_unsigned(store, ref, settings)

    billing, document = _timed(bill)
    return Figures(build=build, bill=billing, sign=_timed(lambda: sign(document))[0], verify=_timed(verify)[0])


def _timed(do: Callable[[], Result]) -> tuple[float, Result]:
    start = time.monotonic()
    result = do()
    return time.monotonic() - start, result


def _medians(rounds: list[Figures]) -> Figures:
    def median(of: Callable[[Figures], float]) -> float:
        return round(statistics.median(of(one) for one in rounds), 4)

    return Figures(
        build=median(lambda one: one["build"]),
        bill=median(lambda one: one["bill"]),
        sign=median(lambda one: one["sign"]),
        verify=median(lambda one: one["verify"]),
    )


def _added(figures: Figures) -> float:
    return figures["bill"] + figures["sign"] + figures["verify"]


if __name__ == "__main__":
    main()
